//! The Kafka client of `messaging/kafkaFeed`, over librdkafka.
//!
//! `settings` reads the parameters, `client` makes the consumer and names its errors, `payload` writes messages as JSON,
//! `assembly` puts them together to events and remembers what is under way, `place` decides where a partition is begun,
//! `cursor` is what outlives a crash, `rebalance` follows the consumer group, `reader` is the thread that reads, and
//! `connection` is what the runtime sees.
//!
//! # Why a redelivery is never taken twice, nor a message left out
//!
//! Kafka sends again whatever was not committed, and after a crash or a rebalance it may be cut into other batches. So an
//! event's key alone (the offset of its first message) would tell too little: the same key may come with more messages
//! behind it. What counts is the cursor: for each partition the offset below which everything is durable. It is written
//! with the events, in one step, and a partition is begun there or at the offset committed for the group, whichever is
//! later; what lies below is not even asked for. An event therefore holds messages of one partition only, and its key
//! (`topic/partition/first` or `topic/partition/first-last`) is unique to what it holds.
//!
//! A topic that was deleted and made anew counts from 0 again. librdkafka does not tell topics of one name apart, so the
//! cursor keeps a print of the last message of each partition, and reading begins with that message: where another one is
//! in its place, or the partition is shorter than it was, the topic is new, is read from its beginning, and its keys get
//! another generation (`topic~1/partition/offset`).

pub(crate) mod assembly;
pub(crate) mod client;
pub(crate) mod connection;
pub(crate) mod cursor;
pub(crate) mod payload;
pub(crate) mod place;
mod reader;
mod rebalance;
pub(crate) mod settings;
mod shared;
