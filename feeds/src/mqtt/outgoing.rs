//! What the feed sends to an MQTT broker, written by rumqttc's codec.

use bytes::BytesMut;
use rumqttc::mqttbytes::v4;
use rumqttc::v5::mqttbytes::v5;

use super::session::{HELD_MAX, Reply};
use super::settings::{Settings, Version};
use super::wire::{KEEP_ALIVE_S, WireError, malformed};

/// How long the broker keeps the session of a feed that does not come back, in seconds: a hub that is down for longer loses
/// what came meanwhile, and a broker does not collect messages for ever for a hub that is gone.
const SESSION_EXPIRY_S: u32 = 30 * 86_400;

/// Why something cannot be written: only texts that are longer than MQTT can say.
fn written<E: std::fmt::Display>(what: &str, result: Result<usize, E>) -> Result<(), WireError> {
    result.map(drop).map_err(|error| malformed(what, error))
}

/// Writes CONNECT. `clean` asks the broker to forget the session before and after this connection.
pub(super) fn connect(settings: &Settings, clean: bool, out: &mut BytesMut) -> Result<(), WireError> {
    let login = settings.login.as_ref();
    match settings.version {
        Version::V3 => {
            let mut packet = v4::Connect::new(settings.client_id.clone());
            packet.keep_alive = KEEP_ALIVE_S;
            packet.clean_session = clean;
            packet.login = login
                .map(|(user, password)| v4::Login { username: user.clone(), password: password.clone() });
            written("CONNECT", packet.write(out))
        }
        Version::V5 => {
            let mut properties = v5::ConnectProperties::new();
            properties.session_expiry_interval = (!clean).then_some(SESSION_EXPIRY_S);
            properties.receive_maximum = Some(u16::try_from(HELD_MAX).unwrap_or(u16::MAX));
            let packet = v5::Connect {
                keep_alive: KEEP_ALIVE_S,
                client_id: settings.client_id.clone(),
                clean_start: clean,
                properties: Some(properties),
            };
            let login = login.map(|(user, password)| v5::Login::new(user.clone(), password.clone()));
            written("CONNECT", packet.write(&None, &login, out))
        }
    }
}

/// Writes SUBSCRIBE with these filters. `again` says that the session may have them already: retained messages are then
/// not wanted a second time, which only MQTT 5 can say.
pub(super) fn subscribe(
    version: Version,
    id: u16,
    filters: &[(String, u8)],
    again: bool,
    out: &mut BytesMut,
) -> Result<(), WireError> {
    match version {
        Version::V3 => {
            let filters = filters.iter().map(|(path, qos)| v4::SubscribeFilter {
                path: path.clone(),
                qos: rumqttc::mqttbytes::qos(*qos).expect("the settings hold 0, 1 or 2"),
            });
            let mut packet = v4::Subscribe::new_many(filters);
            packet.pkid = id;
            written("SUBSCRIBE", packet.write(out))
        }
        Version::V5 => {
            let filters = filters.iter().map(|(path, qos)| {
                let qos = rumqttc::v5::mqttbytes::qos(*qos).expect("the settings hold 0, 1 or 2");
                let mut filter = v5::Filter::new(path.clone(), qos);
                if again {
                    filter.retain_forward_rule = v5::RetainForwardRule::OnNewSubscribe;
                }
                filter
            });
            let mut packet = v5::Subscribe::new_many(filters, None);
            packet.pkid = id;
            written("SUBSCRIBE", packet.write(out))
        }
    }
}

/// Writes UNSUBSCRIBE.
pub(super) fn unsubscribe(
    version: Version,
    id: u16,
    filters: Vec<String>,
    out: &mut BytesMut,
) -> Result<(), WireError> {
    match version {
        Version::V3 => written("UNSUBSCRIBE", v4::Unsubscribe { pkid: id, topics: filters }.write(out)),
        Version::V5 => {
            written("UNSUBSCRIBE", v5::Unsubscribe { pkid: id, filters, properties: None }.write(out))
        }
    }
}

/// Writes an answer; the short forms are the same in both versions (MQTT 5 §3.4.2.1: no reason code means success).
pub(super) fn reply(reply: Reply, out: &mut BytesMut) {
    let [high, low] = match reply {
        Reply::PubAck(id) | Reply::PubRec(id) | Reply::PubComp(id) => id.to_be_bytes(),
        Reply::Ping => [0, 0],
    };
    match reply {
        Reply::PubAck(_) => out.extend_from_slice(&[0x40, 2, high, low]),
        Reply::PubRec(_) => out.extend_from_slice(&[0x50, 2, high, low]),
        Reply::PubComp(_) => out.extend_from_slice(&[0x70, 2, high, low]),
        Reply::Ping => out.extend_from_slice(&[0xc0, 0]),
    }
}

/// Writes DISCONNECT.
pub(super) fn disconnect(out: &mut BytesMut) {
    out.extend_from_slice(&[0xe0, 0]);
}
