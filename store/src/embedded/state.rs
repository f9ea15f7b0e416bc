//! What the writer keeps in memory of what is on disk: counters, rebuilt when the database is opened.

use std::collections::HashMap;

use triggerfish_model::{FeedId, Namespace, QualifiedName};

use crate::{Result, StoreError};

use super::Options;
use super::tables::{PendingRow, Tables, engine, number, pending_of};

/// Pending work of a namespace or feed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Use {
    pub(super) events: u64,
    pub(super) bytes: u64,
}

impl Use {
    fn add(&mut self, bytes: u64) {
        self.events += 1;
        self.bytes += bytes;
    }

    fn remove(&mut self, bytes: u64) {
        self.events = self.events.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

/// The writer's counters.
#[derive(Debug, Default)]
pub(super) struct State {
    /// The place that the next event or invocation gets; the first is 1.
    next_seq: u64,
    /// The number that the next record gets; the first is 1.
    next_record: u64,
    /// The revision that the next write of an entity gets.
    next_revision: u64,
    /// Pending invocations by action.
    pub(super) actions: HashMap<QualifiedName, u64>,
    pub(super) namespaces: HashMap<Namespace, Use>,
    pub(super) feeds: HashMap<FeedId, Use>,
    pub(super) total: Use,
    /// Kept keys by feed.
    pub(super) keys: HashMap<FeedId, u64>,
}

impl State {
    /// Rebuilds the counters from the tables.
    pub(super) fn read(tables: &Tables) -> Result<Self> {
        let mut state = Self::default();
        let mut last_seq = 0;
        for row in tables.pending.iter() {
            let (key, value) = row.into_inner().map_err(engine)?;
            let row = PendingRow::decode(&value)?;
            let pending = pending_of(&key)?;
            last_seq = last_seq.max(pending.seq.0);
            state.add_pending(&pending.action, &row, value.len() as u64);
        }
        for table in [&tables.events, &tables.dead_letters] {
            if let Some(row) = table.last_key_value() {
                last_seq = last_seq.max(number(&row.key().map_err(engine)?));
            }
        }
        for row in tables.key_order.iter() {
            let key = row.key().map_err(engine)?;
            let (feed, seq) =
                key.split_first_chunk::<16>().ok_or_else(|| StoreError::Corrupt("an event's key".into()))?;
            last_seq = last_seq.max(number(seq));
            *state.keys.entry(FeedId(triggerfish_model::ActivationId::from_bytes(*feed))).or_default() += 1;
        }
        let last_record = match tables.records.last_key_value() {
            Some(row) => number(&row.key().map_err(engine)?),
            None => 0,
        };
        let kept = |key: &str| -> Result<u64> {
            Ok(tables.meta.get(key).map_err(engine)?.map_or(0, |bytes| number(&bytes)))
        };
        // The rows with the greatest numbers may be gone, so these are kept apart as well.
        state.next_seq = last_seq.max(kept(NEXT_SEQ)?) + 1;
        state.next_record = last_record.max(kept(NEXT_RECORD)?) + 1;
        state.next_revision = kept(NEXT_REVISION)? + 1;
        Ok(state)
    }

    pub(super) fn take_seq(&mut self) -> u64 {
        self.next_seq += 1;
        self.next_seq - 1
    }

    pub(super) fn take_record(&mut self) -> u64 {
        self.next_record += 1;
        self.next_record - 1
    }

    pub(super) fn take_revision(&mut self) -> u64 {
        self.next_revision += 1;
        self.next_revision - 1
    }

    /// The number of the last record.
    pub(super) fn last_record(&self) -> u64 {
        self.next_record - 1
    }

    /// The numbers that must survive the rows that bear them.
    pub(super) fn numbers(&self) -> [(&'static str, u64); 3] {
        [
            (NEXT_SEQ, self.next_seq - 1),
            (NEXT_RECORD, self.next_record - 1),
            (NEXT_REVISION, self.next_revision - 1),
        ]
    }

    pub(super) fn add_pending(&mut self, action: &QualifiedName, row: &PendingRow, bytes: u64) {
        *self.actions.entry(action.clone()).or_default() += 1;
        self.namespaces.entry(row.invocation.namespace.clone()).or_default().add(bytes);
        if let Some(feed) = row.feed {
            self.feeds.entry(feed).or_default().add(bytes);
        }
        self.total.add(bytes);
    }

    pub(super) fn remove_pending(&mut self, action: &QualifiedName, row: &PendingRow, bytes: u64) {
        if let Some(count) = self.actions.get_mut(action) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.actions.remove(action);
            }
        }
        if let Some(used) = self.namespaces.get_mut(&row.invocation.namespace) {
            used.remove(bytes);
        }
        if let Some(used) = row.feed.and_then(|feed| self.feeds.get_mut(&feed)) {
            used.remove(bytes);
        }
        self.total.remove(bytes);
    }

    /// Refuses work of a namespace or feed that has as much pending as it may.
    pub(super) fn check_shares(
        &self,
        namespace: &Namespace,
        feed: Option<FeedId>,
        options: &Options,
    ) -> Result<()> {
        let used = self.namespaces.get(namespace).copied().unwrap_or_default();
        within(used, options.namespace_events, options.namespace_bytes, || {
            format!("the namespace `{namespace}`")
        })?;
        let Some(feed) = feed else { return Ok(()) };
        let used = self.feeds.get(&feed).copied().unwrap_or_default();
        within(used, options.feed_events, options.feed_bytes, || format!("the feed {feed}"))
    }
}

const NEXT_SEQ: &str = "seq";
const NEXT_RECORD: &str = "record";
const NEXT_REVISION: &str = "revision";

fn within(used: Use, events: u64, bytes: u64, who: impl Fn() -> String) -> Result<()> {
    if used.events >= events {
        return Err(StoreError::OverShare {
            who: who(),
            pending: used.events,
            unit: "events",
            share: events,
        });
    }
    if used.bytes >= bytes {
        return Err(StoreError::OverShare { who: who(), pending: used.bytes, unit: "bytes", share: bytes });
    }
    Ok(())
}
