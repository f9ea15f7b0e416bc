//! What a namespace may run is looked at when it runs, and what others send does not take the hub's memory.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use base64::Engine;
use serde_json::{Value, json};

use crate::support::client::KEY;
use crate::support::eventually;
use crate::support::hub::{Hub, Start};

/// A body that a webhook may have, in bytes.
const LARGE: usize = 25_000_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_package_that_is_no_longer_public_is_not_run_by_the_rules_and_sequences_of_others() {
    let directory = tempfile::tempdir().unwrap();
    let key = "k".repeat(64);
    let uuid = "22222222-2222-2222-2222-222222222222";
    let config = directory.path().join("triggerfish.toml");
    std::fs::write(&config, format!("[[namespaces]]\nname = \"alice\"\nkey = \"{uuid}:{key}\"\n")).unwrap();
    let start = Start { args: vec!["--config".into(), config.display().to_string()], ..Start::default() };
    let hub = start.start(&directory.path().join("data")).unwrap();
    let as_alice = async |path: &str, body: Value| {
        let url = format!("http://{}/api/v1/namespaces/alice/{path}?overwrite=true", hub.address());
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let answer = http.put(url).basic_auth(uuid, Some(&key)).json(&body).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
    };
    let secret = json!([{"key": "tok", "value": "alice's own"}]);
    as_alice("packages/pub", json!({"publish": true, "parameters": secret})).await;
    let code = "function main(a) { return {tok: a.tok}; }";
    as_alice("actions/pub/a", json!({"exec": {"kind": "nodejs:20", "code": code}})).await;

    let client = hub.client();
    let sequence = json!({"exec": {"kind": "sequence", "components": ["/alice/pub/a"]}});
    client.put("actions/s", &sequence).await;
    client.put("triggers/t", &json!({})).await;
    client.put("rules/r", &json!({"trigger": "/_/t", "action": "/alice/pub/a"})).await;
    assert_eq!(client.invoke("s", &json!({})).await, (200, json!({"tok": "alice's own"})));

    as_alice("packages/pub", json!({"publish": false})).await;
    let (status, answer) = client.invoke("s", &json!({})).await;
    assert_eq!((status, &answer), (502, &json!({"error": "Sequence component does not exist."})));
    let (status, fired) = client.post("triggers/t", &json!({})).await;
    if status == 202 {
        let path = format!("activations/{}", fired["activationId"].as_str().unwrap());
        let record = client.get(&path).await.to_string();
        assert!(record.contains("\\\"success\\\":false"), "the rule started nothing: {record}");
    }
    let runs = client.get("activations?name=pub/a&docs=true").await;
    assert_eq!(runs.as_array().unwrap().len(), 1, "the sequence's run from before: {runs}");
}

/// Opens 14 connections with the head of a request whose body is still to come; those that wait for it, and what the others
/// were answered.
fn claims(hub: &Hub, head: &str) -> (Vec<TcpStream>, Vec<String>) {
    let (mut waiting, mut refused) = (Vec::new(), Vec::new());
    for _ in 0..14 {
        let mut stream = TcpStream::connect(hub.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        stream.write_all(format!("{head}Host: hub\r\nContent-Length: {LARGE}\r\n\r\n").as_bytes()).unwrap();
        let mut bytes = [0; 1024];
        match stream.read(&mut bytes) {
            Ok(read) => refused.push(String::from_utf8_lossy(&bytes[..read]).into_owned()),
            Err(_) => waiting.push(stream),
        }
    }
    (waiting, refused)
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_are_still_to_come_take_a_bounded_share_of_memory() {
    let directory = tempfile::tempdir().unwrap();
    let start = Start::default().env("TRIGGERFISH_EVENTS__BYTES_MAX", &LARGE.to_string());
    let hub = start.start(directory.path()).unwrap();
    let client = hub.client();
    client.put("triggers/hook", &json!({})).await;
    assert_eq!(client.create_feed("webhook/feed", "hook", json!({})).await.0, 200);
    // Where there is no webhook, nobody takes room for a body.
    let (unwanted, _) = claims(&hub, "POST /hooks/no/such HTTP/1.1\r\n");
    // Where there is one, all senders together take a share that is not the callers'.
    let (senders, refused) = claims(&hub, "POST /hooks/guest/hook HTTP/1.1\r\n");
    assert_eq!(senders.len(), (128 << 20) / LARGE, "as many as there is room for: {refused:?}");
    assert!(refused.iter().all(|text| text.starts_with("HTTP/1.1 503 ")), "{refused:?}");
    let key = base64::engine::general_purpose::STANDARD.encode(format!("{}:{}", KEY.0, KEY.1));
    let head = format!("PUT /api/v1/namespaces/_/actions/a HTTP/1.1\r\nAuthorization: Basic {key}\r\n");
    let (waiting, refused) = claims(&hub, &head);
    assert_eq!(waiting.len(), (256 << 20) / LARGE, "as many as there is room for: {refused:?}");
    assert!(refused.iter().all(|text| text.starts_with("HTTP/1.1 503 ")), "{refused:?}");
    assert!(refused[0].to_lowercase().contains("retry-after: 1"), "{refused:?}");
    drop((unwanted, senders));
    // Small requests go on beside them, and large ones once they are gone.
    client.put("triggers/t", &json!({})).await;
    drop(waiting);
    let code = format!("function main() {{ return {{}}; }} // {}", "x".repeat(1 << 20));
    let body = json!({"exec": {"kind": "nodejs:20", "code": code}});
    eventually("a large body is taken again", async || {
        let (status, _) = client.send("PUT", "actions/large?overwrite=true", Some(&body)).await;
        (status == 200).then_some(())
    })
    .await;
}
