//! One running container, and what it leaves.
//!
//! What it leaves is removed by whoever lets go of it last: [`OciContainer::destroy`], or a thread when it is dropped. What
//! a hub that is killed leaves is swept by the next one.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::process::Child;

use crate::capture::Capture;
use crate::session::{Failure, Session};
use crate::{Answer, Call, CapturedLogs, Container, ContainerError};

use super::cgroup::Cgroup;
use super::oom::OomEvents;
use super::uids::Lease;

/// How long the end of a process is waited for, to tell why a connection broke.
const EXIT: Duration = Duration::from_secs(2);

/// One running container.
pub(super) struct OciContainer {
    pub(super) session: Session,
    pub(super) capture: Capture,
    pub(super) oom_events: OnceLock<OomEvents>,
    /// The OCI runtime's process, which lives as long as the container.
    pub(super) child: tokio::sync::Mutex<Child>,
    pub(super) remains: Remains,
    pub(super) _socket: SocketDir,
}

/// Groups that stayed busy when their containers ended; they are tried again.
pub(super) type Leftovers = Arc<Mutex<Vec<Cgroup>>>;

/// What a container leaves, removed when this is dropped.
pub(super) struct Remains {
    cgroup: Cgroup,
    left: Mutex<Option<Left>>,
}

struct Left {
    cgroup: Cgroup,
    /// Its directory with the specification and the socket, and that of the runtime's state.
    directories: [PathBuf; 2],
    leftovers: Leftovers,
    _uid: Lease,
}

impl Remains {
    pub(super) fn new(cgroup: Cgroup, directories: [PathBuf; 2], leftovers: Leftovers, uid: Lease) -> Self {
        let left = Left { cgroup: cgroup.clone(), directories, leftovers, _uid: uid };
        Self { cgroup, left: Mutex::new(Some(left)) }
    }

    /// Removes everything, and waits for it.
    async fn end(&self) {
        let left = self.left.lock().take();
        if let Some(left) = left {
            // The task ends by itself; a panic would be a fault of ours and is in the log.
            let _ = tokio::task::spawn_blocking(move || left.remove()).await;
        }
    }
}

impl Drop for Remains {
    fn drop(&mut self) {
        if let Some(left) = self.left.get_mut().take() {
            // It waits for processes to die, and there may be no runtime any more.
            std::thread::spawn(move || left.remove());
        }
    }
}

impl Left {
    /// Ends all processes and removes everything; blocks.
    fn remove(&self) {
        self.cgroup.kill();
        if !self.cgroup.remove() {
            tracing::warn!(cgroup = ?self.cgroup, "a container's control group stays busy");
            self.leftovers.lock().push(self.cgroup.clone());
        }
        for directory in &self.directories {
            if let Err(error) = std::fs::remove_dir_all(directory)
                && error.kind() != std::io::ErrorKind::NotFound
            {
                tracing::warn!(directory = %directory.display(), %error, "a container's directory cannot be removed");
            }
        }
    }
}

/// Tries again to remove groups that stayed busy.
pub(super) fn remove_again(leftovers: &Leftovers) {
    leftovers.lock().retain(|cgroup| !cgroup.try_remove());
}

/// A directory that is held open, so that a socket in it has a short name whatever the directory's is: names of sockets
/// have 108 bytes at most (unix(7)).
pub(super) struct SocketDir(OwnedFd);

impl SocketDir {
    pub(super) fn open(directory: &Path) -> std::io::Result<Self> {
        Ok(Self(std::fs::File::open(directory)?.into()))
    }

    pub(super) fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}/s", self.0.as_raw_fd()))
    }
}

impl OciContainer {
    /// Waits for the end of the container's first process, after which the runtime has removed its group.
    pub(super) async fn exited(&self) -> String {
        match self.child.lock().await.wait().await {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        }
    }

    /// Why a connection broke.
    async fn out_of_memory(&self) -> bool {
        let Some(events) = self.oom_events.get() else { return false };
        if events.counted() {
            return true;
        }
        // One that closed its connection and lives on is not out of memory.
        tokio::time::timeout(EXIT, self.exited()).await.is_ok() && events.happened().await
    }

    fn freeze(&self, frozen: bool) -> Result<(), ContainerError> {
        let what = if frozen { "paused" } else { "resumed" };
        let frozen = self.remains.cgroup.freeze(frozen);
        frozen.map_err(|error| ContainerError::Engine(format!("a container cannot be {what}: {error}")))
    }
}

#[async_trait]
impl Container for OciContainer {
    async fn call(
        &self,
        call: Call,
        body: Bytes,
        timeout: Duration,
        body_bytes_max: usize,
    ) -> Result<Answer, ContainerError> {
        let answer = tokio::select! {
            answer = self.session.call(call, body, timeout, body_bytes_max) => answer,
            never = self.capture.follow() => match never {},
        };
        match answer {
            Ok(answer) => Ok(answer),
            Err(Failure::Timeout(after)) => Err(ContainerError::Timeout(after)),
            Err(Failure::Unheard) => Err(ContainerError::Gone { out_of_memory: false, unheard: true }),
            Err(Failure::Broken) => {
                Err(ContainerError::Gone { out_of_memory: self.out_of_memory().await, unheard: false })
            }
        }
    }

    async fn logs(&self, bytes_max: u64, wait: Duration) -> CapturedLogs {
        self.capture.take(bytes_max, wait).await
    }

    async fn pause(&self) -> Result<(), ContainerError> {
        self.freeze(true)
    }

    async fn resume(&self) -> Result<(), ContainerError> {
        self.freeze(false)
    }

    async fn destroy(&self) {
        let cgroup = self.remains.cgroup.clone();
        // As in `Remains::end`.
        let _ = tokio::task::spawn_blocking(move || cgroup.kill()).await;
        let mut child = self.child.lock().await;
        if tokio::time::timeout(EXIT, child.wait()).await.is_err() {
            let _ = child.kill().await;
        }
        self.remains.end().await;
    }
}
