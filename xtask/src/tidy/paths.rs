//! What a file names of its own crate: `crate::room`, `crate::{a, b::c}` and climbs by `super`. Works on
//! tokens, so that comments, documents and strings name nothing. Knows Rust's paths, no rule.

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// One path that is named, with the line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Named {
    /// Its segments from the crate's root; the last may be a module or anything in one.
    pub(super) path: Vec<String>,
    pub(super) line: usize,
}

/// The modules of a file, from the path below its crate's root: none for `lib.rs` and `main.rs`, one
/// for `a.rs` and `a/mod.rs`, two for `a/b.rs`.
pub(super) fn modules(inside: &str) -> Option<Vec<String>> {
    let mut modules: Vec<_> = inside.strip_suffix(".rs")?.split('/').map(str::to_owned).collect();
    let root = modules.len() == 1 && matches!(inside, "lib.rs" | "main.rs");
    if root || modules.last().is_some_and(|last| last == "mod") {
        modules.pop();
    }
    Some(modules)
}

/// The paths that the tokens of the file `own` name, in order. A `use` of another crate seems to name
/// something in `own`, which is nothing.
pub(super) fn named(tokens: TokenStream, own: &[String]) -> Vec<Named> {
    let mut named = Vec::new();
    walk(tokens, own, &mut named);
    named
}

/// The same tokens without the items that are there for tests: those whose `cfg` says `test`.
pub(super) fn without_tests(tokens: TokenStream) -> TokenStream {
    let tokens: Vec<_> = tokens.into_iter().collect();
    let mut kept = TokenStream::new();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        if is_mark(&tokens, at, '#') && tokens.get(at + 1).is_some_and(is_for_tests) {
            at = behind_the_item(&tokens, at + 2);
            continue;
        }
        kept.extend([match token {
            TokenTree::Group(group) => {
                let inside = without_tests(group.stream());
                proc_macro2::Group::new(group.delimiter(), inside).into()
            }
            other => other.clone(),
        }]);
        at += 1;
    }
    kept
}

/// Whether this is `[cfg(...)]` with the word `test` in it.
fn is_for_tests(attribute: &TokenTree) -> bool {
    let TokenTree::Group(group) = attribute else { return false };
    let mut words = group.stream().into_iter();
    matches!(words.next(), Some(TokenTree::Ident(word)) if word == "cfg") && words.any(says_test)
}

fn says_test(token: TokenTree) -> bool {
    match token {
        TokenTree::Ident(word) => word == "test",
        TokenTree::Group(group) => group.stream().into_iter().any(says_test),
        _ => false,
    }
}

/// An item ends with `;` or with its braces; those of a `use` are a part of its path.
fn behind_the_item(tokens: &[TokenTree], mut at: usize) -> usize {
    while let Some(token) = tokens.get(at) {
        let in_a_path = is_colons(tokens, at.wrapping_sub(2));
        at += 1;
        match token {
            TokenTree::Punct(mark) if mark.as_char() == ';' => break,
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace && !in_a_path => break,
            _ => {}
        }
    }
    at
}

fn walk(tokens: TokenStream, own: &[String], named: &mut Vec<Named>) {
    let tokens: Vec<_> = tokens.into_iter().collect();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        match token {
            TokenTree::Ident(word)
                if (word == "crate" || word == "self" || word == "super")
                    && is_colons(&tokens, at + 1)
                    && !is_colons(&tokens, at.wrapping_sub(2)) =>
            {
                at = path(&tokens, at, own.to_vec(), named);
            }
            // Without one of those words: what a module that is declared here has.
            TokenTree::Ident(word) if word == "use" => {
                at = path(&tokens, at + 1, own.to_vec(), named)
            }
            TokenTree::Group(group) => {
                let mut inside = own.to_vec();
                inside.extend(module_opened(&tokens, at));
                walk(group.stream(), &inside, named);
                at += 1;
            }
            _ => at += 1,
        }
    }
}

/// Follows a path from `at`, as seen from the module `from`; notes where it ends.
fn path(
    tokens: &[TokenTree],
    mut at: usize,
    mut from: Vec<String>,
    named: &mut Vec<Named>,
) -> usize {
    while let Some(token) = tokens.get(at) {
        let line = token.span().start().line;
        match token {
            TokenTree::Ident(word) => {
                match word.to_string().as_str() {
                    "crate" => from.clear(),
                    "super" => drop(from.pop()),
                    "self" => {}
                    segment => from.push(segment.to_owned()),
                }
                at += 1;
                if is_colons(tokens, at) {
                    at += 2;
                    continue;
                }
                named.push(Named { path: from, line });
            }
            TokenTree::Group(group) => {
                let inside: Vec<_> = group.stream().into_iter().collect();
                for part in inside.split(is_comma) {
                    path(part, 0, from.clone(), named);
                }
                at += 1;
            }
            // A star, or the angle before generic arguments, in which more may be named.
            _ => named.push(Named { path: from, line }),
        }
        break;
    }
    at
}

fn is_comma(token: &TokenTree) -> bool {
    matches!(token, TokenTree::Punct(mark) if mark.as_char() == ',')
}

fn is_mark(tokens: &[TokenTree], at: usize, expected: char) -> bool {
    matches!(tokens.get(at), Some(TokenTree::Punct(mark)) if mark.as_char() == expected)
}

/// Whether `::` stands at this place.
fn is_colons(tokens: &[TokenTree], at: usize) -> bool {
    is_mark(tokens, at, ':') && at.checked_add(1).is_some_and(|next| is_mark(tokens, next, ':'))
}

/// The name of the module whose body the group at this place is: `mod name { ... }`.
fn module_opened(tokens: &[TokenTree], at: usize) -> Option<String> {
    let word = |back: usize| match at.checked_sub(back).and_then(|place| tokens.get(place)) {
        Some(TokenTree::Ident(word)) => Some(word.to_string()),
        _ => None,
    };
    word(2).filter(|keyword| keyword == "mod").and_then(|_| word(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str, inside: &str) -> Vec<String> {
        let tokens = without_tests(text.parse().unwrap());
        let named = named(tokens, &modules(inside).unwrap());
        named.into_iter().map(|named| named.path.join("::")).collect()
    }

    #[test]
    fn paths_and_groups_from_the_root_are_seen() {
        let text = "use crate::audit::Rejection;\nuse crate::{boundary, vault::{self, ApiKey as K}};\n\
                    fn f() -> crate::rate::Of<crate::agent::A> { x!(crate::config::Config) }\n";
        let all = [
            "audit::Rejection",
            "boundary",
            "vault",
            "vault::ApiKey",
            "rate::Of",
            "agent::A",
            "config::Config",
        ];
        assert_eq!(names(text, "a.rs"), all);
    }

    #[test]
    fn climbs_are_followed_from_the_module_that_they_stand_in() {
        assert_eq!(names("use super::audit;", "a.rs"), ["audit"]);
        assert_eq!(names("use super::audit;", "a/mod.rs"), ["audit"]);
        assert_eq!(names("use super::b::*;", "a/c.rs"), ["a::b"]);
        assert_eq!(names("use super::{b::X, super::d};", "a/c.rs"), ["a::b::X", "d"]);
        assert_eq!(names("use super::super::audit;", "a/c.rs"), ["audit"]);
        assert_eq!(names("mod m { use super::*; use super::super::b; }", "a.rs"), ["a", "b"]);
        assert_eq!(names("fn f(self) { self::c::g(self) }", "a.rs"), ["a::c::g"]);
    }

    #[test]
    fn what_is_there_for_tests_names_nothing_and_what_follows_does() {
        let text = "#[cfg(test)] use super::{a, b}; #[cfg(any(unix, test))] #[x] fn f() { super::c::g() }\n\
                    #[cfg(test)] mod tests { use super::super::d; }\n\
                    #[cfg(feature = \"test\")] use super::e; fn g() { #[cfg(test)] super::h(); super::i() }";
        assert_eq!(names(text, "z.rs"), ["e", "i"]);
    }

    #[test]
    fn comments_strings_and_other_crates_name_nothing() {
        let text = "// crate::vault\n/// [`crate::vault`]\nconst A: &str = \"crate::vault\";\n\
                    pub(crate) fn f() { other::crate_::vault() }\n";
        assert!(names(text, "a.rs").is_empty());
        assert_eq!(
            names("use other::crate_::vault; use b::C;", "a.rs"),
            ["a::other::crate_::vault", "a::b::C"]
        );
    }
}
