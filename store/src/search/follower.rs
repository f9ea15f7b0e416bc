//! The thread that keeps the index up with the records.
//!
//! It reads what the store's writer has published, and never writes to the store. Each commit says which record is its
//! last; after a crash, or an error, it goes on from there. Where it cannot write (a full disk, a directory that was
//! removed) it opens the index again from time to time until it can.

use std::ops::Bound;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::RwLock;
use tantivy::indexer::UserOperation;
use tantivy::query::RangeQuery;
use tantivy::{IndexWriter, Term};
use tokio::sync::watch;
use triggerfish_model::Activation;

use super::index::{self, Expected, Opened, Payload};
use super::schema::document;
use crate::Result;

/// How long records are gathered before they are committed: a commit costs some milliseconds whatever is in it, and a
/// record must be found within a second.
const GATHER: Duration = Duration::from_millis(300);
/// Bytes of records in one commit: what waits for the indexing thread is in memory.
const COMMIT_BYTES: usize = 8 << 20;
/// Records in one commit.
const COMMIT_RECORDS: usize = 20_000;
/// Records that are handed to the indexing thread at once.
const HANDED_RECORDS: usize = 128;
/// Bytes of records that are handed to it at once.
const HANDED_BYTES: usize = 256 << 10;
/// How often records that retention has dropped are looked for.
const FORGET_EVERY: Duration = Duration::from_secs(60);
/// How long after the last commit the reader lets go of segments that were merged meanwhile.
const SETTLE: Duration = Duration::from_secs(2);
/// How long to wait after an error.
const RETRY: Duration = Duration::from_secs(2);
/// Records behind which it is told in the log.
const BEHIND: u64 = 10_000;

/// Where the records are.
pub(crate) trait Records: Send + Sync + 'static {
    /// The number of the last durable record, as it changes.
    fn last(&self) -> watch::Receiver<u64>;
    /// The number of the first record that is kept.
    fn first(&self) -> Result<Option<u64>>;
    /// The record of a number.
    fn record(&self, number: u64) -> Result<Option<Activation>>;
    /// Gives each record after a number, with its number and its size in bytes, until `visit` says that it is enough.
    fn after(&self, number: u64, visit: &mut dyn FnMut(u64, usize, Activation) -> bool) -> Result<()>;
    /// Whether the disk has room for the index to grow.
    fn has_room(&self) -> bool;
}

/// The open index, or why there is none.
pub(super) type Current = Arc<RwLock<std::result::Result<Arc<Opened>, String>>>;

/// Why the follower stops for a while.
#[derive(Debug, thiserror::Error)]
enum Halt {
    #[error("the search index cannot be written: {0}")]
    Index(#[from] tantivy::TantivyError),
    #[error("records cannot be read for the search index: {0}")]
    Records(#[from] crate::StoreError),
    #[error("{0}")]
    Opening(String),
    #[error("the disk has no room for the search index to grow")]
    NoRoom,
    #[error("the store is closed")]
    Closed,
}

pub(super) struct Follower {
    pub(super) path: PathBuf,
    pub(super) records: Arc<dyn Records>,
    pub(super) current: Current,
    pub(super) stop: watch::Receiver<bool>,
}

/// Opens the index as it is compared with the records.
pub(super) fn open(
    path: &std::path::Path,
    records: &Arc<dyn Records>,
) -> std::result::Result<Opened, String> {
    let from = records.clone();
    let id_of = move |number| from.record(number).ok().flatten().map(|record| record.id);
    let last = *records.last().borrow();
    index::open(path, &Expected { last, id_of: Box::new(id_of) })
}

impl Follower {
    /// Runs until it is told to stop.
    pub(super) fn run(mut self) {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_time().build() {
            Ok(runtime) => runtime,
            Err(error) => return tracing::error!(%error, "the search index cannot be followed"),
        };
        let mut failing = false;
        while !*self.stop.borrow() {
            match self.follow(&runtime, &mut failing) {
                Ok(()) | Err(Halt::Closed) => return,
                Err(halt) => {
                    // Once, not at each try.
                    if !failing {
                        tracing::error!(error = %halt, "records are not searchable until this is mended; trying again");
                    }
                    failing = true;
                    runtime.block_on(async {
                        let _ = tokio::time::timeout(RETRY, self.stop.changed()).await;
                    });
                    if !matches!(halt, Halt::NoRoom | Halt::Records(_)) {
                        self.reopen();
                    }
                }
            }
        }
    }

    fn reopen(&self) {
        if *self.stop.borrow() {
            return;
        }
        let opened = open(&self.path, &self.records);
        *self.current.write() = opened.map(Arc::new);
    }

    /// Brings the index up to the records again and again.
    fn follow(
        &mut self,
        runtime: &tokio::runtime::Runtime,
        failing: &mut bool,
    ) -> std::result::Result<(), Halt> {
        let opened = self.current.read().clone().map_err(Halt::Opening)?;
        let writer = index::writer(&opened.index)?;
        let mut last = self.records.last();
        let committed = Payload::of(&opened.index)?.last;
        let replayed = *last.borrow_and_update();
        let mut work = Work { writer, opened, committed, replayed, first: 0, looked: None, settled: true };
        if replayed.saturating_sub(committed) > BEHIND {
            tracing::info!(records = replayed - committed, "the search index catches up");
        }
        loop {
            work.forget(&*self.records)?;
            let upto = *last.borrow_and_update();
            let behind = upto.saturating_sub(work.committed) > BEHIND;
            while work.committed < upto && !*self.stop.borrow() {
                if !self.records.has_room() {
                    return Err(Halt::NoRoom);
                }
                work.commit(&*self.records, upto)?;
            }
            if behind && !*self.stop.borrow() {
                tracing::info!(last = work.committed, "the search index is up to date");
            }
            if std::mem::replace(failing, false) {
                tracing::info!("records are searchable again");
            }
            if !runtime.block_on(self.wait(&mut last, &mut work))? {
                return Ok(());
            }
        }
    }

    /// Waits for records, and then for some more of them; answers whether to go on.
    async fn wait(
        &mut self,
        last: &mut watch::Receiver<u64>,
        work: &mut Work,
    ) -> std::result::Result<bool, Halt> {
        let idle = if work.settled { FORGET_EVERY } else { SETTLE };
        tokio::select! {
            changed = last.changed() => changed.map_err(|_| Halt::Closed)?,
            _ = self.stop.changed() => return Ok(false),
            () = tokio::time::sleep(idle) => {
                if !std::mem::replace(&mut work.settled, true) {
                    work.opened.reader.reload()?;
                }
                return Ok(true);
            }
        }
        tokio::select! {
            () = tokio::time::sleep(GATHER) => Ok(true),
            _ = self.stop.changed() => Ok(false),
        }
    }
}

/// The index being written.
struct Work {
    writer: IndexWriter,
    opened: Arc<Opened>,
    /// The last record that is in the index.
    committed: u64,
    /// The last record that another process may have written to the index.
    replayed: u64,
    /// The first record that may be in it.
    first: u64,
    looked: Option<Instant>,
    /// Whether the reader has seen the last merge.
    settled: bool,
}

impl Work {
    /// Commits the next records, up to one of them.
    fn commit(&mut self, records: &dyn Records, upto: u64) -> std::result::Result<(), Halt> {
        let (mut count, mut bytes) = (0, 0);
        let (mut handed, mut handed_bytes) = (Vec::with_capacity(HANDED_RECORDS), 0);
        let mut reached = self.committed;
        let mut failure = None;
        let (writer, fields, replayed) = (&self.writer, &self.opened.fields, self.replayed);
        records.after(self.committed, &mut |number, size, record| {
            if number > upto {
                return false;
            }
            if number <= replayed {
                handed.push(UserOperation::Delete(Term::from_field_text(fields.id, &record.id.to_string())));
            }
            handed.push(UserOperation::Add(document(fields, number, &record)));
            handed_bytes += size;
            if handed.len() >= HANDED_RECORDS || handed_bytes >= HANDED_BYTES {
                handed_bytes = 0;
                let next = Vec::with_capacity(HANDED_RECORDS);
                if let Err(error) = writer.run(std::mem::replace(&mut handed, next)) {
                    failure = Some(error);
                    return false;
                }
            }
            (count, bytes, reached) = (count + 1, bytes + size, number);
            count < COMMIT_RECORDS && bytes < COMMIT_BYTES
        })?;
        if let Some(error) = failure {
            return Err(error.into());
        }
        self.writer.run(handed)?;
        // What was asked for may be gone already.
        let reached = if count < COMMIT_RECORDS && bytes < COMMIT_BYTES { upto } else { reached };
        self.publish(reached)
    }

    fn publish(&mut self, reached: u64) -> std::result::Result<(), Halt> {
        fail::fail_point!("search::before_commit");
        let mut commit = self.writer.prepare_commit()?;
        commit.set_payload(&Payload::text(reached));
        commit.commit()?;
        self.opened.reader.reload()?;
        self.committed = reached;
        self.settled = false;
        Ok(())
    }

    /// Takes records that retention has dropped, which are always the first ones, out of the index.
    fn forget(&mut self, records: &dyn Records) -> std::result::Result<(), Halt> {
        if self.looked.is_some_and(|at| at.elapsed() < FORGET_EVERY) {
            return Ok(());
        }
        self.looked = Some(Instant::now());
        let first = records.first()?.unwrap_or(self.committed + 1);
        if first <= self.first {
            return Ok(());
        }
        let gone = Term::from_field_u64(self.opened.fields.number, first);
        self.writer.delete_query(Box::new(RangeQuery::new(Bound::Unbounded, Bound::Excluded(gone))))?;
        self.first = first;
        self.publish(self.committed)
    }
}
