//! MQTT packets as bytes: what the broker sends becomes [`Incoming`].
//!
//! Packets are read by rumqttc's codec. Framing is done here, for three things that the codec does not do:
//! a packet above the limit is skipped without being held and told as [`Incoming::TooLarge`], so that it can be
//! acknowledged; a DISCONNECT of one byte (MQTT 5 §3.14.2.1) is read; a whole but short packet is an error, not a wait.

use bytes::{Buf, Bytes, BytesMut};
use rumqttc::mqttbytes::v4;
use rumqttc::v5::mqttbytes::v5;

use super::settings::Version;

/// What a packet may hold beside its payload: topic and properties. Above payload limit and this it is skipped unread.
const HEAD_BYTES_MAX: usize = 128 << 10;
/// The largest packet that MQTT can say (§2.2.3); nothing that is written here comes near it.
const PACKET_BYTES_MAX: u32 = 268_435_460;
/// Seconds without a packet after which a broker may take the feed for dead (it waits half as long again).
pub(crate) const KEEP_ALIVE_S: u16 = 30;

/// A packet of the broker.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Incoming {
    /// CONNACK: the broker's answer, or why it refuses.
    Connected(Result<Greeting, String>),
    /// PUBLISH.
    Message(Message),
    /// A PUBLISH above the limit, its payload skipped.
    TooLarge {
        /// The message without its payload.
        head: Message,
        /// The size of the payload, or of the whole packet where that is not known.
        bytes: usize,
    },
    /// PUBREL.
    Release(u16),
    /// PINGRESP.
    Pong,
    /// SUBACK: the QoS granted for each filter, or why it is refused.
    Subscribed(Vec<Result<u8, String>>),
    /// UNSUBACK.
    Unsubscribed,
    /// DISCONNECT, with the reason (MQTT 5).
    Goodbye(String),
}

/// A CONNACK that takes the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Greeting {
    /// Whether the broker still has the session.
    pub(crate) present: bool,
    /// Seconds after which the broker takes the client for dead, where it does not take the client's word (MQTT 5
    /// §3.2.2.3.14).
    pub(crate) keep_alive_s: Option<u16>,
}

/// A PUBLISH packet.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) topic: String,
    pub(crate) payload: Bytes,
    pub(crate) qos: u8,
    /// 0 with QoS 0.
    pub(crate) id: u16,
    pub(crate) dup: bool,
    pub(crate) retain: bool,
}

/// Bytes that are no MQTT; the text says what is wrong.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct WireError(String);

pub(super) fn malformed(packet: &str, why: impl std::fmt::Display) -> WireError {
    WireError(format!("a {packet} packet that cannot be read: {why}"))
}

/// Cuts the stream into packets.
pub(crate) struct Decoder {
    version: Version,
    payload_bytes_max: usize,
    /// Bytes of a packet above the limit that are still to come.
    skip: usize,
}

impl Decoder {
    pub(crate) fn new(version: Version, payload_bytes_max: usize) -> Self {
        Self { version, payload_bytes_max, skip: 0 }
    }

    /// The next whole packet in `input`; `None` where more bytes are needed.
    pub(crate) fn decode(&mut self, input: &mut BytesMut) -> Result<Option<Incoming>, WireError> {
        let skipped = self.skip.min(input.len());
        input.advance(skipped);
        self.skip -= skipped;
        let Some(frame) = Frame::of(input)? else { return Ok(None) };
        let whole = frame.head + frame.body;
        if frame.body > self.payload_bytes_max + HEAD_BYTES_MAX {
            return self.skip_frame(input, &frame);
        }
        if input.len() < whole {
            // Grown as it comes, so that a length alone takes no memory.
            input.reserve((whole - input.len()).min(1 << 20));
            return Ok(None);
        }
        let packet = input.split_to(whole);
        let incoming = match self.version {
            Version::V3 => read_v3(&frame, packet),
            Version::V5 => read_v5(&frame, packet),
        }?;
        Ok(Some(match incoming {
            Incoming::Message(mut head) if head.payload.len() > self.payload_bytes_max => {
                let bytes = std::mem::take(&mut head.payload).len();
                Incoming::TooLarge { head, bytes }
            }
            other => other,
        }))
    }

    /// Reads topic and id of a PUBLISH that is too large, and leaves out the rest of it.
    fn skip_frame(&mut self, input: &mut BytesMut, frame: &Frame) -> Result<Option<Incoming>, WireError> {
        if frame.kind != PUBLISH {
            return Err(WireError(format!("a packet of type {} with {} bytes", frame.kind, frame.body)));
        }
        let mut body = input.get(frame.head..).unwrap_or_default();
        if body.len() < 2 {
            return Ok(None);
        }
        let topic_bytes = usize::from(body.get_u16());
        if body.len() < topic_bytes + 2 {
            return Ok(None);
        }
        let topic = String::from_utf8(body.get(..topic_bytes).unwrap_or_default().to_vec())
            .map_err(|_| malformed("PUBLISH", "its topic is not UTF-8"))?;
        body.advance(topic_bytes);
        let qos = (frame.flags >> 1) & 3;
        let id = if qos > 0 { body.get_u16() } else { 0 };
        let head = Message {
            topic,
            payload: Bytes::new(),
            qos,
            id,
            dup: frame.flags & 8 != 0,
            retain: frame.flags & 1 != 0,
        };
        let whole = frame.head + frame.body;
        let there = whole.min(input.len());
        input.advance(there);
        self.skip = whole - there;
        Ok(Some(Incoming::TooLarge { head, bytes: frame.body }))
    }
}

const PUBLISH: u8 = 3;

/// The fixed header of a packet (§2.2).
struct Frame {
    kind: u8,
    flags: u8,
    /// Bytes of the header.
    head: usize,
    /// Bytes after it.
    body: usize,
}

impl Frame {
    fn of(input: &[u8]) -> Result<Option<Self>, WireError> {
        let Some((first, rest)) = input.split_first() else { return Ok(None) };
        let mut body = 0_usize;
        for (place, byte) in rest.iter().take(4).enumerate() {
            body |= usize::from(byte & 0x7f) << (7 * place);
            if byte & 0x80 == 0 {
                return Ok(Some(Self { kind: first >> 4, flags: first & 0xf, head: place + 2, body }));
            }
        }
        if rest.len() < 4 { Ok(None) } else { Err(WireError("a packet whose length cannot be read".into())) }
    }
}

/// What both versions read alike; `None` for the others.
fn read_plain(frame: &Frame, packet: &[u8]) -> Option<Result<Incoming, WireError>> {
    let mut body = packet.get(frame.head..).unwrap_or_default();
    match frame.kind {
        6 if body.len() >= 2 => Some(Ok(Incoming::Release(body.get_u16()))),
        6 => Some(Err(malformed("PUBREL", "it is too short"))),
        13 => Some(Ok(Incoming::Pong)),
        14 => Some(Ok(Incoming::Goodbye(goodbye(body.first().copied().unwrap_or(0))))),
        _ => None,
    }
}

fn read_v3(frame: &Frame, mut packet: BytesMut) -> Result<Incoming, WireError> {
    if let Some(read) = read_plain(frame, &packet) {
        return read;
    }
    let read = v4::Packet::read(&mut packet, PACKET_BYTES_MAX as usize);
    match read.map_err(|error| malformed(name(frame.kind), error))? {
        v4::Packet::ConnAck(ack) => Ok(Incoming::Connected(match ack.code {
            v4::ConnectReturnCode::Success => {
                Ok(Greeting { present: ack.session_present, keep_alive_s: None })
            }
            code => Err(words(&code)),
        })),
        v4::Packet::Publish(publish) => Ok(Incoming::Message(Message {
            topic: publish.topic,
            payload: publish.payload,
            qos: publish.qos as u8,
            id: publish.pkid,
            dup: publish.dup,
            retain: publish.retain,
        })),
        v4::Packet::SubAck(ack) => Ok(Incoming::Subscribed(
            ack.return_codes
                .into_iter()
                .map(|code| match code {
                    v4::SubscribeReasonCode::Success(qos) => Ok(qos as u8),
                    v4::SubscribeReasonCode::Failure => Err("refused".to_owned()),
                })
                .collect(),
        )),
        v4::Packet::UnsubAck(_) => Ok(Incoming::Unsubscribed),
        _ => Err(WireError(format!("a {} packet, which a broker never sends", name(frame.kind)))),
    }
}

fn read_v5(frame: &Frame, mut packet: BytesMut) -> Result<Incoming, WireError> {
    if let Some(read) = read_plain(frame, &packet) {
        return read;
    }
    let read = v5::Packet::read(&mut packet, Some(PACKET_BYTES_MAX));
    match read.map_err(|error| malformed(name(frame.kind), error))? {
        v5::Packet::ConnAck(ack) => Ok(Incoming::Connected(match ack.code {
            v5::ConnectReturnCode::Success => Ok(Greeting {
                present: ack.session_present,
                keep_alive_s: ack.properties.and_then(|properties| properties.server_keep_alive),
            }),
            code => Err(words(&code)),
        })),
        v5::Packet::Publish(publish) => {
            let topic = String::from_utf8(publish.topic.to_vec())
                .map_err(|_| malformed("PUBLISH", "its topic is not UTF-8"))?;
            Ok(Incoming::Message(Message {
                topic,
                payload: publish.payload,
                qos: publish.qos as u8,
                id: publish.pkid,
                dup: publish.dup,
                retain: publish.retain,
            }))
        }
        v5::Packet::SubAck(ack) => Ok(Incoming::Subscribed(
            ack.return_codes
                .into_iter()
                .map(|code| match code {
                    v5::SubscribeReasonCode::Success(qos) => Ok(qos as u8),
                    code => Err(words(&code)),
                })
                .collect(),
        )),
        v5::Packet::UnsubAck(_) => Ok(Incoming::Unsubscribed),
        _ => Err(WireError(format!("a {} packet, which a broker never sends", name(frame.kind)))),
    }
}

/// `NotAuthorized` as "not authorized".
fn words(code: &impl std::fmt::Debug) -> String {
    let mut text = String::new();
    for letter in format!("{code:?}").chars() {
        if letter.is_uppercase() && !text.is_empty() {
            text.push(' ');
        }
        text.extend(letter.to_lowercase());
    }
    text
}

fn name(kind: u8) -> &'static str {
    match kind {
        1 => "CONNECT",
        2 => "CONNACK",
        3 => "PUBLISH",
        4 => "PUBACK",
        5 => "PUBREC",
        6 => "PUBREL",
        7 => "PUBCOMP",
        8 => "SUBSCRIBE",
        9 => "SUBACK",
        10 => "UNSUBSCRIBE",
        11 => "UNSUBACK",
        12 => "PINGREQ",
        13 => "PINGRESP",
        14 => "DISCONNECT",
        _ => "AUTH",
    }
}

/// The reasons of a broker's DISCONNECT (MQTT 5 §3.14.2.1) that a person can do something about.
fn goodbye(reason: u8) -> String {
    match reason {
        0x87 => "not authorized".into(),
        0x89 => "it is busy".into(),
        0x8b => "it is shutting down".into(),
        0x8d => "it heard nothing for too long".into(),
        0x8e => "another client took over the session: the client id is used twice".into(),
        0x93 => "more messages were under way than it was told".into(),
        0x95 => "a packet was too large".into(),
        0x97 => "a quota is exceeded".into(),
        0x98 => "an administrator ended the connection".into(),
        other => format!("reason 0x{other:02x}"),
    }
}

#[cfg(test)]
mod tests;
