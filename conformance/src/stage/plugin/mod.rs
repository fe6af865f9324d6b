//! A plugin that does what it is told: one program for Node that is put into a target, and what it
//! reports. It must never know what is expected of the target.

use std::io::Write as _;

use base64::Engine as _;
use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};

use crate::stage::model::ToolCall;
use crate::target::plugins::{Install, Plugins};

/// The program, without what stands before it.
const PROGRAM: &str = include_str!("hostile.js");

/// A plugin to be put into a target.
#[derive(Clone, Debug)]
pub struct Guest {
    /// Its name.
    pub name: String,
    /// Its tool.
    pub tool: String,
    /// What it wants, by role.
    pub wants: Vec<String>,
    /// What of that it is granted.
    pub grants: Vec<String>,
    /// The level that it declares.
    pub level: String,
    /// What it calls itself in its reports.
    pub made: String,
    /// What it does when it starts, before it connects.
    pub start: Vec<Value>,
}

impl Guest {
    /// One that does nothing when it starts, and may ask for the names of its tools.
    #[must_use]
    pub fn new(name: &str, tool: &str) -> Self {
        Self {
            name: name.to_owned(),
            tool: tool.to_owned(),
            wants: vec!["list".to_owned(), "log".to_owned()],
            grants: vec!["list".to_owned(), "log".to_owned()],
            level: "strict".to_owned(),
            made: "genuine".to_owned(),
            start: Vec::new(),
        }
    }

    /// Its program for a target.
    #[must_use]
    pub fn program(&self, form: &Plugins) -> String {
        let protocol = &form.protocol;
        let welcome = protocol.welcome.as_deref().unwrap_or("null");
        let welcome: Value = serde_json::from_str(welcome).unwrap_or_default();
        let constants = json!({
            "start": self.start,
            "made": self.made,
            "hello": protocol.hello,
            "welcome": welcome,
            "call": protocol.call,
            "arguments": protocol.arguments,
            "answer": protocol.answer,
        });
        format!("const TOLD = {constants};\n{PROGRAM}")
    }

    /// It, for a target.
    #[must_use]
    pub fn install(&self, form: &Plugins) -> Install {
        Install {
            name: self.name.clone(),
            tools: vec![self.tool.clone()],
            wants: self.wants.clone(),
            grants: self.grants.clone(),
            level: self.level.clone(),
            program: self.program(form),
        }
    }
}

/// A call of a plugin's tool that does these steps one after the other and then answers.
#[must_use]
pub fn call(tool: &str, mark: &str, steps: &[Value]) -> ToolCall {
    let arguments = json!({"plan": {"mark": mark, "steps": steps}});
    ToolCall::new(tool, arguments.to_string())
}

/// The step that sends bytes: as messages, one a line, or as they are.
#[must_use]
pub fn send(payload: &[u8], raw: bool) -> Value {
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    let written = packed.write_all(payload);
    let packed = packed.finish().unwrap_or_default();
    debug_assert!(written.is_ok(), "memory takes everything");
    json!({"send": base64::engine::general_purpose::STANDARD.encode(packed), "raw": raw})
}

/// The step that waits for answers of the target.
#[must_use]
pub fn listen(count: usize, milliseconds: u64) -> Value {
    json!({"listen": milliseconds, "count": count})
}

/// What the plugin told of a call.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Who it says that it is.
    pub made: String,
    /// What came of each step.
    pub did: Vec<Value>,
    /// What the target sent meanwhile, the first of it.
    pub saw: Vec<Value>,
    /// How many of all that held a result.
    pub results: usize,
}

impl Report {
    /// Reads the report of the call that was marked so; `None` where the text is another one.
    #[must_use]
    pub fn of(text: &str, mark: &str) -> Option<Self> {
        let begin = text.find('{')?;
        let told = serde_json::Deserializer::from_str(text.get(begin..)?).into_iter::<Value>();
        let told = told.flatten().next()?;
        let list = |key: &str| told.get(key).and_then(Value::as_array).cloned();
        (told.get("mark")?.as_str()? == mark).then_some(())?;
        Some(Self {
            made: told.get("made")?.as_str()?.to_owned(),
            did: list("did")?,
            saw: list("saw")?,
            results: usize::try_from(told.get("results")?.as_u64()?).ok()?,
        })
    }

    /// What came of a step.
    #[must_use]
    pub fn step(&self, index: usize) -> &Value {
        self.did.get(index).unwrap_or(&Value::Null)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_known_by_its_mark() {
        let text = r#"{"mark":"m","made":"genuine","did":[null,{"got":"x"}],"saw":[],"results":2}"#;
        let report = Report::of(text, "m").unwrap();
        assert_eq!((report.results, report.step(1)["got"].as_str()), (2, Some("x")));
        assert_eq!(report.step(9), &Value::Null);
        assert!(Report::of(text, "other").is_none());
        assert!(Report::of("refused", "m").is_none());
    }
}
