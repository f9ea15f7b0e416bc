//! A real Mosquitto, started by hand on loopback with the limits of a broker that keeps everything.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A broker; it ends when this is dropped.
pub struct Broker {
    child: Option<Child>,
    config: PathBuf,
    pub port: u16,
}

impl Broker {
    /// Starts a broker that keeps its state in `directory`; `extra` are further lines of its configuration.
    pub fn start(directory: &Path, extra: &str) -> Self {
        let port = super::free_port();
        let config = directory.join("mosquitto.conf");
        let anonymous = if extra.contains("allow_anonymous") { "" } else { "allow_anonymous true\n" };
        let text = format!(
            "listener {port} 127.0.0.1\n{anonymous}persistence true\npersistence_location {}/\nautosave_interval 1\n\
             max_queued_messages 0\nmax_inflight_messages 1000\nuser root\n{extra}\n",
            directory.display()
        );
        std::fs::write(&config, text).unwrap();
        let mut broker = Self { child: None, config, port };
        broker.resume();
        broker
    }

    /// Starts it (again) and waits until it answers.
    pub fn resume(&mut self) {
        let child = Command::new("mosquitto")
            .arg("-c")
            .arg(&self.config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("mosquitto is missing: apt-get install mosquitto mosquitto-clients");
        self.child = Some(child);
        let begun = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(60), "mosquitto does not answer on {}", self.port);
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// SIGTERM: it saves its state and ends.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGTERM).unwrap();
            child.wait().unwrap();
        }
    }

    pub fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.port)
    }

    /// Publishes one message per line through `mosquitto_pub`, and waits until the broker has them all.
    pub fn publish(&self, topic: &str, qos: u8, lines: &[String]) {
        use std::io::Write;
        let mut child = Command::new("mosquitto_pub")
            .args([
                "-h",
                "127.0.0.1",
                "-p",
                &self.port.to_string(),
                "-t",
                topic,
                "-q",
                &qos.to_string(),
                "-l",
            ])
            .stdin(Stdio::piped())
            .spawn()
            .expect("mosquitto_pub is missing: apt-get install mosquitto-clients");
        let mut stdin = child.stdin.take().unwrap();
        for line in lines {
            writeln!(stdin, "{line}").unwrap();
        }
        drop(stdin);
        assert!(child.wait().unwrap().success(), "mosquitto_pub failed");
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.stop();
    }
}
