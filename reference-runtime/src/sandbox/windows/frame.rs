//! How the helper speaks: frames of one kind byte, a length and bytes. The tool never holds this
//! pipe. It must never know what a frame is about.

use std::io::{self, Write};

use tokio::io::{AsyncRead, AsyncReadExt};

/// The largest frame, in bytes.
pub(super) const MAX: usize = 64 << 10;

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// All is in place; the tool starts now.
    Ready,
    /// Nothing ran: a sentence.
    Failed,
    /// The program cannot be executed: the system's reason.
    Missing,
    /// The program's exit code, as decimal digits.
    Code,
    /// What it wrote.
    Stdout,
    /// What it wrote as errors.
    Stderr,
}

const KINDS: &[(Kind, u8)] = &[
    (Kind::Ready, b'R'),
    (Kind::Failed, b'F'),
    (Kind::Missing, b'M'),
    (Kind::Code, b'C'),
    (Kind::Stdout, b'o'),
    (Kind::Stderr, b'e'),
];

/// Writes frames of one kind, as many as the bytes need.
///
/// # Errors
/// The pipe is gone.
pub(super) fn write(to: &mut impl Write, kind: Kind, bytes: &[u8]) -> io::Result<()> {
    let letter = KINDS.iter().find(|(known, _)| *known == kind).map_or(0, |(_, letter)| *letter);
    let mut rest = bytes;
    loop {
        let (part, after) = rest.split_at(rest.len().min(MAX));
        let length = u32::try_from(part.len()).map_err(io::Error::other)?;
        to.write_all(&[letter])?;
        to.write_all(&length.to_le_bytes())?;
        to.write_all(part)?;
        rest = after;
        if rest.is_empty() {
            return to.flush();
        }
    }
}

/// Reads the head of the next frame: its kind and how many bytes follow, at most [`MAX`].
///
/// # Errors
/// The stream ended, or what came is no frame.
pub(super) async fn head(from: &mut (impl AsyncRead + Unpin)) -> io::Result<(Kind, usize)> {
    let letter = from.read_u8().await?;
    let length = from.read_u32_le().await? as usize;
    let kind = KINDS.iter().find(|(_, known)| *known == letter).map(|(kind, _)| *kind);
    match kind {
        Some(kind) if length <= MAX => Ok((kind, length)),
        _ => Err(io::Error::from(io::ErrorKind::InvalidData)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_written_is_read_and_nothing_longer_is_believed() {
        for (kind, _) in KINDS {
            let mut bytes = Vec::new();
            let long = vec![7; MAX + 5];
            write(&mut bytes, *kind, &long).unwrap();
            let mut rest = &bytes[..];
            assert_eq!(head(&mut rest).await.unwrap(), (*kind, MAX));
            rest = &rest[MAX..];
            assert_eq!(head(&mut rest).await.unwrap(), (*kind, 5));
        }
        assert!(head(&mut &b"o\xff\xff\xff\xff"[..]).await.is_err());
        assert!(head(&mut &b"?\0\0\0\0"[..]).await.is_err());
    }
}
