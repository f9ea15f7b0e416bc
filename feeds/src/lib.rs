//! The feeds of Triggerfish: providers of outside events, and the runtime that drives them.
//!
//! Only this crate touches brokers. What a provider is, is in [`provider`], and in [`hook`] for webhooks; each is one file in
//! [`catalogue`]; the [`Supervisor`] runs those that are wanted. A crash loses nothing: nothing is acknowledged upstream before the hub
//! has made it durable.

mod amqp;
mod body;
pub mod catalogue;
mod couch;
mod duration;
mod github;
pub mod hook;
mod kafka;
pub mod lifecycle;
mod mqtt;
pub mod provider;
mod rss;
mod runner;
mod schedule;
mod supervisor;
mod tick;
mod transport;
mod web;

pub use provider::{AlsoDelete, FeedError, FeedEvent, Refused, Undeliverable};
pub use runner::{Delivered, Intake, IntakeError};
pub use schedule::{Fire, Mark, preview};
pub use supervisor::{Options, Supervisor};
pub use web::{PrivateAllowed, Web};
