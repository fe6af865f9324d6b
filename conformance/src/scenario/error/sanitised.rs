//! What a refusal gives away: many of them are provoked, and their answers looked through. It must
//! never take a code for stable that was seen once.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::driver::http::{Reply, Request};
use crate::scenario::kit::{part, placeholders, set_header};
use crate::scenario::{Finding, Lab, Options, Target, Trouble};
use crate::stage::model::Answer;
use crate::target::process::contains;
use crate::target::world::random_hex;

/// Words of an inside that no caller needs: code, systems, libraries of several languages.
const INSIDE: &[&str] = &[
    "::",
    ".rs:",
    ".go:",
    ".py\"",
    ".java:",
    ".js:",
    "panicked",
    "backtrace",
    "traceback",
    "stack trace",
    "goroutine",
    "exception in",
    "os error",
    "errno",
    "enoent",
    "eacces",
    "econnrefused",
    "no such file or directory",
    "permission denied (os",
    "connection refused",
    "serde",
    "hyper",
    "tokio",
    "reqwest",
    "axum",
    "at line ",
    "expected value",
    "expected `",
    "trailing characters",
    "invalid type:",
    "missing field",
    "unknown field",
    "unknown variant",
    "node_modules",
    "site-packages",
    "nullpointer",
    "undefined is not",
    "cannot read propert",
    "some(",
    "none)",
    "err(",
    "ok(",
    "utf8error",
    "eof while parsing",
    "0x7f",
    "0x55",
];

/// What an answer shows of the inside, one sentence for each thing.
fn shows(target: &Target, body: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(body);
    let small = text.to_lowercase();
    let mut found: Vec<String> = INSIDE
        .iter()
        .filter(|word| small.contains(**word))
        .map(|word| format!("the words `{word}`"))
        .collect();
    let world = target.world();
    let names = [
        ("a path of the target", world.root().to_string_lossy().into_owned()),
        ("its key", target.var("SECRET")),
        ("its master password", target.var("MASTER")),
        ("a token", target.var("TOKEN")),
        ("its model's address", target.var("MODEL_URL").replace("http://", "").replace("/v1", "")),
    ];
    for (what, value) in names {
        if !value.is_empty() && text.contains(&value) {
            found.push(what.to_owned());
        }
    }
    for root in ["/usr/", "/home/", "/root/", "/tmp/", "/proc/", "/etc/", "/var/", "C:\\\\"] {
        if text.contains(root) {
            found.push(format!("a path under {root}"));
        }
    }
    found
}

/// A request that must be refused, by name.
type Provoke = (&'static str, fn(&mut Request));

/// Well-formed HTTP whose content cannot be served.
const PROVOKE: &[Provoke] = &[
    ("cut JSON", |request| {
        let body = request.pieces.concat();
        request.pieces = vec![body.get(..body.len() / 2).unwrap_or_default().to_vec()];
    }),
    ("an empty body", |request| request.pieces = vec![Vec::new()]),
    ("a body of another type", |request| request.pieces = vec![b"<xml/>".to_vec()]),
    ("a number for a body", |request| request.pieces = vec![b"17".to_vec()]),
    ("an empty batch", |request| request.pieces = vec![b"[]".to_vec()]),
    ("an empty object", |request| request.pieces = vec![b"{}".to_vec()]),
    ("malformed UTF-8", |request| request.pieces.push(vec![0xff, 0xc0, 0x80])),
    ("trailing data", |request| request.pieces.push(b" {}".to_vec())),
    ("too deep", |request| request.pieces = vec![b"[".repeat(5_000)]),
    ("too large", |request| request.pieces = vec![b" ".repeat(4_000_000)]),
    ("a path that is not there", |request| {
        request.path = format!("/{}", random_hex(8));
    }),
    ("a path that climbs", |request| request.path = "/../../etc/passwd".to_owned()),
    ("another HTTP method", |request| request.method = "PUT".to_owned()),
    ("no token", |request| {
        request.headers.retain(|(name, _)| !name.eq_ignore_ascii_case("authorization"));
    }),
    ("a foreign origin", |request| set_header(request, "Origin", "https://evil.example")),
    ("an encoded body", |request| set_header(request, "Content-Encoding", "gzip")),
];

/// Values that name nothing, for every call that takes one.
const STRANGE: &[(&str, &str)] = &[
    ("SESSION", "../../../etc/passwd"),
    ("SESSION", ""),
    ("NAME", "no/such\u{1}name"),
    ("NAME", "../../../etc/passwd"),
    ("ARGUMENTS", "[1,2]"),
    ("ARGUMENTS", "{\"path\":17,\"surplus\":true}"),
    ("ARGUMENTS", "{\"path\":\"no-such-file\"}"),
    ("ARGUMENTS", "{\"path\":\"../../../etc/shadow\"}"),
    ("TEXT", "\u{0}"),
];

pub(super) async fn answers(lab: Lab) -> Result<Finding, Trouble> {
    let mut finding = Finding::new();
    let target = lab.instance(Options::default()).await?;
    let mut errors: Vec<(String, Reply)> = Vec::new();
    for &(what, provoke) in PROVOKE {
        let mut request = target.rpc().request("session-create", &placeholders())?;
        provoke(&mut request);
        // Twice: the code must be the same one, the correlation id another.
        for _ in 0..2 {
            if let Ok(reply) = target.rpc().send(&request).await
                && reply.refused()
            {
                errors.push((what.to_owned(), reply));
            }
        }
    }
    for call in lab.manifest().calls.keys() {
        for (name, value) in STRANGE {
            let mut vars = placeholders();
            if let Some(tool) = lab.manifest().tools.get("read") {
                vars.set("NAME", tool.name.as_str());
            }
            vars.set(*name, *value);
            let answer = target.rpc().call(call, &vars).await;
            if let Ok(reply) = answer
                && reply.refused()
            {
                errors.push((format!("{call} with {name}={}", value.escape_debug()), reply));
            }
        }
    }
    errors.extend(of_the_model(&lab, &target).await?);
    let count = errors.len();
    finding.reached(count >= 20, format!("{count} refusals were collected"));
    finding.twin(target.session().await.is_ok(), "a sound request is served");
    for (what, reply) in &errors {
        let shown = shows(&target, &reply.body);
        let words = format!("{what} shows {}: {}", shown.join(", "), reply.summary());
        if !shown.is_empty() {
            finding.no_effect(false, words);
        }
    }
    codes_and_ids(&target, &errors, &mut finding).await;
    finding.no_effect(true, format!("{count} refusals were looked through"));
    Ok(finding)
}

/// Refusals because of what the model or a tool did, and what the model is told of its own calls.
async fn of_the_model(lab: &Lab, target: &Target) -> Result<Vec<(String, Reply)>, Trouble> {
    let mut errors = Vec::new();
    let answers = [
        ("a model that fails", Answer::Verbatim { status: 500, body: b"{\"error\":\"x\"}".into() }),
        ("a model that is no JSON", Answer::Verbatim { status: 200, body: b"<html>".into() }),
        ("a model without choices", Answer::Verbatim { status: 200, body: b"{}".into() }),
    ];
    for (what, answer) in answers {
        let run = target.answer(vec![answer]).await?;
        if let Ok(reply) = run.reply {
            errors.push((what.to_owned(), reply));
        }
    }
    for (what, path) in [
        ("a file that is not there", "no-such-file".to_owned()),
        ("a path that climbs", "../outside/k".to_owned()),
        ("an absolute path", target.world().canary_file().to_string_lossy().into_owned()),
    ] {
        let run = target.tool(target.tool_call("read", &[("path", &path)])?).await?;
        if let Some(text) = run.result {
            let reply = Reply { status: 200, body: text.into_bytes(), ..Reply::default() };
            errors.push((format!("the model, of {what}"), reply));
        }
    }
    if lab.manifest().config.as_ref().is_some_and(|it| it.patches.contains_key("model-unreachable"))
    {
        let lonely = lab.instance(Options::default().patch("model-unreachable")).await?;
        let run = lonely.answer(Vec::new()).await?;
        if let Ok(reply) = run.reply {
            // Another target: only general words are looked for, and its id in its own log.
            errors.push(("a model that is not there (another target)".to_owned(), reply));
        }
    }
    errors.retain(|(_, reply)| reply.refused() || reply.status == 200);
    Ok(errors)
}

/// Every refusal of a well-formed request has a stable code, and an id that stands in a log.
async fn codes_and_ids(target: &Target, errors: &[(String, Reply)], finding: &mut Finding) {
    let Some(places) = target.instance().manifest().errors.clone() else {
        finding.note("the manifest has no [errors]: codes and ids are not looked at");
        return;
    };
    let mut codes: BTreeMap<&str, Vec<Option<String>>> = BTreeMap::new();
    let mut ids = Vec::new();
    for (what, reply) in errors.iter().filter(|(_, reply)| reply.status >= 400) {
        let (code, id) = (part(reply, &places.code), part(reply, &places.correlation));
        if code.is_none() || id.is_none() {
            finding.no_effect(false, format!("{what}: no code or no id: {}", reply.summary()));
        }
        codes.entry(what).or_default().push(code);
        if !what.contains("another target") {
            ids.extend(id.map(|id| (what, id)));
        }
    }
    for (what, codes) in codes {
        let same = codes.iter().all(|code| Some(code) == codes.first());
        if !same {
            finding.no_effect(false, format!("{what}: the code changes: {codes:?}"));
        }
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let mut logs = target.instance().output().await;
    for role in ["audit", "logs"] {
        if let Ok(path) = target.file(role) {
            logs.extend(std::fs::read(path).unwrap_or_default());
        }
    }
    let unknown: Vec<_> = ids.iter().filter(|(_, id)| !contains(&logs, id.as_bytes())).collect();
    let words =
        format!("{} of {} ids stand in no log {:?}", unknown.len(), ids.len(), unknown.first());
    finding.no_effect(unknown.is_empty(), words);
    let total = ids.len();
    let mut only: Vec<&String> = ids.iter().map(|(_, id)| id).collect();
    only.sort();
    only.dedup();
    finding.no_effect(only.len() == total, format!("{} of {total} ids are different", only.len()));
}
