//! Feeds that ask a server: web feeds, a database's changes, clocks. The hub is killed with SIGKILL at ten random moments and
//! at each step of an event's way, the server is restarted twice and the network is cut: each event has exactly one trigger
//! record and one run.
//!
//! The random moments come from a seed that is printed; `POLLED_SEED` repeats them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::couch::Couch;
use crate::support::eventually;
use crate::support::hub::{Hub, Start};
use crate::support::proxy::Proxy;
use crate::support::web::{Response, Server};

const EVENTS: usize = 500;
const KILLS: usize = 10;
/// The steps of an event's way at which the hub dies once.
const STEPS: [&str; 7] = [
    "intake::before_write",
    "intake::written",
    "store::before_sync",
    "store::after_sync",
    "feed::before_ack",
    "feed::acked",
    "run::started",
];
/// How long the network is cut.
const CUT: Duration = Duration::from_secs(5);

/// What the hub is fed from.
trait Source {
    /// Makes `more` events; all that were made are numbered from 0.
    fn make(&mut self, more: usize);
    /// Restarts the server.
    fn restart(&mut self);
    fn proxy(&self) -> &Proxy;
    /// The number of the event that a trigger's record is of.
    fn number(record: &Value) -> u64;
}

/// Hubs on the server's private address.
fn start() -> Start {
    Start::default().env("TRIGGERFISH_FEEDS__PRIVATE_ALLOWED", "[\"127.0.0.0/8\"]")
}

async fn set_up(hub: &Hub, feed: &str, params: Value) {
    let client = hub.client();
    client.put_action("note", "nodejs:20", "function main(a) { return {seen: true}; }").await;
    client.put("triggers/polled", &json!({})).await;
    client.put_rule("to-note", "polled", "note", json!({})).await;
    let (status, body) = client.create_feed(feed, "polled", params).await;
    assert_eq!(status, 200, "{body}");
}

/// What chooses the random moments, and what repeats them.
fn random() -> (StdRng, u64) {
    let given = std::env::var("POLLED_SEED").ok().map(|text| text.parse().unwrap());
    let seed = given.unwrap_or_else(|| rand::rng().random());
    (StdRng::seed_from_u64(seed), seed)
}

async fn until_records(client: &Client, name: &str, least: usize) {
    eventually(&format!("{least} records of {name}"), async || {
        let count = client.get(&format!("activations?name={name}&count=true")).await;
        (count["activations"].as_u64().unwrap() >= least as u64).then_some(())
    })
    .await;
}

/// Feeds the hub while everything dies; in the end each event is there once.
async fn torment<S: Source>(source: &mut S, data: &Path, hub: Hub, mut random: StdRng) {
    let mut made = 1;
    source.make(made);
    until_records(&hub.client(), "polled", made).await;
    hub.kill();
    for step in STEPS {
        let hub = start().start_to_die(step, 1, data);
        source.make(10);
        made += 10;
        if let Some(mut hub) = hub {
            eventually(&format!("the hub dies at {step}"), async || hub.died().then_some(())).await;
        }
    }
    let share = (EVENTS - made) / (KILLS + 1);
    for kill in 0..KILLS {
        let hub = start().start(data).unwrap();
        if kill == 2 || kill == 6 {
            source.restart();
        }
        if kill == 4 {
            source.proxy().cut();
        }
        for _ in 0..4 {
            source.make(share / 4);
            made += share / 4;
            tokio::time::sleep(Duration::from_millis(random.random_range(0..200))).await;
        }
        if kill == 4 {
            tokio::time::sleep(CUT).await;
            source.proxy().mend();
        }
        hub.kill();
    }
    let hub = start().start(data).unwrap();
    source.make(EVENTS - made);
    verify::<S>(&hub.client()).await;
    assert!(hub.stop().success());
}

async fn verify<S: Source>(client: &Client) {
    until_records(client, "polled", EVENTS).await;
    let records = client.all_activations("polled").await;
    let mut found = BTreeMap::<u64, usize>::new();
    for record in &records {
        *found.entry(S::number(&record["response"]["result"])).or_default() += 1;
    }
    let missing: Vec<_> = (0..EVENTS as u64).filter(|n| !found.contains_key(n)).collect();
    let double: Vec<_> = found.iter().filter(|(_, times)| **times > 1).collect();
    assert!(missing.is_empty() && double.is_empty(), "missing {missing:?}, double {double:?}");
    assert_eq!(records.len(), EVENTS);
    let runs: BTreeSet<String> = records.iter().map(run_of).collect();
    assert_eq!(runs.len(), EVENTS, "each event has its own run");
    until_records(client, "note", EVENTS).await;
    let done = client.all_activations("note").await;
    let ids: BTreeSet<String> =
        done.iter().map(|run| run["activationId"].as_str().unwrap().to_owned()).collect();
    assert_eq!((ids, done.len()), (runs, EVENTS), "each run has one record");
}

/// The run that a trigger's record names.
fn run_of(trigger: &Value) -> String {
    let line: Value = serde_json::from_str(trigger["logs"][0].as_str().unwrap()).unwrap();
    line["activationId"].as_str().unwrap().to_owned()
}

/// Items that a document has; a feed that is read seldom loses none of them.
const ITEMS_SHOWN: usize = 300;

struct Rss {
    items: Arc<AtomicUsize>,
    server: Server,
    proxy: Proxy,
}

impl Rss {
    fn start() -> Self {
        let items = Arc::<AtomicUsize>::default();
        let shown = items.clone();
        let server = Server::start(move |request| {
            let last = shown.load(Ordering::SeqCst);
            let tag = format!("\"{last}\"");
            if request.header("if-none-match") == Some(&tag) {
                return Response::new(304, "");
            }
            let items: String = (last.saturating_sub(ITEMS_SHOWN)..last)
                .rev()
                .map(|n| format!("<item><guid>item-{n}</guid><title>{n}</title></item>"))
                .collect();
            let text = format!("<rss version=\"2.0\"><channel><title>T</title>{items}</channel></rss>");
            Response::new(200, text).header("ETag", &tag)
        });
        let proxy = Proxy::to(server.port);
        Self { items, server, proxy }
    }
}

impl Source for Rss {
    fn make(&mut self, more: usize) {
        self.items.fetch_add(more, Ordering::SeqCst);
    }

    fn restart(&mut self) {
        self.server.stop();
        self.server.resume();
    }

    fn proxy(&self) -> &Proxy {
        &self.proxy
    }

    fn number(payload: &Value) -> u64 {
        payload["title"].as_str().unwrap().parse().unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_entry_of_a_web_feed_has_one_activation_whatever_dies() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let (random, seed) = random();
    eprintln!("POLLED_SEED={seed}");
    let mut source = Rss::start();
    let hub = start().start(&data).unwrap();
    let url = format!("http://127.0.0.1:{}/feed", source.proxy.port);
    set_up(&hub, "rss/feed", json!({"url": url, "pollingInterval": "1s"})).await;
    eventually("the first poll", async || {
        let feeds = hub.client().get("feeds").await;
        (feeds[0]["status"]["state"] == "running").then_some(())
    })
    .await;
    torment(&mut source, &data, hub, random).await;
}

struct Changes {
    made: usize,
    couch: Couch,
    proxy: Proxy,
}

impl Source for Changes {
    fn make(&mut self, more: usize) {
        self.couch.put_numbers("numbers", self.made..self.made + more);
        self.made += more;
    }

    fn restart(&mut self) {
        self.couch.stop();
        self.couch.resume();
    }

    fn proxy(&self) -> &Proxy {
        &self.proxy
    }

    fn number(payload: &Value) -> u64 {
        payload["doc"]["n"].as_u64().unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_change_of_a_database_has_one_activation_whatever_dies() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let (random, seed) = random();
    eprintln!("POLLED_SEED={seed}");
    let couch_directory = tempfile::tempdir().unwrap();
    let couch = Couch::start(couch_directory.path());
    couch.ok("PUT", "/numbers", &Value::Null);
    let proxy = Proxy::to(couch.port);
    let hub = start().start(&data).unwrap();
    let params = json!({"host": "127.0.0.1", "port": proxy.port, "protocol": "http", "dbname": "numbers", "include_docs": true});
    set_up(&hub, "cloudant/changes", params).await;
    eventually("the feed runs", async || {
        let feeds = hub.client().get("feeds").await;
        (feeds[0]["status"]["state"] == "running").then_some(())
    })
    .await;
    torment(&mut Changes { made: 0, couch, proxy }, &data, hub, random).await;
}

/// Clocks, and the ticks of each: one a second.
const CLOCKS: usize = 20;
const TICKS: usize = EVENTS / CLOCKS;

#[tokio::test(flavor = "multi_thread")]
async fn each_tick_of_a_clock_has_one_activation_whatever_dies() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let hub = start().start(&data).unwrap();
    let client = hub.client();
    client.put_action("note", "nodejs:20", "function main(a) { return {seen: true}; }").await;
    let now = jiff::Timestamp::now().as_second();
    // Time enough to make them all, on a busy machine too.
    let (first, last) = (now + 15, now + 15 + i64::try_from(TICKS).unwrap() - 1);
    for clock in 0..CLOCKS {
        let trigger = format!("clock-{clock}");
        client.put(&format!("triggers/{trigger}"), &json!({})).await;
        client.put_rule(&format!("rule-{clock}"), &trigger, "note", json!({})).await;
        let params = json!({
            "cron": "* * * * * *", "startDate": first * 1000, "stopDate": last * 1000, "missed": "all",
            "trigger_payload": {"clock": clock},
        });
        let (status, body) = client.create_feed("alarms/alarm", &trigger, params).await;
        assert_eq!(status, 200, "{body}");
    }
    hub.kill();
    assert!(jiff::Timestamp::now().as_second() < first, "the clocks were made too late");
    let (mut random, seed) = random();
    eprintln!("POLLED_SEED={seed}");
    for _ in 0..KILLS {
        let hub = start().start(&data).unwrap();
        tokio::time::sleep(Duration::from_millis(random.random_range(0..3000))).await;
        hub.kill();
    }
    let hub = start().start(&data).unwrap();
    let client = hub.client();
    until_records(&client, "note", EVENTS).await;
    let mut runs = BTreeSet::new();
    for clock in 0..CLOCKS {
        let ticks = client.all_activations(&format!("clock-{clock}")).await;
        assert_eq!(ticks.len(), TICKS, "the ticks of clock {clock}");
        runs.extend(ticks.iter().map(run_of));
    }
    assert_eq!(runs.len(), EVENTS, "each tick has its own run");
    assert_eq!(client.all_activations("note").await.len(), EVENTS, "each run has one record");
    eventually("the clocks end", async || {
        let feeds = client.get("feeds").await.to_string();
        (feeds.matches("after reaching the stop date").count() >= CLOCKS).then_some(())
    })
    .await;
    assert!(hub.stop().success());
}
