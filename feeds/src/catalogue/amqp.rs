//! `messaging/amqpFeed`: fires on each message of an AMQP 0-9-1 queue (RabbitMQ).
//!
//! ```yaml
//! feed: /whisk.system/messaging/amqpFeed
//! inputs: { url: "amqp://broker", exchange: orders, routingKey: "eu.#" }
//! ```
//!
//! The trigger gets `{exchange, routingKey, messageId, headers, contentType, redelivered, body, encoding}`. With a `queue` that
//! is consumed; with an `exchange` alone the feed has a durable queue of its own, which goes when the feed is deleted. A message
//! is acknowledged after its event is durable; one that comes again after a crash is recognised by its message id, else by the
//! broker's flag and its content. A message that is too large is rejected to the queue's dead letter exchange.

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;
use triggerfish_model::{ActivationId, FeedId, Timestamp};

use crate::amqp::connection::Connection;
use crate::amqp::cursor::Cursor;
use crate::amqp::forget;
use crate::amqp::settings::{Given, Settings};
use crate::provider::{FeedContext, FeedError, FeedProvider, ParamError};

use super::Feed;

/// The parameters of `messaging/amqpFeed`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Params {
    /// The broker: `amqp://host[:port][/vhost]`, or `amqps://…` for TLS. User and password may stand before the host
    /// [default: guest].
    url: Option<String>,
    /// The queue [default, with an exchange: one of the feed's own].
    queue: Option<String>,
    /// The exchange that the queue is bound to.
    exchange: Option<String>,
    /// The exchange's type (`topic`, `direct`, `fanout`, `headers` or a plugin's), where it is to be declared, durable.
    exchange_type: Option<String>,
    /// The routing key of the binding, or an array of them [default: #].
    routing_key: Option<Keys>,
    /// Whether the queue is declared, durable [default: only where it is the feed's own].
    declare: Option<bool>,
    /// The type of a queue that is declared: `classic` or `quorum` [default: the broker's].
    queue_type: Option<String>,
    /// The dead letter exchange of a queue that is declared.
    dead_letter_exchange: Option<String>,
    /// Messages under way at once, at most [default: 500].
    prefetch: Option<u16>,
    /// The user.
    username: Option<String>,
    /// The password.
    password: Option<String>,
    /// PEM text of the certificates that the broker's must be signed by [default: those that the system trusts].
    ca: Option<String>,
}

/// One routing key or several.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected a text or an array of texts")]
enum Keys {
    One(String),
    Several(Vec<String>),
}

struct Amqp;

pub(super) fn feed() -> Feed {
    let example = json!({"url": "amqp://broker.example", "exchange": "orders", "routingKey": "eu.#"});
    Feed::reading(Amqp, "Fires on each message of an AMQP queue", example)
}

impl Params {
    fn settings(&self, feed: FeedId) -> Result<Settings, String> {
        let given = Given {
            url: self.url.as_deref(),
            queue: self.queue.as_deref(),
            exchange: self.exchange.as_deref(),
            exchange_type: self.exchange_type.as_deref(),
            routing_keys: match &self.routing_key {
                None => &[],
                Some(Keys::One(key)) => std::slice::from_ref(key),
                Some(Keys::Several(keys)) => keys,
            },
            declare: self.declare,
            queue_type: self.queue_type.as_deref(),
            dead_letter_exchange: self.dead_letter_exchange.as_deref(),
            prefetch: self.prefetch,
            username: self.username.as_deref(),
            password: self.password.as_deref(),
            ca: self.ca.as_deref(),
        };
        Settings::read(&given, feed)
    }
}

#[async_trait]
impl FeedProvider for Amqp {
    type Params = Params;
    type Cursor = Cursor;
    type Connection = Connection;

    fn action(&self) -> (&'static str, &'static str) {
        ("messaging", "amqpFeed")
    }

    fn check(&self, params: &Params, _before: Option<&Params>, _now: Timestamp) -> Result<(), ParamError> {
        // Any id will do: only the name of the feed's own queue is made from it.
        params.settings(FeedId(ActivationId::from_bytes([0; 16]))).map(drop).map_err(ParamError)
    }

    async fn connect(
        &self,
        params: &Params,
        cursor: Option<Cursor>,
        context: &FeedContext,
    ) -> Result<Connection, FeedError> {
        let settings = params.settings(context.feed).map_err(FeedError::Invalid)?;
        Connection::open(&settings, cursor, context.event_bytes_max).await
    }

    fn keeps(&self, params: &Params, feed: FeedId) -> Option<String> {
        let settings = params.settings(feed).ok()?;
        settings.owns_queue.then(|| settings.place())
    }

    async fn forget(&self, params: &Params, context: &FeedContext) -> Result<(), FeedError> {
        forget(&params.settings(context.feed).map_err(FeedError::Invalid)?).await
    }
}
