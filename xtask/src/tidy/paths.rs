//! Which rooms a file names: `crate::room`, `crate::{a, b::c}` and climbs by `super`. Works on
//! tokens, so that comments, documents and strings name nothing. Knows Rust's paths, no rule.

use proc_macro2::{TokenStream, TokenTree};

/// One room named, with the line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) room: String,
    pub(super) line: usize,
}

/// The rooms that `text` names. `depth` is how many modules deep the file stands: 0 for lib.rs,
/// 1 for `a.rs` or `a/mod.rs`, 2 for `a/b.rs`.
pub(super) fn rooms_named(text: &str, depth: usize) -> Vec<Named> {
    let mut named = Vec::new();
    if let Ok(tokens) = text.parse::<TokenStream>() {
        walk(tokens, depth, &mut named);
    }
    named
}

fn walk(tokens: TokenStream, depth: usize, named: &mut Vec<Named>) {
    let tokens: Vec<_> = tokens.into_iter().collect();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        let starts_a_path = !is_colons(&tokens, at.wrapping_sub(2));
        match token {
            TokenTree::Ident(word) if word == "crate" && starts_a_path => {
                at = after_root(&tokens, at + 1, named);
            }
            TokenTree::Ident(word) if word == "super" && starts_a_path => {
                let mut climbed = 1;
                at += 1;
                while is_colons(&tokens, at) && is_word(&tokens, at + 2, "super") {
                    climbed += 1;
                    at += 3;
                }
                if climbed == depth {
                    at = after_root(&tokens, at, named);
                }
            }
            TokenTree::Group(group) => {
                let inside = depth + usize::from(opens_a_module(&tokens, at));
                walk(group.stream(), inside, named);
                at += 1;
            }
            _ => at += 1,
        }
    }
}

/// `at` stands behind a path that is the crate's root: notes what is named there.
fn after_root(tokens: &[TokenTree], at: usize, named: &mut Vec<Named>) -> usize {
    if !is_colons(tokens, at) {
        return at;
    }
    match tokens.get(at + 2) {
        Some(TokenTree::Ident(room)) => {
            named.push(Named { room: room.to_string(), line: room.span().start().line });
        }
        Some(TokenTree::Group(group)) => {
            let mut first = true;
            for token in group.stream() {
                match token {
                    TokenTree::Ident(room) if first => {
                        named
                            .push(Named { room: room.to_string(), line: room.span().start().line });
                        first = false;
                    }
                    TokenTree::Punct(mark) if mark.as_char() == ',' => first = true,
                    _ => {}
                }
            }
        }
        _ => {}
    }
    at + 3
}

/// Whether `::` stands at this place.
fn is_colons(tokens: &[TokenTree], at: usize) -> bool {
    [Some(at), at.checked_add(1)].into_iter().all(|place| {
        matches!(
            place.and_then(|place| tokens.get(place)),
            Some(TokenTree::Punct(mark)) if mark.as_char() == ':'
        )
    })
}

fn is_word(tokens: &[TokenTree], at: usize, expected: &str) -> bool {
    matches!(tokens.get(at), Some(TokenTree::Ident(word)) if word == expected)
}

/// Whether the group at this place is the body of `mod name { ... }`.
fn opens_a_module(tokens: &[TokenTree], at: usize) -> bool {
    matches!(at.checked_sub(1).and_then(|place| tokens.get(place)), Some(TokenTree::Ident(_)))
        && at.checked_sub(2).is_some_and(|place| is_word(tokens, place, "mod"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str, depth: usize) -> Vec<String> {
        rooms_named(text, depth).into_iter().map(|named| named.room).collect()
    }

    #[test]
    fn paths_and_groups_from_the_root_are_seen() {
        let text = "use crate::audit::Rejection;\nuse crate::{boundary, vault::{ApiKey, Vault}};\n\
                    fn f() -> crate::rate::Limiter { x!(crate::config::Config) }\n";
        assert_eq!(names(text, 1), ["audit", "boundary", "vault", "rate", "config"]);
    }

    #[test]
    fn climbing_to_the_root_is_seen_and_climbing_less_is_not() {
        assert_eq!(names("use super::audit;", 1), ["audit"]);
        assert_eq!(names("use super::super::audit;", 2), ["audit"]);
        assert!(names("use super::audit;", 2).is_empty());
        let tests = "mod tests { use super::*; use super::audit; use super::super::vault; }";
        assert_eq!(names(tests, 1), ["vault"]);
    }

    #[test]
    fn comments_strings_and_other_crates_name_nothing() {
        let text = "// crate::vault\n/// [`crate::vault`]\nconst A: &str = \"crate::vault\";\n\
                    use other::crate_::vault; pub(crate) fn f() {}\n";
        assert!(names(text, 1).is_empty());
    }
}
