//! The name that a caller gives its request: a sane one comes back, a hostile one gets into neither
//! the answer's head nor a log. It must never ask a target how it names its own.

use std::time::Duration;

use crate::scenario::kit::{placeholders, set_header};
use crate::scenario::{Finding, Lab, Options, Target, Trouble};
use crate::target::process::contains;
use crate::target::world::random_hex;

const HEADER: &str = "X-Request-Id";

/// Sends a request under this name; gives the head of its answer, a line a header.
async fn under(target: &Target, name: &[u8]) -> Result<(u16, String), Trouble> {
    let mut request = target.rpc().request("session-create", &placeholders())?;
    set_header(&mut request, HEADER, "PLACE-OF-THE-NAME");
    let bytes = request.bytes(target.address());
    let place = b"PLACE-OF-THE-NAME";
    let at = bytes.windows(place.len()).position(|it| it == place).unwrap_or_default();
    let (head, rest) = bytes.split_at_checked(at).unwrap_or_default();
    let rest = rest.get(place.len()..).unwrap_or_default();
    let reply = target.raw(&[[head, name, rest].concat()]).await?;
    let lines: Vec<String> =
        reply.headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    Ok((reply.status, lines.join("\n")))
}

pub(super) async fn request_id(lab: Lab) -> Result<Finding, Trouble> {
    let mut finding = Finding::new();
    let target = lab.instance(Options::default().environment("verbose-log")).await?;
    let sane = format!("req-{}", random_hex(12));
    let (status, head) = under(&target, sane.as_bytes()).await?;
    if status < 400 && !head.contains(&sane) {
        return Err(Trouble::NotApplicable("the target takes no name of a request".to_owned()));
    }
    finding.twin(status < 400, format!("a plain name comes back: {status}, {head}"));
    let mark = random_hex(12);
    let hostile: Vec<(&str, Vec<u8>)> = vec![
        ("blanks and quotes", format!("{mark} \"x\" 'y'").into_bytes()),
        ("a whole record", format!("{{\"kind\":\"auth\",\"subject\":\"{mark}\"}}").into_bytes()),
        ("a tabulator", format!("{mark}\tx").into_bytes()),
        ("a direction override", format!("{mark}\u{202e}wolla").into_bytes()),
        ("a control sequence of C1", [mark.as_bytes(), b"\x9b2J"].concat()),
        ("malformed UTF-8", [mark.as_bytes(), b"\xff\xc0\x80"].concat()),
        ("a path", format!("../../{mark}").into_bytes()),
        ("four thousand characters", format!("{mark}{}", "a".repeat(4_000)).into_bytes()),
        ("two names", format!("{mark}\r\n{HEADER}: {mark}").into_bytes()),
    ];
    let mut served = 0;
    for (what, name) in &hostile {
        // A closed connection is an answer too.
        let Ok((status, head)) = under(&target, name).await else { continue };
        served += usize::from(status < 400);
        let shown = head.contains(&mark);
        finding.no_effect(!shown, format!("{what} comes back ({status}): {shown}"));
    }
    let words = format!("{served} of {} requests with a hostile name were served", hostile.len());
    finding.reached(true, words);
    tokio::time::sleep(Duration::from_millis(100)).await;
    let output = target.instance().output().await;
    let audit = std::fs::read(target.file("audit")?).unwrap_or_default();
    let told = contains(&output, sane.as_bytes()) || contains(&audit, sane.as_bytes());
    finding.twin(told, "the plain name stands in a log");
    for (place, bytes) in [("its log", &output), ("its audit log", &audit)] {
        let there = contains(bytes, mark.as_bytes());
        finding.no_effect(!there, format!("a hostile name in {place}: {there}"));
    }
    Ok(finding)
}
