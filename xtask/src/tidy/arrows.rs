//! The order of rooms: each library states it on the first lines of its lib.rs, and no room names
//! one to its right. The statement is read, not repeated here, so the two cannot differ.

use proc_macro2::TokenStream;

use super::paths::{modules, named};
use super::{Fault, File};

/// Checks the library whose sources stand under `root` (with a slash at its end).
pub(super) fn check(files: &[File], root: &str) -> Vec<Fault> {
    let lib = format!("{root}lib.rs");
    let Some(library) = files.iter().find(|file| file.path == lib) else {
        return Vec::new();
    };
    let Some(order) = stated_order(&library.text) else {
        return vec![Fault::new(&lib, 1, "must state the order of its rooms: `a -> b, c -> d`")];
    };
    let mut faults = Vec::new();
    for (number, line) in library.text.lines().enumerate() {
        let declared = line.trim_start_matches("pub ").strip_prefix("mod ");
        if let Some(room) = declared.and_then(|rest| rest.strip_suffix(';'))
            && place(&order, room).is_none()
        {
            let sentence = format!("room `{room}` has no place in the stated order");
            faults.push(Fault::new(&lib, number + 1, sentence));
        }
    }
    for file in files {
        faults.extend(check_file(file, root, &order));
    }
    faults
}

fn check_file(file: &File, root: &str, order: &[Vec<String>]) -> Vec<Fault> {
    let Some(modules) = file.path.strip_prefix(root).and_then(modules) else {
        return Vec::new();
    };
    let Some(own) = modules.first().and_then(|room| place(order, room)) else {
        return Vec::new(); // lib.rs and main.rs stand outside the rooms
    };
    let tokens = file.text.parse::<TokenStream>().unwrap_or_default();
    named(tokens, &modules)
        .into_iter()
        .filter_map(|named| Some((named.path.into_iter().next()?, named.line)))
        .filter(|(room, _)| place(order, room).is_some_and(|other| other > own))
        .map(|(room, line)| {
            let sentence = format!("names the room `{room}`, which stands to its right");
            Fault::new(&file.path, line, sentence)
        })
        .collect()
}

fn place(order: &[Vec<String>], room: &str) -> Option<usize> {
    order.iter().position(|group| group.iter().any(|name| name == room))
}

/// The order stated in the leading `//!` lines, between backticks with arrows.
fn stated_order(text: &str) -> Option<Vec<Vec<String>>> {
    let lines = text.lines().map_while(|line| line.strip_prefix("//!"));
    let document = lines.map(str::trim).collect::<Vec<_>>().join(" ");
    let statement = document.split('`').find(|part| part.contains("->"))?;
    let groups = statement.split("->").map(|group| {
        group
            .split(',')
            .map(|room| room.trim().to_owned())
            .filter(|room| !room.is_empty())
            .collect()
    });
    Some(groups.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn library(files: &[(&str, &str)]) -> Vec<String> {
        let files: Vec<_> = files
            .iter()
            .map(|(path, text)| File { path: (*path).into(), text: (*text).into() })
            .collect();
        check(&files, "src/").iter().map(ToString::to_string).collect()
    }

    const LIB: &str =
        "//! Order:\n//! `low, peer -> middle\n//! -> high`.\npub mod high;\nmod low;\n";

    #[test]
    fn a_room_that_names_one_to_its_right_is_seen_with_its_line() {
        let faults = library(&[
            ("src/lib.rs", LIB),
            ("src/low.rs", "//! low\nuse crate::peer;\nuse crate::high::Door;\n"),
            ("src/middle/mod.rs", "//! middle\nuse crate::low;\n"),
            ("src/middle/deep.rs", "//! deep\nuse super::super::high;\n"),
        ]);
        assert_eq!(
            faults,
            [
                "src/low.rs:3: names the room `high`, which stands to its right",
                "src/middle/deep.rs:2: names the room `high`, which stands to its right",
            ]
        );
    }

    #[test]
    fn a_room_without_a_place_is_seen() {
        let faults = library(&[("src/lib.rs", &format!("{LIB}pub mod stray;\n"))]);
        assert_eq!(faults, ["src/lib.rs:6: room `stray` has no place in the stated order"]);
    }

    #[test]
    fn a_library_that_states_no_order_is_seen() {
        assert_eq!(library(&[("src/lib.rs", "//! A library.\n")]).len(), 1);
    }
}
