//! What arrives: each QoS and version, wildcards, several topics, groups, retained and binary messages.

use serde_json::json;

use super::harness::*;

#[test]
fn every_qos_and_version_delivers_everything_in_order() {
    let (_directory, broker) = broker("");
    for version in [3, 5] {
        for qos in [0, 1, 2] {
            let durable = Durable::default();
            let topic = format!("v{version}/q{qos}");
            let life = Life::begin(
                &durable,
                &json!({"url": broker.url(), "topic": topic, "qos": qos, "version": version,
                        "clientId": format!("c{version}{qos}")}),
            );
            life.until_running();
            broker.publish(&topic, 2, &lines(0, 3000));
            until_events(&durable, 3000);
            assert_eq!(numbers(&durable), (0..3000).collect::<Vec<u64>>(), "version {version}, QoS {qos}");
            let first = durable.events()[0].clone();
            let expected =
                json!({"topic": topic, "body": {"n": 0}, "encoding": "json", "qos": qos, "retain": false});
            assert_eq!(first, expected);
            assert_eq!((life.last_error(), life.status().duplicates), (None, 0));
            life.stop();
        }
    }
}

#[test]
fn wildcards_several_topics_and_their_update() {
    let (_directory, broker) = broker("");
    for version in [3, 5] {
        let durable = Durable::default();
        let id = format!("w{version}");
        let params = |topics: serde_json::Value| json!({"url": broker.url(), "topic": topics, "clientId": id, "version": version});
        let life = Life::begin(&durable, &params(json!(["a/+/t", "b/#", "c"])));
        life.until_running();
        let publish = |topic: &str| mosquitto_pub(broker.port, &["-t", topic, "-q", "1", "-m", topic]);
        ["a/1/t", "a/1/x", "a/t", "b", "b/2/3", "c", "c/d"].into_iter().for_each(publish);
        until_events(&durable, 4);
        life.set(&params(json!(["a/+/t", "d"])));
        life.until_running();
        ["b/2", "c", "d", "a/9/t"].into_iter().for_each(publish);
        until_events(&durable, 6);
        assert_eq!(durable.bodies(), ["a/1/t", "b", "b/2/3", "c", "d", "a/9/t"], "version {version}");
        life.stop();
    }
}

#[test]
fn a_group_shares_the_messages() {
    let (_directory, broker) = broker("");
    for version in [3, 5] {
        let lives: Vec<(Durable, Life)> = (0..2)
            .map(|member| {
                let durable = Durable::default();
                let params = json!({"url": broker.url(), "topic": format!("$share/g{version}/s/+"),
                                    "version": version, "clientId": format!("m{version}{member}")});
                let life = Life::begin(&durable, &params);
                life.until_running();
                (durable, life)
            })
            .collect();
        broker.publish("s/1", 1, &lines(0, 1000));
        eventually("all messages between the two", || {
            (lives.iter().map(|(durable, _)| durable.events().len()).sum::<usize>() >= 1000).then_some(())
        });
        let mut all: Vec<u64> = lives.iter().flat_map(|(durable, _)| numbers(durable)).collect();
        all.sort_unstable();
        assert_eq!(all, (0..1000).collect::<Vec<u64>>(), "version {version}");
        assert!(lives.iter().all(|(durable, _)| !durable.events().is_empty()), "both have a part");
    }
}

#[test]
fn a_stored_message_comes_once_and_is_flagged() {
    let (_directory, broker) = broker("");
    for version in [3, 5] {
        let topic = format!("r{version}");
        mosquitto_pub(broker.port, &["-t", &topic, "-r", "-q", "1", "-m", "stored"]);
        let params = json!({"url": broker.url(), "topic": topic, "clientId": topic, "version": version});
        let durable = Durable::default();
        for round in 0..3 {
            let life = Life::begin(&durable, &params);
            life.until_running();
            let live = format!("live {round}");
            mosquitto_pub(broker.port, &["-t", &topic, "-q", "1", "-m", &live]);
            until_events(&durable, 2 + round);
            // The first round ends with a goodbye, the second without one.
            if round == 0 { life.stop() } else { life.crash() }
        }
        let heard: Vec<_> =
            durable.events().iter().map(|event| (event["body"].clone(), event["retain"].clone())).collect();
        let expected = [("stored", true), ("live 0", false), ("live 1", false), ("live 2", false)];
        assert_eq!(heard, expected.map(|(body, retain)| (json!(body), json!(retain))), "version {version}");
    }
}

#[test]
fn bytes_that_are_no_text_arrive_as_base64_and_empty_ones_as_text() {
    let (directory, broker) = broker("");
    let durable = Durable::default();
    let life = Life::begin(&durable, &json!({"url": broker.url(), "topic": "#", "qos": 2}));
    life.until_running();
    let binary = directory.path().join("binary");
    std::fs::write(&binary, [0xff, 0, 0x10, 0x80]).unwrap();
    mosquitto_pub(broker.port, &["-t", "bin", "-q", "2", "-f", binary.to_str().unwrap()]);
    mosquitto_pub(broker.port, &["-t", "empty", "-q", "2", "-n"]);
    mosquitto_pub(broker.port, &["-t", "ünï/✓", "-q", "1", "-m", "héé"]);
    until_events(&durable, 3);
    let event = |topic: &str, body: &str, encoding: &str, qos: u8| json!({"topic": topic, "body": body, "encoding": encoding, "qos": qos, "retain": false});
    let expected = [
        event("bin", "/wAQgA==", "base64", 2),
        event("empty", "", "utf8", 2),
        event("ünï/✓", "héé", "utf8", 1),
    ];
    assert_eq!(durable.events(), expected);
}

#[test]
fn a_deleted_feed_leaves_nothing_at_the_broker_and_a_stopped_one_its_session() {
    let (_directory, broker) = broker("");
    for version in [3, 5] {
        let durable = Durable::default();
        let params = json!({"url": broker.url(), "topic": "kept", "clientId": format!("k{version}"), "version": version});
        let life = Life::begin(&durable, &params);
        life.until_running();
        life.stop();
        broker.publish("kept", 1, &lines(0, 10));
        let life = Life::begin(&durable, &params);
        until_events(&durable, 10);
        life.remove();
        life.stop();
        broker.publish("kept", 1, &lines(10, 10));
        let life = Life::begin(&durable, &params);
        life.until_running();
        broker.publish("kept", 1, &lines(20, 1));
        until_events(&durable, 11);
        let expected: Vec<u64> = (0..10).chain([20]).collect();
        assert_eq!(numbers(&durable), expected, "version {version}: what came after the end is not kept");
        // Other parameters that name another session end the one of before.
        let other = json!({"url": broker.url(), "topic": "kept", "clientId": format!("o{version}"), "version": version});
        life.set(&other);
        life.until_running();
        life.stop();
        broker.publish("kept", 1, &lines(30, 1));
        let life = Life::begin(&Durable::default(), &params);
        life.until_running();
        assert_eq!(life.status().events, 0);
        life.stop();
    }
}
