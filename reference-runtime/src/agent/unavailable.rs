//! The refusal where the session store cannot be used. It must never know what was to be stored.

use crate::audit::Rejection;
use crate::requirement;

const UNAVAILABLE: &str = "the session store is not available";

pub(super) fn unavailable(error: impl std::fmt::Display) -> Rejection {
    requirement::ERROR_DENY.refuse(UNAVAILABLE, format!("session store: {error}"))
}
