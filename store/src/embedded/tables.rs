//! The tables of the embedded store: fjall keyspaces, their keys and the encoding of their values.
//!
//! Values begin with a format byte. Integers in keys are big-endian, so that they sort as numbers.

use std::path::Path;

use fjall::{Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch as WriteBatch, PersistMode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use triggerfish_model::{Activation, ActivationId, FeedId, Invocation, Namespace, QualifiedName, SeqNum};

use crate::{Pending, Result, StoreError};

/// The format that is written; every format up to this one is read.
const FORMAT: u8 = 1;
/// Memory for cached blocks. Most reads are of what was just written, and come from the memtables.
const CACHE_BYTES: u64 = 16 << 20;
/// Memory of one table's memtable before it is written out.
const MEMTABLE_BYTES: u64 = 8 << 20;
/// Bytes of journal before tables that hold it up are written out.
const JOURNAL_BYTES_MAX: u64 = 256 << 20;

/// The open database.
pub(super) struct Tables {
    pub(super) db: Database,
    /// Small facts: the number of the last batch.
    pub(super) meta: Keyspace,
    /// Place → event, for replay.
    pub(super) events: Keyspace,
    /// Feed, key → place and time.
    pub(super) keys: Keyspace,
    /// Feed, place → key, so that the oldest keys go first.
    pub(super) key_order: Keyspace,
    /// Feed → cursor.
    pub(super) cursors: Keyspace,
    /// Action, place → pending invocation.
    pub(super) pending: Keyspace,
    /// Action, place → how often it was started.
    pub(super) started: Keyspace,
    /// Number → record.
    pub(super) records: Keyspace,
    /// Id → number.
    pub(super) record_ids: Keyspace,
    /// Namespace, start (latest first), id → number.
    pub(super) record_times: Keyspace,
    /// Namespace, name, start (latest first), id → number.
    pub(super) record_names: Keyspace,
    /// Place → dead letter.
    pub(super) dead_letters: Keyspace,
    /// Namespace, id → place of a dead letter.
    pub(super) dead_letter_ids: Keyspace,
    /// Namespace, place (latest first) of a dead letter.
    pub(super) dead_letter_order: Keyspace,
    /// Name → entity.
    pub(super) entities: Keyspace,
    /// HMAC of a key → sealed identity and key.
    pub(super) subjects: Keyspace,
    /// Feed → subscription, its parameters sealed.
    pub(super) subscriptions: Keyspace,
}

impl Tables {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let db = Database::builder(path)
            .cache_size(CACHE_BYTES)
            .max_journaling_size(JOURNAL_BYTES_MAX)
            .worker_threads(1)
            .open()
            .map_err(engine)?;
        let table = |name: &str| {
            db.keyspace(name, || KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE_BYTES))
                .map_err(engine)
        };
        Ok(Self {
            meta: table("meta")?,
            events: table("events")?,
            keys: table("keys")?,
            key_order: table("key_order")?,
            cursors: table("cursors")?,
            pending: table("pending")?,
            started: table("started")?,
            records: table("records")?,
            record_ids: table("record_ids")?,
            record_times: table("record_times")?,
            record_names: table("record_names")?,
            dead_letters: table("dead_letters")?,
            dead_letter_ids: table("dead_letter_ids")?,
            dead_letter_order: table("dead_letter_order")?,
            entities: table("entities")?,
            subjects: table("subjects")?,
            subscriptions: table("subscriptions")?,
            db,
        })
    }

    /// A batch, and how far it has come when its commit returns.
    pub(super) fn batch(&self, durability: PersistMode) -> WriteBatch {
        self.db.batch().durability(Some(durability))
    }

    /// The record of this number.
    pub(super) fn record(&self, number: u64) -> Result<Option<Activation>> {
        self.records.get(number.to_be_bytes()).map_err(engine)?.map(|bytes| decode(&bytes)).transpose()
    }

    /// The number of the record of this id.
    pub(super) fn record_number(&self, id: ActivationId) -> Result<Option<u64>> {
        Ok(self.record_ids.get(id.as_bytes()).map_err(engine)?.map(|bytes| number(&bytes)))
    }
}

/// The engine's failure as the seam tells it.
pub(super) fn engine(error: fjall::Error) -> StoreError {
    StoreError::Unavailable(match error {
        fjall::Error::Io(error) => error.to_string(),
        fjall::Error::Poisoned => "an earlier write to disk failed, in the background".into(),
        other => other.to_string(),
    })
}

/// A value's bytes: the format, then postcard.
pub(super) fn encode(value: &impl Serialize) -> Result<Vec<u8>> {
    postcard::to_extend(value, vec![FORMAT])
        .map_err(|error| StoreError::Corrupt(format!("a value cannot be encoded: {error}")))
}

/// The value of these bytes.
pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    decode_first(bytes).map(|(value, _)| value)
}

/// The value that these bytes begin with, and the bytes behind it.
fn decode_first<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, &[u8])> {
    match bytes.split_first() {
        Some((&FORMAT, rest)) => postcard::take_from_bytes(rest)
            .map_err(|error| StoreError::Corrupt(format!("a value of {} bytes: {error}", bytes.len()))),
        Some((format, _)) => Err(StoreError::Corrupt(format!(
            "a value of format {format}, and this version reads up to {FORMAT}: it was written by a newer hub"
        ))),
        None => Err(StoreError::Corrupt("an empty value".into())),
    }
}

/// A number from its eight bytes; 0 where there are fewer.
pub(super) fn number(bytes: &[u8]) -> u64 {
    bytes.first_chunk().map_or(0, |chunk| u64::from_be_bytes(*chunk))
}

/// A pending invocation as it is stored: whose share it counts against, and what it is.
#[derive(serde::Serialize, serde::Deserialize)]
pub(super) struct PendingRow {
    pub(super) feed: Option<FeedId>,
    pub(super) invocation: Invocation,
}

impl PendingRow {
    /// The row's bytes: the attempts stand behind the rest, where there may be several.
    pub(super) fn encode(&self) -> Result<Vec<u8>> {
        let bytes = encode(self)?;
        match &self.invocation.retry {
            None => Ok(bytes),
            Some(retry) => postcard::to_extend(retry, bytes)
                .map_err(|error| StoreError::Corrupt(format!("a value cannot be encoded: {error}"))),
        }
    }

    /// The row of these bytes.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self> {
        let (mut row, rest) = decode_first::<Self>(bytes)?;
        if !rest.is_empty() {
            let retry = postcard::from_bytes(rest)
                .map_err(|error| StoreError::Corrupt(format!("a pending invocation's attempts: {error}")))?;
            row.invocation.retry = Some(retry);
        }
        Ok(row)
    }
}

/// What all pending keys of an action begin with.
pub(super) fn pending_prefix(action: &QualifiedName) -> Vec<u8> {
    // No name has a NUL.
    let mut key = action.to_string().into_bytes();
    key.push(0);
    key
}

pub(super) fn pending_key(pending: &Pending) -> Vec<u8> {
    let mut key = pending_prefix(&pending.action);
    key.extend(pending.seq.0.to_be_bytes());
    key
}

/// The place that a pending key names.
pub(super) fn pending_of(key: &[u8]) -> Result<Pending> {
    let corrupt = || StoreError::Corrupt("a pending key".into());
    let (rest, seq) = key.split_last_chunk::<8>().ok_or_else(corrupt)?;
    let action =
        rest.strip_suffix(&[0]).and_then(|name| std::str::from_utf8(name).ok()).ok_or_else(corrupt)?;
    Ok(Pending { action: action.parse().map_err(|_| corrupt())?, seq: SeqNum(u64::from_be_bytes(*seq)) })
}

pub(super) fn event_key(feed: FeedId, key: &str) -> Vec<u8> {
    [feed.0.as_bytes().as_slice(), key.as_bytes()].concat()
}

/// A start time so that the latest sorts first.
fn latest_first(millis: i64) -> [u8; 8] {
    let ascending = (millis as u64) ^ (1 << 63);
    (!ascending).to_be_bytes()
}

/// What all keys of a namespace's records, or dead letters, begin with.
pub(super) fn times_prefix(namespace: &Namespace) -> Vec<u8> {
    let mut key = namespace.as_str().as_bytes().to_vec();
    key.push(0);
    key
}

/// What all keys of the records of one name begin with.
pub(super) fn names_prefix(namespace: &Namespace, name: &str) -> Vec<u8> {
    let mut key = times_prefix(namespace);
    key.extend(name.as_bytes());
    key.push(0);
    key
}

/// The place of a start time after a prefix.
pub(super) fn at_time(mut prefix: Vec<u8>, millis: i64) -> Vec<u8> {
    prefix.extend(latest_first(millis));
    prefix
}

/// The key of a dead letter among those of its namespace, by id.
pub(super) fn dead_letter_id_key(namespace: &Namespace, id: ActivationId) -> Vec<u8> {
    let mut key = times_prefix(namespace);
    key.extend(id.as_bytes());
    key
}

/// The key of a dead letter among those of its namespace, latest first.
pub(super) fn dead_letter_order_key(namespace: &Namespace, place: u64) -> Vec<u8> {
    let mut key = times_prefix(namespace);
    key.extend((!place).to_be_bytes());
    key
}

pub(super) fn time_key(record: &Activation) -> Vec<u8> {
    let mut key = at_time(times_prefix(&record.namespace), record.start.as_millis());
    key.extend(record.id.as_bytes());
    key
}

pub(super) fn name_key(record: &Activation) -> Vec<u8> {
    let mut key = at_time(names_prefix(&record.namespace, &listed_name(record)), record.start.as_millis());
    key.extend(record.id.as_bytes());
    key
}

/// The name that the `name` filter of a list knows a record by: `name` or `package/name`, from its `path` annotation.
pub(super) fn listed_name(record: &Activation) -> String {
    let path = record.annotations.value("path").and_then(|path| path.read::<String>().ok());
    match path.as_deref().and_then(|path| path.split_once('/')) {
        Some((_, local)) => local.to_owned(),
        None => record.name.to_string(),
    }
}
