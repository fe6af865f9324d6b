//! The one way to a tool: authorised by the registry, recorded, run by the sandbox, recorded. It
//! must never run a call whose permission could not be recorded, nor show an output whose run
//! could not be.

use serde_json::Value;

use super::{Agent, Stop};
use crate::audit::{self, Correlation, Event, Outcome, Rejection};
use crate::registry::{Kind, ToolCall};
use crate::requirement::AUDIT_RECONCILED;
use crate::sandbox;

/// What came of a tool call that ran.
#[derive(Clone, Debug)]
pub struct Executed {
    /// Whether the tool did what it was asked.
    pub completed: bool,
    /// Its answer, as the tool gave it.
    pub output: Value,
}

impl Agent {
    /// Authorises and runs one call; both the decision and the run are in the audit log, also where
    /// the run was stopped.
    ///
    /// # Errors
    /// What the registry or the sandbox refused by, or `error.deny` where the audit log cannot be
    /// written.
    pub async fn execute(
        &self,
        subject: &str,
        correlation: &Correlation,
        call: ToolCall,
        stop: &Stop,
    ) -> Result<Executed, Rejection> {
        let action = format!("tool:{}", call.name);
        let event = |kind, outcome| {
            Event::new(kind, outcome, subject, action.as_str(), correlation.clone())
        };
        let parameters = call.arguments.clone();
        let id = call.id.clone();
        let authorized = match self.settings().registry.authorize(call) {
            Ok(authorized) => authorized,
            Err(rejection) => {
                let denied = event(audit::Kind::Authorization, Outcome::Deny)
                    .refused_by(rejection.requirement())
                    .with("call", id)
                    .with("parameters", parameters);
                self.audit.record(denied).await?;
                return Err(rejection);
            }
        };
        let allowed = event(audit::Kind::Authorization, Outcome::Allow).with("call", id.as_str());
        self.audit.record(allowed).await?;

        let run = async {
            match authorized.tool().kind {
                Kind::Plugin(_) => self.plugins.call(authorized, correlation).await,
                Kind::Worker(_) | Kind::Program(_) => self.sandbox.run(authorized).await,
            }
        };
        let result = stop.guard(run).await;
        let record = match &result {
            Ok(contained) => {
                let done = contained.get().completed || !AUDIT_RECONCILED.enforced();
                let outcome = if done { Outcome::Completed } else { Outcome::Failed };
                event(audit::Kind::Tool, outcome).with("level", word(contained.level()))
            }
            Err(rejection) => {
                event(audit::Kind::Tool, Outcome::Deny).refused_by(rejection.requirement())
            }
        };
        self.audit.record(record.with("call", id).with("parameters", parameters)).await?;
        let sandbox::Outcome { completed, output } = result?.into_inner();
        Ok(Executed { completed, output })
    }

    /// Records that a call was refused before the registry saw it.
    pub(super) async fn refused(
        &self,
        subject: &str,
        correlation: &Correlation,
        call: &super::ProposedCall,
        rejection: &Rejection,
    ) -> Result<(), Rejection> {
        let action = format!("tool:{}", call.name);
        let kind = audit::Kind::Authorization;
        let event = Event::new(kind, Outcome::Deny, subject, action, correlation.clone());
        let event = event
            .refused_by(rejection.requirement())
            .with("call", call.id.as_str())
            .with("parameters", call.arguments.as_str());
        self.audit.record(event).await
    }
}

fn word(level: sandbox::Level) -> String {
    serde_json::to_value(level)
        .ok()
        .and_then(|value| value.as_str().map(str::to_owned))
        .unwrap_or_default()
}

/// A tool's answer as text for a model: the plain text where the answer is one, JSON otherwise.
#[must_use]
pub(super) fn as_text(output: &Value) -> String {
    let text = |key: &str| output.get(key).and_then(Value::as_str);
    if let Some(content) = text("content") {
        return content.to_owned();
    }
    let (Some(stdout), Some(stderr)) = (text("stdout"), text("stderr")) else {
        return output.to_string();
    };
    let mut shown = stdout.to_owned();
    if !stderr.is_empty() {
        shown.push_str("\n[standard error]\n");
        shown.push_str(stderr);
    }
    if output.get("timedOut") == Some(&Value::Bool(true)) {
        shown.push_str("\n[its time was over]");
    } else if let Some(code) = output.get("exitCode").filter(|code| **code != 0) {
        shown.push_str(&format!("\n[exit code {code}]"));
    }
    for (field, what) in [
        ("removed", "names that are a danger to other programs and were taken away or put back"),
        ("sharedWithOutside", "files of the workspace that have another name outside"),
    ] {
        let names = output.get(field).and_then(Value::as_array).into_iter().flatten();
        let names: Vec<&str> = names.filter_map(Value::as_str).collect();
        if !names.is_empty() {
            shown.push_str(&format!("\n[{what}: {}]", names.join(", ")));
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_model_reads_plain_text_where_the_answer_is_plain() {
        assert_eq!(as_text(&json!({"content": "a\"b"})), "a\"b");
        let quiet = json!({"exitCode": 0, "stdout": "$(x)", "stderr": "", "timedOut": false});
        assert_eq!(as_text(&quiet), "$(x)");
        let loud = json!({"exitCode": 2, "stdout": "", "stderr": "no", "timedOut": false});
        assert_eq!(as_text(&loud), "\n[standard error]\nno\n[exit code 2]");
        assert_eq!(as_text(&json!({"bytes": 2})), "{\"bytes\":2}");
    }
}
