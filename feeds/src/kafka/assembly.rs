//! Messages put together to events and batches, and what is under way of them. A pure machine: time is passed in.
//!
//! An event is open until it is full, old, or no more messages come; then it waits for the next batch. A batch is *given*
//! until it is acknowledged. What is neither given nor acknowledged can be forgotten at any time: Kafka has it still.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use triggerfish_model::{EventKey, JsonObject};

use super::cursor::{Cursor, Mark, Print, Trace};
use super::payload::{self, Content, Form};
use super::place::Begin;
use crate::provider::{FeedBatch, FeedEvent, Refused};
use serde_json::json;

/// JSON bytes in one event, above which no further message joins it (contract §3.3). A larger message has its own event.
const EVENT_BYTES: usize = 900_000;
/// JSON bytes that wait for the next batch, above which nothing more is read: this, the batch being written and the one
/// after it are what a feed holds in memory, beside librdkafka's own queue.
const WAITING_BYTES_MAX: usize = 4 << 20;
/// Batches are bounded in events too, so that one durable write does not hold up its neighbours.
const WAITING_EVENTS_MAX: usize = 2_048;

/// The bounds of events.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) messages_max: usize,
    pub(crate) time: Duration,
    /// A message whose JSON is larger is refused.
    pub(crate) event_bytes_max: usize,
    pub(crate) form: Form,
}

/// A message as it was read.
pub(crate) struct Read<'a> {
    pub(crate) topic: &'a str,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) content: Content<'a>,
}

/// What is to be done about a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    /// Nothing more.
    Go,
    /// The topic is another one of the same name: its partition is to be read from its beginning.
    BeginAnew,
}

struct Open {
    text: String,
    messages: usize,
    first: i64,
    begun: Instant,
}

/// An assigned partition.
struct Part {
    generation: u32,
    /// The first offset that was not read.
    next: i64,
    /// What the message before it must be, where the topic is still the same.
    expects: Option<Print>,
    open: Option<Open>,
    /// Of the last message that was read.
    trace: Trace,
}

/// What waits for the next batch.
struct Waiting {
    topic: String,
    partition: i32,
    mark: Mark,
    outcome: Result<FeedEvent, Refused>,
}

/// A batch that was given and is not acknowledged.
struct Given {
    number: u64,
    moves: Vec<(String, i32, i64)>,
}

/// The machine.
pub(crate) struct Assembly {
    bounds: Bounds,
    parts: BTreeMap<String, BTreeMap<i32, Part>>,
    open_bytes: usize,
    waiting: Vec<Waiting>,
    waiting_bytes: usize,
    /// Durable and given.
    cursor: Cursor,
    /// Whether the cursor has something that no batch has brought yet.
    owes_cursor: bool,
    given: VecDeque<Given>,
    /// Acknowledged, not yet committed.
    acked: BTreeMap<(String, i32), i64>,
    notes: Vec<String>,
    duplicates: u64,
}

impl Assembly {
    pub(crate) fn new(bounds: Bounds, cursor: Cursor) -> Self {
        Self {
            bounds,
            parts: BTreeMap::new(),
            open_bytes: 0,
            waiting: Vec::new(),
            waiting_bytes: 0,
            cursor,
            owes_cursor: false,
            given: VecDeque::new(),
            acked: BTreeMap::new(),
            notes: Vec::new(),
            duplicates: 0,
        }
    }

    /// The cursor as the next batch brings it, without what is still open.
    pub(crate) fn cursor(&self) -> &Cursor {
        &self.cursor
    }

    /// Patterns whose topics of today have been begun: a topic that comes later is read from its beginning.
    pub(crate) fn knows_patterns(&mut self, patterns: &[String]) {
        if self.cursor.patterns != patterns {
            self.cursor.patterns = patterns.to_vec();
            self.owes_cursor = true;
        }
    }

    /// A topic that everything is read of from now on.
    pub(crate) fn knows(&mut self, topic: &str) {
        if !self.cursor.topics.contains_key(topic) {
            self.cursor.topics.insert(topic.to_owned(), BTreeMap::new());
            self.owes_cursor = true;
        }
    }

    /// A partition that is read from now on, by this feed alone.
    pub(crate) fn assign(&mut self, topic: &str, partition: i32, begin: Begin) {
        let Begin { at: _, expects, mark, expired } = begin;
        if expired > 0 {
            self.notes.push(format!(
                "{expired} messages of `{topic}`, partition {partition}, expired at the broker before they were read"
            ));
        }
        let part = Part {
            generation: mark.generation,
            next: mark.next,
            expects,
            open: None,
            trace: Trace::default(),
        };
        self.parts.entry(topic.to_owned()).or_default().insert(partition, part);
        let marks = self.cursor.topics.entry(topic.to_owned()).or_default();
        if marks.get(&partition) != Some(&mark) {
            // Committed as well, so that the whole group knows where it was begun.
            self.acked.insert((topic.to_owned(), partition), mark.next);
            marks.insert(partition, mark);
            self.owes_cursor = true;
        }
    }

    /// A partition that is no longer read, and of which nothing more is committed.
    pub(crate) fn revoke(&mut self, topic: &str, partition: i32) {
        self.forget(topic, partition);
        if let Some(parts) = self.parts.get_mut(topic) {
            parts.remove(&partition);
        }
    }

    /// Forgets what was read of a partition and not given.
    pub(crate) fn forget(&mut self, topic: &str, partition: i32) {
        let part = self.parts.get_mut(topic).and_then(|parts| parts.get_mut(&partition));
        if let Some(open) = part.and_then(|part| part.open.take()) {
            self.open_bytes -= open.text.len();
        }
        self.waiting.retain(|it| (it.topic.as_str(), it.partition) != (topic, partition));
        self.waiting_bytes = self.waiting.iter().map(Waiting::bytes).sum();
    }

    /// Whether a batch with messages of the partition was given and is not acknowledged.
    pub(crate) fn is_given(&self, topic: &str, partition: i32) -> bool {
        let moves = self.given.iter().flat_map(|given| &given.moves);
        moves.into_iter().any(|(t, p, _)| (t.as_str(), *p) == (topic, partition))
    }

    /// Takes a message.
    pub(crate) fn take(&mut self, read: &Read<'_>, now: Instant) -> Then {
        let Read { topic, partition, offset, content } = read;
        let Some(part) = self.parts.get_mut(*topic).and_then(|parts| parts.get_mut(partition)) else {
            return Then::Go;
        };
        let Content { key, value, timestamp, .. } = content;
        if let Some(expected) = part.expects.take()
            && *offset < part.next
        {
            part.trace.take(*timestamp, *key, *value);
            if part.trace.print() == expected {
                return Then::Go;
            }
            part.generation += 1;
            part.next = 0;
            return Then::BeginAnew;
        }
        if *offset < part.next {
            self.duplicates += 1;
            return Then::Go;
        }
        let mut open = match part.open.take() {
            Some(open) => {
                self.open_bytes -= open.text.len();
                open
            }
            None => Open::at(*offset, now),
        };
        let before = open.text.len();
        open.push(self.bounds.form, (topic, *partition, *offset), content);
        let bytes = open.text.len() - before;
        let envelope = open.text.len() + CLOSE.len();
        let is_refused = open.messages == 1 && envelope > self.bounds.event_bytes_max;
        let overflows = open.messages > 1 && envelope > EVENT_BYTES.min(self.bounds.event_bytes_max);
        if overflows || is_refused {
            open.text.truncate(before);
            open.messages -= 1;
        }
        if overflows {
            // It is the first of the next event.
            self.close_part(topic, *partition, open);
            return self.take(read, now);
        }
        let Some(part) = self.parts.get_mut(*topic).and_then(|parts| parts.get_mut(partition)) else {
            return Then::Go;
        };
        part.next = offset + 1;
        part.trace.take(*timestamp, *key, *value);
        if is_refused {
            let why = format!(
                "the message `{topic}/{partition}/{offset}` was left out: as JSON it has {bytes} bytes, more than {}",
                self.bounds.event_bytes_max
            );
            let context = json!({"topic": topic, "partition": partition, "offset": offset, "bytes": bytes});
            self.put((*topic, *partition), Err(Refused::message(why, &context)));
        } else if open.messages >= self.bounds.messages_max || open.text.len() >= EVENT_BYTES {
            self.close_part(topic, *partition, open);
        } else {
            self.open_bytes += open.text.len();
            part.open = Some(open);
            if self.open_bytes > WAITING_BYTES_MAX {
                self.close(None);
            }
        }
        Then::Go
    }

    /// Closes the events that are older than the bound, or all of them where no more messages come (`now` is `None`).
    pub(crate) fn close(&mut self, now: Option<Instant>) {
        let time = self.bounds.time;
        let is_due = |open: &Open| now.is_none_or(|now| now.saturating_duration_since(open.begun) >= time);
        let mut due = Vec::new();
        for (topic, parts) in &mut self.parts {
            for (partition, part) in parts {
                if part.open.as_ref().is_some_and(is_due)
                    && let Some(open) = part.open.take()
                {
                    due.push((topic.clone(), *partition, open));
                }
            }
        }
        for (topic, partition, open) in due {
            self.open_bytes -= open.text.len();
            self.close_part(&topic, partition, open);
        }
    }

    /// When the oldest open event is due.
    pub(crate) fn due(&self) -> Option<Instant> {
        let parts = self.parts.values().flat_map(BTreeMap::values);
        parts.filter_map(|part| part.open.as_ref()).map(|open| open.begun + self.bounds.time).min()
    }

    /// Whether an event is open.
    #[cfg(test)]
    pub(crate) fn has_open(&self) -> bool {
        self.open_bytes > 0
    }

    fn close_part(&mut self, topic: &str, partition: i32, open: Open) {
        let Some(part) = self.parts.get(topic).and_then(|parts| parts.get(&partition)) else { return };
        let event = open.event(topic, partition, part.generation, part.next - 1);
        self.put((topic, partition), Ok(event));
    }

    fn put(&mut self, (topic, partition): (&str, i32), outcome: Result<FeedEvent, Refused>) {
        let Some(part) = self.parts.get(topic).and_then(|parts| parts.get(&partition)) else { return };
        let mark = Mark { next: part.next, print: Some(part.trace.print()), generation: part.generation };
        let waiting = Waiting { topic: topic.to_owned(), partition, mark, outcome };
        self.waiting_bytes += waiting.bytes();
        self.waiting.push(waiting);
    }

    /// Whether no more should be read before a batch is fetched.
    pub(crate) fn is_full(&self) -> bool {
        self.waiting_bytes >= WAITING_BYTES_MAX || self.waiting.len() >= WAITING_EVENTS_MAX
    }

    /// Whether the cursor holds what no batch has brought yet.
    pub(crate) fn owes_cursor(&self) -> bool {
        self.owes_cursor
    }

    /// What waits, as a batch.
    pub(crate) fn batch(&mut self) -> Option<FeedBatch<Cursor>> {
        if self.waiting.is_empty() && self.notes.is_empty() && !self.owes_cursor {
            return None;
        }
        (self.owes_cursor, self.waiting_bytes) = (false, 0);
        let mut refused: Vec<Refused> =
            std::mem::take(&mut self.notes).into_iter().map(Refused::from).collect();
        let mut events = Vec::with_capacity(self.waiting.len());
        let mut moves = BTreeMap::new();
        for Waiting { topic, partition, mark, outcome } in self.waiting.drain(..) {
            match outcome {
                Ok(event) => events.push(event),
                Err(why) => refused.push(why),
            }
            moves.insert((topic.clone(), partition), mark.next);
            self.cursor.topics.entry(topic).or_default().insert(partition, mark);
        }
        self.cursor.number += 1;
        let moves = moves.into_iter().map(|((topic, partition), next)| (topic, partition, next)).collect();
        self.given.push_back(Given { number: self.cursor.number, moves });
        let duplicates = std::mem::take(&mut self.duplicates);
        Some(FeedBatch { events, cursor: self.cursor.clone(), refused, duplicates })
    }

    /// The batch of this number, and those before it, are durable.
    pub(crate) fn ack(&mut self, number: u64) {
        while self.given.front().is_some_and(|given| given.number <= number) {
            let Some(given) = self.given.pop_front() else { return };
            for (topic, partition, next) in given.moves {
                // Of a partition that another member reads now nothing may be committed here.
                if self.parts.get(&topic).is_some_and(|parts| parts.contains_key(&partition)) {
                    self.acked.insert((topic, partition), next);
                }
            }
        }
    }

    /// Whether something is to be committed, or will be soon.
    pub(crate) fn awaits_commit(&self) -> bool {
        !self.acked.is_empty() || !self.given.is_empty()
    }

    /// What is to be committed now.
    pub(crate) fn commit(&mut self) -> Vec<((String, i32), i64)> {
        std::mem::take(&mut self.acked).into_iter().collect()
    }

    /// How many messages wait at the broker, where `end` tells the ends of partitions.
    pub(crate) fn lag(&self, end: impl Fn(&str, i32) -> Option<i64>) -> u64 {
        let mut lag = 0;
        for (topic, parts) in &self.parts {
            for partition in parts.keys() {
                let next = self.cursor.mark(topic, *partition).map_or(0, |mark| mark.next);
                let end = end(topic, *partition).unwrap_or(next);
                lag += u64::try_from(end.saturating_sub(next)).unwrap_or(0);
            }
        }
        lag
    }

    /// The partitions that are read.
    pub(crate) fn assigned(&self) -> Vec<(String, i32)> {
        let of = |(topic, parts): (&String, &BTreeMap<i32, Part>)| {
            let topic = topic.clone();
            parts.keys().map(move |partition| (topic.clone(), *partition)).collect::<Vec<_>>()
        };
        self.parts.iter().flat_map(of).collect()
    }
}

impl Waiting {
    fn bytes(&self) -> usize {
        match &self.outcome {
            Ok(event) => event.payload.as_str().len(),
            Err(refused) => refused.why.len(),
        }
    }
}

const OPEN: &str = "{\"messages\":[";
const CLOSE: &str = "]}";

impl Open {
    fn at(offset: i64, now: Instant) -> Self {
        Self { text: OPEN.to_owned(), messages: 0, first: offset, begun: now }
    }

    fn push(&mut self, form: Form, place: (&str, i32, i64), content: &Content<'_>) {
        if self.messages > 0 {
            self.text.push(',');
        }
        self.messages += 1;
        payload::write(&mut self.text, form, place, content);
    }

    fn event(mut self, topic: &str, partition: i32, generation: u32, last: i64) -> FeedEvent {
        self.text.push_str(CLOSE);
        let payload =
            JsonObject::parse(&self.text).expect("it was put together from checked JSON and escaped text");
        let generation = if generation == 0 { String::new() } else { format!("~{generation}") };
        let first = self.first;
        let key = match first == last {
            true => format!("{topic}{generation}/{partition}/{first}"),
            false => format!("{topic}{generation}/{partition}/{first}-{last}"),
        };
        FeedEvent { key: Some(EventKey::new(&key)), payload }
    }
}

#[cfg(test)]
mod tests;
