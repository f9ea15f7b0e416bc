//! The decoder on bytes of any kind, in pieces of any size, and what is written read by rumqttc.

use proptest::prelude::*;
use triggerfish_model::{ActivationId, FeedId};

use super::*;
use crate::mqtt::outgoing;
use crate::mqtt::session::Reply;
use crate::mqtt::settings::{Given, Settings};

/// All packets in `bytes`, given to the decoder in pieces of `piece` bytes.
fn decode(version: Version, bytes: &[u8], piece: usize) -> Result<Vec<Incoming>, WireError> {
    let (mut decoder, mut input, mut packets) = (Decoder::new(version, 50), BytesMut::new(), Vec::new());
    for piece in bytes.chunks(piece.max(1)) {
        input.extend_from_slice(piece);
        while let Some(packet) = decoder.decode(&mut input)? {
            packets.push(packet);
        }
    }
    Ok(packets)
}

fn publish(version: Version, qos: u8, id: u16, payload: &[u8]) -> Vec<u8> {
    let mut out = BytesMut::new();
    match version {
        Version::V3 => {
            let mut packet = v4::Publish::new("a/b", rumqttc::mqttbytes::qos(qos).unwrap(), payload);
            packet.pkid = id;
            packet.write(&mut out).unwrap();
        }
        Version::V5 => {
            let qos = rumqttc::v5::mqttbytes::qos(qos).unwrap();
            let mut packet = v5::Publish::new("a/b", qos, payload.to_vec(), None);
            packet.pkid = id;
            packet.write(&mut out).unwrap();
        }
    }
    out.to_vec()
}

proptest! {
    #[test]
    fn bytes_of_any_kind_are_packets_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200), piece in 1..50_usize) {
        for version in [Version::V3, Version::V5] {
            let _ = decode(version, &bytes, piece);
        }
    }

    #[test]
    fn packets_that_were_damaged_are_packets_or_an_error(kind in 0..16_u8, body in proptest::collection::vec(any::<u8>(), 0..60)) {
        let mut bytes = vec![kind << 4 | 2, u8::try_from(body.len()).unwrap()];
        bytes.extend(body);
        for version in [Version::V3, Version::V5] {
            let _ = decode(version, &bytes, 1000);
        }
    }

    #[test]
    fn the_pieces_that_arrive_make_no_difference(sizes in proptest::collection::vec(0..300_usize, 1..10), piece in 1..400_usize) {
        for version in [Version::V3, Version::V5] {
            let bytes: Vec<u8> = sizes.iter().enumerate().flat_map(|(n, size)| {
                publish(version, (n % 3) as u8, u16::try_from(n).unwrap() + 1, &vec![b'x'; *size])
            }).collect();
            let packets = decode(version, &bytes, piece).unwrap();
            prop_assert_eq!(&packets, &decode(version, &bytes, usize::MAX).unwrap());
            for (n, (packet, size)) in packets.iter().zip(&sizes).enumerate() {
                let (head, payload) = match packet {
                    Incoming::Message(message) => (message, message.payload.len()),
                    Incoming::TooLarge { head, bytes } => (head, *bytes),
                    other => panic!("{other:?}"),
                };
                prop_assert_eq!((head.topic.as_str(), usize::from(head.qos), payload), ("a/b", n % 3, *size));
                prop_assert_eq!(usize::from(head.id), if n % 3 == 0 { 0 } else { n + 1 });
                prop_assert_eq!(matches!(packet, Incoming::TooLarge { .. }), *size > 50);
            }
            prop_assert_eq!(packets.len(), sizes.len());
        }
    }
}

#[test]
fn a_packet_far_above_the_limit_is_skipped_unread_and_the_next_one_is_read() {
    for version in [Version::V3, Version::V5] {
        let mut bytes = publish(version, 2, 9, &vec![b'x'; 300_000]);
        bytes.extend(publish(version, 1, 10, b"after"));
        for piece in [1_000, 7, usize::MAX] {
            let packets = decode(version, &bytes, piece).unwrap();
            let [Incoming::TooLarge { head, bytes }, Incoming::Message(after)] = &packets[..] else {
                panic!("{packets:?}")
            };
            assert_eq!((head.topic.as_str(), head.qos, head.id, *bytes > 300_000), ("a/b", 2, 9, true));
            assert_eq!((after.id, &after.payload[..]), (10, &b"after"[..]));
        }
    }
}

#[test]
fn a_goodbye_of_one_byte_and_a_broker_that_counts_with_less_are_read() {
    let goodbye = decode(Version::V5, &[0xe0, 1, 0x8e], 9).unwrap();
    assert!(matches!(&goodbye[..], [Incoming::Goodbye(why)] if why.contains("client id is used twice")));
    let greeting = Greeting { present: true, keep_alive_s: Some(10) };
    let connack = [0x20, 6, 1, 0, 3, 19, 0, 10];
    assert_eq!(decode(Version::V5, &connack, 9).unwrap(), [Incoming::Connected(Ok(greeting))]);
    let refused = decode(Version::V5, &[0x20, 3, 0, 0x87, 0], 9).unwrap();
    assert_eq!(refused, [Incoming::Connected(Err("not authorized".into()))]);
}

#[test]
fn connect_asks_for_a_session_that_stays_and_bounds_what_is_under_way() {
    let topics = ["t".to_owned()];
    let settings = |version| {
        let given = Given { url: "mqtt://u:p@b", topics: &topics, qos: 1, version, ..Given::default() };
        Settings::read(&given, FeedId(ActivationId::from_bytes([1; 16]))).unwrap()
    };
    let mut out = BytesMut::new();
    outgoing::connect(&settings(5), false, &mut out).unwrap();
    let v5::Packet::Connect(connect, None, Some(login)) = v5::Packet::read(&mut out, None).unwrap() else {
        panic!()
    };
    let properties = connect.properties.unwrap();
    assert_eq!((connect.clean_start, connect.keep_alive), (false, KEEP_ALIVE_S));
    assert_eq!(
        (properties.receive_maximum, properties.session_expiry_interval),
        (Some(1000), Some(30 * 86_400))
    );
    assert_eq!((login.username.as_str(), login.password.as_str()), ("u", "p"));
    outgoing::connect(&settings(3), false, &mut out).unwrap();
    let v4::Packet::Connect(connect) = v4::Packet::read(&mut out, 1000).unwrap() else { panic!() };
    assert_eq!((connect.clean_session, connect.client_id.len()), (false, 23));
    outgoing::connect(&settings(5), true, &mut out).unwrap();
    let v5::Packet::Connect(connect, ..) = v5::Packet::read(&mut out, None).unwrap() else { panic!() };
    assert_eq!((connect.clean_start, connect.properties.unwrap().session_expiry_interval), (true, None));
}

#[test]
fn answers_are_what_rumqttc_reads_in_both_versions() {
    let mut out = BytesMut::new();
    for reply in [Reply::PubAck(258), Reply::PubRec(258), Reply::PubComp(258), Reply::Ping] {
        outgoing::reply(reply, &mut out);
    }
    let mut again = out.clone();
    for expected in ["PubAck", "PubRec", "PubComp", "PingReq"] {
        let v3 = format!("{:?}", v4::Packet::read(&mut out, 1000).unwrap());
        let v5 = format!("{:?}", v5::Packet::read(&mut again, None).unwrap());
        for read in [v3, v5] {
            assert!(read.starts_with(expected) && (expected == "PingReq" || read.contains("258")), "{read}");
        }
    }
}
