//! What a manifest becomes, and what is said of one that cannot be.

use std::path::Path;

use serde_json::json;

use super::manifest;
use super::variables::Variables;
use super::wanted::Wanted;
use super::yaml::{Fault, parse};

fn read(text: &str) -> Result<Vec<Wanted>, Vec<String>> {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("judge.py"), "def main(a): return a").unwrap();
    let env = |name: &str| (name == "ROOM").then(|| "7".to_owned());
    let variables = Variables { given: &[], env: &env };
    let place = |Fault { at, what }: &Fault| format!("{}:{}: {what}", at.line, at.column);
    let tree = parse(text).map_err(|fault| vec![place(&fault)])?;
    manifest::read(&tree, Path::new(directory.path()), &"guest".parse().unwrap(), variables)
        .map_err(|faults| faults.iter().map(place).collect())
}

const WHOLE: &str = r"
packages:
  iot:
    inputs: { unit: celsius, limit: { type: integer, value: $ROOM } }
    rules:
      hot: { trigger: reading, action: alert, pattern: { $or: [{ room: [7] }, { x: [1] }] }, when: 'event.a > 1' }
    sequences:
      outer: { actions: 'alert, judge' }
      alert: { actions: [judge, /whisk.system/x/y] }
    actions:
      judge: { function: judge.py, limits: { timeout: 1000, memorySize: 128 }, web: yes, inputs: { room: '$ROOM' } }
    triggers:
      reading: { feed: /whisk.system/messaging/mqttFeed, inputs: { topic: a/# } }
      plain:
";

#[test]
fn a_manifest_becomes_entities_in_the_order_in_which_they_are_made() {
    let wanted = read(WHOLE).unwrap();
    let names: Vec<String> =
        wanted.iter().map(|of| format!("{} {}", of.kind.as_str(), of.id.local())).collect();
    assert_eq!(
        names,
        [
            "package iot",
            "action iot/judge",
            "sequence iot/alert",
            "sequence iot/outer",
            "trigger reading",
            "trigger plain",
            "rule hot"
        ]
    );
    let document = |name: &str| {
        let of = wanted.iter().find(|of| of.id.local() == name).unwrap();
        serde_json::Value::Object(of.document.clone())
    };
    assert_eq!(
        document("iot")["parameters"],
        json!([{"key": "unit", "value": "celsius"}, {"key": "limit", "value": 7}])
    );
    let judge = document("iot/judge");
    assert_eq!(judge["exec"], json!({"kind": "python:default", "code": "def main(a): return a"}));
    assert_eq!(judge["limits"], json!({"timeout": 1000, "memory": 128}));
    assert_eq!(judge["parameters"], json!([{"key": "room", "value": "7"}]));
    assert_eq!(judge["annotations"][0], json!({"key": "web-export", "value": true}));
    assert_eq!(document("iot/alert")["exec"]["components"], json!(["/guest/iot/judge", "/whisk.system/x/y"]));
    let reading = document("reading");
    assert_eq!(reading["parameters"], json!([]), "a feed's inputs are its own");
    assert_eq!(reading["annotations"], json!([{"key": "feed", "value": "/whisk.system/messaging/mqttFeed"}]));
    let rule = document("hot");
    assert_eq!(rule["action"], json!("/guest/iot/alert"));
    assert_eq!(
        rule["pattern"],
        json!({"$or": [{"room": [7]}, {"x": [1]}]}),
        "a pattern's dollars are its own"
    );
    assert_eq!(rule["with"], json!(null));
}

#[test]
fn every_fault_is_told_with_its_place_and_what_was_meant() {
    let faults = read(
        r"
packages:
  iot:
    actoins: {}
    apis: {}
    actions:
      judge: { funtion: judge.py }
      gone: { function: gone.py }
      kindless: { code: x }
      both: { function: judge.py, code: x, limits: { timeout: soon, memory: 1 } }
    triggers:
      'bad name!': {}
      t: { inputs: { a: $MISSING } }
    rules:
      r: { trigger: t, pattern: 7, status: on }
      t: { trigger: t, action: judge }
",
    )
    .unwrap_err();
    let expected = [
        "4:5: unknown key `actoins` in the package `iot`; did you mean `actions`?",
        "5:5: `apis` of wskdeploy is not supported here, in the package `iot`",
        "7:7: the action `judge` has no `function` (a file) and no `code`",
        "7:16: unknown key `funtion` in the action `judge`; did you mean `function`?",
        "8:25: the function of the action `gone`: cannot read",
        "9:7: the action `kindless` has no `runtime`, like python:3 or nodejs:20",
        "10:41: the action `both` has `function` and `code`; one of them was expected",
        "10:63: the limit `timeout` of the action `both` is `soon`, but a whole number was expected",
        "10:69: unknown key `memory` in `limits` of the action `both`; there are:",
        "12:7: `bad name!` cannot be the name of a trigger",
        "13:25: the variable `MISSING` is not set: give --var MISSING=VALUE",
        "15:7: the rule `r` has no `action`",
        "15:33: the pattern is a number, but a mapping was expected",
        "15:44: the status is `on`; expected `active` or `inactive`",
        "16:7: the name `t` is taken by the trigger in line 13",
    ];
    for (fault, expected) in faults.iter().zip(expected) {
        assert!(fault.starts_with(expected), "{fault}\n  instead of\n{expected}");
    }
    assert_eq!(faults.len(), expected.len(), "{faults:#?}");
}

#[test]
fn sequences_that_run_themselves_are_refused() {
    let faults =
        read("packages: { p: { sequences: { a: { actions: b }, b: { actions: a } } } }").unwrap_err();
    assert!(faults.iter().all(|fault| fault.contains("runs itself, perhaps through others")), "{faults:?}");
    assert_eq!(
        read("a: 1").unwrap_err(),
        ["1:1: unknown key `a` in the manifest; there are: project, packages"]
    );
    assert_eq!(read("packages:").unwrap_err(), ["1:1: the manifest has no `packages`"]);
}
