//! What one batch of the writer is made of.
//!
//! All writes of a batch have the same place in fjall's order, so no key may be written twice in one. What later
//! requests of the batch may write again (cursors, subscriptions, keys of subjects, the notes of started runs) is kept
//! aside and added at the end.
//!
//! Of a request that fails nothing stays in the batch ([`Transaction::request`]): a crash after it finds no half of it.

use std::collections::HashMap;
use std::sync::Arc;

use fjall::{Keyspace, OwnedWriteBatch as WriteBatch, PersistMode, UserKey, UserValue};
use triggerfish_model::{
    Activation, ActivationId, DeadLetter, Entity, FeedId, Json, Namespace, QualifiedName, Revision,
};

use crate::{Change, Pending, Precondition, Result, StoreError, Versioned};

use super::state::State;
use super::tables::{
    PendingRow, Tables, dead_letter_id_key, dead_letter_order_key, encode, engine, event_key, name_key,
    number, pending_key, time_key,
};

/// The key of the last batch's number.
pub(super) const BATCH_NUMBER: &str = "batch";

/// A batch in the making.
pub(super) struct Transaction<'a> {
    pub(super) tables: &'a Tables,
    pub(super) state: &'a mut State,
    rows: Vec<Row<'a>>,
    bytes: usize,
    cursors: HashMap<FeedId, Option<Json>>,
    started: HashMap<Vec<u8>, u32>,
    subscriptions: HashMap<FeedId, Option<Vec<u8>>>,
    subjects: HashMap<Lookup, Option<(Namespace, Vec<u8>)>>,
    /// Keys of events that this batch accepts, with how many rows were there before.
    keys: HashMap<Vec<u8>, usize>,
    /// Records that this batch writes, with how many rows were there before.
    records: HashMap<ActivationId, usize>,
    /// Dead letters that this batch writes or takes out, with how many rows were there before.
    dead: Vec<(ActivationId, usize)>,
    published: Published,
    recount: bool,
}

/// By what a subject's key is found.
pub(super) type Lookup = [u8; 32];

/// One row of the batch; without a value it is removed.
struct Row<'a> {
    table: &'a Keyspace,
    key: UserKey,
    value: Option<UserValue>,
}

/// What readers may see once the batch is on disk.
#[derive(Default)]
pub(super) struct Published {
    pub(super) entities: Vec<Change>,
}

/// A finished batch.
pub(super) struct Finished {
    /// The rows; `None` where nothing is to be written.
    pub(super) batch: Option<WriteBatch>,
    /// Whether somebody waits for it to be on disk. The notes of started runs need only outlive the hub, not the
    /// machine: a run that an outage of the machine interrupts is not the run's fault.
    pub(super) synced: bool,
    pub(super) published: Published,
    /// The number of the last record, this batch's too.
    pub(super) last_record: u64,
    /// Whether the counters must be read from disk again after the write.
    pub(super) recount: bool,
}

impl<'a> Transaction<'a> {
    pub(super) fn new(tables: &'a Tables, state: &'a mut State) -> Self {
        Self {
            tables,
            state,
            rows: Vec::new(),
            bytes: 0,
            cursors: HashMap::new(),
            started: HashMap::new(),
            subscriptions: HashMap::new(),
            subjects: HashMap::new(),
            keys: HashMap::new(),
            records: HashMap::new(),
            dead: Vec::new(),
            published: Published::default(),
            recount: false,
        }
    }

    /// Runs one request of the batch. Where it fails, none of its rows is written.
    ///
    /// What is kept aside is not taken back, so a request does nothing that can fail after it.
    pub(super) fn request<T>(&mut self, apply: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let (rows, bytes, entities) = (self.rows.len(), self.bytes, self.published.entities.len());
        let answer = apply(self);
        if answer.is_err() && self.rows.len() > rows {
            self.rows.truncate(rows);
            self.bytes = bytes;
            self.published.entities.truncate(entities);
            self.keys.retain(|_, before| *before < rows);
            self.records.retain(|_, before| *before < rows);
            self.dead.retain(|(_, before)| *before < rows);
            // The counters have the rows that are gone. They only decide shares, so it does until the write is over.
            self.recount = true;
        }
        answer
    }

    pub(super) fn insert(
        &mut self,
        table: &'a Keyspace,
        key: impl Into<UserKey>,
        value: impl Into<UserValue>,
    ) {
        self.rows.push(Row { table, key: key.into(), value: Some(value.into()) });
    }

    pub(super) fn remove(&mut self, table: &'a Keyspace, key: impl Into<UserKey>) {
        self.rows.push(Row { table, key: key.into(), value: None });
    }

    /// Bytes of values so far.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The batch as number `number`, with all that was kept aside.
    pub(super) fn finish(mut self, number: u64) -> Finished {
        let tables = self.tables;
        let set = |rows: &mut Vec<Row<'a>>, table, key: &[u8], value: Option<&[u8]>| {
            rows.push(Row { table, key: key.into(), value: value.map(Into::into) });
        };
        for (feed, cursor) in &self.cursors {
            let text = cursor.as_ref().map(|cursor| cursor.as_str().as_bytes());
            set(&mut self.rows, &tables.cursors, feed.0.as_bytes(), text);
        }
        for (feed, sealed) in &self.subscriptions {
            set(&mut self.rows, &tables.subscriptions, feed.0.as_bytes(), sealed.as_deref());
        }
        for (lookup, subject) in &self.subjects {
            let sealed = subject.as_ref().map(|(_, sealed)| sealed.as_slice());
            set(&mut self.rows, &tables.subjects, lookup, sealed);
        }
        let synced = !self.rows.is_empty();
        for (key, times) in &self.started {
            set(&mut self.rows, &tables.started, key, Some(&times.to_be_bytes()));
        }
        let batch = (!self.rows.is_empty()).then(|| {
            for (name, number) in self.state.numbers() {
                set(&mut self.rows, &tables.meta, name.as_bytes(), Some(&number.to_be_bytes()));
            }
            set(&mut self.rows, &tables.meta, BATCH_NUMBER.as_bytes(), Some(&number.to_be_bytes()));
            let mut batch = tables.batch(if synced { PersistMode::SyncData } else { PersistMode::Buffer });
            for Row { table, key, value } in self.rows {
                match value {
                    Some(value) => batch.insert(table, key, value),
                    None => batch.remove(table, key),
                }
            }
            batch
        });
        let last_record = self.state.last_record();
        Finished { batch, synced, published: self.published, last_record, recount: self.recount }
    }

    pub(super) fn set_cursor(&mut self, feed: FeedId, cursor: Option<Json>) {
        self.cursors.insert(feed, cursor);
    }

    pub(super) fn set_subscription(&mut self, feed: FeedId, bytes: Option<Vec<u8>>) {
        self.subscriptions.insert(feed, bytes);
    }

    /// Makes `lookup` the one key of a namespace, instead of those in `outdated` and of what this batch has.
    pub(super) fn set_subject(
        &mut self,
        lookup: Lookup,
        namespace: Namespace,
        sealed: Vec<u8>,
        outdated: Vec<Lookup>,
    ) {
        for subject in self.subjects.values_mut() {
            if subject.as_ref().is_some_and(|(of, _)| *of == namespace) {
                *subject = None;
            }
        }
        for at in outdated {
            self.subjects.entry(at).or_default();
        }
        self.subjects.insert(lookup, Some((namespace, sealed)));
    }

    /// Whether an event of this feed and key was accepted before; notes it as accepted otherwise.
    pub(super) fn is_duplicate(&mut self, feed: FeedId, key: &str) -> Result<bool> {
        let key = event_key(feed, key);
        if self.keys.contains_key(&key) || self.tables.keys.contains_key(&key).map_err(engine)? {
            return Ok(true);
        }
        self.keys.insert(key, self.rows.len());
        Ok(false)
    }

    /// Keeps an event's key for as long as the options say.
    pub(super) fn put_key(&mut self, feed: FeedId, key: &str, seq: u64, millis: i64) {
        let value = [seq.to_be_bytes(), millis.to_be_bytes()].concat();
        self.insert(&self.tables.keys, event_key(feed, key), value);
        let order = [feed.0.as_bytes().as_slice(), &seq.to_be_bytes()].concat();
        let value = [millis.to_be_bytes().as_slice(), key.as_bytes()].concat();
        self.insert(&self.tables.key_order, order, value);
        *self.state.keys.entry(feed).or_default() += 1;
    }

    pub(super) fn put_event(&mut self, seq: u64, event: &triggerfish_model::Event) -> Result<()> {
        let value = encode(event)?;
        self.bytes += value.len();
        self.insert(&self.tables.events, seq.to_be_bytes(), value);
        Ok(())
    }

    /// Writes a record with its index rows, unless there is one of this id (invariants 4 and 7).
    pub(super) fn put_record(&mut self, record: &Activation) -> Result<()> {
        if self.records.contains_key(&record.id) || self.tables.record_number(record.id)?.is_some() {
            return Ok(());
        }
        let value = encode(record)?;
        self.records.insert(record.id, self.rows.len());
        self.bytes += value.len();
        let number = self.state.take_record().to_be_bytes();
        self.insert(&self.tables.records, number, value);
        self.insert(&self.tables.record_ids, record.id.as_bytes(), number);
        self.insert(&self.tables.record_times, time_key(record), number);
        self.insert(&self.tables.record_names, name_key(record), number);
        Ok(())
    }

    /// Keeps a dead letter, unless there is one of this id: a message that comes again dies again.
    pub(super) fn put_dead_letter(&mut self, letter: &DeadLetter) -> Result<()> {
        let by_id = dead_letter_id_key(&letter.namespace, letter.id);
        let is_there = self.tables.dead_letter_ids.contains_key(&by_id).map_err(engine)?;
        if is_there || self.dead.iter().any(|(id, _)| *id == letter.id) {
            return Ok(());
        }
        let value = serde_json::to_vec(letter).map_err(|error| StoreError::Corrupt(error.to_string()))?;
        self.dead.push((letter.id, self.rows.len()));
        self.bytes += value.len();
        let place = self.state.take_seq();
        self.insert(&self.tables.dead_letters, place.to_be_bytes(), value);
        self.insert(&self.tables.dead_letter_ids, by_id, place.to_be_bytes());
        self.insert(&self.tables.dead_letter_order, dead_letter_order_key(&letter.namespace, place), []);
        Ok(())
    }

    /// Takes a dead letter out; whether there was one.
    pub(super) fn remove_dead_letter(&mut self, namespace: &Namespace, id: ActivationId) -> Result<bool> {
        let by_id = dead_letter_id_key(namespace, id);
        let Some(place) = self.tables.dead_letter_ids.get(&by_id).map_err(engine)?.map(|b| number(&b)) else {
            return Ok(false);
        };
        // What a batch writes or takes out twice would be undone or done by chance: one of the two comes first.
        if self.dead.iter().any(|(other, _)| *other == id) {
            return Ok(false);
        }
        self.dead.push((id, self.rows.len()));
        self.remove(&self.tables.dead_letters, place.to_be_bytes());
        self.remove(&self.tables.dead_letter_ids, by_id);
        self.remove(&self.tables.dead_letter_order, dead_letter_order_key(namespace, place));
        Ok(true)
    }

    /// Puts a new invocation among the pending ones.
    pub(super) fn add_pending(&mut self, pending: &Pending, row: &PendingRow) -> Result<()> {
        let value = row.encode()?;
        self.bytes += value.len();
        self.state.add_pending(&pending.action, row, value.len() as u64);
        self.insert(&self.tables.pending, pending_key(pending), value);
        Ok(())
    }

    /// The row of a pending invocation, with its size.
    pub(super) fn pending(&self, pending: &Pending) -> Result<Option<(PendingRow, u64)>> {
        let found = self.tables.pending.get(pending_key(pending)).map_err(engine)?;
        found.map(|bytes| Ok((PendingRow::decode(&bytes)?, bytes.len() as u64))).transpose()
    }

    /// Replaces the row of a pending invocation, whose present step has been completed.
    pub(super) fn replace_pending(
        &mut self,
        pending: &Pending,
        row: &PendingRow,
        old_bytes: u64,
    ) -> Result<()> {
        self.state.remove_pending(&pending.action, row, old_bytes);
        self.add_pending(pending, row)?;
        let key = pending_key(pending);
        self.started.remove(&key);
        self.remove(&self.tables.started, key);
        Ok(())
    }

    /// Takes an invocation off the pending ones.
    pub(super) fn remove_pending(&mut self, pending: &Pending, row: &PendingRow, bytes: u64) {
        self.state.remove_pending(&pending.action, row, bytes);
        let key = pending_key(pending);
        self.started.remove(&key);
        self.remove(&self.tables.started, key.clone());
        self.remove(&self.tables.pending, key);
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
        self.insert(&self.tables.entities, id.to_string(), value);
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
        self.remove(&self.tables.entities, id.to_string());
        self.published.entities.push(Change { id: id.clone(), now: None });
        Ok(())
    }
}
