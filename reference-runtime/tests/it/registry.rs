//! The registry from outside: which calls become authorised.

use clawproof_runtime::{
    config::{Config, Level},
    registry::{Capability, ToolCall, ToolRegistry},
    requirement::{self, Requirement},
};
use serde_json::{Value, json};

fn call(name: &str, arguments: Value) -> ToolCall {
    ToolCall { id: "call-1".into(), name: name.into(), arguments }
}

fn refused(registry: &ToolRegistry, name: &str, arguments: Value) -> Requirement {
    registry.authorize(call(name, arguments)).unwrap_err().requirement()
}

fn registry() -> ToolRegistry {
    ToolRegistry::new(&Config::default()).unwrap()
}

#[test]
fn a_registered_tool_with_fitting_arguments_is_authorised() {
    let registry = registry();
    for (name, arguments) in [
        ("read_file", json!({"path": "a.txt"})),
        ("write_file", json!({"path": "a.txt", "content": ""})),
        ("list_files", json!({"path": "."})),
        ("exec", json!({"argv": ["/bin/echo", "; rm -rf /", "$(id)", "--", "@file"]})),
    ] {
        let authorised = registry.authorize(call(name, arguments.clone())).unwrap();
        assert_eq!(authorised.get().arguments, arguments, "{name}: arguments are data");
        assert_eq!(authorised.tool().name, name);
    }
}

#[test]
fn an_unknown_name_is_not_registered() {
    for name in ["", "shell", "read_files", "exec2", "../exec", "tools/exec"] {
        let found = refused(&registry(), name, json!({"argv": ["id"]}));
        assert_eq!(found, requirement::REGISTRY_ONLY_REGISTERED, "{name:?}");
    }
}

#[test]
fn a_look_alike_is_refused_by_the_exact_name() {
    for name in
        ["Exec", "EXEC", "exec ", "ｅｘｅｃ", "ехес", "ex\u{200b}ec", "read-file", "READ_FILE"]
    {
        let found = refused(&registry(), name, json!({"argv": ["id"]}));
        assert_eq!(found, requirement::REGISTRY_EXACT_NAME, "{name:?}");
    }
    let found = refused(&registry(), "exec\0", json!({"argv": ["id"]}));
    assert_eq!(found, requirement::INPUT_NULL_BYTE);
}

#[test]
fn a_disabled_tool_does_not_exist() {
    let mut config = Config::default();
    config.tools.disabled.insert("exec".into());
    let registry = ToolRegistry::new(&config).unwrap();
    assert!(registry.list().iter().all(|tool| tool.name != "exec"));
    let found = refused(&registry, "exec", json!({"argv": ["id"]}));
    assert_eq!(found, requirement::REGISTRY_ONLY_REGISTERED);
    let found = refused(&registry, "EXEC", json!({"argv": ["id"]}));
    assert_eq!(found, requirement::REGISTRY_ONLY_REGISTERED);
}

#[test]
fn arguments_that_do_not_fit_the_schema_are_refused() {
    for (name, arguments) in [
        ("read_file", json!({})),
        ("read_file", json!({"path": 1})),
        ("read_file", json!({"path": ["a"]})),
        ("read_file", json!({"path": "a", "content": "x"})),
        ("read_file", json!({"path": ""})),
        ("read_file", json!("a")),
        ("read_file", json!([{"path": "a"}])),
        ("read_file", Value::Null),
        ("write_file", json!({"path": "a"})),
        ("write_file", json!({"path": "a", "content": null})),
        ("exec", json!({"argv": "id"})),
        ("exec", json!({"argv": []})),
        ("exec", json!({"argv": ["id", 1]})),
        ("exec", json!({"argv": ["id"], "shell": true})),
        ("exec", json!({"ARGV": ["id"]})),
    ] {
        let found = refused(&registry(), name, arguments.clone());
        assert_eq!(found, requirement::REGISTRY_SCHEMA, "{name} {arguments}");
    }
}

#[test]
fn a_null_byte_anywhere_in_the_arguments_is_refused() {
    for (name, arguments) in [
        ("read_file", json!({"path": "a\0b"})),
        ("write_file", json!({"path": "a", "content": "x\0"})),
        ("exec", json!({"argv": ["echo", "a\0"]})),
        ("exec", json!({"argv": ["echo"], "a\0": 1})),
    ] {
        let found = refused(&registry(), name, arguments);
        assert_eq!(found, requirement::INPUT_NULL_BYTE);
    }
}

#[test]
fn a_path_is_checked_before_anything_is_launched() {
    let registry = registry();
    let path = |path: &str| refused(&registry, "read_file", json!({ "path": path }));
    assert_eq!(path("../x"), requirement::PATH_TRAVERSAL);
    assert_eq!(path("a/../../x"), requirement::PATH_TRAVERSAL);
    assert_eq!(path("/etc/passwd"), requirement::PATH_ABSOLUTE);
}

#[test]
fn an_absolute_path_into_the_workspace_is_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config { workspace: Some(folder.path().into()), ..Config::default() };
    let registry = ToolRegistry::new(&config).unwrap();
    let inside = folder.path().canonicalize().unwrap().join("a.txt");
    let arguments = json!({ "path": inside.to_str().unwrap() });
    assert!(registry.authorize(call("read_file", arguments)).is_ok());
}

#[test]
fn a_shell_exists_only_where_the_configuration_asks_for_it() {
    let script = json!({"script": "id"});
    let found = refused(&registry(), "shell", script.clone());
    assert_eq!(found, requirement::REGISTRY_ONLY_REGISTERED);
    let mut config = Config::default();
    config.tools.enabled.insert("shell".into());
    let asked = ToolRegistry::new(&config).unwrap();
    assert_eq!(asked.authorize(call("shell", script.clone())).unwrap().tool().name, "shell");
    assert_eq!(refused(&asked, "exec", script.clone()), requirement::REGISTRY_SCHEMA);
    config.tools.disabled.insert("shell".into());
    let both = ToolRegistry::new(&config).unwrap();
    assert_eq!(refused(&both, "shell", script), requirement::REGISTRY_ONLY_REGISTERED);
}

#[test]
fn a_tool_that_only_asks_the_network_exists_where_the_level_leaves_one() {
    let page = json!({"url": "https://example.org/"});
    let found = refused(&registry(), "http_fetch", page.clone());
    assert_eq!(found, requirement::REGISTRY_ONLY_REGISTERED);
    let mut config = Config::default();
    config.sandbox.tools.insert("http_fetch".into(), Level::Relaxed);
    let relaxed = ToolRegistry::new(&config).unwrap();
    let authorised = relaxed.authorize(call("http_fetch", page)).unwrap();
    assert!(authorised.capabilities().has(Capability::Network));
    assert!(!authorised.capabilities().has(Capability::Write));
}

#[test]
fn a_configuration_that_names_an_unknown_tool_is_refused() {
    let mut config = Config::default();
    config.sandbox.tools.insert("exce".into(), Level::None);
    let refusal = ToolRegistry::new(&config).unwrap_err();
    assert_eq!(refusal.requirement(), requirement::REGISTRY_ONLY_REGISTERED);
    assert!(refusal.cause().contains("exce"));
}

#[test]
fn the_list_shows_schema_capabilities_and_level() {
    let mut config = Config::default();
    config.sandbox.tools.insert("exec".into(), Level::Relaxed);
    let list = ToolRegistry::new(&config).unwrap().list();
    let shown = serde_json::to_value(&list).unwrap();
    let names: Vec<&str> = list.iter().map(|tool| tool.name).collect();
    assert_eq!(
        names,
        ["read_file", "write_file", "edit_file", "list_files", "search_files", "exec"]
    );
    assert_eq!(shown[0]["capabilities"], json!(["read"]));
    assert_eq!(shown[0]["level"], "strict");
    assert_eq!(shown[5]["level"], "relaxed");
    assert_eq!(shown[5]["parameters"]["required"], json!(["argv"]));
}

fn with_capabilities(tool: &str, granted: &[Capability]) -> Result<ToolRegistry, Requirement> {
    let mut config = Config::default();
    config.tools.capabilities.insert(tool.into(), granted.iter().copied().collect());
    ToolRegistry::new(&config).map_err(|refusal| refusal.requirement())
}

#[test]
fn the_configuration_takes_capabilities_away_and_adds_none() {
    let registry = with_capabilities("exec", &[Capability::Read, Capability::Process]).unwrap();
    let call = || call("exec", json!({"argv": ["id"]}));
    let capabilities = registry.authorize(call()).unwrap().capabilities();
    assert!(!capabilities.has(Capability::Write) && !capabilities.has(Capability::Network));
    let listed = registry.list().into_iter().find(|tool| tool.name == "exec").unwrap();
    assert_eq!(listed.capabilities, capabilities, "the list says what is granted");

    let registry = with_capabilities("exec", &[Capability::Read]).unwrap();
    let refused = registry.authorize(call()).unwrap_err().requirement();
    assert_eq!(refused, requirement::REGISTRY_CAPABILITY, "exec without programs");

    for (tool, granted, why) in [
        ("read_file", &[Capability::Read, Capability::Write][..], requirement::REGISTRY_CAPABILITY),
        ("write_file", &[Capability::Write], requirement::REGISTRY_CAPABILITY),
        ("write_fil", &[Capability::Read], requirement::REGISTRY_ONLY_REGISTERED),
    ] {
        assert_eq!(with_capabilities(tool, granted).unwrap_err(), why, "{tool}");
    }
}
