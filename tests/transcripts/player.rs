//! Plays one recorded scenario against a hub.

use std::time::{Duration, Instant};

use base64::Engine;
use serde_json::{Value, json};

use crate::matching::{Bindings, difference, filled};

/// How long an `eventually` step may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// Pauses before steps keep things apart in time; containers need none here.
const PAUSE_MAX: Duration = Duration::from_millis(20);

/// Where to play, and with which keys.
#[derive(Clone)]
pub struct Stage {
    pub base: String,
    pub http: reqwest::Client,
    /// `uuid:key` by the recordings' names: `guest`, `other`, `slow`.
    pub keys: Vec<(&'static str, String)>,
}

/// A step that did not go as recorded.
pub struct Mismatch {
    pub step: usize,
    pub what: String,
}

struct Answer {
    status: u16,
    headers: Value,
    body: Value,
}

impl Stage {
    pub fn key(&self, name: &str) -> Option<&str> {
        self.keys.iter().find(|(of, _)| *of == name).map(|(_, key)| key.as_str())
    }

    /// Removes all entities of a namespace.
    pub async fn empty(&self, name: &str) {
        for collection in ["rules", "triggers", "actions", "packages"] {
            loop {
                let list = self.entity_request(name, "GET", &format!("{collection}?limit=200")).await;
                let Some(found) = list.as_array().filter(|found| !found.is_empty()) else { break };
                for entity in found {
                    let path = entity["namespace"]
                        .as_str()
                        .unwrap()
                        .split_once('/')
                        .map_or("", |(_, package)| package);
                    let segments = [collection, path, entity["name"].as_str().unwrap()];
                    let segments: Vec<String> =
                        segments.iter().filter(|s| !s.is_empty()).map(|s| encoded(s)).collect();
                    self.entity_request(name, "DELETE", &segments.join("/")).await;
                }
            }
        }
    }

    async fn entity_request(&self, name: &str, method: &str, path: &str) -> Value {
        let (uuid, key) = self.key(name).unwrap().split_once(':').unwrap();
        let url = format!("{}/api/v1/namespaces/_/{path}", self.base);
        let request = self.http.request(method.parse().unwrap(), url).basic_auth(uuid, Some(key));
        let response = request.send().await.unwrap();
        assert!(response.status().is_success(), "{method} {path}: {}", response.status());
        response.json().await.unwrap()
    }

    /// Plays `scenario`; answers all mismatches, or the first alone where `first` is enough.
    pub async fn play(&self, scenario: &Value, first: bool) -> Vec<Mismatch> {
        let mut bindings = Bindings::default();
        bindings.known.insert("host".into(), self.base.trim_start_matches("http://").into());
        for (name, key) in &self.keys {
            bindings.known.insert(format!("auth:{name}"), key.clone());
            bindings.known.insert(format!("basic:{name}"), base64(key.as_bytes()));
            bindings.known.insert(format!("uuid:{name}"), key.split(':').next().unwrap().into());
        }
        let started = jiff::Timestamp::now().as_millisecond();
        let mut mismatches = Vec::new();
        for (step, recorded) in scenario["steps"].as_array().unwrap().iter().enumerate() {
            let pause = recorded["sleepBeforeSeconds"].as_f64().unwrap_or(0.0);
            tokio::time::sleep(Duration::from_secs_f64(pause).min(PAUSE_MAX)).await;
            let patience = match recorded["eventually"] == json!(true) {
                true if first => Duration::from_secs(1),
                true => PATIENCE,
                false => Duration::ZERO,
            };
            if let Some(what) = self.step(recorded, &mut bindings, started, patience).await {
                mismatches.push(Mismatch { step, what });
                if first {
                    break;
                }
            }
        }
        mismatches
    }

    async fn step(
        &self,
        recorded: &Value,
        bindings: &mut Bindings,
        started: i64,
        patience: Duration,
    ) -> Option<String> {
        let begun = Instant::now();
        loop {
            let answer = self.send(&recorded["request"], bindings, started).await;
            let mut tried = bindings.clone();
            let what = match answer {
                Ok(answer) => compare(recorded, &answer, &mut tried),
                Err(error) => Some(format!("no answer: {error}")),
            };
            if what.is_none() || begun.elapsed() >= patience {
                *bindings = tried;
                return what;
            }
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    }

    async fn send(
        &self,
        request: &Value,
        bindings: &Bindings,
        started: i64,
    ) -> Result<Answer, reqwest::Error> {
        let path = filled(request["path"].as_str().unwrap(), bindings, started);
        let method = request["method"].as_str().unwrap().parse().unwrap();
        let mut builder = self.http.request(method, format!("{}{path}", self.base));
        let auth = request["auth"].as_str().unwrap_or("none");
        if let Some((uuid, key)) = self.key(auth).and_then(|key| key.split_once(':')) {
            builder = builder.basic_auth(uuid, Some(key));
        } else if auth == "bad" {
            builder = builder.basic_auth("11111111-2222-3333-4444-555555555555", Some("x".repeat(64)));
        }
        let headers = request["headers"].as_object().cloned().unwrap_or_default();
        for (name, value) in &headers {
            if let Some(value) = value.as_str() {
                builder = builder.header(name, filled(value, bindings, started));
            }
        }
        let body = &request["body"];
        if !body.is_null() {
            if !headers.keys().any(|name| name.eq_ignore_ascii_case("content-type")) {
                builder = builder.header("Content-Type", "application/json");
            }
            builder = builder.body(body_of(body, bindings, started));
        }
        answer_of(builder.send().await?).await
    }
}

async fn answer_of(response: reqwest::Response) -> Result<Answer, reqwest::Error> {
    let status = response.status().as_u16();
    let mut headers = serde_json::Map::new();
    for name in response.headers().keys() {
        if matches!(name.as_str(), "server" | "date" | "content-length" | "connection" | "transfer-encoding")
        {
            continue;
        }
        let all = response
            .headers()
            .get_all(name)
            .iter()
            .map(|value| String::from_utf8_lossy(value.as_bytes()).into());
        let mut all: Vec<Value> = all.collect();
        let value = if all.len() == 1 { all.remove(0) } else { Value::Array(all) };
        headers.insert(name.as_str().into(), value);
    }
    let is_json =
        headers.get("content-type").is_some_and(|kind| kind.as_str().unwrap_or("").contains("json"));
    let bytes = response.bytes().await?;
    let body = match std::str::from_utf8(&bytes) {
        Ok(text) if is_json && !text.is_empty() => serde_json::from_str(text).unwrap_or_else(|_| text.into()),
        Ok(text) => text.into(),
        Err(_) => json!({ "$base64": base64(&bytes) }),
    };
    Ok(Answer { status, headers: Value::Object(headers), body })
}

fn body_of(body: &Value, bindings: &Bindings, started: i64) -> Vec<u8> {
    match body {
        Value::String(text) => filled(text, bindings, started).into_bytes(),
        Value::Object(map) if map.contains_key("$base64") => {
            base64::engine::general_purpose::STANDARD.decode(map["$base64"].as_str().unwrap()).unwrap()
        }
        _ => filled(&dumped(body), bindings, started).into_bytes(),
    }
}

/// As Python's `json.dumps` writes it: a blank after `:` and `,`, and nothing but ASCII.
fn dumped(value: &Value) -> String {
    let all = |parts: Vec<String>| parts.join(", ");
    match value {
        Value::Object(map) => {
            format!(
                "{{{}}}",
                all(map.iter().map(|(k, v)| format!("{}: {}", dumped(&json!(k)), dumped(v))).collect())
            )
        }
        Value::Array(values) => format!("[{}]", all(values.iter().map(dumped).collect())),
        Value::String(_) => value
            .to_string()
            .chars()
            .map(|c| match c {
                ' '..='\u{7f}' => c.to_string(),
                _ => c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect(),
            })
            .collect(),
        _ => value.to_string(),
    }
}

fn compare(recorded: &Value, answer: &Answer, bindings: &mut Bindings) -> Option<String> {
    let expected = &recorded["response"];
    if expected["status"] != answer.status {
        return Some(format!("status {}, recorded {}: {}", answer.status, expected["status"], answer.body));
    }
    bindings.transaction = answer.headers["x-request-id"].as_str().unwrap_or("none").to_owned();
    if let Some(what) = difference(&expected["headers"], &answer.headers, bindings, "headers") {
        return Some(what);
    }
    let mut body = digest(recorded["note"].as_str().unwrap_or(""), &answer.body);
    let mut expected = expected["body"].clone();
    if recorded["note"]
        .as_str()
        .is_some_and(|note| note.contains("order of stdout") || note.contains("sorted"))
    {
        for value in [&mut body, &mut expected] {
            if let Some(Value::Array(logs)) = value.get_mut("logs") {
                logs.sort_by_key(sort_key);
            }
        }
    }
    if let (Some(text), true) = (expected.as_str(), body.is_object()) {
        // Recorded as text, where the form of numbers mattered.
        expected = serde_json::from_str(&text.replace(":<ms>", ":\"<int>\"")).unwrap_or(expected);
    }
    let is_nothing = |value: &Value| value.is_null() || *value == json!("");
    if is_nothing(&expected) && is_nothing(&body) {
        return None;
    }
    difference(&expected, &body, bindings, "body")
}

/// A log line without its time; of a trigger's log, its rule.
fn sort_key(line: &Value) -> String {
    let text = line.as_str().unwrap_or("");
    let parsed: Option<Value> = serde_json::from_str(text).ok();
    match parsed {
        Some(entry) => entry["rule"].to_string(),
        None => text.find(" std").map_or(text, |at| &text[at..]).to_owned(),
    }
}

/// What a step with a "recorded:" note recorded of a body.
fn digest(note: &str, body: &Value) -> Value {
    let length = |value: &Value| json!(value.as_array().map(Vec::len));
    match note {
        "recorded: version" => body["version"].clone(),
        "recorded: number of components" => length(&body["exec"]["components"]),
        "recorded: number of entries" => length(body),
        "recorded: names only" => {
            body.as_array().into_iter().flatten().map(|entity| entity["name"].clone()).collect()
        }
        "recorded: number of lines and the last two" => {
            let lines = body["logs"].as_array().cloned().unwrap_or_default();
            json!({ "count": lines.len(), "last": lines[lines.len().saturating_sub(2)..] })
        }
        _ => body.clone(),
    }
}

fn base64(bytes: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

fn encoded(segment: &str) -> String {
    segment
        .bytes()
        .map(|b| if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { format!("%{b:02X}") })
        .collect()
}
