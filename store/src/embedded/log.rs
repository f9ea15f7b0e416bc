//! The event log on the embedded store.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use triggerfish_model::{
    Activation, ActivationId, Event, EventKey, FeedId, Invocation, Json, Namespace, Progress, QualifiedName,
    Retrying, SeqNum, Source, Timestamp,
};

use crate::{Appended, Batch, Completion, Decided, EventLog, LogStatus, Pending, Result, StoreError};

use super::tables::{PendingRow, decode, engine, event_key, number, pending_key, pending_of, pending_prefix};
use super::transaction::Transaction;
use super::writer::Request;
use super::{Embedded, Options};

/// Bytes of invocations that one read of pending ones returns, whatever the limit: the largest event is 25 MB.
const READ_BYTES_MAX: usize = 8 << 20;

#[async_trait]
impl EventLog for Embedded {
    async fn append(&self, batch: Batch) -> Result<Vec<Appended>> {
        if !batch.events.is_empty() {
            self.shared.disk.check()?;
        }
        let options = self.options.clone();
        self.write(move |transaction| {
            let feed = batch.cursor.as_ref().map(|(feed, _)| *feed);
            check_shares(transaction, &batch.events, &options)?;
            if let Some((namespace, id)) = &batch.revived
                && !transaction.remove_dead_letter(namespace, *id)?
            {
                return Ok(vec![Appended::Duplicate; batch.events.len()]);
            }
            for letter in &batch.dead_letters {
                transaction.put_dead_letter(letter)?;
            }
            let mut appended = Vec::with_capacity(batch.events.len());
            for decided in batch.events {
                appended.push(accept(transaction, decided)?);
            }
            if let (Some(feed), Some((_, cursor))) = (feed, batch.cursor) {
                transaction.set_cursor(feed, Some(cursor));
            }
            Ok(appended)
        })
        .await
    }

    fn admits(&self, namespace: &Namespace) -> Result<()> {
        self.shared.tables()?;
        self.shared.disk.check()?;
        self.shared.state.lock().check_shares(namespace, None, &self.options)
    }

    async fn invoke(&self, invocation: Invocation) -> Result<Pending> {
        self.shared.disk.check()?;
        let options = self.options.clone();
        self.write(move |transaction| {
            transaction.state.check_shares(&invocation.namespace, None, &options)?;
            accept_invocation(transaction, invocation)
        })
        .await
    }

    fn started(&self, pending: &Pending, interrupted: u32) {
        let pending = pending.clone();
        let request = Request {
            haste: crate::Haste::Gathered,
            apply: Box::new(move |transaction| {
                if let Ok(transaction) = transaction {
                    transaction.note_started(&pending, interrupted);
                }
                Box::new(|_| {})
            }),
        };
        if let Some(requests) = &*self.requests.lock() {
            // A full queue loses the note: then an interruption is not counted, which is the lesser evil.
            let _ = requests.try_send(request);
        }
    }

    async fn advance(
        &self,
        pending: &Pending,
        progress: Progress,
        records: Vec<Arc<Activation>>,
    ) -> Result<()> {
        self.go_on(pending, records, move |invocation| invocation.progress = progress).await
    }

    async fn retry(
        &self,
        pending: &Pending,
        retrying: Retrying,
        records: Vec<Arc<Activation>>,
    ) -> Result<()> {
        self.go_on(pending, records, move |invocation| {
            invocation.progress = Progress::default();
            invocation.retry = Some(retrying);
        })
        .await
    }

    async fn revive(&self, letter: ActivationId, invocation: Invocation) -> Result<Option<Pending>> {
        self.shared.disk.check()?;
        let options = self.options.clone();
        self.write(move |transaction| {
            transaction.state.check_shares(&invocation.namespace, None, &options)?;
            if !transaction.remove_dead_letter(&invocation.namespace, letter)? {
                return Ok(None);
            }
            accept_invocation(transaction, invocation).map(Some)
        })
        .await
    }

    async fn complete(&self, pending: &Pending, completion: Completion) -> Result<()> {
        let Completion { records, dead_letter, haste } = completion;
        let (pending, seq) = (pending.clone(), pending.seq);
        self.write_with(haste, move |transaction| {
            for record in &records {
                transaction.put_record(record)?;
            }
            if let Some(letter) = &dead_letter {
                transaction.put_dead_letter(letter)?;
            }
            // Where it is not there any more, it was completed by an earlier try whose answer was lost.
            if let Some((row, bytes)) = transaction.pending(&pending)? {
                transaction.remove_pending(&pending, &row, bytes);
            }
            Ok(())
        })
        .await?;
        self.shared.interrupted.lock().remove(&seq);
        Ok(())
    }

    async fn pending(
        &self,
        action: &QualifiedName,
        after: Option<SeqNum>,
        limit: usize,
    ) -> Result<Vec<(Pending, Invocation)>> {
        let from = Pending { action: action.clone(), seq: SeqNum(after.map_or(0, |seq| seq.0 + 1)) };
        let prefix = pending_prefix(action);
        let mut found = self
            .read(move |tables| {
                let (mut found, mut bytes) = (Vec::new(), 0);
                for row in tables.pending.range(pending_key(&from)..) {
                    if found.len() >= limit || bytes > READ_BYTES_MAX {
                        break;
                    }
                    let (key, value) = row.into_inner().map_err(engine)?;
                    if !key.starts_with(&prefix) {
                        break;
                    }
                    let row = PendingRow::decode(&value)?;
                    bytes += value.len();
                    found.push((pending_of(&key)?, row.invocation));
                }
                Ok(found)
            })
            .await?;
        let interrupted = self.shared.interrupted.lock();
        for (pending, invocation) in &mut found {
            if let Some(times) = interrupted.get(&pending.seq) {
                invocation.progress.interrupted = *times;
            }
        }
        Ok(found)
    }

    async fn pending_actions(&self) -> Result<Vec<(QualifiedName, u64)>> {
        self.shared.tables()?;
        let state = self.shared.state.lock();
        Ok(state.actions.iter().map(|(action, count)| (action.clone(), *count)).collect())
    }

    async fn events(
        &self,
        trigger: Option<&QualifiedName>,
        from: SeqNum,
        limit: usize,
    ) -> Result<Vec<(SeqNum, Event)>> {
        let trigger = trigger.cloned();
        self.read(move |tables| {
            let mut found = Vec::new();
            for row in tables.events.range(from.0.to_be_bytes()..) {
                if found.len() >= limit {
                    break;
                }
                let (key, value) = row.into_inner().map_err(engine)?;
                let event: Event = decode(&value)?;
                if trigger.as_ref().is_none_or(|trigger| event.trigger == *trigger) {
                    found.push((SeqNum(number(&key)), event));
                }
            }
            Ok(found)
        })
        .await
    }

    async fn cursor(&self, feed: FeedId) -> Result<Option<Json>> {
        self.read(move |tables| {
            let Some(text) = tables.cursors.get(feed.0.as_bytes()).map_err(engine)? else { return Ok(None) };
            Json::parse(&*text)
                .map(Some)
                .map_err(|error| StoreError::Corrupt(format!("a feed's cursor: {error}")))
        })
        .await
    }

    async fn known(&self, feed: FeedId, keys: &[EventKey]) -> Result<Vec<bool>> {
        let keys: Vec<Vec<u8>> = keys.iter().map(|key| event_key(feed, key.as_str())).collect();
        self.read(move |tables| {
            keys.iter().map(|key| tables.keys.contains_key(key).map_err(engine)).collect()
        })
        .await
    }

    async fn forget_feed(&self, feed: FeedId) -> Result<()> {
        self.forget_keys(feed).await?;
        self.write(move |transaction| {
            transaction.set_cursor(feed, None);
            transaction.state.keys.remove(&feed);
            Ok(())
        })
        .await
    }

    async fn truncate(&self, now: Timestamp) -> Result<u64> {
        self.drop_old(now).await
    }

    async fn status(&self) -> Result<LogStatus> {
        let events = self.shared.tables()?.events.approximate_len() as u64;
        let total = self.shared.state.lock().total;
        Ok(LogStatus {
            pending: total.events,
            pending_bytes: total.bytes,
            events,
            syncs: self.shared.counts.syncs.load(Ordering::Relaxed),
            commits: self.shared.counts.commits.load(Ordering::Relaxed),
            disk_free_bytes: self.shared.disk.free(),
        })
    }
}

/// Puts an invocation of the API's among the pending ones.
fn accept_invocation(transaction: &mut Transaction<'_>, invocation: Invocation) -> Result<Pending> {
    let pending = Pending { action: invocation.action.clone(), seq: SeqNum(transaction.state.take_seq()) };
    transaction.add_pending(&pending, &PendingRow { feed: None, invocation })?;
    Ok(pending)
}

impl Embedded {
    /// Writes records that came before the end of an invocation, and what it goes on from.
    async fn go_on(
        &self,
        pending: &Pending,
        records: Vec<Arc<Activation>>,
        change: impl FnOnce(&mut Invocation) + Send + 'static,
    ) -> Result<()> {
        let (pending, seq) = (pending.clone(), pending.seq);
        self.write(move |transaction| {
            let Some((mut row, bytes)) = transaction.pending(&pending)? else {
                return Err(StoreError::Corrupt(format!("the pending invocation {pending:?} is not there")));
            };
            for record in &records {
                transaction.put_record(record)?;
            }
            change(&mut row.invocation);
            transaction.replace_pending(&pending, &row, bytes)
        })
        .await?;
        self.shared.interrupted.lock().remove(&seq);
        Ok(())
    }
}

/// Refuses a batch whose namespaces or feeds have as much pending as they may. A batch that is let in may exceed the
/// share by itself; batches are bounded.
fn check_shares(transaction: &Transaction<'_>, events: &[Decided], options: &Options) -> Result<()> {
    let mut checked = HashSet::new();
    for decided in events.iter().filter(|decided| !decided.invocations.is_empty()) {
        let feed = feed_of(&decided.event);
        if checked.insert((&decided.event.trigger.namespace, feed)) {
            transaction.state.check_shares(&decided.event.trigger.namespace, feed, options)?;
        }
    }
    Ok(())
}

fn feed_of(event: &Event) -> Option<FeedId> {
    match event.source {
        Source::Feed(feed) => Some(feed),
        Source::Api => None,
    }
}

/// Writes one decided event, unless it is a redelivered one.
fn accept(transaction: &mut Transaction<'_>, decided: Decided) -> Result<Appended> {
    let Decided { event, record, invocations } = decided;
    let feed = feed_of(&event);
    if let (Some(feed), Some(key)) = (feed, &event.key)
        && transaction.is_duplicate(feed, key.as_str())?
    {
        return Ok(Appended::Duplicate);
    }
    let seq = transaction.state.take_seq();
    if let (Some(feed), Some(key)) = (feed, &event.key) {
        transaction.put_key(feed, key.as_str(), seq, event.received.as_millis());
    }
    if let Some(record) = &record {
        transaction.put_record(record)?;
    }
    transaction.put_event(seq, &event)?;
    let mut pending = Vec::with_capacity(invocations.len());
    for invocation in invocations {
        let place = Pending { action: invocation.action.clone(), seq: SeqNum(transaction.state.take_seq()) };
        transaction.add_pending(&place, &PendingRow { feed, invocation })?;
        pending.push(place);
    }
    Ok(Appended::Accepted { seq: SeqNum(seq), pending })
}
