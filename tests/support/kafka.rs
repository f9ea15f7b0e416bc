//! A real Kafka, one broker that is its own controller (KRaft), on loopback, from the jars that scripts/kafka.sh fetches.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::types::RDKafkaErrorCode;

/// The version of scripts/kafka.sh.
const VERSION: &str = "3.9.1";
/// How long a start, or an answer, may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// What a Kafka has beside its plain listener.
#[derive(Default)]
pub struct Extra {
    /// Further listeners: a name, which is also its security protocol, and a port.
    pub listeners: Vec<(&'static str, u16)>,
    /// Further lines of its properties.
    pub properties: String,
    /// A user of SCRAM: name and password.
    pub scram: Option<(&'static str, &'static str)>,
}

/// A Kafka; it ends when this is dropped.
pub struct Kafka {
    child: Option<(Child, super::guard::Guard)>,
    directory: PathBuf,
    pub port: u16,
}

fn java(directory: &Path) -> Command {
    let home = std::env::var("HOME").unwrap();
    let jars = format!("{home}/.cache/triggerfish/kafka-{VERSION}");
    assert!(Path::new(&jars).join("complete").exists(), "Kafka is missing: run scripts/kafka.sh");
    let log = std::fs::File::options().create(true).append(true).open(directory.join("log")).unwrap();
    let mut command = Command::new("java");
    command
        .args(["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto"])
        .arg("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn")
        .args(["-cp", &format!("{jars}/*")])
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log);
    command
}

impl Kafka {
    /// Starts a Kafka that keeps its state in `directory`.
    pub fn start(directory: &Path, extra: &Extra) -> Self {
        let (port, controller) = (super::free_port(), super::free_port());
        let mut listeners = format!("PLAINTEXT://127.0.0.1:{port}");
        for (name, port) in &extra.listeners {
            let host = if name.ends_with("SSL") { "localhost" } else { "127.0.0.1" };
            listeners += &format!(",{name}://{host}:{port}");
        }
        let at = directory.display();
        let properties = format!(
            "process.roles=broker,controller\nnode.id=1\ncontroller.quorum.voters=1@127.0.0.1:{controller}\n\
             listeners={listeners},CONTROLLER://127.0.0.1:{controller}\nadvertised.listeners={listeners}\n\
             controller.listener.names=CONTROLLER\n\
             listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT,SSL:SSL,SASL_SSL:SASL_SSL,CONTROLLER:PLAINTEXT\n\
             log.dirs={at}/data\nauto.create.topics.enable=false\ngroup.initial.rebalance.delay.ms=0\n\
             offsets.topic.replication.factor=1\noffsets.topic.num.partitions=1\n\
             transaction.state.log.replication.factor=1\ntransaction.state.log.num.partitions=1\n\
             transaction.state.log.min.isr=1\nlog.initial.task.delay.ms=500\nlog.segment.delete.delay.ms=500\n\
             controlled.shutdown.enable=false\nnum.network.threads=2\nnum.io.threads=2\n{}\n",
            extra.properties
        );
        let config = directory.join("server.properties");
        std::fs::write(&config, properties).unwrap();
        let mut format = java(directory);
        format.args(["kafka.tools.StorageTool", "format", "-t", "MkU3OEVBNTcwNTJENDM2Qk", "-c"]).arg(config);
        if let Some((name, password)) = extra.scram {
            for mechanism in ["SCRAM-SHA-256", "SCRAM-SHA-512"] {
                format.args(["--add-scram", &format!("{mechanism}=[name={name},password={password}]")]);
            }
        }
        let formatted = format.status().expect("java is missing: apt-get install openjdk-17-jre-headless");
        assert!(formatted.success(), "{}", std::fs::read_to_string(directory.join("log")).unwrap());
        let mut kafka = Self { child: None, directory: directory.to_owned(), port };
        kafka.resume();
        kafka
    }

    /// Starts it (again) and waits until it answers.
    pub fn resume(&mut self) {
        let mut server = java(&self.directory);
        server.arg("kafka.Kafka").arg(self.directory.join("server.properties"));
        let child = server.spawn().expect("java was there before");
        let guard = super::guard::Guard::of(child.id());
        self.child = Some((child, guard));
        let client: BaseConsumer = self.config().create().unwrap();
        self.until("Kafka answers", || client.fetch_metadata(None, Duration::from_secs(1)).ok().map(drop));
    }

    fn until<T>(&mut self, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        let begun = Instant::now();
        loop {
            if let Some(found) = look() {
                return found;
            }
            let (child, _) = self.child.as_mut().unwrap();
            let ended = child.try_wait().unwrap();
            let log = || std::fs::read_to_string(self.directory.join("log")).unwrap();
            assert!(ended.is_none() && begun.elapsed() < PATIENCE, "{what}: {ended:?}\n{}", log());
        }
    }

    /// SIGTERM: it closes its logs and ends.
    pub fn stop(&mut self) {
        self.end(Signal::SIGTERM);
    }

    fn end(&mut self, signal: Signal) {
        if let Some((mut child, _guard)) = self.child.take() {
            kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
            child.wait().unwrap();
        }
    }

    /// `host:port`.
    pub fn broker(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The configuration of a client.
    pub fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", self.broker())
            .set("log_level", "0")
            .set("reconnect.backoff.max.ms", "200");
        config
    }

    /// Makes a topic.
    pub fn create(&self, topic: &str, partitions: i32) {
        let topic = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
        // Of a topic that was deleted a moment ago the name is taken for another moment.
        self.admin(async |admin| {
            let begun = Instant::now();
            loop {
                match admin.create_topics([&topic], &AdminOptions::new()).await?.remove(0) {
                    Ok(_) => return Ok(()),
                    Err((_, RDKafkaErrorCode::TopicAlreadyExists)) if begun.elapsed() < PATIENCE => {}
                    Err((_, code)) => return Err(KafkaError::AdminOp(code)),
                }
            }
        });
    }

    /// Deletes a topic.
    pub fn delete(&self, topic: &str) {
        self.admin(async |admin| {
            admin
                .delete_topics(&[topic], &AdminOptions::new())
                .await?
                .remove(0)
                .map_err(|(_, code)| KafkaError::AdminOp(code))?;
            Ok(())
        });
    }

    /// Gives a topic so many partitions.
    pub fn widen(&self, topic: &str, partitions: usize) {
        self.admin(async |admin| {
            let wanted = [NewPartitions::new(topic, partitions)];
            admin
                .create_partitions(&wanted, &AdminOptions::new())
                .await?
                .remove(0)
                .map_err(|(_, code)| KafkaError::AdminOp(code))?;
            Ok(())
        });
    }

    /// Does something on a thread of its own: the caller may be in a runtime.
    fn admin(
        &self,
        act: impl AsyncFnOnce(&AdminClient<DefaultClientContext>) -> Result<(), KafkaError> + Send,
    ) {
        let config = self.config();
        std::thread::scope(|scope| {
            let done = scope.spawn(move || {
                let admin: AdminClient<DefaultClientContext> = config.create().unwrap();
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(act(&admin)).unwrap();
            });
            done.join().unwrap();
        });
    }

    /// A producer whose messages are in all replicas when they are flushed.
    pub fn producer(&self, settings: &[(&str, &str)]) -> BaseProducer {
        let mut config = self.config();
        config.set("linger.ms", "5").set("queue.buffering.max.messages", "1000000");
        for (key, value) in settings {
            config.set(*key, *value);
        }
        config.create().unwrap()
    }

    /// Writes values to a topic's partitions in turn, and waits until the broker has them.
    pub fn produce(&self, topic: &str, partitions: i32, values: &[String]) {
        let producer = self.producer(&[]);
        for (n, value) in values.iter().enumerate() {
            let partition = i32::try_from(n).unwrap() % partitions;
            send(&producer, BaseRecord::<(), _>::to(topic).partition(partition).payload(value));
        }
        producer.flush(PATIENCE).unwrap();
    }

    /// What is committed for a group in a topic's partitions; -1 where nothing is.
    pub fn committed(&self, group: &str, topic: &str, partitions: i32) -> Vec<i64> {
        let client: BaseConsumer = self.config().set("group.id", group).create().unwrap();
        let mut list = rdkafka::TopicPartitionList::new();
        list.add_partition_range(topic, 0, partitions - 1);
        let list = client.committed_offsets(list, PATIENCE).unwrap();
        list.elements()
            .iter()
            .map(|part| part.offset().to_raw().filter(|offset| *offset >= 0).unwrap_or(-1))
            .collect()
    }
}

/// Sends a record, waiting where the producer's queue is full.
pub fn send<K: rdkafka::message::ToBytes + ?Sized, V: rdkafka::message::ToBytes + ?Sized>(
    producer: &BaseProducer,
    mut record: BaseRecord<'_, K, V>,
) {
    while let Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) = producer.send(record)
    {
        producer.poll(Duration::from_millis(10));
        record = back;
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        self.end(Signal::SIGKILL);
    }
}
