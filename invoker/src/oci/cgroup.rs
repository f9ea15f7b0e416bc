//! The control groups of a container, in the layout that the machine has: version 1 (or hybrid), or version 2.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const ROOT: &str = "/sys/fs/cgroup";
/// How often killed processes are looked for, and for how long.
const KILL_STEP: Duration = Duration::from_millis(2);
const KILL_STEPS_MAX: u32 = 2500;

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

    fn hierarchies(&self) -> Vec<PathBuf> {
        if is_unified() {
            return vec![Path::new(ROOT).join(&self.path)];
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

    /// Removes the groups, where the runtime did not.
    pub(super) fn remove(&self) {
        for hierarchy in self.hierarchies() {
            // A group that is gone already, or busy for a moment, goes with the next sweep.
            let _ = fs::remove_dir(hierarchy);
        }
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
