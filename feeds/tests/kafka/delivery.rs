//! What arrives, and in which form.

use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer};
use serde_json::{Value, json};

use super::kafka::send;
use super::life::*;
use super::server::*;

#[test]
fn everything_is_read_once_and_in_the_order_of_its_partition() {
    let server = server();
    server.kafka.create("all", 3);
    server.kafka.produce("all", 3, &values(0, 3000));
    let durable = Durable::default();
    let life = Life::begin(&durable, &server.params("all", json!({})));
    let messages = until_messages(&durable, 3000);
    assert_eq!(sorted(&messages), (0..3000).collect::<Vec<_>>());
    for partition in 0..3 {
        let of = messages.iter().filter(|message| message["partition"] == partition);
        let offsets: Vec<u64> = of.map(|message| message["offset"].as_u64().unwrap()).collect();
        assert_eq!(offsets, (0..1000).collect::<Vec<_>>());
    }
    for (event, key) in durable.events().iter().zip(durable.keys()) {
        let messages = event["messages"].as_array().unwrap();
        let (first, last) = (&messages[0], &messages[messages.len() - 1]);
        let place = format!("all/{}/{}", first["partition"], first["offset"]);
        let expected = if messages.len() == 1 { place } else { format!("{place}-{}", last["offset"]) };
        assert_eq!(key, Some(expected), "an event holds messages of one partition");
    }
    let group = format!("triggerfish-{}", "07".repeat(16));
    eventually("the offsets are committed", || {
        (server.kafka.committed(&group, "all", 3) == [1000; 3]).then_some(())
    });
    eventually("nothing waits", || {
        server.kafka.produce("all", 3, &values(0, 1));
        (life.status().lag == Some(0)).then_some(())
    });
    assert_eq!((life.last_error(), life.status().duplicates), (None, 0));
    life.stop();
}

#[test]
fn a_message_tells_its_place_key_value_time_and_headers() {
    let server = server();
    server.kafka.create("forms", 1);
    let producer = server.kafka.producer(&[]);
    let headers = OwnedHeaders::new()
        .insert(Header { key: "kind", value: Some("a") })
        .insert(Header { key: "raw", value: Some(&b"\xff"[..]) });
    let record = BaseRecord::to("forms").key("k1").payload("{\"n\": 1.50}").timestamp(1_700_000_000_000);
    send(&producer, record.headers(headers));
    send(&producer, BaseRecord::to("forms").key("k2").payload("plain").timestamp(1));
    send(&producer, BaseRecord::to("forms").key(&b"\xff"[..]).payload(&b"\x00\xff"[..]).timestamp(2));
    send(&producer, BaseRecord::<(), ()>::to("forms").timestamp(3));
    producer.flush(std::time::Duration::from_secs(60)).unwrap();
    let read = |feed: u8, more: Value| {
        let durable = Durable::default();
        let life = Life::of(feed, &durable, &server.params("forms", more));
        let messages = until_messages(&durable, 4);
        life.stop();
        messages
    };
    let message = |offset: i64, key: Value, value: Value, timestamp: i64, headers: Value| {
        json!({"topic": "forms", "partition": 0, "offset": offset, "key": key, "value": value,
               "timestamp": timestamp, "headers": headers})
    };
    let first = json!({"kind": "a", "raw": {"base64": "/w=="}});
    let plain = read(11, json!({}));
    let expected = [
        message(0, json!("k1"), json!("{\"n\": 1.50}"), 1_700_000_000_000, first),
        message(1, json!("k2"), json!("plain"), 1, json!({})),
        message(2, json!("\u{fffd}"), json!("\u{0}\u{fffd}"), 2, json!({})),
        message(3, Value::Null, Value::Null, 3, json!({})),
    ];
    assert_eq!(plain, expected);
    let pick = |messages: &[Value], field: &str| -> Vec<Value> {
        messages.iter().map(|message| message[field].clone()).collect()
    };
    let parsed = read(12, json!({"isJSONData": "true", "isBinaryKey": true}));
    assert_eq!(
        pick(&parsed, "value"),
        [json!({"n": 1.5}), json!("\"plain\""), json!("\"\u{0}\u{fffd}\""), Value::Null]
    );
    assert_eq!(pick(&parsed, "key"), [json!("azE="), json!("azI="), json!("/w=="), Value::Null]);
    let binary = read(13, json!({"isBinaryValue": true}));
    assert_eq!(
        pick(&binary, "value"),
        [json!("eyJuIjogMS41MH0="), json!("cGxhaW4="), json!("AP8="), Value::Null]
    );
}

#[test]
fn events_are_bounded_in_messages_and_bytes() {
    let server = server();
    server.kafka.create("bounds", 1);
    server.kafka.produce("bounds", 1, &vec!["x".repeat(1000); 2000]);
    let sizes = |feed: u8, more: Value| -> Vec<(usize, usize)> {
        let durable = Durable::default();
        let life = Life::of(feed, &durable, &server.params("bounds", more));
        until_messages(&durable, 2000);
        life.stop();
        let of = |event: &Value| (event["messages"].as_array().unwrap().len(), event.to_string().len());
        durable.events().iter().map(of).collect()
    };
    assert_eq!(sizes(21, json!({"maxBatchSize": 1})).len(), 2000);
    assert!(sizes(22, json!({"maxBatchSize": 100})).iter().all(|(messages, _)| *messages <= 100));
    let whole = sizes(23, json!({"maxBatchTime": 2000}));
    assert!(whole.iter().all(|(_, bytes)| *bytes <= 900_000), "{whole:?}");
    assert!(whole.len() < 20 && whole.iter().any(|(messages, _)| *messages > 500), "{whole:?}");
}

#[test]
fn only_what_was_committed_is_read_where_the_user_wants_that() {
    let server = server();
    server.kafka.create("transactions", 1);
    let producer = server.kafka.producer(&[("transactional.id", "t")]);
    let patience = std::time::Duration::from_secs(60);
    producer.init_transactions(patience).unwrap();
    for (from, commits) in [(0, false), (10, true), (20, false)] {
        producer.begin_transaction().unwrap();
        for value in values(from, 10) {
            send(&producer, BaseRecord::<(), _>::to("transactions").payload(&value));
        }
        producer.flush(patience).unwrap();
        match commits {
            true => producer.commit_transaction(patience).unwrap(),
            false => producer.abort_transaction(patience).unwrap(),
        }
    }
    server.kafka.produce("transactions", 1, &values(30, 1));
    for (feed, level, expected) in [
        (31, "read_committed", (10..20).chain([30]).collect::<Vec<_>>()),
        (32, "read_uncommitted", (0..31).collect()),
    ] {
        let durable = Durable::default();
        let params = server.params("transactions", json!({"isolationLevel": level, "groupId": level}));
        let life = Life::of(feed, &durable, &params);
        assert_eq!(sorted(&until_messages(&durable, expected.len())), expected, "{level}");
        life.stop();
    }
}

#[test]
fn every_compression_is_read() {
    let server = server();
    for codec in ["gzip", "snappy", "lz4", "zstd"] {
        server.kafka.create(codec, 1);
        let producer = server.kafka.producer(&[("compression.type", codec)]);
        for value in values(0, 500) {
            send(&producer, BaseRecord::<(), _>::to(codec).payload(&value));
        }
        producer.flush(std::time::Duration::from_secs(60)).unwrap();
    }
    let durable = Durable::default();
    let params = json!({"brokers": server.kafka.broker(), "topic": ["gzip", "snappy", "lz4", "zstd"], "startFrom": "earliest"});
    let life = Life::of(41, &durable, &params);
    let messages = until_messages(&durable, 2000);
    for codec in ["gzip", "snappy", "lz4", "zstd"] {
        let of: Vec<Value> = messages.iter().filter(|message| message["topic"] == codec).cloned().collect();
        assert_eq!(sorted(&of), (0..500).collect::<Vec<_>>(), "{codec}");
    }
    life.stop();
}
