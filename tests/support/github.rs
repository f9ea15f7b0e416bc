//! A GitHub for tests: the part of its REST API that keeps hooks, and a sender of deliveries that are recorded as there.
//!
//! What it does is what GitHub's pages say: a hook is made, changed and removed with a token; a delivery is sent once, signed;
//! each try is listed with its outcome, newest first, in pages; a try can be asked for again, with the same delivery id.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use hmac::{Hmac, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

/// The token that may administer hooks.
pub const TOKEN: &str = "ghp_right";
/// The repository that there is.
pub const REPOSITORY: &str = "Codertocat/Hello-World";
/// How long an answer may take; GitHub waits 10 s.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// A try to deliver.
#[derive(Clone)]
struct Try {
    id: u64,
    hook: u64,
    guid: String,
    event: String,
    payload: Arc<str>,
    at: jiff::Timestamp,
    redelivery: bool,
    status: String,
    status_code: u16,
}

#[derive(Default)]
struct Known {
    /// Hooks as the API shows them, but with their secrets.
    hooks: Vec<Value>,
    tries: Vec<Try>,
    /// What was asked for, in order: `POST /repos/…`.
    requests: Vec<String>,
    /// So many requests are refused as over the limit.
    limited: u32,
    /// The API's error for all requests, while it is there.
    broken: Option<u16>,
}

struct Shared {
    known: parking_lot::Mutex<Known>,
    ids: AtomicU64,
    http: reqwest::Client,
    base: String,
}

/// A running GitHub; it ends with the test's runtime.
#[derive(Clone)]
pub struct Github(Arc<Shared>);

impl Github {
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let shared = Arc::new(Shared {
            known: parking_lot::Mutex::default(),
            ids: AtomicU64::new(1000),
            http: reqwest::Client::builder().no_proxy().timeout(ANSWER_MAX).build().unwrap(),
            // As on GitHub Enterprise Server.
            base: format!("http://{}/api/v3", listener.local_addr().unwrap()),
        });
        let router = Router::new().fallback(answer).with_state(shared.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self(shared)
    }

    /// The API's address.
    pub fn base(&self) -> &str {
        &self.0.base
    }

    /// The hooks, with their secrets.
    pub fn hooks(&self) -> Vec<Value> {
        self.0.known.lock().hooks.clone()
    }

    /// What was asked for so far: method and path.
    pub fn requests(&self) -> Vec<String> {
        self.0.known.lock().requests.clone()
    }

    /// Somebody removes all hooks by hand.
    pub fn lose_hooks(&self) {
        self.0.known.lock().hooks.clear();
    }

    /// So many requests to the API are over its limit.
    pub fn limit(&self, requests: u32) {
        self.0.known.lock().limited = requests;
    }

    /// Every request to the API is answered with this status.
    pub fn break_off(&self, status: Option<u16>) {
        self.0.known.lock().broken = status;
    }

    /// Something happens: every active hook that asks for `event` is called once. The ids of the deliveries.
    pub async fn happens(&self, event: &str, payload: &Value) -> Vec<String> {
        let wants = |hook: &Value| {
            let events = hook["events"].as_array().unwrap();
            hook["active"] == json!(true) && events.iter().any(|wanted| *wanted == "*" || *wanted == event)
        };
        let hooks: Vec<Value> = self.hooks().into_iter().filter(wants).collect();
        let mut guids = Vec::new();
        for hook in hooks {
            let guid = uuid::Uuid::new_v4().to_string();
            self.0.deliver(&hook, &guid, event, payload.to_string().into(), false).await;
            guids.push(guid);
        }
        guids
    }

    /// The status of each try of a delivery, in order.
    pub fn outcomes(&self, guid: &str) -> Vec<u16> {
        self.0.known.lock().tries.iter().filter(|one| one.guid == guid).map(|one| one.status_code).collect()
    }
}

/// The signature of a body, as GitHub sends it.
pub fn signature(secret: &str, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(body);
    format!("sha256={}", hex::encode(mac.finalize().into_bytes()))
}

/// A delivery as a request, signed.
pub fn delivery(
    http: &reqwest::Client,
    url: &str,
    secret: &str,
    event: &str,
    guid: &str,
    content_type: &str,
    body: impl Into<Bytes>,
) -> reqwest::RequestBuilder {
    let body: Bytes = body.into();
    http.post(url)
        .header("user-agent", "GitHub-Hookshot/044aadd")
        .header("x-github-event", event)
        .header("x-github-delivery", guid)
        .header("x-hub-signature-256", signature(secret, &body))
        .header("content-type", content_type)
        .body(body)
}

/// A payload as a form has it.
pub fn form(payload: &str) -> String {
    url::form_urlencoded::Serializer::new(String::new()).append_pair("payload", payload).finish()
}

impl Shared {
    fn id(&self) -> u64 {
        self.ids.fetch_add(1, Ordering::SeqCst)
    }

    async fn deliver(&self, hook: &Value, guid: &str, event: &str, payload: Arc<str>, redelivery: bool) {
        let at = jiff::Timestamp::now();
        let config = &hook["config"];
        let (content_type, body) = match config["content_type"].as_str() {
            Some("json") => ("application/json", payload.to_string()),
            _ => ("application/x-www-form-urlencoded", form(&payload)),
        };
        let (url, secret) = (config["url"].as_str().unwrap(), config["secret"].as_str().unwrap_or_default());
        let sent = delivery(&self.http, url, secret, event, guid, content_type, body).send().await;
        let (status_code, status) = match sent {
            Ok(answer) if answer.status().is_success() => (answer.status().as_u16(), "OK".to_owned()),
            Ok(answer) => {
                (answer.status().as_u16(), format!("Invalid HTTP Response: {}", answer.status().as_u16()))
            }
            Err(error) if error.is_timeout() => (504, "timed out".to_owned()),
            Err(_) => (502, "failed to connect to host".to_owned()),
        };
        let id = self.id();
        let (guid, event, hook) = (guid.to_owned(), event.to_owned(), hook["id"].as_u64().unwrap());
        self.known.lock().tries.push(Try {
            id,
            hook,
            guid,
            event,
            payload,
            at,
            redelivery,
            status,
            status_code,
        });
    }
}

type Answer = Result<Response, (StatusCode, &'static str)>;

async fn answer(State(github): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let path = parts.uri.path().to_owned();
    {
        let mut known = github.known.lock();
        known.requests.push(format!("{} {path}", parts.method));
        if known.limited > 0 {
            known.limited -= 1;
            let headers = [("retry-after", "1")];
            let text = json!({"message": "You have exceeded a secondary rate limit."}).to_string();
            return (StatusCode::FORBIDDEN, headers, text).into_response();
        }
        if let Some(status) = known.broken {
            return StatusCode::from_u16(status).unwrap().into_response();
        }
    }
    let refuse = |(status, message): (StatusCode, &str)| {
        (status, json!({"message": message, "documentation_url": "https://docs.github.com/rest"}).to_string())
            .into_response()
    };
    if !is_authorized(&parts.headers) {
        return refuse((StatusCode::UNAUTHORIZED, "Bad credentials"));
    }
    let query: Vec<(String, String)> =
        url::form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes()).into_owned().collect();
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    let rest = match segments.as_slice() {
        ["api", "v3", "repos", owner, name, rest @ ..] if format!("{owner}/{name}") == REPOSITORY => rest,
        _ => return refuse((StatusCode::NOT_FOUND, "Not Found")),
    };
    let answered = match (&parts.method, rest) {
        (&Method::GET, ["hooks"]) => list_hooks(&github, &query, &path),
        (&Method::POST, ["hooks"]) => create(&github, &body).await,
        (&Method::PATCH, ["hooks", id]) => update(&github, id, &body),
        (&Method::DELETE, ["hooks", id]) => delete(&github, id),
        (&Method::GET, ["hooks", id, "deliveries"]) => list_deliveries(&github, id, &query, &path),
        (&Method::POST, ["hooks", id, "deliveries", delivery, "attempts"]) => {
            redeliver(&github, id, delivery)
        }
        _ => Err((StatusCode::NOT_FOUND, "Not Found")),
    };
    answered.unwrap_or_else(refuse)
}

/// Basic, with the user that the contract has, or a bearer's token.
fn is_authorized(headers: &HeaderMap) -> bool {
    use base64::Engine;
    let given = headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let basic = base64::engine::general_purpose::STANDARD.encode(format!("Codertocat:{TOKEN}"));
    given == format!("Bearer {TOKEN}") || given == format!("Basic {basic}")
}

/// A hook as it is shown: without its secret.
fn shown(hook: &Value) -> Value {
    let mut hook = hook.clone();
    if hook["config"]["secret"].is_string() {
        hook["config"]["secret"] = json!("********");
    }
    hook
}

fn of_query<'a>(query: &'a [(String, String)], name: &str) -> Option<&'a str> {
    query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

/// A page of `items`, with the address of the next one. `at` is where it begins.
fn page(github: &Shared, items: &[Value], query: &[(String, String)], path: &str, at: usize) -> Answer {
    // Small pages, so that every test turns them.
    let size = of_query(query, "per_page").map_or(30, |text| text.parse::<usize>().unwrap()).min(7);
    let body = json!(items.iter().skip(at).take(size).collect::<Vec<_>>()).to_string();
    if at + size >= items.len() {
        return Ok(body.into_response());
    }
    let origin = github.base.trim_end_matches("/api/v3");
    let status = of_query(query, "status").map_or(String::new(), |status| format!("&status={status}"));
    let link = format!("<{origin}{path}?per_page={size}&cursor=v1_{}{status}>; rel=\"next\"", at + size);
    Ok(([("link", link)], body).into_response())
}

fn place(query: &[(String, String)]) -> usize {
    of_query(query, "cursor").map_or(0, |cursor| cursor.trim_start_matches("v1_").parse().unwrap())
}

fn has_id(hook: &Value, id: &str) -> bool {
    hook["id"].as_u64() == id.parse().ok()
}

fn list_hooks(github: &Shared, query: &[(String, String)], path: &str) -> Answer {
    let hooks: Vec<Value> = github.known.lock().hooks.iter().map(shown).collect();
    page(github, &hooks, query, path, place(query))
}

async fn create(github: &Arc<Shared>, body: &Bytes) -> Answer {
    let wanted: Value =
        serde_json::from_slice(body).map_err(|_| (StatusCode::BAD_REQUEST, "Problems parsing JSON"))?;
    let hook = {
        let mut known = github.known.lock();
        if known.hooks.iter().any(|hook| hook["config"]["url"] == wanted["config"]["url"]) {
            return Err((StatusCode::UNPROCESSABLE_ENTITY, "Hook already exists on this repository"));
        }
        let id = github.id();
        let url = format!("{}/repos/{REPOSITORY}/hooks/{id}", github.base);
        let hook = json!({
            "type": "Repository", "id": id, "name": "web", "active": wanted["active"], "events": wanted["events"],
            "config": wanted["config"], "updated_at": "2019-06-03T00:57:16Z", "created_at": "2019-06-03T00:57:16Z",
            "url": url, "test_url": format!("{url}/test"), "ping_url": format!("{url}/pings"),
            "deliveries_url": format!("{url}/deliveries"),
            "last_response": {"code": null, "status": "unused", "message": null},
        });
        known.hooks.push(hook.clone());
        hook
    };
    let (shared, pinged) = (github.clone(), hook.clone());
    tokio::spawn(async move {
        let payload =
            json!({"zen": "Keep it logically awesome.", "hook_id": pinged["id"], "hook": shown(&pinged)});
        let guid = uuid::Uuid::new_v4().to_string();
        shared.deliver(&pinged, &guid, "ping", payload.to_string().into(), false).await;
    });
    Ok((StatusCode::CREATED, shown(&hook).to_string()).into_response())
}

fn update(github: &Shared, id: &str, body: &Bytes) -> Answer {
    let wanted: Value =
        serde_json::from_slice(body).map_err(|_| (StatusCode::BAD_REQUEST, "Problems parsing JSON"))?;
    let mut known = github.known.lock();
    let found = known.hooks.iter_mut().find(|hook| has_id(hook, id));
    let hook = found.ok_or((StatusCode::NOT_FOUND, "Not Found"))?;
    for key in ["active", "events", "config"] {
        if !wanted[key].is_null() {
            hook[key] = wanted[key].clone();
        }
    }
    Ok(shown(hook).to_string().into_response())
}

fn delete(github: &Shared, id: &str) -> Answer {
    let mut known = github.known.lock();
    let before = known.hooks.len();
    known.hooks.retain(|hook| !has_id(hook, id));
    if known.hooks.len() == before {
        Err((StatusCode::NOT_FOUND, "Not Found"))
    } else {
        Ok(StatusCode::NO_CONTENT.into_response())
    }
}

fn list_deliveries(github: &Shared, id: &str, query: &[(String, String)], path: &str) -> Answer {
    let known = github.known.lock();
    if !known.hooks.iter().any(|hook| has_id(hook, id)) {
        return Err((StatusCode::NOT_FOUND, "Not Found"));
    }
    let failures_only = of_query(query, "status") == Some("failure");
    let tries: Vec<Value> = known
        .tries
        .iter()
        .rev()
        .filter(|one| one.hook.to_string() == id)
        .filter(|one| !failures_only || !(200..400).contains(&one.status_code))
        .map(|one| {
            let action = serde_json::from_str::<Value>(&one.payload).unwrap()["action"].clone();
            json!({
                "id": one.id, "guid": one.guid, "delivered_at": one.at.to_string(), "redelivery": one.redelivery,
                "duration": 0.03, "status": one.status, "status_code": one.status_code, "event": one.event,
                "action": action, "installation_id": null, "repository_id": 186_853_002, "throttled_at": null,
            })
        })
        .collect();
    drop(known);
    page(github, &tries, query, path, place(query))
}

fn redeliver(github: &Arc<Shared>, id: &str, delivery: &str) -> Answer {
    let known = github.known.lock();
    let hook = known.hooks.iter().find(|hook| has_id(hook, id)).cloned();
    let one = known.tries.iter().find(|one| one.id.to_string() == delivery).cloned();
    let (hook, one) = hook.zip(one).ok_or((StatusCode::NOT_FOUND, "Not Found"))?;
    let shared = github.clone();
    tokio::spawn(async move { shared.deliver(&hook, &one.guid, &one.event, one.payload, true).await });
    Ok((StatusCode::ACCEPTED, "{}").into_response())
}

/// An example of `@octokit/webhooks-examples`: where it is from, its event, its payload.
pub struct Example {
    pub place: String,
    pub event: String,
    pub payload: Value,
}

/// All examples of the package that `scripts/setup.sh` fetches.
pub fn examples() -> Vec<Example> {
    let cache =
        PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache/triggerfish/webhooks-examples-7.6.1");
    let mut all = Vec::new();
    for server in ["api.github.com", "ghes-31", "ghes-32", "ghes-33", "ghes-34", "ghes-35"] {
        let path = cache.join(server).join("index.json");
        let text = std::fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("{}: {error}: run scripts/setup.sh", path.display()));
        let events: Vec<Value> = serde_json::from_str(&text).unwrap();
        for event in events {
            let name = event["name"].as_str().unwrap().to_owned();
            for (n, payload) in event["examples"].as_array().unwrap().iter().enumerate() {
                let place = format!("{server}/{name}/{n}");
                all.push(Example { place, event: name.clone(), payload: payload.clone() });
            }
        }
    }
    all
}
