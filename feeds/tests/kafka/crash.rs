//! A crash at each write, a broker that restarts, and a hub without room: nothing is lost, and nothing comes twice.

use serde_json::json;
use triggerfish_model::FeedState;

use super::life::*;
use super::server::*;

#[test]
fn a_crash_at_any_write_neither_loses_nor_doubles_however_batches_are_cut_after_it() {
    let server = server();
    let mut feed = 70;
    for batch in [1, 7, 10_000] {
        for write in 1..3 {
            for crash in [Crash::BeforeWrite(write), Crash::AfterWrite(write)] {
                feed += 1;
                let topic = format!("crash-{feed}");
                server.kafka.create(&topic, 2);
                let durable = Durable::default();
                durable.crash_at(Some(crash));
                let life = Life::of(feed, &durable, &server.params(&topic, json!({"maxBatchSize": batch})));
                let mut published = 0;
                eventually("the crash", || {
                    // There is always something to write.
                    if !durable.has_crashed() && messages(&durable).len() == published {
                        server.kafka.produce(&topic, 2, &values(published, 300));
                        published += 300;
                    }
                    durable.has_crashed().then_some(())
                });
                life.crash();
                durable.crash_at(None);
                server.kafka.produce(&topic, 2, &values(published, 100));
                let params = server.params(&topic, json!({"maxBatchSize": batch * 3 % 10_001}));
                let life = Life::of(feed, &durable, &params);
                let messages = until_messages(&durable, published + 100);
                assert_eq!(sorted(&messages), (0..published + 100).collect::<Vec<_>>(), "{batch} {crash:?}");
                assert_eq!(life.last_error(), None);
                life.stop();
            }
        }
    }
}

#[test]
fn a_committed_offset_beyond_the_cursor_counts() {
    let server = server();
    server.kafka.create("beyond", 1);
    server.kafka.produce("beyond", 1, &values(0, 100));
    let durable = Durable::default();
    let params = server.params("beyond", json!({"groupId": "beyond"}));
    let life = Life::of(90, &durable, &params);
    until_messages(&durable, 100);
    life.stop();
    server.kafka.produce("beyond", 1, &values(100, 100));
    // As an operator who skips some.
    let client: rdkafka::consumer::BaseConsumer =
        server.kafka.config().set("group.id", "beyond").create().unwrap();
    let mut list = rdkafka::TopicPartitionList::new();
    list.add_partition_offset("beyond", 0, rdkafka::Offset::Offset(150)).unwrap();
    eventually("the group has no members any more", || {
        rdkafka::consumer::Consumer::commit(&client, &list, rdkafka::consumer::CommitMode::Sync).ok()
    });
    let life = Life::of(90, &durable, &params);
    let expected: Vec<usize> = (0..100).chain(150..200).collect();
    assert_eq!(sorted(&until_messages(&durable, 150)), expected);
    life.stop();
}

#[test]
fn a_broker_that_restarts_is_told_and_the_feed_comes_back_by_itself() {
    let mut server = server_alone();
    server.kafka.create("restarted", 2);
    let durable = Durable::default();
    let params = server.params("restarted", json!({}));
    let life = Life::of(91, &durable, &params);
    life.until_running();
    for round in 0..2 {
        server.kafka.produce("restarted", 2, &values(round * 100, 100));
        server.kafka.stop();
        eventually("the feed to notice", || (life.status().state == FeedState::Failed).then_some(()));
        let error = life.last_error().unwrap();
        assert!(error.contains(&format!("cannot reach Kafka at {}: ", server.kafka.broker())), "{error}");
        server.kafka.resume();
    }
    life.until_running();
    assert_eq!(sorted(&until_messages(&durable, 200)), (0..200).collect::<Vec<_>>());
    life.stop();
}

#[test]
fn a_hub_without_room_takes_no_more_and_loses_nothing() {
    let server = server();
    server.kafka.create("full", 2);
    let durable = Durable::default();
    let life = Life::of(92, &durable, &server.params("full", json!({"maxBatchSize": 100})));
    eventually("the first cursor", || durable.cursor());
    durable.set_full(true);
    let large: Vec<String> = values(0, 20_000).into_iter().map(|n| format!("{n:0>1000}")).collect();
    server.kafka.produce("full", 2, &large);
    eventually("the feed to say so", || (life.last_error().as_deref() == Some("full")).then_some(()));
    // Longer than a stall: it has stopped fetching by then.
    std::thread::sleep(std::time::Duration::from_millis(1500));
    assert_eq!((life.status().state, durable.events().len()), (FeedState::Running, 0));
    durable.set_full(false);
    assert_eq!(sorted(&until_messages(&durable, 20_000)), (0..20_000).collect::<Vec<_>>());
    assert_eq!(life.last_error().as_deref(), Some("full"), "it never reconnected");
    assert_eq!(life.status().duplicates, 0);
    life.stop();
}
