//! What end-to-end tests start: the hub as a process, a Mosquitto broker, and a client of the REST API.
//!
//! A program that is missing fails the test that needs it, with the command that installs it.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test target uses its own part of this")]

pub mod broker;
pub mod client;
pub mod couch;
pub mod github;
pub mod guard;
pub mod hub;
pub mod kafka;
pub mod proxy;
pub mod rabbit;
pub mod small_disk;
pub mod web;

use std::net::TcpListener;
use std::time::{Duration, Instant};

/// How long a condition may take on a busy machine before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A port that nothing listens on. Somebody else may take it before it is used; ports are handed out by the kernel in
/// such an order that this does not happen in practice.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A port for a server that goes away and comes back, while others try to reach it. It is none of those that the kernel gives
/// to clients: one of these, connecting to a port that nobody listens on, may be given that very port, and keep it.
pub fn lasting_port() -> u16 {
    // Two tests at a time begin at different places.
    let begin = 20_000 + free_port() % 10_000;
    (begin..30_000)
        .chain(20_000..begin)
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("of ten thousand ports one is free")
}

/// Waits until `condition` gives a value; fails after [`PATIENCE`], saying what was waited for.
pub async fn eventually<T>(what: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        assert!(begun.elapsed() < PATIENCE, "waited {PATIENCE:?} in vain for: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
