//! A connection to an AMQP broker, driving the session machine.
//!
//! What was delivered is acknowledged in [`FeedConnection::ack`] alone. Dropped at any moment it loses nothing: the broker
//! puts back what was not acknowledged.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use async_trait::async_trait;
use futures::{FutureExt, StreamExt};
use lapin::Consumer;
use lapin::message::Delivery;
use tokio::time::Instant;

use super::cursor::{Cursor, Digest};
use super::link::Link;
use super::payload;
use super::session::{Arrival, Session};
use super::settings::Settings;
use crate::provider::{FeedBatch, FeedConnection, FeedError, FeedEvent, Refused};
use serde_json::json;

/// Events in one batch, so that one durable write is shared by many but none waits long for its neighbours.
const BATCH_EVENTS_MAX: usize = 256;
/// Payload bytes in one batch, above which no more are read into it.
const BATCH_BYTES_MAX: usize = 8 << 20;
/// How often the queue is asked about, which proves that acknowledgements arrived and tells the lag.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// A feed without messages for so long writes down a smaller cursor.
const IDLE: Duration = Duration::from_millis(500);
/// How often a connection that is not read is looked at.
const TEND_EVERY: Duration = Duration::from_millis(250);

/// A question about the queue, with the last tag that was answered before it.
type Look = Pin<Box<dyn Future<Output = (u64, lapin::Result<u32>)> + Send>>;

/// The batch in the making.
#[derive(Default)]
struct Making {
    events: Vec<FeedEvent>,
    refused: Vec<Refused>,
    bytes: usize,
}

/// A connection to a broker.
pub(crate) struct Connection {
    link: Link,
    consumer: Consumer,
    session: Session,
    /// Names the queue in the cursor.
    place: String,
    making: Making,
    look: Option<Look>,
    looked: Instant,
    /// Messages in the queue that nobody was given, when it was asked about last.
    waiting: Option<u32>,
    last_delivery: Instant,
    /// Why nothing more comes, after the batch that was given.
    over: Option<FeedError>,
    payload_bytes_max: usize,
}

impl Connection {
    /// Connects and consumes, going on after `cursor`.
    pub(crate) async fn open(
        settings: &Settings,
        cursor: Option<Cursor>,
        payload_bytes_max: usize,
    ) -> Result<Self, FeedError> {
        let place = settings.place();
        let cursor = cursor.filter(|cursor| cursor.queue == place).unwrap_or_default();
        let (link, consumer) = Link::open(settings).await?;
        Ok(Self {
            link,
            consumer,
            session: Session::new(&cursor),
            place,
            making: Making::default(),
            look: None,
            looked: Instant::now(),
            waiting: None,
            last_delivery: Instant::now(),
            over: None,
            payload_bytes_max,
        })
    }

    /// Takes all that has arrived, as far as there is room.
    fn take_arrived(&mut self) {
        while self.over.is_none()
            && self.making.events.len() + self.making.refused.len() < BATCH_EVENTS_MAX
            && self.making.bytes < BATCH_BYTES_MAX
        {
            match self.consumer.next().now_or_never() {
                Some(delivery) => self.take(delivery),
                None => return,
            }
        }
    }

    fn take(&mut self, delivery: Option<lapin::Result<Delivery>>) {
        let delivery = match delivery {
            Some(Ok(delivery)) => delivery,
            Some(Err(error)) => return self.over = Some(self.link.broken(&error)),
            None => return self.over = Some(self.link.cancelled()),
        };
        self.last_delivery = Instant::now();
        let Delivery { delivery_tag: tag, redelivered, exchange, routing_key, data, .. } = &delivery;
        let is_too_large = data.len() > self.payload_bytes_max;
        let length = data.len().to_be_bytes();
        let digest =
            Digest::of(exchange.as_str(), routing_key.as_str(), if is_too_large { &length } else { data });
        // A message's own id is its event's key, by which the hub knows it again.
        let known_by = (is_too_large || payload::message_id(&delivery).is_none()).then_some(digest);
        let is_new = self.session.receive(Arrival { tag: *tag, redelivered: *redelivered, digest: known_by });
        if is_too_large {
            self.session.reject();
        }
        match (is_new, is_too_large) {
            (false, _) => {}
            (true, false) => {
                self.making.bytes += data.len();
                self.making.events.push(payload::event(&delivery, digest));
            }
            (true, true) => {
                let bytes = data.len();
                let why = format!(
                    "a message of {bytes} bytes (exchange `{exchange}`, routing key `{routing_key}`) was rejected to the queue's dead letters: it is larger than {}",
                    self.payload_bytes_max
                );
                let id = payload::message_id(&delivery);
                let context = json!({
                    "exchange": exchange.as_str(), "routingKey": routing_key.as_str(), "messageId": id, "bytes": bytes,
                });
                self.making.refused.push(Refused::message(why, &context));
            }
        }
    }

    fn seal(&mut self) -> FeedBatch<Cursor> {
        let Making { events, refused, .. } = std::mem::take(&mut self.making);
        let cursor = self.session.seal(&self.place);
        FeedBatch { events, cursor, refused, duplicates: self.session.take_duplicates() }
    }

    /// Asks about the queue where that is due.
    fn look(&mut self) {
        if self.look.is_none() && self.session.is_unproven() && self.looked.elapsed() >= LOOK_EVERY {
            let (answered, looking) = (self.session.answered(), self.link.look());
            self.look = Some(Box::pin(async move { (answered, looking.await) }));
        }
    }

    fn looked(&mut self, (answered, found): (u64, lapin::Result<u32>)) {
        (self.look, self.looked) = (None, Instant::now());
        match found {
            Ok(waiting) => {
                self.session.proven(answered);
                self.waiting = Some(waiting);
            }
            Err(error) => self.over = Some(self.link.broken(&error)),
        }
    }
}

#[async_trait]
impl FeedConnection for Connection {
    type Cursor = Cursor;

    async fn next(&mut self) -> Result<FeedBatch<Cursor>, FeedError> {
        loop {
            self.take_arrived();
            if self.session.has_news() {
                return Ok(self.seal());
            }
            if let Some(error) = self.over.take() {
                return Err(error);
            }
            let quiet = self.last_delivery.elapsed();
            if self.session.wants_trim() && quiet >= IDLE {
                return Ok(self.seal());
            }
            self.look();
            let patience = match (self.session.is_unproven(), self.session.wants_trim()) {
                (true, _) => LOOK_EVERY.saturating_sub(self.looked.elapsed()).max(Duration::from_millis(1)),
                (false, true) => IDLE.saturating_sub(quiet).max(Duration::from_millis(1)),
                // Nothing but a delivery changes anything.
                (false, false) => Duration::from_secs(3600),
            };
            let looking = self.look.is_some();
            let look = async {
                match &mut self.look {
                    Some(look) => look.await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                delivery = self.consumer.next() => self.take(delivery),
                found = look => self.looked(found),
                () = tokio::time::sleep(patience), if !looking => {}
            }
        }
    }

    async fn ack(&mut self, cursor: &Cursor) -> Result<(), FeedError> {
        for answer in self.session.durable(cursor.number) {
            self.link.answer(answer).await?;
        }
        Ok(())
    }

    async fn tend(&mut self) -> FeedError {
        while self.link.is_open() {
            tokio::time::sleep(TEND_EVERY).await;
        }
        self.link.broken(&lapin::ErrorKind::InvalidConnectionState(lapin::ConnectionState::Closed).into())
    }

    fn lag(&self) -> Option<u64> {
        self.waiting.map(u64::from)
    }

    async fn close(&mut self) {
        self.link.close().await;
    }
}
