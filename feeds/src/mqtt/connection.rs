//! A connection to an MQTT broker, driving the session machine.
//!
//! It reads only when asked for a batch and while there is room, so a hub without room slows the broker down instead of
//! filling memory. What is read is acknowledged in [`FeedConnection::ack`] alone. Dropped at any moment it loses nothing:
//! the broker keeps the session and sends again what was not acknowledged.

use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;
use triggerfish_model::{Json, JsonObject};

use super::cursor::{Cursor, Digest};
use super::link::{Link, OUTPUT_BYTES_MAX};
use super::outgoing;
use super::session::{Delivery, Reply, Session};
use super::settings::{Settings, Version};
use super::wire::{Incoming, KEEP_ALIVE_S, Message, WireError};
use crate::body;
use crate::provider::{FeedBatch, FeedConnection, FeedError, FeedEvent, Refused};
use serde_json::json;

/// Payload bytes in one batch, above which no more are read into it: a batch, the one being written and the packet being
/// read are what a feed holds in memory.
const BATCH_BYTES_MAX: usize = 8 << 20;
/// How long a broker that is being read may stay silent while a ping waits for its answer.
const PONG_MAX: Duration = Duration::from_secs(KEEP_ALIVE_S as u64);
/// A feed without messages for so long writes down a smaller cursor.
const IDLE: Duration = Duration::from_millis(500);

/// The batch in the making.
#[derive(Default)]
struct Making {
    events: Vec<FeedEvent>,
    refused: Vec<Refused>,
    bytes: usize,
}

/// A SUBSCRIBE that waits for its answer.
struct Asked {
    /// The filters in it.
    filters: Vec<(String, u8)>,
    /// What the session is subscribed to once they are granted.
    then: Vec<(String, u8)>,
}

/// A connection to a broker, with its session.
pub(crate) struct Connection {
    link: Link,
    session: Session,
    /// Names the broker's session in the cursor.
    name: String,
    /// What the session is subscribed to, as far as the broker has confirmed it.
    topics: Vec<(String, u8)>,
    asked: Option<Asked>,
    making: Making,
    replies: Vec<Reply>,
    /// Whether the durable cursor does not know the present subscriptions yet.
    owes_cursor: bool,
    /// Why nothing more comes, after the batch that was given.
    over: Option<FeedError>,
    payload_bytes_max: usize,
}

impl Connection {
    /// Connects and subscribes, going on after `cursor`.
    pub(crate) async fn open(
        settings: &Settings,
        cursor: Option<Cursor>,
        payload_bytes_max: usize,
    ) -> Result<Self, FeedError> {
        Self::over(Link::open(settings, payload_bytes_max).await?, settings, cursor, payload_bytes_max).await
    }

    async fn over(
        mut link: Link,
        settings: &Settings,
        cursor: Option<Cursor>,
        payload_bytes_max: usize,
    ) -> Result<Self, FeedError> {
        let present = link.greet(settings, false).await?;
        let name = settings.session();
        let ours = cursor.filter(|cursor| cursor.session == name);
        let resumed = present && ours.is_some();
        if !present && ours.as_ref().is_some_and(|cursor| !cursor.topics.is_empty()) {
            tracing::warn!(broker = %link.peer, client = %settings.client_id,
                "the MQTT broker has lost the session: what it had not delivered is lost, and retained messages come again");
        }
        let cursor = ours.unwrap_or_default();
        let mut this = Self {
            link,
            session: Session::new(&cursor, resumed),
            name,
            topics: if resumed { cursor.topics } else { Vec::new() },
            asked: None,
            making: Making::default(),
            replies: Vec::new(),
            owes_cursor: false,
            over: None,
            payload_bytes_max,
        };
        this.subscribe(settings, resumed).map_err(|error| FeedError::Invalid(error.to_string()))?;
        this.session.ping(&mut this.replies);
        this.send_replies();
        // Messages of before may come first, more of them than there is room for; then the answer is taken with them.
        while this.asked.is_some() && this.has_room() {
            let packet = this.link.answer("SUBSCRIBE").await?;
            this.take(packet)?;
        }
        Ok(this)
    }

    /// Asks for the topics, and no more for those that are not wanted any longer.
    fn subscribe(&mut self, settings: &Settings, resumed: bool) -> Result<(), WireError> {
        let (wanted, version) = (&settings.filters, settings.version);
        let is_wanted = |path: &String| wanted.iter().any(|(wanted, _)| wanted == path);
        let dropped: Vec<String> =
            self.topics.iter().map(|(path, _)| path.clone()).filter(|path| !is_wanted(path)).collect();
        if !dropped.is_empty() {
            outgoing::unsubscribe(version, 2, dropped, &mut self.link.output)?;
        }
        // MQTT 5 can ask again without getting retained messages again, and that heals a broker that forgot. 3.1.1
        // cannot, so there only what is new is asked for.
        let asked: Vec<(String, u8)> = match version {
            Version::V5 => wanted.clone(),
            Version::V3 => wanted.iter().filter(|filter| !self.topics.contains(filter)).cloned().collect(),
        };
        if asked.is_empty() {
            self.owes_cursor = self.topics != *wanted;
            self.topics.clone_from(wanted);
            return Ok(());
        }
        outgoing::subscribe(version, 1, &asked, resumed, &mut self.link.output)?;
        self.asked = Some(Asked { filters: asked, then: wanted.clone() });
        Ok(())
    }

    /// Takes the answer to SUBSCRIBE.
    fn subscribed(&mut self, granted: Vec<Result<u8, String>>) -> Result<(), FeedError> {
        let Some(Asked { filters, then }) = self.asked.take() else { return Ok(()) };
        for ((path, wanted), granted) in filters.iter().zip(granted) {
            let why = match granted {
                Ok(granted) if granted >= *wanted => continue,
                Ok(granted) => format!("it grants QoS {granted}, not {wanted}"),
                Err(why) => why,
            };
            let text = format!("the MQTT broker {} refused the topic `{path}`: {why}", self.link.peer);
            return Err(FeedError::Refused(text));
        }
        self.owes_cursor = self.topics != then;
        self.topics = then;
        Ok(())
    }

    /// Takes all that has arrived, as far as there is room.
    fn take_arrived(&mut self) -> Result<(), FeedError> {
        let mut drained = false;
        while self.has_room() && self.link.output.len() < OUTPUT_BYTES_MAX {
            match self.link.decode()? {
                Some(packet) => self.take(packet)?,
                None if drained => break,
                None => drained = !self.link.read_arrived()?,
            }
        }
        Ok(())
    }

    fn has_room(&self) -> bool {
        self.session.has_room() && self.making.bytes < BATCH_BYTES_MAX
    }

    fn take(&mut self, packet: Incoming) -> Result<(), FeedError> {
        match packet {
            Incoming::Message(message) => {
                let digest = Digest::of(message.topic.as_bytes(), &message.payload);
                if self.is_new(&message, digest) {
                    self.making.bytes += message.payload.len();
                    self.making.events.push(event(&message));
                }
            }
            Incoming::TooLarge { head, bytes } => {
                let digest = Digest::of(head.topic.as_bytes(), &bytes.to_be_bytes());
                if self.is_new(&head, digest) {
                    let why = format!(
                        "a message of {bytes} bytes on `{}` was left out: it is larger than {}",
                        head.topic, self.payload_bytes_max
                    );
                    let context =
                        json!({"topic": head.topic, "qos": head.qos, "retain": head.retain, "bytes": bytes});
                    self.making.refused.push(Refused::message(why, &context));
                }
            }
            Incoming::Release(id) => self.session.release(id, &mut self.replies),
            Incoming::Pong => self.session.pong(&mut self.replies),
            Incoming::Goodbye(why) => {
                let text = format!("the MQTT broker {} ended the connection: {why}", self.link.peer);
                return Err(FeedError::Unavailable(text));
            }
            Incoming::Subscribed(granted) => self.subscribed(granted)?,
            Incoming::Connected(_) | Incoming::Unsubscribed => {}
        }
        self.send_replies();
        Ok(())
    }

    fn is_new(&mut self, message: &Message, digest: Digest) -> bool {
        let Message { qos, id, dup, .. } = *message;
        self.session.receive(Delivery { qos, id, dup, digest }, &mut self.replies)
    }

    fn send_replies(&mut self) {
        for reply in self.replies.drain(..) {
            outgoing::reply(reply, &mut self.link.output);
        }
    }

    fn seal(&mut self) -> FeedBatch<Cursor> {
        self.owes_cursor = false;
        let Making { events, refused, .. } = std::mem::take(&mut self.making);
        let (session, topics) = (self.name.clone(), self.topics.clone());
        let cursor = Cursor { session, topics, ..self.session.seal() };
        FeedBatch { events, cursor, refused, duplicates: self.session.take_duplicates() }
    }

    fn keep_alive(&mut self) {
        self.session.keep_alive(&mut self.replies);
        self.send_replies();
    }
}

/// The event of a message: `{topic, body, encoding, qos, retain}`.
fn event(message: &Message) -> FeedEvent {
    let (body, encoding) = body::decode(&message.payload);
    let payload = JsonObject::from_fields([
        ("topic", &Json::from(message.topic.as_str())),
        ("body", &body),
        ("encoding", &Json::from(encoding)),
        ("qos", &Json::from_value(&message.qos.into())),
        ("retain", &Json::from_value(&message.retain.into())),
    ]);
    FeedEvent { key: None, payload }
}

#[async_trait]
impl FeedConnection for Connection {
    type Cursor = Cursor;

    async fn next(&mut self) -> Result<FeedBatch<Cursor>, FeedError> {
        let begun = Instant::now();
        loop {
            if let Some(error) = self.over.take() {
                return Err(error);
            }
            let arrived = self.take_arrived();
            let filled = !self.making.events.is_empty() || !self.making.refused.is_empty();
            match arrived {
                // What came before the end is worth a batch: of QoS 0 it does not come again.
                Err(error) if filled => self.over = Some(error),
                arrived => arrived?,
            }
            if self.link.ping_is_due() {
                self.keep_alive();
            }
            let quiet = self.link.last_received.max(begun).elapsed();
            let trims = self.session.wants_trim();
            if filled || self.owes_cursor || self.session.wants_seal() || (trims && quiet >= IDLE) {
                return Ok(self.seal());
            }
            let reads = self.session.has_room();
            if reads && self.session.awaits_pong() && quiet >= PONG_MAX {
                let text = format!("the MQTT broker {} is silent: no answer to a ping", self.link.peer);
                return Err(FeedError::Unavailable(text));
            }
            let patience = if trims { IDLE } else { PONG_MAX };
            let silence = if quiet < patience { patience - quiet } else { patience };
            self.link.wait(reads, silence).await?;
        }
    }

    async fn ack(&mut self, cursor: &Cursor) -> Result<(), FeedError> {
        self.session.durable(cursor.number, &mut self.replies);
        self.send_replies();
        self.link.flush().await
    }

    async fn tend(&mut self) -> FeedError {
        loop {
            if self.link.ping_is_due() {
                self.keep_alive();
            }
            if let Err(error) = self.link.wait(false, PONG_MAX).await {
                return error;
            }
        }
    }

    async fn close(&mut self) {
        self.link.close().await;
    }
}

/// Ends the session at the broker: what it keeps for the feed goes, with its subscriptions.
pub(crate) async fn forget(settings: &Settings) -> Result<(), FeedError> {
    let mut link = Link::open(settings, 0).await?;
    link.greet(settings, true).await?;
    link.close().await;
    Ok(())
}

#[cfg(test)]
mod tests;
