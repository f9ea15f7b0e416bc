//! `messaging/mqttFeed`: fires on each message of MQTT topics (MQTT 5 and 3.1.1).
//!
//! ```yaml
//! feed: /whisk.system/messaging/mqttFeed
//! inputs: { url: "mqtt://broker:1883", topic: ["sensors/+/temperature", "alarms/#"], qos: 1 }
//! ```
//!
//! The trigger gets `{topic, body, encoding, qos, retain}`. With QoS 1 and 2 a message is acknowledged after its event is
//! durable, the broker keeps the session while the hub is away, and a message that comes again after a crash is recognised.
//! With QoS 0 what is under way when a connection breaks is lost. `retain` is true for what the broker had stored before the
//! feed subscribed.

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;
use triggerfish_model::{ActivationId, FeedId, Timestamp};

use crate::mqtt::connection::{Connection, forget};
use crate::mqtt::cursor::Cursor;
use crate::mqtt::settings::{Given, Settings};
use crate::provider::{FeedContext, FeedError, FeedProvider, ParamError};

use super::Feed;

/// The parameters of `messaging/mqttFeed`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Params {
    /// The broker: `mqtt://host[:port]`, or `mqtts://host[:port]` for TLS. User and password may stand before the host.
    url: Option<String>,
    /// A topic filter or an array of them; `+` and `#` are wildcards, `$share/group/filter` shares the messages with others
    /// of that group.
    topic: Option<Topics>,
    /// The quality of service asked for: 0 at most once, 1 at least once, 2 exactly once [default: 1].
    qos: Option<u8>,
    /// The client id, which names the session at the broker [default: one made from the feed's id].
    #[serde(rename = "clientId")]
    client_id: Option<String>,
    /// The user.
    username: Option<String>,
    /// The password.
    password: Option<String>,
    /// The protocol's version: 5, or 3 for 3.1.1 [default: 5].
    version: Option<u8>,
    /// PEM text of the certificates that the broker's must be signed by [default: those that the system trusts].
    ca: Option<String>,
}

/// One topic filter or several.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged, expecting = "the parameter `topic` must be a text or an array of texts")]
enum Topics {
    One(String),
    Several(Vec<String>),
}

struct Mqtt;

pub(super) fn feed() -> Feed {
    let example = json!({"url": "mqtt://broker.example:1883", "topic": "sensors/+/temperature", "qos": 1});
    Feed::reading(Mqtt, "Fires on each message of MQTT topics", example)
}

impl Params {
    fn settings(&self, feed: FeedId) -> Result<Settings, String> {
        let topics = match &self.topic {
            Some(Topics::One(topic)) => std::slice::from_ref(topic),
            Some(Topics::Several(topics)) => topics.as_slice(),
            None => &[],
        };
        let url = match &self.url {
            Some(url) if !topics.is_empty() => url,
            _ => return Err("Missing mandatory feed properties, must include url and topic.".into()),
        };
        let given = Given {
            url,
            topics,
            qos: self.qos.unwrap_or(1),
            client_id: self.client_id.as_deref(),
            username: self.username.as_deref(),
            password: self.password.as_deref(),
            version: self.version.unwrap_or(5),
            ca: self.ca.as_deref(),
        };
        Settings::read(&given, feed)
    }
}

#[async_trait]
impl FeedProvider for Mqtt {
    type Params = Params;
    type Cursor = Cursor;
    type Connection = Connection;

    fn action(&self) -> (&'static str, &'static str) {
        ("messaging", "mqttFeed")
    }

    fn check(&self, params: &Params, _before: Option<&Params>, _now: Timestamp) -> Result<(), ParamError> {
        // Any id will do: only the default client id is made from it.
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
        params.settings(feed).ok().map(|settings| settings.session())
    }

    async fn forget(&self, params: &Params, context: &FeedContext) -> Result<(), FeedError> {
        forget(&params.settings(context.feed).map_err(FeedError::Invalid)?).await
    }
}
