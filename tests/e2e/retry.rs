//! A rule's `retry`: attempts that are counted over crashes, dead letters, and their replay.

use std::process::Command;

use serde_json::{Value, json};

use crate::support::broker::Broker;
use crate::support::client::{Client, KEY};
use crate::support::eventually;
use crate::support::hub::{Hub, Start};

/// Fails as long as it is told to.
const FAILING: &str = "function main(a) { return {error: `no luck with ${a.n}`}; }";
const WORKING: &str = "function main(a) { return {n: a.n}; }";

async fn set_up(client: &Client, retry: Value) {
    client.put_action("work", "nodejs:20", FAILING).await;
    client.put("triggers/t", &json!({})).await;
    client.put_rule("r", "t", "work", json!({ "retry": retry })).await;
}

async fn fire(client: &Client, n: u32) {
    let (status, body) = client.post("triggers/t", &json!({ "n": n })).await;
    assert_eq!(status, 202, "{body}");
}

async fn dead_letters(client: &Client, count: usize) -> Vec<Value> {
    eventually(&format!("{count} dead letters"), async || {
        let letters = client.get("dead-letters").await.as_array().cloned()?;
        (letters.len() == count).then_some(letters)
    })
    .await
}

/// The command line, with the development key.
fn replay(hub: &Hub, args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_triggerfish"))
        .arg("replay")
        .args(args)
        .env("TRIGGERFISH_HOST", hub.address())
        .env("TRIGGERFISH_AUTH", format!("{}:{}", KEY.0, KEY.1))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_is_tried_again_then_kept_and_replayed() {
    let directory = tempfile::tempdir().unwrap();
    let hub = Hub::start(directory.path());
    let client = hub.client();
    set_up(&client, json!({"attempts": 3, "backoff": "20ms"})).await;
    for n in 0..4 {
        fire(&client, n).await;
    }
    // A success is a success at once, beside them.
    client.put("triggers/fine", &json!({})).await;
    client.put_action("works", "nodejs:20", WORKING).await;
    client.put_rule("rf", "fine", "works", json!({"retry": {"attempts": 3}})).await;
    assert_eq!(client.post("triggers/fine", &json!({ "n": 9 })).await.0, 202);

    let letters = dead_letters(&client, 4).await;
    let attempts = client.all_activations("work").await;
    assert_eq!(attempts.len(), 12, "each attempt leaves a record");
    let worked = eventually("the success", async || client.all_activations("works").await.pop()).await;
    assert_eq!(worked["response"]["success"], json!(true), "{worked}");
    for letter in &letters {
        assert_eq!((&letter["kind"], &letter["of"]), (&json!("run"), &json!("/guest/work")), "{letter}");
        let id = letter["id"].as_str().unwrap();
        assert!(attempts.iter().any(|run| run["activationId"] == *id), "the last attempt's id");
        let whole = client.get(&format!("dead-letters/{id}")).await;
        let n = &whole["payload"]["n"];
        assert_eq!(whole["reason"], format!("application error: no luck with {n}"), "{whole}");
        assert_eq!((&whole["rule"], &whole["attempts"]), (&json!("/guest/r"), &json!(3)));
    }
    let page = client.get("dead-letters?limit=1&skip=1&of=work").await;
    assert_eq!(page.as_array().unwrap(), &letters[1..2]);
    assert_eq!(client.get("dead-letters?of=t").await, json!([]));

    // Replayed while it still fails, it dies again under another id; of two that replay it one does.
    let first = letters[0]["id"].as_str().unwrap();
    let path = format!("dead-letters/{first}/_replay");
    let (one, other) = tokio::join!(client.send("POST", &path, None), client.send("POST", &path, None));
    assert_eq!([one.0, other.0].iter().filter(|status| **status == 202).count(), 1, "{one:?} {other:?}");
    let letters = dead_letters(&client, 4).await;
    assert_eq!(letters[0]["replays"], 1, "{letters:?}");
    assert_eq!(client.all_activations("work").await.len(), 15);

    client.put_action("work", "nodejs:20", WORKING).await;
    let listed = replay(&hub, &[]);
    assert!(listed.contains("no luck with") && listed.lines().count() == 5, "{listed}");
    let shown: Value =
        serde_json::from_str(&replay(&hub, &["--show", letters[0]["id"].as_str().unwrap()])).unwrap();
    assert_eq!(shown["id"], letters[0]["id"]);
    replay(&hub, &["--discard", letters[0]["id"].as_str().unwrap()]);
    let replayed = replay(&hub, &["--all", "--of", "/_/work"]);
    assert_eq!(replayed.lines().count(), 3, "{replayed}");
    dead_letters(&client, 0).await;
    let worked = eventually("the replays", async || {
        let runs = client.all_activations("work").await;
        let worked = runs.iter().filter(|run| run["response"]["success"] == json!(true)).count();
        (worked == 3).then_some(runs.len())
    })
    .await;
    assert_eq!(worked, 18);
    let gone = client.send("DELETE", &format!("dead-letters/{first}"), None).await;
    assert_eq!(gone.0, 404, "{}", gone.1);
    assert!(hub.stop().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn attempts_are_counted_over_crashes() {
    let directory = tempfile::tempdir().unwrap();
    let hub = Hub::start(directory.path());
    set_up(&hub.client(), json!({"attempts": 4, "backoff": "100ms", "max": "100ms"})).await;
    hub.kill();
    for pass in 1..=2 {
        let Some(mut hub) = Start::default().start_to_die("run::retried", 3, directory.path()) else {
            continue;
        };
        // The first may kill it before the second is answered; what is answered is what counts.
        let client = hub.client();
        for n in 0..3 {
            let _ = client.try_send("POST", "triggers/t", Some(&json!({ "n": pass * 10 + n }))).await;
        }
        eventually("the hub dies after an attempt", async || hub.died().then_some(())).await;
    }
    let hub = Hub::start(directory.path());
    let client = hub.client();
    let fired = client.all_activations("t").await.len();
    assert!(fired >= 3, "{fired}");
    dead_letters(&client, fired).await;
    let attempts = client.all_activations("work").await;
    let mut numbers: Vec<&str> =
        attempts.iter().map(|run| run["response"]["result"]["error"].as_str().unwrap()).collect();
    numbers.sort_unstable();
    let each: Vec<usize> = numbers.chunk_by(|a, b| a == b).map(<[_]>::len).collect();
    assert_eq!(each, vec![4; fired], "{numbers:?}");
    assert!(hub.stop().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_no_event_is_kept_and_those_beside_it_go_on() {
    let directory = tempfile::tempdir().unwrap();
    let at_broker = tempfile::tempdir().unwrap();
    let broker = Broker::start(at_broker.path(), "");
    let hub = Start::default().env("TRIGGERFISH_EVENTS__BYTES_MAX", "1000").start(directory.path()).unwrap();
    let client = hub.client();
    client.put("triggers/readings", &json!({})).await;
    client.put_action("works", "nodejs:20", WORKING).await;
    client.put_rule("r", "readings", "works", json!({})).await;
    let params = json!({"url": broker.url(), "topic": "room/+"});
    assert_eq!(client.create_feed("messaging/mqttFeed", "readings", params).await.0, 200);
    eventually("the feed runs", async || {
        client.get("feeds").await.to_string().contains("\"running\"").then_some(())
    })
    .await;
    let lines = [json!({"n": 1}).to_string(), "x".repeat(2000), json!({"n": 2}).to_string()];
    broker.publish("room/7", 1, &lines);
    let letters = dead_letters(&client, 1).await;
    assert_eq!((&letters[0]["kind"], &letters[0]["of"]), (&json!("message"), &json!("/guest/readings")));
    let id = letters[0]["id"].as_str().unwrap();
    let whole = client.get(&format!("dead-letters/{id}")).await;
    assert_eq!(
        whole["context"],
        json!({"topic": "room/7", "qos": 1, "retain": false, "bytes": 2000}),
        "{whole}"
    );
    let (status, body) = client.send("POST", &format!("dead-letters/{id}/_replay"), None).await;
    assert_eq!(status, 400, "{body}");
    assert!(body["error"].as_str().unwrap().contains("send it again from its source"), "{body}");
    eventually("the others have their runs", async || {
        (client.all_activations("works").await.len() == 2).then_some(())
    })
    .await;
    replay(&hub, &["--discard", id]);
    dead_letters(&client, 0).await;
    assert!(hub.stop().success());
}
