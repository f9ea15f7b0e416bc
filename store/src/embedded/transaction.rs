//! What one batch of the writer is made of.
//!
//! All writes of a batch have the same place in fjall's order, so no key may be written twice in one. What later
//! requests of the batch may write again (cursors, subscriptions, the notes of started runs) is kept aside and added at
//! the end.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use fjall::OwnedWriteBatch as WriteBatch;
use triggerfish_model::{Activation, Entity, FeedId, Json, QualifiedName, Revision};

use crate::{Change, Pending, Precondition, Result, StoreError, Versioned};

use super::state::State;
use super::tables::{PendingRow, Tables, decode, encode, engine, event_key, name_key, pending_key, time_key};

/// A batch in the making.
pub(super) struct Transaction<'a> {
    pub(super) tables: &'a Tables,
    pub(super) state: &'a mut State,
    pub(super) batch: WriteBatch,
    bytes: usize,
    cursors: HashMap<FeedId, Option<Json>>,
    started: HashMap<Vec<u8>, u32>,
    subscriptions: HashMap<FeedId, Option<Vec<u8>>>,
    keys: HashSet<Vec<u8>>,
    records: HashSet<triggerfish_model::ActivationId>,
    published: Published,
}

/// What readers may see once the batch is on disk.
#[derive(Default)]
pub(super) struct Published {
    pub(super) entities: Vec<Change>,
}

/// A finished batch.
pub(super) struct Finished {
    pub(super) batch: WriteBatch,
    pub(super) published: Published,
}

impl<'a> Transaction<'a> {
    pub(super) fn new(tables: &'a Tables, state: &'a mut State) -> Self {
        Self {
            batch: tables.batch(),
            tables,
            state,
            bytes: 0,
            cursors: HashMap::new(),
            started: HashMap::new(),
            subscriptions: HashMap::new(),
            keys: HashSet::new(),
            records: HashSet::new(),
            published: Published::default(),
        }
    }

    /// Bytes of values so far.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The batch, with all that was kept aside.
    pub(super) fn finish(mut self) -> Finished {
        for (feed, cursor) in self.cursors {
            match cursor {
                Some(cursor) => self.batch.insert(&self.tables.cursors, feed.0.as_bytes(), cursor.as_str()),
                None => self.batch.remove(&self.tables.cursors, feed.0.as_bytes()),
            }
        }
        for (key, times) in self.started {
            self.batch.insert(&self.tables.started, key, times.to_be_bytes());
        }
        for (feed, subscription) in self.subscriptions {
            match subscription {
                Some(bytes) => self.batch.insert(&self.tables.subscriptions, feed.0.as_bytes(), bytes),
                None => self.batch.remove(&self.tables.subscriptions, feed.0.as_bytes()),
            }
        }
        for (name, number) in self.state.numbers() {
            self.batch.insert(&self.tables.meta, name, number.to_be_bytes());
        }
        Finished { batch: self.batch, published: self.published }
    }

    pub(super) fn set_cursor(&mut self, feed: FeedId, cursor: Option<Json>) {
        self.cursors.insert(feed, cursor);
    }

    pub(super) fn set_subscription(&mut self, feed: FeedId, bytes: Option<Vec<u8>>) {
        self.subscriptions.insert(feed, bytes);
    }

    /// Whether an event of this feed and key was accepted before; notes it as accepted otherwise.
    pub(super) fn is_duplicate(&mut self, feed: FeedId, key: &str) -> Result<bool> {
        let key = event_key(feed, key);
        if self.keys.contains(&key) || self.tables.keys.contains_key(&key).map_err(engine)? {
            return Ok(true);
        }
        self.keys.insert(key);
        Ok(false)
    }

    /// Keeps an event's key for as long as the options say.
    pub(super) fn put_key(&mut self, feed: FeedId, key: &str, seq: u64, millis: i64) {
        let value = [seq.to_be_bytes(), millis.to_be_bytes()].concat();
        self.batch.insert(&self.tables.keys, event_key(feed, key), value);
        let order = [feed.0.as_bytes().as_slice(), &seq.to_be_bytes()].concat();
        let value = [millis.to_be_bytes().as_slice(), key.as_bytes()].concat();
        self.batch.insert(&self.tables.key_order, order, value);
        *self.state.keys.entry(feed).or_default() += 1;
    }

    pub(super) fn put_event(&mut self, seq: u64, event: &triggerfish_model::Event) -> Result<()> {
        let value = encode(event)?;
        self.bytes += value.len();
        self.batch.insert(&self.tables.events, seq.to_be_bytes(), value);
        Ok(())
    }

    /// Writes a record with its index rows, unless there is one of this id (invariants 4 and 7).
    pub(super) fn put_record(&mut self, record: &Activation) -> Result<()> {
        if !self.records.insert(record.id) || self.tables.record_number(record.id)?.is_some() {
            return Ok(());
        }
        let value = encode(record)?;
        self.bytes += value.len();
        let number = self.state.take_record().to_be_bytes();
        self.batch.insert(&self.tables.records, number, value);
        self.batch.insert(&self.tables.record_ids, record.id.as_bytes(), number);
        self.batch.insert(&self.tables.record_times, time_key(record), number);
        self.batch.insert(&self.tables.record_names, name_key(record), number);
        Ok(())
    }

    /// Puts a new invocation among the pending ones.
    pub(super) fn add_pending(&mut self, pending: &Pending, row: &PendingRow) -> Result<()> {
        let value = encode(row)?;
        self.bytes += value.len();
        self.state.add_pending(&pending.action, row, value.len() as u64);
        self.batch.insert(&self.tables.pending, pending_key(pending), value);
        Ok(())
    }

    /// The row of a pending invocation, with its size.
    pub(super) fn pending(&self, pending: &Pending) -> Result<Option<(PendingRow, u64)>> {
        let found = self.tables.pending.get(pending_key(pending)).map_err(engine)?;
        found.map(|bytes| Ok((decode(&bytes)?, bytes.len() as u64))).transpose()
    }

    /// Replaces the row of a pending invocation, whose present step has been completed.
    pub(super) fn replace_pending(
        &mut self,
        pending: &Pending,
        row: &PendingRow,
        old_bytes: u64,
    ) -> Result<()> {
        let key = pending_key(pending);
        self.started.remove(&key);
        self.batch.remove(&self.tables.started, key);
        self.state.remove_pending(&pending.action, row, old_bytes);
        self.add_pending(pending, row)
    }

    /// Takes an invocation off the pending ones.
    pub(super) fn remove_pending(&mut self, pending: &Pending, row: &PendingRow, bytes: u64) {
        self.state.remove_pending(&pending.action, row, bytes);
        let key = pending_key(pending);
        self.started.remove(&key);
        self.batch.remove(&self.tables.started, key.clone());
        self.batch.remove(&self.tables.pending, key);
    }

    pub(super) fn note_started(&mut self, pending: &Pending, times: u32) {
        self.started.insert(pending_key(pending), times);
    }

    /// The entity of this name as this batch leaves it.
    fn entity(&self, id: &QualifiedName, cached: &HashMap<QualifiedName, Versioned>) -> Option<Versioned> {
        match self.published.entities.iter().rev().find(|change| change.id == *id) {
            Some(change) => change.now.clone(),
            None => cached.get(id).cloned(),
        }
    }

    /// Writes an entity where `when` holds. One entity is written once a batch: who comes second conflicts.
    pub(super) fn put_entity(
        &mut self,
        entity: Arc<Entity>,
        when: Precondition,
        cached: &HashMap<QualifiedName, Versioned>,
    ) -> Result<Revision> {
        let id = entity.id().clone();
        let holds = match (self.entity(&id, cached), when) {
            (None, Precondition::Absent) => true,
            (Some(now), Precondition::Matches(revision)) => now.revision == revision,
            (None, Precondition::Matches(_)) | (Some(_), Precondition::Absent) => false,
        };
        if !holds || self.published.entities.iter().any(|change| change.id == id) {
            return Err(StoreError::Conflict);
        }
        let text = serde_json::to_vec(&*entity).map_err(|error| StoreError::Corrupt(error.to_string()))?;
        let revision = Revision(self.state.take_revision());
        self.bytes += text.len();
        let value = [revision.0.to_be_bytes().as_slice(), &text].concat();
        self.batch.insert(&self.tables.entities, id.to_string(), value);
        self.published.entities.push(Change { id, now: Some(Versioned { revision, entity }) });
        Ok(revision)
    }

    pub(super) fn delete_entity(
        &mut self,
        id: &QualifiedName,
        revision: Revision,
        cached: &HashMap<QualifiedName, Versioned>,
    ) -> Result<()> {
        let written = self.published.entities.iter().any(|change| change.id == *id);
        if written || self.entity(id, cached).is_none_or(|now| now.revision != revision) {
            return Err(StoreError::Conflict);
        }
        self.batch.remove(&self.tables.entities, id.to_string());
        self.published.entities.push(Change { id: id.clone(), now: None });
        Ok(())
    }
}
