//! Server-sent events: bytes in, the data of whole events out, wherever the bytes are cut. It must
//! never look into the data; the reader bounds how much comes.

use std::collections::VecDeque;

/// Cuts a stream into events.
#[derive(Debug, Default)]
pub(super) struct Events {
    /// Bytes of a line that has not ended.
    line: Vec<u8>,
    /// Data of an event that has not ended.
    data: Option<Vec<u8>>,
    ready: VecDeque<Vec<u8>>,
}

impl Events {
    /// Takes the next bytes.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let (head, tail) = rest.split_at(end);
            self.line.extend_from_slice(head);
            rest = tail.get(1..).unwrap_or_default();
            let line = std::mem::take(&mut self.line);
            self.end_of_line(line.strip_suffix(b"\r").unwrap_or(&line));
        }
        self.line.extend_from_slice(rest);
    }

    /// The data of the next whole event.
    pub(super) fn next(&mut self) -> Option<Vec<u8>> {
        self.ready.pop_front()
    }

    /// What is left at the end of a stream: an event that was not closed by a blank line is taken
    /// as it is, so that whoever reads it sees that it is not whole.
    pub(super) fn last(&mut self) -> Option<Vec<u8>> {
        let line = std::mem::take(&mut self.line);
        if !line.is_empty() {
            self.end_of_line(&line);
        }
        self.ready.pop_front().or_else(|| self.data.take())
    }

    fn end_of_line(&mut self, line: &[u8]) {
        if line.is_empty() {
            self.ready.extend(self.data.take());
        } else if let Some(data) = line.strip_prefix(b"data:") {
            let data = data.strip_prefix(b" ").unwrap_or(data);
            match &mut self.data {
                Some(all) => {
                    all.push(b'\n');
                    all.extend_from_slice(data);
                }
                None => self.data = Some(data.to_vec()),
            }
        }
        // Comments, names, ids and retry times mean nothing here.
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &[u8] =
        b": hello\n\nevent: x\ndata: {\"a\":1}\n\ndata:two\r\ndata: lines\r\n\r\n\
                            id: 7\ndata: \xc3\xa9\n\ndata: open";

    fn all(pieces: impl Iterator<Item = Vec<u8>>) -> Vec<Vec<u8>> {
        let mut events = Events::default();
        let mut found = Vec::new();
        for piece in pieces {
            events.push(&piece);
            while let Some(data) = events.next() {
                found.push(data);
            }
        }
        found.extend(events.last());
        found
    }

    #[test]
    fn the_events_are_the_same_wherever_the_bytes_are_cut() {
        let whole = all(std::iter::once(STREAM.to_vec()));
        let expected: [&[u8]; 4] = [b"{\"a\":1}", b"two\nlines", "é".as_bytes(), b"open"];
        assert_eq!(whole, expected);
        for size in 1..STREAM.len() {
            assert_eq!(all(STREAM.chunks(size).map(<[u8]>::to_vec)), whole, "{size}");
        }
    }
}
