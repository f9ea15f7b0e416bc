//! Feeds that share a group.

use serde_json::json;

use super::life::*;
use super::server::*;

#[test]
fn feeds_of_a_group_share_the_messages_while_one_joins_and_leaves() {
    let server = server();
    server.kafka.create("shared", 4);
    let params = server.params("shared", json!({"groupId": "shared", "maxBatchSize": 10}));
    let (one, two) = (Durable::default(), Durable::default());
    let first = Life::of(101, &one, &params);
    first.until_running();
    let mut published = 0;
    let mut publish = |count: usize| {
        server.kafka.produce("shared", 4, &values(published, count));
        published += count;
    };
    publish(2000);
    let second = Life::of(102, &two, &params);
    eventually("the second has a part", || {
        publish(200);
        (messages(&two).len() > 500).then_some(())
    });
    publish(2000);
    second.stop();
    publish(2000);
    eventually("all messages", || (messages(&one).len() + messages(&two).len() >= published).then_some(()));
    let mut all = messages(&one);
    all.extend(messages(&two));
    assert_eq!(sorted(&all), (0..published).collect::<Vec<_>>());
    first.stop();
}
