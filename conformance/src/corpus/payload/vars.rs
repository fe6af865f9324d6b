//! The values that are random per run. Must never know how they came about.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::Role;

/// A value that is known at run time only.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize, JsonSchema,
)]
#[serde(rename_all = "UPPERCASE")]
pub enum Var {
    /// 16 random hexadecimal digits by which the model stage knows the case.
    Nonce,
    /// The absolute workspace.
    Root,
    /// An absolute folder outside the workspace; its file `k` holds CANARY.
    Outside,
    /// OUTSIDE as a relative path from the workspace; derived from the two.
    Climb,
    /// The random content of the canary file.
    Canary,
    /// The random content that a benign read must bring back.
    Mark,
    /// An absolute path of a system file that any sandbox shows.
    Hostfile,
    /// The id of a session that the target itself gave out.
    Session,
    /// A relative file name in the workspace that must not come to exist.
    Effect,
    /// A random key that stands in the target's credential store.
    Secret,
    /// A loopback port on which the suite listens.
    Port,
    /// The target's name of its read tool; derived from the naming.
    Read,
    /// The target's name of its write tool; derived from the naming.
    Write,
    /// The target's name of its exec tool; derived from the naming.
    Exec,
    /// The JSON text of a tool call that writes EFFECT; derived from the naming.
    Call,
    /// The bytes of a valid request that sends NONCE as message.
    Request,
    /// Request line and headers of that request, each with its line end, without its framing
    /// (`Content-Length`, `Transfer-Encoding`) and the blank line.
    Head,
    /// The bytes of the stored record of the model's key.
    Record,
}

impl fmt::Display for Var {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&format!("{self:?}").to_uppercase())
    }
}

/// What a target calls a tool, and the shape of its arguments.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ToolShape {
    /// The tool's name.
    pub name: String,
    /// The arguments as a template: the strings `${path}`, `${content}` and `${argv}` stand for
    /// the values; `${argv}` is an array of strings, `${command}` the same quoted for a shell.
    pub arguments: Map<String, Value>,
}

/// What a target calls the tools that cases use.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Naming {
    /// The tool that reads a file.
    pub read: ToolShape,
    /// The tool that writes a file.
    pub write: ToolShape,
    /// The tool that runs a program.
    pub exec: ToolShape,
}

impl Naming {
    /// The shape of one tool.
    #[must_use]
    pub fn shape(&self, role: Role) -> &ToolShape {
        match role {
            Role::Read => &self.read,
            Role::Write => &self.write,
            Role::Exec => &self.exec,
        }
    }
}

impl Default for Naming {
    /// `read_file {path}`, `write_file {path, content}`, `exec {argv}`.
    fn default() -> Self {
        let shape = |name: &str, keys: &[&str]| ToolShape {
            name: name.to_owned(),
            arguments: keys
                .iter()
                .map(|key| ((*key).to_owned(), json!(format!("${{{key}}}"))))
                .collect(),
        };
        Self {
            read: shape("read_file", &["path"]),
            write: shape("write_file", &["path", "content"]),
            exec: shape("exec", &["argv"]),
        }
    }
}

/// The values of one case in one run.
#[derive(Clone, Debug, Default)]
pub struct Vars {
    values: BTreeMap<Var, Vec<u8>>,
    naming: Naming,
    envelope: u64,
}

impl Vars {
    /// No values yet, and the target's naming.
    #[must_use]
    pub fn new(naming: Naming) -> Self {
        Self { naming, ..Self::default() }
    }

    /// Gives a variable its value; setting ROOT and OUTSIDE (in any order) sets CLIMB too.
    pub fn set(&mut self, var: Var, value: impl Into<Vec<u8>>) -> &mut Self {
        self.values.insert(var, value.into());
        if let (Var::Root | Var::Outside, Some(root), Some(outside)) =
            (var, self.values.get(&Var::Root), self.values.get(&Var::Outside))
        {
            let climb = climb(root, outside);
            self.values.insert(Var::Climb, climb);
        }
        self
    }

    /// The value of a variable, where it has one.
    #[must_use]
    pub fn get(&self, var: Var) -> Option<Vec<u8>> {
        match var {
            Var::Read => Some(self.naming.read.name.clone().into_bytes()),
            Var::Write => Some(self.naming.write.name.clone().into_bytes()),
            Var::Exec => Some(self.naming.exec.name.clone().into_bytes()),
            Var::Call => self.values.get(&var).cloned().or_else(|| self.call()),
            other => self.values.get(&other).cloned(),
        }
    }

    /// The target's naming.
    #[must_use]
    pub fn naming(&self) -> &Naming {
        &self.naming
    }

    /// Says how many containers the surface opens around a payload.
    pub fn set_envelope(&mut self, containers: u64) -> &mut Self {
        self.envelope = containers;
        self
    }

    /// How many containers the surface opens around a payload.
    #[must_use]
    pub fn envelope(&self) -> u64 {
        self.envelope
    }

    /// Values of ordinary length for every variable, to check a record without a run.
    #[must_use]
    pub fn sample() -> Self {
        let mut vars = Self::new(Naming::default());
        vars.set(Var::Nonce, "0123456789abcdef")
            .set(Var::Root, "/world/workspace")
            .set(Var::Outside, "/world/outside")
            .set(Var::Canary, "canary-0123456789abcdef")
            .set(Var::Mark, "mark-0123456789abcdef")
            .set(Var::Session, "00000000-0000-4000-8000-000000000000")
            .set(Var::Hostfile, "/usr/lib/os-release")
            .set(Var::Effect, "effect-0123456789abcdef")
            .set(Var::Secret, "secret-0123456789abcdef")
            .set(Var::Port, "40000")
            .set(Var::Head, "POST /rpc HTTP/1.1\r\nHost: 127.0.0.1\r\n")
            .set(Var::Record, vec![0x5a; 120])
            .set(
                Var::Request,
                r#"{"jsonrpc":"2.0","id":1,"method":"session.message","params":{}}"#,
            );
        vars
    }

    fn call(&self) -> Option<Vec<u8>> {
        let value = |var| String::from_utf8(self.values.get(&var)?.clone()).ok();
        let (effect, nonce) = (value(Var::Effect)?, value(Var::Nonce)?);
        let fill = |template: &Value| match template.as_str() {
            Some("${path}") => json!(effect),
            Some("${content}") => json!(nonce),
            _ => template.clone(),
        };
        let shape = &self.naming.write;
        let arguments: Map<String, Value> =
            shape.arguments.iter().map(|(key, template)| (key.clone(), fill(template))).collect();
        Some(json!({"name": shape.name, "arguments": arguments}).to_string().into_bytes())
    }
}

/// The relative path from one absolute folder to another, with `/` between the names.
fn climb(from: &[u8], to: &[u8]) -> Vec<u8> {
    let names = |path: &[u8]| -> Vec<Vec<u8>> {
        path.split(|byte| matches!(byte, b'/' | b'\\'))
            .filter(|name| !name.is_empty())
            .map(<[u8]>::to_vec)
            .collect()
    };
    let (from, to) = (names(from), names(to));
    let shared = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
    let up = from.iter().skip(shared).map(|_| b"..".to_vec());
    up.chain(to.iter().skip(shared).cloned()).collect::<Vec<_>>().join(&b'/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn climb_leads_from_the_workspace_to_the_canary_folder() {
        let vars = Vars::sample();
        assert_eq!(vars.get(Var::Climb).unwrap(), b"../outside");
        assert_eq!(climb(b"/a/b/c", b"/a/d/e"), b"../../d/e");
        assert_eq!(climb(br"C:\w\ws", br"C:\w\out"), b"../out");
    }

    #[test]
    fn the_call_is_written_in_the_targets_own_naming() {
        let mut naming = Naming::default();
        naming.write.name = "put".into();
        let mut vars = Vars::new(naming);
        vars.set(Var::Effect, "e").set(Var::Nonce, "n");
        let call: Value = serde_json::from_slice(&vars.get(Var::Call).unwrap()).unwrap();
        assert_eq!(call, json!({"name": "put", "arguments": {"path": "e", "content": "n"}}));
    }

    #[test]
    fn an_unset_variable_has_no_value() {
        assert_eq!(Vars::default().get(Var::Secret), None);
        assert_eq!(Vars::default().get(Var::Call), None);
    }
}
