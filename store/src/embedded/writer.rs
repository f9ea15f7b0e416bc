//! The writer: one thread that turns many callers' writes into one synced batch.
//!
//! A request is a function from the transaction to an answer. The thread takes what waits, applies each request to one
//! batch, commits and syncs it, and only then answers (invariant 1). Since it is the only writer, what a request reads
//! in its transaction cannot change under it.
//!
//! After a failed commit fjall takes no more writes. The writer then reopens the database; the batch's number, which is
//! part of the batch, tells whether it came through after all, and its callers hear the truth. Until the database can be
//! opened again every request fails, and the hub resumes by itself once the cause is gone.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use fjall::PersistMode;

use crate::{Haste, Result, StoreError};

use super::shared::Shared;
use super::state::State;
use super::tables::{Tables, engine, number};
use super::transaction::{BATCH_NUMBER, Finished, Transaction};

/// Requests that one batch carries; more would make the first of them wait too long.
const REQUESTS_PER_BATCH: usize = 1024;
/// Bytes of values after which a batch takes no more requests.
const BATCH_BYTES: usize = 8 << 20;
/// How long what nobody waits for is gathered: a sync costs about as much time, and its work as much as several writes.
const GATHER: Duration = Duration::from_millis(2);
/// How often a database that failed is tried again.
const REOPEN_EVERY: Duration = Duration::from_millis(500);

/// Answers one caller, once its batch is on disk or has failed.
pub(super) type Reply = Box<dyn FnOnce(Option<StoreError>) + Send>;

/// Adds to the batch, or hears that there is no database.
pub(super) type Apply = Box<dyn FnOnce(Result<&mut Transaction<'_>>) -> Reply + Send>;

/// A write that waits for the writer.
pub(super) struct Request {
    /// Whether it may wait for others.
    pub(super) haste: Haste,
    /// What it does. An error of its own is this caller's alone, and leaves nothing of this request in the batch.
    pub(super) apply: Apply,
}

/// What the writer counts.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) syncs: AtomicU64,
    pub(super) commits: AtomicU64,
}

/// Runs until every sender of `requests` is gone.
pub(super) fn run(requests: &Receiver<Request>, shared: &Arc<Shared>) {
    let mut batch_number = shared.tables().and_then(|tables| last_batch(&tables)).unwrap_or(0);
    loop {
        let first = match requests.recv_timeout(REOPEN_EVERY) {
            Ok(request) => request,
            Err(RecvTimeoutError::Timeout) => {
                if shared.tables().is_err() {
                    reopen(shared, &mut batch_number);
                }
                continue;
            }
            Err(RecvTimeoutError::Disconnected) => return,
        };
        let Ok(tables) = shared.tables() else {
            refuse(first, requests, &shared.failure());
            reopen(shared, &mut batch_number);
            continue;
        };
        let waiting = gather(first, requests);
        let (finished, replies) = build(waiting, requests, shared, &tables, batch_number + 1);
        let mut tables = Some(tables);
        let failure = match finished.batch {
            None => None,
            Some(batch) => {
                batch_number += 1;
                fail::fail_point!("store::before_sync");
                match batch.commit().map_err(engine) {
                    Ok(()) => {
                        fail::fail_point!("store::after_sync");
                        shared.counts.syncs.fetch_add(u64::from(finished.synced), Ordering::Relaxed);
                        shared.counts.commits.fetch_add(replies.len() as u64, Ordering::Relaxed);
                        shared.publish(finished.published, finished.last_record);
                        None
                    }
                    Err(error) => {
                        let error = shared.disk.explain(error);
                        tracing::error!(%error, "a write failed: the database is opened again");
                        shared.fail(error.clone());
                        drop(tables.take());
                        let failed = batch_number;
                        reopen(shared, &mut batch_number);
                        let came_through = shared.tables().is_ok() && batch_number == failed;
                        (!came_through).then_some(error)
                    }
                }
            }
        };
        if let Some(tables) = tables.filter(|_| finished.recount) {
            recount(shared, &tables);
        }
        for reply in replies {
            reply(failure.clone());
        }
    }
}

/// Takes requests for a moment, for as long as none of them is in haste.
fn gather(first: Request, requests: &Receiver<Request>) -> Vec<Request> {
    let until = Instant::now() + GATHER;
    let mut waiting = vec![first];
    while waiting.last().is_some_and(|last| last.haste == Haste::Gathered)
        && waiting.len() < REQUESTS_PER_BATCH
    {
        match requests.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(request) => waiting.push(request),
            Err(_) => break,
        }
    }
    waiting
}

/// Makes a batch of what was gathered, and of what came meanwhile.
fn build(
    waiting: Vec<Request>,
    requests: &Receiver<Request>,
    shared: &Shared,
    tables: &Tables,
    number: u64,
) -> (Finished, Vec<Reply>) {
    let mut state = shared.state.lock();
    let mut transaction = Transaction::new(tables, &mut state);
    let mut replies: Vec<_> =
        waiting.into_iter().map(|request| (request.apply)(Ok(&mut transaction))).collect();
    while replies.len() < REQUESTS_PER_BATCH && transaction.bytes() < BATCH_BYTES {
        let Ok(request) = requests.try_recv() else { break };
        replies.push((request.apply)(Ok(&mut transaction)));
    }
    (transaction.finish(number), replies)
}

/// Counts what is on disk: a request broke off in the middle, and the counters have what it did not write.
fn recount(shared: &Shared, tables: &Tables) {
    match State::read(tables) {
        Ok(state) => *shared.state.lock() = state,
        // It is counted when the database is opened again.
        Err(error) => shared.fail(error),
    }
}

fn last_batch(tables: &Tables) -> Result<u64> {
    Ok(tables.meta.get(BATCH_NUMBER).map_err(engine)?.map_or(0, |bytes| number(&bytes)))
}

/// Answers `first` and all that waits with `error`; nothing is written.
fn refuse(first: Request, requests: &Receiver<Request>, error: &StoreError) {
    for request in std::iter::once(first).chain(requests.try_iter().take(REQUESTS_PER_BATCH)) {
        (request.apply)(Err(error.clone()))(None);
    }
}

/// Opens the database anew and rebuilds what the writer keeps of it in memory, the number of the last batch too.
fn reopen(shared: &Arc<Shared>, batch_number: &mut u64) {
    if let Err(error) = shared.reopen(|tables| {
        // What recovery read may not have been synced by the failed writer.
        tables.db.persist(PersistMode::SyncAll).map_err(engine)?;
        *shared.state.lock() = State::read(tables)?;
        *batch_number = last_batch(tables)?;
        Ok(())
    }) {
        let error = shared.disk.explain(error);
        tracing::error!(%error, "the database cannot be opened; trying again");
        shared.fail(error);
    }
}
