//! Layer 5: what refused, what happened, and the record of it. Knows nothing of any other room.

mod chain;
mod encode;
mod event;
mod forms;
mod log;
mod redact;
mod rejection;
mod segment;
mod sink;

pub use chain::{Broken, Verified};
pub use event::{Event, Kind, Outcome, Plain, Subject};
pub use log::verify;
pub use redact::{REDACTED, Redactor};
pub(crate) use rejection::OTHER_WORDS;
pub use rejection::{Correlation, Rejection};
pub use segment::tail;
pub use sink::{Audit, HandedIn, Keeping};
