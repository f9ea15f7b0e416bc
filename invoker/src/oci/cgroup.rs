//! The control groups of a container, in the layout that the machine has: version 1 (or hybrid), or version 2.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::oom::OomEvents;

const ROOT: &str = "/sys/fs/cgroup";
/// How often killed processes are looked for, and for how long.
const KILL_STEP: Duration = Duration::from_millis(2);
const KILL_STEPS_MAX: u32 = 2500;
/// How often the removal of a group is tried whose last process is still on its way out.
const REMOVE_STEPS_MAX: u32 = 500;
/// In version 2 the container's group lies below one of the hub's, which outlives it with its counters.
const LEAF: &str = "c";

/// Whether the machine has version 2 alone.
pub(super) fn is_unified() -> bool {
    Path::new(ROOT).join("cgroup.controllers").exists()
}

/// Whether version 2 is mounted beside version 1, which crun refuses.
pub(super) fn is_hybrid() -> bool {
    !is_unified() && Path::new(ROOT).join("unified").is_dir()
}

/// One container's group.
#[derive(Clone, Debug)]
pub(super) struct Cgroup {
    /// `triggerfish-<hash>/<name>`, below each hierarchy.
    path: PathBuf,
}

impl Cgroup {
    pub(super) fn new(group: &str, name: &str) -> Self {
        Self { path: Path::new(group).join(name) }
    }

    /// The group that the OCI runtime is to make and to remove.
    pub(super) fn of_runtime(&self) -> PathBuf {
        let path = Path::new("/").join(&self.path);
        if is_unified() { path.join(LEAF) } else { path }
    }

    /// The memory events of the container, once its group is there.
    pub(super) fn oom_events(&self) -> std::io::Result<OomEvents> {
        if is_unified() {
            return Ok(OomEvents::Unified(Path::new(ROOT).join(&self.path).join("memory.events")));
        }
        OomEvents::signalled(&Path::new(ROOT).join("memory").join(&self.path))
    }

    /// Its directories, those inside others first.
    fn hierarchies(&self) -> Vec<PathBuf> {
        if is_unified() {
            let path = Path::new(ROOT).join(&self.path);
            return [path.join(LEAF), path].into_iter().filter(|path| path.is_dir()).collect();
        }
        let entries = fs::read_dir(ROOT).into_iter().flatten().flatten();
        entries.map(|entry| entry.path().join(&self.path)).filter(|path| path.is_dir()).collect()
    }

    /// Freezes or thaws all processes.
    pub(super) fn freeze(&self, frozen: bool) -> std::io::Result<()> {
        if is_unified() {
            return fs::write(
                Path::new(ROOT).join(&self.path).join("cgroup.freeze"),
                if frozen { "1" } else { "0" },
            );
        }
        let state = if frozen { "FROZEN" } else { "THAWED" };
        fs::write(Path::new(ROOT).join("freezer").join(&self.path).join("freezer.state"), state)
    }

    fn processes(&self) -> Vec<Pid> {
        let mut found = Vec::new();
        for hierarchy in self.hierarchies() {
            let text = fs::read_to_string(hierarchy.join("cgroup.procs")).unwrap_or_default();
            found.extend(text.lines().filter_map(|line| line.parse().ok()).map(Pid::from_raw));
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Kills all processes and waits until they are gone; blocks.
    pub(super) fn kill(&self) {
        for _ in 0..KILL_STEPS_MAX {
            let processes = self.processes();
            if processes.is_empty() {
                return;
            }
            for process in processes {
                // It may be gone already.
                let _ = kill(process, Signal::SIGKILL);
            }
            // A frozen process dies only when it is thawed.
            let _ = self.freeze(false);
            std::thread::sleep(KILL_STEP);
        }
        tracing::error!(cgroup = %self.path.display(), "processes of a container do not die");
    }

    /// Removes the groups, where the runtime did not; blocks while they are busy. Whether they are gone.
    pub(super) fn remove(&self) -> bool {
        for _ in 0..REMOVE_STEPS_MAX {
            if self.try_remove() {
                return true;
            }
            std::thread::sleep(KILL_STEP);
        }
        false
    }

    /// The same, tried once.
    pub(super) fn try_remove(&self) -> bool {
        self.hierarchies().iter().all(|hierarchy| match fs::remove_dir(hierarchy) {
            Ok(()) => true,
            Err(error) => error.kind() == std::io::ErrorKind::NotFound,
        })
    }

    /// Removes what a hub's containers had in common; nothing where some are left.
    pub(super) fn remove_hub(group: &str) {
        Self { path: PathBuf::from(group) }.try_remove();
    }

    /// The names of all containers of a hub.
    pub(super) fn of_hub(group: &str) -> Vec<String> {
        let top = Self { path: PathBuf::from(group) };
        let mut names = Vec::new();
        for hierarchy in top.hierarchies() {
            for entry in fs::read_dir(hierarchy).into_iter().flatten().flatten() {
                if entry.path().is_dir() {
                    names.push(entry.file_name().to_string_lossy().into_owned());
                }
            }
        }
        names.sort_unstable();
        names.dedup();
        names
    }
}
