//! The REST API as a client sees it: one request, its answer, or an error with what to do next.

use std::time::Duration;

use reqwest::{Method, Response, StatusCode};
use serde_json::Value;
use url::Url;

use super::connect::{Target, is_loopback};
use super::output::cut;

/// How long a connection may take to open.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an answer may take: the hub's own limit of a blocking call, 60 s, and some grace (contract §1.1).
const ANSWER_TIMEOUT: Duration = Duration::from_secs(70);
/// The most of an answer that is not the hub's that an error shows, in characters.
const SHOWN_CHARS_MAX: usize = 200;

/// Why a request did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    /// No answer.
    #[error(
        "cannot reach the hub at {url}: {why}\n  start one with `triggerfish serve --dev`, or name another with --host or TRIGGERFISH_HOST"
    )]
    Unreachable { url: Url, why: String },
    /// The hub refused.
    #[error("{text}{}", next_step(*.status, .key_from))]
    Refused { status: StatusCode, text: String, key_from: String },
    /// The answer is none of the API's.
    #[error(
        "{url} answered {status}, but not as a hub does: {text}\n  is something else listening there? --host names another"
    )]
    NotAHub { url: Url, status: StatusCode, text: String },
}

impl CallError {
    /// Whether the hub said that there is no such thing.
    pub(super) fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { status: StatusCode::NOT_FOUND, .. })
    }
}

/// What helps against a refusal, as a second line.
fn next_step(status: StatusCode, key_from: &str) -> String {
    let step = match status {
        StatusCode::UNAUTHORIZED => format!(
            "the key came from {key_from}; give another by TRIGGERFISH_AUTH, --auth-file or ~/.wskprops"
        ),
        StatusCode::FORBIDDEN => format!("the key from {key_from} belongs to another namespace"),
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            "try again in a moment; the hub's /health/ready says what it waits for".to_owned()
        }
        StatusCode::INTERNAL_SERVER_ERROR => "the hub's log says why".to_owned(),
        _ => return String::new(),
    };
    format!("\n  {step}")
}

/// A client of one hub.
pub(super) struct Api {
    http: reqwest::Client,
    target: Target,
}

/// A request's address: the parts below a namespace, and its query.
#[derive(Clone, Copy)]
pub(super) struct Path<'a> {
    /// `None` is the caller's own.
    pub(super) namespace: Option<&'a str>,
    pub(super) parts: &'a [&'a str],
    pub(super) query: &'a [(&'a str, String)],
}

impl<'a> Path<'a> {
    /// In the caller's own namespace, without a query.
    pub(super) fn own(parts: &'a [&'a str]) -> Self {
        Self { namespace: None, parts, query: &[] }
    }
}

impl Api {
    pub(super) fn new(target: Target) -> anyhow::Result<Self> {
        let mut http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("triggerfish/", env!("CARGO_PKG_VERSION")));
        if is_loopback(&target.url) {
            http = http.no_proxy();
        }
        Ok(Self { http: http.build()?, target })
    }

    /// The key as the feed protocol hands it on.
    pub(super) fn key(&self) -> String {
        format!("{}:{}", self.target.uuid, self.target.key)
    }

    /// The hub's own document at `/`.
    pub(super) async fn root(&self) -> Result<Value, CallError> {
        self.answer(self.http.get(self.target.url.clone()).timeout(ANSWER_TIMEOUT)).await
    }

    /// The namespaces of the key: always one (contract §1.8).
    pub(super) async fn namespaces(&self) -> Result<Value, CallError> {
        let mut url = self.target.url.clone();
        if let Ok(mut parts) = url.path_segments_mut() {
            parts.pop_if_empty().extend(["api", "v1", "namespaces"]);
        }
        let request = self.http.get(url).basic_auth(&self.target.uuid, Some(&self.target.key));
        self.answer(request.timeout(ANSWER_TIMEOUT)).await
    }

    pub(super) async fn get(&self, path: Path<'_>) -> Result<Value, CallError> {
        self.send(Method::GET, path, None).await
    }

    /// What is there, `None` where nothing is.
    pub(super) async fn find(&self, path: Path<'_>) -> Result<Option<Value>, CallError> {
        match self.get(path).await {
            Ok(value) => Ok(Some(value)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn put(&self, path: Path<'_>, body: &Value) -> Result<Value, CallError> {
        self.send(Method::PUT, path, Some(body)).await
    }

    pub(super) async fn post(&self, path: Path<'_>, body: &Value) -> Result<Value, CallError> {
        self.send(Method::POST, path, Some(body)).await
    }

    pub(super) async fn delete(&self, path: Path<'_>) -> Result<Value, CallError> {
        self.send(Method::DELETE, path, None).await
    }

    /// Opens a stream; only its start has a time limit.
    pub(super) async fn open(&self, path: Path<'_>) -> Result<Response, CallError> {
        let sent = tokio::time::timeout(ANSWER_TIMEOUT, self.request(Method::GET, path).send()).await;
        let response = match sent {
            Ok(sent) => sent.map_err(|error| self.unreachable(&error))?,
            Err(_) => return Err(self.silent()),
        };
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let text = response.text().await.map_err(|error| self.unreachable(&error))?;
        Err(self.refused(status, text))
    }

    async fn send(&self, method: Method, path: Path<'_>, body: Option<&Value>) -> Result<Value, CallError> {
        let mut request = self.request(method, path).timeout(ANSWER_TIMEOUT);
        if let Some(body) = body {
            request = request.json(body);
        }
        self.answer(request).await
    }

    fn request(&self, method: Method, path: Path<'_>) -> reqwest::RequestBuilder {
        let mut url = self.target.url.clone();
        if let Ok(mut parts) = url.path_segments_mut() {
            parts.pop_if_empty().extend(["api", "v1", "namespaces"]);
            parts.push(path.namespace.unwrap_or(&self.target.namespace)).extend(path.parts);
        }
        if !path.query.is_empty() {
            url.query_pairs_mut().extend_pairs(path.query);
        }
        self.http.request(method, url).basic_auth(&self.target.uuid, Some(&self.target.key))
    }

    async fn answer(&self, request: reqwest::RequestBuilder) -> Result<Value, CallError> {
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        let text = response.text().await.map_err(|error| self.unreachable(&error))?;
        if !status.is_success() {
            return Err(self.refused(status, text));
        }
        if text.is_empty() {
            return Ok(Value::Null);
        }
        // A rule's POST answers a bare OK (contract §1.6).
        if text == "OK" {
            return Ok(Value::String(text));
        }
        serde_json::from_str(&text).map_err(|_| self.not_a_hub(status, &text))
    }

    fn refused(&self, status: StatusCode, text: String) -> CallError {
        let body: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
        // An API error has `error` at the top; the record of an action that failed has it in its result (contract §8.1).
        let found = [body.get("error"), body.pointer("/response/result/error")];
        match found.into_iter().flatten().next() {
            Some(Value::String(text)) => {
                CallError::Refused { status, text: text.clone(), key_from: self.target.key_from.clone() }
            }
            Some(other) => {
                CallError::Refused { status, text: other.to_string(), key_from: self.target.key_from.clone() }
            }
            None => self.not_a_hub(status, &text),
        }
    }

    fn not_a_hub(&self, status: StatusCode, text: &str) -> CallError {
        let text = if text.is_empty() { "nothing".to_owned() } else { cut(text, SHOWN_CHARS_MAX) };
        CallError::NotAHub { url: self.target.url.clone(), status, text }
    }

    /// A transport error in the words of its innermost cause: what is around it repeats the URL.
    fn unreachable(&self, error: &reqwest::Error) -> CallError {
        if error.is_timeout() {
            return self.silent();
        }
        let mut cause: &dyn std::error::Error = error;
        while let Some(inner) = cause.source() {
            cause = inner;
        }
        CallError::Unreachable { url: self.target.url.clone(), why: cause.to_string() }
    }

    fn silent(&self) -> CallError {
        CallError::Unreachable { url: self.target.url.clone(), why: "no answer in time".to_owned() }
    }
}
