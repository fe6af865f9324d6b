//! Which model API a request speaks, by its path. Knows no script.

use serde_json::Value;

use super::answer::{Answer, Wire};
use super::{chat, gemini, messages, responses};

/// A model API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// `POST .../chat/completions`
    ChatCompletions,
    /// `POST .../messages`
    Messages,
    /// `POST .../responses`
    Responses,
    /// `POST .../models/NAME:generateContent` or `:streamGenerateContent`
    GenerateContent,
}

impl Dialect {
    /// The API that answers at this path; none where the model has nothing there.
    pub(super) fn of(path: &str) -> Option<Self> {
        if path.ends_with("/chat/completions") {
            Some(Self::ChatCompletions)
        } else if path.ends_with("/messages") {
            Some(Self::Messages)
        } else if path.ends_with("/responses") {
            Some(Self::Responses)
        } else if path.ends_with(":generateContent") || path.ends_with(":streamGenerateContent") {
            Some(Self::GenerateContent)
        } else {
            None
        }
    }

    /// Whether the path itself asks for a stream.
    pub(super) fn streams(self, path: &str) -> bool {
        self == Self::GenerateContent && path.ends_with(":streamGenerateContent")
    }

    /// The request in the shape of chat completions.
    pub(super) fn normalise(self, request: Value) -> Value {
        match self {
            Self::ChatCompletions => request,
            Self::Messages => messages::normalise(&request),
            Self::Responses => responses::normalise(&request),
            Self::GenerateContent => gemini::normalise(&request),
        }
    }

    /// An answer in this API's bytes.
    pub(super) fn wire(self, answer: &Answer, stream: bool) -> Wire {
        let piece = match answer {
            Answer::Verbatim { status, body } => return Wire::json(*status, body.clone()),
            Answer::Late(_, answer) => return self.wire(answer, stream),
            Answer::Pieces(piece, answer) => {
                return Wire { piece: Some(*piece), ..self.wire(answer, stream) };
            }
            _ => None,
        };
        let wire = match (self, answer.said()) {
            (Self::Responses, _) => responses::wire(answer, stream),
            (Self::GenerateContent, _) => gemini::wire(answer, stream),
            (Self::ChatCompletions, Some(said)) if stream => Wire::events(chat::stream(&said)),
            (Self::ChatCompletions, Some(said)) => Wire::json(200, chat::whole(&said)),
            (Self::Messages, Some(said)) if stream => Wire::events(messages::stream(&said)),
            (Self::Messages, Some(said)) => Wire::json(200, messages::whole(&said)),
            (_, None) => Wire::json(200, Vec::new()),
        };
        Wire { piece, ..wire }
    }
}
