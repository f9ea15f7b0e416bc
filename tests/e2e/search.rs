//! Search as users have it: over the API, through a crash, and with queries that mean harm.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::client::{Client, KEY};
use crate::support::eventually;
use crate::support::hub::{Hub, Start};

const CODE: &str =
    "def main(a):\n    print('reading', a['id'], 'is <hot>')\n    return {'celsius': a['celsius']}\n";

async fn search(client: &Client, query: Value) -> Value {
    let (status, answer) = client.post("activations/_search", &query).await;
    assert_eq!(status, 200, "{query}: {answer}");
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_are_found_within_a_second_and_tailed_by_the_same_query() {
    let directory = tempfile::tempdir().unwrap();
    let other = "11111111-1111-1111-1111-111111111111:".to_owned() + &"k".repeat(64);
    let namespaces = format!("[[namespaces]]\nname = \"other\"\nkey = \"{other}\"\n");
    let config = directory.path().join("triggerfish.toml");
    std::fs::write(&config, namespaces).unwrap();
    let start = Start { args: vec!["--config".into(), config.display().to_string()], ..Start::default() };
    let hub = start.start(&directory.path().join("data")).unwrap();
    let client = hub.client();
    client.put_action("judge", "python:3", CODE).await;
    client.invoke("judge", &json!({"id": "warm", "celsius": 1})).await;
    let tail = tail_of(&hub, "room17 AND result.celsius:>30").await;

    let answered = client.invoke("judge", &json!({"id": "room17", "celsius": 41.5})).await;
    assert_eq!(answered, (200, json!({"celsius": 41.5})));
    let begun = Instant::now();
    let found = eventually("the record is found", async || {
        let page = client.get("activations/_search?q=room17+AND+status:success+AND+result.celsius:>41").await;
        (page["total"] == 1).then_some(page)
    })
    .await;
    eprintln!("found {} ms after the answer", begun.elapsed().as_millis());
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    let hit = &found["hits"][0];
    assert_eq!(hit["activation"]["name"], "judge");
    let line = hit["highlight"][0].as_str().unwrap();
    assert!(line.ends_with("stdout: reading <em>room17</em> is &lt;hot&gt;"), "{line}");
    client.invoke("judge", &json!({"id": "room17", "celsius": 3})).await;
    client.invoke("judge", &json!({"id": "room18", "celsius": 50})).await;
    eventually("both are found", async || {
        (search(&client, json!({"q": "name:judge"})).await["total"] == 4).then_some(())
    })
    .await;
    let aggs =
        json!({"codes": {"terms": {"field": "status"}}, "hottest": {"max": {"field": "result.celsius"}}});
    let page = search(&client, json!({"q": "name:judge", "limit": 0, "aggs": aggs})).await;
    assert_eq!(page["aggregations"]["hottest"]["value"], 50.0);
    assert_eq!(page["aggregations"]["codes"]["buckets"][0], json!({"key": "success", "doc_count": 4}));
    drop(client.invoke("judge", &json!({"id": "room17", "celsius": 99})).await);
    let tailed = tail.await.unwrap();
    assert!(tailed[0].contains("41.5") && tailed[1].contains("99"), "{tailed:?}");

    // Another namespace sees nothing of it.
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let (uuid, key) = other.split_once(':').unwrap();
    let as_other = async |namespace: &str| {
        let url = format!("http://{}/api/v1/namespaces/{namespace}/activations/_search?q=*", hub.address());
        let response = http.get(url).basic_auth(uuid, Some(key)).send().await.unwrap();
        (response.status().as_u16(), response.json::<Value>().await.unwrap())
    };
    let (status, page) = as_other("_").await;
    assert_eq!((status, &page["total"], &page["hits"]), (200, &json!(0), &json!([])));
    assert_eq!(as_other("guest").await.0, 403);
    assert!(hub.stop().success());
}

/// The data of the first two events of a tail.
async fn tail_of(hub: &Hub, q: &str) -> tokio::task::JoinHandle<Vec<String>> {
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("http://{}/api/v1/namespaces/_/activations/_tail", hub.address());
    let request = http.get(url).query(&[("q", q)]).basic_auth(KEY.0, Some(KEY.1));
    let mut response = request.send().await.unwrap();
    assert_eq!(response.status(), 200);
    let first = response.chunk().await.unwrap().unwrap();
    assert_eq!(&first[..], b": listening\n\n");
    tokio::spawn(async move {
        let (mut text, mut events) = (String::new(), Vec::new());
        while events.len() < 2 {
            text.push_str(std::str::from_utf8(&response.chunk().await.unwrap().unwrap()).unwrap());
            events = text.lines().filter_map(|line| line.strip_prefix("data: ")).map(str::to_owned).collect();
        }
        events
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_before_a_crash_is_found_once_after_it() {
    let directory = tempfile::tempdir().unwrap();
    // The first commit is of the warm-up; at the second, which holds the readings, the hub dies.
    let start = Start::default().env("FAILPOINT_CRASH_AT", "search::before_commit=3");
    let mut hub = start.start(directory.path()).unwrap();
    let client = hub.client();
    client.put("triggers/t", &json!({})).await;
    client.put_action("judge", "python:3", CODE).await;
    client.put_rule("r", "t", "judge", json!({})).await;
    let mut answered = Vec::new();
    for n in 0.. {
        let sent =
            client.try_send("POST", "triggers/t", Some(&json!({"id": format!("x{n}"), "celsius": n}))).await;
        let Ok((status, body)) = sent else { break };
        assert_eq!(status, 202, "{body}");
        answered.push(body["activationId"].as_str().unwrap().to_owned());
    }
    eventually("the hub dies between a record and its commit", async || hub.died().then_some(())).await;
    drop(hub);
    assert!(!answered.is_empty());

    let hub = Hub::start(directory.path());
    let client = hub.client();
    for id in &answered {
        eventually(&format!("the fire {id} is found"), async || {
            let page = search(&client, json!({"q": format!("activationId:{id}")})).await;
            assert!(page["total"].as_u64() <= Some(1), "twice in the index: {page}");
            (page["total"] == 1).then_some(())
        })
        .await;
    }
    let listed = eventually("all runs have ended", async || {
        let count = client.get("activations?name=judge&count=true").await["activations"].as_u64().unwrap();
        (count >= answered.len() as u64).then_some(count)
    })
    .await;
    eventually("the index has what the list has", async || {
        (search(&client, json!({"q": "name:judge", "limit": 0})).await["total"].as_u64() >= Some(listed))
            .then_some(())
    })
    .await;
    eprintln!("{} fires were answered before the crash, {listed} runs found", answered.len());
    assert!(hub.stop().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_that_mean_harm_end_quickly_and_say_why() {
    let directory = tempfile::tempdir().unwrap();
    let hub = Hub::start(directory.path());
    let client = hub.client();
    client.put("triggers/t", &json!({})).await;
    let begun = Instant::now();
    for (body, said) in [
        (json!({"q": "(".repeat(8000)}), "more than 32 parentheses"),
        (json!({"q": "x".repeat(1_000_000)}), "8192 are read at most"),
        (json!({"q": "a ".repeat(4000)}), "more than 256 terms"),
        (json!({"q": "neme:x"}), "`q`, column 1: there is no field `neme`"),
        (json!({"q": "x", "sort": "start"}), "expected a field and a direction"),
        (json!({"q": "x", "cursor": "x".repeat(100_000)}), "`cursor` is not one"),
        (json!({"q": "x", "aggs": {"a": {"filter": "*"}}}), "no aggregation `filter`"),
        (json!({"q": "x", "limit": 100_000}), "not in the range of 0 to 1000"),
    ] {
        let (status, answer) = client.post("activations/_search", &body).await;
        assert_eq!(status, 400, "{said}: {answer}");
        assert!(answer["error"].as_str().unwrap().contains(said), "{said}: {answer}");
    }
    for q in [
        "*a*b*c*",
        "duration:[-1e308 TO 1e308]",
        "start:[* TO 9000-12-31]",
        "result.x:[* TO *]",
        "?*?*?*?*?*",
    ] {
        search(&client, json!({"q": q})).await;
    }
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    let (status, answer) = client.send("GET", "activations/_tail?q=(", None).await;
    assert_eq!(status, 400, "{answer}");
    assert!(hub.stop().success());
}
