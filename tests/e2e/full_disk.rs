//! A hub whose disk fills up (invariant 6): it refuses new work and says why, completes what it accepted, loses nothing
//! that it answered, and goes on by itself.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::broker::Broker;
use crate::support::client::{Client, KEY};
use crate::support::eventually;
use crate::support::hub::{Hub, Start};
use crate::support::small_disk::SmallDisk;

const MB: u64 = 1 << 20;

/// A fire's status, `Retry-After`, and body.
async fn fire(hub: &Hub, body: &Value) -> (u16, Option<String>, Value) {
    let url = format!("http://{}/api/v1/namespaces/_/triggers/t", hub.address());
    let request = reqwest::Client::builder().no_proxy().build().unwrap().post(url);
    let answer = request.basic_auth(KEY.0, Some(KEY.1)).json(body).send().await.unwrap();
    let retry = answer.headers().get("retry-after").map(|value| value.to_str().unwrap().to_owned());
    (answer.status().as_u16(), retry, answer.json().await.unwrap())
}

async fn set_up(client: &Client) {
    client
        .put_action(
            "work",
            "nodejs:20",
            "function main(a) { return new Promise(ok => setTimeout(() => ok({n: a.n}), a.ms || 0)); }",
        )
        .await;
    client.put("triggers/t", &json!({})).await;
    client.put_rule("r", "t", "work", json!({})).await;
}

/// Waits until a fire is taken again; its id.
async fn taken_again(hub: &Hub) -> String {
    eventually("the hub takes work again", async || {
        let (status, _, body) = fire(hub, &json!({})).await;
        (status == 202).then(|| body["activationId"].as_str().unwrap().to_owned())
    })
    .await
}

/// Each answered fire has its record and one run that went well, and there is nothing else.
async fn check(client: &Client, answered: &BTreeSet<String>) {
    eventually("each run has its record", async || {
        let count = client.get("activations?name=work&count=true").await["activations"].as_u64();
        (count.unwrap() >= answered.len() as u64).then_some(())
    })
    .await;
    let ids = |records: &[Value]| -> Vec<String> {
        records.iter().map(|record| record["activationId"].as_str().unwrap().to_owned()).collect()
    };
    let triggers = client.all_activations("t").await;
    let recorded: BTreeSet<String> = ids(&triggers).into_iter().collect();
    assert_eq!(recorded.len(), triggers.len(), "each record once");
    let of = |ids: &BTreeSet<String>, others: &BTreeSet<String>| -> Vec<String> {
        ids.difference(others).cloned().collect()
    };
    assert_eq!(of(answered, &recorded), Vec::<String>::new(), "answered, and not there");
    assert_eq!(of(&recorded, answered), Vec::<String>::new(), "there, and not answered");
    let runs = client.all_activations("work").await;
    let named: BTreeSet<String> = triggers
        .iter()
        .map(|trigger| {
            let line: Value = serde_json::from_str(trigger["logs"][0].as_str().unwrap()).unwrap();
            line["activationId"].as_str().unwrap().to_owned()
        })
        .collect();
    let found: BTreeSet<String> = ids(&runs).into_iter().collect();
    assert_eq!(found.len(), runs.len(), "each run once");
    assert_eq!(found, named, "the runs that the triggers' records name");
    let failed: Vec<_> = runs.iter().filter(|run| run["response"]["success"] != json!(true)).collect();
    assert!(failed.is_empty(), "{failed:?}");
}

#[tokio::test]
async fn below_the_reserve_the_hub_refuses_new_work_and_completes_what_it_accepted() {
    let disk = SmallDisk::new(256);
    let directory = disk.path().join("data");
    let hub = Hub::start(&directory); // with a reserve of 64 MB
    let client = hub.client();
    set_up(&client).await;
    client.put("triggers/clock", &json!({})).await;
    client.put_action("other", "nodejs:20", "function main() { return {}; }").await;
    client.put_rule("of-clock", "clock", "other", json!({})).await;
    client.put("triggers/hook", &json!({})).await;
    client.put_rule("of-hook", "hook", "other", json!({})).await;
    assert_eq!(client.create_feed("webhook/feed", "hook", json!({})).await.0, 200);

    let at_broker = tempfile::tempdir().unwrap();
    let broker = Broker::start(at_broker.path(), "");
    client.put("triggers/readings", &json!({})).await;
    client.put_rule("of-readings", "readings", "other", json!({})).await;
    let reading = json!({"url": broker.url(), "topic": "readings", "clientId": "full-disk"});
    assert_eq!(client.create_feed("messaging/mqttFeed", "readings", reading).await.0, 200);
    eventually("the broker's feed runs", async || {
        let feeds = client.get("feeds").await;
        let of_broker = feeds.as_array()?.iter().find(|feed| feed["trigger"] == "/guest/readings")?;
        (of_broker["status"]["state"] == "running").then_some(())
    })
    .await;

    // Work that is accepted while there is room, and ends when there is none.
    let mut answered = BTreeSet::new();
    for n in 0..8 {
        let (status, _, body) = fire(&hub, &json!({"n": n, "ms": 3000})).await;
        assert_eq!(status, 202, "{body}");
        answered.insert(body["activationId"].as_str().unwrap().to_owned());
    }
    let every_second = json!({"cron": "* * * * * *", "trigger_payload": {}});
    assert_eq!(client.create_feed("alarms/alarm", "clock", every_second).await.0, 200);
    disk.fill(68 * MB);
    // Fires fill the rest, until one is refused.
    let noise = "x".repeat(200_000);
    let (retry, refusal) = loop {
        let (status, retry, body) = fire(&hub, &json!({ "noise": noise })).await;
        match status {
            202 => answered.insert(body["activationId"].as_str().unwrap().to_owned()),
            503 => break (retry, body),
            _ => panic!("{status}: {body}"),
        };
    };
    // So that what the engine gives back does not lift the hub over its reserve again.
    disk.fill(50 * MB);
    assert_eq!(retry.as_deref(), Some("1"));
    let text = refusal["error"].as_str().unwrap();
    let (path, rest) = (directory.display().to_string(), "MB are kept in reserve: make room");
    let free = text.strip_prefix("only ").and_then(|rest| rest.split(' ').next()).unwrap();
    // The engine takes room in pieces of several MB.
    assert!((32..64).contains(&free.parse::<u32>().unwrap()), "{text}");
    assert!(text.contains(&path) && text.contains(rest), "{text}");
    // New entities are refused in the same way, and leave nothing.
    let (status, body) = client.send("PUT", "triggers/late", Some(&json!({}))).await;
    assert_eq!((status, body["error"].as_str().unwrap().contains("reserve")), (503, true), "{body}");
    assert_eq!(client.send("GET", "triggers/late", None).await.0, 404);
    let ready = client.send("GET", &format!("http://{}/health/ready", hub.address()), None).await;
    assert_eq!(ready.0, 503, "{}", ready.1);
    let hook = format!("http://{}/hooks/guest/hook", hub.address());
    let (status, body) = client.send("POST", &hook, Some(&json!({}))).await;
    assert_eq!(status, 503, "{body}");
    // The feeds that cannot hand on their events say so, and their events wait, the broker's at the broker.
    let readings: Vec<String> = (0..50).map(|n| json!({ "n": n }).to_string()).collect();
    broker.publish("readings", 1, &readings);
    for trigger in ["/guest/clock", "/guest/readings"] {
        eventually(&format!("the feed of {trigger} waits"), async || {
            let feeds = client.get("feeds").await;
            let feed = feeds.as_array()?.iter().find(|feed| feed["trigger"] == trigger)?.to_string();
            feed.contains("kept in reserve").then_some(())
        })
        .await;
    }
    assert_eq!(client.all_activations("readings").await, Vec::<Value>::new());
    // What was accepted is completed out of the reserve.
    check(&client, &answered).await;
    let ticks = client.all_activations("clock").await.len();

    disk.make_room();
    answered.insert(taken_again(&hub).await);
    eventually("the clock goes on", async || {
        (client.all_activations("clock").await.len() > ticks).then_some(())
    })
    .await;
    let records = eventually("every reading is taken", async || {
        let records = client.all_activations("readings").await;
        (records.len() >= readings.len()).then_some(records)
    })
    .await;
    assert_eq!(records.len(), readings.len(), "each reading once");
    assert_eq!(client.send("POST", &hook, Some(&json!({}))).await.0, 202);
    let ready = format!("http://{}/health/ready", hub.address());
    eventually("the hub is ready", async || (client.send("GET", &ready, None).await.0 == 200).then_some(()))
        .await;
    assert!(hub.stop().success());
}

#[tokio::test]
async fn on_a_disk_without_any_room_nothing_that_was_answered_is_lost() {
    let disk = SmallDisk::new(192);
    let directory = disk.path().join("data");
    // No reserve, so that the writes themselves find no room.
    let start = Start::default().env("TRIGGERFISH_EVENTS__DISK_RESERVE_MB", "0");
    let mut hub = start.start(&directory).unwrap_or_else(|log| panic!("{log}"));
    set_up(&hub.client()).await;
    let mut answered = BTreeSet::new();
    let noise = "x".repeat(60_000);
    for round in 0..4 {
        // A run under way when the disk fills, whose completion has to wait for room.
        let (status, _, body) = fire(&hub, &json!({"ms": 500})).await;
        assert_eq!(status, 202, "{body}");
        answered.insert(body["activationId"].as_str().unwrap().to_owned());
        disk.fill(2 * MB);
        let refusal = loop {
            let (status, retry, body) = fire(&hub, &json!({ "noise": noise })).await;
            match status {
                202 => answered.insert(body["activationId"].as_str().unwrap().to_owned()),
                503 if retry.is_some() => break body,
                _ => panic!("{status}: {body}"),
            };
        };
        let text = refusal["error"].as_str().unwrap();
        let path = directory.display().to_string();
        assert!(text.contains(&path) && text.contains(" free"), "{text}");
        assert!(hub.is_alive());
        eprintln!("round {round}: {} fires were answered; then: {text}", answered.len());
        if round % 2 == 1 {
            // Killed while the disk is full, and started when there is room.
            hub.kill();
            disk.make_room();
            hub = start.start(&directory).unwrap_or_else(|log| panic!("{log}"));
        } else {
            disk.make_room();
        }
        answered.insert(taken_again(&hub).await);
        check(&hub.client(), &answered).await;
    }
    assert!(hub.stop().success());
}
