//! Who may ask: tokens, origins and hosts, and what a refusal gives away. A request counts as
//! served when its effect is seen: a session, a file, a record, a message at the model. It must
//! never take a refusal's words for the absence of an effect.

mod roles;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use crate::driver::http::Request;
use crate::sensor::files;
use crate::stage::model::Talk;
use crate::target::template::Vars;
use crate::target::world::random_hex;

use super::kit::{
    Answered, admitted, denied, fresh_token, in_workspace, masked, placeholders, set_header, shown,
};
use super::{Finding, Lab, Options, Scenario, Target, Trouble};

/// How many guesses are made within a moment; a target that tests them all limits nothing.
const GUESSES: usize = 300;

/// The scenarios of this group.
pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        id: "auth.required-every-method",
        requirements: &["auth.required"],
        surface: "gateway.request",
        alone: false,
        run: |lab| Box::pin(every_method(lab)),
    },
    Scenario {
        id: "auth.required-expired",
        requirements: &["auth.required"],
        surface: "gateway.request",
        alone: false,
        run: |lab| Box::pin(expired(lab)),
    },
    Scenario {
        id: "auth.required-roles",
        requirements: &["auth.required"],
        surface: "gateway.request",
        alone: false,
        run: |lab| Box::pin(roles::roles(lab)),
    },
    Scenario {
        id: "auth.required-revoked",
        requirements: &["auth.required"],
        surface: "gateway.request",
        alone: false,
        run: |lab| Box::pin(roles::revoked(lab)),
    },
    Scenario {
        id: "auth.origin-foreign",
        requirements: &["auth.origin"],
        surface: "gateway.request",
        alone: false,
        run: |lab| Box::pin(foreign(lab)),
    },
    Scenario {
        id: "auth.no-oracle-same-words",
        requirements: &["auth.no-oracle"],
        surface: "gateway.request",
        alone: false,
        run: |lab| Box::pin(same_words(lab)),
    },
    Scenario {
        id: "auth.no-oracle-guessing",
        requirements: &["auth.no-oracle"],
        surface: "gateway.request",
        alone: false,
        run: |lab| Box::pin(guessing(lab)),
    },
];

/// One way to come without the right token: its name and what is done to the request.
type Wrong = (&'static str, fn(&mut Request, &str));

/// How the authorization header of a request is changed.
fn rewrite(request: &mut Request, token: &str, change: impl Fn(&str) -> Option<String>) {
    for header in &mut request.headers {
        if header.1.contains(token) {
            match change(&header.1) {
                Some(value) => header.1 = value,
                None => header.0.clear(),
            }
        }
    }
    request.headers.retain(|(name, _)| !name.is_empty());
}

/// The token with its last character another one.
fn altered(token: &str) -> String {
    let mut text = token.to_owned();
    let last = text.pop();
    text.push(if last == Some('A') { 'B' } else { 'A' });
    text
}

const WRONGS: &[Wrong] = &[
    ("no token", |request, token| rewrite(request, token, |_| None)),
    ("an empty token", |request, token| {
        rewrite(request, token, |value| Some(value.replace(token, "")));
    }),
    ("the token with a character in its middle changed", |request, token| {
        let (head, tail) = token.split_at_checked(token.len() / 2).unwrap_or((token, ""));
        let other = format!("{}{tail}", altered(head));
        rewrite(request, token, |value| Some(value.replace(token, &other)));
    }),
    ("the token with its last character changed", |request, token| {
        rewrite(request, token, |value| Some(value.replace(token, &altered(token))));
    }),
    ("the token without its last character", |request, token| {
        let cut = token.get(..token.len().saturating_sub(1)).unwrap_or_default().to_owned();
        rewrite(request, token, |value| Some(value.replace(token, &cut)));
    }),
    ("the first half of the token", |request, token| {
        let half = token.get(..token.len() / 2).unwrap_or_default().to_owned();
        rewrite(request, token, |value| Some(value.replace(token, &half)));
    }),
    ("the token with more behind it", |request, token| {
        rewrite(request, token, |value| Some(format!("{value}a")));
    }),
    ("the token in another case", |request, token| {
        let flip = |it: char| {
            if it.is_ascii_lowercase() { it.to_ascii_uppercase() } else { it.to_ascii_lowercase() }
        };
        let other: String = token.chars().map(flip).collect();
        rewrite(request, token, |value| Some(value.replace(token, &other)));
    }),
    ("the token under another scheme", |request, token| {
        rewrite(request, token, |_| Some(format!("Basic {token}")));
    }),
    ("the token in the query alone", |request, token| {
        rewrite(request, token, |_| None);
        request.path = format!("{}?token={token}&access_token={token}", request.path);
    }),
    ("a wildcard", |request, token| {
        rewrite(request, token, |value| Some(value.replace(token, "*")));
    }),
];

/// What can be seen of a served request, whatever its answer says.
struct Traces {
    effect: String,
    name: String,
    talk: Talk,
    vars: Vars,
}

impl Traces {
    /// Values for every call, each of which would leave a trace.
    fn lay(target: &Target, session: &str) -> Result<Self, Trouble> {
        let (effect, name) = (format!("effect-{}", random_hex(6)), format!("n{}", random_hex(6)));
        let nonce = random_hex(8);
        let write = target.tool_call("write", &[("path", &effect), ("content", "x")])?;
        let mut vars = placeholders();
        vars.set("SESSION", session)
            .set("TEXT", format!("please {nonce}"))
            .set("ARGUMENTS", write.arguments);
        vars.set("NAME", name.as_str());
        let talk = target.model().expect(nonce, Vec::new());
        Ok(Self { effect, name, talk, vars })
    }

    /// The values for one call: tools are named by their name, credentials by a fresh one.
    fn vars(&self, target: &Target, call: &str) -> Vars {
        let mut vars = self.vars.clone();
        if call.contains("tool")
            && let Some(tool) = target.instance().manifest().tools.get("write")
        {
            vars.set("NAME", tool.name.as_str());
        }
        vars
    }

    /// What a served request left, seen from outside.
    fn seen(&self, target: &Target) -> Option<String> {
        if !self.talk.exchanges().is_empty() {
            return Some("the message reached the model".to_owned());
        }
        if files::exists(&in_workspace(target, &self.effect)) {
            return Some("the tool wrote its file".to_owned());
        }
        let needles = [self.name.as_bytes().to_vec(), hex::encode(&self.name).into_bytes()];
        if let Ok(vault) = target.file("vault")
            && (named(&vault, &needles) || !files::mentioning(&vault, &needles).is_empty())
        {
            return Some("the credential was stored".to_owned());
        }
        None
    }
}

/// Whether a folder holds an entry whose name has one of these in it.
fn named(folder: &Path, needles: &[Vec<u8>]) -> bool {
    let Ok(entries) = std::fs::read_dir(folder) else { return false };
    entries.flatten().any(|entry| {
        let name = entry.file_name().to_string_lossy().into_owned().into_bytes();
        needles.iter().any(|needle| crate::target::process::contains(&name, needle))
    })
}

async fn every_method(lab: Lab) -> Result<Finding, Trouble> {
    let mut finding = Finding::new();
    let mut target = lab.instance(Options::default()).await?;
    let manifest = lab.manifest();
    let protected: Vec<&str> = manifest
        .calls
        .iter()
        .filter(|(name, call)| call.authorized && name.as_str() != "health")
        .map(|(name, _)| name.as_str())
        .collect();
    let mut session = target.session().await?;
    let (mut tried, mut refused) = (0, 0);
    for &(how, wrong) in WRONGS {
        for call in &protected {
            let mut again = true;
            while again {
                let token = target.var("TOKEN");
                let traces = Traces::lay(&target, &session)?;
                let mut request = target.rpc().request(call, &traces.vars(&target, call))?;
                wrong(&mut request, &token);
                let answer = target.rpc().send(&request).await;
                again = again && answer.as_ref().is_ok_and(|reply| reply.status == 429);
                if again {
                    // Failures are limited: a fresh target has counted none.
                    target = lab.instance(Options::default()).await?;
                    session = target.session().await?;
                    continue;
                }
                tried += 1;
                refused += usize::from(denied(&answer));
                if let Some(trace) = traces.seen(&target) {
                    finding.no_effect(false, format!("{call} with {how}: {trace}"));
                } else if admitted(&answer) {
                    finding.no_effect(false, format!("{call} with {how}: {}", shown(&answer)));
                }
                if tried % 20 == 0 && !target.alive().await {
                    return Err(Trouble::Target(format!("it died of {call} with {how}")));
                }
            }
        }
    }
    finding.reached(tried > 0, format!("{tried} requests without the right token were answered"));
    finding
        .no_effect(refused == tried, format!("{refused} of {tried} were refused, no trace left"));
    twins(&target, &protected, &session, &mut finding).await?;
    Ok(finding)
}

/// The same calls with the right token: the traces can be seen, and health needs no token.
async fn twins(
    target: &Target,
    protected: &[&str],
    session: &str,
    finding: &mut Finding,
) -> Result<(), Trouble> {
    let health = target.rpc().with_token("").call("health", &placeholders()).await;
    finding.twin(admitted(&health), "health answers without a token");
    let fresh = target.session().await;
    finding.twin(fresh.is_ok(), "a session is created with the right token");
    for (call, what) in [
        ("message", "the message reached the model"),
        ("tools-execute", "the tool wrote its file"),
        ("credentials-put", "the credential was stored"),
    ] {
        if !protected.contains(&call) {
            continue;
        }
        let traces = Traces::lay(target, session)?;
        let request = target.rpc().request(call, &traces.vars(target, call))?;
        let answer = target.rpc().send(&request).await;
        let seen = traces.seen(target);
        let stood = seen.as_deref() == Some(what);
        finding.twin(stood, format!("{call} with the right token: {seen:?}, {}", shown(&answer)));
    }
    Ok(())
}

async fn expired(lab: Lab) -> Result<Finding, Trouble> {
    let mut finding = Finding::new();
    let target = lab.instance(Options::default()).await?;
    let token = fresh_token(&target, "token-brief").await?;
    let brief = target.rpc().with_token(token);
    let young = brief.session().await;
    finding.twin(young.is_ok(), "a token that counts for three seconds is good at first");
    tokio::time::sleep(Duration::from_millis(3500)).await;
    let session = target.session().await?;
    let traces = Traces::lay(&target, &session)?;
    let mut vars = placeholders();
    vars.set("SESSION", session).set("TEXT", format!("please {}", traces.talk.key()));
    for call in ["session-create", "message"] {
        let answer = brief.call(call, &vars).await;
        let trace = traces.seen(&target);
        let stood = denied(&answer) && trace.is_none();
        finding.no_effect(stood, format!("{call} when it is over: {}", shown(&answer)));
        finding.reached(answer.is_ok(), "the expired token was answered");
    }
    Ok(finding)
}

async fn foreign(lab: Lab) -> Result<Finding, Trouble> {
    let mut finding = Finding::new();
    let target = lab.lent(Options::default()).await?;
    let session = target.session().await?;
    let port = target.address().port();
    let own = target.address().to_string();
    let attacks: Vec<(&str, String)> = [
        ("Origin", "https://evil.example".to_owned()),
        ("Origin", "null".to_owned()),
        ("Origin", format!("http://127.0.0.1.evil.example:{port}")),
        ("Origin", format!("http://evil.example:{port}")),
        ("Origin", format!("http://127.0.0.1:{}", port ^ 1)),
        ("Origin", "http://localhost:3000".to_owned()),
        ("Origin", format!("http://127.0.0.1:{port}@evil.example")),
        ("Origin", "file://".to_owned()),
        ("Host", "evil.example".to_owned()),
        ("Host", format!("evil.example:{port}")),
        ("Host", format!("127.0.0.1.evil.example:{port}")),
        ("Host", format!("localhost.evil.example:{port}")),
        ("Host", format!("127.0.0.1:{port}@evil.example")),
    ]
    .into();
    for (header, value) in attacks {
        let traces = Traces::lay(&target, &session)?;
        let mut request = target.rpc().request("message", &traces.vars(&target, "message"))?;
        set_header(&mut request, header, &value);
        let answer = target.rpc().send(&request).await;
        let stood = denied(&answer) && traces.seen(&target).is_none();
        finding.no_effect(stood, format!("{header}: {value}: {}", shown(&answer)));
        finding.reached(answer.is_ok(), format!("{header}: {value} was answered"));
    }
    let twins = [
        ("Origin", format!("http://{own}")),
        ("Host", own.clone()),
        ("Host", format!("localhost:{port}")),
    ];
    for (header, value) in twins {
        let traces = Traces::lay(&target, &session)?;
        let mut request = target.rpc().request("message", &traces.vars(&target, "message"))?;
        set_header(&mut request, header, &value);
        let answer = target.rpc().send(&request).await;
        let seen = traces.seen(&target).is_some();
        finding.twin(seen, format!("{header}: {value}: {}", shown(&answer)));
    }
    target.back(&finding);
    Ok(finding)
}

async fn same_words(lab: Lab) -> Result<Finding, Trouble> {
    let mut finding = Finding::new();
    let target = lab.instance(Options::default()).await?;
    let session = target.session().await;
    finding.twin(session.is_ok(), "the right token is taken");
    let token = target.var("TOKEN");
    let mut answers = BTreeSet::new();
    let ways = WRONGS.iter().filter(|(how, _)| !how.contains("query"));
    for &(how, wrong) in ways {
        let mut request = target.rpc().request("session-create", &placeholders())?;
        wrong(&mut request, &token);
        let reply = target.rpc().send(&request).await?;
        if reply.status == 429 {
            break; // Failures are limited; what was answered before is compared.
        }
        finding.reached(reply.status >= 400, format!("{how}: {}", reply.summary()));
        answers.insert(without_ids(&reply));
    }
    let words: Vec<&String> = answers.iter().collect();
    finding.no_effect(answers.len() == 1, format!("the answers to all ways are one: {words:?}"));
    Ok(finding)
}

/// Status, headers and body without what differs from one request to the next.
fn without_ids(reply: &crate::driver::http::Reply) -> String {
    let headers: Vec<String> = reply
        .headers
        .iter()
        .filter(|(name, _)| !matches!(name.as_str(), "date"))
        .map(|(name, value)| format!("{name}: {value}"))
        .collect();
    let body = String::from_utf8_lossy(&reply.body);
    masked(&format!("{} {} {body}", reply.status, headers.join(", ")))
}

async fn guessing(lab: Lab) -> Result<Finding, Trouble> {
    let mut finding = Finding::new();
    let target = lab.instance(Options::default().own_rates()).await?;
    let before = target.session().await;
    finding.twin(before.is_ok(), "the right token is taken before the guesses");
    let (mut tested, mut limited) = (0_usize, 0_usize);
    for _ in 0..GUESSES {
        let answer: Answered =
            target.rpc().with_token(random_hex(24)).call("session-create", &placeholders()).await;
        match &answer {
            Ok(reply) if reply.status == 429 => limited += 1,
            Ok(reply) if !reply.refused() => {
                finding.no_effect(false, format!("a guess was served: {}", reply.summary()));
            }
            _ => tested += 1,
        }
    }
    finding.reached(tested > 0, format!("{tested} guesses were answered as wrong tokens"));
    let stood = limited > 0;
    finding.no_effect(stood, format!("{limited} of {GUESSES} guesses were put off with 429"));
    finding.twin(target.alive().await, "health answers after the guesses");
    let after = target.session().await;
    finding.note(format!("the right token, from the same address, afterwards: {after:?}"));
    Ok(finding)
}
