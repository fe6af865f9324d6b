//! Rules about a record as a whole: ids, names, requirements, licence, provenance, text.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Rules, strings};
use crate::corpus::record::Origin;

/// Licences under which a record may be handed on with this corpus.
const LICENCES: &[&str] = &[
    "CC0-1.0",
    "CC-BY-4.0",
    "MIT",
    "MIT-0",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "0BSD",
    "Unlicense",
];

pub(super) fn check(rules: &mut Rules<'_>) {
    names(rules);
    requirements(rules);
    origin(rules);
    let text = &rules.sheet.text;
    let mut found = Vec::new();
    each_string(text, String::new(), &mut |pointer, value| {
        found.extend(
            strings::wrong_with(value).map(|(message, fix)| (pointer.to_owned(), message, fix)),
        );
    });
    for (pointer, message, fix) in found {
        rules.say(&pointer, message, fix);
    }
}

fn names(rules: &mut Rules<'_>) {
    let record = rules.record();
    let family = format!("{:?}", record.family);
    let number = record.id.strip_prefix(&format!("{family}-")).unwrap_or_default();
    let numbered = number.len() == 3 && number.bytes().all(|byte| byte.is_ascii_digit());
    if !numbered {
        let message = format!("`{}` is no id of the family {family}", record.id);
        rules.say("/id", message, format!("write {family}- and three digits"));
    }
    let path = &rules.sheet.path;
    let stem = path.file_stem().unwrap_or_default();
    let folder = path.parent().and_then(|parent| parent.file_name()).unwrap_or_default();
    if stem != record.id.as_str() || folder != family.as_str() {
        let message = format!("the record {} does not stand in its own file", record.id);
        rules.say("/id", message, format!("name the file {family}/{}.json", record.id));
    }
    let version: Vec<_> = record.since.split('.').collect();
    let number = |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let versioned = matches!(version.as_slice(), [year, count] if year.len() == 4 && number(year) && number(count));
    rules.hold(versioned, "/since", "is no version of the corpus", "write it like 2026.1");
    for (member, text) in [("title", &record.title), ("definition", &record.definition)] {
        rules.hold(!text.trim().is_empty(), &format!("/{member}"), "is empty", "write a sentence");
    }
    for (index, also) in record.also.iter().enumerate() {
        let played = record.cases.iter().any(|case| case.on(*also).is_some());
        rules.hold(
            played,
            &format!("/also/{index}"),
            "is a surface on which no case can be played",
            "take it away: it takes another shape of payload",
        );
    }
    let said = record.unproven.as_ref().is_none_or(|reason| !reason.trim().is_empty());
    rules.hold(said, "/unproven", "is empty", "say why no subject can be seen to fall to it");
    rules.hold(
        !record.cases.is_empty(),
        "/cases",
        "holds no case",
        "add an attack and its benign twin",
    );
}

fn requirements(rules: &mut Rules<'_>) {
    let record = rules.record();
    rules.hold(
        !record.requirement.is_empty(),
        "/requirement",
        "names no requirement",
        "name the ids that the cases witness",
    );
    let mut seen = BTreeSet::new();
    for (index, id) in record.requirement.iter().enumerate() {
        let pointer = format!("/requirement/{index}");
        known(rules, id, &pointer);
        rules.hold(seen.insert(id), &pointer, "names a requirement twice", "keep one");
        let used = record.cases.iter().any(|case| case.requirements(record).contains(id));
        rules.hold(
            used,
            &pointer,
            "names a requirement that no case witnesses",
            "take it away, or name it in a case",
        );
    }
}

/// Whether the catalogue has a requirement; says so where it has not.
pub(super) fn known(rules: &mut Rules<'_>, id: &str, pointer: &str) {
    if rules.spec.get(id).is_none() {
        let near = rules.spec.nearest(id).map(|near| format!("did you mean `{near}`?"));
        let fix = near.unwrap_or_else(|| "`clawproof spec` lists the ids".to_owned());
        rules.say(pointer, format!("unknown requirement `{id}`"), fix);
    }
}

fn origin(rules: &mut Rules<'_>) {
    let record = rules.record();
    if !LICENCES.contains(&record.licence.as_str()) {
        let message = format!("the licence `{}` is not on the list", record.licence);
        rules.say("/licence", message, format!("use one of {}", LICENCES.join(", ")));
    }
    let provenance = &record.provenance;
    rules.hold(
        !provenance.author.trim().is_empty(),
        "/provenance/author",
        "is empty",
        "say who wrote it",
    );
    let date = provenance.date.parse::<jiff::civil::Date>().is_ok() && provenance.date.len() == 10;
    rules.hold(date, "/provenance/date", "is no date", "write it like 2026-11-24");
    let sourced = provenance.kind != Origin::Imported || !provenance.sources.is_empty();
    rules.hold(
        sourced,
        "/provenance",
        "is imported and names no source",
        "name the list that it was drawn from",
    );
    for (kind, prefix, list) in [
        ("cwe", "CWE-", &record.refs.cwe),
        ("cve", "CVE-", &record.refs.cve),
        ("capec", "CAPEC-", &record.refs.capec),
        ("attack", "T", &record.refs.attack),
    ] {
        let shaped = list.iter().all(|id| {
            let number = id.strip_prefix(prefix).unwrap_or_default();
            !number.is_empty()
                && number.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'-' | b'.'))
        });
        let pointer = format!("/refs/{kind}");
        rules.hold(
            shaped,
            &pointer,
            "holds something that is no id of its kind",
            &format!("write {prefix} and the number"),
        );
    }
}

fn each_string(value: &Value, pointer: String, say: &mut impl FnMut(&str, &str)) {
    match value {
        Value::String(text) => say(&pointer, text),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                each_string(item, format!("{pointer}/{index}"), say);
            }
        }
        Value::Object(members) => {
            for (key, member) in members {
                let inside = format!("{pointer}/{key}");
                say(&inside, key);
                each_string(member, inside, say);
            }
        }
        _ => {}
    }
}
