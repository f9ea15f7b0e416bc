//! The seam of feeds: what a provider of outside events is.
//!
//! A provider never fires a trigger and never decides when to acknowledge. It gives batches of events with the cursor
//! behind them; the runtime makes both durable in one step and then calls [`FeedConnection::ack`], the only place where
//! something is acknowledged upstream. A provider of webhooks verifies and maps a request instead: its seam is
//! [`crate::hook`].

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use triggerfish_model::{Clock, EventKey, FeedId, JsonObject, QualifiedName, Timestamp};

use crate::hook::HookContext;
use crate::web::Web;

/// One event of a feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedEvent {
    /// By what a redelivery is recognised, where the protocol gives such a thing.
    pub key: Option<EventKey>,
    /// What the trigger is fired with.
    pub payload: JsonObject,
}

/// What a feed left out for good, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Why.
    pub why: String,
    /// The message; absent where none is lost (ticks that were missed on purpose, entries beyond a limit).
    pub message: Option<Undeliverable>,
}

/// A message that is no event: too large, or not readable. It is kept as a dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undeliverable {
    /// Where it came from, and what it says of itself.
    pub context: JsonObject,
    /// The event that it would be, where it can be kept.
    pub payload: Option<JsonObject>,
}

impl Refused {
    /// A message that cannot be kept, with where it came from.
    pub(crate) fn message(why: String, context: &serde_json::Value) -> Self {
        let context = context.as_object().map(JsonObject::from_map).unwrap_or_default();
        Self { why, message: Some(Undeliverable { context, payload: None }) }
    }
}

impl From<String> for Refused {
    fn from(why: String) -> Self {
        Self { why, message: None }
    }
}

/// What a connection gives at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedBatch<C> {
    /// The events, in order; none where only the cursor moves.
    pub events: Vec<FeedEvent>,
    /// Where the feed goes on once these are durable.
    pub cursor: C,
    /// What the remote side sent and the feed can make no event of.
    pub refused: Vec<Refused>,
    /// Redelivered events that the provider recognised and left out.
    pub duplicates: u64,
}

/// Why a feed does not go on. Texts name the remote side and what was tried, and never hold a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FeedError {
    /// The remote side cannot be reached, or broke off; tried again soon.
    #[error("{0}")]
    Unavailable(String),
    /// The remote side refuses: credentials, rights, a topic; tried again, seldom.
    #[error("{0}")]
    Refused(String),
    /// The remote side is there and cannot be read now; tried again after the given time.
    #[error("{why}")]
    Later {
        /// Why.
        why: String,
        /// When to try again: what the remote side asked for, or the feed's own pace.
        after: Duration,
    },
    /// The parameters or the stored cursor make no sense; tried again only after a change.
    #[error("{0}")]
    Invalid(String),
    /// There is nothing more to come: a stop date is reached, a date has fired.
    #[error("{why}")]
    Ended {
        /// Why, for the feed's status.
        why: String,
        /// What else goes with it.
        also_delete: AlsoDelete,
    },
}

/// What an ended feed takes along (`deleteAfterFire`, contract §3.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AlsoDelete {
    /// Nothing.
    #[default]
    Nothing,
    /// Its trigger.
    Trigger,
    /// Its trigger and the trigger's rules.
    TriggerAndRules,
}

/// A parameter that makes no sense; the text is the contract's where it has one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ParamError(pub String);

/// What a provider may know of the feed that it works for.
#[derive(Clone)]
pub struct FeedContext {
    /// The subscription's id: names a session or consumer group that must outlive restarts.
    pub feed: FeedId,
    /// The trigger.
    pub trigger: QualifiedName,
    /// When the subscription was made.
    pub created: Timestamp,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The largest payload of an event, in bytes.
    pub event_bytes_max: usize,
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// What only feeds of webhooks ask for.
    pub hook: HookContext,
    /// Asks the servers that feeds fetch from.
    pub web: Web,
}

/// A provider of outside events: one file in `catalogue/`.
#[async_trait]
pub trait FeedProvider: Send + Sync + 'static {
    /// The user's parameters: `deny_unknown_fields`; doc comments are the reference.
    type Params: DeserializeOwned + JsonSchema + Send + Sync + 'static;
    /// Where to go on after a restart. It is written with each batch, so it must be small.
    type Cursor: Serialize + DeserializeOwned + Clone + Send + Sync + 'static;
    /// A connection.
    type Connection: FeedConnection<Cursor = Self::Cursor>;

    /// The feed's action in `/whisk.system`: package and name.
    fn action(&self) -> (&'static str, &'static str);

    /// Checks what types cannot say. `before` are the parameters that these replace: a start that has passed meanwhile may
    /// stay as it is.
    fn check(
        &self,
        params: &Self::Params,
        before: Option<&Self::Params>,
        now: Timestamp,
    ) -> Result<(), ParamError>;

    /// Reaches the remote side, to go on after `cursor`.
    async fn connect(
        &self,
        params: &Self::Params,
        cursor: Option<Self::Cursor>,
        context: &FeedContext,
    ) -> Result<Self::Connection, FeedError>;

    /// What names the thing that the remote side keeps for the feed while it is away (a session, a consumer group), where
    /// there is such a thing. Other parameters that give the same name go on with it.
    fn keeps(&self, _params: &Self::Params, _feed: FeedId) -> Option<String> {
        None
    }

    /// Has the remote side do what the feed needs before it is made or changed: its refusal is the caller's answer, and
    /// nothing changes then. Idempotent; a hub that dies after it leaves what the next call finds.
    async fn subscribe(&self, _params: &Self::Params, _context: &FeedContext) -> Result<(), FeedError> {
        Ok(())
    }

    /// Lets the remote side forget what [`Self::keeps`] names; called when no connection of the feed is left.
    async fn forget(&self, _params: &Self::Params, _context: &FeedContext) -> Result<(), FeedError> {
        Ok(())
    }
}

/// A connection to the remote side.
#[async_trait]
pub trait FeedConnection: Send + 'static {
    /// The provider's cursor.
    type Cursor;

    /// The next batch. Cancel-safe: a call that is dropped loses nothing. Called ahead while earlier batches are being
    /// written.
    async fn next(&mut self) -> Result<FeedBatch<Self::Cursor>, FeedError>;

    /// All up to `cursor` is durable: acknowledge it upstream.
    async fn ack(&mut self, cursor: &Self::Cursor) -> Result<(), FeedError>;

    /// Keeps the connection alive while the hub has no room and calls neither `next` nor `ack`; gives the error that ends
    /// it. Cancel-safe.
    async fn tend(&mut self) -> FeedError {
        std::future::pending().await
    }

    /// Events that wait at the remote side, where it tells.
    fn lag(&self) -> Option<u64> {
        None
    }

    /// Says goodbye, keeping what the remote side keeps for a feed that comes back.
    async fn close(&mut self) {}
}
