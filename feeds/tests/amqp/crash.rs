//! A crash at each write, a broker that restarts, a queue that is deleted: nothing is lost, and nothing comes twice.

use lapin::BasicProperties;
use serde_json::{Value, json};
use triggerfish_model::FeedState;

use super::delivery::open_deliveries;
use super::life::*;
use super::server::*;

/// Crashes at `crash` with messages in a queue of this kind, and lives again: each message is durable once, and the
/// broker has nothing left to send.
fn crash_and_live(server: &Server, feed: u8, kind: &str, crash: Crash) {
    let queue = format!("crash-{feed}");
    server.rabbit.queue(&queue, &[("x-queue-type", kind)]);
    server.rabbit.publish(&queue, &lines(0, 600));
    let params = server.params(&queue, json!({"prefetch": 100}));
    let durable = Durable::default();
    durable.crash_at(Some(crash));
    let life = Life::of(feed, &durable, &params);
    eventually("the crash", || durable.has_crashed().then_some(()));
    life.crash();

    durable.crash_at(None);
    let life = Life::of(feed, &durable, &params);
    life.until_running();
    until_events(&durable, 600);
    server.rabbit.publish(&queue, &lines(600, 1));
    until_events(&durable, 601);
    let mut all = numbers(&durable);
    all.sort_unstable();
    assert_eq!(all, (0..=600).collect::<Vec<u64>>(), "{kind} {crash:?}");
    assert_eq!(life.last_error(), None);
    life.stop();
    assert_eq!(server.rabbit.waiting(&queue), Some(0), "{kind} {crash:?}");
}

#[test]
fn a_crash_at_any_write_neither_loses_nor_doubles() {
    let server = server();
    let mut feed = 10;
    for kind in ["classic", "quorum"] {
        for write in 0..3 {
            for crash in [Crash::BeforeWrite(write), Crash::AfterWrite(write)] {
                feed += 1;
                crash_and_live(&server, feed, kind, crash);
            }
        }
    }
}

#[test]
fn a_message_that_names_itself_keeps_its_key_when_it_comes_again() {
    let server = server();
    server.rabbit.queue("named", &[]);
    let named =
        (0..20).map(|n| (BasicProperties::default().with_message_id(format!("id-{n}").into()), &b"x"[..]));
    server.rabbit.publish_each("", "named", named);
    let durable = Durable::default();
    durable.crash_at(Some(Crash::AfterWrite(0)));
    let params = server.params("named", json!({}));
    let life = Life::of(40, &durable, &params);
    eventually("the crash", || durable.has_crashed().then_some(()));
    life.crash();
    durable.crash_at(None);
    let before = durable.keys();
    assert!(!before.is_empty() && before.iter().all(Option::is_some), "{before:?}");
    let life = Life::of(40, &durable, &params);
    // All of them again: this test's hub knows no keys.
    until_events(&durable, before.len() + 20);
    let mut keys = durable.keys();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 20);
    life.stop();
}

#[test]
fn a_broker_that_restarts_is_told_and_the_feed_comes_back_by_itself() {
    let mut server = server_alone();
    for (feed, kind) in [(41, "classic"), (42, "quorum")] {
        let queue = format!("restarted-{kind}");
        let durable = Durable::default();
        let params = server.params(&queue, json!({"declare": true, "queueType": kind}));
        let life = Life::of(feed, &durable, &params);
        life.until_running();
        server.rabbit.publish(&queue, &lines(0, 500));
        server.rabbit.stop();
        eventually("the feed to notice", || (life.status().state == FeedState::Failed).then_some(()));
        let error = life.last_error().unwrap();
        assert!(error.contains(&format!("the AMQP broker 127.0.0.1:{}", server.rabbit.port)), "{error}");
        server.rabbit.resume();
        life.until_running();
        server.rabbit.publish(&queue, &lines(500, 100));
        until_events(&durable, 600);
        let mut all = numbers(&durable);
        all.sort_unstable();
        assert_eq!(all, (0..600).collect::<Vec<u64>>(), "{kind}");
        life.stop();
    }
}

#[test]
fn a_queue_that_is_deleted_is_told_and_declared_again() {
    let server = server();
    let durable = Durable::default();
    let params: Value = server.params("deleted", json!({"declare": true}));
    let life = Life::of(43, &durable, &params);
    life.until_running();
    server.rabbit.delete("deleted");
    let error = life.until_failed();
    assert!(error.contains("ended the consumption of the queue `deleted`"), "{error}");
    life.until_running();
    server.rabbit.publish("deleted", &lines(0, 10));
    until_events(&durable, 10);
    life.stop();
}

#[test]
fn a_hub_without_room_takes_no_more_and_loses_nothing() {
    let server = server();
    server.rabbit.queue("full", &[]);
    let durable = Durable::default();
    let life = Life::of(44, &durable, &server.params("full", json!({})));
    life.until_running();
    durable.set_full(true);
    server.rabbit.publish("full", &lines(0, 5000));
    eventually("the feed to say so", || (life.last_error().as_deref() == Some("full")).then_some(()));
    assert_eq!((life.status().state, durable.events().len()), (FeedState::Running, 0));
    durable.set_full(false);
    until_events(&durable, 5000);
    assert_eq!(numbers(&durable), (0..5000).collect::<Vec<u64>>());
    assert_eq!(
        (life.last_error().as_deref(), life.status().duplicates),
        (Some("full"), 0),
        "it never reconnected"
    );
    eventually("nothing is open any more", || (open_deliveries(&durable) == 0).then_some(()));
    life.stop();
}
