//! A real Mosquitto, started by hand on loopback with the limits of a broker that keeps everything.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rumqttc::mqttbytes::v4::{Connect, ConnectReturnCode, Packet, PingReq, PubRel, Publish};

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
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
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

    /// A connection to publish on.
    pub fn publisher(&self) -> Publisher {
        Publisher::connect(self.port)
    }

    /// Publishes one message per line, and waits until the broker has them all.
    pub fn publish(&self, topic: &str, qos: u8, lines: &[String]) {
        self.publisher().publish(topic, qos, lines);
    }
}

/// Messages under way to the broker at once.
const WINDOW: usize = 500;

/// A publisher on MQTT 3.1.1. It keeps no session: whoever stops the broker lets it finish first.
pub struct Publisher {
    stream: TcpStream,
    input: BytesMut,
    output: BytesMut,
}

impl Publisher {
    fn connect(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut this = Self { stream, input: BytesMut::new(), output: BytesMut::new() };
        // An empty client id: the broker chooses one.
        Connect::new("").write(&mut this.output).unwrap();
        match this.answer() {
            Packet::ConnAck(ack) => assert_eq!(ack.code, ConnectReturnCode::Success),
            other => panic!("{other:?}"),
        }
        this
    }

    /// Publishes one message per line, and waits until the broker has them all.
    pub fn publish(&mut self, topic: &str, qos: u8, lines: &[String]) {
        let (mut sent, mut done) = (0, 0);
        while done < lines.len() {
            while sent < lines.len() && sent < done + WINDOW {
                let mut publish = Publish::new(topic, rumqttc::qos(qos).unwrap(), lines[sent].as_bytes());
                publish.pkid = u16::try_from(sent % 65_535).unwrap() + 1;
                publish.write(&mut self.output).unwrap();
                sent += 1;
                done += usize::from(qos == 0);
            }
            if qos > 0 {
                match self.answer() {
                    Packet::PubAck(_) | Packet::PubComp(_) => done += 1,
                    Packet::PubRec(ack) => drop(PubRel::new(ack.pkid).write(&mut self.output).unwrap()),
                    other => panic!("{other:?}"),
                }
            }
        }
        PingReq.write(&mut self.output).unwrap();
        assert!(matches!(self.answer(), Packet::PingResp), "the broker has all that came before the ping");
    }

    /// Sends what waits; the next packet of the broker.
    fn answer(&mut self) -> Packet {
        loop {
            match Packet::read(&mut self.input, 1 << 16) {
                Ok(packet) => return packet,
                Err(rumqttc::mqttbytes::Error::InsufficientBytes(_)) => {}
                Err(error) => panic!("{error}"),
            }
            self.stream.write_all(&self.output.split()).unwrap();
            let mut bytes = [0; 4096];
            let read = self.stream.read(&mut bytes).unwrap();
            assert!(read > 0, "the broker closed the publisher's connection");
            self.input.extend_from_slice(&bytes[..read]);
        }
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        // The broker may be gone.
        let _ = self.stream.write_all(&[0xe0, 0]);
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.stop();
    }
}
