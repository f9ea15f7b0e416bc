//! A feed as it is wanted and as it is.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{ActivationId, JsonObject, QualifiedName, RecordPolicy, Subject, Timestamp};

/// The id of a subscription: one trigger's use of one feed. A trigger made anew gets a new one, so an old cursor never
/// serves a new feed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FeedId(pub ActivationId);

impl fmt::Display for FeedId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for FeedId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A feed that somebody wants: made by CREATE, changed by UPDATE, PAUSE and UNPAUSE, ended by DELETE (contract §3.1).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Subscription {
    /// The id.
    pub id: FeedId,
    /// The trigger that its events fire; a trigger has at most one feed.
    pub trigger: QualifiedName,
    /// The feed action, `whisk.system/messaging/mqttFeed`.
    pub feed: QualifiedName,
    /// The user's parameters, which may hold credentials: sealed wherever they are stored, shown only redacted.
    pub params: JsonObject,
    /// Whose rights its events act with.
    pub subject: Subject,
    /// Which events leave a record.
    pub record: RecordPolicy,
    /// Whether it is paused by its user.
    pub paused: bool,
    /// Why the hub itself stopped it for good, if it did: a stop date reached, a trigger deleted.
    pub ended: Option<String>,
    /// When it was made.
    pub created: Timestamp,
    /// When it was last changed.
    pub updated: Timestamp,
}

/// What a feed is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FeedState {
    /// Reaching for its remote side, for the first time or after a failure.
    Connecting,
    /// Emitting events as they come.
    Running,
    /// Held by its user.
    Paused,
    /// The remote side refuses or is gone; it tries again at `retry_at`.
    Failed,
    /// Done: it will emit no more.
    Ended,
}

/// What a feed is doing, for the people who watch it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FeedStatus {
    /// What it is doing.
    pub state: FeedState,
    /// Since when.
    pub since: Timestamp,
    /// Events accepted since the hub started.
    pub events: u64,
    /// Redelivered events dropped since the hub started.
    pub duplicates: u64,
    /// Events of the remote side refused since the hub started (too large, not readable).
    pub refused: u64,
    /// Events that wait at the remote side, where it says so.
    pub lag: Option<u64>,
    /// When the last event was accepted.
    pub last_event: Option<Timestamp>,
    /// The last failure, with its time; kept after recovery.
    pub last_error: Option<(Timestamp, String)>,
    /// When it tries again, while failed.
    pub retry_at: Option<Timestamp>,
}
