//! Each defence of the first rooms, missing alone: what it stops goes through, what its neighbours
//! stop does not. A knockout lasts for a process, so every test runs in one of its own.

use std::{fs, path::Path, time::Duration};

use clawproof_runtime::{
    audit::{Audit, Correlation, Event, Kind, Outcome, Redactor, verify},
    boundary::{
        Limits, json,
        path::{FileError, Os, Workspace, lexical},
        text,
    },
    config::{Config, Level},
    rate::Limiter,
    requirement::{self, Requirement, knockout},
    vault::{ApiKey, MasterPassword, Vault},
};
use serde_json::Value;
use tempfile::TempDir;

/// Runs the body in a fresh process in which the requirement is knocked out.
fn without(requirement: Requirement, test: &str, body: impl FnOnce()) {
    const ALONE: &str = "CLAWPROOF_KNOCKOUT_TEST";
    if std::env::var_os(ALONE).is_some() {
        knockout::set(requirement);
        return body();
    }
    #[expect(clippy::disallowed_methods, reason = "a knockout lasts for a process")]
    let ended = std::process::Command::new(std::env::current_exe().unwrap())
        .args([&format!("knockout::{test}"), "--exact", "--nocapture"])
        .env(ALONE, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ended.stdout).into_owned();
    assert!(
        ended.status.success() && said.contains("1 passed"),
        "{said}{}",
        String::from_utf8_lossy(&ended.stderr)
    );
}

fn parsed(bytes: &[u8]) -> Result<Value, Requirement> {
    json::parse::<Value>(bytes, &Limits::default())
        .map(clawproof_runtime::boundary::Checked::into_inner)
        .map_err(|refusal| refusal.requirement())
}

fn message(text: &str) -> Result<String, Requirement> {
    text::message(text.to_owned(), &Limits::default())
        .map(|checked| checked.into_inner().into_string())
        .map_err(|refusal| refusal.requirement())
}

/// What each of the input defences stops, but for the one that is knocked out.
fn the_others_hold(but: Requirement) {
    let refused = |requirement: Requirement, outcome: Result<(), Requirement>| {
        if requirement != but {
            assert_eq!(outcome, Err(requirement));
        }
    };
    refused(requirement::INPUT_JSON_DEPTH, parsed("[".repeat(40).as_bytes()).map(drop));
    refused(requirement::INPUT_JSON_STRICT, parsed(br#"{"a":1,"a":2}"#).map(drop));
    refused(requirement::INPUT_NULL_BYTE, parsed(br#""\u0000""#).map(drop));
    refused(requirement::INPUT_NULL_BYTE, message("\0").map(drop));
    refused(requirement::INPUT_UTF8, parsed(b"\"\xff\"").map(drop));
    refused(requirement::INPUT_CONTROL_CHARS, message("\u{1b}[2J").map(drop));
    refused(requirement::INPUT_MESSAGE_SIZE, message(&"x".repeat(100_001)).map(drop));
}

#[test]
fn utf8() {
    without(requirement::INPUT_UTF8, "utf8", || {
        assert_eq!(parsed(b"\"a\xffb\""), Ok("a\u{fffd}b".into()));
        the_others_hold(requirement::INPUT_UTF8);
    });
}

#[test]
fn null_byte() {
    without(requirement::INPUT_NULL_BYTE, "null_byte", || {
        assert_eq!(parsed(br#""a\u0000b""#), Ok("a\0b".into()));
        assert_eq!(message("a\0b"), Ok("a\0b".into()));
        the_others_hold(requirement::INPUT_NULL_BYTE);
    });
}

#[test]
fn control_chars() {
    without(requirement::INPUT_CONTROL_CHARS, "control_chars", || {
        assert_eq!(message("\u{1b}\u{9b}"), Ok("\u{1b}\u{9b}".into()));
        assert!(text::identifier("a\u{200b}").is_ok());
        the_others_hold(requirement::INPUT_CONTROL_CHARS);
    });
}

#[test]
fn message_size() {
    without(requirement::INPUT_MESSAGE_SIZE, "message_size", || {
        assert!(message(&"x".repeat(200_000)).is_ok());
        the_others_hold(requirement::INPUT_MESSAGE_SIZE);
    });
}

#[test]
fn json_depth() {
    without(requirement::INPUT_JSON_DEPTH, "json_depth", || {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(parsed(nested(33).as_bytes()).is_ok());
        assert!(parsed(nested(100).as_bytes()).is_ok());
        assert_eq!(parsed(nested(1_000_000).as_bytes()), Err(requirement::INPUT_JSON_STRICT));
        the_others_hold(requirement::INPUT_JSON_DEPTH);
    });
}

#[test]
fn json_strict() {
    without(requirement::INPUT_JSON_STRICT, "json_strict", || {
        assert_eq!(parsed(br#"{"a":1,"a":2} x"#), Ok(serde_json::json!({"a": 2})));
        for text in ["[1,]", "{a: 'b'}", "/* c */ 1", ".5", "+1", "\u{feff}1"] {
            assert!(parsed(text.as_bytes()).is_ok(), "{text}");
        }
        the_others_hold(requirement::INPUT_JSON_STRICT);
    });
}

#[test]
fn bounded_memory() {
    without(requirement::INPUT_BOUNDED_MEMORY, "bounded_memory", || {
        assert!(parsed(format!("\"{}\"", "x".repeat(2_000_000)).as_bytes()).is_ok());
        the_others_hold(requirement::INPUT_BOUNDED_MEMORY);
    });
}

#[test]
fn all_doors() {
    without(requirement::INPUT_ALL_DOORS, "all_doors", || {
        assert!(Config::parse(br"{ workspace: 'a\0b' }").is_ok());
        the_others_hold(requirement::INPUT_ALL_DOORS);
    });
}

/// A workspace with a link out of it, and the canary outside.
fn workspace() -> (TempDir, Workspace) {
    let folder = TempDir::new().unwrap();
    let root = folder.path().join("app");
    fs::create_dir(&root).unwrap();
    fs::write(folder.path().join("k"), "canary").unwrap();
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("../k", root.join("link")).unwrap();
        let fifo = rustix::fs::FileType::Fifo;
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, root.join("pipe"), fifo, mode, 0).unwrap();
    }
    let workspace = Workspace::open(&root).unwrap();
    (folder, workspace)
}

fn reads(workspace: &Workspace, path: &str) -> bool {
    let read = workspace.resolve(path).map_err(FileError::from);
    read.and_then(|path| workspace.read(&path, 100)).is_ok_and(|content| content == b"canary")
}

/// Which ways out of the workspace work: by `..`, by an absolute path, by a link.
fn ways_out(folder: &TempDir, workspace: &Workspace) -> [bool; 3] {
    let absolute = folder.path().join("k");
    [
        reads(workspace, "../k"),
        reads(workspace, absolute.to_str().unwrap()),
        reads(workspace, "link"),
    ]
}

#[test]
fn traversal() {
    without(requirement::PATH_TRAVERSAL, "traversal", || {
        let (folder, workspace) = workspace();
        assert_eq!(ways_out(&folder, &workspace), [true, false, false]);
    });
}

#[test]
fn absolute() {
    without(requirement::PATH_ABSOLUTE, "absolute", || {
        let (folder, workspace) = workspace();
        assert_eq!(ways_out(&folder, &workspace), [false, true, false]);
    });
}

#[cfg(unix)]
#[test]
fn link() {
    without(requirement::PATH_LINK, "link", || {
        let (folder, workspace) = workspace();
        assert_eq!(ways_out(&folder, &workspace), [false, false, true]);
    });
}

#[cfg(unix)]
#[test]
fn os_alias() {
    without(requirement::PATH_OS_ALIAS, "os_alias", || {
        let (folder, workspace) = workspace();
        assert_eq!(ways_out(&folder, &workspace), [false; 3]);
        let pipe = workspace.resolve("pipe").unwrap();
        assert_eq!(workspace.read(&pipe, 10).unwrap(), b"");
        assert!(lexical("docs/aux.md", Os::Windows).is_ok());
    });
}

fn event(kind: Kind, action: &str) -> Event {
    Event::new(kind, Outcome::Deny, "subject", action, Correlation::new())
}

fn kinds_without(requirement: Requirement, missing: Kind) {
    let state = TempDir::new().unwrap();
    let audit = Audit::open(state.path(), Redactor::new()).unwrap();
    let all = [Kind::Auth, Kind::Authorization, Kind::Tool, Kind::Config, Kind::RateLimit];
    for kind in all {
        assert_eq!(kind.requirement() == requirement, kind == missing);
        audit.record_blocking(event(kind, "action")).unwrap();
    }
    let log = fs::read_to_string(state.path().join("audit/audit.jsonl")).unwrap();
    for kind in all {
        let word = format!("\"kind\":\"{}\"", kind.as_str());
        assert_eq!(log.contains(&word), kind != missing, "{kind:?}");
    }
}

#[test]
fn audit_auth() {
    let requirement = requirement::AUDIT_AUTH;
    without(requirement, "audit_auth", || kinds_without(requirement, Kind::Auth));
}

#[test]
fn audit_authorization() {
    let requirement = requirement::AUDIT_AUTHORIZATION;
    without(requirement, "audit_authorization", || {
        kinds_without(requirement, Kind::Authorization);
    });
}

#[test]
fn audit_tool() {
    let requirement = requirement::AUDIT_TOOL;
    without(requirement, "audit_tool", || kinds_without(requirement, Kind::Tool));
}

#[test]
fn audit_config() {
    let requirement = requirement::AUDIT_CONFIG;
    without(requirement, "audit_config", || kinds_without(requirement, Kind::Config));
}

#[test]
fn audit_rate_limit() {
    let requirement = requirement::AUDIT_RATE_LIMIT;
    without(requirement, "audit_rate_limit", || kinds_without(requirement, Kind::RateLimit));
}

#[test]
fn audit_integrity() {
    without(requirement::AUDIT_INTEGRITY, "audit_integrity", || {
        let state = TempDir::new().unwrap();
        let audit = Audit::open(state.path(), Redactor::new()).unwrap();
        audit.record_blocking(event(Kind::Tool, "a\nforged")).unwrap();
        audit.record_blocking(event(Kind::Tool, "plain")).unwrap();
        let log = fs::read_to_string(state.path().join("audit/audit.jsonl")).unwrap();
        assert_eq!(log.lines().count(), 3);
        assert!(verify(state.path()).is_ok(), "no change is seen");
    });
}

#[test]
fn error_deny() {
    without(requirement::ERROR_DENY, "error_deny", || {
        let state = TempDir::new().unwrap();
        let audit = Audit::open(state.path(), Redactor::new()).unwrap();
        fs::remove_file(state.path().join("audit/audit.jsonl")).unwrap();
        audit.record_blocking(event(Kind::Tool, "unwritten")).unwrap();
    });
}

const SECRET: &str = "sk-canary-77";

#[test]
fn secret_no_leak() {
    without(requirement::SECRET_NO_LEAK, "secret_no_leak", || {
        let redactor = Redactor::new();
        redactor.add(SECRET);
        assert_eq!(redactor.redact(SECRET), SECRET);
        assert_eq!(format!("{}", ApiKey::new(SECRET.into())), "[REDACTED]");
    });
}

#[test]
fn secret_redacted() {
    without(requirement::SECRET_REDACTED, "secret_redacted", || {
        let key = ApiKey::new(SECRET.into());
        assert_eq!(format!("{key:?}{key}"), format!("{SECRET}{SECRET}"));
    });
}

struct Opened {
    state: TempDir,
    vault: Vault,
}

fn vault() -> Opened {
    let state = TempDir::new().unwrap();
    let vault = Vault::open(state.path(), MasterPassword::new("p".into())).unwrap();
    vault.put("a", &ApiKey::new(SECRET.into())).unwrap();
    vault.put("b", &ApiKey::new(SECRET.into())).unwrap();
    Opened { state, vault }
}

fn record(state: &Path, name: &str) -> std::path::PathBuf {
    state.join("vault").join(hex::encode(name)).with_extension("cred")
}

impl Opened {
    fn bytes(&self, name: &str) -> Vec<u8> {
        fs::read(record(self.state.path(), name)).unwrap()
    }

    /// Whether a flipped bit of the ciphertext and a swapped record go through.
    fn tamper_and_swap(&self) -> [bool; 2] {
        let path = record(self.state.path(), "a");
        let good = self.bytes("a");
        assert_eq!(self.vault.get("a").unwrap().unwrap().expose(), SECRET);
        let mut flipped = good.clone();
        flipped[51] ^= 1;
        fs::write(&path, flipped).unwrap();
        let tampered = self.vault.get("a").is_ok();
        fs::write(&path, self.bytes("b")).unwrap();
        let swapped = self.vault.get("a").is_ok();
        fs::write(&path, good).unwrap();
        [tampered, swapped]
    }
}

#[test]
fn vault_tamper() {
    without(requirement::VAULT_TAMPER, "vault_tamper", || {
        assert_eq!(vault().tamper_and_swap(), [true, false]);
    });
}

#[test]
fn vault_swap() {
    without(requirement::VAULT_SWAP, "vault_swap", || {
        assert_eq!(vault().tamper_and_swap(), [false, true]);
    });
}

#[test]
fn vault_kdf() {
    without(requirement::VAULT_KDF, "vault_kdf", || {
        let opened = vault();
        assert_eq!(opened.bytes("a")[10..22], [0, 32, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0]);
        assert_eq!(opened.tamper_and_swap(), [false, false]);
    });
}

#[test]
fn vault_cipher() {
    without(requirement::VAULT_CIPHER, "vault_cipher", || {
        let opened = vault();
        assert_eq!(opened.bytes("a")[38..50], opened.bytes("b")[38..50]);
        assert_eq!(opened.tamper_and_swap(), [false, false]);
    });
}

#[test]
fn vault_no_plaintext() {
    without(requirement::VAULT_NO_PLAINTEXT, "vault_no_plaintext", || {
        let opened = vault();
        let plain = record(opened.state.path(), "a").with_extension("plain");
        assert_eq!(fs::read_to_string(plain).unwrap(), SECRET);
        assert_eq!(opened.vault.list().unwrap(), ["a", "b"]);
    });
}

#[cfg(unix)]
#[test]
fn vault_permissions() {
    use std::os::unix::fs::PermissionsExt;
    without(requirement::VAULT_PERMISSIONS, "vault_permissions", || {
        let opened = vault();
        let path = record(opened.state.path(), "a");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        assert_eq!(opened.tamper_and_swap(), [false, false]);
    });
}

#[test]
fn vault_crash_safe() {
    without(requirement::VAULT_CRASH_SAFE, "vault_crash_safe", || {
        let opened = vault();
        let before = fs::metadata(record(opened.state.path(), "a")).unwrap();
        opened.vault.put("a", &ApiKey::new(SECRET.into())).unwrap();
        let after = fs::metadata(record(opened.state.path(), "a")).unwrap();
        assert_eq!(before.created().ok(), after.created().ok(), "the same file, rewritten");
    });
}

#[test]
fn rate_bounded() {
    without(requirement::RATE_BOUNDED, "rate_bounded", || {
        let limiter = Limiter::new(1, Duration::from_secs(60), 10);
        assert!((0..100).all(|key| limiter.admit(&key, 1).is_ok()));
        assert_eq!(limiter.identities(), 100);
        assert!(limiter.admit(&5, 1).is_err());
    });
}

#[test]
fn configuration() {
    without(requirement::RATE_OVERRIDE, "configuration", || {
        let config = Config::parse(b"{ rates: { requestsPerMinute: 5 } }").unwrap();
        assert_eq!(config.rates.requests_per_minute, 60);
        assert_eq!(config.sandbox.level, Level::Strict);
    });
}

#[test]
fn default_strict() {
    without(requirement::SANDBOX_DEFAULT_STRICT, "default_strict", || {
        assert_eq!(Config::parse(b"{}").unwrap().sandbox.level, Level::None);
    });
}

#[test]
fn looser_per_tool() {
    without(requirement::SANDBOX_LOOSER_PER_TOOL, "looser_per_tool", || {
        let config = Config::parse(b"{ sandbox: { tools: { exec: 'relaxed' } } }").unwrap();
        assert_eq!(config.level("read_file"), Level::Relaxed);
    });
}
