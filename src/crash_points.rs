//! Crash points for the crash tests: with the variable `FAILPOINT_CRASH_AT` the process kills itself, as `kill -9` would,
//! when it comes to a failpoint for the given time. Only in builds with the feature `failpoints`.

use std::sync::atomic::{AtomicU32, Ordering};

/// Arms the crash point that the environment names, `name=pass`.
///
/// # Panics
/// Where the variable cannot be read: a test that asks for a crash must get it.
pub fn arm() {
    let Ok(text) = std::env::var("FAILPOINT_CRASH_AT") else { return };
    let (name, pass) = text.split_once('=').expect("FAILPOINT_CRASH_AT is of the form name=pass");
    let pass: u32 = pass.parse().expect("FAILPOINT_CRASH_AT ends with a number");
    let passes = AtomicU32::new(0);
    fail::cfg_callback(name, move || {
        if passes.fetch_add(1, Ordering::SeqCst) + 1 == pass {
            // SIGKILL runs no handler and flushes nothing, as a crash.
            let _ = nix::sys::signal::kill(nix::unistd::Pid::this(), nix::sys::signal::Signal::SIGKILL);
        }
    })
    .expect("the failpoint can be armed");
}
