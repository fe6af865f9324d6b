//! Takes the secrets that it was told out of any text, in every form they are likely to come in.
//! It must never show a secret, nor guess what looks like one.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    fmt,
    sync::{Arc, RwLock},
};

use aho_corasick::{AhoCorasick, MatchKind};

use super::forms::{SHORTEST, forms};
use crate::requirement;

/// What stands where a secret stood.
pub const REDACTED: &str = "[REDACTED]";

/// How often a text is gone over: more than once only where a secret looks like a marker.
const ROUNDS: usize = 8;

/// The shared list of secrets to take out; clones share it.
#[derive(Clone, Default)]
pub struct Redactor {
    shared: Arc<RwLock<Secrets>>,
}

#[derive(Default)]
struct Secrets {
    known: BTreeMap<String, Known>,
    tiers: Arc<Vec<Arc<Matcher>>>,
    /// A form could not be compiled: nothing is known to be clean any more.
    broken: bool,
}

/// Why a secret is known.
#[derive(Default)]
struct Known {
    /// It was added and stays.
    kept: bool,
    /// How many hold it at present.
    held: usize,
}

/// Some secrets' forms, compiled twice: once to say quickly that a text is clean, once to find
/// every match, overlapping ones too, where it is not. Each tier has more than twice the forms of
/// the next, so that telling one more secret compiles few of them anew.
struct Matcher {
    forms: Vec<String>,
    gate: AhoCorasick,
    all: AhoCorasick,
}

impl Redactor {
    /// A redactor that knows no secret yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Tells a secret; from now on it is taken out of every text: plain, in base64 at each of its
    /// three alignments, hex, percent-encoded and JSON-escaped, in the dialects that common
    /// libraries write. Secrets of fewer than 6 bytes are ignored.
    pub fn add(&self, secret: &str) {
        let kept = |secrets: &Secrets| secrets.known.get(secret).is_some_and(|known| known.kept);
        if self.shared.read().is_ok_and(|secrets| kept(&secrets)) {
            return;
        }
        self.tell(secret, |known| known.kept = true);
    }

    /// Tells a secret for as long as it is held: each call asks for one [`Redactor::release`].
    pub fn hold(&self, secret: &str) {
        self.tell(secret, |known| known.held += 1);
    }

    /// Takes one [`Redactor::hold`] back. A secret that nobody holds and that was not added is
    /// forgotten, so that no memory of this process has it any more: it is no longer taken out.
    pub fn release(&self, secret: &str) {
        // A poisoned lock stays poisoned: `redact` then shows nothing at all.
        let Ok(mut secrets) = self.shared.write() else { return };
        let Some(known) = secrets.known.get_mut(secret) else { return };
        known.held = known.held.saturating_sub(1);
        if known.held == 0 && !known.kept {
            secrets.known.remove(secret);
            secrets.rebuild();
        }
    }

    fn tell(&self, secret: &str, why: impl FnOnce(&mut Known)) {
        if secret.len() < SHORTEST {
            return;
        }
        if let Ok(mut secrets) = self.shared.write() {
            let new = !secrets.known.contains_key(secret);
            why(secrets.known.entry(secret.to_owned()).or_default());
            if new {
                secrets.tell(forms(secret));
            }
        }
    }

    /// The text without any known secret.
    #[must_use]
    pub fn redact<'text>(&self, text: &'text str) -> Cow<'text, str> {
        if !requirement::SECRET_NO_LEAK.enforced() {
            return Cow::Borrowed(text);
        }
        match self.shared.read() {
            Ok(secrets) if !secrets.broken => {
                let tiers = Arc::clone(&secrets.tiers);
                drop(secrets);
                take_out(&tiers, text)
            }
            // Nothing is known to be clean.
            _ => Cow::Borrowed(REDACTED),
        }
    }
}

impl Redactor {
    /// How many bytes at the front of a text may be redacted and shown although more will follow:
    /// what stands behind them could be the beginning of a secret.
    #[must_use]
    pub fn settled(&self, text: &str) -> usize {
        let tiers = match self.shared.read() {
            Ok(secrets) => Arc::clone(&secrets.tiers),
            // Nothing will be shown anyway.
            Err(_) => return text.len(),
        };
        let forms = tiers.iter().flat_map(|tier| &tier.forms);
        let open = forms.map(|form| begun(text.as_bytes(), form.as_bytes())).max().unwrap_or(0);
        let end = text.len().saturating_sub(open);
        // A secret that ends behind it began before.
        let across = spans(&tiers, text).into_iter().find(|span| span.0 < end && end < span.1);
        across.map_or(end, |span| span.0)
    }
}

/// The length of the longest end of a text that is a beginning of a form, but not all of it.
fn begun(text: &[u8], form: &[u8]) -> usize {
    (1..form.len().min(text.len() + 1))
        .rev()
        .find(|length| form.get(..*length).is_some_and(|beginning| text.ends_with(beginning)))
        .unwrap_or(0)
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Redactor")
    }
}

impl Secrets {
    fn rebuild(&mut self) {
        self.tiers = Arc::default();
        let all: Vec<String> = self.known.keys().flat_map(|secret| forms(secret)).collect();
        if !all.is_empty() {
            self.tell(all);
        }
    }

    fn tell(&mut self, mut forms: Vec<String>) {
        let mut tiers = self.tiers.to_vec();
        while let Some(tier) = tiers.pop_if(|tier| tier.forms.len() <= 2 * forms.len()) {
            forms.extend_from_slice(&tier.forms);
        }
        match Matcher::new(forms) {
            Some(tier) => tiers.push(Arc::new(tier)),
            None => self.broken = true,
        }
        self.tiers = Arc::new(tiers);
    }
}

impl Matcher {
    fn new(forms: Vec<String>) -> Option<Self> {
        let build = |kind| AhoCorasick::builder().match_kind(kind).build(&forms).ok();
        let (gate, all) = (build(MatchKind::LeftmostFirst)?, build(MatchKind::Standard)?);
        Some(Self { forms, gate, all })
    }
}

/// Goes over what it wrote until nothing is found any more: a secret may look like the end of a
/// marker and what follows it. A text that this has no end with is not shown at all.
fn take_out<'text>(tiers: &[Arc<Matcher>], text: &'text str) -> Cow<'text, str> {
    let mut shown = Cow::Borrowed(text);
    for _ in 0..ROUNDS {
        if !tiers.iter().any(|tier| tier.gate.is_match(&*shown)) {
            return shown;
        }
        let spans = beyond_markers(spans(tiers, &shown), &shown);
        if spans.is_empty() {
            return shown;
        }
        shown = Cow::Owned(replaced(&shown, &spans));
    }
    Cow::Borrowed(REDACTED)
}

fn replaced(text: &str, spans: &[(usize, usize)]) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut shown = 0;
    for (start, end) in spans {
        clean.push_str(text.get(shown..*start).unwrap_or_default());
        clean.push_str(REDACTED);
        shown = *end;
    }
    clean.push_str(text.get(shown..).unwrap_or_default());
    clean
}

/// The spans that show something: not those within a marker, which a secret that is a word of it
/// has there. One that reaches into a marker takes all of it.
fn beyond_markers(spans: Vec<(usize, usize)>, text: &str) -> Vec<(usize, usize)> {
    let markers: Vec<_> =
        text.match_indices(REDACTED).map(|(start, _)| (start, start + REDACTED.len())).collect();
    if markers.is_empty() {
        return spans;
    }
    let mut wider = Vec::new();
    for span in spans {
        let first = markers.partition_point(|marker| marker.1 <= span.0);
        let touched = markers.get(first..).unwrap_or_default().iter();
        let touched: Vec<_> = touched.take_while(|marker| marker.0 < span.1).copied().collect();
        if touched.iter().all(|marker| span.0 < marker.0 || marker.1 < span.1) {
            wider.extend(touched);
            wider.push(span);
        }
    }
    joined(wider)
}

/// Where secrets stand, overlapping matches of any tiers joined, in order.
fn spans(tiers: &[Arc<Matcher>], text: &str) -> Vec<(usize, usize)> {
    let found = tiers.iter().flat_map(|tier| tier.all.find_overlapping_iter(text));
    joined(found.map(|found| (found.start(), found.end())).collect())
}

fn joined(mut spans: Vec<(usize, usize)>) -> Vec<(usize, usize)> {
    spans.sort_unstable();
    spans.dedup_by(|next, last| {
        let joined = next.0 < last.1;
        if joined {
            last.1 = last.1.max(next.1);
        }
        joined
    });
    spans
}

#[cfg(test)]
mod tests {
    use base64::{
        Engine,
        engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
    };

    use super::*;

    const SECRET: &str = "sk-live/Zq9+\"x\n7";

    fn told(secrets: &[&str]) -> Redactor {
        let redactor = Redactor::new();
        secrets.iter().for_each(|secret| redactor.add(secret));
        redactor
    }

    #[test]
    fn clean_text_is_borrowed() {
        let redactor = told(&[SECRET]);
        assert!(matches!(redactor.redact("nothing here, sk-live/Zq"), Cow::Borrowed(_)));
        assert!(matches!(Redactor::new().redact(SECRET), Cow::Borrowed(_)));
    }

    #[test]
    fn every_form_is_taken_out() {
        let redactor = told(&[SECRET]);
        let json = serde_json::json!({ "k": SECRET }).to_string();
        let twice = serde_json::Value::from(json.clone()).to_string();
        let percent: String = SECRET.bytes().map(|byte| format!("%{byte:02x}")).collect();
        for text in [
            SECRET.to_owned(),
            hex::encode(SECRET),
            hex::encode_upper(SECRET),
            "sk-live%2FZq9%2B%22x%0A7".to_owned(),
            percent,
            SECRET.bytes().map(|byte| format!("\\u{byte:04x}")).collect(),
            json,
            twice,
        ] {
            let shown = redactor.redact(&text);
            assert!(shown.contains(REDACTED), "{text}");
            assert!(!shown.contains("Zq9") && !shown.contains("5a7139"), "{shown}");
        }
    }

    #[test]
    fn base64_is_taken_out_at_every_alignment() {
        let redactor = told(&[SECRET]);
        for before in 0..7 {
            for after in 0..4 {
                let text = format!("{}{SECRET}{}", "a".repeat(before), "z".repeat(after));
                for engine in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
                    let encoded = engine.encode(&text);
                    let shown = redactor.redact(&encoded);
                    assert!(shown.contains(REDACTED), "{before} before, {after} after: {shown}");
                }
            }
        }
    }

    #[test]
    fn overlapping_and_nested_secrets_leave_no_rest() {
        let redactor = told(&["prefix-long", "prefix-long-and-longer", "longer-tail"]);
        assert_eq!(redactor.redact("<prefix-long-and-longer-tail>"), "<[REDACTED]>");
        assert_eq!(redactor.redact("prefix-long."), "[REDACTED].");
        assert_eq!(redactor.redact("prefix-prefix-long"), "prefix-[REDACTED]");
    }

    #[test]
    fn many_secrets_are_all_taken_out_and_stand_in_few_tiers() {
        let redactor = Redactor::new();
        for number in 0..300 {
            redactor.add(&format!("secret-number-{number:03}-x"));
        }
        let tiers = redactor.shared.read().unwrap().tiers.len();
        assert!(tiers <= 9, "{tiers} tiers");
        for number in 0..300 {
            let text = format!("<secret-number-{number:03}-x>");
            assert_eq!(redactor.redact(&text), "<[REDACTED]>");
        }
        assert_eq!(redactor.redact("secret-number-300-x"), "secret-number-300-x");
    }

    #[test]
    fn taking_out_never_joins_the_halves_of_a_secret() {
        let redactor = told(&["abcdefgh"]);
        let shown = redactor.redact("abcdabcdefghefgh").into_owned();
        assert_eq!(shown, "abcd[REDACTED]efgh");
        assert_eq!(redactor.redact(&shown), shown);
    }

    #[test]
    fn a_secret_is_forgotten_when_the_last_holder_releases_it() {
        let redactor = told(&["stays-for-ever"]);
        for secret in ["held-twice", "held-twice", "held-once", "stays-for-ever"] {
            redactor.hold(secret);
        }
        for secret in ["held-twice", "held-once", "stays-for-ever", "never-told"] {
            redactor.release(secret);
        }
        let shown = redactor.redact("held-twice held-once stays-for-ever").into_owned();
        assert_eq!(shown, "[REDACTED] held-once [REDACTED]");
        redactor.release("held-twice");
        assert_eq!(redactor.redact("held-twice"), "held-twice");
    }

    #[test]
    fn a_text_in_pieces_is_shown_without_the_beginning_of_a_secret() {
        let redactor = told(&["prefix-long", "prefix-long-and-longer", "longer-tail"]);
        for (text, settled) in [
            ("", 0),
            ("plain", 5),
            ("a pre", 2),
            ("a prefix-long", 2),
            ("a prefix-long!", 14),
            ("a prefix-long-and-longer", 2),
            ("a prefix-long-and-longer-t", 2),
            ("a longer-tail.", 14),
            ("ü 70726566", 3),
        ] {
            assert_eq!(redactor.settled(text), settled, "{text}");
        }
    }

    #[test]
    fn clones_share_what_they_are_told() {
        let redactor = Redactor::new();
        let clone = redactor.clone();
        redactor.add("told-later");
        assert_eq!(clone.redact("x told-later"), "x [REDACTED]");
        assert_eq!(format!("{redactor:?}"), "Redactor");
    }
}
