//! `webhook/feed` on the real hub: senders as they are, what they ask before they send, and what is refused.

use std::collections::BTreeMap;

use hmac::{Hmac, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::github::refusals;
use crate::support::client::Client;
use crate::support::hub::{Hub, Start};

const SECRET: &str = "geheim-geheim";

fn mac(text: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(text.as_bytes());
    hex::encode(mac.finalize().into_bytes())
}

/// Makes the feed of a new trigger that records all; the address that its answer tells.
async fn feed(client: &Client, trigger: &str, params: Value) -> String {
    client.put(&format!("triggers/{trigger}"), &json!({})).await;
    let mut params = params;
    params["record"] = json!("all");
    let (status, body) = client.create_feed("webhook/feed", trigger, params).await;
    assert_eq!(status, 200, "{body}");
    body["response"]["result"]["url"].as_str().unwrap().to_owned()
}

fn http() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().unwrap()
}

/// Status and text of an answer.
async fn sent(request: reqwest::RequestBuilder) -> (u16, String) {
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

const ONE: &str = r#"{"accepted":1,"duplicates":0}"#;
const AGAIN: &str = r#"{"accepted":0,"duplicates":1}"#;

#[tokio::test(flavor = "multi_thread")]
async fn senders_are_taken_as_they_sign_and_answered_as_they_ask() {
    let directory = tempfile::tempdir().unwrap();
    let hub = Hub::start(directory.path());
    let (client, http) = (hub.client(), http());
    let now = jiff::Timestamp::now().as_second();

    // Slack: the address is asked for first, then events come, each perhaps again.
    let slack = feed(&client, "slack", json!({"scheme": "slack", "secret": SECRET})).await;
    let post = |body: &'static str, at: i64| {
        http.post(&slack)
            .header("x-slack-request-timestamp", at.to_string())
            .header("x-slack-signature", format!("v0={}", mac(&format!("v0:{at}:{body}"))))
            .header("content-type", "application/json")
            .body(body)
    };
    let challenge = r#"{"token":"x","challenge":"3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P","type":"url_verification"}"#;
    let answer = sent(post(challenge, now)).await;
    assert_eq!(answer, (200, "3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P".into()));
    let event =
        r#"{"type":"event_callback","event_id":"Ev1","event":{"type":"app_mention","text":"<@U1> hi"}}"#;
    assert_eq!(sent(post(event, now)).await, (202, ONE.into()));
    assert_eq!(sent(post(event, now - 10).header("x-slack-retry-num", "1")).await, (202, AGAIN.into()));
    assert_eq!(sent(post(event, now - 1000)).await.0, 401, "replayed much later");

    // Stripe: the time is part of the signature's header.
    let stripe = feed(&client, "stripe", json!({"scheme": "stripe", "secret": SECRET})).await;
    let body = r#"{"id":"evt_1","object":"event","type":"charge.succeeded"}"#;
    let signed = |at: i64| {
        format!(
            "t={at},v1={},v0=6ffbb59b2300aae63f272406069a9788598b792a944a07aba816edb039989a39",
            mac(&format!("{at}.{body}"))
        )
    };
    let post = |signature: String| http.post(&stripe).header("stripe-signature", signature).body(body);
    assert_eq!(sent(post(signed(now))).await, (202, ONE.into()));
    assert_eq!(sent(post(signed(now - 200))).await, (202, AGAIN.into()));
    assert_eq!(sent(post(signed(now - 400))).await.0, 401);

    // GitLab: the secret itself, and a key by which it repeats.
    let gitlab = feed(&client, "gitlab", json!({"scheme": "gitlab", "secret": SECRET})).await;
    let post = |token: &str| {
        http.post(&gitlab).header("x-gitlab-token", token).header("idempotency-key", "k").body("{}")
    };
    assert_eq!(sent(post(SECRET)).await, (202, ONE.into()));
    assert_eq!(sent(post(SECRET)).await, (202, AGAIN.into()));
    assert_eq!(sent(post("guess")).await.0, 401);

    // Azure Event Grid: CloudEvents, whose sender asks with OPTIONS; the same event in each mode is the same event.
    let events = feed(&client, "events", json!({"format": "cloudevents", "handshake": "cloudevents"})).await;
    let options = http
        .request("OPTIONS".parse().unwrap(), &events)
        .header("webhook-request-origin", "eventgrid.azure.net");
    let answer = options.header("webhook-request-rate", "100").send().await.unwrap();
    let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(answer.status().as_u16(), 200);
    assert_eq!(
        (header("webhook-allowed-origin"), header("webhook-allowed-rate")),
        ("eventgrid.azure.net".into(), "100".into())
    );
    let event = |id: &str| json!({"specversion": "1.0", "type": "t", "source": "/s", "id": id, "datacontenttype": "application/json", "data": {"n": 1}});
    let post =
        |kind: &str, body: Value| http.post(&events).header("content-type", kind).body(body.to_string());
    assert_eq!(sent(post("application/cloudevents+json", event("1"))).await, (202, ONE.into()));
    let binary = post("application/json", json!({"n": 1}))
        .header("ce-specversion", "1.0")
        .header("ce-type", "t")
        .header("ce-source", "/s");
    assert_eq!(sent(binary.header("ce-id", "1")).await, (202, AGAIN.into()));
    let batch = json!([event("1"), event("2"), event("3")]);
    let answer = sent(post("application/cloudevents-batch+json", batch)).await;
    assert_eq!(answer, (202, r#"{"accepted":2,"duplicates":1}"#.into()));
    let mut broken = event("4");
    broken["type"] = json!("");
    let answer = sent(post("application/cloudevents-batch+json", json!([event("5"), broken]))).await;
    assert!(answer.0 == 400 && answer.1.contains("the batch's event 1 has no type"), "{answer:?}");
    let records = client.all_activations("events").await;
    assert_eq!(records.len(), 3, "of a batch that is refused nothing is taken");
    assert_eq!(records[0]["response"]["result"]["data"], json!({"n": 1}));

    // A sender of one's own, in the form of the presets.
    let scheme = json!({"header": "X-Sign", "signed": "{timestamp}:{body}", "timestampHeader": "X-Time", "prefix": "mac "});
    let own = feed(
        &client,
        "own",
        json!({"scheme": scheme, "secret": ["the-next-secret", SECRET], "idField": "/id"}),
    )
    .await;
    let signed = format!("mac {}", mac(&format!("{now}:{}", r#"{"id":7}"#)));
    let request =
        http.post(&own).header("x-time", now.to_string()).header("x-sign", signed).body(r#"{"id":7}"#);
    assert_eq!(sent(request).await, (202, ONE.into()));
    let expected = [("signature", 1), ("timestamp", 2), ("malformed", 1)]
        .map(|(reason, count)| (reason.to_owned(), count));
    assert_eq!(refusals(&hub, "webhook/feed").await, BTreeMap::from(expected));
    assert!(hub.stop().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn methods_types_and_forms_are_as_the_feed_says_and_refusals_have_their_status() {
    let directory = tempfile::tempdir().unwrap();
    let start = Start::default()
        .env("TRIGGERFISH_PUBLIC_URL", "https://hub.example/behind/a/proxy")
        .env("TRIGGERFISH_EVENTS__BYTES_MAX", "1000");
    let hub = start.start(directory.path()).unwrap();
    let (client, http) = (hub.client(), http());
    let params = json!({"methods": ["POST", "PUT"], "contentTypes": ["application/json", "application/x-www-form-urlencoded"], "idHeader": "X-Id"});
    assert_eq!(feed(&client, "t", params).await, "https://hub.example/behind/a/proxy/hooks/guest/t");
    let url = format!("http://{}/hooks/guest/t", hub.address());
    let request = |method: &str, id: &str, kind: &str, body: String| {
        http.request(method.parse().unwrap(), &url).header("x-id", id).header("content-type", kind).body(body)
    };
    let form = request("PUT", "1", "application/x-www-form-urlencoded", "a=1&b=x+y&b=z".into());
    // Whatever the sender takes: it is done.
    assert_eq!(sent(form.header("accept", "text/html")).await, (202, ONE.into()));
    let (_, json) = ("", "application/json");
    for (request, status) in [
        (request("GET", "2", json, String::new()), 405),
        (request("DELETE", "2", json, String::new()), 405),
        (request("POST", "2", "text/plain", "x".into()), 415),
        (request("POST", "", json, "{}".into()), 400),
        (request("POST", "2", json, "x".repeat(1001)), 413),
    ] {
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status().as_u16(), status);
        if status == 405 {
            assert_eq!(answer.headers()["allow"], "POST, PUT");
        }
        let body: Value = answer.json().await.unwrap();
        assert!(body["error"].is_string() && body["code"].is_string(), "{body}");
    }
    let expected = [("content_type", 1), ("id", 1), ("method", 2), ("too_large", 1)];
    let expected = expected.map(|(reason, count)| (reason.to_owned(), count));
    assert_eq!(refusals(&hub, "webhook/feed").await, BTreeMap::from(expected));
    let records = client.all_activations("t").await;
    let result = &records[0]["response"]["result"];
    assert_eq!((records.len(), &result["a"], &result["b"]), (1, &json!("1"), &json!(["x y", "z"])));
    let status = &client.get("feeds").await[0]["status"];
    assert_eq!((&status["events"], &status["refused"]), (&json!(1), &json!(5)));
    assert!(hub.stop().success());
}
