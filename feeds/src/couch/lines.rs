//! Cuts a continuous answer into lines, and reads a line. Pure.

use bytes::{Bytes, BytesMut};
use serde::Deserialize;

/// The lines of an answer that comes in pieces. A line that is too long is passed over, without being held.
pub(super) struct Lines {
    buffer: BytesMut,
    line_bytes_max: usize,
    /// Bytes of the line that is being passed over.
    passing_over: Option<usize>,
}

/// A line, or the length of one that was too long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Line {
    Text(Bytes),
    TooLong(usize),
}

impl Lines {
    pub(super) fn new(line_bytes_max: usize) -> Self {
        Self { buffer: BytesMut::new(), line_bytes_max, passing_over: None }
    }

    /// Takes a piece of the answer.
    pub(super) fn push(&mut self, piece: &[u8]) {
        self.buffer.extend_from_slice(piece);
    }

    /// The next line that is there, without its end; heartbeats are empty lines and are left out.
    pub(super) fn next(&mut self) -> Option<Line> {
        loop {
            let end = memchr::memchr(b'\n', &self.buffer);
            let length = end.unwrap_or(self.buffer.len());
            if let Some(passed) = self.passing_over {
                drop(self.buffer.split_to(end.map_or(length, |end| end + 1)));
                self.passing_over = end.is_none().then_some(passed + length);
                match end {
                    Some(_) => return Some(Line::TooLong(passed + length)),
                    None => return None,
                }
            }
            if length > self.line_bytes_max {
                self.passing_over = Some(0);
                continue;
            }
            let line = self.buffer.split_to(end? + 1).freeze().slice(..length);
            if !line.trim_ascii().is_empty() {
                return Some(Line::Text(line));
            }
        }
    }
}

/// What a line says.
#[derive(Debug)]
pub(super) enum Said<'a> {
    /// A change.
    Change(Change<'a>),
    /// The answer's last line, with which the database ends it.
    Last,
}

/// A change (CouchDB's API, `/{db}/_changes`); what else it holds is for whoever it fires.
#[derive(Debug, Deserialize)]
pub(super) struct Change<'a> {
    #[serde(borrow)]
    pub(super) id: std::borrow::Cow<'a, str>,
    pub(super) seq: serde_json::Value,
    #[serde(borrow)]
    pub(super) changes: Vec<Revision<'a>>,
}

/// A revision of a change.
#[derive(Debug, Deserialize)]
pub(super) struct Revision<'a> {
    #[serde(borrow)]
    pub(super) rev: std::borrow::Cow<'a, str>,
}

/// Reads a line; an error says what is wrong with it.
pub(super) fn read(line: &[u8]) -> Result<Said<'_>, String> {
    match serde_json::from_slice(line) {
        Ok(change) => Ok(Said::Change(change)),
        Err(error) => {
            let other: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(line)
                .map_err(|_| format!("a line of the changes cannot be read: {error}"))?;
            match other.get("error") {
                _ if other.contains_key("last_seq") => Ok(Said::Last),
                Some(what) => Err(format!(
                    "the database broke the changes off: {what} {}",
                    other.get("reason").unwrap_or_default()
                )),
                None => Err(format!("a line of the changes is no change: {error}")),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_however_the_answer_is_cut() {
        let answer = b"\n{\"a\":1}\r\n\n\n{\"b\":22}\n0123456789abcdefghij\n{\"c\":3}\nrest";
        let expected = [
            Line::Text(Bytes::from_static(b"{\"a\":1}\r")),
            Line::Text(Bytes::from_static(b"{\"b\":22}")),
            Line::TooLong(20),
            Line::Text(Bytes::from_static(b"{\"c\":3}")),
        ];
        for size in 1..answer.len() {
            let mut lines = Lines::new(10);
            let mut found = Vec::new();
            for piece in answer.chunks(size) {
                lines.push(piece);
                found.extend(std::iter::from_fn(|| lines.next()));
                assert!(lines.buffer.len() <= size + 10, "nothing is held that is too long");
            }
            assert_eq!(found, expected, "in pieces of {size}");
        }
    }

    #[test]
    fn a_line_is_a_change_or_the_last_one_or_wrong() {
        let line = br#"{"seq":"3-x","id":"a","changes":[{"rev":"1-b"}],"deleted":true,"doc":{"n":1.50}}"#;
        let Ok(Said::Change(change)) = read(line) else { panic!() };
        assert_eq!((&*change.id, change.seq, &*change.changes[0].rev), ("a", "3-x".into(), "1-b"));
        let deep =
            format!(r#"{{"id":"a","seq":1,"changes":[],"doc":{}{}}}"#, "[".repeat(5000), "]".repeat(5000));
        assert!(
            matches!(read(deep.as_bytes()), Ok(Said::Change(_))),
            "what is in a document is not looked at"
        );
        assert!(matches!(read(br#"{"last_seq":7,"pending":0}"#), Ok(Said::Last)));
        assert!(
            read(br#"{"error":"timeout","reason":"busy"}"#).unwrap_err().contains("broke the changes off")
        );
        for wrong in ["[]", "x", "{}", r#"{"id":"a"}"#] {
            assert!(read(wrong.as_bytes()).unwrap_err().contains("a line of the changes"), "{wrong}");
        }
    }
}
