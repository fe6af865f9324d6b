//! What a model or a tool says passes the same door as what a user says: bounded, and without
//! control characters. Unlike a user's message it is repaired instead of refused, because a tool
//! may well answer with terminal colours. This file must never know which tool or model spoke.

use crate::audit::{Redactor, Rejection};
use crate::boundary::{Limits, text};
use crate::requirement;

/// What stands at the end of a text that was cut.
const CUT: &str = "\n[cut: the rest is over the size limit]";

/// The text as it may be stored, shown and sent on: control characters (but TAB, LF, CR) replaced
/// by U+FFFD, cut at the message limit, known secrets taken out.
///
/// # Errors
/// The requirement of Layer 1 that it still breaks.
pub(super) fn external(
    text: &str,
    redactor: &Redactor,
    limits: &Limits,
) -> Result<String, Rejection> {
    let text = redactor.redact(text);
    if !requirement::INPUT_ALL_DOORS.enforced() {
        return Ok(text.into_owned());
    }
    let repaired = shorten(replace_controls(&text), limits.message_bytes);
    Ok(text::message(repaired, limits)?.into_inner().into_string())
}

/// A text that comes in pieces, vetted as it comes: what could be the beginning of a secret waits
/// for what follows it.
pub(super) struct Deltas<'redactor> {
    redactor: &'redactor Redactor,
    waiting: String,
    /// How many more bytes are shown.
    left: usize,
}

impl<'redactor> Deltas<'redactor> {
    /// Nothing has come yet.
    pub(super) fn new(redactor: &'redactor Redactor, limits: &Limits) -> Self {
        Self { redactor, waiting: String::new(), left: limits.message_bytes }
    }

    /// Takes a piece; gives what may be shown now.
    pub(super) fn push(&mut self, piece: &str) -> Option<String> {
        self.waiting.push_str(piece);
        self.show(self.redactor.settled(&self.waiting))
    }

    /// The rest, at the end.
    pub(super) fn finish(&mut self) -> Option<String> {
        self.show(self.waiting.len())
    }

    fn show(&mut self, bytes: usize) -> Option<String> {
        let rest = self.waiting.split_off(bytes);
        let ready = std::mem::replace(&mut self.waiting, rest);
        let clean = self.redactor.redact(&ready);
        if !requirement::INPUT_ALL_DOORS.enforced() {
            return Some(clean.into_owned()).filter(|text| !text.is_empty());
        }
        let mut shown = replace_controls(&clean);
        let whole = shown.len();
        truncate(&mut shown, self.left);
        // What does not fit ends the text: nothing shows behind a gap.
        self.left = if shown.len() < whole { 0 } else { self.left - whole };
        Some(shown).filter(|text| !text.is_empty())
    }
}

fn replace_controls(text: &str) -> String {
    let bad = |c: char| c.is_control() && !matches!(c, '\t' | '\n' | '\r');
    text.replace(bad, "\u{fffd}")
}

fn shorten(mut text: String, limit: usize) -> String {
    if text.len() > limit {
        truncate(&mut text, limit.saturating_sub(CUT.len()));
        text.push_str(CUT);
        // A limit smaller than the notice itself: the limit wins.
        truncate(&mut text, limit);
    }
    text
}

/// Cuts at the last character boundary at or before `limit` bytes.
pub(super) fn truncate(text: &mut String, limit: usize) {
    let boundary = (0..=limit.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
    text.truncate(boundary.unwrap_or(0));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vetted(text: &str, limits: &Limits) -> String {
        let redactor = Redactor::new();
        redactor.add("sk-0123456789abcdef");
        external(text, &redactor, limits).unwrap()
    }

    #[test]
    fn ordinary_text_is_not_changed() {
        let text = "tab\tline\r\nüñí 👩‍👩‍👧 {\"name\":\"exec\"}";
        assert_eq!(vetted(text, &Limits::default()), text);
    }

    #[test]
    fn control_characters_and_secrets_do_not_pass() {
        let text = vetted("a\u{1b}[31m\0b\u{9b} sk-0123456789abcdef", &Limits::default());
        assert_eq!(text, "a\u{fffd}[31m\u{fffd}b\u{fffd} [REDACTED]");
    }

    #[test]
    fn a_text_in_pieces_is_vetted_like_a_whole_one_wherever_it_is_cut() {
        let redactor = Redactor::new();
        redactor.add("sk-0123456789abcdef");
        let text = "é\u{9b}sk-0123456789abcdef and sk-0123 \u{1b}sk-0123456789abcdefé sk-";
        let whole = external(text, &redactor, &Limits::default()).unwrap();
        let characters: Vec<String> = text.chars().map(String::from).collect();
        for size in 1..characters.len() {
            let mut deltas = Deltas::new(&redactor, &Limits::default());
            let mut shown = String::new();
            for piece in characters.chunks(size) {
                shown.extend(deltas.push(&piece.concat()));
            }
            shown.extend(deltas.finish());
            assert_eq!(shown, whole, "{size}");
        }
        let limits = Limits { message_bytes: 5, ..Limits::default() };
        let mut deltas = Deltas::new(&redactor, &limits);
        let shown: String = [deltas.push("abé"), deltas.push("é"), deltas.push("cdef")]
            .into_iter()
            .flatten()
            .collect();
        assert_eq!(shown, "abé");
    }

    #[test]
    fn a_flood_is_cut_at_a_character_and_says_so() {
        let limits = Limits { message_bytes: 101, ..Limits::default() };
        let text = vetted(&"é".repeat(1000), &limits);
        assert!(text.len() <= 101 && text.ends_with(CUT));
    }
}
