//! Webhooks sent by the senders' own libraries, as `scripts/setup.sh` installs them from npm: signatures and CloudEvents that
//! this project has no part in.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::hub::Hub;

const SECRET: &str = "whsec_of-stripe-and-github";
const STANDARD_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

async fn feed(client: &Client, trigger: &str, params: Value) -> Value {
    client.put(&format!("triggers/{trigger}"), &json!({})).await;
    let mut params = params;
    params["record"] = json!("all");
    let (status, body) = client.create_feed("webhook/feed", trigger, params).await;
    assert_eq!(status, 200, "{body}");
    body["response"]["result"]["url"].clone()
}

/// What `senders.mjs` printed.
fn send(input: &Value) -> Value {
    let libraries = PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache/triggerfish/senders-1");
    assert!(libraries.join("done").exists(), "{}: run scripts/setup.sh", libraries.display());
    let mut node = Command::new("node")
        .args(["--input-type=module", "-"])
        .current_dir(libraries)
        .env("SENDERS", input.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("node is missing: apt-get install nodejs");
    node.stdin.take().unwrap().write_all(include_bytes!("senders.mjs")).unwrap();
    let output = node.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_senders_own_libraries_sign_and_make_is_taken() {
    let directory = tempfile::tempdir().unwrap();
    let hub = Hub::start(directory.path());
    let client = hub.client();
    let urls = json!({
        "github": feed(&client, "github", json!({"scheme": "github", "secret": SECRET})).await,
        "stripe": feed(&client, "stripe", json!({"scheme": "stripe", "secret": SECRET})).await,
        "standard": feed(&client, "standard", json!({"scheme": "standard-webhooks", "secret": STANDARD_SECRET})).await,
        "cloudevents": feed(&client, "cloudevents", json!({"format": "cloudevents"})).await,
    });
    let input = json!({"urls": urls, "secret": SECRET, "standardSecret": STANDARD_SECRET});
    let results = tokio::task::spawn_blocking(move || send(&input)).await.unwrap();
    let taken =
        |accepted: u64, duplicates: u64| json!([202, {"accepted": accepted, "duplicates": duplicates}]);
    for sender in ["github", "stripe", "standard"] {
        assert_eq!(results[sender][0], taken(1, 0), "{sender}");
        assert_eq!(results[sender][1][0], 401, "changed, old, or of another id: {sender}: {results}");
    }
    // The same event in each mode; only the batch has a new one.
    assert_eq!(results["cloudevents"], json!([taken(1, 0), taken(0, 1), taken(1, 1)]));
    let records = client.all_activations("cloudevents").await;
    for record in &records {
        let event = &record["response"]["result"];
        assert_eq!(event["data"], json!({"n": 1.5, "text": "ü"}), "{record}");
        assert_eq!((&event["source"], &event["type"]), (&json!("/a/place"), &json!("com.example.t")));
        assert_eq!(event["subject"], "a \"quoted\" %");
    }
    assert_eq!(client.all_activations("github").await[0]["response"]["result"]["umlaut"], "ü");
    assert!(hub.stop().success());
}
