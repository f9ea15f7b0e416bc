//! One hub to a data directory: an advisory lock that the kernel releases when its process dies.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::fcntl::{Flock, FlockArg};

use super::OpenError;

/// Held as long as the store is open.
pub(super) struct Lock(#[expect(dead_code, reason = "held, not read")] Flock<File>);

impl Lock {
    pub(super) fn take(directory: &Path) -> Result<Self, OpenError> {
        let path = directory.join("hub.lock");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(OpenError::Directory)?;
        let mut holder = String::new();
        // A file that cannot be read as text names no holder.
        let _ = file.read_to_string(&mut holder);
        let mut lock =
            Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| match errno {
                nix::errno::Errno::EAGAIN => {
                    OpenError::InUse { pid: if holder.is_empty() { "unknown".into() } else { holder } }
                }
                errno => OpenError::Directory(errno.into()),
            })?;
        lock.set_len(0)
            .and_then(|()| lock.rewind())
            .and_then(|()| write!(lock, "{}", std::process::id()))
            .map_err(OpenError::Directory)?;
        Ok(Self(lock))
    }
}
