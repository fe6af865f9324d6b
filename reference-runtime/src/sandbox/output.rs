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

/// Reads a stream to its end into `kept`, and passes what is kept on to `to` as it comes. What was
/// read stays there if this is cancelled; it can be, also while the reader of `to` is slow.
#[cfg(any(unix, test))]
pub(super) async fn drain(
    mut stream: impl AsyncRead + Unpin,
    limit: usize,
    kept: &mut Captured,
    mut to: Option<impl AsyncWrite + Unpin>,
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
            let _ = to.write_all(keep).await;
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
            drain(&bytes[..], 10, &mut captured, Some(&mut passed)).await;
            assert_eq!((captured.bytes.len(), captured.dropped), (kept, dropped));
            assert_eq!(passed.len(), kept);
        }
    }

    #[test]
    fn text_has_no_null_byte() {
        let captured = Captured { bytes: b"a\0b\xff".to_vec(), dropped: 0 };
        assert_eq!(captured.text(), "a\u{fffd}b\u{fffd}");
    }
}
