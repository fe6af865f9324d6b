//! Rates: how often a client may ask and a session may speak. It must never know what is asked.

mod limiter;

pub use limiter::{Limiter, RetryAfter};
