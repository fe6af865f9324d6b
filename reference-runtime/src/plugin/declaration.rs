//! What a plugin says about itself, once, before anything of it runs: `plugin.json`. It must never
//! take anything from the plugin's process.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::bundle::Bundle;
use crate::{
    audit::Rejection,
    boundary::{Limits, json, text},
    config::{self, Capability, Grant, Level},
    registry::{Capabilities, Declared, Kind, Tool},
    requirement::{PLUGIN_LEAST, PLUGIN_PEER},
};

/// The most tools of one plugin.
const MOST_TOOLS: usize = 64;
const INVALID: &str = "a plugin's declaration is not valid";

/// `plugin.json`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Declaration {
    pub(super) name: String,
    pub(super) version: String,
    /// Its program, relative to the folder.
    pub(super) main: String,
    #[serde(default = "strict")]
    pub(super) sandbox: Level,
    /// What it wants to ask of the runtime.
    #[serde(default)]
    pub(super) host: BTreeSet<Grant>,
    tools: Vec<Declares>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Declares {
    name: String,
    description: String,
    parameters: Map<String, Value>,
    #[serde(default)]
    capabilities: BTreeSet<Capability>,
}

const fn strict() -> Level {
    Level::Strict
}

impl Declaration {
    /// Reads the declaration of a folder's content.
    ///
    /// # Errors
    /// A requirement of Layer 1 that the file breaks; `plugin.least` where it is not sound or wants
    /// what a plugin cannot have.
    pub(super) fn read(bundle: &Bundle) -> Result<Self, Rejection> {
        let wrong = |cause: String| {
            PLUGIN_LEAST.refuse(INVALID, format!("{}: {cause}", bundle.folder().display()))
        };
        let bytes = bundle.file("plugin.json").ok_or_else(|| wrong("no plugin.json".into()))?;
        let read: Self = json::parse(bytes, &Limits::default())?.into_inner();
        read.sound(bundle).map_err(wrong)?;
        Ok(read)
    }

    fn sound(&self, bundle: &Bundle) -> Result<(), String> {
        let Self { name, version, main, tools, .. } = self;
        if !plain(name, "-") {
            return Err(format!("name {name:?}: a-z, 0-9 and -, a letter first, at most 64"));
        }
        let dotted = |it: u8| it.is_ascii_alphanumeric() || b".-+".contains(&it);
        if version.is_empty() || version.len() > 64 || !version.bytes().all(dotted) {
            return Err(format!("version {version:?}"));
        }
        let script = [".js", ".mjs", ".cjs"].iter().any(|end| main.ends_with(end));
        if !script || bundle.file(main).is_none() {
            return Err(format!("main {main:?} is no .js, .mjs or .cjs file of the folder"));
        }
        if self.sandbox == Level::None {
            return Err("sandbox: strict or relaxed".into());
        }
        if tools.is_empty() || tools.len() > MOST_TOOLS {
            return Err(format!("tools: 1 to {MOST_TOOLS}"));
        }
        tools.iter().try_for_each(Declares::sound)
    }

    /// Its tools, as they are from now on.
    pub(super) fn declared(&self) -> Vec<Declared> {
        let plugin: &'static str = self.name.clone().leak();
        let of = |tool: &Declares| Declared { tool: tool.frozen(plugin), level: self.sandbox };
        self.tools.iter().map(of).collect()
    }

    /// The names of its tools.
    pub(super) fn tools(&self) -> impl Iterator<Item = &str> {
        self.tools.iter().map(|tool| tool.name.as_str())
    }

    /// What the sandbox of its process has to allow.
    pub(super) fn capabilities(&self) -> Capabilities {
        self.tools.iter().flat_map(|tool| tool.capabilities.iter().copied()).collect()
    }

    /// What it may ask of the runtime: what it wants and what was granted.
    pub(super) fn granted(&self, accepted: &config::Plugin) -> BTreeSet<Grant> {
        self.host.intersection(&accepted.grants).copied().collect()
    }

    /// Whether the operator accepted exactly this.
    ///
    /// # Errors
    /// `plugin.peer`: the content is another. `plugin.least`: it wants a looser sandbox.
    pub(super) fn accepted(
        &self,
        bundle: &Bundle,
        accepted: &config::Plugin,
    ) -> Result<(), Rejection> {
        let digest = bundle.digest();
        PLUGIN_PEER.check(
            digest == accepted.sha256,
            "the content of a plugin is not the one that was accepted",
            || format!("{}: sha256 is {digest}", bundle.folder().display()),
        )?;
        PLUGIN_LEAST.check(
            self.sandbox >= accepted.level,
            "a plugin declares a looser sandbox than the configuration accepts",
            || format!("{}: {:?}, accepted {:?}", self.name, self.sandbox, accepted.level),
        )
    }
}

impl Declares {
    fn sound(&self) -> Result<(), String> {
        let Self { name, description, parameters, capabilities } = self;
        if !plain(name, "_") {
            return Err(format!("tool {name:?}: a-z, 0-9 and _, a letter first, at most 64"));
        }
        let harmless = text::no_null(description).and_then(|()| text::no_controls(description));
        if description.is_empty() || description.len() > 1_000 || harmless.is_err() {
            return Err(format!("the description of {name}: 1 to 1,000 bytes of text"));
        }
        if parameters.get("type") != Some(&Value::from("object")) {
            return Err(format!("the parameters of {name} are a JSON Schema of type object"));
        }
        let can = [Capability::Read, Capability::Network];
        match capabilities.iter().find(|one| !can.contains(one)) {
            None => Ok(()),
            Some(other) => Err(format!("{name}: a plugin's tool cannot have {other:?}")),
        }
    }

    /// The declaration for the life of this process.
    fn frozen(&self, plugin: &'static str) -> &'static Tool {
        Box::leak(Box::new(Tool {
            name: self.name.clone().leak(),
            description: self.description.clone().leak(),
            capabilities: self.capabilities.iter().copied().collect(),
            schema: Value::Object(self.parameters.clone()).to_string().leak(),
            paths: &[],
            opt_in: false,
            kind: Kind::Plugin(plugin),
        }))
    }
}

fn plain(name: &str, joint: &str) -> bool {
    let inner = |it: char| it.is_ascii_lowercase() || it.is_ascii_digit() || joint.contains(it);
    name.len() <= 64
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.chars().all(inner)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn bundle(declaration: &Value) -> (tempfile::TempDir, Bundle) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("plugin.json"), declaration.to_string()).unwrap();
        std::fs::write(folder.path().join("main.js"), "").unwrap();
        let bundle = Bundle::read(folder.path()).unwrap();
        (folder, bundle)
    }

    fn sample() -> Value {
        json!({
            "name": "count", "version": "1.0.0", "main": "main.js", "host": ["log"],
            "tools": [{"name": "count_words", "description": "Counts.",
                       "parameters": {"type": "object"}, "capabilities": ["read"]}],
        })
    }

    #[test]
    fn a_declaration_holds_what_it_says_and_is_strict_by_default() {
        let (_folder, bundle) = bundle(&sample());
        let read = Declaration::read(&bundle).unwrap();
        assert_eq!(read.sandbox, Level::Strict);
        let declared = read.declared();
        assert_eq!(declared[0].tool.name, "count_words");
        assert!(matches!(declared[0].tool.kind, Kind::Plugin("count")));
    }

    #[test]
    fn what_is_not_sound_is_refused() {
        for (place, value) in [
            ("/name", json!("Count")),
            ("/name", json!("a/b")),
            ("/version", json!("1\n")),
            ("/main", json!("../main.js")),
            ("/main", json!("other.js")),
            ("/host", json!(["credentials.get"])),
            ("/tools", json!([])),
            ("/tools/0/name", json!("count words")),
            ("/tools/0/description", json!("\u{1b}[2J")),
            ("/tools/0/parameters", json!({"type": "array"})),
            ("/tools/0/capabilities", json!(["process"])),
            ("/tools/0/capabilities", json!(["write"])),
        ] {
            let mut changed = sample();
            *changed.pointer_mut(place).unwrap() = value;
            let (_folder, bundle) = bundle(&changed);
            assert!(Declaration::read(&bundle).is_err(), "{changed}");
        }
        for (key, value) in [("sandbox", json!("none")), ("permissions", json!([]))] {
            let mut changed = sample();
            changed[key] = value;
            let (_folder, bundle) = bundle(&changed);
            assert!(Declaration::read(&bundle).is_err(), "{changed}");
        }
    }

    #[test]
    fn other_content_than_was_accepted_is_refused_and_so_is_a_looser_sandbox() {
        let mut looser = sample();
        looser["sandbox"] = json!("relaxed");
        for (declaration, level, refused) in [
            (sample(), Level::Strict, None),
            (sample(), Level::Relaxed, None),
            (looser.clone(), Level::Relaxed, None),
            (looser, Level::Strict, Some(PLUGIN_LEAST)),
        ] {
            let (_folder, bundle) = bundle(&declaration);
            let read = Declaration::read(&bundle).unwrap();
            let mut accepted = config::Plugin {
                path: bundle.folder().to_owned(),
                sha256: bundle.digest(),
                grants: [Grant::WorkspaceRead, Grant::Log].into(),
                level,
            };
            let found = read.accepted(&bundle, &accepted).err().map(|it| it.requirement());
            assert_eq!(found, refused);
            assert_eq!(read.granted(&accepted), [Grant::Log].into());
            accepted.sha256 = "0".repeat(64);
            let found = read.accepted(&bundle, &accepted).unwrap_err();
            assert_eq!(found.requirement(), PLUGIN_PEER);
        }
    }
}
