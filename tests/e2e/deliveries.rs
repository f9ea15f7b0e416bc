//! Webhook deliveries with everything dying around them: a sender that repeats what was not answered, and the hub killed at
//! each step of the way and at random moments. Each delivery has exactly one activation (invariants 1 to 4).
//!
//! The random moments come from a seed that is printed; `DELIVERIES_SEED` repeats them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::github::delivery;
use crate::support::hub::Start;
use crate::support::{eventually, lasting_port};

const DELIVERIES: usize = 10_000;
/// Deliveries under way at once.
const LANES: usize = 16;
/// Every so many-th delivery matches the rule.
const MATCHES: usize = 4;
const SECRET: &str = "geheim-geheim";
/// The steps of the way at which the hub dies once, and at which pass.
const STEPS: [(&str, u32); 9] = [
    ("intake::before_write", 40),
    ("intake::written", 40),
    ("store::before_sync", 60),
    ("store::after_sync", 60),
    ("hook::before_answer", 40),
    ("run::before_start", 20),
    ("run::started", 20),
    ("run::ended", 20),
    ("run::completed", 20),
];
/// Kills from outside at random moments.
const KILLS: usize = 10;

/// The sender: it sends what it is allowed to, and repeats each delivery until it is answered 2xx.
struct Sender {
    allowed: AtomicUsize,
    next: AtomicUsize,
    answered: AtomicUsize,
    repeated: AtomicUsize,
    /// Deliveries that the hub recognised.
    recognised: AtomicUsize,
    url: String,
    http: reqwest::Client,
}

impl Sender {
    async fn lane(self: Arc<Self>) {
        loop {
            let n = self.next.fetch_add(1, Ordering::SeqCst);
            if n >= DELIVERIES {
                return;
            }
            while n >= self.allowed.load(Ordering::SeqCst) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            self.deliver(n).await;
        }
    }

    async fn deliver(&self, n: usize) {
        let body = json!({"ref": "refs/heads/main", "n": n, "wanted": n.is_multiple_of(MATCHES)}).to_string();
        loop {
            let guid = format!("delivery-{n}");
            let request =
                delivery(&self.http, &self.url, SECRET, "push", &guid, "application/json", body.clone());
            let answered = match request.send().await {
                Ok(answer) if answer.status() == 202 => answer.json::<Value>().await.ok(),
                Ok(answer) if answer.status() == 503 => None,
                Ok(answer) => panic!("{}", answer.status()),
                Err(_) => None,
            };
            if let Some(answer) = answered {
                self.answered.fetch_add(1, Ordering::SeqCst);
                self.recognised.fetch_add(answer["duplicates"].as_u64().unwrap() as usize, Ordering::SeqCst);
                return;
            }
            self.repeated.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn allow(&self, deliveries: usize) {
        self.allowed.fetch_add(deliveries, Ordering::SeqCst);
    }
}

async fn set_up(client: &Client) {
    client.put_action("count", "nodejs:20", "function main(a) { return {n: a.n}; }").await;
    client.put("triggers/gh", &json!({})).await;
    client.put_rule("r", "gh", "count", json!({"pattern": {"wanted": [true]}})).await;
    let params = json!({"secret": SECRET, "record": "all"});
    let (status, body) = client.create_feed("github/webhook", "gh", params).await;
    assert_eq!(status, 200, "{body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_delivery_has_one_activation_whatever_moment_the_hub_dies_at() {
    let begun = Instant::now();
    let seed =
        std::env::var("DELIVERIES_SEED").map_or_else(|_| rand::rng().random(), |text| text.parse().unwrap());
    eprintln!("DELIVERIES_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let directory = tempfile::tempdir().unwrap();
    let address = format!("127.0.0.1:{}", lasting_port());
    let start = Start { listen: Some(address.clone()), ..Start::default() };
    let hub = start.start(directory.path()).unwrap();
    set_up(&hub.client()).await;
    hub.kill();
    let sender = Arc::new(Sender {
        allowed: AtomicUsize::new(0),
        next: AtomicUsize::new(0),
        answered: AtomicUsize::new(0),
        repeated: AtomicUsize::new(0),
        recognised: AtomicUsize::new(0),
        url: format!("http://{address}/hooks/github/guest/gh"),
        http: reqwest::Client::builder().no_proxy().build().unwrap(),
    });
    let lanes: Vec<_> = (0..LANES).map(|_| tokio::spawn(sender.clone().lane())).collect();

    let per_life = DELIVERIES / (STEPS.len() + KILLS + 1);
    for (step, pass) in STEPS {
        sender.allow(per_life);
        let Some(mut hub) = start.start_to_die(step, pass, directory.path()) else { continue };
        eventually(&format!("the hub dies at {step}"), async || hub.died().then_some(())).await;
    }
    let mut under_load = 0;
    for _ in 0..KILLS {
        let hub = start.start(directory.path()).unwrap();
        let before = sender.answered.load(Ordering::SeqCst);
        sender.allow(per_life);
        let enough = random.random_range(1..per_life / 2);
        eventually("deliveries are answered", async || {
            (sender.answered.load(Ordering::SeqCst) >= before + enough).then_some(())
        })
        .await;
        tokio::time::sleep(Duration::from_millis(random.random_range(0..20))).await;
        let allowed = sender.allowed.load(Ordering::SeqCst).min(DELIVERIES);
        under_load += usize::from(sender.answered.load(Ordering::SeqCst) < allowed);
        hub.kill();
    }
    eprintln!("killed at {} steps and {KILLS} random moments, {under_load} of these under load", STEPS.len());
    assert!(under_load * 2 >= KILLS, "only {under_load} of {KILLS} kills were under load");

    let hub = start.start(directory.path()).unwrap();
    sender.allow(DELIVERIES);
    for lane in lanes {
        lane.await.unwrap();
    }
    let client = hub.client();
    let records = client.all_activations("gh").await;
    let mut found = BTreeMap::<u64, usize>::new();
    let mut wanted = BTreeSet::new();
    for record in &records {
        *found.entry(record["response"]["result"]["n"].as_u64().unwrap()).or_default() += 1;
        if record["response"]["result"]["wanted"] == json!(true) {
            wanted.insert(run_of(record));
        }
    }
    let missing: Vec<_> = (0..DELIVERIES as u64).filter(|n| !found.contains_key(n)).collect();
    let double: Vec<_> = found.iter().filter(|(_, times)| **times > 1).collect();
    assert!(missing.is_empty() && double.is_empty(), "missing {missing:?}, double {double:?}");
    assert_eq!((records.len(), wanted.len()), (DELIVERIES, DELIVERIES / MATCHES));

    eventually("every run has its record", async || {
        let count = client.get("activations?name=count&count=true").await["activations"].as_u64().unwrap();
        (count >= wanted.len() as u64).then_some(())
    })
    .await;
    let runs = client.all_activations("count").await;
    let ids: BTreeSet<String> =
        runs.iter().map(|run| run["activationId"].as_str().unwrap().to_owned()).collect();
    assert_eq!(ids.len(), runs.len(), "no run has two records");
    assert_eq!(ids, wanted);
    let given_up = runs.iter().filter(|run| run["response"]["success"] != json!(true)).count();
    assert!(given_up * 20 < runs.len(), "{given_up} of {} runs were given up", runs.len());
    eprintln!(
        "{DELIVERIES} deliveries, {} sent more than once, {} recognised; {} runs, {given_up} given up; {} s",
        sender.repeated.load(Ordering::SeqCst),
        sender.recognised.load(Ordering::SeqCst),
        runs.len(),
        begun.elapsed().as_secs()
    );
    assert!(hub.stop().success());
}

/// The run that a trigger's record names.
fn run_of(trigger: &Value) -> String {
    let line: Value = serde_json::from_str(trigger["logs"][0].as_str().unwrap()).unwrap();
    line["activationId"].as_str().unwrap().to_owned()
}
