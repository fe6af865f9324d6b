//! What a refusal gives away, and whether a failing part denies. It must never take the target's
//! word for being well: process, model and files are looked at.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::driver::http::{Reply, Request};
use crate::sensor::{files, resident};
use crate::stage::model::{Answer, ToolCall};
use crate::target::process::contains;
use crate::target::world::random_hex;

use super::kit::{Answered, in_workspace, part, placeholders, set_header, shown};
use super::{Finding, Lab, Options, Scenario, Target, Trouble};

/// The scenarios of this group.
pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        id: "error.sanitised-answers",
        requirements: &["error.sanitised"],
        surface: "gateway.request",
        alone: false,
        run: |lab| Box::pin(sanitised(lab)),
    },
    Scenario {
        id: "error.no-panic-noise",
        requirements: &["error.no-panic"],
        surface: "gateway.request",
        alone: false,
        run: |lab| Box::pin(noise(lab)),
    },
    Scenario {
        id: "error.no-panic-model",
        requirements: &["error.no-panic"],
        surface: "model.prose",
        alone: false,
        run: |lab| Box::pin(model_noise(lab)),
    },
    Scenario {
        id: "error.no-panic-slow-clients",
        requirements: &["error.no-panic"],
        surface: "gateway.request",
        alone: false,
        run: |lab| Box::pin(slow_clients(lab)),
    },
    Scenario {
        id: "error.deny-audit-gone",
        requirements: &["error.deny"],
        surface: "audit.log",
        alone: false,
        run: |lab| Box::pin(audit_gone(lab)),
    },
    Scenario {
        id: "error.deny-model-unreachable",
        requirements: &["error.deny"],
        surface: "model.prose",
        alone: false,
        run: |lab| Box::pin(model_unreachable(lab)),
    },
    Scenario {
        id: "error.deny-vault-locked",
        requirements: &["error.deny"],
        surface: "vault.file",
        alone: false,
        run: |lab| Box::pin(vault_locked(lab)),
    },
];

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

async fn sanitised(lab: Lab) -> Result<Finding, Trouble> {
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

/// The process as it was at the beginning.
struct Life {
    pid: u32,
    born: Option<u64>,
}

impl Life {
    async fn of(target: &Target) -> Self {
        let pid = target.instance().pid().await;
        Self { pid, born: resident::born(pid) }
    }

    /// Whether it is the same process, well, and never panicked.
    async fn goes_on(&self, target: &Target) -> Result<(), String> {
        if !target.alive().await {
            return Err(format!("it is not alive: {}", target.instance().last_words().await));
        }
        if self.born != resident::born(self.pid) {
            return Err("it is another process".to_owned());
        }
        let output = target.instance().output().await;
        for word in ["panicked at", "stack overflow", "SIGSEGV", "fatal error"] {
            if contains(&output, word.as_bytes()) {
                let words = target.instance().last_words().await;
                return Err(format!("it wrote `{word}`: {words}"));
            }
        }
        Ok(())
    }
}

/// Bytes that are no request, or a strange one.
fn malformed(path: &str, host: &str) -> Vec<(&'static str, Vec<u8>)> {
    let post = |headers: &str, body: &str| {
        format!("POST {path} HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n{body}").into_bytes()
    };
    let many: String = (0..10_000).map(|index| format!("X-{index}: y\r\n")).collect();
    vec![
        ("noise", b"\x00\xff\xfe\r\n\r\n".to_vec()),
        ("a TLS hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec()),
        ("an HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec()),
        ("HTTP/0.9", b"GET /\r\n\r\n".to_vec()),
        ("no version", b"POST /\r\n\r\n".to_vec()),
        ("no Host", format!("POST {path} HTTP/1.1\r\n\r\n").into_bytes()),
        ("a negative length", post("Content-Length: -1\r\n", "x")),
        ("a huge length", post("Content-Length: 18446744073709551616\r\n", "x")),
        ("two lengths", post("Content-Length: 1\r\nContent-Length: 2\r\n", "xy")),
        (
            "length and chunks",
            post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
        ),
        ("a chunk of no number", post("Transfer-Encoding: chunked\r\n", "zz\r\nx\r\n0\r\n\r\n")),
        ("a huge chunk", post("Transfer-Encoding: chunked\r\n", "ffffffffffffffff\r\nx")),
        ("a strange coding", post("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n")),
        ("ten thousand headers", post(&many, "")),
        ("a header of a megabyte", post(&format!("X: {}\r\n", "y".repeat(1_000_000)), "")),
        (
            "a path of a megabyte",
            format!("GET /{} HTTP/1.1\r\nHost: {host}\r\n\r\n", "a".repeat(1_000_000)).into_bytes(),
        ),
        ("a header without a name", post(": y\r\n", "")),
        ("a folded header", post("X: a\r\n b\r\n", "")),
        ("a null in a header", post("X: a\0b\r\n", "")),
        ("a bare carriage return", b"GET / HTTP/1.1\rHost: x\r\r".to_vec()),
        ("CONNECT", b"CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example\r\n\r\n".to_vec()),
        (
            "an upgrade",
            post("Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n", ""),
        ),
        ("an expectation", post("Expect: the-impossible\r\nContent-Length: 1\r\n", "x")),
        (
            "malformed percent",
            format!("GET /%ff%zz%00 HTTP/1.1\r\nHost: {host}\r\n\r\n").into_bytes(),
        ),
    ]
}

/// Bodies for a well-formed request with the right token.
fn bodies() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("an open quote", b"\"".to_vec()),
        ("a lone escape", b"\"\\".to_vec()),
        ("half a unicode escape", b"\"\\u12".to_vec()),
        ("lone surrogates", b"\"\\ud800\\ud800\"".to_vec()),
        ("a million brackets", b"[".repeat(1_000_000)),
        ("a million objects", b"{\"a\":".repeat(200_000)),
        ("a number bomb", [b"1".repeat(1_000_000), b"e999999999".to_vec()].concat()),
        ("an endless exponent", b"1e999999999999999999".to_vec()),
        ("minus nothing", b"-".to_vec()),
        (
            "ten thousand equal keys",
            format!("{{{}\"a\":1}}", "\"a\":1,".repeat(10_000)).into_bytes(),
        ),
        ("null everywhere", br#"{"jsonrpc":null,"id":null,"method":null,"params":null}"#.to_vec()),
        ("arrays everywhere", br#"{"jsonrpc":[],"id":[],"method":[],"params":[]}"#.to_vec()),
        (
            "a huge id",
            br#"{"jsonrpc":"2.0","id":99999999999999999999999999,"method":"x"}"#.to_vec(),
        ),
        ("an empty batch of batches", b"[[[]]]".to_vec()),
        ("every byte", (0..=255).collect()),
        ("UTF-16", [b"\xff\xfe".as_slice(), b"{\0}\0"].concat()),
        ("a mark before it", b"\xef\xbb\xbf{}".to_vec()),
    ]
}

async fn noise(lab: Lab) -> Result<Finding, Trouble> {
    let mut finding = Finding::new();
    let target = lab.instance(Options::default()).await?;
    let life = Life::of(&target).await;
    finding.twin(target.session().await.is_ok(), "a sound request is served");
    let sound = target.rpc().request("session-create", &placeholders())?;
    let host = target.address().to_string();
    let mut count = 0;
    for (what, bytes) in malformed(&sound.path, &host) {
        let limit = Duration::from_secs(2);
        // Some of it gets no answer at all, which is an answer: the process is looked at.
        let _ =
            crate::driver::http::exchange(target.address(), &[bytes], Duration::ZERO, limit).await;
        judge(&life, &target, what, &mut finding).await;
        count += 1;
    }
    for (what, body) in bodies() {
        let mut request = sound.clone();
        let small = body.len() < 60_000;
        request.pieces = vec![body];
        let answer: Answered = target.rpc().send(&request).await;
        // A large body may be cut off by a reset; a small one has an answer.
        if answer.is_err() && small {
            finding.no_effect(false, format!("{what} has no answer: {}", shown(&answer)));
        }
        judge(&life, &target, what, &mut finding).await;
        count += 1;
    }
    finding.reached(true, format!("{count} malformed requests were sent"));
    finding.no_effect(true, "after each the same process answered its health call");
    finding.twin(target.session().await.is_ok(), "a sound request is served afterwards");
    Ok(finding)
}

async fn judge(life: &Life, target: &Target, what: &str, finding: &mut Finding) {
    if let Err(words) = life.goes_on(target).await {
        finding.no_effect(false, format!("after {what}: {words}"));
    }
}

async fn model_noise(lab: Lab) -> Result<Finding, Trouble> {
    let mut finding = Finding::new();
    let target = lab.instance(Options::default()).await?;
    let life = Life::of(&target).await;
    let plain = target.answer(Vec::new()).await?;
    finding.twin(plain.reply.is_ok_and(|reply| !reply.refused()), "a sound answer is taken");
    let body = |text: &str| Answer::Verbatim { status: 200, body: text.as_bytes().to_vec() };
    let message = |text: &str| body(&format!(r#"{{"choices":[{{"index":0,"message":{text}}}]}}"#));
    let answers = vec![
        ("nothing", body("")),
        ("an open brace", body("{")),
        ("null", body("null")),
        ("no message", body(r#"{"choices":[{}]}"#)),
        ("null for choices", body(r#"{"choices":null}"#)),
        ("a million brackets", body(&"[".repeat(1_000_000))),
        ("a number for the text", message(r#"{"role":"assistant","content":17}"#)),
        ("null for the calls", message(r#"{"role":"assistant","content":"x","tool_calls":null}"#)),
        ("an object for the calls", message(r#"{"role":"assistant","tool_calls":{}}"#)),
        ("a call without a function", message(r#"{"role":"assistant","tool_calls":[{"id":"a"}]}"#)),
        ("a call of null", message(r#"{"role":"assistant","tool_calls":[null]}"#)),
        ("status 200 and no JSON", body("<html>")),
        ("status 204", Answer::Verbatim { status: 204, body: Vec::new() }),
        ("status 429", Answer::Verbatim { status: 429, body: b"{}".to_vec() }),
        ("status 301", Answer::Verbatim { status: 301, body: Vec::new() }),
        ("malformed UTF-8", Answer::Text(vec![0xff, 0xc0, 0x80])),
        ("null bytes", Answer::Text(b"a\0b".to_vec())),
        ("eight megabytes", Answer::Text(b"a".repeat(8_000_000))),
        ("a thousand calls", Answer::Calls((0..1000).map(|_| ToolCall::new("x", "{}")).collect())),
        ("arguments of noise", Answer::Calls(vec![ToolCall::new("x", vec![0xff, 0, b'{'])])),
        ("deep arguments", Answer::Calls(vec![ToolCall::new("x", b"[".repeat(100_000))])),
        ("an endless name", Answer::Calls(vec![ToolCall::new(b"n".repeat(1_000_000), "{}")])),
    ];
    let count = answers.len();
    let mut served = 0;
    for (what, answer) in answers {
        let run = target.answer(vec![answer]).await?;
        served += usize::from(run.served());
        judge(&life, &target, what, &mut finding).await;
    }
    finding.reached(served == count, format!("{served} of {count} malformed answers were given"));
    finding.no_effect(true, "after each the same process answered its health call");
    Ok(finding)
}

async fn slow_clients(lab: Lab) -> Result<Finding, Trouble> {
    let mut finding = Finding::new();
    let target = lab.instance(Options::default()).await?;
    let life = Life::of(&target).await;
    let sound = target.rpc().request("session-create", &placeholders())?;
    let head = format!("POST {} HTTP/1.1\r\nHost: {}\r\n", sound.path, target.address());
    let mut held = Vec::new();
    for index in 0..300 {
        let connect = TcpStream::connect(target.address());
        // A full backlog is where the target stopped accepting: enough wait then.
        let Ok(Ok(mut stream)) = tokio::time::timeout(Duration::from_secs(2), connect).await else {
            break;
        };
        let part: &[u8] = match index % 3 {
            0 => b"",
            1 => head.as_bytes(),
            _ => b"POST",
        };
        if stream.write_all(part).await.is_ok() {
            held.push(stream);
        }
    }
    finding.reached(held.len() > 20, format!("{} connections wait within their head", held.len()));
    let mut answered = 0;
    for _ in 0..20 {
        let Ok(session) = target.session().await else { break };
        let Ok((reply, talk)) = target.say(&session, "please", Vec::new()).await else { break };
        answered += usize::from(!reply.refused() && !talk.exchanges().is_empty());
    }
    finding.twin(answered == 20, format!("{answered} of 20 messages were served meanwhile"));
    let outcome = life.goes_on(&target).await;
    finding.no_effect(answered == 20 && outcome.is_ok(), format!("the others go on: {outcome:?}"));
    drop(held);
    Ok(finding)
}

/// Takes the place of the log away: its folder is moved, and a file stands where it stood.
fn take_away(target: &Target) -> Result<(), Trouble> {
    let log = target.file("audit")?;
    let folder =
        log.parent().ok_or_else(|| Trouble::Harness("the log has no folder".to_owned()))?;
    let aside = target.world().root().join("bin").join("aside");
    std::fs::rename(folder, &aside)?;
    target.world().write(folder, b"", 0o600)?;
    Ok(())
}

async fn audit_gone(lab: Lab) -> Result<Finding, Trouble> {
    let mut finding = Finding::new();
    let target = lab.instance(Options::default()).await?;
    let write = |name: &str| target.tool_call("write", &[("path", name), ("content", "x")]);
    let (before, after) = (format!("before-{}", random_hex(6)), format!("after-{}", random_hex(6)));
    target.tool(write(&before)?).await?;
    let wrote = files::exists(&in_workspace(&target, &before));
    finding.twin(wrote, "the tool works while the log can be written");

    // The session and the model's call are under way before the log goes, so that only what
    // comes after it can refuse.
    let session = target.session().await?;
    let nonce = random_hex(8);
    let late =
        Answer::Late(Duration::from_millis(1500), Box::new(Answer::Calls(vec![write(&after)?])));
    let talk = target.model().expect(nonce.as_str(), vec![late]);
    let rpc = target.rpc().clone();
    let text = format!("please {nonce}");
    let sent = tokio::spawn(async move { rpc.message(&session, text.as_bytes()).await });
    let asked = talk.wait(1, Duration::from_secs(5)).await;
    take_away(&target)?;
    let answer: Answered = sent.await.map_err(|error| Trouble::Harness(error.to_string()))?;
    finding.reached(asked, "the model called the tool after the log was taken away");
    let ran = files::exists(&in_workspace(&target, &after));
    finding.no_effect(!ran, format!("the tool did not run: {}", shown(&answer)));

    let direct = format!("direct-{}", random_hex(6));
    if lab.manifest().calls.contains_key("tools-execute") {
        let call = write(&direct)?;
        let mut vars = placeholders();
        vars.set("NAME", call.name).set("ARGUMENTS", call.arguments);
        let answer = target.rpc().call("tools-execute", &vars).await;
        let ran = files::exists(&in_workspace(&target, &direct));
        finding
            .no_effect(!ran, format!("nor did it when it was called directly: {}", shown(&answer)));
    }
    Ok(finding)
}

async fn model_unreachable(lab: Lab) -> Result<Finding, Trouble> {
    let mut finding = Finding::new();
    let target = lab.instance(Options::default()).await?;
    let sound = target.answer(Vec::new()).await?;
    finding.twin(sound.reply.is_ok_and(|it| !it.refused()), "with a model the message is answered");
    let target = lab.instance(Options::default().patch("model-unreachable")).await?;
    let run = target.answer(Vec::new()).await?;
    finding.reached(!run.served(), "the model was not reached");
    let answer = run.reply.map_err(|error| Trouble::Target(error.to_string()))?;
    let words = format!("without a model: {}", answer.summary());
    finding.no_effect(answer.refused(), words);
    finding.no_effect(target.alive().await, "the target goes on");
    Ok(finding)
}

async fn vault_locked(lab: Lab) -> Result<Finding, Trouble> {
    let mut finding = Finding::new();
    let target = lab.instance(Options::default()).await?;
    let secret = target.var("SECRET");
    let sound = target.answer(Vec::new()).await?;
    let keyed = |exchanges: &[std::sync::Arc<crate::stage::model::Exchange>]| {
        let mut headers = exchanges.iter().flat_map(|it| &it.headers);
        headers.any(|(_, value)| value.contains(&secret))
    };
    finding.twin(keyed(&sound.exchanges), "with the master password the key reaches the model");
    let wrong = format!("wrong-{}", random_hex(8));
    match lab.instance(Options::default().var("MASTER", wrong)).await {
        Err(Trouble::Target(words)) => {
            finding.reached(true, "the target was started with a wrong master password");
            finding.no_effect(true, format!("it does not serve: {words}"));
        }
        Err(other) => return Err(other),
        Ok(target) => {
            finding.reached(true, "a message was sent while the vault is locked");
            let run = match target.answer(Vec::new()).await.map_err(Trouble::from) {
                Ok(run) => run,
                Err(Trouble::Target(words)) => {
                    finding.no_effect(true, format!("it does not serve: {words}"));
                    return Ok(finding);
                }
                Err(other) => return Err(other),
            };
            let refused = run.reply.as_ref().map_or(true, |reply| reply.refused());
            let words = format!("served: {}, refused: {refused}", run.served());
            finding.no_effect(refused && !run.served(), words);
        }
    }
    Ok(finding)
}
