//! The one RabbitMQ of these tests, with a plain listener and one of TLS.

use std::sync::{OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use serde_json::{Value, json};

use super::certificates::certificates;
use super::rabbit::Rabbit;

/// The server, and what a client needs for its other listener.
pub struct Server {
    _directory: tempfile::TempDir,
    pub rabbit: Rabbit,
    /// `localhost:port` of TLS.
    pub tls: String,
    /// The authority of its certificate.
    pub ca: String,
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
    let (ca, certificate, key) = certificates("localhost", "ours");
    for (name, text) in [("ca.pem", &ca), ("cert.pem", &certificate), ("key.pem", &key)] {
        std::fs::write(directory.path().join(name), text).unwrap();
    }
    let (at, port) = (directory.path().display(), super::free_port());
    let extra = format!(
        "listeners.ssl.1 = 127.0.0.1:{port}\nssl_options.cacertfile = {at}/ca.pem\n\
         ssl_options.certfile = {at}/cert.pem\nssl_options.keyfile = {at}/key.pem\n\
         ssl_options.verify = verify_none\nssl_options.fail_if_no_peer_cert = false"
    );
    let rabbit = Rabbit::start(directory.path(), &extra);
    Server { rabbit, tls: format!("localhost:{port}"), ca, _directory: directory }
}

impl Server {
    /// Parameters of a feed that consumes `queue`, with `more` over them.
    pub fn params(&self, queue: &str, more: Value) -> Value {
        let mut params = json!({"url": self.rabbit.url(), "queue": queue});
        params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        params
    }
}
