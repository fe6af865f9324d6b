//! The declared shape of a tool's arguments, compiled once. It must never know what they mean.

use std::sync::Arc;

use jsonschema::Validator;
use serde_json::Value;

use crate::{audit::Rejection, requirement};

/// A compiled JSON Schema and the document that it was compiled from.
#[derive(Clone)]
pub(super) struct Schema(Arc<(Value, Validator)>);

impl Schema {
    /// Compiles a schema from its text.
    pub(super) fn new(text: &str) -> Result<Self, Rejection> {
        let broken = |cause: String| {
            requirement::REGISTRY_SCHEMA.refuse("a tool's own schema is not valid", cause)
        };
        let document: Value =
            serde_json::from_str(text).map_err(|error| broken(error.to_string()))?;
        let validator =
            jsonschema::validator_for(&document).map_err(|error| broken(error.to_string()))?;
        Ok(Self(Arc::new((document, validator))))
    }

    /// The schema's document.
    pub(super) fn document(&self) -> &Value {
        &self.0.0
    }

    /// Refuses arguments that do not fit.
    pub(super) fn check(&self, arguments: &Value) -> Result<(), Rejection> {
        requirement::REGISTRY_SCHEMA.check(
            self.0.1.is_valid(arguments),
            "the arguments do not fit the tool's schema",
            || match self.0.1.validate(arguments) {
                Ok(()) => String::new(),
                Err(error) => format!("at {}: {error}", error.instance_path()),
            },
        )
    }
}
