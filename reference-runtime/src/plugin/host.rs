//! What a plugin may ask of the runtime: few things, each granted by name. It must never do what
//! was not granted, nor know of credentials, sessions or the model.

use std::{collections::BTreeSet, path::PathBuf};

use serde_json::{Value, json};

use crate::{
    audit::Rejection,
    boundary::{
        path::{FileError, Workspace},
        text,
    },
    config::Grant,
    requirement::{PLUGIN_LEAST, REGISTRY_NO_SHADOW},
};

/// The largest file that a plugin reads, in bytes: it must fit into a frame, every byte escaped.
const MOST: usize = 128 << 10;
/// The longest line that a plugin logs, in bytes.
const LONGEST: usize = 2_000;
const NOT_GRANTED: &str = "the plugin may not ask for this";

/// The answers to one plugin.
#[derive(Clone, Debug)]
pub(super) struct Host {
    pub(super) plugin: String,
    pub(super) tools: Vec<String>,
    pub(super) granted: BTreeSet<Grant>,
    pub(super) workspace: Option<PathBuf>,
}

impl Host {
    /// Answers a request.
    ///
    /// # Errors
    /// `registry.no-shadow`: it would change its declaration. `plugin.least`: it was not granted.
    /// What the boundary refused a path by; `error.deny` where a file cannot be read.
    pub(super) async fn answer(&self, method: &str, params: &Value) -> Result<Value, Rejection> {
        if matches!(method, "tool.register" | "plugin.declare") {
            REGISTRY_NO_SHADOW.check(
                false,
                "a declaration does not change while the plugin runs",
                || method.to_owned(),
            )?;
            return Ok(json!({"declared": params}));
        }
        let known = Grant::ALL.iter().find(|(name, _)| *name == method).map(|(_, grant)| *grant);
        let granted = known.is_some_and(|grant| self.granted.contains(&grant));
        PLUGIN_LEAST.check(granted, NOT_GRANTED, || method.to_owned())?;
        match known {
            Some(Grant::Log) => self.log(params),
            Some(Grant::ToolList) => Ok(json!({"tools": self.tools})),
            Some(Grant::WorkspaceRead) => {
                let (path, workspace) = (words(params, "path")?.to_owned(), self.workspace.clone());
                let read = tokio::task::spawn_blocking(move || read(workspace, &path));
                read.await.map_err(|error| deny(error.to_string()))?
            }
            // Reached only where `plugin.least` is knocked out: a host that answers whatever it is
            // asked.
            None => Ok(json!({"method": method})),
        }
    }

    fn log(&self, params: &Value) -> Result<Value, Rejection> {
        let line: String = words(params, "message")?.chars().take(LONGEST).collect();
        tracing::info!(plugin = self.plugin, "{line}");
        Ok(json!({}))
    }
}

fn deny(cause: String) -> Rejection {
    crate::requirement::ERROR_DENY.refuse("it could not be done", cause)
}

fn words<'params>(params: &'params Value, name: &str) -> Result<&'params str, Rejection> {
    params.get(name).and_then(Value::as_str).ok_or_else(|| deny(format!("no text {name}")))
}

fn read(workspace: Option<PathBuf>, path: &str) -> Result<Value, Rejection> {
    let root = workspace.ok_or_else(|| deny("there is no workspace".into()))?;
    text::no_null(path)?;
    let workspace = Workspace::open(&root)?;
    let path = workspace.resolve(path)?;
    let content = workspace.read(&path, MOST).map_err(|error| match error {
        FileError::Refused(rejection) => rejection,
        FileError::Failed(public, error) => deny(format!("{public}: {error}")),
    })?;
    let content = String::from_utf8(content).map_err(|_| deny("the file is no text".into()))?;
    Ok(json!({"content": content}))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::requirement::{PATH_ABSOLUTE, PATH_TRAVERSAL};

    fn host(granted: &[Grant]) -> (tempfile::TempDir, Host) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("note"), "hello").unwrap();
        let host = Host {
            plugin: "x".into(),
            tools: vec!["count".into()],
            granted: granted.iter().copied().collect(),
            workspace: Some(folder.path().to_owned()),
        };
        (folder, host)
    }

    #[tokio::test]
    async fn what_was_granted_is_answered_and_nothing_else() {
        let (_folder, host) = host(&[Grant::ToolList, Grant::WorkspaceRead]);
        assert_eq!(host.answer("tool.list", &Value::Null).await.unwrap()["tools"][0], "count");
        let read = host.answer("workspace.read", &json!({"path": "note"})).await.unwrap();
        assert_eq!(read["content"], "hello");
        for method in ["log", "credentials.get", "session.message", "__proto__", "Tool.list", ""] {
            let refusal = host.answer(method, &json!({"message": "x"})).await.unwrap_err();
            assert_eq!(refusal.requirement(), PLUGIN_LEAST, "{method}");
        }
        for method in ["tool.register", "plugin.declare"] {
            let refusal = host.answer(method, &json!({})).await.unwrap_err();
            assert_eq!(refusal.requirement(), REGISTRY_NO_SHADOW);
        }
    }

    #[tokio::test]
    async fn the_paths_of_a_plugin_pass_the_same_rules_as_those_of_a_tool() {
        let (_folder, host) = host(&[Grant::WorkspaceRead]);
        for (path, by) in [("../x", PATH_TRAVERSAL), ("/etc/passwd", PATH_ABSOLUTE)] {
            let refusal = host.answer("workspace.read", &json!({"path": path})).await.unwrap_err();
            assert_eq!(refusal.requirement(), by);
        }
    }
}
