//! The seam between the REST API and the hub: all that a handler asks of the machinery behind it.
//!
//! Handlers validate, authorise and render; a [`Backend`] makes work durable, runs it and knows how the hub is. What
//! is returned as `Ok` is durable (invariant 1).

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::broadcast;
use triggerfish_feeds::hook::{HookError, HookPath, HookRequest, HookTaken, HookTarget};
use triggerfish_model::{
    Activation, ActivationId, Clock, FeedStatus, Json, JsonObject, Namespace, QualifiedName, Rule,
    Subscription,
};
use triggerfish_store::{ActivationStore, DeadLetterStore, EntityStore, Identity, StoreError, SubjectStore};

use crate::entities::resolve::ResolvedAction;

/// Why the hub takes no work now, or could not do it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Refusal {
    /// The namespace has its share of pending work: 429, after the wait that is worth trying.
    #[error("{why}")]
    OverShare {
        /// Who has how much of what.
        why: String,
        /// What `Retry-After` says.
        retry_after: Duration,
    },
    /// The hub takes no new work: no room on disk, or it is stopping. 503.
    #[error("{why}")]
    Unavailable {
        /// What is missing.
        why: String,
        /// What `Retry-After` says.
        retry_after: Duration,
    },
    /// The payload is larger than what the hub takes: 413.
    #[error("{0}")]
    TooLarge(String),
    /// What was asked for cannot be, and the text says why: 400.
    #[error("{0}")]
    Invalid(String),
    /// Nothing of this name: 404.
    #[error("`{0}` does not exist")]
    NotFound(QualifiedName),
    /// The hub failed: 500.
    #[error("{0}")]
    Internal(String),
}

/// How long a client should wait after a full share or disk, before it tries again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        let why = error.to_string();
        match error {
            StoreError::OverShare { .. } => Self::OverShare { why, retry_after: RETRY_AFTER },
            StoreError::DiskFull { .. } | StoreError::Unavailable(_) => {
                Self::Unavailable { why, retry_after: RETRY_AFTER }
            }
            StoreError::BadQuery(why) => Self::Invalid(why),
            StoreError::Conflict | StoreError::Corrupt(_) => Self::Internal(why),
        }
    }
}

/// An invocation that was validated and authorised.
#[derive(Clone, Debug)]
pub struct Invoke {
    /// Who invokes; the run is theirs.
    pub caller: Identity,
    /// The action as it was addressed, perhaps through a binding.
    pub action: QualifiedName,
    /// What that is now.
    pub resolved: ResolvedAction,
    /// The payload without the action's own parameters: an object.
    pub payload: Json,
    /// The request's transaction id.
    pub transaction: Arc<str>,
    /// How long the caller waits for the record; `None` does not wait.
    pub wait: Option<Duration>,
}

/// What became of an invocation.
#[derive(Clone, Debug)]
pub enum Invoked {
    /// Accepted and durable; not finished within the wait.
    Accepted(ActivationId),
    /// Finished; the record is durable.
    Finished(Arc<Activation>),
}

/// An invocation of a feed's action (contract §3.1), which the hub answers itself.
#[derive(Clone, Debug)]
pub struct FeedCall {
    /// Who calls.
    pub caller: Identity,
    /// The feed's action: `whisk.system/messaging/mqttFeed`, never a binding of it.
    pub feed: QualifiedName,
    /// The body over the parameters of package, binding and action.
    pub params: JsonObject,
    /// The request's transaction id.
    pub transaction: Arc<str>,
}

/// Whether the hub can work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Readiness {
    /// Whether it takes work.
    pub ready: bool,
    /// Its parts, each with `ok` or what is wrong.
    pub parts: Vec<(String, String)>,
}

/// What the REST API asks of the hub.
#[async_trait]
pub trait Backend: Send + Sync + 'static {
    /// The entities.
    fn entities(&self) -> &dyn EntityStore;

    /// The records.
    fn activations(&self) -> &dyn ActivationStore;

    /// What could not be processed.
    fn dead_letters(&self) -> &dyn DeadLetterStore;

    /// Who may call.
    fn subjects(&self) -> &dyn SubjectStore;

    /// The time.
    fn clock(&self) -> &dyn Clock;

    /// Fires a trigger. `None` where it has no active rule or does not exist (the API then looks which): nothing was
    /// recorded.
    async fn fire(
        &self,
        caller: &Identity,
        trigger: &QualifiedName,
        payload: JsonObject,
        transaction: Arc<str>,
    ) -> Result<Option<ActivationId>, Refusal>;

    /// Accepts an invocation, and waits for its record where the caller does.
    async fn invoke(&self, invoke: Invoke) -> Result<Invoked, Refusal>;

    /// Whether `payload` names a defined parameter of a `final` action (contract §2.1).
    fn overrides_final(&self, action: &ResolvedAction, payload: &Json) -> bool;

    /// Answers a feed's action; the record says how it went, and is durable. A secret that the call made is in this answer
    /// and not in the record.
    async fn feed_action(&self, call: FeedCall) -> Result<Arc<Activation>, Refusal>;

    /// The trigger of a feed is deleted: ends the feed, where it has one.
    async fn trigger_deleted(&self, trigger: &QualifiedName) -> Result<(), Refusal>;

    /// The feeds of a namespace's triggers, with what they are doing.
    async fn feeds(&self, namespace: &Namespace) -> Result<Vec<(Subscription, Option<FeedStatus>)>, Refusal>;

    /// The webhook of a trigger, where it takes requests now. Costs nothing: who asks is not known.
    fn hook(&self, trigger: &QualifiedName, path: HookPath) -> Result<HookTarget, HookError>;

    /// Takes a webhook's request; its events are durable then.
    async fn take_hook(
        &self,
        trigger: &QualifiedName,
        path: HookPath,
        request: HookRequest,
    ) -> Result<HookTaken, HookError>;

    /// A request to a webhook was refused; called once for each.
    fn hook_refused(&self, target: Option<&HookTarget>, error: &HookError);

    /// Replays a dead letter; the activation that it becomes, or `None` where there is no such letter.
    async fn replay(
        &self,
        namespace: &Namespace,
        letter: ActivationId,
    ) -> Result<Option<ActivationId>, Refusal>;

    /// New records, from now on.
    fn tail(&self) -> broadcast::Receiver<Arc<Activation>>;

    /// Whether a rule's conditions can be read; the text says where they cannot.
    fn compile_rule(&self, rule: &Rule) -> Result<(), String>;

    /// What the rules of `trigger` (or `rule` alone) say to a sample event, and why.
    async fn explain(
        &self,
        trigger: &QualifiedName,
        rule: Option<&QualifiedName>,
        sample: JsonObject,
    ) -> Result<Json, Refusal>;

    /// The text of `/metrics`.
    async fn metrics(&self) -> String;

    /// The state of `/health/ready`.
    async fn readiness(&self) -> Readiness;
}
