//! The hub as a process that can be killed.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use super::client::Client;

/// How long a start may take: on a busy machine with thousands of records to recover.
const START: Duration = Duration::from_secs(120);

/// A running hub. It is killed when this is dropped.
pub struct Hub {
    child: Child,
    address: String,
    /// Everything that it logged so far, in order.
    log: std::sync::Arc<std::sync::Mutex<Vec<String>>>,
}

/// How to start a hub.
#[derive(Clone, Default)]
pub struct Start {
    pub env: Vec<(String, String)>,
    pub args: Vec<String>,
    /// The address; a free port where absent.
    pub listen: Option<String>,
}

impl Start {
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Starts a hub with `--dev` on `data_dir`. `Err` is its log where it ended before it was ready.
    pub fn start(&self, data_dir: &Path) -> Result<Hub, String> {
        // Another build to compare with: `HUB_BINARY=/old/triggerfish make bench`.
        let binary = std::env::var("HUB_BINARY");
        let mut command = Command::new(binary.as_deref().unwrap_or(env!("CARGO_BIN_EXE_triggerfish")));
        command
            .args([
                "serve",
                "--dev",
                "--listen",
                self.listen.as_deref().unwrap_or("127.0.0.1:0"),
                "--data-dir",
            ])
            .arg(data_dir)
            .args(&self.args)
            .current_dir(std::env::temp_dir())
            .env("TRIGGERFISH_LOG__FORMAT", "json")
            .env("TRIGGERFISH_EVENTS__DISK_RESERVE_MB", "64")
            .envs(self.env.iter().map(|(k, v)| (k, v)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("the hub's binary was built with the tests");
        let stderr = BufReader::new(child.stderr.take().expect("stderr is piped"));
        let log = std::sync::Arc::<std::sync::Mutex<Vec<String>>>::default();
        let (ready, is_ready) = mpsc::channel();
        let lines = log.clone();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let address = serde_json::from_str::<serde_json::Value>(&line)
                    .ok()
                    .filter(|entry| entry["message"] == "the hub is ready")
                    .and_then(|entry| entry["address"].as_str().map(str::to_owned));
                lines.lock().unwrap().push(line);
                if let Some(address) = address {
                    // The test may have given up.
                    let _ = ready.send(address);
                }
            }
        });
        match is_ready.recv_timeout(START) {
            Ok(address) => Ok(Hub { child, address, log }),
            Err(error) => {
                // It has closed its log: it is dead, or about to be.
                let why = if error == mpsc::RecvTimeoutError::Timeout {
                    child.kill().expect("the child is ours");
                    "it was not within its time, and was killed".to_owned()
                } else {
                    format!("it ended by itself: {}", child.wait().expect("the child is ours"))
                };
                // Where it was killed above, this is its end.
                let _ = child.wait();
                let log = log.lock().unwrap().join("\n");
                Err(format!("the hub is not ready ({why}):\n{log}"))
            }
        }
    }

    /// Starts a hub that kills itself at the `pass`-th pass of the failpoint `step`. `None` where it did so before it was
    /// ready, of what it had to catch up with.
    pub fn start_to_die(&self, step: &str, pass: u32, data_dir: &Path) -> Option<Hub> {
        match self.clone().env("FAILPOINT_CRASH_AT", &format!("{step}={pass}")).start(data_dir) {
            Ok(hub) => Some(hub),
            Err(log) if log.contains("it ended by itself: signal: 9") => None,
            Err(log) => panic!("{step}: {log}"),
        }
    }
}

impl Hub {
    /// A hub with `--dev` and nothing special.
    pub fn start(data_dir: &Path) -> Self {
        Start::default().start(data_dir).unwrap_or_else(|log| panic!("{log}"))
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    /// A client with the development key.
    pub fn client(&self) -> Client {
        Client::new(&self.address)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().join("\n")
    }

    /// Whether it still runs.
    pub fn is_alive(&mut self) -> bool {
        self.child.try_wait().expect("the child is ours").is_none()
    }

    /// SIGKILL, and the end of it.
    pub fn kill(mut self) {
        self.child.kill().expect("the child is ours");
        self.child.wait().expect("the child is ours");
    }

    /// Waits for it to die by itself (at a crash point).
    pub fn died(&mut self) -> bool {
        !self.is_alive()
    }

    /// SIGTERM, and its orderly end.
    pub fn stop(mut self) -> std::process::ExitStatus {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).expect("the child is ours");
        self.child.wait().expect("the child is ours")
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        // It may have been killed or stopped already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
