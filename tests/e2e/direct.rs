//! Runs that their caller waits for: what was answered is there after any crash, and one that takes long survives it.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::eventually;
use crate::support::hub::{Hub, Start};

/// The steps of a direct run at which the hub dies once, and at which pass.
const STEPS: [(&str, u32); 6] = [
    ("run::before_start", 30),
    ("run::started", 30),
    ("run::ended", 30),
    ("store::before_sync", 30),
    ("store::after_sync", 30),
    ("run::completed", 30),
];

/// Invokes and waits, in eight lanes, until the hub is gone; the ids of the answers.
async fn invoke_until_it_dies(client: &Client) -> Vec<String> {
    let lanes = (0..8).map(async |lane| {
        let mut ids = Vec::new();
        let body = json!({ "lane": lane });
        while let Ok((status, body)) =
            client.try_send("POST", "actions/echo?blocking=true", Some(&body)).await
        {
            assert_eq!(status, 200, "{body}");
            ids.push(body["activationId"].as_str().unwrap().to_owned());
        }
        ids
    });
    futures::future::join_all(lanes).await.concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_moment_the_hub_dies_at_each_answer_has_its_record() {
    let directory = tempfile::tempdir().unwrap();
    let mut answered = Vec::new();
    for (step, pass) in STEPS {
        let start = Start::default();
        let mut hub =
            start.start_to_die(step, pass, directory.path()).expect("nothing is left to catch up with");
        let client = hub.client();
        client.put_action("echo", "nodejs:20", "function main(a) { return a; }").await;
        let ids = invoke_until_it_dies(&client).await;
        eventually(&format!("the hub dies at {step}"), async || hub.died().then_some(())).await;
        eprintln!("died at {step}: {} invocations were answered", ids.len());
        answered.extend(ids);
    }
    assert!(answered.len() > 60, "only {} invocations were answered", answered.len());
    let hub = Hub::start(directory.path());
    let client = hub.client();
    // Pages of a list shift while records are still being written: runs that were slow are in the log, and run again.
    eventually("nothing is pending", async || (pending(&client).await == 0).then_some(())).await;
    let records = client.all_activations("echo").await;
    let found: BTreeSet<&str> =
        records.iter().map(|record| record["activationId"].as_str().unwrap()).collect();
    assert_eq!(found.len(), records.len(), "no run has two records");
    for id in &answered {
        assert!(found.contains(id.as_str()), "the record of the answered invocation {id}");
    }
    assert!(hub.stop().success());
}

/// An action that runs for the given milliseconds.
const SLEEP: &str =
    "def main(a):\n    import time\n    time.sleep(a['ms'] / 1000)\n    return {'slept': a['ms']}\n";

async fn pending(client: &Client) -> u64 {
    let base = client.base.split("/api/").next().unwrap().to_owned();
    let (_, text) = client.send("GET", &format!("{base}/metrics"), None).await;
    let text = text.as_str().unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("triggerfish_invocations_pending "));
    line.unwrap_or_else(|| panic!("{text}")).parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_goes_on_is_in_the_log_and_survives_a_crash() {
    let directory = tempfile::tempdir().unwrap();
    let hub = Hub::start(directory.path());
    let client = hub.client();
    client.put_action("sleep", "python:3", SLEEP).await;
    let waiting = {
        let client = client.clone();
        let body = json!({ "ms": 3000 });
        tokio::spawn(async move { client.try_send("POST", "actions/sleep?blocking=true", Some(&body)).await })
    };
    eventually("the run is in the log", async || (pending(&client).await == 1).then_some(())).await;
    hub.kill();
    assert!(waiting.await.unwrap().is_err(), "its caller has no answer");

    let hub = Hub::start(directory.path());
    let client = hub.client();
    let record =
        eventually("the run starts again and ends", async || client.all_activations("sleep").await.pop())
            .await;
    assert_eq!(record["response"]["result"], json!({ "slept": 3000 }), "{record}");
    assert_eq!(pending(&client).await, 0);

    // One whose caller does not wait for its end is accepted, and goes on.
    let (status, body) = client.post("actions/sleep?blocking=true&timeout=100", &json!({ "ms": 400 })).await;
    assert_eq!(status, 202, "{body}");
    let id = body["activationId"].as_str().unwrap().to_owned();
    let record: Value = eventually("its record", async || {
        let (status, record) = client.send("GET", &format!("activations/{id}"), None).await;
        (status == 200).then_some(record)
    })
    .await;
    assert_eq!(record["response"]["result"], json!({ "slept": 400 }));
    assert_eq!(client.all_activations("sleep").await.len(), 2, "each run has one record");
    let stopping = tokio::task::spawn_blocking(move || hub.stop());
    assert!(tokio::time::timeout(Duration::from_secs(60), stopping).await.unwrap().unwrap().success());
}
