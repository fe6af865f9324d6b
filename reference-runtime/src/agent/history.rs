//! What a session remembers: plain data that has passed the boundary. It must never know where it
//! is stored or which model reads it.

use serde::{Deserialize, Serialize};

/// One step of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "role", deny_unknown_fields)]
pub enum Entry {
    /// What the user said.
    User {
        /// The text, exactly as it was checked.
        text: String,
        /// What came with it.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        attachments: Vec<Attachment>,
    },
    /// What the model answered: text, calls, or both.
    Assistant {
        /// The prose; may be empty.
        text: String,
        /// The calls that it asked for, in order, also the refused ones.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        calls: Vec<ProposedCall>,
    },
    /// What became of one call: a tool's output, or why it was refused.
    Tool {
        /// The id of the call.
        call: String,
        /// What the model is told.
        text: String,
    },
}

impl Entry {
    /// A user's message.
    #[must_use]
    pub fn user(text: impl Into<String>) -> Self {
        Self::User { text: text.into(), attachments: Vec::new() }
    }
}

/// A user's message as a model is shown it: the text as it came, and below it a line for each
/// attachment that says where a tool finds it.
#[must_use]
pub(super) fn shown(text: &str, attachments: &[Attachment]) -> String {
    let mut shown = text.to_owned();
    for Attachment { id, name, bytes, .. } in attachments {
        shown.push_str(&format!("\n[attachment: attachments/{id}/{name}, {bytes} bytes]"));
    }
    shown
}

/// What is known of an attachment besides its content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attachment {
    /// 32 random hex digits, unique; of no use in another session.
    pub id: String,
    /// The name that it was sent under: one plain segment of a path.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// SHA-256 of its content as 64 hex digits.
    pub sha256: String,
}

/// A tool call as a model wrote it. A proposal: nothing of it is known to be sound.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProposedCall {
    /// The id that the model gave it.
    pub id: String,
    /// The name of the tool that it asks for.
    pub name: String,
    /// The text of the arguments; should be a JSON object.
    pub arguments: String,
}
