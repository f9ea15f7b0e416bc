//! What arrives: queues of each type, exchanges, metadata, equal messages, the feed's own queue.

use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, ExchangeKind};
use serde_json::{Value, json};

use super::life::*;
use super::server::*;

#[test]
fn everything_is_read_once_in_order_and_acknowledged() {
    let server = server();
    for (feed, kind) in [(1, "classic"), (2, "quorum")] {
        let queue = format!("all-{kind}");
        let durable = Durable::default();
        let params = server.params(&queue, json!({"declare": true, "queueType": kind}));
        let life = Life::of(feed, &durable, &params);
        life.until_running();
        server.rabbit.publish(&queue, &lines(0, 3000));
        until_events(&durable, 3000);
        assert_eq!(numbers(&durable), (0..3000).collect::<Vec<u64>>(), "{kind}");
        let expected = json!({"exchange": "", "routingKey": queue, "messageId": null, "headers": {}, "contentType": null,
                              "redelivered": false, "body": {"n": 0}, "encoding": "json"});
        assert_eq!(durable.events()[0], expected);
        eventually("nothing is open any more", || (open_deliveries(&durable) == 0).then_some(()));
        assert_eq!((life.last_error(), life.status().duplicates, life.status().lag), (None, 0, Some(0)));
        life.stop();
        assert_eq!(server.rabbit.waiting(&queue), Some(0), "{kind}");
    }
}

/// Batches of the cursor that tell of deliveries that may come again.
pub fn open_deliveries(durable: &Durable) -> usize {
    durable.cursor().map_or(0, |cursor| cursor["open"].as_array().unwrap().len())
}

#[test]
fn an_event_tells_what_the_message_carries() {
    let server = server();
    server.rabbit.exchange("carrier", ExchangeKind::Topic);
    let durable = Durable::default();
    let params = json!({"url": server.rabbit.url(), "exchange": "carrier", "routingKey": ["a.*", "b"]});
    let life = Life::of(3, &durable, &params);
    life.until_running();
    let mut headers = FieldTable::default();
    headers.insert("n".into(), AMQPValue::LongLongInt(1 << 40));
    headers.insert("text".into(), AMQPValue::LongString("é".into()));
    let properties = BasicProperties::default()
        .with_message_id("m1".into())
        .with_content_type("text/plain".into())
        .with_headers(headers);
    server.rabbit.publish_to("carrier", "a.x", &properties, [&b"hot"[..]].into_iter());
    server.rabbit.publish_to(
        "carrier",
        "b",
        &BasicProperties::default(),
        [&b"\xff\x00"[..], b"[1,2]"].into_iter(),
    );
    until_events(&durable, 3);
    let event = |key: &str, more: Value| {
        let mut event = json!({"exchange": "carrier", "routingKey": key, "messageId": null, "headers": {},
                               "contentType": null, "redelivered": false});
        event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        event
    };
    let expected = [
        event(
            "a.x",
            json!({"messageId": "m1", "headers": {"n": 1_u64 << 40, "text": "é"}, "contentType": "text/plain",
                            "body": "hot", "encoding": "utf8"}),
        ),
        event("b", json!({"body": "/wA=", "encoding": "base64"})),
        event("b", json!({"body": [1, 2], "encoding": "json"})),
    ];
    assert_eq!(durable.events(), expected);
    let keys = durable.keys();
    assert!(keys[0].as_ref().unwrap().starts_with("m1#") && keys[1..] == [None, None], "{keys:?}");
    life.stop();
}

#[test]
fn a_feed_of_an_exchange_has_its_own_queue_which_waits_for_it_and_goes_with_it() {
    let server = server();
    let durable = Durable::default();
    let params = json!({"url": server.rabbit.url(), "exchange": "own", "exchangeType": "fanout"});
    let queue = format!("triggerfish-{}", "04".repeat(16));
    let life = Life::of(4, &durable, &params);
    life.until_running();
    life.stop();
    let bodies = lines(0, 10);
    server.rabbit.publish_to("own", "", &BasicProperties::default(), bodies.iter().map(String::as_bytes));
    assert_eq!(server.rabbit.waiting(&queue), Some(10));
    let life = Life::of(4, &durable, &params);
    until_events(&durable, 10);
    life.remove();
    life.stop();
    assert_eq!(server.rabbit.waiting(&queue), None);
}

#[test]
fn equal_messages_are_as_many_events() {
    let server = server();
    server.rabbit.queue("equal", &[]);
    let durable = Durable::default();
    let params = server.params("equal", json!({}));
    let life = Life::of(5, &durable, &params);
    life.until_running();
    server.rabbit.publish("equal", &vec!["21.5".to_owned(); 500]);
    until_events(&durable, 500);
    life.crash();
    let life = Life::of(5, &durable, &params);
    server.rabbit.publish("equal", &vec!["21.5".to_owned(); 500]);
    until_events(&durable, 1000);
    assert_eq!((durable.events().len(), life.status().duplicates), (1000, 0));
    life.stop();
    assert_eq!(server.rabbit.waiting("equal"), Some(0));
}

#[test]
fn no_more_than_the_prefetch_is_under_way() {
    let server = server();
    server.rabbit.queue("prefetch", &[]);
    server.rabbit.publish("prefetch", &lines(0, 100));
    let durable = Durable::default();
    durable.set_full(true);
    let life = Life::of(6, &durable, &server.params("prefetch", json!({"prefetch": 10})));
    eventually("the feed to say so", || (life.last_error().as_deref() == Some("full")).then_some(()));
    assert_eq!(server.rabbit.waiting("prefetch"), Some(90));
    durable.set_full(false);
    until_events(&durable, 100);
    assert_eq!(numbers(&durable), (0..100).collect::<Vec<u64>>());
    life.stop();
}
