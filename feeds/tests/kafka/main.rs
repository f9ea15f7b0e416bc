//! `messaging/kafkaFeed` on a real Kafka: what arrives, what a crash at any point leaves, how feeds share a group, and what
//! is refused.

#![allow(unreachable_pub, reason = "nothing outside a test can be reached")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[path = "../support/certificates.rs"]
mod certificates;
mod crash;
mod delivery;
mod group;
#[path = "../../../tests/support/guard.rs"]
#[allow(dead_code, missing_docs, reason = "shared with the hub's tests")]
mod guard;
#[path = "../../../tests/support/kafka.rs"]
#[allow(dead_code, missing_docs, reason = "shared with the hub's tests")]
mod kafka;
#[path = "../support/life.rs"]
#[allow(dead_code, reason = "each feed's tests use their own part of it")]
mod life;
mod refused;
mod server;
mod topics;

/// The feed that is tested.
const FEED: &str = "messaging/kafkaFeed";

/// A port that nothing listens on.
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
