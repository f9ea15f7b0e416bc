//! What is refused, and what the error says.

use lapin::{BasicProperties, ExchangeKind};
use serde_json::{Value, json};
use triggerfish_feeds::catalogue;
use triggerfish_model::{FeedState, JsonObject, Timestamp};

use super::certificates::certificates;
use super::life::*;
use super::server::*;

#[test]
fn parameters_that_cannot_be_are_refused_by_name() {
    let feed = catalogue::feed(&format!("whisk.system/{}", super::FEED).parse().unwrap()).unwrap();
    let check = |params: Value| {
        let params = JsonObject::from_map(params.as_object().unwrap());
        feed.check(&params, None, Timestamp::from_millis(0)).map_err(|error| error.0)
    };
    assert_eq!(check(json!({"url": "amqp://h", "queue": "q"})), Ok(()));
    assert_eq!(check(json!({"url": "amqp://h", "exchange": "e", "routingKey": ["a", "b"]})), Ok(()));
    for (params, expected) in [
        (json!({"url": "amqp://h"}), "the parameter `queue` or `exchange` must be given"),
        (json!({"url": "amqp://h", "queue": "q", "prefetch": 70_000}), "the parameter `prefetch`"),
        (json!({"url": "amqp://h", "queue": "q", "prefetch": 5001}), "expected 1 to 5000"),
        (json!({"url": "amqp://h", "queue": "q", "declare": "yes"}), "the parameter `declare`"),
        (json!({"url": "mqtt://u:geheim@h", "queue": "q"}), "begins with mqtt://"),
    ] {
        let error = check(params).unwrap_err();
        assert!(error.contains(expected) && !error.contains("geheim"), "{error}");
    }
}

/// The error of a feed with these parameters.
fn error_of(params: &Value) -> String {
    let life = Life::of(51, &Durable::default(), params);
    let error = life.until_failed();
    assert!(!error.contains("geheim"), "{error}");
    life.stop();
    error
}

#[test]
fn a_broker_that_cannot_be_reached_is_named_with_what_was_tried() {
    let port = super::free_port();
    let error = error_of(&json!({"url": format!("amqp://u:geheim@127.0.0.1:{port}"), "queue": "q"}));
    assert_eq!(
        error,
        format!("cannot reach the AMQP broker 127.0.0.1:{port}: Connection refused (os error 111)")
    );
}

#[test]
fn credentials_virtual_hosts_queues_and_exchanges_that_are_not_there_are_told() {
    let server = server();
    let port = server.rabbit.port;
    let peer = format!("the AMQP broker 127.0.0.1:{port}");
    let url = |user: &str, vhost: &str| format!("amqp://{user}:geheim@127.0.0.1:{port}{vhost}");
    for (params, what, why) in [
        (json!({"url": url("guest", ""), "queue": "q"}), "cannot open a connection", "ACCESS_REFUSED"),
        (
            json!({"url": server.rabbit.url() + "/nowhere", "queue": "q"}),
            "cannot open a connection",
            "nowhere",
        ),
        (server.params("nowhere", json!({})), "cannot use the queue `nowhere`", "NOT_FOUND"),
        (
            server.params("bound", json!({"declare": true, "exchange": "nowhere"})),
            "cannot bind the queue `bound` to the exchange `nowhere`",
            "NOT_FOUND",
        ),
    ] {
        let error = error_of(&params);
        assert!(error.starts_with(&format!("{peer}: {what}: ")) && error.contains(why), "{error}");
    }
    server.rabbit.queue("other", &[("x-dead-letter-exchange", "dead")]);
    let error = error_of(&server.params("other", json!({"declare": true})));
    assert!(error.contains("cannot declare the queue `other`: PRECONDITION_FAILED"), "{error}");
}

#[test]
fn tls_needs_a_certificate_that_is_trusted_and_of_that_name() {
    let server = server();
    let (other, _, _) = certificates("localhost", "theirs");
    let on_address = server.tls.replace("localhost", "127.0.0.1");
    for (url, ca, expected) in [
        (format!("amqps://{}", server.tls), Some(&other), "UnknownIssuer"),
        (format!("amqps://{}", server.tls), None, "UnknownIssuer"),
        (format!("amqps://{on_address}"), Some(&server.ca), "not valid for name"),
    ] {
        let error = error_of(&json!({"url": url, "queue": "q", "ca": ca}));
        assert!(error.contains(expected) && error.contains("no TLS with the AMQP broker"), "{url}: {error}");
    }
    let durable = Durable::default();
    let url = format!("amqps://{}", server.tls);
    let life = Life::of(52, &durable, &json!({"url": url, "queue": "tls", "declare": true, "ca": server.ca}));
    life.until_running();
    server.rabbit.publish("tls", &lines(0, 1000));
    until_events(&durable, 1000);
    assert_eq!(numbers(&durable), (0..1000).collect::<Vec<u64>>());
    life.stop();
}

#[test]
fn a_message_at_the_limit_arrives_and_one_above_goes_to_the_dead_letters_and_is_told() {
    let server = server();
    server.rabbit.exchange("dead", ExchangeKind::Fanout);
    server.rabbit.queue("graves", &[]);
    server.rabbit.bind("graves", "dead", "");
    for (feed, kind) in [(53, "classic"), (54, "quorum")] {
        let queue = format!("large-{kind}");
        let more = json!({"declare": true, "queueType": kind, "deadLetterExchange": "dead", "prefetch": 3});
        let (durable, params) = (Durable::default(), server.params(&queue, more));
        let life = Life::of(feed, &durable, &params);
        life.until_running();
        let [small, large, whole] = [5, EVENT_BYTES_MAX + 1, EVENT_BYTES_MAX].map(|bytes| vec![b'x'; bytes]);
        let bodies = [&small, &large, &whole, &small].map(Vec::as_slice);
        server.rabbit.publish_to("", &queue, &BasicProperties::default(), bodies.into_iter());
        until_events(&durable, 3);
        let lengths: Vec<usize> = durable.bodies().iter().map(|body| body.as_str().unwrap().len()).collect();
        assert_eq!(lengths, [5, EVENT_BYTES_MAX, 5], "{kind}");
        let (status, error) = (life.status(), life.last_error().unwrap());
        assert_eq!((status.state, status.refused), (FeedState::Running, 1));
        assert!(error.contains(&queue) && error.contains("larger than 25000000"), "{error}");
        let grave = eventually("the dead letter", || server.rabbit.get("graves"));
        assert_eq!(grave.len(), EVENT_BYTES_MAX + 1);
        life.stop();
        assert_eq!(server.rabbit.waiting(&queue), Some(0), "{kind}");
    }
}
