//! What needs a clock or a broker that misbehaves: pings, silence, bytes that are no MQTT.

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use triggerfish_model::{ActivationId, FeedId};

use super::*;
use crate::mqtt::settings::Given;

/// A PUBLISH of QoS 1 on `t` with packet id 7: `hello`.
const HELLO: [u8; 12] = [0x32, 10, 0, 1, b't', 0, 7, b'h', b'e', b'l', b'l', b'o'];

/// A connection that is subscribed, and the broker's end of it.
async fn connected() -> (Connection, DuplexStream) {
    let topics = ["t".to_owned()];
    let given = Given { url: "mqtt://b", topics: &topics, qos: 1, version: 3, ..Given::default() };
    let settings = Settings::read(&given, FeedId(ActivationId::from_bytes([1; 16]))).unwrap();
    let (ours, mut broker) = tokio::io::duplex(1 << 16);
    // CONNACK without a session, and SUBACK with QoS 1.
    broker.write_all(&[0x20, 2, 0, 0, 0x90, 3, 0, 1, 1]).await.unwrap();
    let link = Link::over(Box::new(ours), &settings, 100);
    let mut connection = Connection::over(link, &settings, None, 100).await.unwrap();
    let first = connection.next().await.unwrap();
    assert_eq!((first.events.len(), first.cursor.topics.len()), (0, 1), "the subscription is written down");
    connection.ack(&first.cursor).await.unwrap();
    let sent = heard(&mut broker).await;
    assert_eq!(sent[0], 0x10, "CONNECT comes first");
    assert!(sent.ends_with(&[0xc0, 0]), "a ping follows");
    broker.write_all(&[0xd0, 0]).await.unwrap();
    (connection, broker)
}

async fn heard(broker: &mut DuplexStream) -> Vec<u8> {
    let mut bytes = vec![0; 1 << 10];
    let read = broker.read(&mut bytes).await.unwrap();
    bytes.truncate(read);
    bytes
}

#[tokio::test(start_paused = true)]
async fn a_feed_that_reads_nothing_pings_within_half_of_what_the_broker_waits() {
    let (mut connection, mut broker) = connected().await;
    let begun = Instant::now();
    let heard = tokio::select! {
        error = connection.tend() => panic!("{error}"),
        heard = async { [heard(&mut broker).await, heard(&mut broker).await] } => heard,
    };
    assert_eq!(heard, [[0xc0, 0], [0xc0, 0]]);
    let seconds = begun.elapsed().as_secs();
    assert!((30..=31).contains(&seconds), "two pings in {seconds} s");
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_answers_no_ping_is_given_up() {
    let (mut connection, broker) = connected().await;
    let begun = Instant::now();
    let error = connection.next().await.unwrap_err();
    assert_eq!(error.to_string(), "the MQTT broker b:1883 is silent: no answer to a ping");
    assert!(begun.elapsed() <= 2 * PONG_MAX, "after {:?}", begun.elapsed());
    drop(broker);
}

#[tokio::test(start_paused = true)]
async fn a_message_is_acknowledged_by_ack_alone_and_a_dropped_next_loses_nothing() {
    let (mut connection, mut broker) = connected().await;
    broker.write_all(&HELLO[..6]).await.unwrap();
    let cut = tokio::time::timeout(Duration::from_millis(10), connection.next()).await;
    assert!(cut.is_err(), "half a packet is no batch");
    broker.write_all(&HELLO[6..]).await.unwrap();
    let batch = connection.next().await.unwrap();
    let expected = r#"{"topic":"t","body":"hello","encoding":"utf8","qos":1,"retain":false}"#;
    assert_eq!(batch.events[0].payload.as_str(), expected);
    assert_eq!((batch.events[0].key.clone(), batch.cursor.open.len()), (None, 1));
    let quiet = tokio::time::timeout(Duration::from_secs(1), heard(&mut broker)).await;
    assert!(quiet.is_err(), "nothing is sent before it is durable: {quiet:?}");
    connection.ack(&batch.cursor).await.unwrap();
    assert_eq!(heard(&mut broker).await, [0x40, 2, 0, 7, 0xc0, 0], "PUBACK, and the ping that proves it");
}

#[tokio::test(start_paused = true)]
async fn bytes_that_are_no_mqtt_end_the_connection_with_what_was_wrong() {
    for (bytes, expected) in [
        (&[0x30, 0xff, 0xff, 0xff, 0xff, 1][..], "a packet whose length cannot be read"),
        (&[0x30, 2, 0, 9], "a PUBLISH packet that cannot be read"),
        (&[0x62, 1, 7], "a PUBREL packet that cannot be read: it is too short"),
        (&[0x10, 2, 0, 0], "CONNECT packet"),
        (&b"HTTP/1.1 400 Bad Request\r\n".repeat(4), "a PUBACK packet, which a broker never sends"),
    ] {
        let (mut connection, mut broker) = connected().await;
        broker.write_all(bytes).await.unwrap();
        let error = connection.next().await.unwrap_err();
        assert!(matches!(&error, FeedError::Unavailable(_)), "{error:?}");
        let text = error.to_string();
        assert!(text.starts_with("the MQTT broker b:1883 sent a") && text.contains(expected), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_messages_that_need_no_answer_does_not_keep_the_feed_from_pinging() {
    let (mut connection, mut broker) = connected().await;
    for _ in 0..16 {
        broker.write_all(&[0x30, 4, 0, 1, b't', b'x']).await.unwrap();
        let batch = connection.next().await.unwrap();
        assert_eq!(batch.events.len(), 1);
        connection.ack(&batch.cursor).await.unwrap();
        tokio::time::advance(Duration::from_secs(1)).await;
    }
    assert_eq!(heard(&mut broker).await, [0xc0, 0]);
}

#[tokio::test(start_paused = true)]
async fn what_came_before_the_connection_ended_is_given_before_the_error() {
    let (mut connection, mut broker) = connected().await;
    broker.write_all(&[0x30, 4, 0, 1, b't', b'x']).await.unwrap();
    drop(broker);
    assert_eq!(connection.next().await.unwrap().events.len(), 1);
    let error = connection.next().await.unwrap_err();
    assert_eq!(error.to_string(), "the MQTT broker b:1883 closed the connection");
}
