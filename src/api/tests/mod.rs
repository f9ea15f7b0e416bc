//! The API in process, over a backend in memory: what the recordings cannot show, being our own.

mod fake;

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, Response};
use base64::Engine;
use futures::StreamExt;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use triggerfish_feeds::hook::HookReason;
use triggerfish_model::Json;

use super::backend::Refusal;
use fake::{Fake, KEY, identity};

/// A server over a fake backend, and a client of it.
struct Server {
    fake: Arc<Fake>,
    base: String,
    http: reqwest::Client,
}

impl Server {
    async fn start() -> Self {
        let fake = Fake::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let router = super::router(fake.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { fake, base, http: reqwest::Client::builder().no_proxy().build().unwrap() }
    }

    fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let url = match path.strip_prefix("ns/") {
            Some(rest) => format!("{}/api/v1/namespaces/_/{rest}", self.base),
            None => format!("{}{path}", self.base),
        };
        self.http.request(method.parse().unwrap(), url).basic_auth("guest", Some(KEY))
    }

    async fn send(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let request = self.request(method, path);
        let request = if body.is_null() { request } else { request.json(&body) };
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    /// A trigger `t`, an action `a` and an active rule `r` between them.
    async fn with_rule(&self, conditions: Value) -> (u16, Value) {
        assert_eq!(self.send("PUT", "ns/triggers/t", json!({})).await.0, 200);
        let exec = json!({ "exec": { "kind": "python:default", "code": "def main(a): return a" } });
        assert_eq!(self.send("PUT", "ns/actions/a", exec).await.0, 200);
        let mut rule = json!({ "trigger": "/_/t", "action": "/_/a" });
        rule.as_object_mut().unwrap().extend(conditions.as_object().unwrap().clone());
        self.send("PUT", "ns/rules/r", rule).await
    }
}

#[tokio::test]
async fn conditions_of_a_rule_are_fields_or_annotations() {
    let server = Server::start().await;
    let pattern = json!({ "kind": ["a"] });
    let (status, rule) = server
        .with_rule(json!({ "pattern": pattern, "annotations": [{ "key": "when", "value": "event.x > 1" }] }))
        .await;
    assert_eq!(status, 200, "{rule}");
    assert_eq!((&rule["pattern"], &rule["when"], rule.get("with")), (&pattern, &json!("event.x > 1"), None));
    // What is not named stays; null removes; an annotation that is left out takes its condition with it.
    let (_, rule) = server.send("PUT", "ns/rules/r?overwrite=true", json!({ "with": "event" })).await;
    assert_eq!(
        (&rule["pattern"], &rule["when"], &rule["with"]),
        (&pattern, &json!("event.x > 1"), &json!("event"))
    );
    let change = json!({ "pattern": null, "annotations": [] });
    let (_, rule) = server.send("PUT", "ns/rules/r?overwrite=true", change).await;
    assert_eq!((rule.get("pattern"), rule.get("when"), &rule["with"]), (None, None, &json!("event")));
    assert_eq!(server.send("GET", "ns/rules/r", Value::Null).await.1, rule);
}

#[tokio::test]
async fn a_bad_condition_is_refused_and_nothing_is_written() {
    let server = Server::start().await;
    let (status, answer) = server.with_rule(json!({ "when": "bad" })).await;
    assert_eq!((status, &answer["error"]), (400, &json!("`when`, column 1: expected an expression")));
    let (status, answer) = server.with_rule_again(json!({ "when": 5 })).await;
    assert_eq!(status, 400, "{answer}");
    assert_eq!(server.send("GET", "ns/rules/r", Value::Null).await.0, 404);
    assert_eq!(server.send("GET", "ns/triggers/t", Value::Null).await.1.get("rules"), None);
}

impl Server {
    async fn with_rule_again(&self, conditions: Value) -> (u16, Value) {
        let mut rule = json!({ "trigger": "/_/t", "action": "/_/a" });
        rule.as_object_mut().unwrap().extend(conditions.as_object().unwrap().clone());
        self.send("PUT", "ns/rules/r?overwrite=true", rule).await
    }
}

#[tokio::test]
async fn explanations_name_the_trigger_of_a_rule() {
    let server = Server::start().await;
    server.with_rule(json!({})).await;
    let (status, said) = server.send("POST", "ns/rules/r/_explain", json!({ "x": 1 })).await;
    assert_eq!(
        (status, said),
        (200, json!({ "trigger": "guest/t", "rule": "guest/r", "event": { "x": 1 } }))
    );
    let (status, said) = server.send("POST", "ns/triggers/t/_explain", json!({})).await;
    assert_eq!((status, said), (200, json!({ "trigger": "guest/t", "rule": null, "event": {} })));
    assert_eq!(server.send("POST", "ns/triggers/nosuch/_explain", json!({})).await.0, 404);
}

#[tokio::test]
async fn a_full_hub_says_when_to_try_again() {
    let server = Server::start().await;
    server.with_rule(json!({})).await;
    let retry_after = Duration::from_secs(3);
    for (refusal, status) in [
        (Refusal::OverShare { why: "`guest` has 2 pending events".into(), retry_after }, 429),
        (Refusal::Unavailable { why: "no room".into(), retry_after }, 503),
    ] {
        *server.fake.refusal.lock() = Some(refusal.clone());
        let response = server.request("POST", "ns/triggers/t").json(&json!({})).send().await.unwrap();
        assert_eq!(
            (response.status().as_u16(), &response.headers()["retry-after"]),
            (status, &"3".parse().unwrap())
        );
        let answer: Value = response.json().await.unwrap();
        assert_eq!(answer["error"], json!(refusal.to_string()));
    }
}

#[tokio::test]
async fn searches_come_as_a_query_or_a_body() {
    let server = Server::start().await;
    let nothing = json!({ "total": 0, "tookMs": 0, "hits": [], "aggregations": null, "cursor": null });
    let get = server.send("GET", "ns/activations/_search?q=x&limit=5&since=1", Value::Null).await;
    assert_eq!(get, (200, nothing.clone()));
    assert_eq!(
        server.send("POST", "ns/activations/_search", json!({ "q": "x", "aggs": {} })).await,
        (200, nothing)
    );
    let (status, answer) = server.send("GET", "ns/activations/_search?q=(", Value::Null).await;
    assert_eq!((status, &answer["error"]), (400, &json!("column 1: a `)` is missing")));
    assert_eq!(server.send("POST", "ns/activations/_search", json!({ "quary": "x" })).await.0, 400);
    assert_eq!(server.send("GET", "ns/activations/_search?limit=1001", Value::Null).await.0, 400);
}

#[tokio::test]
async fn a_tail_streams_the_records_of_its_namespace() {
    let server = Server::start().await;
    let response = server.request("GET", "ns/activations/_tail").send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut events = response.bytes_stream();
    let mut seen = String::new();
    let mut until = async |text: &str| {
        while !seen.contains(text) {
            let chunk = tokio::time::timeout(Duration::from_secs(60), events.next()).await.unwrap();
            seen.push_str(std::str::from_utf8(&chunk.unwrap().unwrap()).unwrap());
        }
        seen.clone()
    };
    until(": listening\n\n").await;
    let action = "guest/a".parse().unwrap();
    server.fake.record(&identity("other"), &action, Json::from("theirs"));
    let ours = server.fake.record(&identity("guest"), &action, Json::from("ours"));
    let text = until("ours").await;
    assert!(
        text.contains(&format!("id: {}\nevent: activation\ndata: {{", ours.id)) && !text.contains("theirs"),
        "{text}"
    );
}

#[tokio::test]
async fn webhooks_need_no_key_and_reach_their_trigger() {
    let server = Server::start().await;
    let post = |path: &str, body: &str| {
        server.http.post(format!("{}{path}", server.base)).body(body.to_owned()).send()
    };
    for (path, text) in
        [("/hooks/guest/t", "POST /hooks guest/t"), ("/hooks/github/guest/t", "POST /hooks/github guest/t")]
    {
        let answer = post(path, "x").await.unwrap();
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()["x-content-type-options"]),
            (200, &"nosniff".parse().unwrap())
        );
        assert_eq!(answer.text().await.unwrap(), text);
    }
    let busy = post("/hooks/guest/t", "").await.unwrap();
    assert_eq!((busy.status().as_u16(), &busy.headers()["retry-after"]), (503, &"2".parse().unwrap()));
    assert_eq!(post("/hooks/guest", "x").await.unwrap().status(), 404);
    assert_eq!(*server.fake.refused.lock(), [(true, HookReason::Busy)]);
}

#[tokio::test]
async fn refused_webhooks_have_their_status_and_are_counted_once() {
    let server = Server::start().await;
    let send = |method: &str, path: &str, body: String| {
        server.http.request(method.parse().unwrap(), format!("{}{path}", server.base)).body(body).send()
    };
    let answer = send("PATCH", "/hooks/guest/t", String::new()).await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["allow"]),
        (405, &"POST, OPTIONS".parse().unwrap())
    );
    assert_eq!(send("POST", "/hooks/guest/t", "x".repeat((25 << 20) + 1)).await.unwrap().status(), 413);
    assert_eq!(send("POST", "/hooks/guest/none", "x".repeat(1 << 20)).await.unwrap().status(), 404);
    let expected = [(true, HookReason::Method), (true, HookReason::TooLarge), (false, HookReason::NotFound)];
    assert_eq!(*server.fake.refused.lock(), expected);
    // A browser's question is not a sender's.
    let url = format!("{}/hooks/guest/t", server.base);
    let options = || server.http.request("OPTIONS".parse().unwrap(), &url);
    assert_eq!(options().send().await.unwrap().text().await.unwrap(), "OK");
    let handshake = options().header("webhook-request-origin", "events.example").send().await.unwrap();
    assert_eq!(handshake.headers()["webhook-allowed-origin"], "*");
}

#[tokio::test(start_paused = true)]
async fn senders_to_webhooks_take_no_room_before_there_is_one_and_never_that_of_callers() {
    let router = super::router(Fake::new());
    let length = (25 << 20).to_string();
    let claim = |path: &str| {
        let never = futures::stream::pending::<Result<bytes::Bytes, std::io::Error>>();
        Request::post(path).header("content-length", &length).body(Body::from_stream(never)).unwrap()
    };
    let mut waiting: Vec<_> =
        (0..20).map(|_| tokio::spawn(raw(router.clone(), claim("/hooks/guest/none")))).collect();
    waiting.extend((0..5).map(|_| tokio::spawn(raw(router.clone(), claim("/hooks/guest/t")))));
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(waiting.iter().all(|request| !request.is_finished()), "their bodies do not come");
    let refused = raw(router.clone(), claim("/hooks/guest/t")).await;
    assert_eq!(refused.status(), 503, "five bodies fill the room of webhooks");
    let key = base64::engine::general_purpose::STANDARD.encode(format!("guest:{KEY}"));
    let call = Request::post("/api/v1/namespaces/_/triggers/t")
        .header("authorization", format!("Basic {key}"))
        .header("content-type", "application/json")
        .body(Body::from(format!("{{\"a\":\"{}\"}}", "x".repeat(1 << 19))))
        .unwrap();
    assert_eq!(raw(router, call).await.status(), 404, "a caller's body is read: there is no such trigger");
}

#[tokio::test]
async fn health_is_told_in_parts() {
    let server = Server::start().await;
    assert_eq!(server.send("GET", "/health/live", Value::Null).await, (200, json!({ "status": "ok" })));
    let not_ready = json!({ "ready": false, "parts": { "disk": "full" } });
    assert_eq!(server.send("GET", "/health/ready", Value::Null).await, (503, not_ready));
    assert_eq!(server.send("GET", "/metrics", Value::Null).await, (200, json!("# EOF\n")));
}

#[tokio::test]
async fn writes_that_cross_conflict_and_links_do_not_get_lost() {
    let server = Server::start().await;
    server.with_rule(json!({})).await;
    let rules = futures::future::join_all((0..8).map(|i| {
        let path = format!("ns/rules/x{i}");
        let server = &server;
        async move { server.send("PUT", &path, json!({ "trigger": "/_/t", "action": "/_/a" })).await.0 }
    }));
    assert!(rules.await.iter().all(|status| *status == 200));
    let (_, trigger) = server.send("GET", "ns/triggers/t", Value::Null).await;
    assert_eq!(trigger["rules"].as_object().unwrap().len(), 9);
}

/// A request by hand: what no HTTP client sends.
async fn raw(router: axum::Router, request: Request<Body>) -> Response<Body> {
    use hyper_util::service::TowerToHyperService;
    hyper::service::Service::call(&TowerToHyperService::new(router), request).await.unwrap()
}

#[tokio::test]
async fn a_body_of_unknown_length_is_bounded_all_the_same() {
    let fake = Fake::new();
    let chunk = bytes::Bytes::from(vec![b' '; 1 << 20]);
    let chunks = futures::stream::iter((0..3).map(move |_| Ok::<_, std::io::Error>(chunk.clone())));
    let key = base64::engine::general_purpose::STANDARD.encode(format!("guest:{KEY}"));
    let request = Request::post("/api/v1/namespaces/_/triggers/t")
        .header("authorization", format!("Basic {key}"))
        .body(Body::from_stream(chunks))
        .unwrap();
    let response = raw(super::router(fake), request).await;
    assert_eq!(response.status(), 413);
}

/// Time stands still but for the waits themselves.
#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_given_up() {
    let fake = Fake::new();
    let begun = futures::stream::iter([Ok::<_, std::io::Error>(bytes::Bytes::from("{\"a\":"))]);
    let body = Body::from_stream(begun.chain(futures::stream::pending()));
    let key = base64::engine::general_purpose::STANDARD.encode(format!("guest:{KEY}"));
    let request = Request::post("/api/v1/namespaces/_/triggers/t")
        .header("authorization", format!("Basic {key}"))
        .body(body)
        .unwrap();
    let response = raw(super::router(fake), request).await;
    assert_eq!(response.status(), 408);
    let text = axum::body::to_bytes(response.into_body(), 1 << 16).await.unwrap();
    assert!(String::from_utf8_lossy(&text).contains("a part of it every 30 s"), "{text:?}");
}

#[tokio::test(start_paused = true)]
async fn a_sender_to_a_webhook_has_the_time_that_senders_take() {
    let fake = Fake::new();
    // A little now and then, for ever.
    let drip = futures::stream::unfold((), |()| async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        Some((Ok::<_, std::io::Error>(bytes::Bytes::from_static(b" ")), ()))
    });
    let request = Request::post("/hooks/guest/t").body(Body::from_stream(drip)).unwrap();
    let begun = tokio::time::Instant::now();
    let asked = super::router(fake.clone());
    assert_eq!(raw(asked, request).await.status(), 408);
    assert_eq!(begun.elapsed().as_secs(), 30);
    assert_eq!(*fake.refused.lock(), [(true, HookReason::Slow)]);
}
