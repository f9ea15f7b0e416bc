//! The seam of webhooks: what a request is, what a provider makes of it, and how its sender is kept.
//!
//! A [`HookProvider`] verifies and maps a request, without I/O. The runtime makes the events durable and only then lets
//! the sender have its answer. A remote side that has an API of its own (GitHub, GitLab, Stripe) has a [`HookKeeper`]
//! beside it: it has the hook made where it is called from, mends it, and asks for what the hub has missed. The runtime
//! runs a keeper as it runs any feed that connects, so back-off, status and cursor are the same.

pub(crate) mod cloudevents;
pub(crate) mod erased;
pub(crate) mod handshake;
pub(crate) mod keeper;
pub(crate) mod payload;
pub(crate) mod scheme;
pub(crate) mod settings;
pub(crate) mod verify;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use triggerfish_model::{EventKey, FeedId, QualifiedName, Timestamp};

use crate::provider::{FeedContext, FeedError, FeedEvent, ParamError};
use crate::runner::Intake;

/// The methods that a webhook may be called with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookMethod {
    /// What nearly all senders use.
    Post,
    /// Some senders' way.
    Put,
    /// Handshakes, mostly.
    Get,
    /// The handshake of CloudEvents.
    Options,
}

impl HookMethod {
    /// The method of this name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Post, Self::Put, Self::Get, Self::Options].into_iter().find(|method| method.name() == name)
    }

    /// Its name in HTTP.
    pub fn name(self) -> &'static str {
        match self {
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Get => "GET",
            Self::Options => "OPTIONS",
        }
    }
}

/// Where a feed's requests arrive (design.md, "What is pinned").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookPath {
    /// `/hooks/{namespace}/{trigger}`.
    Plain,
    /// `/hooks/github/{namespace}/{trigger}`.
    Github,
}

impl HookPath {
    /// What the path begins with.
    pub fn base(self) -> &'static str {
        match self {
            Self::Plain => "/hooks",
            Self::Github => "/hooks/github",
        }
    }
}

/// A trigger's webhook, as the server that is called has to know it before it reads a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookTarget {
    /// The trigger.
    pub trigger: QualifiedName,
    /// Its feed, for metrics: `github/webhook`.
    pub feed: String,
    /// The methods that it is called with.
    pub methods: Vec<HookMethod>,
    /// The largest body, in bytes.
    pub body_bytes_max: usize,
}

/// A request that was taken: its events are durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookTaken {
    /// Events that are new.
    pub accepted: u64,
    /// Events that were recognised and dropped.
    pub duplicates: u64,
    /// What the sender is answered.
    pub answer: HookAnswer,
}

/// A request to a webhook.
#[derive(Clone, Debug)]
pub struct HookRequest {
    /// How it came.
    pub method: HookMethod,
    /// The query's pairs, decoded.
    pub query: Vec<(String, String)>,
    /// Headers, names in lower case; of a repeated one the last value.
    pub headers: Vec<(String, String)>,
    /// The body's bytes as they came.
    pub body: Bytes,
    /// When it came.
    pub received: Timestamp,
}

impl HookRequest {
    /// The value of the header `name` (in any case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .rev()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The value of the query's parameter `name`.
    pub fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The media type of the body, in lower case and without its parameters; empty where none is told.
    pub fn media_type(&self) -> String {
        let value = self.header("content-type").unwrap_or_default();
        value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
    }
}

/// What a provider makes of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookOutcome {
    /// The events that it holds; none for a handshake or for what a filter leaves out.
    pub events: Vec<FeedEvent>,
    /// What the sender hears once these are durable.
    pub answer: HookAnswer,
}

impl HookOutcome {
    /// These events, with the hub's own answer.
    pub fn events(events: Vec<FeedEvent>) -> Self {
        Self { events, answer: HookAnswer::Accepted }
    }

    /// Nothing to fire for, and why.
    pub fn ignored(why: &'static str) -> Self {
        Self { events: Vec::new(), answer: HookAnswer::Ignored(why) }
    }

    /// The answer to a handshake.
    pub fn document(document: HookDocument) -> Self {
        Self { events: Vec::new(), answer: HookAnswer::Document(document) }
    }
}

/// What a sender is answered: always a success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HookAnswer {
    /// How many events were accepted and how many recognised, in the hub's own form.
    Accepted,
    /// That nothing is fired, and why.
    Ignored(&'static str),
    /// What the sender's own protocol asks for.
    Document(HookDocument),
}

/// An answer in a sender's own form.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HookDocument {
    /// Its type; no body where there is none.
    pub content_type: Option<&'static str>,
    /// Its body.
    pub body: String,
    /// Further headers.
    pub headers: Vec<(&'static str, String)>,
}

/// Why a webhook's request is not taken. Each reason is one label of a metric and one HTTP status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookReason {
    /// No signature or token, though one is asked for.
    Unsigned,
    /// The signature or token is wrong.
    Signature,
    /// It was signed too long ago, or ahead of time.
    Timestamp,
    /// The body or a header cannot be read.
    Malformed,
    /// The delivery's id is missing or unusable.
    Id,
    /// The method is not one that the hook is called with.
    Method,
    /// The body's type is not one that the hook takes.
    ContentType,
    /// The body, or what is in it, is too large.
    TooLarge,
    /// The body did not come in time.
    Slow,
    /// No such hook, or its feed has ended.
    NotFound,
    /// The feed is paused.
    Paused,
    /// The hub has no room now.
    Busy,
    /// A fault of the hub.
    Fault,
}

impl HookReason {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Unsigned,
        Self::Signature,
        Self::Timestamp,
        Self::Malformed,
        Self::Id,
        Self::Method,
        Self::ContentType,
        Self::TooLarge,
        Self::Slow,
        Self::NotFound,
        Self::Paused,
        Self::Busy,
        Self::Fault,
    ];

    /// Its name in the metric.
    pub fn label(self) -> &'static str {
        match self {
            Self::Unsigned => "unsigned",
            Self::Signature => "signature",
            Self::Timestamp => "timestamp",
            Self::Malformed => "malformed",
            Self::Id => "id",
            Self::Method => "method",
            Self::ContentType => "content_type",
            Self::TooLarge => "too_large",
            Self::Slow => "slow",
            Self::NotFound => "not_found",
            Self::Paused => "paused",
            Self::Busy => "busy",
            Self::Fault => "fault",
        }
    }
}

/// A refusal. Its text goes to the sender, who may be anybody: it holds nothing of the secret or of other requests.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct HookError {
    /// Why.
    pub reason: HookReason,
    /// Why, in words: what is wrong and what was expected.
    pub text: String,
    /// When to try again, where that helps.
    pub retry_after: Option<Duration>,
}

impl HookError {
    /// A refusal for `reason`.
    pub fn new(reason: HookReason, text: impl Into<String>) -> Self {
        Self { reason, text: text.into(), retry_after: None }
    }

    /// The same, worth another try after a while.
    pub fn after(self, retry_after: Duration) -> Self {
        Self { retry_after: Some(retry_after), ..self }
    }
}

/// A provider of webhooks: maps a request to events, without I/O.
pub trait HookProvider: Send + Sync + 'static {
    /// The user's parameters.
    type Params: DeserializeOwned + JsonSchema + Send + Sync + 'static;

    /// The feed's action in `/whisk.system`: package and name.
    fn action(&self) -> (&'static str, &'static str);

    /// Where its requests arrive.
    fn path(&self) -> HookPath {
        HookPath::Plain
    }

    /// Checks what types cannot say.
    fn check(&self, params: &Self::Params, now: Timestamp) -> Result<(), ParamError>;

    /// Whether the feed signs with a secret that the hub makes where the user gives none.
    fn makes_secret(&self) -> bool {
        false
    }

    /// The methods that it is called with; others are refused before their body is read.
    fn methods(&self, _params: &Self::Params) -> Vec<HookMethod> {
        vec![HookMethod::Post]
    }

    /// Verifies a request and gives the events that it holds.
    fn on_hook(
        &self,
        params: &Self::Params,
        request: &HookRequest,
        event_bytes_max: usize,
    ) -> Result<HookOutcome, HookError>;
}

/// A webhook whose remote side has an API: there the hook is made and mended, and asked what the hub has missed.
pub trait HookKeeper: HookProvider {
    /// The remote side.
    type Remote: HookRemote;

    /// The remote side that `params` name; `None` where the user makes the hook there by hand.
    fn remote(&self, params: &Self::Params, context: &FeedContext)
    -> Result<Option<Self::Remote>, FeedError>;

    /// What names the hook's place at the remote side; a change of it means that the old place is to forget the hook.
    fn keeps(&self, params: &Self::Params) -> Option<String>;
}

/// The remote side of a [`HookKeeper`], as one feed sees it.
#[async_trait]
pub trait HookRemote: Send + Sync + 'static {
    /// How far the remote side has been swept. It is written with each sweep, so it must be small.
    type Cursor: Serialize + DeserializeOwned + Clone + Send + Sync + 'static;

    /// Has the remote side call the hook as the parameters say: made where it is missing, changed where it differs.
    async fn register(&self) -> Result<(), FeedError>;

    /// Ends that. A hook that is not there is no error.
    async fn unregister(&self) -> Result<(), FeedError>;

    /// Looks for what the hub has missed since `cursor`, and has it come.
    async fn sweep(&self, cursor: Option<Self::Cursor>) -> Result<Sweep<Self::Cursor>, FeedError>;
}

/// What a sweep found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sweep<C> {
    /// Events that the remote side gave at once. One that sends them again instead (GitHub) gives none here.
    pub events: Vec<FeedEvent>,
    /// What will not come, with why.
    pub refused: Vec<String>,
    /// How far the remote side has been swept with this.
    pub cursor: C,
    /// When to sweep again.
    pub again_in: Duration,
}

/// What feeds of webhooks may know of the hub.
#[derive(Clone, Default)]
pub struct HookContext {
    /// The address that the remote side has to call; none where the hub does not know how it is reached from outside.
    pub url: Option<String>,
    /// Which of its events the hub has.
    pub known: Known,
    /// Held while the hook is registered: parameters that are being replaced do not come after those that replace them.
    pub turn: Turn,
}

/// See [`HookContext::turn`].
pub type Turn = Arc<tokio::sync::Mutex<()>>;

/// Tells which events of a feed the hub has stored.
#[derive(Clone, Default)]
pub struct Known(Option<(Arc<dyn Intake>, FeedId)>);

impl Known {
    pub(crate) fn of(intake: Arc<dyn Intake>, feed: FeedId) -> Self {
        Self(Some((intake, feed)))
    }

    /// For each key, whether an event of it was stored. Keys are forgotten after a stated age and count: then the answer
    /// is no.
    pub async fn stored(&self, keys: &[EventKey]) -> Result<Vec<bool>, FeedError> {
        match &self.0 {
            None => Ok(vec![false; keys.len()]),
            Some((intake, feed)) => intake
                .known(*feed, keys)
                .await
                .map_err(|error| FeedError::Unavailable(format!("the hub's own store: {error}"))),
        }
    }
}

/// Requests for unit tests.
#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    /// A POST of `body`, received at 1970-01-01.
    pub(crate) fn request(body: &str, headers: &[(&str, &str)]) -> HookRequest {
        HookRequest {
            method: HookMethod::Post,
            query: Vec::new(),
            headers: headers
                .iter()
                .map(|(name, value)| (name.to_ascii_lowercase(), (*value).to_owned()))
                .collect(),
            body: Bytes::copy_from_slice(body.as_bytes()),
            received: Timestamp::from_millis(0),
        }
    }

    /// A request with a query and nothing else.
    pub(crate) fn with_query(method: HookMethod, query: &[(&str, &str)]) -> HookRequest {
        let query = query.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        HookRequest { method, query, ..request("", &[]) }
    }
}
