//! The MQTT client of `messaging/mqttFeed`: the session machine and its durable cursor. No I/O here.

pub mod cursor;
pub mod session;

#[cfg(test)]
mod tests;
