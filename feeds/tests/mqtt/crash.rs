//! A crash at each point of the protocol: nothing is lost, nothing is double, and nothing loops.

use serde_json::{Value, json};
use triggerfish_model::FeedState;

use super::broker::Broker;
use super::harness::*;

/// Messages that wait while the feed lives and dies.
const MESSAGES: usize = 5;

fn params(broker: &Broker, topic: &str, qos: u8, version: u8) -> Value {
    json!({"url": broker.url(), "topic": topic, "qos": qos, "version": version, "clientId": topic})
}

/// Makes the session, lets `MESSAGES` wait in it, crashes at `crash`, and lives again. What is durable in the end is each
/// message once, and the broker has nothing left to send.
fn crash_and_live(broker: &Broker, topic: &str, qos: u8, version: u8, crash: Crash) -> bool {
    let params = params(broker, topic, qos, version);
    let durable = Durable::default();
    let life = Life::begin(&durable, &params);
    life.until_running();
    eventually("the first cursor", || durable.cursor());
    life.stop();
    broker.publish(topic, 2, &lines(0, MESSAGES));

    durable.crash_at(Some(crash));
    let life = Life::begin(&durable, &params);
    let crashed = eventually("a crash, or everything", || {
        let quiet = durable.events().len() >= MESSAGES && open_deliveries(&durable) == 0;
        (durable.has_crashed() || quiet).then(|| durable.has_crashed())
    });
    life.crash();

    durable.crash_at(None);
    let life = Life::begin(&durable, &params);
    life.until_running();
    broker.publish(topic, 2, &lines(MESSAGES, 1));
    until_events(&durable, MESSAGES + 1);
    eventually("the broker's last word", || (open_deliveries(&durable) == 0).then_some(()));
    let expected: Vec<u64> = (0..=MESSAGES as u64).collect();
    assert_eq!(numbers(&durable), expected, "QoS {qos}, version {version}, {crash:?}");
    let status = life.status();
    assert_eq!((status.state, status.last_error), (FeedState::Running, None), "{qos} {version} {crash:?}");
    life.stop();
    crashed
}

/// Deliveries that the cursor says may come again.
fn open_deliveries(durable: &Durable) -> usize {
    durable.cursor().map_or(0, |cursor| cursor["open"].as_str().unwrap().len())
}

#[test]
fn a_crash_at_any_write_neither_loses_nor_doubles() {
    let (_directory, broker) = broker("");
    let mut crashes = 0;
    for version in [3, 5] {
        for qos in [1, 2] {
            for write in 0..2 {
                for (name, crash) in
                    [("before", Crash::BeforeWrite(write)), ("after", Crash::AfterWrite(write))]
                {
                    let topic = format!("v{version}/q{qos}/{name}/{write}");
                    crashes += u32::from(crash_and_live(&broker, &topic, qos, version, crash));
                }
            }
        }
    }
    println!("{crashes} crashes in 16 runs");
    assert!(crashes >= 16, "only {crashes} of 16 runs crashed where they should");
}

/// The next-to-last step of QoS 2: PUBREC is sent, and the crash comes before or after the write that PUBCOMP waits for.
#[test]
fn a_crash_between_pubrec_and_pubcomp_does_not_loop() {
    // With one message under way at a time, one that is never confirmed holds up all that come after it.
    let (_directory, broker) = broker("max_inflight_messages 1");
    for version in [3, 5] {
        for crash in [Crash::BeforeWrite(1), Crash::AfterWrite(1)] {
            let topic = format!("v{version}/{}", matches!(crash, Crash::AfterWrite(_)));
            let params = params(&broker, &topic, 2, version);
            let durable = Durable::default();
            let life = Life::begin(&durable, &params);
            eventually("the first cursor", || durable.cursor());
            life.stop();
            mosquitto_pub(broker.port, &["-t", &topic, "-q", "2", "-m", "{\"n\":0}"]);
            durable.crash_at(Some(crash));
            let life = Life::begin(&durable, &params);
            eventually("the crash", || durable.has_crashed().then_some(()));
            assert_eq!(numbers(&durable), [0], "the message was durable, and PUBREL came");
            life.crash();

            durable.crash_at(None);
            for round in 1..=3 {
                mosquitto_pub(
                    broker.port,
                    &["-t", &topic, "-q", "2", "-m", &json!({"n": round}).to_string()],
                );
                let life = Life::begin(&durable, &params);
                life.until_running();
                until_events(&durable, round + 1);
                eventually("PUBCOMP", || (open_deliveries(&durable) == 0).then_some(()));
                assert_eq!(life.last_error(), None);
                life.stop();
            }
            assert_eq!(numbers(&durable), [0, 1, 2, 3]);
        }
    }
}

#[test]
fn a_broker_that_restarts_keeps_the_session_and_the_feed_comes_back_by_itself() {
    for (version, qos) in [(5, 1), (3, 2)] {
        let (_directory, mut broker) = broker("");
        let durable = Durable::default();
        let life = Life::begin(&durable, &params(&broker, "restarted", qos, version));
        life.until_running();
        for round in 0..3 {
            broker.publish("restarted", 1, &lines(round * 500, 500));
            broker.stop();
            eventually("the feed to notice", || (life.status().state == FeedState::Failed).then_some(()));
            let error = life.last_error().unwrap();
            assert!(error.contains(&format!("127.0.0.1:{}", broker.port)), "{error}");
            broker.resume();
            life.until_running();
        }
        until_events(&durable, 1500);
        let mut numbers = numbers(&durable);
        numbers.sort_unstable();
        assert_eq!(numbers, (0..1500).collect::<Vec<u64>>());
        life.stop();
    }
}

#[test]
fn a_hub_without_room_takes_no_more_and_loses_nothing() {
    let (_directory, broker) = broker("");
    let durable = Durable::default();
    let life = Life::begin(&durable, &params(&broker, "full", 1, 5));
    eventually("the first cursor", || durable.cursor());
    durable.set_full(true);
    broker.publish("full", 1, &lines(0, 5000));
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
    life.stop();
}
