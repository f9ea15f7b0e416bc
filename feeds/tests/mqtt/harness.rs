//! What the tests of MQTT share beside the hub in miniature.

pub use super::life::*;

/// A directory and a broker in it.
pub fn broker(extra: &str) -> (tempfile::TempDir, super::broker::Broker) {
    let directory = tempfile::tempdir().unwrap();
    let broker = super::broker::Broker::start(directory.path(), extra);
    (directory, broker)
}

/// Runs `mosquitto_pub` with these arguments against a broker.
pub fn mosquitto_pub(port: u16, args: &[&str]) {
    let port = port.to_string();
    let status = std::process::Command::new("mosquitto_pub")
        .args(["-h", "127.0.0.1", "-p", &port])
        .args(args)
        .status()
        .expect("mosquitto_pub is missing: apt-get install mosquitto-clients");
    assert!(status.success(), "mosquitto_pub {args:?}");
}
