//! A small HTTP/1.1 client over a plain socket: it can send what a proper client would not, and it
//! reads the answer even where the target stops listening in the middle of the body.
//! It must never follow a redirect, reuse a connection or retry.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::DriverError;

/// The most bytes of an answer that are kept; the rest is not read.
const ANSWER_LIMIT: usize = 16_000_000;

/// A request.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// The method, such as `POST`.
    pub method: String,
    /// The request target, such as `/rpc`.
    pub path: String,
    /// Headers in order; `Host` and `Connection: close` are added where they are not among them,
    /// and `Content-Length` where neither it nor `Transfer-Encoding` is.
    pub headers: Vec<(String, String)>,
    /// The body in the pieces in which it is written; each its own segment. With the header
    /// `Transfer-Encoding: chunked` each piece is one chunk.
    pub pieces: Vec<Vec<u8>>,
    /// A pause between two pieces.
    pub pause: Duration,
}

/// An answer.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// Headers in order, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body, at most 16 MB of it.
    pub body: Vec<u8>,
    /// From connect to the last byte read.
    pub elapsed: Duration,
}

impl Reply {
    /// The first header of that name (lower case).
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The body as JSON, if it is.
    #[must_use]
    pub fn json(&self) -> Option<serde_json::Value> {
        serde_json::from_slice(&self.body).ok()
    }

    /// Whether the answer says no: a status of 400 or more, or a JSON-RPC error.
    #[must_use]
    pub fn refused(&self) -> bool {
        self.status >= 400
            || self.json().is_some_and(|json| json.get("error").is_some_and(|it| !it.is_null()))
    }

    /// Status and the beginning of the body on one line, for evidence.
    #[must_use]
    pub fn summary(&self) -> String {
        format!("HTTP {} {}", self.status, super::excerpt(&self.body, 300))
    }
}

impl Request {
    /// The bytes of the request head.
    fn head(&self, address: SocketAddr) -> Vec<u8> {
        let has =
            |name: &str| self.headers.iter().any(|(known, _)| known.eq_ignore_ascii_case(name));
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.path);
        if !has("host") {
            head.push_str(&format!("Host: {address}\r\n"));
        }
        if !has("connection") {
            head.push_str("Connection: close\r\n");
        }
        if !has("content-length") && !has("transfer-encoding") && self.method != "GET" {
            let length: usize = self.pieces.iter().map(Vec::len).sum();
            head.push_str(&format!("Content-Length: {length}\r\n"));
        }
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        head.into_bytes()
    }

    /// The whole request as it is written, for a caller that opens its own connection.
    #[must_use]
    pub fn bytes(&self, address: SocketAddr) -> Vec<u8> {
        [self.head(address), self.pieces.concat()].concat()
    }

    /// Sends the request on a connection of its own and reads the answer.
    ///
    /// # Errors
    /// `Timeout` without a whole answer in time; `Died` where the connection was refused or closed
    /// without one.
    pub async fn send(&self, address: SocketAddr, limit: Duration) -> Result<Reply, DriverError> {
        let chunked = self.headers.iter().any(|(name, value)| {
            name.eq_ignore_ascii_case("transfer-encoding") && value.contains("chunked")
        });
        let mut pieces = vec![self.head(address)];
        for piece in &self.pieces {
            pieces.push(if chunked { as_chunk(piece) } else { piece.clone() });
        }
        if chunked {
            pieces.push(b"0\r\n\r\n".to_vec());
        }
        exchange(address, &pieces, self.pause, limit).await
    }
}

fn as_chunk(piece: &[u8]) -> Vec<u8> {
    let mut chunk = format!("{:x}\r\n", piece.len()).into_bytes();
    chunk.extend_from_slice(piece);
    chunk.extend_from_slice(b"\r\n");
    chunk
}

/// Writes pieces to a fresh connection and reads one HTTP answer, both at the same time.
///
/// # Errors
/// As [`Request::send`]; `Died` also for an answer that is no HTTP.
pub async fn exchange(
    address: SocketAddr,
    pieces: &[Vec<u8>],
    pause: Duration,
    limit: Duration,
) -> Result<Reply, DriverError> {
    let connect = async {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    };
    exchange_over(connect, pieces, pause, limit).await
}

/// The same over a connection that the caller makes, such as one within TLS.
///
/// # Errors
/// As [`exchange`]; `Died` where there is no connection.
pub async fn exchange_over<S: AsyncRead + AsyncWrite>(
    connect: impl Future<Output = std::io::Result<S>>,
    pieces: &[Vec<u8>],
    pause: Duration,
    limit: Duration,
) -> Result<Reply, DriverError> {
    let begun = Instant::now();
    let mut answer = Vec::new();
    let talk = async {
        let (mut reader, mut writer) = tokio::io::split(connect.await?);
        let write = async {
            for (index, piece) in pieces.iter().enumerate() {
                if index > 1 && !pause.is_zero() {
                    tokio::time::sleep(pause).await;
                }
                // A target may refuse before it has read all: then its answer counts, not this.
                if writer.write_all(piece).await.is_err() || writer.flush().await.is_err() {
                    break;
                }
            }
            // The write half stays open: some servers take a half-close for a hangup.
            std::future::pending::<()>().await;
        };
        let read = async {
            let mut buffer = vec![0_u8; 65_536];
            while answer.len() < ANSWER_LIMIT && !complete(&answer) {
                match reader.read(&mut buffer).await {
                    Ok(0) | Err(_) => break,
                    Ok(count) => answer.extend_from_slice(buffer.get(..count).unwrap_or_default()),
                }
            }
        };
        tokio::select! { () = read => {}, () = write => {} }
        Ok::<(), std::io::Error>(())
    };
    let outcome = tokio::time::timeout(limit, talk).await;
    match outcome {
        Ok(Err(error)) => return Err(DriverError::Died(error.to_string())),
        Err(_) if parse(&answer).is_none() => {
            let milliseconds = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
            return Err(DriverError::Timeout(milliseconds));
        }
        _ => {}
    }
    let mut reply = parse(&answer).ok_or_else(|| {
        DriverError::Died(if answer.is_empty() {
            "connection closed without an answer".to_owned()
        } else {
            format!("not HTTP: {}", super::excerpt(&answer, 120))
        })
    })?;
    reply.elapsed = begun.elapsed();
    Ok(reply)
}

fn complete(answer: &[u8]) -> bool {
    let Some((head, body)) = split_head(answer) else { return false };
    let Some((status, headers)) = parse_head(head) else { return true };
    if status < 200 {
        return false;
    }
    let find = |name: &str| headers.iter().find(|(known, _)| known == name).map(|(_, it)| it);
    if let Some(length) = find("content-length") {
        return length.parse::<usize>().is_ok_and(|length| body.len() >= length);
    }
    if find("transfer-encoding").is_some() {
        return body.ends_with(b"0\r\n\r\n");
    }
    status == 204 || status == 304
}

fn parse(answer: &[u8]) -> Option<Reply> {
    let (head, body) = split_head(answer)?;
    let (status, headers) = parse_head(head)?;
    let chunked = headers
        .iter()
        .any(|(name, value)| name == "transfer-encoding" && value.contains("chunked"));
    let body = if chunked { join_chunks(body) } else { body.to_vec() };
    Some(Reply { status, headers, body, elapsed: Duration::ZERO })
}

/// The head of an answer that has come so far, as a reply without a body, and what came behind it.
pub(super) fn head_of(answer: &[u8]) -> Option<(Reply, &[u8])> {
    let (head, body) = split_head(answer)?;
    let (status, headers) = parse_head(head)?;
    Some((Reply { status, headers, ..Reply::default() }, body))
}

/// Splits off the final answer's head; interim answers (`100 Continue`) are skipped.
fn split_head(answer: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut rest = answer;
    loop {
        let end = rest.windows(4).position(|window| window == b"\r\n\r\n")?;
        let (head, body) = (rest.get(..end)?, rest.get(end + 4..)?);
        match parse_head(head) {
            Some((100..=199, _)) => rest = body,
            _ => return Some((head, body)),
        }
    }
}

fn parse_head(head: &[u8]) -> Option<(u16, Vec<(String, String)>)> {
    let text = String::from_utf8_lossy(head);
    let mut lines = text.split("\r\n");
    let status = lines.next()?.strip_prefix("HTTP/1.")?.get(2..5)?.parse().ok()?;
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    Some((status, headers))
}

fn join_chunks(mut body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    while let Some(end) = body.windows(2).position(|window| window == b"\r\n") {
        let size = body
            .get(..end)
            .and_then(|line| std::str::from_utf8(line).ok())
            .and_then(|line| usize::from_str_radix(line.split(';').next()?.trim(), 16).ok());
        let (Some(size @ 1..), Some(rest)) = (size, body.get(end + 2..)) else { break };
        out.extend_from_slice(rest.get(..size.min(rest.len())).unwrap_or_default());
        body = rest.get(size.saturating_add(2)..).unwrap_or_default();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_lengths_chunks_and_interim_answers() {
        let plain =
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno";
        assert!(complete(plain));
        let reply = parse(plain).unwrap();
        assert_eq!((reply.status, reply.body.as_slice()), (413, b"no".as_slice()));
        let chunks =
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n";
        assert!(complete(chunks));
        assert_eq!(parse(chunks).unwrap().body, b"abcd");
    }

    #[test]
    fn a_json_rpc_error_with_status_200_is_a_refusal() {
        let mut reply = Reply { status: 200, ..Reply::default() };
        reply.body = br#"{"error":{"code":1}}"#.to_vec();
        assert!(reply.refused());
        reply.body = br#"{"error":null,"result":1}"#.to_vec();
        assert!(!reply.refused());
    }
}
