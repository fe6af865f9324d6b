//! Sessions, turns and the model.
