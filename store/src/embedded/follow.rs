//! Keeps the search index behind the records: a thread that reads new records by number and adds them.
//!
//! The index's commit holds the number of its last record. After a crash it goes on from there; a record that is added
//! twice is one record.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::search::Index;
use crate::{Result, StoreError};

use super::records;
use super::shared::Shared;

/// Records read at once.
const STEP: usize = 2000;
/// How long added records may wait for a commit, which makes them searchable. A commit costs some milliseconds.
const COMMIT_EVERY: Duration = Duration::from_millis(400);
/// How often the thread looks for new records.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The thread, and the index that it fills.
pub(super) struct Follower {
    index: Arc<Index>,
    stopping: Arc<AtomicBool>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Follower {
    pub(super) fn start(directory: &Path, shared: Arc<Shared>) -> Result<Self> {
        let index = Arc::new(Index::open(directory)?);
        let stopping = Arc::new(AtomicBool::new(false));
        let (indexed, stop) = (index.clone(), stopping.clone());
        let thread = std::thread::Builder::new()
            .name("search-follower".into())
            .spawn(move || follow(&indexed, &shared, &stop))
            .map_err(|error| StoreError::Unavailable(format!("a thread: {error}")))?;
        Ok(Self { index, stopping, thread: Mutex::new(Some(thread)) })
    }

    pub(super) fn index(&self) -> Arc<Index> {
        self.index.clone()
    }

    /// Ends the thread; what is not committed is added again at the next start.
    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.lock().take()
            && thread.join().is_err()
        {
            tracing::error!("the search index's thread broke off");
        }
    }
}

fn follow(index: &Index, shared: &Shared, stopping: &AtomicBool) {
    let mut last = index.last_number();
    let (mut uncommitted, mut committed_at) = (false, Instant::now());
    while !stopping.load(Ordering::Relaxed) {
        let step = add(index, shared, &mut last).and_then(|added| {
            uncommitted |= added > 0;
            if uncommitted && committed_at.elapsed() >= COMMIT_EVERY {
                index.commit()?;
                (uncommitted, committed_at) = (false, Instant::now());
            }
            Ok(added)
        });
        match step {
            Ok(added) if added == STEP => {}
            Ok(_) => std::thread::sleep(LOOK_EVERY),
            Err(error) => {
                tracing::warn!(%error, "the search index falls behind; trying again");
                std::thread::sleep(COMMIT_EVERY);
            }
        }
    }
}

/// Adds the next records, and answers how many.
fn add(index: &Index, shared: &Shared, last: &mut u64) -> Result<usize> {
    if *shared.last_record.borrow() <= *last {
        return Ok(0);
    }
    let found = records::after(&*shared.tables()?, *last, STEP)?;
    if let Some((number, _)) = found.last() {
        index.apply(&found)?;
        *last = *number;
    }
    Ok(found.len())
}
