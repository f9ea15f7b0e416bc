//! A hub that is killed again and again while a broker has messages for it: with SIGKILL at each step of an event's way and
//! at random moments under load, and with the broker restarted. Whoever uses this checks then that each message was taken
//! once.
//!
//! The random moments come from a seed that is printed; `LIVES_SEED` repeats them.

#![allow(clippy::print_stderr, reason = "a test tells what it did")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::eventually;
use crate::support::hub::{Hub, Start};

/// Messages of each topic or queue, published in so many chunks.
pub(crate) const MESSAGES: usize = 10_000;
const CHUNKS: usize = 200;
/// Every so many-th of those that have a rule for hot ones is hot.
pub(crate) const MATCHES: usize = 10;
/// The steps of the way at which the hub dies once, and at which pass.
const STEPS: [(&str, u32); 11] = [
    ("intake::before_write", 4),
    ("intake::written", 4),
    ("store::before_sync", 15),
    ("store::after_sync", 15),
    ("feed::before_ack", 4),
    ("feed::acked", 4),
    ("run::before_start", 8),
    ("run::started", 8),
    ("run::ended", 8),
    ("run::completed", 8),
    ("run::advanced", 2),
];
/// Kills from outside at random moments.
const KILLS: usize = 10;
/// Restarts of the broker.
const RESTARTS: usize = 2;
const CHUNKS_PER_LIFE: usize = CHUNKS / (STEPS.len() + KILLS + 1);

/// A broker, to whoever publishes.
pub(crate) trait Remote: Send + 'static {
    /// Publishes messages; they are safe with the broker when this returns.
    fn publish(&self, values: &[String]);
    /// Restarts it as its host's shutdown does.
    fn restart(&mut self);
}

/// Publishes what it is allowed to, beside the kills.
struct Publisher<R> {
    allowed: (Mutex<usize>, Condvar),
    published: AtomicUsize,
    /// Held while a chunk is on its way to the broker, and by whoever restarts the broker.
    remote: Mutex<R>,
}

impl<R: Remote> Publisher<R> {
    fn start(remote: R) -> (Arc<Self>, std::thread::JoinHandle<()>) {
        let this = Arc::new(Self {
            allowed: Default::default(),
            published: AtomicUsize::default(),
            remote: Mutex::new(remote),
        });
        let publisher = this.clone();
        let thread = std::thread::spawn(move || {
            for chunk in 0..CHUNKS {
                publisher.await_allowance(chunk);
                let size = MESSAGES / CHUNKS;
                let values: Vec<String> = (chunk * size..(chunk + 1) * size)
                    .map(|n| json!({"n": n, "hot": n.is_multiple_of(MATCHES)}).to_string())
                    .collect();
                publisher.remote.lock().unwrap().publish(&values);
                publisher.published.fetch_add(1, Ordering::SeqCst);
            }
        });
        (this, thread)
    }

    fn await_allowance(&self, chunk: usize) {
        let (allowed, changed) = &self.allowed;
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
}

/// Sets a hub up on `data`, lets it die at each step and at random moments while `remote` publishes, and gives one that
/// lives once all is published.
pub(crate) async fn survive<R: Remote>(data: &Path, remote: R, set_up: impl AsyncFnOnce(&Client)) -> Hub {
    let begun = Instant::now();
    let seed =
        std::env::var("LIVES_SEED").map_or_else(|_| rand::rng().random(), |text| text.parse().unwrap());
    eprintln!("LIVES_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let hub = Hub::start(data);
    set_up(&hub.client()).await;
    hub.kill();
    let (publisher, publishing) = Publisher::start(remote);

    let mut kills = BTreeMap::<&str, usize>::new();
    for (step, pass) in STEPS {
        die_at(step, pass, data, &publisher).await;
        *kills.entry(step).or_default() += 1;
    }
    let mut restarts = 0;
    for kill in 0..KILLS {
        let hub = Hub::start(data);
        let before = publisher.published();
        publisher.allow(CHUNKS_PER_LIFE);
        if kill % (KILLS / RESTARTS) == KILLS / RESTARTS / 2 {
            let publisher = publisher.clone();
            tokio::task::spawn_blocking(move || publisher.remote.lock().unwrap().restart()).await.unwrap();
            restarts += 1;
        }
        let chunks = random.random_range(1..CHUNKS_PER_LIFE);
        eventually("messages are published", async || {
            (publisher.published() >= before + chunks).then_some(())
        })
        .await;
        tokio::time::sleep(Duration::from_millis(random.random_range(0..400))).await;
        hub.kill();
        *kills.entry("SIGKILL").or_default() += 1;
    }
    eprintln!("kills: {kills:?}; broker restarts: {restarts}; {} s", begun.elapsed().as_secs());
    assert!(STEPS.iter().all(|(step, _)| kills.get(step) == Some(&1)), "a step had no kill: {kills:?}");
    assert_eq!((kills.get("SIGKILL"), restarts), (Some(&KILLS), RESTARTS));
    let hub = Hub::start(data);
    publisher.allow(CHUNKS);
    tokio::task::spawn_blocking(move || publishing.join().unwrap()).await.unwrap();
    eprintln!("all is published; {} s", begun.elapsed().as_secs());
    hub
}

/// One life of the hub, which ends at `step`.
async fn die_at<R: Remote>(step: &str, pass: u32, data: &Path, publisher: &Publisher<R>) {
    let Some(mut hub) = Start::default().start_to_die(step, pass, data) else { return };
    publisher.allow(CHUNKS_PER_LIFE);
    eventually(&format!("the hub dies at {step}"), async || hub.died().then_some(())).await;
}

/// An action that gives the numbers of its event, and a sequence around it.
pub(crate) async fn put_actions(client: &Client, numbers: &str) {
    client
        .put_action("numbers", "nodejs:20", &format!("function main(a) {{ return {{n: {numbers}}}; }}"))
        .await;
    client.put_action("word", "nodejs:20", "function main(a) { return {text: 'hot', n: a.n}; }").await;
    let components = [json!("/_/numbers"), json!("/_/word")];
    client.put("actions/alert", &json!({"exec": {"kind": "sequence", "components": components}})).await;
}

/// Waits until so many feeds run.
pub(crate) async fn until_running(client: &Client, feeds: usize) {
    eventually("the feeds run", async || {
        let found = client.get("feeds").await.to_string();
        (found.matches("\"running\"").count() == feeds).then_some(())
    })
    .await;
}

/// Each message that matches is in one trigger record, each of these has one run, and there is nothing else. `numbers`
/// tells what a trigger's record holds.
pub(crate) async fn verify(
    client: &Client,
    (trigger, action): (&str, &str),
    numbers: impl Fn(&Value) -> Vec<usize>,
    matches: impl Fn(usize) -> bool,
) {
    let wanted: BTreeSet<usize> = (0..MESSAGES).filter(|n| matches(*n)).collect();
    let records = eventually(&format!("all records of {trigger}"), async || {
        let records = client.all_activations(trigger).await;
        let count: usize = records.iter().map(|record| numbers(&record["response"]["result"]).len()).sum();
        (count >= wanted.len()).then_some(records)
    })
    .await;
    let mut found = BTreeMap::<usize, usize>::new();
    records
        .iter()
        .flat_map(|record| numbers(&record["response"]["result"]))
        .for_each(|n| *found.entry(n).or_default() += 1);
    let missing: Vec<_> = wanted.iter().filter(|n| !found.contains_key(n)).collect();
    let double: Vec<_> = found.iter().filter(|(_, times)| **times > 1).collect();
    assert!(missing.is_empty() && double.is_empty(), "{trigger}: missing {missing:?}, double {double:?}");
    assert_eq!(found.len(), wanted.len(), "{trigger}: what does not match has no record");

    let runs: BTreeSet<String> = records.iter().map(run_of).collect();
    assert_eq!(runs.len(), records.len(), "each event has its own run");
    let of_trigger = eventually(&format!("every run of {trigger} has its record"), async || {
        let there = client.all_activations(action).await;
        let of_trigger: Vec<Value> =
            there.into_iter().filter(|run| runs.contains(run["activationId"].as_str().unwrap())).collect();
        (of_trigger.len() >= runs.len()).then_some(of_trigger)
    })
    .await;
    assert_eq!(of_trigger.len(), runs.len(), "each run has one record");
    let mut answered = BTreeMap::<u64, usize>::new();
    let mut given_up = 0;
    for run in &of_trigger {
        match run["response"]["result"]["n"].as_array() {
            Some(all) => all.iter().for_each(|n| *answered.entry(n.as_u64().unwrap()).or_default() += 1),
            None => given_up += 1,
        }
    }
    assert!(answered.values().all(|times| *times == 1), "no message was answered twice");
    assert!(
        given_up * 20 < runs.len(),
        "{given_up} of {} runs were given up after 3 interruptions",
        runs.len()
    );
    eprintln!(
        "{trigger}: {MESSAGES} messages, {} matched, in {} events, each with one run; {given_up} given up",
        wanted.len(),
        records.len()
    );
}

/// The run that a trigger's record names.
fn run_of(trigger: &Value) -> String {
    let line: Value = serde_json::from_str(trigger["logs"][0].as_str().unwrap()).unwrap();
    line["activationId"].as_str().unwrap().to_owned()
}
