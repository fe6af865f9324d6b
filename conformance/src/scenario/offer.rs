//! A body without a reasonable end, offered to a target as fast as it takes it. It must never judge
//! what it saw.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::driver::http::Request;
use crate::sensor::resident::Watch;

/// What is offered, in bytes.
pub(super) const OFFER: u64 = 1 << 30;
/// By how much a target may grow meanwhile, in bytes.
pub(super) const GROWTH: u64 = 32 << 20;
/// The growth at which enough was seen.
const ENOUGH: u64 = 3 * GROWTH;
/// About as many bytes are written at once.
const WRITE: usize = 65_536;

/// One body without a reasonable end.
pub(super) struct Endless {
    pub(super) what: &'static str,
    pub(super) authorized: bool,
    pub(super) chunked: bool,
    /// Whether it is the request's head that does not end, in place of its body.
    pub(super) head: bool,
    pub(super) begin: Vec<u8>,
    pub(super) piece: Vec<u8>,
}

/// What came of an offer.
pub(super) struct Offered {
    pub(super) taken: u64,
    pub(super) elapsed: Duration,
    pub(super) answer: String,
}

/// Offers a body as fast as it is taken, whatever is answered meanwhile, until all was written,
/// the connection is closed, 20 seconds are over, or the target grew enough to know.
pub(super) async fn offer(
    address: SocketAddr,
    request: &Request,
    endless: &Endless,
    watch: &Watch,
) -> std::io::Result<Offered> {
    let begun = Instant::now();
    let mut head = format!("POST {} HTTP/1.1\r\nHost: {address}\r\n", request.path);
    for (name, value) in &request.headers {
        if endless.authorized || !name.eq_ignore_ascii_case("authorization") {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
    }
    head.push_str(&if endless.head {
        String::new()
    } else if endless.chunked {
        "Transfer-Encoding: chunked\r\n\r\n".to_owned()
    } else {
        format!("Content-Length: {OFFER}\r\n\r\n")
    });
    let framed = |bytes: &[u8]| -> Vec<u8> {
        if endless.chunked && !endless.head {
            [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
        } else {
            bytes.to_vec()
        }
    };
    let (mut reader, mut writer) = TcpStream::connect(address).await?.into_split();
    let hear = async {
        let (mut answer, mut buffer) = (Vec::new(), vec![0_u8; 16_384]);
        while let Ok(count @ 1..) = reader.read(&mut buffer).await {
            if answer.len() < 2_000 {
                answer.extend_from_slice(buffer.get(..count).unwrap_or_default());
            }
        }
        answer
    };
    let speak = async {
        let mut taken = 0;
        // Small pieces leave many at a time: what they cost is the target's to bear, not ours.
        let piece = framed(&endless.piece);
        let piece = piece.repeat((WRITE / piece.len().max(1)).max(1));
        if writer.write_all(head.as_bytes()).await.is_err()
            || (!endless.begin.is_empty()
                && writer.write_all(&framed(&endless.begin)).await.is_err())
        {
            return taken;
        }
        while taken < OFFER && watch.growth() < ENOUGH {
            let wrote =
                tokio::time::timeout(Duration::from_secs(5), writer.write_all(&piece)).await;
            if !matches!(wrote, Ok(Ok(()))) || begun.elapsed() > Duration::from_secs(20) {
                break;
            }
            taken += piece.len() as u64;
        }
        taken
    };
    let hear = tokio::time::timeout(Duration::from_secs(25), hear);
    let mut hear = std::pin::pin!(hear);
    let mut speak = std::pin::pin!(speak);
    // Hearing ends when the target closes; speaking goes on until that is felt.
    let mut answer = None;
    let taken = loop {
        tokio::select! {
            taken = &mut speak => break taken,
            heard = &mut hear, if answer.is_none() => answer = Some(heard.unwrap_or_default()),
        }
    };
    let answer = answer.unwrap_or_default();
    let line = String::from_utf8_lossy(&answer).lines().next().unwrap_or("no answer").to_owned();
    Ok(Offered { taken, elapsed: begun.elapsed(), answer: line })
}
