//! Plays what a plugin sends: the suite's own plugin is put into a target and says in a call of its
//! tool what the case holds. It must never know a verdict.

use serde_json::Value;

use crate::corpus::payload::{Var, Vars};
use crate::corpus::{Case, Kind};
use crate::driver::excerpt;
use crate::oracle::Observed;
use crate::scenario::plugin::{Told, form, play, works};
use crate::scenario::{Lab, Options, Target, Trouble};
use crate::stage::plugin::{Guest, listen, send};
use crate::target::world::random_hex;

/// What stands behind bytes that are no message: a message that must not be taken any more.
const AFTER: &[u8] = br#"{"jsonrpc":"2.0","id":1,"method":"tool.list"}"#;

/// A target with a plugin, and the name of its tool.
#[derive(Debug)]
pub(super) struct Seat {
    target: Target,
    tool: String,
}

impl Seat {
    async fn take(lab: &Lab) -> Result<Self, Trouble> {
        let form = form(lab)?;
        let tool = format!("tool_{}", random_hex(4));
        let guest = Guest::new(&format!("p{}", random_hex(4)), &tool);
        let target = lab.instance(Options::default().plugin(guest.install(form))).await?;
        Ok(Self { target, tool })
    }
}

/// Has the plugin send the payload, and looks at what the target answers it and whom it believes.
pub(super) async fn frame(
    lab: &Lab,
    kept: &mut Option<Seat>,
    case: &Case,
) -> Result<(Observed, Vec<String>), Trouble> {
    let seat = match kept.take() {
        Some(seat) if seat.target.alive().await => seat,
        _ => Seat::take(lab).await?,
    };
    let mark = format!("mark-{}", random_hex(8));
    let mut vars = Vars::new(lab.manifest().naming());
    vars.set(Var::Nonce, random_hex(8)).set(Var::Mark, mark.as_str());
    let payload = case.payload.build(&vars);
    let payload = payload.map_err(|error| Trouble::Harness(format!("payload: {error}")))?;
    let mut evidence =
        vec![format!("it sends {} bytes: {}", payload.len(), excerpt(&payload, 200))];
    // It runs, and what it did before is forgotten.
    if !works(&seat.target, &seat.tool).await? {
        return Err(Trouble::Target("a plugin that does nothing is not answered for".to_owned()));
    }
    let wanted = if case.raw { 1 } else { requests(&payload) };
    let mut steps = vec![send(&payload, case.raw)];
    if case.raw {
        steps.push(send(AFTER, false));
    }
    // What is taken in spite of all takes its time.
    let lines = payload.iter().filter(|byte| **byte == b'\n').count() as u64;
    let patience = if wanted == 0 { 200 } else { 3_000 + lines };
    steps.push(listen(wanted.max(1), patience));
    let told = play(&seat.target, &seat.tool, &steps).await?;
    let mut seen = Observed {
        alive: seat.target.alive().await,
        answered: told.answered,
        served: told.served,
        ..Observed::default()
    };
    judge(&told, wanted, &mark, &mut seen, &mut evidence);
    // What state it is in after a fall is unknown.
    if case.kind == Kind::Benign || (!seen.intact && seen.leaked.is_empty()) {
        *kept = Some(seat);
    }
    Ok((seen, evidence))
}

fn judge(told: &Told, wanted: usize, mark: &str, seen: &mut Observed, evidence: &mut Vec<String>) {
    match (&told.report, &told.text) {
        (Some(report), _) => {
            let saw = Value::from(report.saw.clone()).to_string();
            evidence.push(format!(
                "results: {}, saw {}",
                report.results,
                excerpt(saw.as_bytes(), 300)
            ));
            seen.intact = wanted > 0 && report.results >= wanted;
        }
        (None, Some(text)) if text.contains(mark) => {
            seen.leaked.push("a reply that nobody asked for was taken for the answer".to_owned());
        }
        (None, _) => evidence.push(told.shown()),
    }
}

/// How many of the lines are requests, however badly they are written.
fn requests(payload: &[u8]) -> usize {
    let lines = payload.split(|byte| *byte == b'\n');
    let has = |line: &[u8], key: &[u8]| line.windows(key.len()).any(|it| it == key);
    lines.filter(|line| has(line, b"\"method\"") && has(line, b"\"id\"")).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_what_wants_an_answer() {
        assert_eq!(requests(AFTER), 1);
        assert_eq!(requests(b"{\"method\":\"log\"}\n{\"id\":1,\"method\":\"x\"}\n"), 1);
        assert_eq!(requests(b"{\"id\":1,\"result\":{}}"), 0);
    }
}
