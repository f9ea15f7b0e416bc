//! What outlives a crash: for each partition, how far its messages are durable.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::Digest;

/// How much of a key and a value goes into a [`Print`]: it is taken of every message, and the time tells most apart.
const PRINT_BYTES: usize = 64;

/// By what a message is recognised when it is read again: 48 bits of SHA-256 over its time, its lengths, and the
/// beginnings of its key and value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Print(String);

/// What a [`Print`] is made of. Taking it costs a copy; hashing waits until the print is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Trace(Vec<u8>);

impl Trace {
    /// Takes a message's trace, into the place of an earlier one.
    pub(crate) fn take(&mut self, timestamp: Option<i64>, key: Option<&[u8]>, value: Option<&[u8]>) {
        self.0.clear();
        self.0.extend_from_slice(&timestamp.unwrap_or(-1).to_le_bytes());
        for part in [key, value] {
            let length = part.map_or(u64::MAX, |part| part.len() as u64);
            self.0.extend_from_slice(&length.to_le_bytes());
            let part = part.unwrap_or_default();
            self.0.extend_from_slice(part.get(..PRINT_BYTES).unwrap_or(part));
        }
    }

    /// The print.
    pub(crate) fn print(&self) -> Print {
        let whole: [u8; 32] = sha2::Sha256::digest(&self.0).into();
        let (print, _) = whole.split_at(6);
        Print(STANDARD_NO_PAD.encode(print))
    }
}

/// How far a partition is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// The first offset that is not.
    pub(crate) next: i64,
    /// The print of the last message below it, where one was read.
    pub(crate) print: Option<Print>,
    /// Counts the topics of this name, and the clusters and groups that the feed has read.
    pub(crate) generation: u32,
}

impl Serialize for Mark {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.next, &self.print, self.generation).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Mark {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (next, print, generation) = Deserialize::deserialize(deserializer)?;
        Ok(Self { next, print, generation })
    }
}

/// Where a Kafka feed goes on after a restart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Cursor {
    /// The cluster's id and the group: offsets mean nothing anywhere else.
    pub(crate) place: String,
    /// Counts batches.
    pub(crate) number: u64,
    /// The generation of partitions that have no mark yet.
    pub(crate) generation: u32,
    /// The patterns whose topics of the time have been begun.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) patterns: Vec<String>,
    /// The topics that the feed has known, each with its partitions. Of a topic that is here everything is read: a
    /// partition without a mark is new, and begins at its beginning.
    pub(crate) topics: BTreeMap<String, BTreeMap<i32, Mark>>,
}

impl Cursor {
    /// The cursor for `place`: this one, or an empty one whose generation is above all of this where the feed has moved.
    pub(crate) fn at(self, place: &str) -> Self {
        if self.place == place {
            return self;
        }
        let fresh = self.place.is_empty();
        let generation = if fresh { 0 } else { self.highest_generation() + 1 };
        Self { place: place.to_owned(), number: self.number, generation, ..Self::default() }
    }

    /// Forgets topics that are there no longer. Should one come again, it is another one.
    pub(crate) fn keep(&mut self, is_there: impl Fn(&str) -> bool) {
        if self.topics.keys().all(|topic| is_there(topic)) {
            return;
        }
        let highest = self.highest_generation();
        self.topics.retain(|topic, _| is_there(topic));
        self.generation = self.generation.max(highest + 1);
    }

    /// The mark of a partition.
    pub(crate) fn mark(&self, topic: &str, partition: i32) -> Option<&Mark> {
        self.topics.get(topic)?.get(&partition)
    }

    fn highest_generation(&self) -> u32 {
        let marks = self.topics.values().flat_map(BTreeMap::values);
        marks.map(|mark| mark.generation).max().unwrap_or(0).max(self.generation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_small_and_reads_back() {
        let mut trace = Trace::default();
        trace.take(Some(1), None, Some(b"x"));
        let mark = Mark { next: 7, print: Some(trace.print()), generation: 1 };
        let topics = BTreeMap::from([("t".to_owned(), BTreeMap::from([(0, mark)]))]);
        let cursor = Cursor { place: "c/g".into(), number: 3, topics, ..Cursor::default() };
        let text = serde_json::to_string(&cursor).unwrap();
        assert!(text.contains(r#""topics":{"t":{"0":[7,""#) && text.len() < 90, "{text}");
        assert_eq!(serde_json::from_str::<Cursor>(&text).unwrap(), cursor);
    }

    #[test]
    fn prints_tell_messages_apart() {
        let print = |timestamp, key, value| {
            let mut trace = Trace::default();
            trace.take(timestamp, key, value);
            trace.print()
        };
        let (a, long) = (Some(&b"a"[..]), vec![b'x'; 100]);
        let prints = [
            print(None, None, None),
            print(Some(0), None, None),
            print(Some(0), a, None),
            print(Some(0), None, a),
            print(Some(0), Some(b""), a),
            print(Some(0), None, Some(&long)),
            print(Some(0), None, Some(&long[1..])),
        ];
        for (n, one) in prints.iter().enumerate() {
            assert!(prints.iter().skip(n + 1).all(|other| other != one), "{n}");
        }
        assert_eq!(print(Some(0), a, None), print(Some(0), a, None));
    }

    #[test]
    fn another_place_and_a_topic_that_is_gone_raise_the_generation() {
        let mark = Mark { next: 7, print: None, generation: 4 };
        let topics = BTreeMap::from([("t".to_owned(), BTreeMap::from([(0, mark)]))]);
        let cursor = Cursor { place: "c/g".into(), number: 3, topics, ..Cursor::default() };
        assert_eq!(cursor.clone().at("c/g"), cursor);
        let moved = cursor.clone().at("c/other");
        assert_eq!((moved.generation, moved.topics.len(), moved.number), (5, 0, 3));
        assert_eq!(Cursor::default().at("c/g").generation, 0);
        let mut kept = cursor.clone();
        kept.keep(|topic| topic == "t");
        assert_eq!(kept, cursor);
        kept.keep(|_| false);
        assert_eq!((kept.generation, kept.topics.len()), (5, 0));
    }
}
