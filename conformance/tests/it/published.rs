//! What is published in files and must not drift: the schemas of `docs/schema`, and the hashes that
//! freeze the sentences of a revision. Both are compared with what the program itself says.

use std::path::PathBuf;

use clawproof::spec::{REVISIONS, Spec};

fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name)
}

#[expect(clippy::disallowed_methods, reason = "the command is what is tested")]
fn printed(arguments: &[&str]) -> String {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_clawproof"))
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{arguments:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn every_published_schema_is_the_one_that_the_program_prints() {
    for name in ["report", "manifest", "baseline"] {
        let path = folder("../docs/schema").join(format!("{name}.schema.json"));
        let published = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            published == printed(&["schema", name]),
            "docs/schema/{name}.schema.json differs: `clawproof schema {name}` writes it. Within a \
             version keys are added, never renamed or taken away"
        );
    }
}

/// What differs between the hashes that were frozen and those of today, each as one sentence.
fn drift(frozen: &str, now: &str) -> Vec<String> {
    let rows = |text: &str| -> std::collections::BTreeMap<String, String> {
        let pairs = text.lines().filter_map(|line| line.split_once("  "));
        pairs.map(|(hash, id)| (id.to_owned(), hash.to_owned())).collect()
    };
    let (frozen, now) = (rows(frozen), rows(now));
    let gone = frozen.iter().filter_map(|(id, hash)| match now.get(id) {
        None => Some(format!("`{id}` was taken away: an id is for ever")),
        Some(today) if today != hash => {
            Some(format!("`{id}` says something else now: a change needs a new revision"))
        }
        Some(_) => None,
    });
    let new = now.keys().filter(|id| !frozen.contains_key(*id));
    let new = new.map(|id| format!("`{id}` is new: add its line to the frozen hashes"));
    gone.chain(new).collect()
}

#[test]
fn the_sentences_of_every_revision_are_what_they_were_when_it_was_frozen() {
    for (revision, text) in REVISIONS {
        let path = folder("spec").join(format!("{revision}.sha256"));
        let frozen = std::fs::read_to_string(&path).unwrap();
        let now = Spec::parse(text).unwrap().hashes();
        assert_eq!(drift(&frozen, &now), Vec::<String>::new(), "`clawproof spec --hashes`");
        assert_eq!(printed(&["spec", "--requirements", revision, "--hashes"]), now);
    }
}

#[test]
fn an_edited_sentence_a_missing_row_and_a_new_row_are_each_seen() {
    let (_, text) = REVISIONS[0];
    let frozen = Spec::parse(text).unwrap().hashes();
    let edited =
        text.replacen("is refused before it is stored", "is refused after it is stored", 1);
    assert_ne!(edited, text);
    let softened = text.replacen("level = \"must\"", "level = \"should\"", 1);
    for changed in [edited, softened] {
        let now = Spec::parse(&changed).unwrap().hashes();
        let seen = drift(&frozen, &now);
        assert!(seen.len() == 1 && seen[0].contains("needs a new revision"), "{seen:?}");
    }
    let (first, rest) = frozen.split_once('\n').unwrap();
    assert!(drift(&frozen, rest)[0].contains("taken away"), "{first}");
    assert!(drift(rest, &frozen)[0].contains("is new"), "{first}");
}

/// The options that a text names, as `--name`.
fn options(text: &str) -> std::collections::BTreeSet<&str> {
    let words = text.split(|it: char| !it.is_ascii_alphanumeric() && it != '-');
    words.filter(|word| word.len() > 2 && word.starts_with("--")).collect()
}

#[test]
fn the_action_calls_the_suite_with_options_that_it_has() {
    let path = folder("../.github/actions/certify/action.yml");
    let text = std::fs::read_to_string(path).unwrap();
    let (_, step) = text.split_once("arguments=(run").unwrap();
    let (step, _) = step.split_once("code=0").unwrap();
    let (used, help) = (options(step), printed(&["run", "--help"]));
    assert!(used.len() >= 10, "{used:?}");
    let known = options(&help);
    let unknown: Vec<_> = used.difference(&known).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
    // Inputs are data: none stands in the text of a script.
    let scripts = text.split("run: |").skip(1);
    let scripts = scripts.map(|rest| rest.split("\n\n").next().unwrap_or_default());
    assert!(scripts.into_iter().all(|script| !script.contains("${{")), "an input in a script");
}
