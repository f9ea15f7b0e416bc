//! A real pouchdb-server, which speaks CouchDB's protocol, started by hand on loopback.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// The version that scripts/couchdb.sh installs.
const VERSION: &str = "4.2.0";

/// A server; it ends when this is dropped.
pub struct Couch {
    child: Option<Child>,
    directory: PathBuf,
    pub port: u16,
}

impl Couch {
    /// Starts a server that keeps its databases in `directory`.
    pub fn start(directory: &Path) -> Self {
        let mut couch = Self { child: None, directory: directory.to_owned(), port: super::free_port() };
        couch.resume();
        couch
    }

    /// Starts it (again) and waits until it answers.
    pub fn resume(&mut self) {
        let home = std::env::var("HOME").unwrap();
        let installed = format!("{home}/.cache/triggerfish/pouchdb-server-{VERSION}/node_modules");
        let program = format!("{installed}/pouchdb-server/bin/pouchdb-server");
        assert!(Path::new(&program).exists(), "{program} is missing: scripts/setup.sh installs it");
        let child = Command::new("node")
            .args([&program, "-o", "127.0.0.1", "-p", &self.port.to_string(), "--no-stdout-logs"])
            .args(["-d", "data", "-c", "config.json"])
            .current_dir(&self.directory)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("node is missing: apt-get install nodejs");
        self.child = Some(child);
        std::fs::create_dir_all(self.directory.join("data")).unwrap();
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(
                begun.elapsed() < Duration::from_secs(60),
                "pouchdb-server does not answer on {}",
                self.port
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// SIGTERM, and its end.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
            nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
            child.wait().unwrap();
        }
    }

    /// A request, as `user:password` where there is one: the status and the answer.
    pub fn send(&self, user: Option<&str>, method: &str, path: &str, body: &Value) -> (u16, Value) {
        use base64::Engine;
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let authorization = user.map_or_else(String::new, |user| {
            format!("authorization: Basic {}\r\n", base64::engine::general_purpose::STANDARD.encode(user))
        });
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let head = format!(
            "{method} {path} HTTP/1.0\r\nhost: localhost\r\n{authorization}content-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let status =
            line.split(' ').nth(1).and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{line}"));
        while line.trim_end() != "" {
            line.clear();
            reader.read_line(&mut line).unwrap();
        }
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    /// A request that succeeds.
    pub fn ok(&self, method: &str, path: &str, body: &Value) -> Value {
        let (status, answer) = self.send(None, method, path, body);
        assert!((200..300).contains(&status), "{method} {path}: {status} {answer}");
        answer
    }

    /// Puts documents `{"n": …}` with the ids `n0`, `n1`…
    pub fn put_numbers(&self, database: &str, numbers: std::ops::Range<usize>) {
        let documents: Vec<Value> =
            numbers.map(|n| serde_json::json!({"_id": format!("n{n}"), "n": n})).collect();
        self.ok("POST", &format!("/{database}/_bulk_docs"), &serde_json::json!({ "docs": documents }));
    }
}

impl Drop for Couch {
    fn drop(&mut self) {
        self.stop();
    }
}
