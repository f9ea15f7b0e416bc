//! Starting and stopping: refusals are clear, and nothing that was accepted is lost.

use std::io::BufRead;

use serde_json::json;

use crate::support::eventually;
use crate::support::hub::{Hub, Start};

#[tokio::test(flavor = "multi_thread")]
async fn a_second_hub_and_bad_settings_are_refused_with_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let _hub = Hub::start(directory.path());
    let refused = |start: Start| start.start(directory.path()).err().expect("it must not start");
    let second = refused(Start::default());
    assert!(second.contains("another hub (process"), "{second}");
    let unknown = refused(Start::default().env("TRIGGERFISH_EVENTS__KEEP_HOUR", "1"));
    assert!(unknown.contains("did you mean `keep_hours`?"), "{unknown}");
    let open = refused(Start { listen: Some("0.0.0.0:0".into()), ..Start::default() });
    assert!(open.contains("no loopback address"), "{open}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_and_a_clock_fire_their_triggers() {
    let directory = tempfile::tempdir().unwrap();
    let hub = Hub::start(directory.path());
    let client = hub.client();
    client
        .put_action("echo", "python:3", "def main(a):\n    return {'got': a.get('room') or a.get('tick')}\n")
        .await;
    client.put("triggers/hook", &json!({})).await;
    client.put_rule("of-hook", "hook", "echo", json!({"pattern": {"room": [{"exists": true}]}})).await;
    let (status, body) = client.create_feed("webhook/feed", "hook", json!({"idHeader": "x-id"})).await;
    assert_eq!(status, 200, "{body}");
    let post = async |id: &str, body: &'static str| {
        let url = format!("http://{}/hooks/guest/hook", hub.address());
        let request = reqwest::Client::new().post(url).header("x-id", id).body(body);
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!(post("1", "{\"room\":7}").await, 202);
    assert_eq!(post("1", "{\"room\":7}").await, 202, "a repeated delivery is taken, and dropped");
    assert_eq!(post("2", "{\"other\":7}").await, 202);

    client.put("triggers/clock", &json!({})).await;
    client.put_rule("of-clock", "clock", "echo", json!({})).await;
    let every_second = json!({"cron": "* * * * * *", "trigger_payload": {"tick": true}, "maxTriggers": 2});
    let (status, body) = client.create_feed("alarms/alarm", "clock", every_second).await;
    assert_eq!(status, 200, "{body}");
    let (status, body) = client.create_feed("alarms/alarm", "clock", json!({"cron": "not a pattern"})).await;
    assert_eq!(status, 502, "{body}");

    let runs = eventually("one run of the webhook and two of the clock", async || {
        let runs = client.all_activations("echo").await;
        (runs.len() >= 3).then_some(runs)
    })
    .await;
    assert_eq!(runs.len(), 3, "{runs:?}");
    assert!(runs.iter().all(|run| run["response"]["success"] == json!(true)), "{runs:?}");
    assert!(hub.stop().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_that_stops_answers_those_who_wait() {
    let directory = tempfile::tempdir().unwrap();
    let hub = Start::default().env("TRIGGERFISH_SHUTDOWN_SECONDS", "5").start(directory.path()).unwrap();
    let client = hub.client();
    let code = "def main(a):\n    import time\n    time.sleep(a['s'])\n    return {'slept': a['s']}\n";
    client.put_action("sleep", "python:3", code).await;
    let call = |s: f64| {
        let client = client.clone();
        tokio::spawn(async move {
            client.try_send("POST", "actions/sleep?blocking=true", Some(&json!({ "s": s }))).await
        })
    };
    let (short, long) = (call(3.0), call(30.0));
    let metrics = format!("http://{}/metrics", hub.address());
    eventually("both are in the log", async || {
        let (_, text) = client.send("GET", &metrics, None).await;
        text.as_str()?.contains("triggerfish_invocations_pending 2\n").then_some(())
    })
    .await;
    let stopping = tokio::task::spawn_blocking(move || hub.stop());
    let (status, body) = short.await.unwrap().unwrap();
    assert_eq!((status, &body["response"]["result"]), (200, &json!({ "slept": 3.0 })), "{body}");
    // One that goes on for longer than the hub does is accepted: it runs again after the restart.
    let (status, body) = long.await.unwrap().unwrap();
    assert_eq!((status, body["activationId"].is_string()), (202, true), "{body}");
    assert!(stopping.await.unwrap().success());
}

#[tokio::test]
async fn dev_keys_do_not_get_into_a_directory_that_has_keys_of_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let start = |dev: &[&str]| {
        let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_triggerfish"))
            .arg("serve")
            .args(dev)
            .args(["--listen", "127.0.0.1:0", "--data-dir"])
            .arg(directory.path())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = std::io::BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let end = lines.find(|line| line.contains("the hub is ready") || line.contains("error"));
        // It may have ended already.
        let _ = child.kill();
        let _ = child.wait();
        end.unwrap_or_default()
    };
    assert!(start(&[]).contains("the hub is ready"));
    let refused = start(&["--dev"]);
    assert!(refused.contains("made without --dev"), "{refused}");
    assert!(start(&[]).contains("the hub is ready"), "it is as it was");
}
