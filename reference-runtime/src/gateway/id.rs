//! The id by which a caller knows its request. It must never know what was asked.

use serde::{Deserialize, Serialize};

/// The id of a request: a string or an integer. A request without one is refused, because nobody
/// could be told that it was.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(untagged)]
pub(super) enum Id {
    /// An integer.
    Number(i64),
    /// A string.
    Text(String),
}
