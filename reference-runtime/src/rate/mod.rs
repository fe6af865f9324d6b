//! Rates: how often a client may ask and a session may speak. It must never know what is asked.

mod layer;
mod limiter;

pub use layer::{Rate, RateLayer};
pub use limiter::{Limiter, RetryAfter};
