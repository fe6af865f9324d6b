//! A stream of server-sent events, read as it comes: bounded in length and number, whatever the server
//! does. It must never know what an event means.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::DriverError;
use super::http::{Request, head_of};
use super::turn::Event;

/// The longest event, and the longest chunk, in bytes.
const EVENT_LIMIT: usize = 4_000_000;

/// An open stream of events.
#[derive(Debug)]
pub(super) struct Events {
    stream: TcpStream,
    chunked: bool,
    /// Bytes as they came, behind the head.
    raw: Vec<u8>,
    /// Bytes of the body that are no event yet.
    text: Vec<u8>,
}

impl Events {
    /// Opens a stream.
    ///
    /// # Errors
    /// `Refused` where the answer is no stream of events, `Died` where the connection is closed.
    pub(super) async fn open(address: SocketAddr, request: &Request) -> Result<Self, DriverError> {
        let mut stream = TcpStream::connect(address).await.map_err(died)?;
        stream.write_all(&request.bytes(address)).await.map_err(died)?;
        let mut raw = Vec::new();
        let (head, body) = loop {
            if let Some((head, body)) = head_of(&raw) {
                break (head, body.to_vec());
            }
            if raw.len() > EVENT_LIMIT || !more(&mut stream, &mut raw).await? {
                let words = super::excerpt(&raw, 120);
                return Err(DriverError::Died(format!("calls.events: no answer in HTTP: {words}")));
            }
        };
        let kind = head.header("content-type").unwrap_or("no type").to_owned();
        if head.status != 200 || !kind.starts_with("text/event-stream") {
            let (status, words) = (head.status, super::excerpt(&body, 200));
            return Err(DriverError::Refused(format!(
                "calls.events is answered by HTTP {status} of type `{kind}`, which is no stream of \
                 events: {words}"
            )));
        }
        let chunked = head.header("transfer-encoding").is_some_and(|it| it.contains("chunked"));
        Ok(Self { stream, chunked, raw: body, text: Vec::new() })
    }

    /// The next event with data; comments and empty events are passed over. Data that is no JSON is a
    /// JSON string.
    ///
    /// # Errors
    /// `Died` where the stream ends or an event is too long.
    pub(super) async fn next(&mut self) -> Result<Event, DriverError> {
        loop {
            self.unpack()?;
            while let Some(block) = take_block(&mut self.text) {
                if let Some(event) = event_of(&block) {
                    return Ok(event);
                }
            }
            if self.text.len() > EVENT_LIMIT || self.raw.len() > EVENT_LIMIT {
                let words = format!("an event is longer than {EVENT_LIMIT} bytes");
                return Err(DriverError::Died(words));
            }
            if !more(&mut self.stream, &mut self.raw).await? {
                let words = "the stream of events ended before the turn did";
                return Err(DriverError::Died(words.to_owned()));
            }
        }
    }

    /// Moves whole chunks of the body to its text.
    fn unpack(&mut self) -> Result<(), DriverError> {
        if !self.chunked {
            self.text.append(&mut self.raw);
            return Ok(());
        }
        while let Some(end) = self.raw.windows(2).position(|it| it == b"\r\n") {
            let line =
                String::from_utf8_lossy(self.raw.get(..end).unwrap_or_default()).into_owned();
            let size = line.split(';').next().unwrap_or_default().trim();
            let size = usize::from_str_radix(size, 16).ok().filter(|size| *size <= EVENT_LIMIT);
            let broken = || DriverError::Died(format!("a chunk of the stream is broken: {line}"));
            let (begin, size) = (end + 2, size.ok_or_else(broken)?);
            let Some(chunk) = self.raw.get(begin..begin + size) else { break };
            if self.raw.len() < begin + size + 2 {
                break;
            }
            self.text.extend_from_slice(chunk);
            self.raw.drain(..begin + size + 2);
        }
        Ok(())
    }
}

/// Takes the first event off a text: what stands before the first empty line.
fn take_block(text: &mut Vec<u8>) -> Option<String> {
    let ends: [&[u8]; 3] = [b"\n\n", b"\r\n\r\n", b"\r\r"];
    let (at, length) =
        ends.iter().filter_map(|end| Some((memchr::memmem::find(text, end)?, end.len()))).min()?;
    let block = text.drain(..at + length).take(at).collect::<Vec<_>>();
    Some(String::from_utf8_lossy(&block).into_owned())
}

fn event_of(block: &str) -> Option<Event> {
    let (mut name, mut data) = (String::new(), Vec::new());
    for line in block.lines() {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut name),
            "data" => data.push(value),
            _ => {}
        }
    }
    if data.is_empty() {
        return None;
    }
    let data = data.join("\n");
    let value = serde_json::from_str(&data).unwrap_or(Value::String(data));
    Some(Event { name, value })
}

async fn more(stream: &mut TcpStream, raw: &mut Vec<u8>) -> Result<bool, DriverError> {
    let mut buffer = vec![0_u8; 16_384];
    let count = stream.read(&mut buffer).await.map_err(died)?;
    raw.extend_from_slice(buffer.get(..count).unwrap_or_default());
    Ok(count > 0)
}

fn died(error: std::io::Error) -> DriverError {
    DriverError::Died(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_cut_at_empty_lines_whatever_ends_a_line() {
        let mut text =
            b": hello\n\nevent: a\ndata: {\"x\":\ndata: 1}\n\ndata: plain\r\n\r\nda".to_vec();
        assert!(event_of(&take_block(&mut text).unwrap()).is_none());
        let event = event_of(&take_block(&mut text).unwrap()).unwrap();
        assert_eq!((event.name.as_str(), &event.value["x"]), ("a", &serde_json::json!(1)));
        let event = event_of(&take_block(&mut text).unwrap()).unwrap();
        assert_eq!(event.value, "plain");
        assert!(take_block(&mut text).is_none());
        assert_eq!(text, b"da");
    }
}
