//! Killed with SIGKILL under load, at each step of the way of an event and at other moments: each answered fire has its
//! trigger record and exactly one run record (invariants 1, 2, 4 and 5).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::eventually;
use crate::support::hub::{Hub, Start};

/// The steps of the way at which the hub dies once, and at which pass.
const STEPS: [(&str, u32); 8] = [
    ("intake::before_write", 40),
    ("intake::written", 40),
    ("store::before_sync", 60),
    ("store::after_sync", 60),
    ("run::before_start", 40),
    ("run::started", 40),
    ("run::ended", 40),
    ("run::completed", 40),
];
/// Kills by SIGKILL from outside, after so many answered fires each.
const KILLS: [usize; 6] = [5, 17, 33, 60, 90, 121];

async fn set_up(client: &Client) {
    client.put_action("count", "nodejs:20", "function main(a) { return {n: a.n}; }").await;
    client.put("triggers/t", &json!({})).await;
    client.put_rule("r", "t", "count", json!({})).await;
}

/// Fires until the hub dies or `enough` are answered; the ids that were answered.
async fn fire(client: &Client, answered: &mut BTreeSet<String>, enough: usize) {
    let stop = Arc::new(AtomicBool::new(false));
    let before = answered.len();
    let lanes = futures::future::join_all((0..8).map(|lane| {
        let (client, stop) = (client.clone(), stop.clone());
        async move {
            let mut ids = Vec::new();
            for n in 0..10_000 {
                if stop.load(Ordering::Relaxed) || ids.len() * 8 > enough {
                    break;
                }
                match client.try_send("POST", "triggers/t", Some(&json!({"n": n, "lane": lane}))).await {
                    Ok((202, body)) => ids.push(body["activationId"].as_str().unwrap().to_owned()),
                    Ok((status, body)) => panic!("{status}: {body}"),
                    Err(_) => {
                        stop.store(true, Ordering::Relaxed);
                        break;
                    }
                }
            }
            ids
        }
    }));
    answered.extend(lanes.await.into_iter().flatten());
    assert!(answered.len() >= before);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answered_fire_is_done_once_whatever_moment_the_hub_dies_at() {
    let directory = tempfile::tempdir().unwrap();
    let mut answered = BTreeSet::new();
    let hub = Hub::start(directory.path());
    set_up(&hub.client()).await;
    hub.kill();
    for (step, pass) in STEPS {
        let Some(mut hub) = Start::default().start_to_die(step, pass, directory.path()) else {
            eprintln!("died at {step} of what it had to catch up with");
            continue;
        };
        let before = answered.len();
        fire(&hub.client(), &mut answered, usize::MAX).await;
        eventually(&format!("the hub dies at {step}"), async || hub.died().then_some(())).await;
        eprintln!("died at {step}: {} fires were answered", answered.len() - before);
    }
    for enough in KILLS {
        let hub = Hub::start(directory.path());
        let before = answered.len();
        fire(&hub.client(), &mut answered, enough).await;
        hub.kill();
        eprintln!("killed after {} answered fires", answered.len() - before);
    }
    assert!(answered.len() > 100, "only {} fires were answered", answered.len());

    let hub = Hub::start(directory.path());
    let client = hub.client();
    let triggers = client.all_activations("t").await;
    let by_id = |id: &str| triggers.iter().filter(|record| record["activationId"] == id).count();
    for id in &answered {
        assert_eq!(by_id(id), 1, "the record of the answered fire {id}");
    }
    // A fire whose answer was lost may be there as well; each that is there has its run.
    let wanted: BTreeSet<String> = triggers.iter().map(run_of).collect();
    // Counted first: pages of a list shift while records are still being written.
    eventually("every run has its record", async || {
        let count = client.get("activations?name=count&count=true").await["activations"].as_u64().unwrap();
        (count >= wanted.len() as u64).then_some(())
    })
    .await;
    let runs = client.all_activations("count").await;
    let found: BTreeSet<String> =
        runs.iter().map(|run| run["activationId"].as_str().unwrap().to_owned()).collect();
    assert_eq!(found.len(), runs.len(), "no run has two records");
    assert_eq!(found, wanted);
    let given_up = runs.iter().filter(|run| run["response"]["success"] != json!(true)).count();
    eprintln!(
        "{} fires answered, {} recorded, {given_up} runs given up after 3 interruptions",
        answered.len(),
        wanted.len()
    );
    assert!(given_up * 20 < runs.len(), "{given_up} of {} runs were given up", runs.len());
    assert!(hub.stop().success());
}

/// The run that a trigger's record names.
fn run_of(trigger: &Value) -> String {
    let line: Value = serde_json::from_str(trigger["logs"][0].as_str().unwrap()).unwrap();
    line["activationId"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sequence_goes_on_at_the_step_after_the_last_durable_one() {
    let directory = tempfile::tempdir().unwrap();
    let start = Start::default().env("FAILPOINT_CRASH_AT", "run::advanced=1");
    let mut hub = start.start(directory.path()).unwrap();
    let client = hub.client();
    client.put_action("add", "python:3", "def main(a):\n    return {'n': a.get('n', 0) + 1}\n").await;
    let components: Vec<_> = (0..4).map(|_| json!("/_/add")).collect();
    client.put("actions/four", &json!({"exec": {"kind": "sequence", "components": components}})).await;
    let (status, body) = client.try_send("POST", "actions/four", Some(&json!({"n": 0}))).await.unwrap();
    assert_eq!(status, 202, "{body}");
    let id = body["activationId"].as_str().unwrap().to_owned();
    eventually("the hub dies after the first step", async || hub.died().then_some(())).await;
    drop(hub);

    let hub = Hub::start(directory.path());
    let client = hub.client();
    let record = eventually("the sequence ends", async || {
        let (status, body) = client.send("GET", &format!("activations/{id}"), None).await;
        (status == 200).then_some(body)
    })
    .await;
    assert_eq!(record["response"]["result"], json!({"n": 4}), "{record}");
    let steps = client.all_activations("add").await;
    assert_eq!(steps.len(), 4, "each step once");
    tokio::time::timeout(Duration::from_secs(60), async { hub.stop() }).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_ends_the_hub_three_times_is_given_up() {
    let directory = tempfile::tempdir().unwrap();
    let dying = || {
        let start = Start::default().env("FAILPOINT_CRASH_AT", "run::ended=1");
        start.start(directory.path()).unwrap_or_else(|log| panic!("{log}"))
    };
    let mut hub = dying();
    let client = hub.client();
    // Long enough for the note that it was started, which nobody waits for, to be on disk.
    let slow = "function main(a) { return new Promise(done => setTimeout(() => done({}), 500)); }";
    client.put_action("fatal", "nodejs:20", slow).await;
    client.put_action("other", "nodejs:20", "function main(a) { return {ok: true}; }").await;
    let (status, body) = client.post("actions/fatal", &json!({})).await;
    assert_eq!(status, 202, "{body}");
    let id = body["activationId"].as_str().unwrap().to_owned();
    for interruption in 1..=3 {
        if interruption > 1 {
            hub = dying();
        }
        let what = format!("the run ends the hub for the {interruption}. time");
        eventually(&what, async || hub.died().then_some(())).await;
    }
    let hub = Hub::start(directory.path());
    let client = hub.client();
    let record = eventually("the run is given up", async || {
        let (status, body) = client.send("GET", &format!("activations/{id}"), None).await;
        (status == 200).then_some(body)
    })
    .await;
    assert_eq!(record["response"]["status"], "whisk internal error", "{record}");
    let text = record["response"]["result"]["error"].as_str().unwrap();
    assert!(text.contains("interrupted 3 times"), "{text}");
    let (status, body) = client.invoke("other", &json!({})).await;
    assert_eq!((status, &body["ok"]), (200, &json!(true)), "{body}");
    assert!(hub.stop().success());
}
