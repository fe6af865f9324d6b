//! Circles of imports: of the files and folders that stand side by side in one folder, none names
//! another that leads back to it. What two of them share stands in a third. Knows no room by name.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proc_macro2::TokenStream;

use super::paths::{Named, modules, named, without_tests};
use super::{Fault, File};

/// A module by its path from the crate's root.
type Module = Vec<String>;
/// Who names whom of those side by side, and where: the file and the line.
type Arrows<'files> = BTreeMap<Module, BTreeMap<Module, (&'files str, usize)>>;

/// Checks every crate: a folder with a `lib.rs` or a `main.rs`, and what is below it.
pub(super) fn check(files: &[File]) -> Vec<Fault> {
    let roots = files.iter().filter_map(|file| {
        let root = file.path.strip_suffix("lib.rs").or(file.path.strip_suffix("main.rs"))?;
        (root.is_empty() || root.ends_with('/')).then_some(root)
    });
    let roots: BTreeSet<_> = roots.collect();
    roots.into_iter().flat_map(|root| check_crate(files, root)).collect()
}

fn check_crate(files: &[File], root: &str) -> Vec<Fault> {
    let all: Vec<_> = files
        .iter()
        .filter_map(|file| {
            let own = modules(file.path.strip_prefix(root)?)?;
            let tokens = file.text.parse::<TokenStream>().ok()?;
            let named = named(without_tests(tokens), &own);
            Some((own, named, file.path.as_str()))
        })
        .collect();
    let mut places =
        Places { modules: all.iter().map(|(own, ..)| own).collect(), shown: BTreeMap::new() };
    for (own, named, _) in &all {
        for Named { path, .. } in named {
            places.show(own, path);
        }
    }
    let mut arrows = Arrows::new();
    for (own, named, file) in &all {
        for Named { path, line } in named {
            let other = places.module(path);
            let shared = own.iter().zip(&other).take_while(|(a, b)| a == b).count();
            if let (Some(from), Some(to)) = (own.get(..=shared), other.get(..=shared)) {
                let to_others = arrows.entry(from.to_vec()).or_default();
                to_others.entry(to.to_vec()).or_insert((*file, *line));
            }
        }
    }
    let mut faults = Vec::new();
    for (from, to_others) in &arrows {
        for (to, (file, line)) in to_others {
            if let Some(back) = way(&arrows, to, from) {
                let circle = [&[*file], back.as_slice(), &[*file]].concat().join(" -> ");
                let sentence = format!("stands in a circle of imports: {circle}");
                faults.push(Fault::new(file, *line, sentence));
            }
        }
    }
    faults
}

/// Where what is named stands.
struct Places<'files> {
    modules: BTreeSet<&'files Module>,
    /// What a file shows of the modules in it, as if it were its own: place by place.
    shown: BTreeMap<Module, &'files Module>,
}

impl<'files> Places<'files> {
    /// Notes that `own` names `path`: if that is in a module of its own, `own` shows it too.
    fn show(&mut self, own: &Module, path: &'files Module) {
        let child = path.get(..=own.len()).filter(|child| child.starts_with(own));
        if child.is_some_and(|child| child != path && self.modules.contains(&child.to_vec()))
            && let Some(name) = path.last()
        {
            self.shown.insert([own.as_slice(), std::slice::from_ref(name)].concat(), path);
        }
    }

    /// The module whose file says what is at this path.
    fn module(&self, path: &[String]) -> Module {
        let mut at = path.to_vec();
        while !at.is_empty() && !self.modules.contains(&at) {
            if let (Some(elsewhere), Some(rest)) = (self.shown.get(&at), path.get(at.len()..)) {
                return self.module(&[elsewhere.as_slice(), rest].concat());
            }
            at.pop();
        }
        at
    }
}

/// The shortest way along the arrows, as the files that name the next one.
fn way<'files>(arrows: &Arrows<'files>, from: &Module, to: &Module) -> Option<Vec<&'files str>> {
    let mut seen = vec![from];
    let mut open = VecDeque::from([(from, Vec::new())]);
    while let Some((at, way)) = open.pop_front() {
        if at == to {
            return Some(way);
        }
        for (next, (file, _)) in arrows.get(at).into_iter().flatten() {
            if !seen.contains(&next) {
                seen.push(next);
                open.push_back((next, [way.as_slice(), &[*file]].concat()));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(files: &[(&str, &str)]) -> Vec<String> {
        let files: Vec<_> = files
            .iter()
            .map(|(path, text)| File { path: (*path).into(), text: (*text).into() })
            .collect();
        check(&files).iter().map(ToString::to_string).collect()
    }

    const LIB: (&str, &str) = ("src/lib.rs", "//! lib\nmod a;\nmod b;\nmod c;\nuse a::A;\n");

    #[test]
    fn two_files_that_name_each_other_are_seen_with_the_lines() {
        let faults = faults(&[
            LIB,
            ("src/a.rs", "//! a\nuse super::b::B;\n"),
            ("src/b.rs", "//! b\n\nfn f() { crate::a::g() }\n"),
        ]);
        assert_eq!(
            faults,
            [
                "src/a.rs:2: stands in a circle of imports: src/a.rs -> src/b.rs -> src/a.rs",
                "src/b.rs:3: stands in a circle of imports: src/b.rs -> src/a.rs -> src/b.rs",
            ]
        );
    }

    #[test]
    fn a_longer_circle_that_leads_through_a_folder_is_seen() {
        let faults = faults(&[
            LIB,
            ("src/a/mod.rs", "//! a\nmod deep;\n"),
            ("src/a/deep.rs", "//! deep\nuse super::super::b;\n"),
            ("src/b.rs", "//! b\nuse crate::{c::C, std};\n"),
            ("src/c.rs", "//! c\nuse super::a::A;\n"),
        ]);
        let circle = "src/a/deep.rs -> src/b.rs -> src/c.rs -> src/a/deep.rs";
        assert!(faults.len() == 3 && faults[0].ends_with(circle), "{faults:?}");
    }

    #[test]
    fn what_a_folder_shows_of_its_files_is_theirs() {
        let faults = faults(&[
            ("src/lib.rs", "//! lib\nmod a;\n"),
            ("src/a/mod.rs", "//! a\nmod b;\nmod c;\npub use b::{B, deep::D};\nstruct A;\n"),
            ("src/a/b.rs", "//! b\nuse super::c::C;\n"),
            ("src/a/c.rs", "//! c\nuse super::A;\nuse super::B;\n"),
        ]);
        assert!(faults.len() == 2 && faults[1].starts_with("src/a/c.rs:3: "), "{faults:?}");
    }

    #[test]
    fn a_third_file_parents_tests_and_other_crates_make_no_circle() {
        let faults = faults(&[
            LIB,
            ("src/a.rs", "//! a\nuse super::c::C;\nuse crate::A;\n"),
            ("src/b.rs", "//! b\nuse super::{a, c};\n"),
            ("src/c.rs", "//! c\n#[cfg(test)]\nmod tests { use crate::{a, b}; }\n"),
            ("src/b/deep.rs", "//! deep\nuse super::B;\n"),
            ("other/src/main.rs", "//! other\nmod a;\nmod c;\n"),
            ("other/src/c.rs", "//! c\nuse crate::a;\n"),
        ]);
        assert!(faults.is_empty(), "{faults:?}");
    }
}
