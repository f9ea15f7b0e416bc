//! Bad input against the real hub (invariant 8): each gets a clear error that says what and where, nothing half-written
//! stays, and the hub goes on.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::client::{Client, KEY};
use crate::support::hub::{Hub, Start};
use crate::support::{eventually, free_port};

/// A request with a body as it is, and what is answered.
async fn send(hub: &Hub, method: &str, path: &str, body: impl Into<reqwest::Body>) -> (u16, String) {
    let url = format!("http://{}/api/v1/namespaces/_/{path}", hub.address());
    let request =
        reqwest::Client::builder().no_proxy().build().unwrap().request(method.parse().unwrap(), url);
    let request =
        request.basic_auth(KEY.0, Some(KEY.1)).header("content-type", "application/json").body(body);
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    let body: Value = answer.json().await.unwrap();
    assert!(body["code"].is_string(), "the contract's shape of an error: {body}");
    (status, body["error"].as_str().unwrap().to_owned())
}

/// Everything that the namespace has, for telling that nothing was left behind.
async fn all_entities(client: &Client) -> Value {
    let mut all = json!({});
    for collection in ["actions", "triggers", "rules", "packages", "feeds"] {
        let mut list = client.get(collection).await;
        // What a feed does changes by itself; which there are does not.
        for feed in list.as_array_mut().unwrap() {
            feed.as_object_mut().unwrap().remove("status");
        }
        all[collection] = list;
    }
    all
}

async fn set_up(client: &Client) {
    client.put_action("echo", "python:3", "def main(a):\n    return a\n").await;
    client.put("triggers/t", &json!({})).await;
    client.put_rule("r", "t", "echo", json!({})).await;
}

/// The hub is as it was: nothing new is stored, and a fire is run.
async fn unharmed(hub: &Hub, before: &Value) {
    let client = hub.client();
    assert_eq!(&all_entities(&client).await, before);
    let (status, body) = client.invoke("echo", &json!({"still": "here"})).await;
    assert_eq!((status, &body["still"]), (200, &json!("here")), "{body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_that_cannot_be_are_refused_with_what_and_where() {
    let directory = tempfile::tempdir().unwrap();
    let hub = Hub::start(directory.path());
    let client = hub.client();
    set_up(&client).await;
    let before = all_entities(&client).await;
    let malformed = "The request content was malformed:\n";
    let long = "n".repeat(257);
    let exec = |exec: Value| json!({ "exec": exec }).to_string();
    let node =
        |limits: Value| json!({"exec": {"kind": "nodejs:20", "code": "x"}, "limits": limits}).to_string();
    // method, path, body, status, what the text has
    let cases: Vec<(&str, String, String, u16, String)> = vec![
        // Malformed JSON.
        ("POST", "triggers/t".into(), "{\"a\":".into(), 400, malformed.into()),
        ("POST", "triggers/t".into(), "nonsense".into(), 400, malformed.into()),
        ("POST", "triggers/t".into(), "[1]".into(), 400, format!("{malformed}JSON object expected")),
        ("POST", "actions/echo".into(), "\"text\"".into(), 400, malformed.into()),
        ("PUT", "triggers/n".into(), "{".into(), 400, malformed.into()),
        ("PUT", "triggers/n".into(), format!("{{\"a\":{}", "[".repeat(100_000)), 400, malformed.into()),
        // Wrong types.
        ("PUT", "triggers/n".into(), "{\"parameters\":7}".into(), 400, malformed.into()),
        ("PUT", "triggers/n".into(), "{\"parameters\":[{\"key\":\"a\"}]}".into(), 400, malformed.into()),
        ("PUT", "triggers/n".into(), "{\"publish\":\"yes\"}".into(), 400, malformed.into()),
        ("PUT", "triggers/n".into(), "{\"version\":\"one\"}".into(), 400, malformed.into()),
        ("PUT", "actions/n".into(), "{}".into(), 400, "exec undefined".into()),
        ("PUT", "actions/n".into(), exec(json!({"code": "x"})), 400, "'kind' must be a string".into()),
        (
            "PUT",
            "actions/n".into(),
            exec(json!({"kind": "nodejs:20"})),
            400,
            "'code' must be a string".into(),
        ),
        ("PUT", "actions/n".into(), exec(json!({"kind": "cobol:60", "code": "x"})), 400, "'cobol:60'".into()),
        ("PUT", "actions/n".into(), exec(json!({"kind": "sequence"})), 400, "'components' must be".into()),
        ("PUT", "actions/n".into(), node(json!({"memory": 7})), 400, "below allowed threshold of 128".into()),
        (
            "PUT",
            "actions/n".into(),
            node(json!({"timeout": 9_999_999})),
            400,
            "exceeds allowed threshold".into(),
        ),
        ("PUT", "actions/n".into(), node(json!({"timeout": "soon"})), 400, malformed.into()),
        ("PUT", "rules/n".into(), "{}".into(), 400, "rule requires a valid trigger".into()),
        (
            "PUT",
            "rules/n".into(),
            json!({"trigger": "/_/none", "action": "/_/echo"}).to_string(),
            400,
            "trigger /guest/none does not exist".into(),
        ),
        (
            "PUT",
            "rules/n".into(),
            json!({"trigger": "/_/t", "action": "/_/none"}).to_string(),
            400,
            "action /guest/none does not exist".into(),
        ),
        (
            "POST",
            "rules/r".into(),
            "{\"status\":\"on\"}".into(),
            400,
            "on is not a recognized rule state".into(),
        ),
        // Names, and ids.
        ("PUT", "triggers/-n".into(), "{}".into(), 400, "The name of the entity contains illegal".into()),
        ("PUT", format!("triggers/{long}"), "{}".into(), 400, "longer than allowed: 257 > 256.".into()),
        ("PUT", "packages/default".into(), "{}".into(), 400, "Package name 'default' is reserved.".into()),
        ("GET", "activations/xyz".into(), String::new(), 400, "Activation id length is 3".into()),
        // Query parameters.
        ("GET", "triggers?limit=201".into(), String::new(), 400, "not in the range of 0 to 200".into()),
        ("GET", "triggers?skip=-1".into(), String::new(), 400, "greater than or equal to 0".into()),
        ("POST", "actions/echo?blocking=maybe".into(), "{}".into(), 400, "'blocking' was malformed".into()),
        ("POST", "actions/echo?timeout=60001".into(), "{}".into(), 400, "milliseconds up to 60000".into()),
        // What is there already, or is not.
        ("PUT", "triggers/t".into(), "{}".into(), 409, "resource already exists".into()),
        ("PUT", "triggers/echo".into(), "{}".into(), 409, "not in this collection".into()),
        ("POST", "triggers/none".into(), "{}".into(), 404, "The requested resource does not exist.".into()),
        ("DELETE", "rules/none".into(), String::new(), 404, "The requested resource does not exist.".into()),
    ];
    for (method, path, body, wanted, text) in cases {
        let shown = format!("{method} {path:.40} {body:.60}");
        let (status, error) = send(&hub, method, &path, body).await;
        assert_eq!(status, wanted, "{shown}: {error}");
        assert!(error.contains(&text), "{shown}: `{error}` does not have `{text}`");
    }
    unharmed(&hub, &before).await;
    assert!(hub.stop().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn conditions_that_cannot_be_are_refused_with_their_place() {
    let directory = tempfile::tempdir().unwrap();
    let hub = Hub::start(directory.path());
    let client = hub.client();
    set_up(&client).await;
    let before = all_entities(&client).await;
    let cases = [
        (json!({"when": "event.a >"}), "`when` is wrong at line 1, column 10"),
        (
            json!({"when": "event.a >\n  evnt.b"}),
            "`when` is wrong at line 2, column 3: unknown name `evnt`; did you",
        ),
        (
            json!({"when": "event.a + 1"}),
            "`when` is wrong at line 1, column 1: expected true or false, but this gives a sum",
        ),
        (json!({"when": "'yes'"}), "`when` is wrong at line 1, column 1: expected true or false"),
        (json!({"when": 7}), "the rule's `when` is a number, but a CEL expression as text was expected"),
        (json!({"when": "event.s.matches('(')"}), "no regular expression"),
        (json!({"when": "x".repeat(5000)}), "bytes are more than the 4096 allowed"),
        (json!({"with": "[1]"}), "`with` is wrong at line 1, column 1: expected an object"),
        (json!({"with": "{'a': now()}"}), "`with` is wrong at line 1, column 10: unknown function `now`"),
        (json!({"pattern": {"a": 7}}), "`pattern` is wrong at line 1, column 6"),
        (json!({"pattern": {"a": [{"prefx": "x"}]}}), "prefx"),
        (json!({"pattern": {"a": [{"numeric": [">", "x"]}]}}), "`pattern` is wrong at line 1, column "),
        (json!({"pattern": {"a": [{"cidr": "10.0.0.0/99"}]}}), "`pattern` is wrong at line 1, column "),
        (json!({"pattern": []}), "pattern"),
    ];
    for (conditions, text) in cases {
        let mut body = json!({"trigger": "/_/t", "action": "/_/echo"});
        body.as_object_mut().unwrap().extend(conditions.as_object().cloned().unwrap());
        for path in ["rules/n", "rules/r?overwrite=true"] {
            let (status, error) = send(&hub, "PUT", path, body.to_string()).await;
            assert_eq!(status, 400, "{conditions}: {error}");
            assert!(error.contains(text), "{conditions}: `{error}` does not have `{text}`");
        }
    }
    unharmed(&hub, &before).await;
    assert!(hub.stop().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn feeds_that_cannot_be_are_refused_and_one_that_cannot_connect_says_why() {
    let directory = tempfile::tempdir().unwrap();
    let hub = Hub::start(directory.path());
    let client = hub.client();
    set_up(&client).await;
    let before = all_entities(&client).await;
    let cases = [
        ("alarms/alarm", json!({}), "alarms trigger feed is missing the cron parameter"),
        ("alarms/alarm", json!({"cron": "61 * * * *"}), "cron pattern '61 * * * *' is not valid"),
        ("alarms/alarm", json!({"cron": "* * *"}), "cron pattern '* * *' is not valid"),
        ("alarms/interval", json!({}), "interval trigger feed is missing the minutes parameter"),
        ("alarms/interval", json!({"minutes": "often"}), "the minutes parameter must be an integer"),
        ("alarms/interval", json!({"minutes": 0}), "greater than zero"),
        ("alarms/once", json!({}), "alarms once trigger feed is missing the date parameter"),
        ("messaging/mqttFeed", json!({"topic": "a"}), "url"),
        ("messaging/mqttFeed", json!({"url": "http://127.0.0.1", "topic": "a"}), "mqtt"),
        ("messaging/mqttFeed", json!({"url": "mqtt://127.0.0.1", "topic": "a/#/b"}), "a/#/b"),
        ("messaging/mqttFeed", json!({"url": "mqtt://127.0.0.1", "topic": "a", "qos": 3}), "qos"),
        (
            "webhook/feed",
            json!({"secret": 7}),
            "the parameter `secret`: expected a text or an array of texts",
        ),
        ("webhook/feed", json!({"secrets": "long-enough"}), "has no parameter `secrets`; it has: secret,"),
        ("webhook/feed", json!({"secret": "short"}), "shorter than 8 characters"),
    ];
    for (feed, params, text) in cases {
        let (status, body) = client.create_feed(feed, "t", params.clone()).await;
        assert_eq!(status, 502, "{feed} {params}: {body}");
        let error = body["response"]["result"]["error"].to_string();
        assert!(error.contains(text), "{feed} {params}: `{error}` does not have `{text}`");
        // A feed's action leaves its record, as any other.
        let id = body["activationId"].as_str().unwrap();
        let record = client.get(&format!("activations/{id}")).await;
        assert_eq!(record["response"]["result"], body["response"]["result"]);
        assert_eq!(client.get("feeds").await, json!([]), "{feed} {params}");
    }
    let (status, body) = client.create_feed("webhook/feed", "none", json!({})).await;
    assert_eq!(status, 502, "{body}");
    assert!(body.to_string().contains("the trigger `/guest/none` does not exist"), "{body}");
    unharmed(&hub, &before).await;

    // Nobody listens there: the feed is made, and says so until somebody does.
    let port = free_port();
    let params = json!({"url": format!("mqtt://127.0.0.1:{port}"), "topic": "a", "password": "geheim", "username": "u"});
    let (status, body) = client.create_feed("messaging/mqttFeed", "t", params).await;
    assert_eq!(status, 200, "{body}");
    let feed = eventually("the feed tells what is wrong", async || {
        let feeds = client.get("feeds").await;
        let status = &feeds[0]["status"];
        (status.to_string().contains(&port.to_string())).then(|| feeds[0].clone())
    })
    .await;
    assert!(["connecting", "failed"].contains(&feed["status"]["state"].as_str().unwrap()), "{feed}");
    assert!(!feed.to_string().contains("geheim") && !hub.log().contains("geheim"));
    let (status, body) = client.invoke("echo", &json!({"still": "here"})).await;
    assert_eq!(status, 200, "{body}");
    assert!(hub.stop().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_credentials_and_signatures_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let hub = Hub::start(directory.path());
    let client = hub.client();
    set_up(&client).await;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("http://{}/api/v1/namespaces/_/triggers/t", hub.address());
    let other = "x".repeat(64);
    let invalid = "The supplied authentication is invalid";
    let missing = "The resource requires authentication, which was not supplied with the request";
    for (request, text) in [
        (http.post(&url), missing),
        (http.post(&url).basic_auth(KEY.0, Some(&other)), invalid),
        (http.post(&url).basic_auth(KEY.0, Some("short")), invalid),
        (http.post(&url).basic_auth(KEY.1, Some(KEY.0)), invalid),
        (http.post(&url).header("authorization", "Basic ###"), ""),
        (http.post(&url).bearer_auth("x"), ""),
    ] {
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 401);
        assert!(answer.headers().contains_key("www-authenticate"));
        let body: Value = answer.json().await.unwrap();
        assert!(body["error"].as_str().unwrap().contains(text), "{body}");
    }
    let theirs = format!("http://{}/api/v1/namespaces/other/triggers/t", hub.address());
    let (status, body) = client.send("POST", &theirs, Some(&json!({}))).await;
    assert_eq!(status, 403, "{body}");

    client.put("triggers/hook", &json!({})).await;
    client.put_rule("of-hook", "hook", "echo", json!({})).await;
    let secret = json!({"secret": "geheim-geheim"});
    assert_eq!(client.create_feed("webhook/feed", "hook", secret).await.0, 200);
    let hook = format!("http://{}/hooks/guest/hook", hub.address());
    for signature in [None, Some("sha256=00"), Some("nonsense")] {
        let mut request = http.post(&hook).body("{}");
        if let Some(signature) = signature {
            request = request.header("x-hub-signature-256", signature);
        }
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        let text = answer.text().await.unwrap();
        assert_eq!(status, 401, "{signature:?}: {text}");
        assert!(text.to_lowercase().contains("signature") && !text.contains("geheim"), "{text}");
    }
    assert_eq!(client.get("activations").await, client.get("activations?name=webhook%2Ffeed").await);
    assert!(hub.stop().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn oversized_slow_and_senseless_clients_are_bounded_and_others_go_on() {
    let directory = tempfile::tempdir().unwrap();
    let hub = Hub::start(directory.path());
    let client = hub.client();
    set_up(&client).await;
    let before = all_entities(&client).await;
    // Oversized bodies: the length is told before it is sent, or found out on the way.
    let large = json!({"a": "x".repeat(1 << 20)}).to_string();
    let (status, error) = send(&hub, "POST", "triggers/t", large.clone()).await;
    let expected = format!("Request larger than allowed: {} > 1048576 bytes.", large.len());
    assert_eq!((status, error), (413, expected));
    let parameters = json!({"parameters": [{"key": "a", "value": "x".repeat(1 << 20)}]}).to_string();
    let (status, error) = send(&hub, "PUT", "triggers/n", parameters).await;
    assert_eq!(status, 413, "{error}");
    assert!(error.starts_with("parameters larger than allowed: "), "{error}");
    let endless = futures::stream::repeat_with(|| Ok::<_, std::io::Error>(vec![b' '; 1 << 16]));
    let endless = reqwest::Body::wrap_stream(futures::StreamExt::take(endless, 64));
    let (status, error) = send(&hub, "POST", "triggers/t", endless).await;
    assert_eq!(status, 413, "{error}");

    // Heads without end.
    let answer = |request: &[u8]| {
        let mut stream = TcpStream::connect(hub.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        // The hub may answer and hang up before all is sent.
        let _ = stream.write_all(request);
        let mut text = Vec::new();
        let _ = stream.read_to_end(&mut text);
        String::from_utf8_lossy(&text).into_owned()
    };
    let many: String = (0..5000).map(|n| format!("x-{n}: 1\r\n")).collect();
    let flood = answer(format!("GET /ping HTTP/1.1\r\nhost: x\r\n{many}\r\n").as_bytes());
    assert!(flood.is_empty() || flood.starts_with("HTTP/1.1 431"), "{flood:.200}");
    let long =
        answer(format!("GET /ping HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "y".repeat(1 << 20)).as_bytes());
    assert!(long.is_empty() || long.starts_with("HTTP/1.1 431"), "{long:.200}");
    let uri = format!("http://{}/api/v1/namespaces/_/triggers/{}", hub.address(), "n".repeat(9000));
    let uri = reqwest::Client::builder().no_proxy().build().unwrap().get(uri).send().await.unwrap();
    assert_eq!(uri.status().as_u16(), 414);
    assert!(
        answer(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc").starts_with("HTTP/1.1 400"),
        "TLS to a plain port"
    );

    // Clients that send a little, and keep the rest for themselves.
    let mut slow: Vec<TcpStream> = (0..400).map(|_| TcpStream::connect(hub.address()).unwrap()).collect();
    for (index, stream) in slow.iter_mut().enumerate() {
        let head = "POST /hooks/guest/t HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n";
        let sent = if index % 2 == 0 { head.to_owned() } else { format!("{head}\r\n{{") };
        stream.write_all(sent.as_bytes()).unwrap();
    }
    unharmed(&hub, &before).await;
    drop(slow);
    unharmed(&hub, &before).await;
    assert!(hub.stop().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_cannot_be_is_refused_before_anything_is_made() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("triggerfish.toml");
    let data_dir = directory.path().join("data");
    let refused = |text: &str| {
        std::fs::write(&file, text).unwrap();
        let args = vec!["--config".to_owned(), file.display().to_string()];
        let start = Start { args, ..Start::default() };
        start.start(&data_dir).err().expect("it must not start")
    };
    for (text, expected) in [
        ("lisen = '127.0.0.1:0'", "unknown key `lisen`; did you mean `listen`?"),
        ("[events]\nkeep_hour = 1", "unknown key `events.keep_hour`; did you mean `keep_hours`?"),
        ("[events]\nkeep_hours = 'long'", "keep_hours"),
        ("[events\nkeep_hours = 1", "line 1, column 8"),
        ("[containers]\nnetwork = 'everything'", "containers.network is `everything`"),
        ("[log]\nfilter = 'a=b=c'", "log.filter is `a=b=c`"),
    ] {
        let log = refused(text);
        assert!(log.contains(expected), "{text}: {log}");
        if !expected.contains(" is `") {
            assert!(log.contains("triggerfish.toml") || log.contains("configuration"), "{log}");
        }
        assert!(!data_dir.exists(), "nothing is made: {text}");
    }
    let args = vec!["--config".to_owned(), "/nowhere/triggerfish.toml".to_owned()];
    let missing = Start { args, ..Start::default() }.start(&data_dir).err().unwrap();
    assert!(missing.contains("/nowhere/triggerfish.toml"), "{missing}");
}
