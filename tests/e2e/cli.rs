//! The command line as its users have it: the real binary against a real hub.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::eventually;
use crate::support::hub::{Hub, Start};

/// What a command printed, and how it ended.
#[derive(Debug)]
pub(crate) struct Ran {
    code: i32,
    out: String,
    err: String,
}

impl Ran {
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.code, 0, "{self:?}");
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// A command that runs beside the test; it ends with it.
struct Child(std::process::Child);

impl Drop for Child {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The command line, with nothing of whoever runs the tests: an empty home, and no variables but these.
pub(crate) struct Cli {
    home: tempfile::TempDir,
    host: String,
}

impl Cli {
    pub(crate) fn new(host: &str) -> Self {
        Self { home: tempfile::tempdir().unwrap(), host: host.to_owned() }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_triggerfish"));
        command
            .args(args)
            .env_clear()
            .env("HOME", self.home.path())
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("TRIGGERFISH_HOST", &self.host)
            .current_dir(self.home.path())
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        ended(&mut self.command(args))
    }

    /// Runs a command that must succeed; what it printed.
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let ran = self.run(args);
        assert_eq!(ran.code, 0, "{args:?}: {ran:?}");
        ran.out
    }

    /// Runs a command that must fail with status 1; what it said.
    fn fails(&self, args: &[&str]) -> String {
        let ran = self.run(args);
        assert_eq!(ran.code, 1, "{args:?}: {ran:?}");
        assert_eq!(ran.out, "", "{args:?}");
        ran.err
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.home.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

fn ended(command: &mut Command) -> Ran {
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
}

const MANIFEST: &str = r#"
packages:
  home:
    inputs: { unit: celsius }
    actions:
      judge: { function: judge.py }
      word:
        runtime: nodejs:default
        code: |
          function main(a) { console.log(`the lamp is ${a.verdict}`); return {text: a.verdict}; }
    sequences:
      alert: { actions: 'judge, word' }
    triggers:
      reading:
      clock:
        feed: /whisk.system/alarms/alarm
        inputs: { cron: '0 0 1 1 *', trigger_payload: { tick: true } }
      hook:
        feed: /whisk.system/webhook/feed
        inputs: { secret: $HOOK_SECRET }
    rules:
      too-hot: { trigger: reading, action: alert, pattern: { celsius: [{ numeric: ['>', 30] }] } }
      at-night: { trigger: reading, action: word, when: 'event.hour > 22', status: inactive }
"#;

/// A hub with [`MANIFEST`] applied to it.
struct Home {
    hub: Hub,
    cli: Cli,
    _data: tempfile::TempDir,
}

impl Home {
    fn new() -> Self {
        let data = tempfile::tempdir().unwrap();
        let hub = Hub::start(data.path());
        let cli = Cli::new(hub.address());
        cli.file("judge.py", "def main(a):\n    return {'verdict': 'hot ' + a['unit']}\n");
        cli.file("manifest.yaml", MANIFEST);
        Self { hub, cli, _data: data }
    }

    fn apply(&self, more: &[&str]) -> Ran {
        self.cli.run(&[&["apply", "-f", "manifest.yaml", "--var", "HOOK_SECRET=first-secret"], more].concat())
    }

    /// Applies a change of the manifest; the lines that are not "unchanged".
    fn apply_changed(&self, from: &str, to: &str) -> Vec<String> {
        assert!(MANIFEST.contains(from), "{from}");
        self.cli.file("manifest.yaml", &MANIFEST.replace(from, to));
        let ran = self.apply(&[]);
        assert_eq!(ran.code, 0, "{ran:?}");
        let changed = ran.out.lines().filter(|line| !line.contains("unchanged"));
        changed.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn applying_creates_then_changes_nothing_then_only_what_differs() {
    let home = Home::new();
    let dry = home.apply(&["--dry-run"]);
    assert!(dry.out.contains("9 created, 0 updated, 0 unchanged (dry run"), "{dry:?}");
    assert_eq!(home.hub.client().get("triggers").await, json!([]), "a dry run changes nothing");

    let first = home.apply(&[]);
    assert!(first.out.contains("9 created, 0 updated, 0 unchanged"), "{first:?}");
    assert!(!first.out.contains('\x1b'), "no colours but on a terminal: {first:?}");
    let second = home.apply(&["--json"]).json();
    let changes: Vec<&Value> =
        second["entities"].as_array().unwrap().iter().map(|of| &of["change"]).collect();
    assert_eq!(changes, [&json!("unchanged"); 9], "{second}");
    let client = home.hub.client();
    assert_eq!(client.get("rules/at-night").await["status"], json!("inactive"));
    assert_eq!(client.get("actions/home/judge").await["version"], json!("0.0.1"), "written once");

    assert_eq!(home.apply_changed("status: inactive", "status: active"), ["updated rule at-night"]);
    assert_eq!(
        home.apply_changed("unit: celsius", "unit: kelvin"),
        ["updated package home", "updated rule at-night (inactive)"]
    );
    assert_eq!(
        home.apply_changed("0 0 1 1 *", "0 0 2 2 *"),
        ["updated package home", "updated trigger clock fed by /whisk.system/alarms/alarm"]
    );
    let ran = home.cli.run(&["apply", "-f", "manifest.yaml", "--var", "HOOK_SECRET=second-secret"]);
    assert!(ran.out.contains("0 created, 1 updated, 8 unchanged"), "a secret cannot be read back: {ran:?}");
    let ran = home.cli.run(&["apply", "-f", "manifest.yaml", "--var", "HOOK_SECRET=second-secret"]);
    assert!(ran.out.contains("0 created, 0 updated, 9 unchanged"), "{ran:?}");
    assert!(!home.hub.log().contains("HOOK_SECRET") && !ran.out.contains("second-secret"));
    assert_eq!(
        home.apply_changed("        feed: /whisk.system/alarms/alarm\n        inputs: { cron: '0 0 1 1 *', trigger_payload: { tick: true } }\n", ""),
        ["updated trigger clock", "updated trigger hook fed by /whisk.system/webhook/feed"]
    );
    let feeds = home.cli.run(&["feeds", "--json"]).json();
    assert_eq!(feeds.as_array().unwrap().len(), 1, "a feed that is taken out ends: {feeds}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_manifest_is_refused_whole_with_places_and_suggestions() {
    let home = Home::new();
    let refused = |text: &str| {
        home.cli.file("bad.yaml", text);
        let error = home.cli.fails(&["apply", "-f", "bad.yaml"]);
        assert!(error.contains("nothing was changed"), "{error}");
        error
    };
    let unknown = refused("packages:\n  p:\n    actions:\n      a: { funtion: a.py }\n");
    assert!(
        unknown.contains("bad.yaml:4:12: unknown key `funtion` in the action `a`; did you mean `function`?"),
        "{unknown}"
    );
    let missing = refused("packages:\n  p:\n    actions:\n      a: { function: gone.py }\n");
    assert!(
        missing.contains("bad.yaml:4:22: the function of the action `a`: cannot read gone.py: No such file"),
        "{missing}"
    );
    let syntax = refused("packages:\n  p: [\n");
    assert!(syntax.contains("bad.yaml:") && syntax.contains("no YAML"), "{syntax}");

    // What only the hub can tell.
    let on_hub = refused(
        "packages:\n  p:\n    actions:\n      a: { code: x, runtime: 'nodejs:2O' }\n    triggers:\n      \
         t: { feed: /whisk.system/alarm/alarm }\n      u: { feed: /whisk.system/alarms/alarm, inputs: { corn: x } }\n    \
         rules:\n      r: { trigger: t, action: aa, pattern: { x: [{ numric: ['>', 1] }] } }\n      \
         s: { trigger: t, action: a, when: 'event.x >' }\n",
    );
    for expected in [
        "bad.yaml:4:30: the hub has no runtime `nodejs:2o`; did you mean `nodejs:20`?",
        "bad.yaml:6:18: there is no feed `/whisk.system/alarm/alarm`; did you mean `/whisk.system/alarms/alarm`?",
        "bad.yaml:7:56: the feed `/whisk.system/alarms/alarm` has no parameter `corn`; did you mean `cron`?",
        "bad.yaml:9:32: there is no action `p/aa`, neither in the manifest nor on the hub; did you mean `p/a`?",
        "bad.yaml:9:45: `pattern` of the rule `r` at `",
        "numric",
        "bad.yaml:10:41: `when` of the rule `s` at line 1",
    ] {
        assert!(on_hub.contains(expected), "{expected}\n  is not in\n{on_hub}");
    }
    assert_eq!(home.hub.client().get("actions").await, json!([]));

    // What only the feed can tell: its trigger goes again, and what was done is told.
    home.cli.file(
        "bad.yaml",
        "packages:\n  p:\n    triggers:\n      t: { feed: /whisk.system/alarms/alarm, inputs: { cron: never } }\n",
    );
    let ran = home.cli.run(&["apply", "-f", "bad.yaml"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.err.contains("the trigger `t`: ") && ran.err.contains("cron"), "{ran:?}");
    assert!(ran.err.contains("1 of 2 entities were applied before it"), "{ran:?}");
    assert_eq!(home.hub.client().get("triggers").await, json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fire_is_explained_recorded_tailed_and_listed() {
    let home = Home::new();
    assert_eq!(home.apply(&[]).code, 0);
    let cli = &home.cli;
    let mut tail = cli.command(&["tail", "--json", "--limit", "5"]);
    let mut tail = Child(tail.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
    let mut noted = String::new();
    BufReader::new(tail.0.stderr.as_mut().unwrap()).read_line(&mut noted).unwrap();
    assert_eq!(noted, "note: waiting for new records\n");

    let cold = cli.ok(&["explain", "trigger", "reading", "--param", "celsius=20"]);
    assert!(
        cold.contains("does not match guest/too-hot") && cold.contains("✗ pattern  celsius is 20"),
        "{cold}"
    );
    let event = cli.file("event.json", r#"{"celsius": 35}"#);
    let hot = cli.run(&["explain", "rule", "too-hot", "--event", event.to_str().unwrap(), "--json"]).json();
    assert_eq!((&hot["matched"], &hot["rules"][0]["verdict"]), (&json!(1), &json!("matches")), "{hot}");

    let quiet = cli.ok(&["fire", "clock"]);
    assert!(quiet.contains("no active rule listens"), "{quiet}");
    let fired =
        cli.run(&["fire", "reading", "--payload", "event.json", "--param", "room=7", "--json"]).json();
    let id = fired["activationId"].as_str().unwrap().to_owned();
    let record = home.hub.client().get(&format!("activations/{id}")).await;
    assert_eq!(record["response"]["result"], json!({"celsius": 35, "room": 7}), "{record}");

    // The fire, the sequence and its two steps; a second fire is the fifth.
    eventually("the sequence has run", async || {
        (home.hub.client().all_activations("home/alert").await.len() == 1).then_some(())
    })
    .await;
    cli.ok(&["fire", "reading", "-p", "celsius=36"]);
    let mut lines = String::new();
    tail.0.stdout.as_mut().unwrap().read_to_string(&mut lines).unwrap();
    assert!(tail.0.wait().unwrap().success(), "{lines}");
    let names: Vec<String> = lines
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["name"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(names.len(), 5, "{lines}");
    assert_eq!(names[0], "reading", "{lines}");
    assert!(["judge", "word", "alert"].iter().all(|name| names.iter().any(|of| of == name)), "{names:?}");

    let query = ["search", "lamp AND name:word", "--since", "1h", "--json"];
    let found = eventually("the run can be searched", async || {
        let found = cli.run(&query).json();
        (found["total"] == json!(2)).then_some(found)
    })
    .await;
    assert_eq!(found["hits"][0]["activation"]["name"], json!("word"), "{found}");
    let shown = cli.ok(&["search", "lamp AND name:word", "--limit", "1", "--sort", "start:asc"]);
    assert!(shown.contains("\n    the lamp is hot celsius\n1 of 2 records, found in "), "{shown}");
    let counted = r#"{"names": {"terms": {"field": "name"}}}"#;
    let counted = cli.run(&["search", "name:word", "--limit", "0", "--aggs", counted, "--json"]).json();
    assert_eq!(counted["aggregations"]["names"]["buckets"][0]["doc_count"], json!(2), "{counted}");
    let tail = cli.fails(&["tail", "--q", "name:("]);
    assert!(tail.contains("error: "), "{tail}");

    let feeds = cli.ok(&["feeds"]);
    assert!(feeds.starts_with("TRIGGER"), "{feeds}");
    assert!(feeds.contains("/guest/clock") && feeds.contains("/whisk.system/alarms/alarm"), "{feeds}");
    assert!(!feeds.contains("first-secret"), "no secret is shown: {feeds}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tail_goes_on_when_its_hub_is_back() {
    let Home { hub, cli, _data: data } = Home::new();
    let mut tail = cli.command(&["tail", "--limit", "1"]);
    let mut tail = Child(tail.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
    let mut notes = BufReader::new(tail.0.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert_eq!(notes.next().unwrap(), "note: waiting for new records");
    let listen = Some(hub.address().to_owned());
    hub.kill();
    assert_eq!(notes.next().unwrap(), "note: the connection to the hub broke; opening it again");
    let again = Start { listen, ..Start::default() }.start(data.path()).unwrap();
    let note = notes.next().unwrap();
    assert!(note.contains("connected again; records written meanwhile are not shown"), "{note}");

    again.client().put_action("echo", "python:3", "def main(a):\n    print('heard')\n    return a\n").await;
    again.client().invoke("echo", &json!({"n": 1})).await;
    let mut shown = String::new();
    tail.0.stdout.as_mut().unwrap().read_to_string(&mut shown).unwrap();
    assert!(shown.contains("success  echo ") && shown.contains("\n    heard\n"), "{shown}");
    assert!(tail.0.wait().unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_say_what_and_where_and_what_to_do() {
    let home = Home::new();
    let cli = &home.cli;
    let usage = |args: &[&str], why: &str| {
        let ran = cli.run(args);
        assert_eq!(ran.code, 2, "{args:?}: {ran:?}");
        assert!(ran.err.contains(why), "{args:?}: {ran:?}");
    };
    usage(&["fire"], "<TRIGGER>");
    usage(&["fire", "t", "--param", "x"], "expected KEY=VALUE");
    usage(&["frie", "t"], "a similar subcommand exists: 'fire'");
    usage(&["explain", "rule", "r"], "--event");
    usage(&["search", "x", "--since", "yesterday"], "expected an age like 90s");
    usage(&["search", "x", "--aggs", "{"], "no JSON");
    usage(&["search", "x", "--limit", "1001"], "1000");
    usage(&["tail", "--limit", "0"], "--limit");

    assert!(cli.fails(&["fire", "nobody"]).contains("there is no trigger `nobody`"));
    assert!(cli.fails(&["explain", "rule", "nobody", "-p", "a=1"]).contains("there is no rule `nobody`"));
    assert!(cli.fails(&["apply", "-f", "gone.yaml"]).contains("cannot read gone.yaml: No such file"));
    cli.file("list.json", "[1]");
    let list = cli.fails(&["fire", "reading", "--payload", "list.json"]);
    assert!(list.contains("list.json: an array, but a JSON object was expected"), "{list}");
    let bad = cli.fails(&["search", "name:("]);
    assert!(bad.starts_with("error: "), "{bad}");

    let wrong_key = format!("{}:{}", "23bc46b1-71f6-4ed5-8c54-816aa4f8c502", "x".repeat(64));
    let mut command = cli.command(&["feeds"]);
    let ran = ended(command.env("TRIGGERFISH_AUTH", &wrong_key));
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.err.contains("The supplied authentication is invalid"), "{ran:?}");
    assert!(ran.err.contains("the key came from the variable TRIGGERFISH_AUTH"), "{ran:?}");
    assert!(!ran.err.contains(&"x".repeat(64)), "{ran:?}");

    // Nothing listens on the port of a hub that has stopped.
    let gone = Cli::new(home.hub.address());
    let Home { hub, .. } = home;
    assert!(hub.stop().success());
    let error = gone.fails(&["feeds"]);
    assert!(error.contains("cannot reach the hub at http://127.0.0.1:"), "{error}");
    assert!(
        error.contains("refused") && error.contains("start one with `triggerfish serve --dev`"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn host_and_key_come_from_wskprops_as_well() {
    let data = tempfile::tempdir().unwrap();
    let hub = Hub::start(data.path());
    let cli = Cli::new("");
    let (uuid, key) = crate::support::client::KEY;
    cli.file(".wskprops", &format!("APIHOST=http://{}\nAUTH={uuid}:{key}\nNAMESPACE=_\n", hub.address()));
    let mut command = cli.command(&["feeds", "--json"]);
    let ran = ended(command.env_remove("TRIGGERFISH_HOST"));
    assert_eq!(ran.json(), json!([]));
    let other = cli.file("other", "AUTH\n");
    let mut command = cli.command(&["feeds"]);
    let ran = ended(command.env("WSK_CONFIG_FILE", &other));
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.err.contains("line 1: expected KEY=VALUE"), "{ran:?}");
    assert!(Path::new(&other).exists());
}

#[test]
fn a_preview_of_a_clock_needs_no_hub() {
    let preview = |more: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_triggerfish"));
        command.args(["feeds", "preview"]).args(more).env_clear();
        command.output().unwrap()
    };
    let zone = [
        "--cron",
        "30 2 * * *",
        "--timezone",
        "America/New_York",
        "--from",
        "2026-03-07T12:00:00Z",
        "--count",
        "2",
    ];
    let output = preview(&zone);
    assert!(output.status.success(), "{output:?}");
    let expected = "{\"at\":\"2026-03-08T07:00:00Z\",\"local\":\"2026-03-08T03:00:00-04:00\",\"mark\":\"gap\"}\n\
                    {\"at\":\"2026-03-09T06:30:00Z\",\"local\":\"2026-03-09T02:30:00-04:00\",\"mark\":null}\n";
    assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
    assert_eq!(preview(&["--cron", "* * * * *"]).stdout.iter().filter(|byte| **byte == b'\n').count(), 10);
    for (wrong, text) in [
        (["--cron", "* * *"].as_slice(), "`* * *` is no cron pattern"),
        (&["--cron", "* * * * *", "--timezone", "Mars"], "`Mars` is no time zone"),
        (&["--cron", "* * * * *", "--from", "noon"], "--from `noon` is no moment"),
    ] {
        let output = preview(wrong);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains(text), "{error}");
    }
}
