//! The MQTT client of `messaging/mqttFeed`.
//!
//! `settings` reads the parameters, `link` moves bytes, `wire` and `outgoing` read and write packets (rumqttc's codec),
//! `session` decides what is new and what may be acknowledged, `cursor` is what outlives a crash, `connection` drives them.
//! A crash anywhere leaves the last durable cursor; the broker sends again what was not acknowledged, and the session machine
//! drops what the cursor knows. Why the codec alone is rumqttc's is in docs/decisions/0003-mqtt-client.md.

pub(crate) mod connection;
pub(crate) mod cursor;
mod link;
mod outgoing;
pub(crate) mod session;
pub(crate) mod settings;
mod wire;

#[cfg(test)]
mod tests;
