//! The reserve of free disk: below it new work is refused, so that what is under way can still be completed.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::{Result, StoreError};

/// How long a reading of the free space is used. What can be written in this time is far below any sane reserve.
const READING: Duration = Duration::from_millis(100);

/// Watches the file system of the data directory.
pub(super) struct Disk {
    path: PathBuf,
    reserve: u64,
    free: AtomicU64,
    read_at: Mutex<Option<Instant>>,
}

impl Disk {
    pub(super) fn new(path: &Path, reserve: u64) -> Self {
        Self { path: path.to_owned(), reserve, free: AtomicU64::new(u64::MAX), read_at: Mutex::new(None) }
    }

    /// Bytes free for the hub, at most [`READING`] old.
    pub(super) fn free(&self) -> u64 {
        if let Some(mut read_at) = self.read_at.try_lock()
            && read_at.is_none_or(|at| at.elapsed() > READING)
        {
            *read_at = Some(Instant::now());
            match self.free_now() {
                Ok(free) => self.free.store(free, Ordering::Relaxed),
                Err(error) => {
                    tracing::warn!(path = %self.path.display(), %error, "the free space cannot be read")
                }
            }
        }
        self.free.load(Ordering::Relaxed)
    }

    fn free_now(&self) -> nix::Result<u64> {
        let stat = nix::sys::statvfs::statvfs(&self.path)?;
        Ok(stat.blocks_available() * stat.fragment_size())
    }

    /// A failed write with where it failed and how much room there is: mostly, that is why.
    pub(super) fn explain(&self, error: StoreError) -> StoreError {
        match (error, self.free_now()) {
            (StoreError::Unavailable(why), Ok(free)) => {
                let (path, mb) = (self.path.display(), free >> 20);
                StoreError::Unavailable(format!("{why} ({mb} MB are free at `{path}`)"))
            }
            (error, _) => error,
        }
    }

    /// Refuses new work where less than the reserve is free.
    pub(super) fn check(&self) -> Result<()> {
        let free = self.free();
        if free >= self.reserve {
            return Ok(());
        }
        Err(StoreError::DiskFull {
            path: self.path.display().to_string(),
            free_mb: free >> 20,
            reserve_mb: self.reserve >> 20,
        })
    }
}
