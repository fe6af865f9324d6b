//! `tidy`: the house rules that no compiler checks. Each rule is a pure function from a file to
//! what is wrong with it, and each has a test that sees it fail. Knows files, never their meaning.

mod arrows;
mod circles;
mod paths;
mod rules;
mod walk;

use std::fmt;

use crate::failure::Failure;
use crate::summary::Ended;
use crate::workspace::Workspace;

/// One thing that is wrong, with the place.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Fault {
    file: String,
    line: usize,
    sentence: String,
}

impl Fault {
    fn new(file: &str, line: usize, sentence: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line, sentence: sentence.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.sentence)
    }
}

/// A text file of the repository.
#[derive(Debug)]
pub(crate) struct File {
    /// Relative to the root, with `/`.
    path: String,
    text: String,
}

pub(crate) fn run(workspace: &Workspace) -> Result<(), Failure> {
    if let Ended::Passed(note) = check(workspace)? {
        println!("tidy: {note}");
    }
    Ok(())
}

/// Checks the whole repository.
///
/// # Errors
/// The faults, each printed with its place.
pub(crate) fn check(workspace: &Workspace) -> Result<Ended, Failure> {
    let files = walk::text_files(workspace.root())?;
    let mut faults = all(&files);
    faults.sort();
    for fault in &faults {
        eprintln!("{fault}");
    }
    let rust = files.iter().filter(|file| is_rust(file)).count();
    if rust == 0 {
        return Err(Failure::machine("tidy found no Rust file: it looked in the wrong place"));
    }
    if faults.is_empty() {
        Ok(Ended::Passed(format!("{} files, {rust} of them Rust", files.len())))
    } else {
        Err(Failure::check(format!("{} faults against the house rules", faults.len())))
    }
}

fn all(files: &[File]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for file in files {
        faults.extend(rules::words(file));
        if is_rust(file) {
            faults.extend(rules::first_line(file));
            faults.extend(rules::length(file));
            faults.extend(rules::attributes(file));
        } else if file.path.ends_with("Cargo.toml") {
            faults.extend(rules::manifest(file));
        } else if file.path == "Cargo.lock" {
            faults.extend(rules::lock(file));
        }
    }
    for root in ["reference-runtime/src/", "conformance/src/"] {
        faults.extend(arrows::check(files, root));
    }
    faults.extend(circles::check(files));
    faults
}

fn is_rust(file: &File) -> bool {
    file.path.ends_with(".rs")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_is_applied() {
        let file = |path: &str, text: &str| File { path: path.into(), text: text.into() };
        let machine = ["/wo", "rk/here"].concat();
        let faults = all(&[
            file("a.rs", "fn main() {}\n"),
            file("b.rs", &format!("//! b\n{}", "\n".repeat(700))),
            file("c.rs", "//! c\n#[allow(dead_code)] fn c() {}\n"),
            file("d.md", &machine),
            file("x/Cargo.toml", "[package]\nname = \"x\"\n"),
            file("Cargo.lock", "source = \"git+https://example.org/x\"\n"),
            file("conformance/src/lib.rs", "//! `a -> b`.\npub mod a;\npub mod b;\n"),
            file("conformance/src/a.rs", "//! a\nuse crate::b;\n"),
            file("conformance/src/b.rs", "//! b\n"),
            file("e/src/lib.rs", "//! e\nmod f;\nmod g;\n"),
            file("e/src/f.rs", "//! f\nuse super::g;\n"),
            file("e/src/g.rs", "//! g\nuse super::f;\n"),
        ]);
        let with_fault: Vec<_> = faults.iter().map(|fault| fault.file.as_str()).collect();
        for path in ["a.rs", "b.rs", "c.rs", "d.md", "x/Cargo.toml", "Cargo.lock", "e/src/f.rs"] {
            assert!(with_fault.contains(&path), "{path} has no fault: {faults:?}");
        }
        assert!(with_fault.contains(&"conformance/src/a.rs"), "{faults:?}");
    }

    #[test]
    fn this_repository_is_tidy() {
        let files = walk::text_files(Workspace::find().unwrap().root()).unwrap();
        let faults = all(&files);
        assert!(
            faults.is_empty(),
            "{}",
            faults.iter().map(|f| format!("{f}\n")).collect::<String>()
        );
    }
}
