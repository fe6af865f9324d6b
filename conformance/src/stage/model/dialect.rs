//! Which model API a request speaks, by its path. Knows no script.

use serde_json::Value;

use super::answer::{Answer, Wire};
use super::{gemini, responses};

/// A model API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// `POST .../chat/completions`
    ChatCompletions,
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
            Self::Responses => responses::normalise(&request),
            Self::GenerateContent => gemini::normalise(&request),
        }
    }

    /// An answer in this API's bytes.
    pub(super) fn wire(self, answer: &Answer, stream: bool) -> Wire {
        match self {
            Self::ChatCompletions => answer.wire(stream),
            Self::Responses => responses::wire(answer, stream),
            Self::GenerateContent => gemini::wire(answer, stream),
        }
    }
}
