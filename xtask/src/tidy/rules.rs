//! The rules that look at one file alone. Pure: text in, faults out.

use proc_macro2::{TokenStream, TokenTree};

use super::{Fault, File};

/// A file grows past this only by needing a second room.
const LONGEST: usize = 600;

/// The first line says what the file is for and what it must never know.
pub(super) fn first_line(file: &File) -> Vec<Fault> {
    let line = file.text.lines().next().unwrap_or_default();
    let says = line.strip_prefix("//! ").is_some_and(|text| text.trim().len() >= 3);
    if says {
        return Vec::new();
    }
    vec![Fault::new(&file.path, 1, "the first line must be `//!` and say what the file is for")]
}

/// Files are rooms: none is longer than 600 lines.
pub(super) fn length(file: &File) -> Vec<Fault> {
    let lines = file.text.lines().count();
    if lines <= LONGEST {
        return Vec::new();
    }
    let sentence = format!("{lines} lines: past {LONGEST} a file wants a second room");
    vec![Fault::new(&file.path, lines, sentence)]
}

/// `#[expect]` with a reason in place of `#[allow]`, and no test is ignored without a reason.
pub(super) fn attributes(file: &File) -> Vec<Fault> {
    let mut faults = Vec::new();
    match file.text.parse::<TokenStream>() {
        Ok(tokens) => attributes_of(tokens, file, &mut faults),
        Err(error) => {
            let line = error.span().start().line;
            faults.push(Fault::new(&file.path, line, format!("is no Rust: {error}")));
        }
    }
    faults
}

fn attributes_of(tokens: TokenStream, file: &File, faults: &mut Vec<Fault>) {
    let mut after_hash = false;
    for token in tokens {
        match token {
            TokenTree::Punct(mark) if mark.as_char() == '#' => after_hash = true,
            TokenTree::Punct(mark) if mark.as_char() == '!' && after_hash => {}
            TokenTree::Group(group) => {
                if after_hash {
                    let line = group.span_open().start().line;
                    if let Some(sentence) = attribute_fault(group.stream()) {
                        faults.push(Fault::new(&file.path, line, sentence));
                    }
                }
                after_hash = false;
                attributes_of(group.stream(), file, faults);
            }
            _ => after_hash = false,
        }
    }
}

fn attribute_fault(attribute: TokenStream) -> Option<&'static str> {
    let mut tokens = attribute.into_iter();
    let Some(TokenTree::Ident(name)) = tokens.next() else { return None };
    match name.to_string().as_str() {
        "allow" => Some("`#[expect(lint, reason = \"...\")]` in place of `#[allow]`"),
        "ignore" if tokens.next().is_none() => {
            Some("an ignored test says why: `#[ignore = \"...\"]`")
        }
        _ => None,
    }
}

/// Every crate takes the lints of the workspace, and the two sides share no code: a bug of the
/// subject must not become the oracle's.
pub(super) fn manifest(file: &File) -> Vec<Fault> {
    let Ok(table) = file.text.parse::<toml::Table>() else {
        return vec![Fault::new(&file.path, 1, "is no TOML")];
    };
    let mut faults = Vec::new();
    if let Some(workspace) = table.get("workspace")
        && file.path == "Cargo.toml"
    {
        let unsafe_code = ["lints", "rust", "unsafe_code"]
            .iter()
            .try_fold(workspace, |value, key| value.get(key))
            .and_then(toml::Value::as_str);
        if unsafe_code != Some("forbid") {
            faults.push(Fault::new(&file.path, 1, "the workspace must forbid unsafe code"));
        }
        return faults;
    }
    // The fuzz crate is a workspace of its own; its macro needs an exported symbol.
    if table.contains_key("workspace") {
        return faults;
    }
    let inherits = ["lints", "workspace"]
        .iter()
        .try_fold(&toml::Value::Table(table.clone()), |value, key| value.get(key))
        .and_then(toml::Value::as_bool);
    if inherits != Some(true) {
        faults.push(Fault::new(&file.path, 1, "must inherit the lints of the workspace"));
    }
    let other_side = match file.path.as_str() {
        "reference-runtime/Cargo.toml" => &["clawproof", "clawproof-probe"][..],
        "conformance/Cargo.toml" | "conformance/probe/Cargo.toml" => &["clawproof-runtime"][..],
        _ => &[],
    };
    for name in other_side {
        let uses = file.text.lines().position(|line| {
            line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['.', ' ', '=']))
        });
        if let Some(line) = uses {
            let sentence = format!("the runtime and the suite share no code: no `{name}` here");
            faults.push(Fault::new(&file.path, line + 1, sentence));
        }
    }
    faults
}

/// Every dependency comes from crates.io under its public name.
pub(super) fn lock(file: &File) -> Vec<Fault> {
    let index = "source = \"registry+https://github.com/rust-lang/crates.io-index\"";
    let mut faults = Vec::new();
    for (number, line) in file.text.lines().enumerate() {
        if line.starts_with("source = ") && line != index {
            let sentence = "a dependency that is not from crates.io";
            faults.push(Fault::new(&file.path, number + 1, sentence));
        }
    }
    faults
}

/// Words that belong to one machine, never to the project. Only `.ci/run` may look beside the
/// clone.
pub(super) fn words(file: &File) -> Vec<Fault> {
    // In two halves each, so that this file passes its own rule.
    let machine = [["/wo", "rk/"], ["/ro", "ot/"], ["/home/", "runner/"], ["C:\\Us", "ers\\"]];
    let beside = ["../sha", "red"].concat();
    let mut faults = Vec::new();
    for (number, line) in file.text.lines().enumerate() {
        let mut fault = |word: &str| {
            let sentence = format!("`{word}` is a path of one machine");
            faults.push(Fault::new(&file.path, number + 1, sentence));
        };
        for word in machine.iter().map(|halves| halves.concat()) {
            if starts_a_path(line, &word) {
                fault(&word);
            }
        }
        if line.contains(&beside) && file.path != ".ci/run" {
            fault(&beside);
        }
    }
    faults
}

/// Whether the word begins a path that goes on: neither `/proc/self` before it nor a bare list of
/// folders is one of a machine.
fn starts_a_path(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line.get(..at).and_then(|before| before.chars().next_back());
        let after = line.get(at + word.len()..).and_then(|after| after.chars().next());
        !before.is_some_and(|mark| mark.is_alphanumeric() || "._-*}>".contains(mark))
            && after.is_some_and(|mark| mark.is_alphanumeric() || "._-".contains(mark))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> File {
        File { path: path.into(), text: text.into() }
    }

    #[test]
    fn a_file_without_a_purpose_on_its_first_line_is_seen() {
        assert_eq!(first_line(&file("a.rs", "use std::fs;\n")).len(), 1);
        assert_eq!(first_line(&file("a.rs", "//!\n//! Late.\n")).len(), 1);
        assert_eq!(first_line(&file("a.rs", "")).len(), 1);
        assert!(first_line(&file("a.rs", "//! Opens doors.\n")).is_empty());
    }

    #[test]
    fn line_601_is_seen() {
        assert!(length(&file("a.rs", &"\n".repeat(600))).is_empty());
        assert_eq!(length(&file("a.rs", &"\n".repeat(601))).len(), 1);
    }

    #[test]
    fn allow_is_seen_wherever_it_stands_and_prose_about_it_is_not() {
        let seen = "#![allow(dead_code)]\nmod a { fn b() { #[allow(unused)] let c = 1; } }\n";
        let faults = attributes(&file("a.rs", seen));
        assert_eq!(faults.iter().map(|fault| fault.line).collect::<Vec<_>>(), [1, 2]);
        let fine = "// #[allow(x)]\n/// `#[allow]`\n#[expect(x, reason = \"y\")]\nconst A: &str = \"#[allow(x)]\";\n";
        assert!(attributes(&file("a.rs", fine)).is_empty());
    }

    #[test]
    fn a_test_ignored_without_a_reason_is_seen() {
        assert_eq!(attributes(&file("a.rs", "#[ignore]\nfn a() {}\n")).len(), 1);
        assert!(attributes(&file("a.rs", "#[ignore = \"slow\"]\nfn a() {}\n")).is_empty());
    }

    #[test]
    fn a_file_that_is_no_rust_is_seen() {
        assert_eq!(attributes(&file("a.rs", "fn a( {\n")).len(), 1);
    }

    #[test]
    fn a_crate_that_leaves_the_lints_or_crosses_the_line_is_seen() {
        let lints = "[lints]\nworkspace = true\n";
        assert_eq!(manifest(&file("x/Cargo.toml", "[package]\nname = \"x\"\n")).len(), 1);
        assert!(manifest(&file("x/Cargo.toml", lints)).is_empty());
        let crossing = format!("[dependencies]\nclawproof-runtime.workspace = true\n{lints}");
        assert_eq!(manifest(&file("conformance/Cargo.toml", &crossing)).len(), 1);
        assert!(manifest(&file("benches/Cargo.toml", &crossing)).is_empty());
        let other = format!("[dependencies]\nclawproof = {{ path = \"x\" }}\n{lints}");
        assert_eq!(manifest(&file("reference-runtime/Cargo.toml", &other)).len(), 1);
    }

    #[test]
    fn a_workspace_that_permits_unsafe_code_is_seen() {
        let root = |level: &str| {
            let text = format!("[workspace]\n[workspace.lints.rust]\nunsafe_code = \"{level}\"\n");
            manifest(&file("Cargo.toml", &text)).len()
        };
        assert_eq!((root("deny"), root("forbid")), (1, 0));
    }

    #[test]
    fn a_dependency_from_elsewhere_is_seen() {
        let text = "source = \"registry+https://mirror.example/index\"\n";
        assert_eq!(lock(&file("Cargo.lock", text)).len(), 1);
    }

    #[test]
    fn a_path_of_one_machine_is_seen() {
        let text = ["see /ro", "ot/notes and ../sha", "red/db"].concat();
        assert_eq!(words(&file("a.md", &text)).len(), 2);
        assert_eq!(words(&file(".ci/run", &text)).len(), 1);
        for fine in [["/proc/self/ro", "ot/etc"], ["[\"/ro", "ot/\"]"]] {
            assert!(words(&file("a.md", &fine.concat())).is_empty(), "{fine:?}");
        }
    }
}
