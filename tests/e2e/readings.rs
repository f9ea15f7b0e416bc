//! Readings through a real Mosquitto while the hub is killed with SIGKILL at each step of an event's way and at random
//! moments under load, and while the broker restarts: each reading that matches its rule has exactly one trigger record and
//! exactly one run (invariants 1 to 5).
//!
//! The random moments come from a seed that is printed; `READINGS_SEED` repeats them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use crate::support::broker::Broker;
use crate::support::client::Client;
use crate::support::eventually;
use crate::support::hub::{Hub, Start};

/// Readings at QoS 1 and 2, published in so many chunks.
const READINGS: [usize; 2] = [20_000, 2_000];
const CHUNKS: usize = 400;
/// Every so many-th reading matches its rule.
const MATCHES: [usize; 2] = [4, 5];
/// The steps of the way at which the hub dies once, and at which pass. Feeds write in batches, so few passes are many
/// readings.
const STEPS: [(&str, u32); 11] = [
    ("intake::before_write", 4),
    ("intake::written", 4),
    ("store::before_sync", 25),
    ("store::after_sync", 25),
    ("feed::before_ack", 4),
    ("feed::acked", 4),
    ("run::before_start", 20),
    ("run::started", 20),
    ("run::ended", 20),
    ("run::completed", 20),
    ("run::advanced", 5),
];
/// Kills from outside at random moments under load, and how many there may be at all to get so many.
const KILLS: usize = 20;
const KILLS_MAX: usize = 36;
/// Restarts of the broker.
const RESTARTS: usize = 3;
/// Chunks in one life of the hub; what is left over at the end comes last.
const CHUNKS_PER_LIFE: usize = CHUNKS / (STEPS.len() + KILLS_MAX + 1);

/// The publisher: it publishes what it is allowed to, beside the kills.
#[derive(Clone)]
struct Publisher {
    allowed: Arc<(Mutex<usize>, Condvar)>,
    published: Arc<AtomicUsize>,
    /// Held while a chunk is on its way to the broker, and by whoever restarts the broker.
    broker: Arc<Mutex<Broker>>,
}

impl Publisher {
    fn start(broker: Broker) -> (Self, std::thread::JoinHandle<()>) {
        let this =
            Self { allowed: Arc::default(), published: Arc::default(), broker: Arc::new(Mutex::new(broker)) };
        let publisher = this.clone();
        let thread = std::thread::spawn(move || {
            for chunk in 0..CHUNKS {
                publisher.await_allowance(chunk);
                let broker = publisher.broker.lock().unwrap();
                for (place, (topic, qos)) in [("q1", 1), ("q2", 2)].into_iter().enumerate() {
                    let size = READINGS[place] / CHUNKS;
                    let lines: Vec<String> =
                        (chunk * size..(chunk + 1) * size).map(|n| reading(n, place)).collect();
                    broker.publish(&format!("sensors/{topic}/{}", chunk % 7), qos, &lines);
                }
                drop(broker);
                publisher.published.fetch_add(1, Ordering::SeqCst);
            }
        });
        (this, thread)
    }

    fn await_allowance(&self, chunk: usize) {
        let (allowed, changed) = &*self.allowed;
        let mut allowed = allowed.lock().unwrap();
        while *allowed <= chunk {
            allowed = changed.wait(allowed).unwrap();
        }
    }

    fn allow(&self, chunks: usize) {
        *self.allowed.0.lock().unwrap() += chunks;
        self.allowed.1.notify_all();
    }

    fn published(&self) -> usize {
        self.published.load(Ordering::SeqCst)
    }

    fn is_behind(&self) -> bool {
        self.published() < CHUNKS.min(*self.allowed.0.lock().unwrap())
    }

    /// Restarts the broker as its host's shutdown does, while nothing is being published.
    fn restart_broker(&self) {
        let mut broker = self.broker.lock().unwrap();
        broker.stop();
        broker.resume();
    }
}

fn reading(n: usize, place: usize) -> String {
    let hot = n.is_multiple_of(MATCHES[place]);
    json!({"n": n, "hot": hot, "celsius": if hot { 91.5 } else { 20.25 }, "unit": "C", "sensor": format!("s{}", n % 50)})
        .to_string()
}

async fn set_up(client: &Client, url: &str) {
    client
        .put_action("judge", "nodejs:20", "function main(a) { return {n: a.body.n, topic: a.topic}; }")
        .await;
    client.put_action("word", "nodejs:20", "function main(a) { return {text: 'hot', n: a.n}; }").await;
    let components = [json!("/_/judge"), json!("/_/word")];
    client.put("actions/alert", &json!({"exec": {"kind": "sequence", "components": components}})).await;
    for (topic, qos, action) in [("q1", 1, "judge"), ("q2", 2, "alert")] {
        client.put(&format!("triggers/{topic}"), &json!({})).await;
        client
            .put_rule(&format!("r{topic}"), topic, action, json!({"pattern": {"body": {"hot": [true]}}}))
            .await;
        let params = json!({"url": url, "topic": format!("sensors/{topic}/+"), "qos": qos});
        let (status, body) = client.create_feed("messaging/mqttFeed", topic, params).await;
        assert_eq!(status, 200, "{body}");
        eventually("the feed runs", async || {
            let feeds = client.get("feeds").await;
            feeds.to_string().contains(&format!("/{topic}\"")).then_some(())
        })
        .await;
    }
    eventually("both feeds run", async || {
        let feeds = client.get("feeds").await.to_string();
        (feeds.matches("\"running\"").count() == 2).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_matching_reading_has_one_activation_whatever_dies() {
    let begun = Instant::now();
    let seed =
        std::env::var("READINGS_SEED").map_or_else(|_| rand::rng().random(), |text| text.parse().unwrap());
    eprintln!("READINGS_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let directory = tempfile::tempdir().unwrap();
    let broker_directory = tempfile::tempdir().unwrap();
    let broker = Broker::start(broker_directory.path(), "");
    let url = broker.url();
    let data = directory.path().join("data");
    let hub = Hub::start(&data);
    set_up(&hub.client(), &url).await;
    hub.kill();
    let (publisher, publishing) = Publisher::start(broker);

    let mut kills = BTreeMap::<&str, usize>::new();
    for (step, pass) in STEPS {
        die_at(step, pass, &data, &publisher).await;
        *kills.entry(step).or_default() += 1;
    }
    let (mut restarts, mut under_load) = (0, 0);
    for kill in 0..KILLS_MAX {
        if under_load == KILLS {
            break;
        }
        let hub = Hub::start(&data);
        let before = publisher.published();
        publisher.allow(CHUNKS_PER_LIFE);
        if kill % (KILLS / RESTARTS) == KILLS / RESTARTS / 2 && restarts < RESTARTS {
            publisher.restart_broker();
            restarts += 1;
        }
        let chunks = random.random_range(1..CHUNKS_PER_LIFE);
        eventually("readings are published", async || {
            (publisher.published() >= before + chunks).then_some(())
        })
        .await;
        tokio::time::sleep(Duration::from_millis(random.random_range(0..30))).await;
        let is_loaded = publisher.is_behind();
        under_load += usize::from(is_loaded);
        hub.kill();
        let when = if is_loaded { "SIGKILL under load" } else { "SIGKILL after the load" };
        *kills.entry(when).or_default() += 1;
    }
    eprintln!("kills: {kills:?}; broker restarts: {restarts}; {} s", begun.elapsed().as_secs());
    assert!(STEPS.iter().all(|(step, _)| kills.get(step) == Some(&1)), "a step had no kill: {kills:?}");
    assert_eq!(under_load, KILLS, "{kills:?}");
    assert_eq!(restarts, RESTARTS);

    let hub = Hub::start(&data);
    publisher.allow(CHUNKS);
    tokio::task::spawn_blocking(move || publishing.join().unwrap()).await.unwrap();
    eprintln!("all is published; {} s", begun.elapsed().as_secs());
    let client = hub.client();
    for (place, topic) in ["q1", "q2"].into_iter().enumerate() {
        eprintln!("{}", verify(&client, topic, place).await);
    }
    eprintln!("feeds: {}; {} s", client.get("feeds").await, begun.elapsed().as_secs());
    assert!(hub.stop().success());
}

/// One life of the hub, which ends at `step`.
async fn die_at(step: &str, pass: u32, data: &std::path::Path, publisher: &Publisher) {
    let Some(mut hub) = Start::default().start_to_die(step, pass, data) else { return };
    publisher.allow(CHUNKS_PER_LIFE);
    eventually(&format!("the hub dies at {step}"), async || hub.died().then_some(())).await;
}

/// Each matching reading has one trigger record, each of these one run, and there is nothing else.
async fn verify(client: &Client, trigger: &str, place: usize) -> String {
    let wanted: BTreeSet<u64> =
        (0..READINGS[place]).filter(|n| n.is_multiple_of(MATCHES[place])).map(|n| n as u64).collect();
    let action = ["judge", "alert"][place];
    for name in [trigger, action] {
        // Judges run for both: alone, and as the first step of the sequence.
        eventually(&format!("{} records of {name}", wanted.len()), async || {
            let count = client.get(&format!("activations?name={name}&count=true")).await;
            (count["activations"].as_u64().unwrap() >= wanted.len() as u64).then_some(())
        })
        .await;
    }
    let records = client.all_activations(trigger).await;
    let mut found = BTreeMap::<u64, usize>::new();
    for record in &records {
        *found.entry(record["response"]["result"]["body"]["n"].as_u64().unwrap()).or_default() += 1;
    }
    let missing: Vec<_> = wanted.iter().filter(|n| !found.contains_key(n)).collect();
    let double: Vec<_> = found.iter().filter(|(_, times)| **times > 1).collect();
    assert!(missing.is_empty() && double.is_empty(), "{trigger}: missing {missing:?}, double {double:?}");
    assert_eq!(found.len(), wanted.len(), "{trigger}: what does not match has no record");

    let runs: BTreeSet<String> = records.iter().map(run_of).collect();
    assert_eq!(runs.len(), wanted.len(), "each reading has its own run");
    eventually(&format!("every run of {trigger} has its record"), async || {
        let there = client.all_activations(action).await;
        let ids: BTreeSet<&str> = there.iter().map(|run| run["activationId"].as_str().unwrap()).collect();
        runs.iter().all(|run| ids.contains(run.as_str())).then_some(())
    })
    .await;
    let all = client.all_activations(action).await;
    let of_trigger = all.iter().filter(|run| runs.contains(run["activationId"].as_str().unwrap()));
    let (mut answered, mut given_up) = (BTreeMap::<u64, usize>::new(), 0);
    let mut count = 0;
    for run in of_trigger {
        count += 1;
        match run["response"]["result"]["n"].as_u64() {
            Some(n) => *answered.entry(n).or_default() += 1,
            None => given_up += 1,
        }
    }
    assert_eq!(count, wanted.len(), "each run has one record");
    assert!(answered.values().all(|times| *times == 1), "no reading was answered twice");
    assert!(given_up * 20 < count, "{given_up} of {count} runs were given up after 3 interruptions");
    format!(
        "{trigger}: {} readings, {count} matched, each with one run; {given_up} given up",
        READINGS[place]
    )
}

/// The run that a trigger's record names.
fn run_of(trigger: &Value) -> String {
    let line: Value = serde_json::from_str(trigger["logs"][0].as_str().unwrap()).unwrap();
    line["activationId"].as_str().unwrap().to_owned()
}
