//! The hub as its users have it: a process, real containers, real crashes.

#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[path = "../support/mod.rs"]
mod support;

mod amqp;
mod bad_input;
mod cli;
mod crash;
mod deliveries;
mod direct;
mod example;
mod full_disk;
mod github;
mod hooks;
mod kafka;
mod lives;
mod polled;
mod readings;
mod retry;
mod rights;
mod search;
mod senders;
mod serve;
