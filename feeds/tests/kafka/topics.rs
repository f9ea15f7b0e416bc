//! Which topics and partitions are read, from where, and what happens when they come and go.

use serde_json::json;
use triggerfish_model::FeedState;

use super::life::*;
use super::server::*;

#[test]
fn a_feed_begins_where_the_user_says_and_a_crash_before_the_first_message_changes_nothing() {
    let server = server();
    server.kafka.create("begin", 2);
    server.kafka.produce("begin", 2, &values(0, 20));
    let middle = triggerfish_model::Clock::now(&triggerfish_model::SystemClock).as_millis() + 1;
    eventually("the next millisecond", || {
        (triggerfish_model::Clock::now(&triggerfish_model::SystemClock).as_millis() > middle).then_some(())
    });
    server.kafka.produce("begin", 2, &values(20, 20));
    let starts = [json!("earliest"), json!(middle), json!("latest")];
    let feeds: Vec<(u8, Durable, serde_json::Value)> = (51..)
        .zip(starts)
        .map(|(feed, start)| (feed, Durable::default(), server.params("begin", json!({"startFrom": start}))))
        .collect();
    for (feed, durable, params) in &feeds {
        let life = Life::of(*feed, durable, params);
        life.until_running();
        eventually("the first cursor", || durable.cursor());
        life.crash();
    }
    server.kafka.produce("begin", 2, &values(40, 20));
    for ((feed, durable, params), from) in feeds.iter().zip([0, 20, 40]) {
        let life = Life::of(*feed, durable, params);
        assert_eq!(sorted(&until_messages(durable, 60 - from)), (from..60).collect::<Vec<_>>(), "{params}");
        life.stop();
    }
}

#[test]
fn several_topics_patterns_and_topics_that_come_later() {
    let server = server();
    for topic in ["several-a", "several-b", "other"] {
        server.kafka.create(topic, 1);
        server.kafka.produce(topic, 1, &values(0, 1));
    }
    let durable = Durable::default();
    let params = json!({"brokers": [server.kafka.broker()], "topic": ["other", "^several-.*"]});
    let life = Life::of(61, &durable, &params);
    life.until_running();
    for topic in ["several-a", "several-b", "other"] {
        server.kafka.produce(topic, 1, &values(1, 1));
    }
    let messages = until_messages(&durable, 3);
    assert!(messages.iter().all(|message| message["value"] == "1"), "{messages:?}");
    // It is found within seconds, and read from its beginning though the feed began with the latest.
    server.kafka.create("several-c", 1);
    server.kafka.produce("several-c", 1, &values(2, 3));
    let messages = until_messages(&durable, 6);
    assert_eq!(sorted(&messages), [1, 1, 1, 2, 3, 4]);
    life.stop();
}

#[test]
fn a_partition_that_comes_later_is_read_from_its_beginning() {
    let server = server();
    server.kafka.create("widened", 1);
    server.kafka.produce("widened", 1, &values(0, 5));
    let durable = Durable::default();
    let params = json!({"brokers": server.kafka.broker(), "topic": "widened"});
    let life = Life::of(62, &durable, &params);
    life.until_running();
    server.kafka.widen("widened", 3);
    eventually("the new partitions", || {
        let metadata = rdkafka::consumer::Consumer::fetch_metadata(
            &server.kafka.config().create::<rdkafka::consumer::BaseConsumer>().unwrap(),
            Some("widened"),
            std::time::Duration::from_secs(10),
        );
        (metadata.unwrap().topics()[0].partitions().len() == 3).then_some(())
    });
    server.kafka.produce("widened", 3, &values(5, 9));
    assert_eq!(sorted(&until_messages(&durable, 9)), (5..14).collect::<Vec<_>>());
    life.stop();
}

#[test]
fn a_topic_made_anew_is_read_from_its_beginning_whether_the_feed_saw_it_go_or_not() {
    let server = server();
    server.kafka.create("anew", 1);
    server.kafka.produce("anew", 1, &values(0, 10));
    let durable = Durable::default();
    let params = server.params("anew", json!({}));
    let life = Life::of(63, &durable, &params);
    until_messages(&durable, 10);
    server.kafka.delete("anew");
    eventually("the feed to tell that it is gone", || {
        let status = life.status();
        let error = status.last_error.map(|(_, text)| text).unwrap_or_default();
        (status.state == FeedState::Failed && error.contains("`anew`")).then_some(())
    });
    server.kafka.create("anew", 1);
    server.kafka.produce("anew", 1, &values(10, 5));
    until_messages(&durable, 15);
    life.stop();
    // Longer than it was, so that offsets alone do not tell.
    server.kafka.delete("anew");
    server.kafka.create("anew", 1);
    server.kafka.produce("anew", 1, &values(15, 50));
    let life = Life::of(63, &durable, &params);
    let messages = until_messages(&durable, 65);
    assert_eq!(sorted(&messages), (0..65).collect::<Vec<_>>());
    let mut keys: Vec<String> = durable.keys().into_iter().flatten().collect();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), durable.keys().len(), "no key is used twice");
    life.stop();
}

#[test]
fn a_topic_that_is_missing_is_named_and_read_from_its_beginning_when_it_comes() {
    let server = server();
    let durable = Durable::default();
    let params = json!({"brokers": server.kafka.broker(), "topic": "late"});
    let life = Life::of(64, &durable, &params);
    let error = life.until_failed();
    assert_eq!(error, format!("Kafka at {} has no topic `late`", server.kafka.broker()));
    server.kafka.create("late", 1);
    server.kafka.produce("late", 1, &values(0, 10));
    assert_eq!(sorted(&until_messages(&durable, 10)), (0..10).collect::<Vec<_>>());
    life.stop();
}
