//! The embedded store: everything in one fjall database below one directory.
//!
//! One writer thread makes all writes, many callers to a synced batch (`writer`). A crash at any instruction leaves the last synced
//! batch whole and nothing of the next.

mod dead_letters;
mod disk;
mod entities;
mod feeds;
mod lock;
mod log;
mod records;
mod retention;
mod searched;
mod shared;
mod state;
mod subjects;
mod tables;
mod transaction;
mod writer;

#[cfg(test)]
mod golden;
#[cfg(test)]
mod tests;

use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::seal::Seal;
use crate::search::Search;
use crate::{Haste, Result, StoreError};

use disk::Disk;
use lock::Lock;
use searched::Searched;
use shared::Shared;
use transaction::Transaction;
use writer::Request;

/// Writes that wait for the writer; a caller that comes later waits to be let in.
const REQUESTS_MAX: usize = 4096;

/// How much the store keeps, and for how long.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long events are kept for replay.
    pub events_age: Duration,
    /// How many bytes of events are kept for replay.
    pub events_bytes_max: u64,
    /// How long keys of events are kept.
    pub keys_age: Duration,
    /// How many keys a feed keeps.
    pub keys_per_feed: u64,
    /// Pending invocations of a namespace.
    pub namespace_events: u64,
    /// Bytes of pending invocations of a namespace.
    pub namespace_bytes: u64,
    /// Pending invocations of a feed.
    pub feed_events: u64,
    /// Bytes of pending invocations of a feed.
    pub feed_bytes: u64,
    /// Free disk below which new work is refused.
    pub disk_reserve_bytes: u64,
    /// How long records are kept.
    pub records_age: Duration,
    /// How many bytes of records are kept.
    pub records_bytes_max: u64,
    /// How long dead letters are kept.
    pub dead_letters_age: Duration,
    /// How many bytes of dead letters are kept.
    pub dead_letters_bytes_max: u64,
}

impl Default for Options {
    fn default() -> Self {
        const HOUR: Duration = Duration::from_secs(3600);
        Self {
            events_age: HOUR * 24,
            events_bytes_max: 1 << 30,
            keys_age: HOUR * 24 * 7,
            keys_per_feed: 1_000_000,
            namespace_events: 1_000_000,
            namespace_bytes: 1 << 30,
            feed_events: 500_000,
            feed_bytes: 1 << 29,
            disk_reserve_bytes: 512 << 20,
            records_age: HOUR * 24 * 7,
            records_bytes_max: 16 << 30,
            dead_letters_age: HOUR * 24 * 30,
            dead_letters_bytes_max: 1 << 30,
        }
    }
}

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another hub has it open.
    #[error(
        "another hub (process {pid}) uses this data directory: stop it, or start this one with another --data-dir"
    )]
    InUse {
        /// The other hub's process, where its lock file tells it.
        pid: String,
    },
    /// The directory cannot be made or read.
    #[error("the directory cannot be used")]
    Directory(#[source] std::io::Error),
    /// What is in it cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The embedded store. It is closed, and all its threads ended, when this is dropped; dropping blocks.
pub struct Embedded {
    shared: Arc<Shared>,
    options: Options,
    seal: Arc<Seal>,
    requests: Mutex<Option<SyncSender<Request>>>,
    writer: Mutex<Option<JoinHandle<()>>>,
    search: Search,
    _lock: Lock,
}

impl Embedded {
    /// Opens the store in `directory`, which is made where it is missing. Blocks while it recovers.
    pub fn open(directory: &Path, options: Options) -> std::result::Result<Self, OpenError> {
        make_directory(directory).map_err(OpenError::Directory)?;
        let lock = Lock::take(directory)?;
        let seal = Arc::new(Seal::open(&directory.join("master.key"))?);
        let database = directory.join("db");
        private_directory(&database).map_err(OpenError::Directory)?;
        let shared = Arc::new(Shared::open(database, Disk::new(directory, options.disk_reserve_bytes))?);
        let (requests, receiver) = sync_channel(REQUESTS_MAX);
        let writers = shared.clone();
        let writer = std::thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || writer::run(&receiver, &writers))
            .map_err(OpenError::Directory)?;
        let records = Searched::new(shared.clone(), directory, options.disk_reserve_bytes);
        let search =
            Search::open(&directory.join("index"), Arc::new(records)).map_err(OpenError::Directory)?;
        Ok(Self {
            shared,
            search,
            options,
            seal,
            requests: Mutex::new(Some(requests)),
            writer: Mutex::new(Some(writer)),
            _lock: lock,
        })
    }

    /// Writes through the writer: `apply` adds to its batch and gives the answer, which is returned once it is on disk.
    async fn write<T: Send + 'static>(
        &self,
        apply: impl FnOnce(&mut Transaction<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.write_with(Haste::Now, apply).await
    }

    async fn write_with<T: Send + 'static>(
        &self,
        haste: Haste,
        apply: impl FnOnce(&mut Transaction<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (sender, receiver) = oneshot::channel();
        self.submit(Request {
            haste,
            apply: Box::new(move |transaction| {
                let answer = transaction.and_then(|transaction| transaction.request(apply));
                Box::new(move |failure| {
                    let answer = match failure {
                        Some(failure) => answer.and(Err(failure)),
                        None => answer,
                    };
                    // The caller may have gone; what is written is written.
                    let _ = sender.send(answer);
                })
            }),
        })
        .await?;
        receiver.await.map_err(|_| closed())?
    }

    /// Gives a request to the writer, waiting for room.
    async fn submit(&self, mut request: Request) -> Result<()> {
        /// How long a caller waits before it looks again whether there is room.
        const FULL: Duration = Duration::from_millis(1);
        loop {
            let sender = self.requests.lock().clone().ok_or_else(closed)?;
            match sender.try_send(request) {
                Ok(()) => return Ok(()),
                Err(std::sync::mpsc::TrySendError::Full(back)) => request = back,
                Err(std::sync::mpsc::TrySendError::Disconnected(_)) => return Err(closed()),
            }
            tokio::time::sleep(FULL).await;
        }
    }

    /// Runs a read that may block on the disk beside the async threads.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&tables::Tables) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let tables = self.shared.tables()?;
        tokio::task::spawn_blocking(move || read(&tables))
            .await
            .map_err(|error| StoreError::Unavailable(format!("a read broke off: {error}")))?
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.search.close();
        self.requests.lock().take();
        if let Some(writer) = self.writer.lock().take()
            && writer.join().is_err()
        {
            tracing::error!("the store's writer broke off");
        }
    }
}

fn make_directory(path: &Path) -> std::io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// A directory that only the hub's user may enter, whatever the umask makes of the files in it: the engines open their
/// files themselves. The data directory may be the user's own (a mount point), so it is left as it is.
fn private_directory(path: &Path) -> std::io::Result<()> {
    make_directory(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700))
}

fn closed() -> StoreError {
    StoreError::Unavailable("the store is closed".into())
}
