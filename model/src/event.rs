//! What travels: events on triggers, and the invocations that they lead to.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{
    ActivationId, FeedId, Json, JsonObject, Namespace, QualifiedName, StatusCode, Subject, Timestamp,
};

/// By what a redelivered event is recognised: `topic/partition/offset`, a delivery id, an entry's id, a tick's instant.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EventKey(Arc<str>);

impl EventKey {
    /// The longest key kept as it is, in bytes; a longer one is kept as its hash.
    const BYTES_MAX: usize = 256;

    /// The key `text`.
    pub fn new(text: &str) -> Self {
        if text.len() <= Self::BYTES_MAX {
            Self(text.into())
        } else {
            Self(format!("sha256:{}", ActivationId::derive(&[text.as_bytes()])).into())
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for EventKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where an event came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Source {
    /// A fire through the API.
    Api,
    /// A feed.
    Feed(FeedId),
}

/// Which events of a feed leave a trigger record (design.md, invariant 2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RecordPolicy {
    /// Those that at least one rule matched.
    #[default]
    Matched,
    /// All.
    All,
}

/// One firing of a trigger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// The id of the trigger's activation.
    pub id: ActivationId,
    /// The trigger.
    pub trigger: QualifiedName,
    /// Whose rights it acts with.
    pub subject: Subject,
    /// Where it came from.
    pub source: Source,
    /// By what a redelivery is recognised, where the source gives such a thing.
    pub key: Option<EventKey>,
    /// What was fired, without the trigger's own parameters.
    pub payload: JsonObject,
    /// When the hub received it.
    pub received: Timestamp,
}

/// Who is behind an invocation, beside its namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Invoker {
    /// A call of the API.
    Api,
    /// A rule that matched an event.
    Rule {
        /// The trigger.
        trigger: QualifiedName,
        /// The rule.
        rule: QualifiedName,
        /// The trigger's activation.
        event: ActivationId,
    },
}

/// An accepted demand to run an action once. It is pending, on disk, until its record is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invocation {
    /// The id of its activation; a later attempt ([`Retrying`]) has one of its own, which follows from it.
    pub id: ActivationId,
    /// The namespace that it runs for, and whose containers it uses.
    pub namespace: Namespace,
    /// Whose rights it acts with.
    pub subject: Subject,
    /// The action as it was addressed (perhaps through a binding). It is looked up when the run starts.
    pub action: QualifiedName,
    /// Who is behind it.
    pub invoker: Invoker,
    /// The payload, without the action's own parameters.
    pub payload: Json,
    /// When it was accepted.
    pub accepted: Timestamp,
    /// The request's transaction id, as the container gets it.
    pub transaction: Arc<str>,
    /// How far it has come.
    pub progress: Progress,
    /// Whether it is tried again when it fails. Not part of its stored form: a store writes it behind that.
    #[serde(skip)]
    pub retry: Option<Retrying>,
}

impl Invocation {
    /// The id of the present attempt's activation: of the first one the invocation's own (design.md, invariant 4).
    pub fn attempt_id(&self) -> ActivationId {
        match self.retry.as_ref().map_or(0, |retry| retry.attempt) {
            0 => self.id,
            attempt => self.id.child(format!("attempt {attempt}").as_bytes()),
        }
    }

    /// When it may start, where that is not at once.
    pub fn due(&self) -> Option<Timestamp> {
        self.retry.as_ref().and_then(|retry| retry.due)
    }
}

/// A rule's way of trying again what failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retry {
    /// How often it is tried in all.
    pub attempts: u32,
    /// The longest wait before the second attempt, in milliseconds; it doubles with each further one.
    pub backoff_ms: u64,
    /// The longest of all waits, in milliseconds.
    pub max_ms: u64,
    /// The outcomes after which it is tried again.
    pub on: Vec<StatusCode>,
}

/// How far the attempts of an invocation have come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retrying {
    /// As the rule said when it matched: changes of the rule concern later events.
    pub policy: Retry,
    /// The present attempt, from 0.
    pub attempt: u32,
    /// When it may start; `None` for the first one.
    pub due: Option<Timestamp>,
    /// How often the whole was replayed as a dead letter.
    pub replays: u32,
}

/// How far an invocation has come; what a restarted hub goes on from (invariant 5).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// How often a run, or the present step of it, was started without completing.
    pub interrupted: u32,
    /// The state of a sequence's machine after its last durable step, as rules-engine writes it.
    pub sequence: Option<Json>,
}
