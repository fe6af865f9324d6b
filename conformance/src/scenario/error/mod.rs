//! What a refusal gives away, and whether a failing part denies. It must never take the target's
//! word for being well: process, model and files are looked at.

mod deny;
mod sanitised;

use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::sensor::resident;
use crate::stage::model::{Answer, ToolCall};
use crate::target::process::contains;

use super::kit::{Answered, placeholders, shown};
use super::{Finding, Lab, Options, Scenario, Target, Trouble};

/// The scenarios of this group.
pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        id: "error.sanitised-answers",
        requirements: &["error.sanitised"],
        surface: "gateway.request",
        alone: false,
        run: |lab| Box::pin(sanitised::answers(lab)),
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
        run: |lab| Box::pin(deny::audit_gone(lab)),
    },
    Scenario {
        id: "error.deny-audit-full",
        requirements: &["error.deny", "audit.integrity"],
        surface: "audit.log",
        alone: false,
        run: |lab| Box::pin(deny::audit_full(lab)),
    },
    Scenario {
        id: "error.deny-model-unreachable",
        requirements: &["error.deny"],
        surface: "model.prose",
        alone: false,
        run: |lab| Box::pin(deny::model_unreachable(lab)),
    },
    Scenario {
        id: "error.deny-vault-locked",
        requirements: &["error.deny"],
        surface: "vault.file",
        alone: false,
        run: |lab| Box::pin(deny::vault_locked(lab)),
    },
];

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
