//! Whether the kernel killed a process of a container for its memory: told by the control group's own counters, never by
//! an exit status, which an action may choose.
//!
//! The OCI runtime removes a container's group as soon as its first process has ended, and the counters with it. Version 2
//! counts in the group above as well, which is the hub's. Version 1 does not; there the kernel signals an eventfd once for
//! each shortage, and once more when the group is removed.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::eventfd::{EfdFlags, EventFd};

/// How long the kernel may take to signal the removal of a group, on a busy machine; it is some 15 ms on an idle one.
const REMOVAL_MS: u16 = 500;

/// The memory events of one container.
pub(super) enum OomEvents {
    /// The file of counters of version 2.
    Unified(PathBuf),
    /// The counters of version 1, and the signals.
    Signalled { counters: File, signals: Arc<EventFd> },
}

impl OomEvents {
    /// Counts the events of the version 1 group at `path`.
    pub(super) fn signalled(path: &Path) -> std::io::Result<Self> {
        let counters = File::open(path.join("memory.oom_control"))?;
        let signals = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        let wish = format!("{} {}", signals.as_fd().as_raw_fd(), counters.as_raw_fd());
        std::fs::write(path.join("cgroup.event_control"), wish)?;
        Ok(Self::Signalled { counters, signals: Arc::new(signals) })
    }

    /// Whether a process was killed, as far as it is known while the group is there.
    pub(super) fn counted(&self) -> bool {
        let text = match self {
            Self::Unified(path) => std::fs::read_to_string(path).unwrap_or_default(),
            Self::Signalled { counters, .. } => {
                let mut text = vec![0; 256];
                let length = counters.read_at(&mut text, 0).unwrap_or(0);
                text.truncate(length);
                String::from_utf8_lossy(&text).into_owned()
            }
        };
        text.lines().any(|line| line.strip_prefix("oom_kill ").is_some_and(|count| count != "0"))
    }

    /// The same after the container's end, whether the group is still there or not.
    pub(super) async fn happened(&self) -> bool {
        if self.counted() {
            return true;
        }
        let Self::Signalled { signals, .. } = self else { return false };
        let signals = signals.clone();
        match tokio::task::spawn_blocking(move || shortage(&signals)).await {
            Ok(Ok(happened)) => happened,
            // It ends by itself; what is left is a fault of the kernel's or ours.
            Ok(Err(_)) | Err(_) => false,
        }
    }
}

/// Waits for a second signal: one is that of the removal. Blocks.
fn shortage(signals: &EventFd) -> nix::Result<bool> {
    let watch = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    watch.add(signals, EpollEvent::new(EpollFlags::EPOLLIN, 0))?;
    let mut seen = 0;
    loop {
        // Nothing to read is no signal.
        seen += signals.read().unwrap_or(0);
        if seen > 1 {
            return Ok(true);
        }
        if watch.wait(&mut [EpollEvent::empty()], REMOVAL_MS)? == 0 {
            return Ok(false);
        }
    }
}
