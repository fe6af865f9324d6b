//! The wire that nng speaks over `ipc://`: eight bytes of greeting each way, then messages, each a
//! type byte, a length of eight bytes and the body. It must never give room to a length that it
//! was only told.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::{Instant, timeout, timeout_at},
};

use crate::{audit::Rejection, requirement::PLUGIN_FRAME};

/// Protocol 16 is `pair`, version 0: both sides may speak at any time, which requests of a plugin
/// within a call of it need; `req` and `rep` take turns.
const GREETING: [u8; 8] = [0, b'S', b'P', 0, 0, 0x10, 0, 0];
/// The one type of message.
const MESSAGE: u8 = 1;
const HEADER: usize = 9;
/// How long a frame may take from its first byte to its last, and a greeting to come.
const FRAME_TIME: Duration = Duration::from_secs(2);
const PIECE: usize = 16 << 10;
/// What a build without this defence takes for a frame.
const WITHOUT: usize = 8 << 20;

const BROKEN: &str = "the plugin broke the rules of its connection";

fn broken(cause: impl Into<String>) -> Rejection {
    PLUGIN_FRAME.refuse(BROKEN, cause)
}

/// Exchanges greetings.
///
/// # Errors
/// `plugin.frame`: another greeting came, or none in time.
pub(super) async fn greet(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
) -> Result<(), Rejection> {
    let mut theirs = [0_u8; GREETING.len()];
    let both = async {
        stream.write_all(&GREETING).await?;
        stream.read_exact(&mut theirs).await
    };
    match timeout(FRAME_TIME, both).await {
        Err(_) => return Err(broken("no greeting came")),
        Ok(Err(error)) => return Err(broken(format!("greeting: {error}"))),
        Ok(Ok(_)) => {}
    }
    PLUGIN_FRAME.check(theirs == GREETING, BROKEN, || format!("greeting {}", hex::encode(theirs)))
}

/// Writes one frame.
///
/// # Errors
/// The plugin is gone, or takes nothing for two seconds.
pub(super) async fn send(stream: &mut (impl AsyncWrite + Unpin), body: &[u8]) -> io::Result<()> {
    let mut frame = Vec::with_capacity(HEADER + body.len());
    frame.push(MESSAGE);
    frame.extend((body.len() as u64).to_be_bytes());
    frame.extend(body);
    timeout(FRAME_TIME, stream.write_all(&frame)).await.unwrap_or_else(|_| {
        Err(io::Error::new(io::ErrorKind::TimedOut, "the plugin does not read"))
    })
}

/// Takes frames from a stream. What was read stays where [`Reader::next`] is dropped.
#[derive(Debug)]
pub(super) struct Reader<R> {
    stream: R,
    most: usize,
    header: Vec<u8>,
    body: Vec<u8>,
    begun: Option<Instant>,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    /// Takes frames of at most so many bytes.
    pub(super) fn new(stream: R, most: usize) -> Self {
        Self { stream, most, header: Vec::with_capacity(HEADER), body: Vec::new(), begun: None }
    }

    /// The next frame; none where the connection ended between two frames.
    ///
    /// # Errors
    /// `plugin.frame`: what came is no frame, is too long, or stopped half way.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<u8>>, Rejection> {
        loop {
            let wanted = match self.length()? {
                None => HEADER - self.header.len(),
                Some(length) if length == self.body.len() => {
                    self.header.clear();
                    self.begun = None;
                    return Ok(Some(std::mem::take(&mut self.body)));
                }
                Some(length) => length - self.body.len(),
            };
            let mut piece = [0_u8; PIECE];
            let room = piece.get_mut(..wanted.min(PIECE)).unwrap_or_default();
            let read = self.stream.read(room);
            let count = match self.begun.filter(|_| PLUGIN_FRAME.enforced()) {
                None => read.await,
                Some(begun) => timeout_at(begun + FRAME_TIME, read)
                    .await
                    .map_err(|_| broken("a frame stopped half way"))?,
            };
            let count = count.map_err(|error| broken(error.to_string()))?;
            if count == 0 {
                return match self.begun {
                    None => Ok(None),
                    Some(_) => Err(broken("the connection ended within a frame")),
                };
            }
            self.begun.get_or_insert_with(Instant::now);
            let got = piece.get(..count).unwrap_or_default();
            let whole = self.header.len() == HEADER;
            if whole { &mut self.body } else { &mut self.header }.extend_from_slice(got);
        }
    }

    /// The length of the body, once the header is there; checked before anything is kept of it.
    fn length(&mut self) -> Result<Option<usize>, Rejection> {
        let (Some(kind), Some(length)) = (self.header.first(), self.header.get(1..HEADER)) else {
            return Ok(None);
        };
        let length = length.iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
        let fits = usize::try_from(length).ok().filter(|length| *length <= self.most);
        if *kind == MESSAGE && fits.is_some() {
            return Ok(fits);
        }
        if PLUGIN_FRAME.enforced() {
            return Err(broken(format!("type {kind}, {length} bytes: the limit is {}", self.most)));
        }
        // What is prevented: what is no frame is passed over until something looks like one.
        match usize::try_from(length).ok().filter(|it| *kind == MESSAGE && *it <= WITHOUT) {
            Some(length) => Ok(Some(length)),
            None => {
                self.header.remove(0);
                Ok(None)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, length: u64, body: &[u8]) -> Vec<u8> {
        [&[kind], length.to_be_bytes().as_slice(), body].concat()
    }

    async fn read(bytes: &[u8]) -> Vec<Result<Option<Vec<u8>>, String>> {
        let mut reader = Reader::new(bytes, 10);
        let mut found = Vec::new();
        loop {
            let next = reader.next().await.map_err(|it| it.cause().to_owned());
            let ends = !matches!(next, Ok(Some(_)));
            found.push(next);
            if ends {
                return found;
            }
        }
    }

    #[tokio::test]
    async fn frames_come_as_they_were_sent_and_the_limit_is_exact() {
        let bytes = [frame(1, 2, b"ab"), frame(1, 0, b""), frame(1, 10, b"0123456789")].concat();
        let found = read(&bytes).await;
        let texts: Vec<_> = found.iter().filter_map(|it| it.clone().ok().flatten()).collect();
        assert_eq!(texts, [b"ab".to_vec(), Vec::new(), b"0123456789".to_vec()]);
        assert_eq!(found.last().unwrap(), &Ok(None));
        assert!(read(&frame(1, 11, b"0123456789a")).await[0].is_err());
    }

    #[tokio::test]
    async fn a_length_that_is_only_told_costs_nothing() {
        for length in [1 << 32, u64::MAX, 1 << 63] {
            let mut reader = Reader::new(&*Box::leak(frame(1, length, b"x").into()), 10);
            assert!(reader.next().await.is_err());
            assert_eq!(reader.body.capacity(), 0);
        }
        assert!(read(&frame(0, 2, b"ab")).await[0].is_err());
        assert!(read(&frame(1, 5, b"ab")).await[0].is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn half_a_frame_ends_the_wait_and_silence_between_frames_does_not() {
        let (mut far, near) = tokio::io::duplex(64);
        let mut reader = Reader::new(near, 10);
        let quiet = timeout(Duration::from_secs(3600), reader.next()).await;
        assert!(quiet.is_err(), "nothing came, and nothing was refused");
        far.write_all(&frame(1, 5, b"ab")).await.unwrap();
        assert!(reader.next().await.unwrap_err().cause().contains("half way"));
    }

    #[tokio::test]
    async fn a_dropped_read_loses_nothing() {
        let (mut far, near) = tokio::io::duplex(64);
        let mut reader = Reader::new(near, 10);
        for byte in frame(1, 3, b"abc") {
            let waited = timeout(Duration::from_millis(1), reader.next()).await;
            assert!(waited.is_err());
            far.write_all(&[byte]).await.unwrap();
        }
        assert_eq!(reader.next().await.unwrap().unwrap(), b"abc");
    }

    #[tokio::test]
    async fn another_greeting_is_refused() {
        for (theirs, good) in [(GREETING, true), ([0, b'S', b'P', 0, 0, 0x30, 0, 0], false)] {
            let (mut far, mut near) = tokio::io::duplex(64);
            far.write_all(&theirs).await.unwrap();
            assert_eq!(greet(&mut near).await.is_ok(), good);
        }
    }
}
