//! The file tools' side inside the sandbox: one JSON call on standard input, one JSON answer on
//! standard output. It must never trust the call more than a stranger's: every check of the
//! boundary is made here again, and it must never know how it is contained.

use std::{
    io::{Read, Write},
    path::PathBuf,
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::builtin::{self, Kind};
use crate::{
    audit::Rejection,
    boundary::{
        Limits, json,
        path::{FileError, Workspace},
    },
    requirement,
};

/// The longest call, in bytes: a file of the message limit, escaped, and room for the rest.
pub(crate) const MAX_CALL: usize = 8_000_000;

/// A call as it crosses into the sandbox.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Request {
    /// The tool's exact name.
    pub(crate) tool: String,
    /// The workspace as it stands inside the sandbox.
    pub(crate) workspace: PathBuf,
    /// The arguments that the registry authorised.
    pub(crate) arguments: Value,
}

/// The answer as it comes back: exactly one of the three.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub(crate) enum Response {
    /// What the tool answers.
    Output(Value),
    /// The tool ran and could not do it: a sentence for the model.
    Failed(String),
    /// A defence refused.
    Rejected {
        /// The id of the requirement.
        requirement: String,
        /// The sentence for the caller.
        public: String,
        /// For the log.
        cause: String,
    },
}

/// Answers the one call on standard input. Returns whether an answer was written.
#[must_use]
pub fn main() -> bool {
    let response = match read(std::io::stdin().lock()).and_then(|request| answer(&request)) {
        Ok(output) => Response::Output(output),
        Err(FileError::Failed(public, _)) => Response::Failed(public.to_owned()),
        Err(FileError::Refused(rejection)) => Response::Rejected {
            requirement: rejection.requirement().id().to_owned(),
            public: rejection.public().to_owned(),
            cause: rejection.cause().to_owned(),
        },
    };
    let text = serde_json::to_vec(&response).unwrap_or_default();
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(&text).and_then(|()| stdout.flush()).is_ok()
}

fn read(input: impl Read) -> Result<Request, FileError> {
    let mut bytes = Vec::new();
    // One byte more than the limit tells "at" from "over".
    input
        .take(MAX_CALL as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| FileError::Failed("the call could not be read", error))?;
    let limits = Limits { body_bytes: MAX_CALL, ..Limits::default() };
    Ok(json::parse::<Request>(&bytes, &limits)?.into_inner())
}

fn answer(request: &Request) -> Result<Value, FileError> {
    let unknown = || -> Rejection {
        requirement::REGISTRY_ONLY_REGISTERED
            .refuse("no such tool is registered", request.tool.clone())
    };
    let tool = builtin::find(&request.tool).ok_or_else(unknown)?;
    let Kind::Worker(operation) = tool.kind else { return Err(unknown().into()) };
    operation(&Workspace::open(&request.workspace)?, &request.arguments)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown(response: &Response) -> Value {
        serde_json::to_value(response).unwrap()
    }

    #[test]
    fn an_answer_says_exactly_one_thing() {
        assert_eq!(shown(&Response::Output(json!({"bytes": 2}))), json!({"output": {"bytes": 2}}));
        assert_eq!(shown(&Response::Failed("no".into())), json!({"failed": "no"}));
        let rejected = Response::Rejected {
            requirement: "path.traversal".into(),
            public: "p".into(),
            cause: "c".into(),
        };
        assert_eq!(shown(&rejected)["rejected"]["requirement"], "path.traversal");
    }
}
