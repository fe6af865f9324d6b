//! The configuration file: what it says, and what is said about a wrong one.

use std::{fs, path::Path, time::Duration};

use clawproof_runtime::{
    boundary::Limits,
    config::{Config, Level, Provider},
    requirement::{self, Requirement},
};

fn parse(text: &str) -> Config {
    Config::parse(text.as_bytes()).unwrap()
}

fn refused(text: &str) -> (Requirement, String) {
    let refusal = Config::parse(text.as_bytes()).unwrap_err();
    (refusal.requirement(), refusal.cause().to_owned())
}

#[test]
fn nothing_configured_is_the_safe_default() {
    let config = parse("{}");
    assert_eq!(config, Config::default());
    assert_eq!(config.sandbox.level, Level::Strict);
    assert!(config.gateway.listen.ip().is_loopback());
    assert_eq!((config.rates.requests_per_minute, config.rates.messages_per_minute), (60, 30));
    assert_eq!(config.limits, Limits::default());
    assert_eq!(config.model.provider, Provider::Scripted);
}

#[test]
fn each_key_overrides_its_default_alone() {
    let config = parse(
        "{ rates: { requestsPerMinute: 5 }, agent: { timeoutSeconds: 7 },
           sandbox: { tools: { exec: 'relaxed' } }, limits: { messageBytes: 1000000 },
           model: { provider: 'openai', baseUrl: 'https://host.example/v1/', name: 'm' } }",
    );
    assert_eq!((config.rates.requests_per_minute, config.rates.messages_per_minute), (5, 30));
    assert_eq!((config.agent.max_steps, config.agent.timeout), (16, Duration::from_secs(7)));
    assert_eq!((config.level("exec"), config.level("Exec")), (Level::Relaxed, Level::Strict));
    assert!(config.limits.body_bytes > 6_000_000);
    assert_eq!(config.model.base_url.as_deref(), Some("https://host.example/v1"));
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest_known_one() {
    for (text, sentence) in [
        ("{ gatway: {} }", "gatway is not a key; the nearest is gateway"),
        ("{ gateway: { lisen: 'x' } }", "gateway.lisen is not a key; the nearest is listen"),
        ("{ rates: { requestsperminute: 1 } }", "the nearest is requestsPerMinute"),
        ("{ agent: { zzz: 1 } }", "agent.zzz is not a key; the keys here are maxSteps, "),
    ] {
        let (requirement, cause) = refused(text);
        assert_eq!(requirement, requirement::ERROR_DENY);
        assert!(cause.contains(sentence), "{cause}");
    }
}

#[test]
fn a_wrong_value_is_named_with_its_place() {
    for (text, place) in [
        ("{ gateway: { listen: 'here' } }", "gateway.listen"),
        ("{ sandbox: { level: 'loose' } }", "sandbox.level"),
        ("{ sandbox: { tools: { exec: 1 } } }", "sandbox.tools.exec"),
        ("{ sandbox: { uid: 0 } }", "sandbox.uid"),
        ("{ sandbox: { uid: -1 } }", "sandbox.uid"),
        ("{ limits: { jsonDepth: 128 } }", "limits.jsonDepth"),
        ("{ limits: { messageBytes: 0 } }", "limits.messageBytes"),
        ("{ rates: { messagesPerMinute: 0 } }", "rates.messagesPerMinute"),
        ("{ rates: 5 }", "rates"),
        ("{ model: { provider: 'openai' } }", "model.baseUrl"),
        ("{ model: { baseUrl: 'file:///x' } }", "model.baseUrl"),
        ("{ model: { baseUrl: 'http://u:p@host' } }", "the vault"),
        ("{ agent: { timeoutSeconds: 1.5 } }", "agent.timeoutSeconds"),
    ] {
        let (requirement, cause) = refused(text);
        assert_eq!(requirement, requirement::ERROR_DENY, "{text}");
        assert!(cause.contains(place), "{text}: {cause}");
    }
    for text in ["[]", "5", "{ rates: [1, 2] }"] {
        let (requirement, cause) = refused(text);
        assert_eq!(requirement, requirement::ERROR_DENY, "{text}");
        assert!(cause.contains("is not an object"), "{text}: {cause}");
    }
}

#[test]
fn the_file_goes_through_the_same_door_as_a_caller() {
    assert_eq!(refused("{ workspace: 'a\\0b' }").0, requirement::INPUT_NULL_BYTE);
    assert_eq!(refused("{ rates: {}, rates: {} }").0, requirement::INPUT_JSON_STRICT);
    assert_eq!(refused(&"[".repeat(100_000)).0, requirement::INPUT_JSON_DEPTH);
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("openclaw.json");
    fs::write(&path, vec![b' '; 2_000_000]).unwrap();
    let refusal = Config::load(&path).unwrap_err();
    assert_eq!(refusal.requirement(), requirement::INPUT_BOUNDED_MEMORY);
    fs::write(&path, "{ workspace: 'w' }").unwrap();
    assert_eq!(Config::load(&path).unwrap().workspace.as_deref(), Some(Path::new("w")));
    let missing = Config::load(&folder.path().join("missing")).unwrap_err();
    assert_eq!(missing.requirement(), requirement::ERROR_DENY);
    assert!(!missing.to_string().contains("missing"));
}

#[test]
fn the_published_schema_is_that_of_the_types() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/config.schema.json");
    let published: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    assert_eq!(published, Config::schema(), "`clawproof-runtime config schema` prints it anew");
    let validator = jsonschema::validator_for(&published).unwrap();
    assert!(validator.is_valid(&serde_json::json!({"limits": {"messageBytes": 5}})));
    assert!(validator.is_valid(&serde_json::to_value(Config::default()).unwrap()));
    for wrong in [
        r#"{"limit": {}}"#,
        r#"{"limits": {"messageBytes": "5"}}"#,
        r#"{"sandbox": {"level": "loose"}}"#,
    ] {
        assert!(!validator.is_valid(&serde_json::from_str(wrong).unwrap()), "{wrong}");
    }
}
