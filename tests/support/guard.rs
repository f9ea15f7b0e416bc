//! Ends a server with the tests: one that many tests share is never dropped, and the tests may be ended from outside.

use std::process::{Child, Command, Stdio};

/// Ends a process when this one is gone, however it goes.
pub struct Guard(Child);

impl Guard {
    /// A guard of the process `pid`.
    pub fn of(pid: u32) -> Self {
        Self::of_target(&pid.to_string())
    }

    /// A guard of the process group `group`.
    pub fn of_group(group: u32) -> Self {
        Self::of_target(&format!("-{group}"))
    }

    fn of_target(target: &str) -> Self {
        // It waits for the end of its input, which comes with the end of this process.
        let script = format!("trap '' INT TERM; cat >/dev/null; kill -9 {target} 2>/dev/null");
        let child = Command::new("sh").args(["-c", &script]).stdin(Stdio::piped()).spawn().unwrap();
        Self(child)
    }
}

impl Drop for Guard {
    /// The process is over: nobody else may be hit who has its number now.
    fn drop(&mut self) {
        let _ended_already = self.0.kill();
        self.0.wait().unwrap();
    }
}
