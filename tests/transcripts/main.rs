//! What a running reference answered (`transcripts.jsonl`), played against the hub.
//!
//! `expectations.json` lists, each with its reason, the scenarios that are not played, those that wait for a later part,
//! and single steps that differ on purpose. The test fails where an unlisted scenario differs, and where a listed one
//! does not any more.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test fails by panicking, and its helpers are nobody's API"
)]

#[path = "../support/mod.rs"]
mod support;

mod matching;
mod player;

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use player::Stage;

const SCENARIOS: &str = include_str!("transcripts.jsonl");
const EXPECTATIONS: &str = include_str!("expectations.json");

/// The differences that are known, by scenario.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expectations {
    /// Not played: they sleep for long, or need a server set up in another way.
    skipped: BTreeMap<String, String>,
    /// Wait for a later part of the hub; played until they differ.
    later: BTreeMap<String, String>,
    /// Differ on purpose in these steps, counted from 0.
    differs: BTreeMap<String, Differing>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Differing {
    steps: Vec<usize>,
    reason: String,
}

/// Keys of the namespaces beside `guest`: made for this test.
fn keys() -> Vec<(&'static str, String)> {
    let made = |digit: &str| {
        format!(
            "{0}-{1}-{1}-{1}-{2}:{3}",
            digit.repeat(8),
            digit.repeat(4),
            digit.repeat(12),
            digit.repeat(64)
        )
    };
    let (uuid, key) = support::client::KEY;
    vec![("guest", format!("{uuid}:{key}")), ("other", made("a")), ("slow", made("b"))]
}

fn configuration(keys: &[(&'static str, String)]) -> String {
    keys.iter()
        .filter(|(name, _)| *name != "guest")
        .map(|(name, key)| {
            let namespace = if *name == "slow" { "slowns" } else { name };
            format!("[[namespaces]]\nname = \"{namespace}\"\nkey = \"{key}\"\n")
        })
        .collect()
}

/// Judges one scenario; `Err` is what to put right, in the hub or in the expectations.
async fn judge(stage: &Stage, scenario: &Value, expectations: &Expectations) -> Result<(), String> {
    let id = scenario["id"].as_str().unwrap();
    let later = expectations.later.get(id);
    let differing = expectations.differs.get(id);
    for (name, _) in &stage.keys {
        let uses = scenario["steps"].as_array().unwrap().iter().any(|step| step["request"]["auth"] == **name);
        if uses {
            stage.empty(name).await;
        }
    }
    let mismatches = stage.play(scenario, later.is_some()).await;
    if let Some(reason) = later {
        return if mismatches.is_empty() {
            Err(format!("holds now: take it off the list ({reason})"))
        } else {
            Ok(())
        };
    }
    let listed = differing.map_or(&[][..], |differing| &differing.steps);
    let unlisted: Vec<String> = mismatches
        .iter()
        .filter(|mismatch| !listed.contains(&mismatch.step))
        .map(|mismatch| format!("step {}: {}", mismatch.step, mismatch.what))
        .collect();
    if !unlisted.is_empty() {
        return Err(unlisted.join("\n    "));
    }
    match listed.iter().find(|step| !mismatches.iter().any(|mismatch| mismatch.step == **step)) {
        Some(step) => {
            let reason = differing.map_or("", |differing| &differing.reason);
            Err(format!("step {step} holds now: take it off the list ({reason})"))
        }
        None => Ok(()),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_hub_answers_as_the_reference_did() {
    let expectations: Expectations =
        serde_json::from_str(EXPECTATIONS).expect("expectations.json is well formed");
    let scenarios: Vec<Value> = SCENARIOS.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let keys = keys();
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("triggerfish.toml");
    std::fs::write(&config, configuration(&keys)).unwrap();
    let start = support::hub::Start {
        args: vec!["--config".into(), config.to_str().unwrap().into()],
        ..support::hub::Start::default()
    };
    let hub = start.start(&directory.path().join("data")).unwrap_or_else(|log| panic!("{log}"));
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let stage = Stage { base: format!("http://{}", hub.address()), http, keys };
    let (mut held, mut faults) = (0, Vec::new());
    for scenario in &scenarios {
        let id = scenario["id"].as_str().unwrap();
        if expectations.skipped.contains_key(id) {
            continue;
        }
        match judge(&stage, scenario, &expectations).await {
            Ok(()) => held += 1,
            Err(fault) => {
                faults.push(format!("{id} ({}):\n    {fault}", scenario["title"].as_str().unwrap()))
            }
        }
    }
    let known = |id: &String| scenarios.iter().any(|scenario| scenario["id"] == **id);
    let lists =
        expectations.skipped.keys().chain(expectations.later.keys()).chain(expectations.differs.keys());
    faults.extend(
        lists.filter(|id| !known(id)).map(|id| format!("{id} is listed, but there is no such scenario")),
    );
    assert!(
        faults.is_empty(),
        "{held} scenarios are as expected, {} are not:\n{}",
        faults.len(),
        faults.join("\n")
    );
}
