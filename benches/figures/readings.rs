//! Readings through a real Mosquitto: how many a second become records, and how long one takes.

use std::collections::BTreeSet;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::Options;
use crate::load::percentile;
use crate::machine::cpu_seconds;
use crate::report::Report;
use crate::stage::Stage;
use crate::support::broker::Broker;

/// Readings of a sustained load, for each second of its span: more than the hub can take in that time.
const READINGS_PER_SECOND: usize = 6_000;
/// The pace at which the latency is measured: a reading every so many milliseconds.
const PACE_MILLIS: u64 = 2;
/// How long the records of all readings may take to come.
const PATIENCE: Duration = Duration::from_secs(600);

pub fn measure(options: &Options, report: &mut Report) {
    report.section(
        "MQTT reading to record",
        "QoS 1 through a real Mosquitto beside the hub. *trigger record*: every reading leaves its trigger's record and starts \
         nothing; *run*: every reading is matched by a rule's pattern and runs a Node.js action, which leaves two records. \
         Sustained: all readings are at the broker as fast as it takes them, from the first publish to the last record, each \
         found once. Latency: from the publisher's clock to the record's `start` (of the trigger's: the hub has it; of the run's: the \
         action starts), at 500 readings/s.",
    );
    report.head(&[
        "record",
        "readings",
        "readings/s",
        "syncs",
        "hub CPU µs a reading",
        "latency p50 ms",
        "latency p99 ms",
    ]);
    for (case, celsius) in [("trigger record", 10), ("run", 35)] {
        let (stage, broker) = connected();
        let readings = READINGS_PER_SECOND * options.span.as_secs() as usize;
        let (syncs, cpu) = (stage.syncs(), cpu_seconds(stage.hub.pid()));
        let begun = Instant::now();
        let lines: Vec<String> = (0..readings).map(|n| reading(n, celsius)).collect();
        std::thread::scope(|scope| {
            scope.spawn(|| broker.publish("sensors/b2/boiler", 1, &lines));
            wait_for(&stage, case, readings);
        });
        let took = begun.elapsed().as_secs_f64();
        let (syncs, cpu) = (stage.syncs() - syncs, cpu_seconds(stage.hub.pid()) - cpu);
        assert_eq!(numbers(&records(&stage, case)).len(), readings, "each reading has its record");
        let latencies = latencies(options, case, celsius);
        report.row(&[
            case,
            &readings.to_string(),
            &format!("{:.0}", readings as f64 / took),
            &format!("{syncs:.0}"),
            &format!("{:.0}", cpu * 1e6 / readings as f64),
            &format!("{:.0}", percentile(&latencies, 50.0)),
            &format!("{:.0}", percentile(&latencies, 99.0)),
        ]);
    }
}

/// A hub whose trigger `reading` hears a broker.
fn connected() -> (Stage, Broker) {
    let stage = Stage::start();
    let broker = Broker::start(stage.directory(), "");
    stage.set_up(async |client| {
        client
            .put_action("judge", "nodejs:20", "function main(a) { return {n: a.body.n, at: a.body.at}; }")
            .await;
        client.put("triggers/reading", &json!({})).await;
        let pattern = json!({"pattern": {"body": {"celsius": [{"numeric": [">", 30]}]}}});
        client.put_rule("hot", "reading", "judge", pattern).await;
        let params = json!({"url": broker.url(), "topic": "sensors/+/boiler", "record": "all"});
        let (status, body) = client.create_feed("messaging/mqttFeed", "reading", params).await;
        assert_eq!(status, 200, "{body}");
        crate::support::eventually("the feed runs", async || {
            client.get("feeds").await.to_string().contains("\"running\"").then_some(())
        })
        .await;
        // The first container is not what is measured.
        client.invoke("judge", &json!({"body": {}})).await;
    });
    (stage, broker)
}

fn reading(n: usize, celsius: i32) -> String {
    let at = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis() as u64;
    json!({"n": n, "celsius": celsius, "unit": "C", "sensor": "boiler-17", "at": at}).to_string()
}

/// Milliseconds from reading to record at a pace that the hub keeps with ease, sorted.
fn latencies(options: &Options, case: &str, celsius: i32) -> Vec<u32> {
    let (stage, broker) = connected();
    let every = Duration::from_millis(PACE_MILLIS);
    let readings = (options.span.as_millis() / every.as_millis()) as usize;
    let mut publisher = broker.publisher();
    let begun = Instant::now();
    for n in 0..readings {
        publisher.publish("sensors/b2/boiler", 1, &[reading(n, celsius)]);
        std::thread::sleep((begun + every * (n as u32 + 1)).saturating_duration_since(Instant::now()));
    }
    wait_for(&stage, case, readings);
    let mut latencies: Vec<u32> = records(&stage, case)
        .iter()
        .map(|record| {
            let result = &record["response"]["result"];
            let (at, done) = match case {
                "run" => (&result["at"], &record["start"]),
                _ => (&result["body"]["at"], &record["start"]),
            };
            u32::try_from(done.as_i64().unwrap() - at.as_i64().unwrap()).unwrap_or(0)
        })
        .collect();
    latencies.sort_unstable();
    latencies
}

/// Waits until so many readings have their records.
fn wait_for(stage: &Stage, case: &str, readings: usize) {
    let begun = Instant::now();
    // A run leaves two records, and there was one run before.
    let wanted = if case == "run" { 2 * readings } else { readings } + 1;
    while (stage.metric("triggerfish_activations_total{status=\"success\"}") as usize) < wanted {
        assert!(begun.elapsed() < PATIENCE, "not all records came within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn records(stage: &Stage, case: &str) -> Vec<Value> {
    let name = if case == "run" { "judge" } else { "reading" };
    let mut records = stage.set_up(async |client| client.all_activations(name).await);
    records.retain(|record| number(record).is_some());
    records
}

fn numbers(records: &[Value]) -> BTreeSet<u64> {
    records.iter().filter_map(number).collect()
}

fn number(record: &Value) -> Option<u64> {
    let result = &record["response"]["result"];
    result["n"].as_u64().or_else(|| result["body"]["n"].as_u64())
}
