//! `messaging/kafkaFeed`: fires on messages of Kafka topics (contract §3.3).
//!
//! ```yaml
//! feed: /whisk.system/messaging/kafkaFeed
//! inputs: { brokers: ["kafka:9092"], topic: orders, startFrom: earliest, isJSONData: true }
//! ```
//!
//! The trigger gets `{messages: [{topic, partition, offset, key, value, timestamp, headers}]}`: as many messages of one
//! partition as have come, up to `maxBatchSize`, 900,000 bytes and `maxBatchTime`. Offsets are committed after the event is
//! durable; a message that comes again after a crash or a rebalance is recognised by its offset. A topic that comes into
//! being after its feed is read from its beginning, whatever `startFrom` says.

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};
use serde_json::json;
use triggerfish_model::{ActivationId, FeedId, Timestamp};

use crate::kafka::connection::Connection;
use crate::kafka::cursor::Cursor;
use crate::kafka::settings::{Given, Settings};
use crate::provider::{FeedContext, FeedError, FeedProvider, ParamError};

use super::Feed;

/// The parameters of `messaging/kafkaFeed`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Params {
    /// Brokers as host:port: an array, or a text with commas.
    brokers: Option<Texts>,
    /// A topic, or an array of them. One that begins with `^` is a pattern (a regular expression).
    topic: Option<Texts>,
    /// The consumer group [default: one made from the feed's id]. Feeds of one group share the messages.
    group_id: Option<String>,
    /// Where partitions are begun that the group does not know: `earliest`, `latest`, or a time as RFC 3339 or
    /// milliseconds since 1970 [default: latest].
    start_from: Option<TextOrNumber>,
    /// Messages in one event, at most; 1 gives each message its own [default: 10000].
    max_batch_size: Option<u32>,
    /// How long messages are collected for one event while they come without a pause, in milliseconds [default: 200].
    max_batch_time: Option<u64>,
    /// Whether values are JSON; what is not comes as text between literal quotes.
    #[serde(default, rename = "isJSONData", deserialize_with = "flag")]
    is_json_data: bool,
    /// Whether keys are bytes, and come as base64.
    #[serde(default, deserialize_with = "flag")]
    is_binary_key: bool,
    /// Whether values are bytes, and come as base64.
    #[serde(default, deserialize_with = "flag")]
    is_binary_value: bool,
    /// `read_committed` leaves out messages of transactions that are open or were given up [default: read_uncommitted].
    isolation_level: Option<String>,
    /// The user (SASL).
    username: Option<String>,
    /// The password.
    password: Option<String>,
    /// The SASL mechanism: `plain`, `scram-sha-256` or `scram-sha-512` [default: plain].
    mechanism: Option<String>,
    /// Whether the brokers are spoken to through TLS.
    #[serde(default, deserialize_with = "flag")]
    tls: bool,
    /// PEM text of the certificates that the brokers' must be signed by [default: those that the system trusts].
    ca: Option<String>,
    /// PEM text of the client's certificate, where the brokers ask for one.
    certificate: Option<String>,
    /// PEM text of its private key.
    private_key: Option<String>,
}

/// One text or several.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected a text or an array of texts")]
enum Texts {
    One(String),
    Several(Vec<String>),
}

impl Texts {
    fn all(&self) -> &[String] {
        match self {
            Self::One(text) => std::slice::from_ref(text),
            Self::Several(texts) => texts,
        }
    }
}

/// A text or a whole number.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected a text or a number of milliseconds")]
enum TextOrNumber {
    Text(String),
    Number(i64),
}

/// A flag: a boolean, or its name as text, as clients of old send it.
fn flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected true or false")]
    enum Flag {
        Bool(bool),
        Text(String),
    }
    match Flag::deserialize(deserializer)? {
        Flag::Bool(flag) => Ok(flag),
        Flag::Text(text) if text == "true" => Ok(true),
        Flag::Text(text) if text == "false" || text.is_empty() => Ok(false),
        Flag::Text(_) => Err(serde::de::Error::custom("expected true or false")),
    }
}

struct Kafka;

pub(super) fn feed() -> Feed {
    let example = json!({"brokers": ["kafka.example:9092"], "topic": "orders", "startFrom": "earliest", "isJSONData": true});
    Feed::reading(Kafka, "Fires on messages of Kafka topics", example)
}

impl Params {
    fn settings(&self, feed: FeedId) -> Result<Settings, String> {
        let start = self.start_from.as_ref().map(|start| match start {
            TextOrNumber::Text(text) => text.clone(),
            TextOrNumber::Number(millis) => millis.to_string(),
        });
        let given = Given {
            brokers: self.brokers.as_ref().map(Texts::all),
            topics: self.topic.as_ref().map(Texts::all),
            group: self.group_id.as_deref(),
            start_from: start.as_deref(),
            max_batch_size: self.max_batch_size,
            max_batch_time: self.max_batch_time,
            is_json_data: self.is_json_data,
            is_binary_key: self.is_binary_key,
            is_binary_value: self.is_binary_value,
            isolation: self.isolation_level.as_deref(),
            username: self.username.as_deref(),
            password: self.password.as_deref(),
            mechanism: self.mechanism.as_deref(),
            tls: self.tls,
            ca: self.ca.as_deref(),
            certificate: self.certificate.as_deref(),
            private_key: self.private_key.as_deref(),
        };
        Settings::read(&given, feed)
    }
}

#[async_trait]
impl FeedProvider for Kafka {
    type Params = Params;
    type Cursor = Cursor;
    type Connection = Connection;

    fn action(&self) -> (&'static str, &'static str) {
        ("messaging", "kafkaFeed")
    }

    fn check(&self, params: &Params, _before: Option<&Params>, _now: Timestamp) -> Result<(), ParamError> {
        // Any id will do: only defaults are made from it.
        params.settings(FeedId(ActivationId::from_bytes([0; 16]))).map(drop).map_err(ParamError)
    }

    async fn connect(
        &self,
        params: &Params,
        cursor: Option<Cursor>,
        context: &FeedContext,
    ) -> Result<Connection, FeedError> {
        let settings = params.settings(context.feed).map_err(FeedError::Invalid)?;
        Connection::open(settings, cursor, context.event_bytes_max).await
    }
}
