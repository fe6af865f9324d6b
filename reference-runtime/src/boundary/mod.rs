//! Layer 1: every external byte is checked here before anything else looks at it. It does no I/O
//! but for the workspace, and must never know who sent the bytes or what they are for.

pub mod attachment;
pub mod json;
pub mod path;
pub mod text;

/// How much a caller may send. Bytes are counted after transport decoding, before text decoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest message text, in bytes of UTF-8.
    pub message_bytes: usize,
    /// The deepest nesting of JSON containers; a scalar adds nothing. At most [`json::MAX_DEPTH`].
    pub json_depth: usize,
    /// The largest attachment, in decoded bytes.
    pub attachment_bytes: usize,
    /// The most attachments that one message may carry.
    pub attachments: usize,
    /// The longest request body, and the longest JSON document, in bytes.
    pub body_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_bytes: 100_000,
            json_depth: 32,
            attachment_bytes: 50_000_000,
            attachments: 10,
            // A message at its limit, every byte of it escaped as `\u00xx`, and room for the rest.
            body_bytes: 1_000_000,
        }
    }
}

/// The proof that a value came through this room. Only this room can build one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked<T>(T);

impl<T> Checked<T> {
    /// Only code of this room may call a value checked.
    pub(in crate::boundary) const fn new(value: T) -> Self {
        Self(value)
    }

    /// The checked value.
    #[must_use]
    pub const fn get(&self) -> &T {
        &self.0
    }

    /// The value without its proof.
    #[must_use]
    pub fn into_inner(self) -> T {
        self.0
    }
}
