//! Layer 5: what refused, what happened, and the record of it. Knows nothing of any other room.

mod event;
mod redact;
mod rejection;
mod sink;

pub use event::{Event, Kind, Outcome};
pub use redact::{REDACTED, Redactor};
pub use rejection::{Correlation, Rejection};
pub use sink::{Audit, Broken, Verified, verify};
