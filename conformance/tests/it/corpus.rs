//! The shipped corpus and the rules of lint: each rule is shown to refuse, and the generated files
//! are current.

use std::path::{Path, PathBuf};

use clawproof::corpus::{
    Corpus, Family, Kind, Outline, Surface, Vars, lint, manifest, scaffold, schema, stats,
};
use clawproof::spec::Spec;
use serde_json::{Value, json};

fn attacks() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../attacks")
}

fn spec() -> Spec {
    Spec::load().unwrap()
}

#[test]
fn the_shipped_corpus_loads_and_every_payload_is_built() {
    let corpus = Corpus::load(&attacks()).unwrap();
    let vars = Vars::sample();
    for (_, case) in corpus.cases() {
        let size = case.payload.size(&vars).unwrap_or_else(|error| panic!("{}: {error}", case.id));
        let bytes = case.payload.build(&vars).unwrap();
        assert!(bytes.len() as u64 <= size, "{}", case.id);
    }
}

#[test]
fn the_shipped_corpus_has_nothing_that_lint_refuses_and_its_generated_files_are_current() {
    let findings: Vec<_> = lint(&attacks(), &spec()).iter().map(ToString::to_string).collect();
    assert!(findings.is_empty(), "{}", findings.join("\n"));
}

/// A corpus of one record in a folder of its own, changed by `change` before it is written.
fn findings(change: impl FnOnce(&mut Value)) -> Vec<String> {
    let mut record = record();
    change(&mut record);
    of_text(&(serde_json::to_string_pretty(&record).unwrap() + "\n"))
}

fn of_text(text: &str) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    std::fs::create_dir(dir.join("PT")).unwrap();
    std::fs::write(dir.join("PT/PT-001.json"), text).unwrap();
    std::fs::write(dir.join("schema.json"), schema()).unwrap();
    if let Ok(manifest) = manifest(dir) {
        std::fs::write(dir.join("MANIFEST.json"), manifest).unwrap();
    }
    let found = lint(dir, &spec());
    assert!(found.iter().all(|it| it.line >= 1 && !it.fix.is_empty()), "{found:?}");
    found.iter().map(|it| format!("{}: {} / {}", it.line, it.message, it.fix)).collect()
}

fn record() -> Value {
    json!({
        "id": "PT-001", "family": "PT", "title": "A climb", "definition": "Two dots climb.",
        "status": "active", "since": "2026.1", "severity": "high",
        "requirement": ["path.traversal"], "refs": {"cwe": ["CWE-22"]},
        "licence": "CC0-1.0",
        "provenance": {"kind": "own", "author": "somebody", "date": "2026-11-24"},
        "cases": [
            {
                "id": "PT-001.001", "kind": "benign", "surface": "tool.path.read",
                "note": "An ordinary file.",
                "setup": [{"file": {"path": "ok.md", "content": {"var": "MARK"}}}],
                "payload": "ok.md",
                "expect": {"verdict": "accept", "reason": "It works."},
            },
            {
                "id": "PT-001.002", "kind": "attack", "surface": "tool.path.read",
                "twin": "PT-001.001", "note": "A climb.",
                "payload": {"concat": [{"var": "CLIMB"}, "/k"]},
                "expect": {"verdict": "reject", "reason": "It leaves the workspace."},
            },
        ],
    })
}

#[test]
fn a_good_record_has_no_findings() {
    assert_eq!(findings(|_| ()), Vec::<String>::new());
}

/// Every rule, with what breaks it and a word of what is said.
#[test]
fn every_rule_refuses_what_breaks_it() {
    type Change = fn(&mut Value);
    let rules: &[(&str, Change)] = &[
        ("unknown field `titel`", |it| it["titel"] = json!("x")),
        ("did you mean `note`?", |it| it["cases"][0]["nota"] = json!("x")),
        ("missing field `provenance` / add", |it| {
            drop(it.as_object_mut().unwrap().remove("provenance"))
        }),
        ("unknown variant `HOME`", |it| it["cases"][1]["payload"] = json!({"var": "HOME"})),
        ("did you mean `repeat`?", |it| {
            it["cases"][1]["payload"] = json!({"repeet": {"of": "a", "times": 2}})
        }),
        ("unknown variant `tool.path`", |it| it["cases"][0]["surface"] = json!("tool.path")),
        ("is no id of the family PT", |it| it["id"] = json!("PT-1")),
        ("does not stand in its own file", |it| it["id"] = json!("PT-002")),
        ("does not stand in its own file", |it| it["family"] = json!("JS")),
        ("is no version of the corpus", |it| it["since"] = json!("now")),
        ("is empty / write a sentence", |it| it["definition"] = json!(" ")),
        ("holds no case", |it| it["cases"] = json!([])),
        ("names no requirement", |it| it["requirement"] = json!([])),
        ("did you mean `path.traversal`?", |it| it["requirement"] = json!(["path.traversel"])),
        ("names a requirement twice", |it| {
            it["requirement"] = json!(["path.traversal", "path.traversal"])
        }),
        ("names a requirement that no case witnesses", |it| {
            it["requirement"] = json!(["path.traversal", "path.link"]);
            for case in 0..2 {
                it["cases"][case]["requirement"] = json!(["path.link"]);
            }
        }),
        ("the licence `GPL-3.0-only` is not on the list", |it| {
            it["licence"] = json!("GPL-3.0-only")
        }),
        ("is empty / say who wrote it", |it| it["provenance"]["author"] = json!("")),
        ("is no date", |it| it["provenance"]["date"] = json!("24 November")),
        ("is imported and names no source", |it| it["provenance"]["kind"] = json!("imported")),
        ("no id of its kind", |it| it["refs"]["cwe"] = json!(["22"])),
        ("is no case id of PT-001", |it| it["cases"][1]["id"] = json!("PT-002.002")),
        ("the case id PT-001.001 stands twice", |it| it["cases"][1]["id"] = json!("PT-001.001")),
        ("is empty / say what this case shows", |it| it["cases"][0]["note"] = json!("")),
        ("is empty / say why", |it| it["cases"][0]["expect"]["reason"] = json!("")),
        ("an attack without a twin", |it| {
            drop(it["cases"][1].as_object_mut().unwrap().remove("twin"))
        }),
        ("the twin `PT-001.009` is no benign case", |it| {
            it["cases"][1]["twin"] = json!("PT-001.009")
        }),
        ("the twin `PT-001.002` is no benign case", |it| {
            it["cases"][1]["twin"] = json!("PT-001.002")
        }),
        ("the twin stands on another surface", |it| {
            it["cases"][1]["surface"] = json!("tool.path.write")
        }),
        ("the twin need not be accepted", |it| {
            it["cases"][0]["expect"]["verdict"] = json!("either")
        }),
        ("the twin needs more of the host", |it| it["cases"][0]["requires"] = json!(["symlink"])),
        ("an attack that must be accepted", |it| {
            it["cases"][1]["expect"]["verdict"] = json!("accept")
        }),
        ("a benign case that may be refused", |it| {
            it["cases"][0]["expect"]["verdict"] = json!("reject")
        }),
        ("a benign case that may be refused", |it| {
            it["cases"][0]["expect"]["by_os"] = json!({"windows": "neutralise"})
        }),
        ("does not hold MARK", |it| it["cases"][0]["setup"] = json!([])),
        ("an attack on several requirements", |it| {
            it["requirement"] = json!(["path.traversal", "path.link"])
        }),
        ("names a requirement that the record does not", |it| {
            it["cases"][1]["requirement"] = json!(["path.link"])
        }),
        ("`path.traversal` cannot be witnessed on session.id", |it| {
            it["cases"][1]["surface"] = json!("session.id")
        }),
        ("is for message.text and plugin.frame alone", |it| it["cases"][0]["raw"] = json!(true)),
        ("is for tool.arguments alone", |it| it["cases"][0]["role"] = json!("read")),
        ("no tool for these arguments", |it| it["cases"][0]["surface"] = json!("tool.arguments")),
        ("a message without NONCE", |it| it["cases"][1]["surface"] = json!("message.text")),
        ("pieces on a surface that delivers in one", |it| {
            it["cases"][1]["payload"] = json!({"chunks": ["a", "b"]})
        }),
        (
            "over the cap",
            |it| it["cases"][1]["payload"] = json!({"repeat": {"of": {"repeat": {"of": "a", "times": 4_000_000_000_u64}}, "times": 4_000_000_000_u64}}),
        ),
        ("over the cap", |it| {
            it["cases"][0]["setup"][0]["file"]["content"] =
                json!({"concat": [{"var": "MARK"}, {"repeat": {"of": "a", "times": 999_999_999}}]})
        }),
        ("hex: ", |it| it["cases"][1]["payload"] = json!({"hex": "0g"})),
        ("cannot stand inside", |it| {
            it["cases"][1]["payload"] =
                json!({"nest": {"layers": [{"open": "[", "close": "]"}], "depth": 1}})
        }),
        ("leaves the world of the case", |it| {
            it["cases"][0]["setup"][0]["file"]["path"] = json!("../ok.md")
        }),
        ("leaves the world of the case", |it| {
            it["cases"][0]["setup"][0]["file"]["path"] = json!("/etc/ok.md")
        }),
        ("looks like a live secret", |it| {
            it["cases"][0]["note"] = json!(["AKIA", "0123456789ABCDEF"].concat())
        }),
        ("is not reserved for documentation", |it| {
            it["cases"][0]["note"] = json!(["https:", "//somewhere.dev/x"].concat())
        }),
        ("is left from the scaffold", |it| it["title"] = json!("CHANGE ME")),
    ];
    for (word, change) in rules {
        let found = findings(change);
        assert!(found.iter().any(|it| it.contains(word)), "{word}: {found:#?}");
    }
}

#[test]
fn bytes_keys_and_syntax_are_refused_with_their_line() {
    let good = serde_json::to_string_pretty(&record()).unwrap() + "\n";
    let title = good.lines().position(|line| line.contains("\"title\"")).unwrap() + 1;
    for (text, word) in [
        (good.replace("A climb\"", "A cl\u{ed}mb\""), "the byte 0xc3 is neither"),
        (good.replace("\"A climb\"", "\t\"A climb\""), "the byte 0x09 is neither"),
        (good.replace("\"A climb\"", "\"A climb\"\r"), "the byte 0x0d is neither"),
        (
            good.replace("\"title\": \"A climb\"", "\"title\": \"A climb\", \"title\": \"B\""),
            "the key `title` stands twice",
        ),
        (
            good.replace(
                "\"title\": \"A climb\"",
                "\"title\": \"A climb\", \"titl\\u0065\": \"B\"",
            ),
            "the key `title` stands twice",
        ),
        (good.replace("\"A climb\"", "'A climb'"), "expected value"),
    ] {
        let found = of_text(&text);
        assert!(
            found.iter().any(|it| it.starts_with(&format!("{title}: ")) && it.contains(word)),
            "{word}: {found:#?}"
        );
    }
    assert!(of_text(good.trim_end())[0].contains("no line feed at the end"));
    let repeated = good.replace(
        "\"verdict\": \"reject\"",
        "\"by_os\": {\"linux\": \"reject\", \"linux\": \"accept\"}, \"verdict\": \"reject\"",
    );
    assert!(of_text(&repeated).iter().any(|it| it.contains("the key `linux` stands twice")));
}

#[test]
fn ids_that_two_files_share_and_stale_generated_files_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let text = serde_json::to_string_pretty(&record()).unwrap() + "\n";
    for name in ["PT", "JS"] {
        std::fs::create_dir(dir.join(name)).unwrap();
        std::fs::write(dir.join(name).join("PT-001.json"), &text).unwrap();
    }
    std::fs::write(dir.join("MANIFEST.json"), "{}").unwrap();
    let found: Vec<_> = lint(dir, &spec()).iter().map(ToString::to_string).collect();
    for word in [
        "the id PT-001 is taken by",
        "the case id PT-001.001 stands twice",
        "MANIFEST.json:1: is not what",
        "schema.json:1: is missing",
    ] {
        assert!(found.iter().any(|it| it.contains(word)), "{word}: {found:#?}");
    }
    assert!(lint(&dir.join("nothing"), &spec())[0].message.contains("cannot read"));
}

#[test]
fn a_scaffold_takes_the_next_number_and_is_refused_only_for_what_is_unwritten() {
    for surface in Surface::ALL {
        let outline = Outline {
            family: Family::PT,
            surface: *surface,
            title: "New".into(),
            author: "somebody".into(),
            date: "2026-11-24".into(),
        };
        let (path, text) = scaffold(&attacks(), &outline).unwrap();
        let id = path.file_stem().unwrap().to_string_lossy().into_owned();
        assert!(!path.exists() && text.contains(&id));
        let found = of_text(&text.replace(&id, "PT-001"));
        assert!(found.iter().any(|it| it.contains("is left from the scaffold")));
        let filled = text.replace(&id, "PT-001").replace("CHANGE ME", "path.traversal");
        let rest = of_text(&filled);
        assert!(rest.iter().all(|it| it.contains("cannot be witnessed on")), "{rest:#?}");
    }
}

#[test]
fn what_stands_beside_the_corpus_is_none_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let put = |place: &str, text: &[u8]| {
        let path = folder.path().join(place);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    put("PT/PT-001.json", &std::fs::read(attacks().join("PT/PT-001.json")).unwrap());
    put("imported/list.json", b"{\"schema\": \"another\"}");
    put("regressions/loose.json", b"[]");
    assert_eq!(Corpus::load(folder.path()).unwrap().records.len(), 1);
    put("PT/PT-002.json", b"{}");
    assert!(Corpus::load(folder.path()).is_err());
}

#[test]
fn statistics_count_every_case_and_name_the_requirements_without_one() {
    let corpus = Corpus::load(&attacks()).unwrap();
    let stats = stats(&corpus, &spec());
    assert_eq!(stats.surfaces.values().map(|(own, _)| own).sum::<usize>(), corpus.cases().count());
    assert!(stats.without.iter().any(|id| id == "vault.kdf"));
    assert!(!stats.without.iter().any(|id| id == "path.traversal"));
    assert!(stats.to_string().contains("requirements without a case here"));
}

#[test]
fn the_corpus_keeps_the_floor_of_classes_and_every_class_has_a_benign_case() {
    let corpus = Corpus::load(&attacks()).unwrap();
    for (family, floor) in [
        (Family::PT, 12),
        (Family::JS, 8),
        (Family::CI, 6),
        (Family::UC, 4),
        (Family::OP, 3),
        (Family::TC, 3),
    ] {
        let records = corpus.records.iter().filter(|record| record.family == family);
        assert!(records.count() >= floor, "{family:?}");
    }
    for record in &corpus.records {
        assert!(record.cases.iter().any(|case| case.kind == Kind::Benign), "{}", record.id);
    }
}

#[test]
fn every_surface_of_the_corpus_stands_in_the_catalogue() {
    for surface in Surface::ALL {
        assert!(spec().surfaces.iter().any(|row| row.id == surface.id()), "{}", surface.id());
    }
}

#[test]
fn the_schema_accepts_every_shipped_record_and_refuses_a_broken_one() {
    let schema: Value = serde_json::from_str(&schema()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    for record in Corpus::load(&attacks()).unwrap().records {
        let path = attacks().join(format!("{:?}/{}.json", record.family, record.id));
        let json: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let wrong: Vec<_> = validator.iter_errors(&json).map(|it| it.to_string()).collect();
        assert!(wrong.is_empty(), "{}: {wrong:#?}", record.id);
    }
    for (member, value) in
        [("titel", json!("x")), ("status", json!("gone")), ("cases", json!([{}]))]
    {
        let mut broken = record();
        broken[member] = value;
        assert!(!validator.is_valid(&broken), "{member}");
    }
}
