//! Fires accepted per second.

use std::time::Duration;

use serde_json::{Value, json};

use crate::Options;
use crate::load::{self, Load};
use crate::machine::{anonymous_mb, cpu_seconds};
use crate::report::Report;
use crate::stage::Stage;

/// How long the records of a load may take to come.
const PATIENCE: Duration = Duration::from_secs(600);

pub fn measure(options: &Options, report: &mut Report) {
    report.section(
        "Fires accepted",
        "`POST /triggers/{t}` with a reading of 90 bytes; 202 is answered when event, decision and trigger record are synced. \
         *runs*: the rule starts a Node.js action for each fire, which runs beside the load; *no match*: the rule's pattern \
         lets none through. Checked after each line: every id has its trigger record, and in *runs* every run its own.",
    );
    report.head(&[
        "rule",
        "connections",
        "fires/s",
        "p50 ms",
        "p99 ms",
        "syncs",
        "fires a sync",
        "hub CPU µs a fire",
        "records found",
        "all found after",
    ]);
    let mut loaded_mb = 0.0_f64;
    for (case, celsius) in [("no match", 10), ("runs", 35)] {
        for connections in [1, 8, 32, 64] {
            loaded_mb = loaded_mb.max(line(options, report, case, celsius, connections));
        }
    }
    report.line(&format!(
        "\nThe hub's own memory (`RssAnon`) at the end of the worst of these loads: {loaded_mb:.0} MB."
    ));
}

/// Measures one line; the hub's memory at the end of the load, in MB.
fn line(options: &Options, report: &mut Report, case: &str, celsius: i32, connections: usize) -> f64 {
    let stage = Stage::start();
    stage.put_noop("hot", "nodejs:20", 256);
    stage.set_up(async |client| {
        client.put("triggers/reading", &json!({})).await;
        client
            .put_rule("r", "reading", "hot", json!({"pattern": {"celsius": [{"numeric": [">", 30]}]}}))
            .await;
    });
    let reading =
        json!({"sensor": "boiler-17", "room": "B2.104", "celsius": celsius, "at": "2026-11-26T19:26:54Z"});
    let request = load::request("POST", "triggers/reading", &reading.to_string());
    load::run(&stage.address(), connections, Duration::from_millis(500), &request, 202);
    let (syncs, cpu) = (stage.syncs(), cpu_seconds(stage.hub.pid()));
    let load = load::run(&stage.address(), connections, options.span, &request, 202);
    let (syncs, cpu) = (stage.syncs() - syncs, cpu_seconds(stage.hub.pid()) - cpu);
    let loaded_mb = anonymous_mb(stage.hub.pid());
    let begun = std::time::Instant::now();
    let found = all_recorded(&stage, &load, case == "runs");
    report.row(&[
        case,
        &connections.to_string(),
        &format!("{:.0}", load.per_second()),
        &format!("{:.2}", load.millis(50.0)),
        &format!("{:.2}", load.millis(99.0)),
        &format!("{syncs:.0}"),
        &format!("{:.1}", load.ids.len() as f64 / syncs),
        &format!("{:.0}", cpu * 1e6 / load.ids.len() as f64),
        &found.to_string(),
        &format!("{:.1} s", begun.elapsed().as_secs_f64()),
    ]);
    loaded_mb
}

/// Finds the record of every fire, and of every run that it names where each must name one.
fn all_recorded(stage: &Stage, load: &Load, with_runs: bool) -> usize {
    let mut runs = Vec::new();
    load::records(&stage.address(), &load.ids, PATIENCE, |record| {
        let record: Value = serde_json::from_slice(record).unwrap();
        for line in record["logs"].as_array().into_iter().flatten() {
            let line: Value = serde_json::from_str(line.as_str().unwrap()).unwrap();
            runs.push(line["activationId"].as_str().unwrap().to_owned());
        }
    });
    assert_eq!(runs.len(), if with_runs { load.ids.len() } else { 0 });
    load::records(&stage.address(), &runs, PATIENCE, |_| {});
    load.ids.len() + runs.len()
}
