//! A real RabbitMQ, started by hand on loopback, and what tests do with it.

use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use lapin::options::{
    BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions, QueueBindOptions,
    QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, ExchangeKind};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// How long a start may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// Where Debian puts it.
const SERVER: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";

/// A broker; it ends when this is dropped.
pub struct Rabbit {
    child: Option<(Child, super::guard::Guard)>,
    directory: PathBuf,
    pub port: u16,
    /// Of Erlang's own network: the node, and its port mapper.
    ports: (u16, u16),
}

impl Rabbit {
    /// Starts a broker that keeps its state in `directory`; `extra` are further lines of its configuration.
    pub fn start(directory: &Path, extra: &str) -> Self {
        let (port, ports) = (super::free_port(), (super::free_port(), super::free_port()));
        let config = format!(
            "listeners.tcp.1 = 127.0.0.1:{port}\nlog.file = false\nlog.console = true\nlog.console.level = warning\n\
             vm_memory_high_watermark.absolute = 1GB\ndisk_free_limit.absolute = 50MB\n{extra}\n"
        );
        std::fs::write(directory.join("rabbitmq.conf"), config).unwrap();
        std::fs::write(directory.join("enabled_plugins"), "[].\n").unwrap();
        let mut rabbit = Self { child: None, directory: directory.to_owned(), port, ports };
        rabbit.resume();
        rabbit
    }

    /// Starts it (again) and waits until it answers.
    pub fn resume(&mut self) {
        let at = &self.directory;
        let log = std::fs::File::options().create(true).append(true).open(at.join("log")).unwrap();
        let child = Command::new(SERVER)
            .env("HOME", at)
            .env("RABBITMQ_NODENAME", format!("test{}@localhost", self.port))
            .env("RABBITMQ_MNESIA_BASE", at.join("mnesia"))
            .env("RABBITMQ_LOG_BASE", at.join("logs"))
            .env("RABBITMQ_CONFIG_FILE", at.join("rabbitmq"))
            .env("RABBITMQ_CONF_ENV_FILE", "/dev/null")
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", at.join("enabled_plugins"))
            .env("RABBITMQ_PID_FILE", at.join("pid"))
            .env("RABBITMQ_DIST_PORT", self.ports.0.to_string())
            .env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "-kernel inet_dist_use_interface {127,0,0,1} +S 1:1")
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            .env("ERL_EPMD_PORT", self.ports.1.to_string())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            // The server is a script and what it starts; they are ended together.
            .process_group(0)
            .spawn()
            .expect("rabbitmq-server is missing: apt-get install rabbitmq-server");
        let guard = super::guard::Guard::of_group(child.id());
        self.child = Some((child, guard));
        let begun = Instant::now();
        while !self.answers() {
            let ended = self.child.as_mut().unwrap().0.try_wait().unwrap();
            let log = || std::fs::read_to_string(self.directory.join("log")).unwrap();
            assert!(ended.is_none() && begun.elapsed() < PATIENCE, "RabbitMQ: {ended:?}\n{}", log());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// It speaks AMQP: its listener is there before its virtual hosts are.
    fn answers(&self) -> bool {
        TcpStream::connect(("127.0.0.1", self.port)).is_ok() && self.try_with(async |_| ()).is_ok()
    }

    /// SIGTERM: it saves its state and ends.
    pub fn stop(&mut self) {
        self.end(Signal::SIGTERM);
    }

    fn end(&mut self, signal: Signal) {
        if let Some((mut child, _guard)) = self.child.take() {
            killpg(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
            child.wait().unwrap();
        }
    }

    pub fn url(&self) -> String {
        format!("amqp://127.0.0.1:{}", self.port)
    }

    /// Does something on a channel of its own, on a thread of its own: the caller may be in a runtime.
    pub fn with<T: Send>(&self, act: impl AsyncFnOnce(&Channel) -> T + Send) -> T {
        self.try_with(act).unwrap()
    }

    fn try_with<T: Send>(&self, act: impl AsyncFnOnce(&Channel) -> T + Send) -> lapin::Result<T> {
        let url = self.url();
        std::thread::scope(|scope| {
            let done = scope.spawn(move || {
                let runtime =
                    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
                runtime.unwrap().block_on(async {
                    let connection = Connection::connect(&url, ConnectionProperties::default()).await?;
                    let channel = connection.create_channel().await?;
                    channel.confirm_select(ConfirmSelectOptions::default()).await?;
                    let done = act(&channel).await;
                    connection.close(200, "".into()).await?;
                    Ok(done)
                })
            });
            done.join().unwrap()
        })
    }

    /// Makes a durable queue.
    pub fn queue(&self, name: &str, arguments: &[(&str, &str)]) {
        let mut table = FieldTable::default();
        for (key, value) in arguments {
            table.insert((*key).into(), AMQPValue::LongString((*value).into()));
        }
        self.with(async |channel| {
            let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
            channel.queue_declare(name.into(), options, table).await.unwrap();
        });
    }

    /// Makes a durable exchange.
    pub fn exchange(&self, name: &str, kind: ExchangeKind) {
        self.with(async |channel| {
            let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
            channel.exchange_declare(name.into(), kind, options, FieldTable::default()).await.unwrap();
        });
    }

    pub fn bind(&self, queue: &str, exchange: &str, key: &str) {
        self.with(async |channel| {
            let (options, none) = (QueueBindOptions::default(), FieldTable::default());
            channel.queue_bind(queue.into(), exchange.into(), key.into(), options, none).await.unwrap();
        });
    }

    pub fn delete(&self, queue: &str) {
        self.with(async |channel| {
            channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await.unwrap()
        });
    }

    /// How many messages wait in a queue that no consumer has; `None` where there is no such queue.
    pub fn waiting(&self, queue: &str) -> Option<u32> {
        self.with(async |channel| {
            let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
            let found = channel.queue_declare(queue.into(), options, FieldTable::default()).await;
            found.ok().map(|queue| queue.message_count())
        })
    }

    /// Takes the next message out of a queue.
    pub fn get(&self, queue: &str) -> Option<Vec<u8>> {
        self.with(async |channel| {
            let got = channel.basic_get(queue.into(), BasicGetOptions { no_ack: true }).await.unwrap();
            got.map(|message| message.delivery.data)
        })
    }

    /// Publishes persistent messages to the default exchange, and waits until the broker has them all.
    pub fn publish(&self, queue: &str, bodies: &[String]) {
        self.publish_to("", queue, &BasicProperties::default(), bodies.iter().map(String::as_bytes));
    }

    /// Publishes persistent messages, and waits until the broker has them all.
    pub fn publish_to<'a>(
        &self,
        exchange: &str,
        key: &str,
        properties: &BasicProperties,
        bodies: impl Iterator<Item = &'a [u8]> + Send,
    ) {
        self.publish_each(exchange, key, bodies.map(|body| (properties.clone(), body)));
    }

    /// The same, each message with properties of its own.
    pub fn publish_each<'a>(
        &self,
        exchange: &str,
        key: &str,
        messages: impl Iterator<Item = (BasicProperties, &'a [u8])> + Send,
    ) {
        self.with(async |channel| {
            let mut confirms = Vec::new();
            for (properties, body) in messages {
                let properties = properties.with_delivery_mode(2);
                let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
                let sent = channel.basic_publish(exchange.into(), key.into(), options, body, properties);
                confirms.push(sent.await.unwrap());
            }
            for confirm in confirms {
                let confirmed = confirm.await.unwrap();
                assert!(matches!(confirmed, lapin::Confirmation::Ack(None)), "{confirmed:?}");
            }
        });
    }
}

impl Drop for Rabbit {
    fn drop(&mut self) {
        self.end(Signal::SIGKILL);
    }
}
