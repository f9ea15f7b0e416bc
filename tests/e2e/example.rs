//! The examples as their READMEs have them. `iot-sensors`: a real Mosquitto, its own simulator, until alerts are recorded.
//! `github-push`: its own sender of a real push.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::cli::Cli;
use crate::support::broker::Broker;
use crate::support::eventually;
use crate::support::hub::Hub;

/// The example's simulator; it ends when this is dropped.
struct Simulator(Child);

impl Simulator {
    /// The same seed gives the same incidents: a room heats up from the third reading on.
    fn start(example: &Path, port: u16) -> Self {
        let child = Command::new("python3")
            .arg(example.join("simulator.py"))
            .args(["--port", &port.to_string(), "--seed", "7", "--every", "0.05", "--readings", "400"])
            .stdin(Stdio::null())
            .spawn()
            .expect("python3 is missing: apt-get install python3");
        Self(child)
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        // It may have ended by itself; its publishers end with their standard input.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sensors_readings_become_alerts() {
    let data = tempfile::tempdir().unwrap();
    let broker_data = tempfile::tempdir().unwrap();
    let broker = Broker::start(broker_data.path(), "");
    let hub = Hub::start(data.path());
    let cli = Cli::new(hub.address());
    let example = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("examples/iot-sensors");
    let manifest = example.join("manifest.yaml");
    let variable = format!("MQTT_URL={}", broker.url());
    let apply = ["apply", "-f", manifest.to_str().unwrap(), "--var", &variable];
    let first = cli.ok(&apply);
    assert!(first.contains("6 created, 0 updated, 0 unchanged"), "{first}");
    eventually("the feed has subscribed", async || {
        let feeds = cli.run(&["feeds", "--json"]).json();
        (feeds[0]["status"]["state"] == json!("running")).then_some(())
    })
    .await;

    let _simulator = Simulator::start(&example, broker.port);
    let client = hub.client();
    let alerts = eventually("ten alerts are recorded", async || {
        let alerts = client.all_activations("iot-sensors/alert").await;
        (alerts.len() >= 10).then_some(alerts)
    })
    .await;
    for alert in &alerts {
        assert_eq!(alert["response"]["success"], json!(true), "{alert}");
        let text = alert["response"]["result"]["alert"].as_str().unwrap();
        assert!(text.starts_with("WARNING: ") || text.starts_with("CRITICAL: "), "{alert}");
        assert!(
            alert["logs"][0].as_str().unwrap().contains(text),
            "what the action printed is its log: {alert}"
        );
    }
    // Each alert is the second step of a sequence that a reading started, and only suspicious readings start one.
    let fires = client.all_activations("reading").await;
    for fire in &fires {
        let reading = &fire["response"]["result"]["body"];
        let celsius = reading["celsius"].as_f64();
        let suspicious = reading["status"] != json!("ok") || celsius.is_some_and(|celsius| celsius > 4.0);
        assert!(suspicious, "{fire}");
    }
    assert!(fires.len() >= alerts.len(), "{} fires, {} alerts", fires.len(), alerts.len());
    let feeds: Value = cli.run(&["feeds", "--json"]).json();
    let events = feeds[0]["status"]["events"].as_u64().unwrap();
    assert!(
        events > fires.len() as u64,
        "readings that no rule matched are counted and not recorded: {feeds}"
    );
    let second = cli.ok(&apply);
    assert!(second.contains("0 created, 0 updated, 6 unchanged"), "{second}");
}

/// What `push.py` of `examples/github-push` printed, and whether it succeeded.
fn push(example: &Path, hub: &Hub, secret: &str, args: &[&str]) -> (bool, String) {
    let url = format!("http://{}/hooks/github/guest/push", hub.address());
    let output = Command::new("python3")
        .arg(example.join("push.py"))
        .args(["--url", &url])
        .args(args)
        .env("GITHUB_SECRET", secret)
        .stdin(Stdio::null())
        .output()
        .expect("python3 is missing: apt-get install python3");
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).trim().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_runs_the_sequence_that_tells_of_it() {
    let data = tempfile::tempdir().unwrap();
    let hub = Hub::start(data.path());
    let cli = Cli::new(hub.address());
    let example = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("examples/github-push");
    let manifest = example.join("manifest.yaml");
    let apply = ["apply", "-f", manifest.to_str().unwrap(), "--var", "GITHUB_SECRET=a long random text"];
    let first = cli.ok(&apply);
    assert!(first.contains("6 created, 0 updated, 0 unchanged"), "{first}");
    let secret = "a long random text";
    let one = r#"202 {"accepted":1,"duplicates":0}"#.to_owned();
    assert_eq!(push(&example, &hub, secret, &["--delivery", "first"]), (true, one.clone()));
    assert_eq!(push(&example, &hub, secret, &["--delivery", "second", "--form"]), (true, one));
    let again = r#"202 {"accepted":0,"duplicates":1}"#.to_owned();
    assert_eq!(push(&example, &hub, secret, &["--delivery", "first"]), (true, again));
    let (succeeded, text) = push(&example, &hub, "guessed-wrong", &[]);
    assert!(!succeeded && text.starts_with("push.py: 401 "), "{text}");

    let client = hub.client();
    let messages = eventually("both pushes are announced", async || {
        let records = client.all_activations("github-push/announce").await;
        (records.len() >= 2).then_some(records)
    })
    .await;
    assert_eq!(messages.len(), 2);
    for message in &messages {
        assert_eq!(message["response"]["success"], json!(true), "{message}");
        let text = message["response"]["result"]["message"].as_str().unwrap();
        let expected =
            "Codertocat pushed 1 commit to Codertocat/Hello-World (master): 1 added\n  - Initial commit\n";
        assert!(text.starts_with(expected), "{text}");
    }
    let second = cli.ok(&apply);
    assert!(second.contains("0 created, 0 updated, 6 unchanged"), "{second}");
}
