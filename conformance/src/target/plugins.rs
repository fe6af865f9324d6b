//! How a plugin is put into a target, as its manifest says it: files, what accepts them, and what
//! its connection speaks. It must never know what a plugin is told to do.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::command_line::Command;
use super::start_error::StartError;
use super::template::Vars;
use super::world::World;

/// How a plugin of the suite's is put into the target. Beside the manifest's variables its strings
/// may use `${PLUGIN}` (the folder), `${NAME}`, `${LEVEL}` (strict or relaxed), `${TOOLS}`,
/// `${WANTS}`, `${GRANTS}`, `${PROGRAM}` and `${DIGEST}`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Plugins {
    /// Programs that must be on PATH to run one: `node`.
    #[serde(default)]
    pub requires: Vec<String>,
    /// The folder of one plugin.
    pub folder: String,
    /// The files in it, by name. One of them holds `${PROGRAM}`: JavaScript for Node, which is
    /// started with the place of its socket as first argument, as a path or `ipc://` and a path.
    pub files: BTreeMap<String, String>,
    /// One tool as it is declared, with `${TOOL}` for its name; it takes any object. `${TOOLS}` is
    /// all of them with commas between.
    pub tool: String,
    /// What a plugin can be granted, by role: `list` the names of its own tools, `read` a file of
    /// the workspace, `log` a line of the log. The value is the method's name. `${WANTS}` and
    /// `${GRANTS}` are JSON arrays of such names.
    #[serde(default)]
    pub grants: BTreeMap<String, String>,
    /// A command whose standard output is `${DIGEST}`, where the target asks for one.
    #[serde(default)]
    pub digest: Option<Command>,
    /// JSON pointer to the list of plugins in the configuration, such as `/plugins`.
    pub list: String,
    /// One entry of it: a JSON value.
    pub entry: String,
    /// What is said on the connection.
    pub protocol: Protocol,
}

/// What is said on the connection of a plugin: JSON-RPC 2.0 in messages of the wire that nng speaks
/// over `ipc://`, protocol `pair`, version 0.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Protocol {
    /// The method by which the target greets, where it does.
    #[serde(default)]
    pub hello: Option<String>,
    /// What it is answered: a JSON value.
    #[serde(default)]
    pub welcome: Option<String>,
    /// The method by which the target has a tool called.
    pub call: String,
    /// JSON pointer to the tool's arguments in that request, such as `/params/arguments`.
    pub arguments: String,
    /// JSON pointer in the result at which the tool's text stands, such as `/content`.
    pub answer: String,
}

/// One plugin to be put into a target.
#[derive(Clone, Debug, PartialEq)]
pub struct Install {
    /// Its name.
    pub name: String,
    /// The names of its tools.
    pub tools: Vec<String>,
    /// What it wants, and what of that it is granted, by role.
    pub wants: Vec<String>,
    /// See `wants`.
    pub grants: Vec<String>,
    /// The level that it declares.
    pub level: String,
    /// Its program.
    pub program: String,
}

impl Plugins {
    /// A program that must be there and is not.
    #[must_use]
    pub fn missing(&self) -> Option<&str> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let there = |name: &&String| {
            !std::env::split_paths(&path).any(|folder| folder.join(name).is_file())
        };
        self.requires.iter().find(there).map(String::as_str)
    }

    /// Where a plugin stands, with the other variables of its templates but the digest.
    pub(super) fn vars(&self, vars: &Vars, install: &Install) -> Result<Vars, StartError> {
        let mut vars = vars.clone();
        let tools = install.tools.iter().map(|tool| {
            let mut own = vars.clone();
            own.set("TOOL", tool.as_str());
            own.fill_text(&self.tool)
        });
        let tools = tools.collect::<Result<Vec<_>, _>>()?.join(",");
        let names = |roles: &[String]| {
            let known = roles.iter().filter_map(|role| self.grants.get(role));
            Value::from_iter(known.cloned()).to_string()
        };
        vars.set("NAME", install.name.as_str())
            .set("LEVEL", install.level.as_str())
            .set("TOOLS", tools)
            .set("WANTS", names(&install.wants))
            .set("GRANTS", names(&install.grants))
            .set("PROGRAM", install.program.as_str())
            .set("DIGEST", "");
        let folder = vars.fill_text(&self.folder)?;
        vars.set("PLUGIN", folder);
        Ok(vars)
    }

    /// Writes the files of a plugin.
    pub(super) fn write(&self, world: &World, vars: &Vars) -> Result<(), StartError> {
        let folder = PathBuf::from(vars.text("PLUGIN"));
        for (name, text) in &self.files {
            world.write(&folder.join(name), &vars.fill(text)?, 0o644)?;
        }
        Ok(())
    }

    /// The merge patch that has all these plugins in the configuration.
    pub(super) fn patch(&self, entries: Vec<Value>) -> Value {
        let mut patch = Value::Array(entries);
        for key in self.list.split('/').rev().filter(|key| !key.is_empty()) {
            patch = Value::Object([(key.to_owned(), patch)].into_iter().collect());
        }
        patch
    }

    /// One entry of the configuration.
    pub(super) fn entry(&self, vars: &Vars) -> Result<Value, StartError> {
        serde_json::from_str(&vars.fill_text(&self.entry)?)
            .map_err(|error| StartError::Manifest(format!("the manifest's plugins.entry: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn plugins() -> Plugins {
        toml::from_str(
            "folder = \"${HOME}/p/${NAME}\"\nlist = \"/a/plugins\"\n\
             tool = '{\"name\":\"${TOOL}\"}'\nentry = '{\"at\":\"${PLUGIN|escape}\",\"may\":${GRANTS}}'\n\
             [files]\n\"x.json\" = '[${TOOLS}]'\n[grants]\nread = \"fs.read\"\n\
             [protocol]\ncall = \"call\"\narguments = \"/params\"\nanswer = \"/text\"\n",
        )
        .unwrap()
    }

    #[test]
    fn a_plugin_is_written_and_entered_as_the_manifest_says() {
        let (plugins, world) = (plugins(), World::new().unwrap());
        let mut vars = Vars::new();
        vars.set("HOME", world.home().to_string_lossy().into_owned());
        let install = Install {
            name: "one".into(),
            tools: vec!["a".into(), "b".into()],
            wants: vec!["read".into()],
            grants: vec!["read".into(), "unknown".into()],
            level: "strict".into(),
            program: String::new(),
        };
        let vars = plugins.vars(&vars, &install).unwrap();
        plugins.write(&world, &vars).unwrap();
        let folder = PathBuf::from(vars.text("PLUGIN"));
        assert_eq!(folder, world.home().join("p/one"));
        let text = std::fs::read_to_string(folder.join("x.json")).unwrap();
        assert_eq!(text, r#"[{"name":"a"},{"name":"b"}]"#);
        let patch = plugins.patch(vec![plugins.entry(&vars).unwrap()]);
        assert_eq!(patch, json!({"a": {"plugins": [{"at": folder, "may": ["fs.read"]}]}}));
    }
}
