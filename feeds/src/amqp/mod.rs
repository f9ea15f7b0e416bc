//! The AMQP 0-9-1 client of `messaging/amqpFeed`, over lapin.
//!
//! `settings` reads the parameters, `runtime` lets lapin use this hub's own TCP and TLS, `link` connects, declares and
//! consumes, `payload` turns deliveries into events, `session` decides what is new and what may be acknowledged, `cursor` is
//! what outlives a crash, `connection` drives them.
//!
//! A delivery has no name that outlives its channel. Where the publisher gave the message an id, that is the event's key.
//! Of all others the cursor keeps a digest until the broker is known to have had the acknowledgement: an answer to a later
//! question about the queue proves it. A crash before that leaves the digests, and what the broker sends again, flagged as
//! redelivered, is recognised by them; equal contents are counted.
//!
//! lapin's own recovery is not used: acknowledgements on a channel of before would fail after it. A connection that breaks
//! is over, and the supervisor makes another, which declares everything again.

pub(crate) mod connection;
pub(crate) mod cursor;
mod link;
mod payload;
mod runtime;
pub(crate) mod session;
pub(crate) mod settings;

pub(crate) use link::forget;
