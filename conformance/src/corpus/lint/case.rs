//! Rules about one case: its id, twin, expectation, payload and setup.

use super::{Rules, record};
use crate::corpus::Surface;
use crate::corpus::payload::{Arguments, Expr, Var, Vars};
use crate::corpus::record::{Case, Decision, Kind, Setup};

/// A payload up to this many bytes is built too, so that bad digits are found.
const BUILT: u64 = 1_000_000;

/// No surface opens more containers than this around a payload.
const ENVELOPE: u64 = 8;

pub(super) fn check(rules: &mut Rules<'_>, index: usize) {
    let Some(case) = rules.record().cases.get(index) else { return };
    let at = format!("/cases/{index}");
    id(rules, case, &at);
    match case.kind {
        Kind::Attack => attack(rules, case, &at),
        Kind::Benign => benign(rules, case, &at),
    }
    requirements(rules, case, &at);
    surface(rules, case, &at);
    expression(rules, &case.payload, &format!("{at}/payload"));
    for (step, setup) in case.setup.iter().enumerate() {
        prepared(rules, setup, &format!("{at}/setup/{step}"));
    }
}

fn id(rules: &mut Rules<'_>, case: &Case, at: &str) {
    let record = &rules.record().id;
    let number = case.id.strip_prefix(&format!("{record}.")).unwrap_or_default();
    if number.len() != 3 || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        let message = format!("`{}` is no case id of {record}", case.id);
        rules.say(&format!("{at}/id"), message, format!("write {record}. and three digits"));
    }
    rules.hold(
        !case.note.trim().is_empty(),
        &format!("{at}/note"),
        "is empty",
        "say what this case shows",
    );
    let reason = !case.expect.reason.trim().is_empty();
    rules.hold(
        reason,
        &format!("{at}/expect/reason"),
        "is empty",
        "say why that is the right answer",
    );
}

fn decisions(case: &Case) -> impl Iterator<Item = Decision> {
    std::iter::once(case.expect.verdict).chain(case.expect.by_os.values().copied())
}

fn attack(rules: &mut Rules<'_>, case: &Case, at: &str) {
    let pointer = format!("{at}/twin");
    let Some(name) = &case.twin else {
        return rules.say(
            at,
            "an attack without a twin",
            "name the benign case that must succeed on the same surface",
        );
    };
    let Some(twin) = rules.twin(case) else {
        let message = format!("the twin `{name}` is no benign case");
        return rules.say(&pointer, message, "name a benign case of the corpus");
    };
    // The twin of text that only looks like a call is the call.
    let conjured = twin.surface == Surface::ToolCall;
    let place = twin.surface == case.surface || conjured;
    rules.hold(
        place,
        &pointer,
        "the twin stands on another surface",
        "name one on the same surface",
    );
    let accepted = decisions(twin).all(|decision| decision == Decision::Accept);
    rules.hold(
        accepted,
        &pointer,
        "the twin need not be accepted, so its success shows nothing",
        "name one that expects accept",
    );
    let hosts = twin.requires.iter().all(|need| case.requires.contains(need));
    rules.hold(
        hosts,
        &pointer,
        "the twin needs more of the host than the attack",
        "name one that runs wherever the attack does",
    );
    let wanted = decisions(case).all(|decision| decision == Decision::Accept);
    rules.hold(
        !wanted,
        &format!("{at}/expect/verdict"),
        "an attack that must be accepted",
        "make it benign",
    );
}

fn benign(rules: &mut Rules<'_>, case: &Case, at: &str) {
    let refused = decisions(case).any(|it| matches!(it, Decision::Reject | Decision::Neutralise));
    let pointer = format!("{at}/expect/verdict");
    rules.hold(
        !refused,
        &pointer,
        "a benign case that may be refused",
        "expect accept, or make it an attack",
    );
    let marked = case.surface != Surface::ToolPathRead
        || case.scenario.is_some()
        || case.setup.iter().any(|step| match step {
            Setup::File { content, .. } => mentions(content, Var::Mark),
            _ => false,
        });
    rules.hold(
        marked,
        at,
        "a benign read of a file that does not hold MARK",
        "put {\"var\": \"MARK\"} into the file that is read",
    );
}

fn requirements(rules: &mut Rules<'_>, case: &Case, at: &str) {
    for (index, id) in case.requirement.iter().enumerate() {
        let pointer = format!("{at}/requirement/{index}");
        let named = rules.record().requirement.contains(id);
        rules.hold(
            named,
            &pointer,
            "names a requirement that the record does not",
            "add it to the record's list",
        );
        record::known(rules, id, &pointer);
    }
    // The suite shows that exactly the requirement fails whose defence is missing.
    let one = case.kind == Kind::Benign || case.requirements(rules.record()).len() <= 1;
    let message = "an attack on several requirements";
    let fix = "name in the case the one whose absence lets it through";
    rules.hold(one, at, message, fix);
    for id in case.requirements(rules.record()) {
        let Some(row) = rules.spec.get(id) else { continue };
        let also = rules.record().also.iter().copied().filter(|also| case.on(*also).is_some());
        for surface in std::iter::once(case.surface).chain(also) {
            let surface = surface.id();
            if !row.surfaces.iter().any(|named| named == surface) {
                let message = format!("`{id}` cannot be witnessed on {surface}");
                let fix = format!("it can on {}", row.surfaces.join(", "));
                rules.say(&format!("{at}/surface"), message, fix);
            }
        }
    }
}

fn surface(rules: &mut Rules<'_>, case: &Case, at: &str) {
    let message = case.surface == Surface::MessageText;
    rules.hold(
        !case.raw || message || case.surface == Surface::PluginFrame,
        &format!("{at}/raw"),
        "is for message.text and plugin.frame alone",
        "take it away",
    );
    let arguments = case.surface == Surface::ToolArguments;
    rules.hold(
        arguments || case.role.is_none(),
        &format!("{at}/role"),
        "is for tool.arguments alone",
        "take it away",
    );
    rules.hold(!arguments || case.role.is_some(), at, "no tool for these arguments", "add `role`");
    let known = !message || case.scenario.is_some() || mentions(&case.payload, Var::Nonce);
    rules.hold(
        known,
        &format!("{at}/payload"),
        "a message without NONCE, which the model would not recognise",
        "put {\"var\": \"NONCE\"} into it",
    );
    let pieces = matches!(case.payload, Expr::Chunks(_) | Expr::Drip(_));
    let streamed = matches!(
        case.surface,
        Surface::MessageText | Surface::HttpJson | Surface::HttpBody | Surface::HttpRaw
    );
    rules.hold(
        !pieces || streamed,
        &format!("{at}/payload"),
        "pieces on a surface that delivers in one",
        "use concat",
    );
}

fn expression(rules: &mut Rules<'_>, expr: &Expr, pointer: &str) {
    let mut vars = Vars::sample();
    let mut sized = expr.size(&vars);
    if sized.is_ok() && mentions_nest(expr) {
        vars.set_envelope(ENVELOPE);
        sized = expr.size(&vars);
    }
    match sized {
        Ok(bytes) if bytes > BUILT => {}
        Ok(_) => {
            if let Err(error) = expr.build(&vars) {
                rules.say(pointer, error, "see the payload expressions in attacks/schema.json");
            }
        }
        Err(error) => rules.say(pointer, error, "make it smaller, or see attacks/schema.json"),
    }
}

fn prepared(rules: &mut Rules<'_>, setup: &Setup, pointer: &str) {
    let (path, content) = match setup {
        Setup::Dir { path } | Setup::Fifo { path } => (path, None),
        Setup::File { path, content, .. } => (path, Some(content)),
        Setup::Symlink { path, target }
        | Setup::Hardlink { path, target }
        | Setup::Junction { path, target } => (path, Some(target)),
    };
    for expr in std::iter::once(path).chain(content) {
        expression(rules, expr, pointer);
    }
    let Ok(place) = path.build(&Vars::sample()) else { return };
    let climbs = place.split(|byte| *byte == b'/').any(|name| name == b"..");
    let absolute = place.starts_with(b"/") && !place.starts_with(b"/world/");
    rules.hold(
        !climbs && !absolute,
        pointer,
        "a setup that leaves the world of the case",
        "begin the path with ROOT or OUTSIDE, or in the workspace",
    );
}

fn mentions(expr: &Expr, var: Var) -> bool {
    any(expr, &|part| matches!(part, Expr::Var(named) if *named == var))
}

fn mentions_nest(expr: &Expr) -> bool {
    any(expr, &|part| matches!(part, Expr::Nest(_)))
}

/// Whether any part of an expression is such.
fn any(expr: &Expr, such: &dyn Fn(&Expr) -> bool) -> bool {
    let inside = |part: &Expr| any(part, such);
    such(expr)
        || match expr {
            Expr::Text(_) | Expr::Hex(_) | Expr::Wtf16(_) | Expr::Var(_) | Expr::Json(_) => false,
            Expr::Flip(flip) => inside(&flip.of),
            Expr::Splice(splice) => inside(&splice.of) || inside(&splice.with),
            Expr::Repeat(repeat) => inside(&repeat.of),
            Expr::Concat(parts) | Expr::Chunks(parts) => parts.iter().any(inside),
            Expr::Count(count) => {
                inside(&count.before)
                    || inside(&count.after)
                    || count.between.as_deref().is_some_and(inside)
            }
            Expr::Encode(encode) => inside(&encode.of),
            Expr::Nest(nest) => nest.core.as_deref().is_some_and(inside),
            Expr::Fill(fill) => {
                [&fill.before, &fill.after].into_iter().flatten().any(|part| inside(part))
                    || inside(&fill.with)
            }
            Expr::Arguments(arguments) => any_argument(arguments, &inside),
            Expr::Cut(cut) => inside(&cut.of),
            Expr::Drip(drip) => inside(&drip.of),
        }
}

fn any_argument(arguments: &Arguments, such: &dyn Fn(&Expr) -> bool) -> bool {
    let values = arguments.path.iter().chain(&arguments.content);
    values.chain(arguments.argv.iter().flatten()).any(such)
}
