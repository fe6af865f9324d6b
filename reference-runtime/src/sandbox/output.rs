//! What a tool printed: the first bytes are kept, the rest is read, counted and dropped, so that a
//! flood neither fills the memory nor blocks the tool. It must never know what the bytes mean.

#[cfg(any(unix, test))]
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The kept start of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Captured {
    /// The first bytes, as they came.
    pub(super) bytes: Vec<u8>,
    /// How many more there were.
    pub(super) dropped: u64,
}

impl Captured {
    /// As text for a model: what is not UTF-8, and the null byte, becomes U+FFFD.
    #[must_use]
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).replace('\0', "\u{fffd}")
    }
}

/// Text on its way to a terminal: every character that a terminal would obey, but line feed, return
/// and tab, is shown as `^X` or `\u{..}`, and what is no UTF-8 as U+FFFD. A character that came in
/// parts waits for its end.
#[derive(Debug, Default)]
pub(super) struct Plain {
    begun: Vec<u8>,
}

impl Plain {
    /// The next bytes, made harmless.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.begun.extend_from_slice(bytes);
        let all = std::mem::take(&mut self.begun);
        let mut text = String::with_capacity(all.len());
        let mut chunks = all.utf8_chunks().peekable();
        while let Some(chunk) = chunks.next() {
            chunk.valid().chars().for_each(|character| show(character, &mut text));
            let invalid = chunk.invalid();
            if chunks.peek().is_none() && may_continue(invalid) {
                self.begun = invalid.to_vec();
            } else if !invalid.is_empty() {
                text.push(char::REPLACEMENT_CHARACTER);
            }
        }
        text.into_bytes()
    }
}

/// A person's terminal obeys what is printed to it; a file or a pipe gets the bytes as they are.
pub(super) fn harmless(stream: &impl std::io::IsTerminal, wanted: bool) -> Option<Plain> {
    (wanted && stream.is_terminal()).then(Plain::default)
}

fn show(character: char, text: &mut String) {
    match character {
        '\n' | '\r' | '\t' => text.push(character),
        '\0'..='\u{1f}' => {
            text.push('^');
            text.push(char::from_u32(u32::from(character) + 0x40).unwrap_or('?'));
        }
        '\u{7f}'..='\u{9f}' => text.extend(character.escape_unicode()),
        _ => text.push(character),
    }
}

/// Whether these bytes are the beginning of a character.
fn may_continue(bytes: &[u8]) -> bool {
    !bytes.is_empty() && std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}

/// Reads a stream to its end into `kept`, and passes what is kept on to `to` as it comes. What was
/// read stays there if this is cancelled; it can be, also while the reader of `to` is slow. With
/// `plain`, what is passed on goes through it.
#[cfg(any(unix, test))]
pub(super) async fn drain(
    mut stream: impl AsyncRead + Unpin,
    limit: usize,
    kept: &mut Captured,
    mut to: Option<impl AsyncWrite + Unpin>,
    mut plain: Option<Plain>,
) {
    let mut buffer = vec![0_u8; 64 << 10];
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        let got = buffer.get(..count).unwrap_or_default();
        let room = limit.saturating_sub(kept.bytes.len());
        let (keep, drop) = got.split_at_checked(room).unwrap_or((got, &[]));
        kept.bytes.extend_from_slice(keep);
        kept.dropped = kept.dropped.saturating_add(drop.len() as u64);
        if let Some(to) = &mut to {
            // A reader that has gone away does not concern the tool.
            let _ = match &mut plain {
                Some(plain) => to.write_all(&plain.push(keep)).await,
                None => to.write_all(keep).await,
            };
            let _ = to.flush().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn keeps_the_limit_and_counts_the_rest() {
        for (length, kept, dropped) in [(0, 0, 0), (9, 9, 0), (10, 10, 0), (300_000, 10, 299_990)] {
            let bytes = vec![b'x'; length];
            let mut captured = Captured::default();
            let mut passed = Vec::new();
            drain(&bytes[..], 10, &mut captured, Some(&mut passed), None).await;
            assert_eq!((captured.bytes.len(), captured.dropped), (kept, dropped));
            assert_eq!(passed.len(), kept);
        }
    }

    #[test]
    fn a_terminal_gets_nothing_that_it_obeys() {
        let whole = "a\u{1b}]0;x\u{7}\u{9d}0;y\u{9c}\tb\r\n\u{e9}\u{1f642}\u{7f}".as_bytes();
        let shown = "a^[]0;x^G\\u{9d}0;y\\u{9c}\tb\r\n\u{e9}\u{1f642}\\u{7f}";
        for at in 0..whole.len() {
            let mut plain = Plain::default();
            let mut got = plain.push(&whole[..at]);
            got.extend(plain.push(&whole[at..]));
            assert_eq!(String::from_utf8(got).unwrap(), shown, "split at {at}");
        }
        assert_eq!(Plain::default().push(b"\x9b31m"), "\u{fffd}31m".as_bytes());
    }

    #[test]
    fn text_has_no_null_byte() {
        let captured = Captured { bytes: b"a\0b\xff".to_vec(), dropped: 0 };
        assert_eq!(captured.text(), "a\u{fffd}b\u{fffd}");
    }
}
