//! Room: stage. What the suite plays for a target: the model, the outside world, neighbours.
//! It must never know what is expected of the target.

pub mod egress;
pub mod model;
pub mod neighbours;
pub mod plugin;
