//! Layer 5: what refused, what happened, and the record of it. Knows nothing of any other room.

mod rejection;

pub use rejection::{Correlation, Rejection};
