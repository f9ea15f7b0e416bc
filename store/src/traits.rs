//! The seams: what the hub asks of a store, whatever engine is behind it.
//!
//! Every `Ok` of a write means that it is on disk (invariant 1). Every write is idempotent by the ids in it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;
use triggerfish_model::{
    Activation, ActivationId, Collection, DeadLetter, Entity, Event, EventKey, FeedId, Invocation, Json,
    Name, Namespace, Progress, QualifiedName, Retrying, Revision, SeqNum, Subject, Subscription, Timestamp,
};

/// What a store can answer instead of a result.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The entity is not at the revision that the caller expected, or exists where it must not.
    #[error("the entity was changed by somebody else")]
    Conflict,
    /// A namespace or feed has as much pending work as it may.
    #[error("{who} has {pending} pending {unit}, and its share is {share}")]
    OverShare {
        /// Which namespace or feed.
        who: String,
        /// How much is pending.
        pending: u64,
        /// Of what: `events`, `bytes`.
        unit: &'static str,
        /// How much may be.
        share: u64,
    },
    /// Less disk is free than the reserve; new work is refused until there is room.
    #[error(
        "only {free_mb} MB are free at `{path}`, and {reserve_mb} MB are kept in reserve: make room, and the hub goes on by itself"
    )]
    DiskFull {
        /// The data directory.
        path: String,
        /// Free space, MB.
        free_mb: u64,
        /// The reserve, MB.
        reserve_mb: u64,
    },
    /// A query that cannot be read; the text says where and what was expected.
    #[error("{0}")]
    BadQuery(String),
    /// The engine failed; the text is its own.
    #[error("the store cannot do it now: {0}")]
    Unavailable(String),
    /// Stored bytes cannot be read.
    #[error("stored data cannot be read: {0}")]
    Corrupt(String),
}

/// What a store answers.
pub type Result<T> = std::result::Result<T, StoreError>;

// ---- the event log

/// One decided event: what was received, and all that follows from it.
#[derive(Clone, Debug)]
pub struct Decided {
    /// The event.
    pub event: Event,
    /// The trigger's record, where the event leaves one.
    pub record: Option<Arc<Activation>>,
    /// What the matching rules start.
    pub invocations: Vec<Invocation>,
}

/// Events that arrived together, written in one step with the cursor that they move.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// The events.
    pub events: Vec<Decided>,
    /// Where the feed goes on after them, for a feed's batch (invariant 3). A batch may be a cursor alone.
    pub cursor: Option<(FeedId, Json)>,
    /// What the feed could make no events of (invariant 8).
    pub dead_letters: Vec<DeadLetter>,
    /// A dead letter that the events stand for: it is taken out, or, where it is not there any more, nothing is written.
    pub revived: Option<(Namespace, ActivationId)>,
}

/// What became of one event of a [`Batch`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Appended {
    /// Written. The invocations are pending, in this order.
    Accepted {
        /// The event's place.
        seq: SeqNum,
        /// The places of its invocations.
        pending: Vec<Pending>,
    },
    /// An event of the same source and key was accepted before; nothing was written.
    Duplicate,
}

/// A pending invocation's place: pending work is kept per action, in order (invariant 6).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Pending {
    /// The action as it was addressed.
    pub action: QualifiedName,
    /// The place within it.
    pub seq: SeqNum,
}

/// Whether somebody waits for a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Haste {
    /// It is synced at once.
    Now,
    /// It may wait some milliseconds for others, to share their sync.
    Gathered,
}

/// What ends an invocation.
#[derive(Clone, Debug)]
pub struct Completion {
    /// Its last records.
    pub records: Vec<Arc<Activation>>,
    /// What is kept of it, where it failed as often as it may.
    pub dead_letter: Option<DeadLetter>,
    /// Whether somebody waits for it.
    pub haste: Haste,
}

/// How full the log is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LogStatus {
    /// Invocations not yet completed.
    pub pending: u64,
    /// Their payloads' bytes.
    pub pending_bytes: u64,
    /// Events kept for replay.
    pub events: u64,
    /// Syncs to disk since the log was opened.
    pub syncs: u64,
    /// Batches of callers that those syncs carried.
    pub commits: u64,
    /// Bytes free on the file system.
    pub disk_free_bytes: u64,
}

/// The durable, ordered log of accepted work.
#[async_trait]
pub trait EventLog: Send + Sync + 'static {
    /// Writes a batch, its cursor, records and invocations in one atomic step. Of two events with the same feed and
    /// key the first counts, also within one batch.
    async fn append(&self, batch: Batch) -> Result<Vec<Appended>>;

    /// Whether an invocation of a namespace would be taken now: what [`EventLog::invoke`] would refuse it with. Writes
    /// nothing.
    fn admits(&self, namespace: &Namespace) -> Result<()>;

    /// Writes an invocation that came through the API: it is its own event.
    async fn invoke(&self, invocation: Invocation) -> Result<Pending>;

    /// Notes that a run is being started. Nobody waits for this write, and it does not cost a sync: it outlives the hub,
    /// and may be lost with a crash of the machine.
    fn started(&self, pending: &Pending, interrupted: u32);

    /// Writes records that came before the end (a sequence's components), with how far the invocation has come.
    async fn advance(
        &self,
        pending: &Pending,
        progress: Progress,
        records: Vec<Arc<Activation>>,
    ) -> Result<()>;

    /// Writes the records of an attempt that failed, with when the next one may start.
    async fn retry(&self, pending: &Pending, retrying: Retrying, records: Vec<Arc<Activation>>)
    -> Result<()>;

    /// Writes what ends an invocation and takes it off the pending ones, in one atomic step.
    async fn complete(&self, pending: &Pending, completion: Completion) -> Result<()>;

    /// Takes a dead letter out and puts an invocation in its place, in one atomic step; `None` where it is not there any
    /// more: somebody else was quicker.
    async fn revive(&self, letter: ActivationId, invocation: Invocation) -> Result<Option<Pending>>;

    /// Pending invocations of one action after a place, in order, at most `limit`. `started` of a stored invocation
    /// counts as an interruption only when read by a hub that did not start it.
    async fn pending(
        &self,
        action: &QualifiedName,
        after: Option<SeqNum>,
        limit: usize,
    ) -> Result<Vec<(Pending, Invocation)>>;

    /// The actions that have pending invocations, with how many.
    async fn pending_actions(&self) -> Result<Vec<(QualifiedName, u64)>>;

    /// Events kept for replay, from a place on, in order, at most `limit`; of one trigger where one is named.
    async fn events(
        &self,
        trigger: Option<&QualifiedName>,
        from: SeqNum,
        limit: usize,
    ) -> Result<Vec<(SeqNum, Event)>>;

    /// Where a feed goes on.
    async fn cursor(&self, feed: FeedId) -> Result<Option<Json>>;

    /// For each key, whether an event of the feed was accepted under it and is still remembered.
    async fn known(&self, feed: FeedId, keys: &[EventKey]) -> Result<Vec<bool>>;

    /// Forgets a feed's cursor and keys; it is gone.
    async fn forget_feed(&self, feed: FeedId) -> Result<()>;

    /// Drops events, keys and records older than their retention. Answers how many rows went.
    async fn truncate(&self, now: Timestamp) -> Result<u64>;

    /// How full the log is.
    async fn status(&self) -> Result<LogStatus>;
}

// ---- dead letters

/// Which dead letters.
#[derive(Clone, Debug)]
pub struct DeadLetterQuery {
    /// Whose.
    pub namespace: Namespace,
    /// Of this trigger or action alone.
    pub of: Option<QualifiedName>,
    /// How many to leave out first.
    pub skip: usize,
    /// How many at most.
    pub limit: usize,
}

/// What could not be processed. The event log writes them, with what they are part of.
#[async_trait]
pub trait DeadLetterStore: Send + Sync + 'static {
    /// Dead letters, latest first.
    async fn dead_letters(&self, query: &DeadLetterQuery) -> Result<Vec<DeadLetter>>;

    /// One dead letter.
    async fn dead_letter(&self, namespace: &Namespace, id: ActivationId) -> Result<Option<DeadLetter>>;

    /// Takes a dead letter out for good; whether it was there.
    async fn discard(&self, namespace: &Namespace, id: ActivationId) -> Result<bool>;
}

// ---- entities

/// An entity with the revision that it is at.
#[derive(Clone, Debug, PartialEq)]
pub struct Versioned {
    /// The revision.
    pub revision: Revision,
    /// The entity.
    pub entity: Arc<Entity>,
}

/// What must hold for a write to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precondition {
    /// Nothing has this name.
    Absent,
    /// The entity is at this revision.
    Matches(Revision),
}

/// A change of an entity, as watchers hear of it. A hint: whoever lags reads again.
#[derive(Clone, Debug)]
pub struct Change {
    /// Which entity.
    pub id: QualifiedName,
    /// What it is now; absent where it was deleted.
    pub now: Option<Versioned>,
}

/// Which entities of a namespace to list.
#[derive(Clone, Debug)]
pub struct EntityQuery {
    /// The namespace.
    pub namespace: Namespace,
    /// The collection.
    pub collection: Collection,
    /// Only those directly in this package; `None` is all, in packages or not.
    pub package: Option<Name>,
    /// How many to leave out, newest first.
    pub skip: usize,
    /// How many at most; 0 is all.
    pub limit: usize,
}

/// Packages, actions, triggers and rules. Writes are compare-and-set.
#[async_trait]
pub trait EntityStore: Send + Sync + 'static {
    /// The entity of this name, whatever collection it is in.
    async fn get(&self, id: &QualifiedName) -> Result<Option<Versioned>>;

    /// Writes an entity; [`StoreError::Conflict`] where `when` does not hold.
    async fn put(&self, entity: Entity, when: Precondition) -> Result<Revision>;

    /// Deletes an entity; [`StoreError::Conflict`] where it is not at this revision.
    async fn delete(&self, id: &QualifiedName, revision: Revision) -> Result<()>;

    /// Entities, last updated first.
    async fn list(&self, query: &EntityQuery) -> Result<Vec<Versioned>>;

    /// How many there are, ignoring `skip` and `limit`.
    async fn count(&self, query: &EntityQuery) -> Result<usize>;

    /// Every entity of every namespace; for the hub's cache at start.
    async fn all(&self) -> Result<Vec<Versioned>>;

    /// Changes from now on.
    fn changes(&self) -> broadcast::Receiver<Change>;
}

// ---- activation records

/// Which records to list or count (contract §1.8).
#[derive(Clone, Debug)]
pub struct ActivationQuery {
    /// The namespace.
    pub namespace: Namespace,
    /// `name` or `package/name` of what ran.
    pub name: Option<String>,
    /// Started at this moment or later.
    pub since: Option<Timestamp>,
    /// Started at this moment or earlier.
    pub upto: Option<Timestamp>,
    /// How many to leave out, newest first.
    pub skip: usize,
    /// How many at most.
    pub limit: usize,
}

/// A search over records (design.md, "Search").
#[derive(Clone, Debug, Default)]
pub struct SearchQuery {
    /// Lucene-style query string (`store/src/search/parser.rs` has its syntax); absent or blank matches all.
    pub q: Option<String>,
    /// Started at this moment or later.
    pub since: Option<Timestamp>,
    /// Started at this moment or earlier.
    pub upto: Option<Timestamp>,
    /// `field:asc` or `field:desc`; `start:desc` where absent, then by id.
    pub sort: Option<String>,
    /// How many hits at most.
    pub limit: usize,
    /// Where the page before ended.
    pub cursor: Option<String>,
    /// Aggregations wanted, in Elasticsearch's form.
    pub aggs: Option<Json>,
}

/// One hit of a search.
#[derive(Clone, Debug)]
pub struct Hit {
    /// The record.
    pub activation: Arc<Activation>,
    /// Log lines with the matching words in `<em>`; empty where no word was searched for. Safe HTML: `&`, `<`, `>`,
    /// `"` and `'` of the line are written as references.
    pub highlight: Vec<String>,
}

/// What a search found.
#[derive(Clone, Debug, Default)]
pub struct SearchPage {
    /// How many records match in all.
    pub total: u64,
    /// How long it took.
    pub took: Duration,
    /// The page.
    pub hits: Vec<Hit>,
    /// The aggregations, where some were asked for.
    pub aggregations: Option<Json>,
    /// Where the next page goes on; absent on the last one.
    pub cursor: Option<String>,
}

/// Whether a record matches a query; made once, asked for each new record.
pub trait RecordFilter: Send + Sync {
    /// Whether it matches.
    fn matches(&self, activation: &Activation) -> bool;
}

/// The records of what ran. A record never changes (invariant 7).
#[async_trait]
pub trait ActivationStore: Send + Sync + 'static {
    /// Writes records; one that is there already stays as it is.
    async fn put(&self, records: Vec<Arc<Activation>>) -> Result<()>;

    /// One record, at once after it was written.
    async fn get(&self, namespace: &Namespace, id: ActivationId) -> Result<Option<Arc<Activation>>>;

    /// Records, last started first.
    async fn list(&self, query: &ActivationQuery) -> Result<Vec<Arc<Activation>>>;

    /// How many match, ignoring `skip` and `limit`.
    async fn count(&self, query: &ActivationQuery) -> Result<usize>;

    /// Searches; may lag behind the writes by up to a second.
    async fn search(&self, namespace: &Namespace, query: &SearchQuery) -> Result<SearchPage>;

    /// A filter of the same query language as [`ActivationStore::search`], for records as they come.
    fn filter(&self, q: &str) -> Result<Box<dyn RecordFilter>>;
}

// ---- subjects and feeds

/// A key's owner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Who it is.
    pub subject: Subject,
    /// The namespace that the key opens.
    pub namespace: Namespace,
    /// The namespace's uuid: the user name of Basic authentication.
    pub uuid: String,
}

/// Who may call. Keys are kept sealed and looked up by HMAC; no comparison takes longer for a better guess.
#[async_trait]
pub trait SubjectStore: Send + Sync + 'static {
    /// Whose key this is.
    async fn authenticate(&self, uuid: &str, key: &str) -> Result<Option<Identity>>;

    /// Makes or replaces the key of a namespace.
    async fn put(&self, identity: Identity, key: &str) -> Result<()>;

    /// The identity of a namespace, with its key in clear: for an action that is given its own API key, for a feed
    /// that has to name it, and for `triggerfish admin`.
    async fn reveal(&self, namespace: &Namespace) -> Result<Option<(Identity, String)>>;

    /// Every identity there is, without keys.
    async fn identities(&self) -> Result<Vec<Identity>>;
}

/// Which feeds are wanted. Parameters are sealed on disk.
#[async_trait]
pub trait FeedStore: Send + Sync + 'static {
    /// Writes a subscription, replacing one of the same id.
    async fn put(&self, subscription: Subscription) -> Result<()>;

    /// The subscription of a trigger.
    async fn of_trigger(&self, trigger: &QualifiedName) -> Result<Option<Subscription>>;

    /// Takes a subscription out.
    async fn delete(&self, id: FeedId) -> Result<()>;

    /// All of them.
    async fn all(&self) -> Result<Vec<Subscription>>;
}
