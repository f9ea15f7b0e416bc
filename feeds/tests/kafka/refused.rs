//! What is refused, and what the error says.

use rdkafka::producer::{BaseRecord, Producer};
use serde_json::{Value, json};
use triggerfish_feeds::catalogue;
use triggerfish_model::{FeedState, JsonObject, Timestamp};

use super::certificates::certificates;
use super::kafka::send;
use super::life::*;
use super::server::*;

#[test]
fn parameters_that_cannot_be_are_refused_by_name() {
    let feed = catalogue::feed(&format!("whisk.system/{}", super::FEED).parse().unwrap()).unwrap();
    let check = |params: Value| {
        let params = JsonObject::from_map(params.as_object().unwrap());
        feed.check(&params, None, Timestamp::from_millis(0)).map_err(|error| error.0)
    };
    assert_eq!(check(json!({"brokers": "a:1, b:2", "topic": "t", "isJSONData": "true"})), Ok(()));
    for (params, expected) in [
        (json!({"topic": "t"}), "You must supply a 'brokers' parameter."),
        (json!({"brokers": ["a:1"]}), "You must supply a 'topic' parameter."),
        (
            json!({"brokers": "a:1", "topic": "t", "isJSONData": "true", "isBinaryValue": true}),
            "isJSONData and isBinaryValue cannot both be enabled.",
        ),
        (
            json!({"brokers": "a:1", "topic": "t", "isJSONData": "maybe"}),
            "the parameter `isJSONData`: expected true or false",
        ),
        (
            json!({"brokers": 9092, "topic": "t"}),
            "the parameter `brokers`: expected a text or an array of texts",
        ),
        (json!({"brokers": "a", "topic": "t"}), "the parameter `brokers` has `a`; expected host:port"),
    ] {
        assert_eq!(check(params).unwrap_err(), expected);
    }
}

/// The error of a feed with these parameters.
fn error_of(feed: u8, params: &Value) -> String {
    let life = Life::of(feed, &Durable::default(), params);
    let error = life.until_failed();
    assert!(!error.contains("geheim"), "{error}");
    life.stop();
    error
}

#[test]
fn a_broker_that_cannot_be_reached_is_named_with_what_was_tried() {
    let port = super::free_port();
    let error = error_of(111, &json!({"brokers": format!("127.0.0.1:{port}"), "topic": "t"}));
    assert!(error.starts_with(&format!("cannot reach Kafka at 127.0.0.1:{port}: ")), "{error}");
    assert!(error.ends_with("Connection refused"), "{error}");
    let error = error_of(111, &json!({"brokers": "no-such-host.invalid:9092", "topic": "t"}));
    assert!(error.starts_with("cannot reach Kafka at no-such-host.invalid:9092: "), "{error}");
    assert!(error.contains("resolve"), "{error}");
}

#[test]
fn wrong_credentials_are_refused_and_right_ones_taken() {
    let server = server();
    server.kafka.create("login", 1);
    server.kafka.produce("login", 1, &values(0, 1));
    for (feed, mechanism) in (120..).zip(["plain", "scram-sha-256", "scram-sha-512"]) {
        let params = |password: &str| {
            let login = json!({"brokers": server.sasl, "username": "sensor", "password": password, "mechanism": mechanism});
            server.params("login", login)
        };
        let error = error_of(112, &params("geheimnis"));
        assert!(error.starts_with(&format!("Kafka at {} refuses: ", server.sasl)), "{error}");
        assert!(error.contains("Authentication failed"), "{error}");
        let durable = Durable::default();
        let life = Life::of(feed, &durable, &params("geheim"));
        until_messages(&durable, 1);
        life.stop();
    }
    let error = error_of(112, &server.params("login", json!({"brokers": server.sasl})));
    assert!(error.contains(&server.sasl), "{error}");
}

#[test]
fn tls_needs_a_certificate_that_is_trusted_of_either_side() {
    let server = server();
    server.kafka.create("tls", 1);
    server.kafka.produce("tls", 1, &values(0, 1));
    let (other, _, _) = certificates("localhost", "others'");
    let login = json!({"brokers": server.sasl_ssl, "username": "sensor", "password": "geheim", "tls": true});
    let with = |base: &Value, more: Value| {
        let mut params = base.clone();
        params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        server.params("tls", params)
    };
    let error = error_of(114, &with(&login, json!({"ca": other})));
    assert!(error.contains("certificate verify failed"), "{error}");
    let error = error_of(114, &with(&login, json!({})));
    assert!(error.contains("certificate verify failed"), "{error}");
    let error = error_of(
        114,
        &with(&login, json!({"ca": server.ca, "brokers": server.sasl_ssl.replace("localhost", "127.0.0.1")})),
    );
    assert!(error.contains("certificate verify failed"), "{error}");
    let mutual = json!({"brokers": server.mutual, "tls": true, "ca": server.ca});
    let error = error_of(114, &with(&mutual, json!({})));
    assert!(error.contains(&server.mutual), "{error}");
    let (certificate, key) = &server.client;
    for (feed, right) in (130..).zip([
        with(&login, json!({"ca": server.ca, "mechanism": "scram-sha-256"})),
        with(&mutual, json!({"certificate": certificate, "privateKey": key})),
    ]) {
        let durable = Durable::default();
        let life = Life::of(feed, &durable, &right);
        until_messages(&durable, 1);
        life.stop();
    }
}

#[test]
fn a_message_at_the_limit_arrives_and_one_above_is_passed_and_told() {
    let server = server();
    server.kafka.create("large", 1);
    let producer = server.kafka.producer(&[("message.max.bytes", "40000000"), ("compression.type", "lz4")]);
    for bytes in [5, EVENT_BYTES_MAX + 1, EVENT_BYTES_MAX - 200, 6] {
        send(&producer, BaseRecord::<(), _>::to("large").payload(&vec![b'x'; bytes]));
        producer.flush(std::time::Duration::from_secs(60)).unwrap();
    }
    let durable = Durable::default();
    let params = server.params("large", json!({}));
    let life = Life::of(116, &durable, &params);
    let messages = until_messages(&durable, 3);
    let lengths: Vec<usize> = messages.iter().map(|it| it["value"].as_str().unwrap().len()).collect();
    assert_eq!(lengths, [5, EVENT_BYTES_MAX - 200, 6]);
    let (status, error) = (life.status(), life.last_error().unwrap());
    assert_eq!((status.state, status.refused), (FeedState::Running, 1));
    assert!(error.contains("`large/0/1` was left out") && error.contains("more than 25000000"), "{error}");
    life.crash();
    // It is done with: it does not come again.
    let life = Life::of(116, &durable, &params);
    life.until_running();
    server.kafka.produce("large", 1, &values(0, 1));
    until_messages(&durable, 4);
    assert_eq!((life.status().refused, life.last_error()), (0, None));
    life.stop();
}
