//! The one Kafka of these tests, with a listener for each way in, and what the tests know of messages.

use std::sync::{OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use serde_json::{Value, json};

use super::certificates::certificates;
use super::kafka::{Extra, Kafka};
use super::life::{Durable, eventually};

/// The server, and what a client needs for its other listeners.
pub struct Server {
    _directory: tempfile::TempDir,
    pub kafka: Kafka,
    /// `host:port` of SASL without TLS.
    pub sasl: String,
    /// `host:port` of TLS where the client needs a certificate.
    pub mutual: String,
    /// `host:port` of SASL over TLS.
    pub sasl_ssl: String,
    /// The authority of the server's certificate, and of the client's.
    pub ca: String,
    /// The client's certificate and its key.
    pub client: (String, String),
}

fn lock() -> &'static RwLock<Server> {
    static SERVER: OnceLock<RwLock<Server>> = OnceLock::new();
    SERVER.get_or_init(|| RwLock::new(start()))
}

/// The server; nobody restarts it meanwhile.
pub fn server() -> RwLockReadGuard<'static, Server> {
    lock().read().unwrap_or_else(PoisonError::into_inner)
}

/// The server for one test alone.
pub fn server_alone() -> RwLockWriteGuard<'static, Server> {
    lock().write().unwrap_or_else(PoisonError::into_inner)
}

fn start() -> Server {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path().display();
    let (ca, certificate, key) = certificates("localhost", "the servers'");
    let (client_ca, client, client_key) = certificates("client", "the clients'");
    std::fs::write(directory.path().join("server.pem"), format!("{key}{certificate}")).unwrap();
    std::fs::write(directory.path().join("clients.pem"), &client_ca).unwrap();
    let [sasl, mutual, sasl_ssl] = std::array::from_fn(|_| super::free_port());
    let mut properties = String::from("message.max.bytes=40000000\n");
    for name in ["sasl_plaintext", "sasl_ssl"] {
        let at = format!("listener.name.{name}");
        properties += &format!("{at}.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512\n");
        let plain =
            "org.apache.kafka.common.security.plain.PlainLoginModule required user_sensor=\"geheim\";";
        properties += &format!("{at}.plain.sasl.jaas.config={plain}\n");
        for mechanism in ["scram-sha-256", "scram-sha-512"] {
            let module = "org.apache.kafka.common.security.scram.ScramLoginModule required;";
            properties += &format!("{at}.{mechanism}.sasl.jaas.config={module}\n");
        }
    }
    for name in ["ssl", "sasl_ssl"] {
        let at_listener = format!("listener.name.{name}.ssl");
        properties +=
            &format!("{at_listener}.keystore.type=PEM\n{at_listener}.keystore.location={at}/server.pem\n");
    }
    properties += &format!(
        "listener.name.ssl.ssl.client.auth=required\nlistener.name.ssl.ssl.truststore.type=PEM\n\
         listener.name.ssl.ssl.truststore.location={at}/clients.pem\n"
    );
    let extra = Extra {
        listeners: vec![("SASL_PLAINTEXT", sasl), ("SSL", mutual), ("SASL_SSL", sasl_ssl)],
        properties,
        scram: Some(("sensor", "geheim")),
    };
    let kafka = Kafka::start(directory.path(), &extra);
    Server {
        kafka,
        sasl: format!("127.0.0.1:{sasl}"),
        mutual: format!("localhost:{mutual}"),
        sasl_ssl: format!("localhost:{sasl_ssl}"),
        ca,
        client: (client, client_key),
        _directory: directory,
    }
}

impl Server {
    /// Parameters of a feed that reads `topic` from its beginning, with `more` over them.
    pub fn params(&self, topic: &str, more: Value) -> Value {
        let mut params = json!({"brokers": self.kafka.broker(), "topic": topic, "startFrom": "earliest"});
        params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        params
    }
}

/// The durable messages, in the order of their events.
pub fn messages(durable: &Durable) -> Vec<Value> {
    let events = durable.events();
    events.iter().flat_map(|event| event["messages"].as_array().unwrap().clone()).collect()
}

/// Waits until so many messages are durable; gives them.
pub fn until_messages(durable: &Durable, count: usize) -> Vec<Value> {
    eventually(&format!("{count} messages"), || {
        let messages = messages(durable);
        (messages.len() >= count).then_some(messages)
    })
}

/// Values `0` to `count-1`, from `from`.
pub fn values(from: usize, count: usize) -> Vec<String> {
    (from..from + count).map(|n| n.to_string()).collect()
}

/// The values of messages as numbers, sorted.
pub fn sorted(messages: &[Value]) -> Vec<usize> {
    let mut all: Vec<usize> =
        messages.iter().map(|it| it["value"].as_str().unwrap().parse().unwrap()).collect();
    all.sort_unstable();
    all
}
