//! `github/webhook` on the real hub: every real payload, every kind of wrong one, and the hook at a GitHub that stands in
//! (github.com cannot be reached from where this is tested).

use std::collections::BTreeMap;

use futures::StreamExt;
use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::eventually;
use crate::support::github::{Example, Github, REPOSITORY, TOKEN, delivery, examples, form, signature};
use crate::support::hub::{Hub, Start};

const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";

fn http() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().unwrap()
}

async fn sent(request: reqwest::RequestBuilder) -> (u16, Value) {
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    (status, answer.json().await.unwrap_or_default())
}

/// Makes the feed of a new trigger; its answer.
async fn feed(client: &Client, trigger: &str, params: Value) -> Value {
    client.put(&format!("triggers/{trigger}"), &json!({})).await;
    let (status, body) = client.create_feed("github/webhook", trigger, params).await;
    assert_eq!(status, 200, "{body}");
    body["response"]["result"].clone()
}

/// Calls the feed with another event of its life.
async fn lifecycle(client: &Client, trigger: &str, event: &str, params: Value) -> (u16, Value) {
    let mut params = params;
    params["lifecycleEvent"] = json!(event);
    client.create_feed("github/webhook", trigger, params).await
}

/// The refused requests that `/metrics` tells for a feed, by reason.
pub(super) async fn refusals(hub: &Hub, feed: &str) -> BTreeMap<String, u64> {
    let text =
        http().get(format!("http://{}/metrics", hub.address())).send().await.unwrap().text().await.unwrap();
    let begin = format!("triggerfish_hooks_refused_total{{feed=\"{feed}\",reason=\"");
    text.lines()
        .filter_map(|line| line.strip_prefix(&begin))
        .filter_map(|rest| rest.split_once("\"} "))
        .map(|(reason, count)| (reason.to_owned(), count.parse().unwrap()))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_real_payload_is_taken_as_json_and_as_a_form_and_a_wrong_one_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let hub = Hub::start(directory.path());
    let client = hub.client();
    let made = feed(&client, "gh", json!({"events": "*", "record": "all"})).await;
    let (url, secret) = (made["url"].as_str().unwrap(), made["secret"].as_str().unwrap());
    assert_eq!(url, format!("http://{}/hooks/github/guest/gh", hub.address()));
    // The secret is told once: neither the record of the call nor READ has it.
    for record in client.all_activations("github/webhook").await {
        assert!(!record.to_string().contains(secret), "{record}");
    }
    let (_, read) = lifecycle(&client, "gh", "READ", json!({})).await;
    assert_eq!(read["response"]["result"]["url"], url);
    assert!(!read.to_string().contains(secret) && !read.to_string().contains("generatedSecret"), "{read}");

    let http = http();
    let examples = examples();
    assert!(examples.len() > 500, "only {} examples", examples.len());
    let pings = examples.iter().filter(|example| example.event == "ping").count();
    // Some at a time: each is a write that waits for the disk.
    futures::stream::iter(&examples)
        .for_each_concurrent(16, async |Example { place, event, payload }| {
            let text = payload.to_string();
            for (guid, kind, body) in
                [(format!("{place}/json"), JSON, text.clone()), (format!("{place}/form"), FORM, form(&text))]
            {
                let send = |body: String| delivery(&http, url, secret, event, &guid, kind, body);
                let answer = sent(send(body.clone())).await;
                if event == "ping" {
                    assert_eq!(
                        answer,
                        (200, json!({"accepted": 0, "ignored": "a ping fires nothing"})),
                        "{place}"
                    );
                    continue;
                }
                assert_eq!(answer, (202, json!({"accepted": 1, "duplicates": 0})), "{guid}");
                let again = sent(send(body.clone())).await;
                assert_eq!(again, (202, json!({"accepted": 0, "duplicates": 1})), "{guid}");
            }
            // Cut on the way, with the signature of the whole; and cut before it was signed.
            let cut = &text[..text.len() / 2];
            let guid = format!("{place}/cut");
            let request = delivery(&http, url, secret, event, &guid, JSON, text.clone()).body(cut.to_owned());
            assert_eq!(sent(request).await.0, 401, "{place}");
            assert_eq!(
                sent(delivery(&http, url, secret, event, &guid, JSON, cut.to_owned())).await.0,
                400,
                "{place}"
            );
            let forged = delivery(&http, url, "another-secret", event, &guid, JSON, text);
            assert_eq!(sent(forged).await.0, 401, "{place}");
        })
        .await;
    let refused = refusals(&hub, "github/webhook").await;
    let count = examples.len() as u64;
    assert_eq!(refused, BTreeMap::from([("malformed".into(), count), ("signature".into(), 2 * count)]));

    // What was recorded is what was sent.
    let records = client.all_activations("gh").await;
    assert_eq!(records.len(), 2 * (examples.len() - pings));
    let wanted: BTreeMap<&str, &Example> =
        examples.iter().map(|example| (example.place.as_str(), example)).collect();
    for record in records {
        let mut payload = record["response"]["result"].clone();
        let headers = payload.as_object_mut().unwrap().remove("__ow_headers").unwrap();
        let guid = headers["x-github-delivery"].as_str().unwrap();
        let (place, _) = guid.rsplit_once('/').unwrap();
        assert_eq!(payload, wanted[place].payload, "{guid}");
        assert_eq!(headers["x-github-event"], wanted[place].event, "{guid}");
        assert!(headers["x-hub-signature-256"].is_null(), "{guid}");
    }
    eprintln!("{} examples, each as JSON and as a form, repeated, cut twice and forged", examples.len());
    assert!(hub.stop().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn each_wrong_delivery_has_its_status_and_is_counted_by_its_reason() {
    let directory = tempfile::tempdir().unwrap();
    let hub = Hub::start(directory.path());
    let client = hub.client();
    let params = json!({"secret": "geheim-geheim", "record": "all", "branches": ["main"], "paths": "src/**"});
    let url = feed(&client, "gh", params).await["url"].as_str().unwrap().to_owned();
    let http = http();
    let send = |kind: &str, body: String| delivery(&http, &url, "geheim-geheim", "push", "d-1", kind, body);
    let refused = async |request: reqwest::RequestBuilder, expected: u16, text: &str| {
        let (status, body) = sent(request).await;
        assert_eq!(status, expected, "{body}");
        let error = body["error"].as_str().unwrap();
        assert!(error.contains(text) && !error.contains("geheim"), "`{error}` does not have `{text}`");
    };
    let unsigned = http.post(&url).header("content-type", JSON).body("{}");
    refused(unsigned, 401, "the header X-Hub-Signature-256 is missing").await;
    let sha1 = http.post(&url).header("content-type", JSON).header("x-hub-signature", "sha1=00").body("{}");
    refused(sha1, 401, "the header X-Hub-Signature-256 is missing").await;
    refused(send("text/xml", "<a/>".into()), 415, "expected application/json or application/x-www-form")
        .await;
    refused(send(JSON, "[]".into()), 400, "an array; expected an object").await;
    refused(send(FORM, "pay=1".into()), 400, "no field `payload`").await;
    refused(send(FORM, "payload=%7B".into()), 400, "no JSON").await;
    let signed = |body: &'static str| {
        http.post(&url)
            .header("content-type", JSON)
            .header("x-hub-signature-256", signature("geheim-geheim", body.as_bytes()))
            .body(body)
    };
    refused(signed("{}").header("x-github-event", "push"), 400, "the header X-GitHub-Delivery is missing")
        .await;
    refused(signed("{}").header("x-github-delivery", "d"), 400, "the header X-GitHub-Event is missing").await;
    refused(http.put(&url), 405, "expected POST").await;
    // 25 MB are GitHub's own limit.
    let large = |bytes: usize| {
        let frame = r#"{"ref":"refs/heads/main","commits":[],"a":""}"#.len();
        format!(r#"{{"ref":"refs/heads/main","commits":[],"a":"{}"}}"#, "x".repeat(bytes - frame))
    };
    refused(send(JSON, large(25_000_001)), 413, "larger than allowed: 25000001 > 25000000").await;
    assert_eq!(sent(send(JSON, large(25_000_000))).await, (202, json!({"accepted": 1, "duplicates": 0})));
    let elsewhere = url.replace("/hooks/github/", "/hooks/");
    refused(http.post(&elsewhere), 404, "has no webhook here").await;
    refused(http.post(url.replace("/gh", "/none")), 404, "has no webhook here").await;

    let filtered = async |event: &str, payload: Value| {
        let guid = uuid::Uuid::new_v4().to_string();
        let request = delivery(&http, &url, "geheim-geheim", event, &guid, JSON, payload.to_string());
        let (status, body) = sent(request).await;
        (status, body["ignored"].as_str().map(str::to_owned))
    };
    let commits = |file: &str| json!([{"added": [file], "modified": [], "removed": []}]);
    let push =
        |branch: &str, file: &str| json!({"ref": format!("refs/heads/{branch}"), "commits": commits(file)});
    assert_eq!(filtered("push", push("main", "src/a.rs")).await, (202, None));
    let branch = Some("none of its branches is asked for".into());
    assert_eq!(filtered("push", push("topic", "src/a.rs")).await, (200, branch));
    let file = Some("none of the files that it changes is asked for".into());
    assert_eq!(filtered("push", push("main", "README.md")).await, (200, file));
    assert_eq!(filtered("issues", json!({})).await, (200, Some("the event is not asked for".into())));

    let (status, _) = lifecycle(&client, "gh", "PAUSE", json!({})).await;
    assert_eq!(status, 200);
    let paused = send(JSON, "{}".into()).send().await.unwrap();
    assert_eq!((paused.status().as_u16(), paused.headers()["retry-after"].to_str().unwrap()), (503, "60"));
    let expected =
        [("content_type", 1), ("id", 1), ("malformed", 4), ("method", 1), ("too_large", 1), ("unsigned", 2)];
    let expected = expected.map(|(reason, count)| (reason.to_owned(), count));
    assert_eq!(refusals(&hub, "github/webhook").await, BTreeMap::from(expected));
    let of_none = BTreeMap::from([("not_found".to_owned(), 2), ("paused".to_owned(), 1)]);
    assert_eq!(refusals(&hub, "").await, of_none, "there was no hook to count them for");
    assert_eq!(client.all_activations("gh").await.len(), 2);
    assert!(hub.stop().success());
}

/// A hub that knows where it is reached: the port stays over restarts.
fn reachable() -> Start {
    let address = format!("127.0.0.1:{}", crate::support::lasting_port());
    let start = Start::default().env("TRIGGERFISH_PUBLIC_URL", &format!("http://{address}/"));
    Start { listen: Some(address), ..start }
}

fn with_token(github: &Github, events: &str) -> Value {
    json!({
        "username": "Codertocat", "repository": "Hello-World", "accessToken": TOKEN, "events": events,
        "baseUrl": github.base(), "record": "all",
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hook_at_github_is_made_changed_mended_and_removed_with_the_feed() {
    let directory = tempfile::tempdir().unwrap();
    let github = Github::start().await;
    let start = reachable();
    let hub = start.start(directory.path()).unwrap();
    let client = hub.client();
    let made = feed(&client, "gh", with_token(&github, "push")).await;
    let url = format!("http://{}/hooks/github/guest/gh", hub.address());
    assert_eq!(made["url"], url);
    let hook = github.hooks().remove(0);
    let (config, secret) = (&hook["config"], made["secret"].as_str().unwrap());
    assert_eq!(
        (&config["url"], &config["content_type"], &config["secret"]),
        (&json!(url), &json!("json"), &json!(secret))
    );
    assert_eq!((&hook["events"], &hook["active"]), (&json!(["push"]), &json!(true)));
    let push = examples().into_iter().find(|example| example.event == "push").unwrap().payload;
    let [guid] = github.happens("push", &push).await.try_into().unwrap();
    assert_eq!(github.outcomes(&guid), [202]);
    // The ping that GitHub sent when the hook was made fired nothing.
    assert_eq!(client.all_activations("gh").await.len(), 1);

    // Making it again changes it in place: one hook, with the same secret.
    feed(&client, "gh", with_token(&github, "push")).await;
    assert_eq!(github.hooks()[0]["config"]["secret"], secret);
    let (status, body) =
        lifecycle(&client, "gh", "UPDATE", json!({"events": ["push", "issues"], "secret": "a-new-secret"}))
            .await;
    assert_eq!(status, 200, "{body}");
    let changed = github.hooks();
    assert_eq!((changed.len(), &changed[0]["id"]), (1, &hook["id"]));
    assert_eq!(
        (&changed[0]["events"], &changed[0]["config"]["secret"]),
        (&json!(["issues", "push"]), &json!("a-new-secret"))
    );
    let [guid] = github.happens("issues", &json!({"action": "opened"})).await.try_into().unwrap();
    assert_eq!(github.outcomes(&guid), [202], "signed with the new secret");

    // What GitHub refuses is the caller's answer, and nothing changes.
    for (params, text) in [
        (json!({"accessToken": "ghp_wrong"}), "401 Unauthorized: Bad credentials"),
        (json!({"repository": "Codertocat/Gone"}), "404 Not Found: Not Found: no such repository"),
    ] {
        let (status, body) = lifecycle(&client, "gh", "UPDATE", params).await;
        assert_eq!(status, 502, "{body}");
        let error = body["response"]["result"]["error"].as_str().unwrap();
        assert!(error.contains(text) && !error.contains("ghp_"), "{error}");
    }
    github.break_off(Some(500));
    let (status, body) = lifecycle(&client, "gh", "UPDATE", json!({"events": "push"})).await;
    assert_eq!((status, body.to_string().contains("500 Internal Server Error")), (502, true), "{body}");
    github.break_off(None);
    let (_, read) = lifecycle(&client, "gh", "READ", json!({})).await;
    let config = &read["response"]["result"]["config"];
    assert_eq!(
        (&config["events"], &config["accessToken"], &config["secret"]),
        (&json!(["push", "issues"]), &json!("***"), &json!("***"))
    );

    // Removed by hand while the hub was away: made anew at its start.
    assert!(hub.stop().success());
    github.lose_hooks();
    let hub = start.start(directory.path()).unwrap();
    let client = hub.client();
    let again = eventually("the hook is made anew", async || github.hooks().pop()).await;
    assert_eq!((&again["config"]["url"], &again["config"]["secret"]), (&json!(url), &json!("a-new-secret")));
    eventually("the feed runs", async || {
        let feeds = client.get("feeds").await;
        (feeds[0]["status"]["state"] == "running").then_some(())
    })
    .await;
    // Without a token the hook at GitHub is none of the hub's any more.
    let by_hand = json!({"events": "push", "secret": "a-new-secret", "record": "all"});
    let (status, body) = lifecycle(&client, "gh", "CREATE", by_hand).await;
    assert_eq!(status, 200, "{body}");
    eventually("the hook is removed", async || github.hooks().is_empty().then_some(())).await;
    feed(&client, "gh", with_token(&github, "push")).await;
    assert_eq!(github.hooks().len(), 1);
    let (status, body) = lifecycle(&client, "gh", "DELETE", json!({})).await;
    assert_eq!((status, &body["response"]["result"]), (200, &json!({"status": "success"})));
    assert_eq!(github.hooks(), Vec::<Value>::new());
    // A feed whose GitHub is away is deleted all the same, and says what stays there.
    feed(&client, "gh", with_token(&github, "push")).await;
    github.break_off(Some(503));
    let (status, body) = lifecycle(&client, "gh", "DELETE", json!({})).await;
    assert_eq!(status, 200, "{body}");
    assert!(body["response"]["result"]["warning"].as_str().unwrap().contains("503"), "{body}");
    assert!(!hub.log().contains(TOKEN) && !hub.log().contains("a-new-secret"));
    assert!(hub.stop().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_that_does_not_know_where_it_is_reached_makes_no_hook() {
    let directory = tempfile::tempdir().unwrap();
    let github = Github::start().await;
    let hub = Hub::start(directory.path());
    let client = hub.client();
    client.put("triggers/gh", &json!({})).await;
    let (status, body) = client.create_feed("github/webhook", "gh", with_token(&github, "push")).await;
    assert_eq!(status, 502, "{body}");
    assert!(body.to_string().contains("set `public_url`"), "{body}");
    assert_eq!((client.get("feeds").await, github.requests()), (json!([]), Vec::new()));
    assert!(hub.stop().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_while_the_hub_was_away_is_asked_for_and_comes_once() {
    let directory = tempfile::tempdir().unwrap();
    let github = Github::start().await;
    let start = reachable();
    let hub = start.start(directory.path()).unwrap();
    feed(&hub.client(), "gh", with_token(&github, "*")).await;
    let happen = async |count: usize| {
        let mut guids = Vec::new();
        for n in 0..count {
            guids.extend(github.happens("push", &json!({"ref": "refs/heads/main", "n": n})).await);
        }
        guids
    };
    let there = happen(10).await;
    hub.kill();
    let missed = happen(40).await;
    assert!(missed.iter().all(|guid| github.outcomes(guid) == [502]));

    // The API is over its limit at first: it is waited for.
    github.limit(2);
    let hub = start.start(directory.path()).unwrap();
    eventually("all that was missed has come", async || {
        missed.iter().all(|guid| github.outcomes(guid).contains(&202)).then_some(())
    })
    .await;
    let client = hub.client();
    assert!(there.iter().all(|guid| github.outcomes(guid) == [202]), "what the hub had is not asked for");
    // While it is paused it takes nothing; what is missed then comes when it goes on.
    lifecycle(&client, "gh", "PAUSE", json!({})).await;
    let paused = happen(10).await;
    assert!(paused.iter().all(|guid| github.outcomes(guid) == [503]));
    lifecycle(&client, "gh", "UNPAUSE", json!({})).await;
    eventually("what was missed in the pause has come", async || {
        paused.iter().all(|guid| github.outcomes(guid).contains(&202)).then_some(())
    })
    .await;
    assert!(missed.iter().all(|guid| github.outcomes(guid) == [502, 202]), "each is asked for once");
    let records = client.all_activations("gh").await;
    let mut found: Vec<String> = records
        .iter()
        .map(|record| {
            record["response"]["result"]["__ow_headers"]["x-github-delivery"].as_str().unwrap().to_owned()
        })
        .collect();
    found.sort();
    let mut wanted: Vec<String> = [there, missed, paused].concat();
    wanted.sort();
    assert_eq!(found, wanted);
    let asked = github.requests();
    assert!(
        asked.iter().any(|request| request.starts_with(&format!("POST /api/v3/repos/{REPOSITORY}/hooks/"))
            && request.ends_with("/attempts"))
    );
    assert!(hub.stop().success());
}
