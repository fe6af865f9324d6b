//! Plugins from outside: what is accepted, what is refused before anything runs, and the example of
//! the SDK at work. Those that run a plugin need Node and bubblewrap.

#![cfg(target_os = "linux")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clawproof_runtime::audit::{Audit, Correlation, Redactor};
use clawproof_runtime::config::{Config, Grant, Level, Plugin};
use clawproof_runtime::plugin::{self, Plugins};
use clawproof_runtime::registry::{ToolCall, ToolRegistry};
use clawproof_runtime::requirement;
use clawproof_runtime::sandbox::{Options, Sandbox};
use serde_json::{Value, json};

const SPARE: u32 = 60123;

fn root() -> bool {
    rustix::process::geteuid().is_root()
}

fn example() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../sdk/typescript/count-words")
}

/// A configuration that accepts a folder as it is.
fn accepting(folder: &Path, workspace: &Path) -> Config {
    let sha256 = plugin::look(folder).unwrap().sha256;
    let grants = [Grant::Log, Grant::WorkspaceRead].into();
    let accepted = Plugin { path: folder.to_owned(), sha256, grants, level: Level::Strict };
    let workspace = Some(workspace.to_owned());
    let mut config = Config { workspace, plugins: vec![accepted], ..Config::default() };
    config.sandbox.uid = root().then_some(SPARE);
    config
}

/// A copy of the example that a test may change.
fn copy(into: &Path) -> PathBuf {
    let folder = into.join("plugin");
    fs::create_dir(&folder).unwrap();
    for entry in fs::read_dir(example()).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), folder.join(entry.file_name())).unwrap();
    }
    folder
}

#[test]
fn content_that_was_not_accepted_is_refused_before_anything_runs() {
    let place = tempfile::tempdir().unwrap();
    let folder = copy(place.path());
    let config = accepting(&folder, place.path());
    assert_eq!(plugin::load(&config).unwrap().list()[0].tools, ["count_words"]);
    fs::write(folder.join("more.mjs"), "").unwrap();
    let refusal = plugin::load(&config).unwrap_err();
    assert_eq!(refusal.requirement(), requirement::PLUGIN_PEER);
}

#[test]
fn a_tool_of_a_plugin_never_has_the_name_of_another() {
    let place = tempfile::tempdir().unwrap();
    let folder = copy(place.path());
    let declaration = fs::read_to_string(folder.join("plugin.json")).unwrap();
    fs::write(folder.join("plugin.json"), declaration.replace("count_words", "read_file")).unwrap();
    let config = accepting(&folder, place.path());
    let declared = plugin::load(&config).unwrap().declared();
    let refusal = ToolRegistry::with(&config, declared).unwrap_err();
    assert_eq!(refusal.requirement(), requirement::REGISTRY_NO_SHADOW);
    // A change of the configuration has the same declarations.
    let good = accepting(&example(), place.path());
    let declared = plugin::load(&good).unwrap().declared();
    let registry = ToolRegistry::with(&good, declared).unwrap();
    let mut changed = good.clone();
    changed.tools.disabled.insert("count_words".into());
    let names = |registry: &ToolRegistry| -> Vec<_> {
        registry.list().into_iter().map(|tool| tool.name).collect()
    };
    assert!(names(&registry).contains(&"count_words"));
    assert!(!names(&registry.renewed(&changed).unwrap()).contains(&"count_words"));
}

/// A workspace with the example in it, ready to be called.
struct World {
    folder: tempfile::TempDir,
    registry: ToolRegistry,
    plugins: Plugins,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let workspace = folder.path().join("workspace");
        fs::create_dir(&workspace).unwrap();
        fs::write(workspace.join("note.txt"), "one two\nthree\n").unwrap();
        let config = accepting(&example(), &workspace);
        let shim = folder.path().join("runtime");
        fs::copy(env!("CARGO_BIN_EXE_clawproof-runtime"), &shim).unwrap();
        let options = Options { shim: Some(shim), ..Options::default() };
        let sandbox = Arc::new(Sandbox::with(&config, options));
        assert_eq!(sandbox.status().effective, "strict", "{:?}", sandbox.status().missing);
        let loaded = plugin::load(&config).unwrap();
        let registry = ToolRegistry::with(&config, loaded.declared()).unwrap();
        let audit = Audit::open(folder.path(), Redactor::new()).unwrap();
        let plugins = loaded.start(&config, &sandbox, &audit);
        Self { folder, registry, plugins }
    }

    async fn count(&self, arguments: Value) -> (bool, Value) {
        let call = ToolCall { id: "1".into(), name: "count_words".into(), arguments };
        let authorized = self.registry.authorize(call).unwrap();
        let done = self.plugins.call(authorized, &Correlation::new()).await.unwrap();
        assert_eq!(done.level(), Level::Strict);
        let outcome = done.into_inner();
        (outcome.completed, outcome.output)
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Node; `cargo xtask sdk` runs it"]
async fn the_example_of_the_sdk_counts_a_text_and_a_file_of_the_workspace() {
    let world = World::new();
    let counted = json!({"lines": 2, "words": 3, "characters": 14});
    assert_eq!(world.count(json!({"path": "note.txt"})).await, (true, counted));
    let (_, text) = world.count(json!({"text": "zwei Wörter"})).await;
    assert_eq!(text["words"], 2);
    let (completed, refused) = world.count(json!({"path": "../runtime"})).await;
    assert!(!completed, "{refused}");
    let records = fs::read_to_string(world.folder.path().join("audit/audit.jsonl")).unwrap();
    assert!(records.contains(r#""subject":"plugin:count-words","action":"start""#), "{records}");
    assert!(records.contains(r#""action":"host:workspace.read","requirement":"path.traversal""#));
}
