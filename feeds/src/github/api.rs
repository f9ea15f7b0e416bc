//! The part of GitHub's REST API (2022-11-28) that keeps a hook: hooks of a repository, and their deliveries.
//!
//! Errors name the request and what GitHub said, and never the token.

use std::sync::Arc;
use std::time::Duration;

use octocrab::models::hooks::{Delivery, Hook};
use reqwest::header::{HeaderMap, LINK, RETRY_AFTER};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, redirect};
use serde::de::DeserializeOwned;
use serde_json::Value;
use triggerfish_model::{Clock, Timestamp};
use url::Url;

use crate::provider::FeedError;

use super::settings::Place;

/// How long reaching the API may take.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// How long one request may take, with its answer.
const REQUEST_MAX: Duration = Duration::from_secs(15);
/// The largest answer: a page of 100 deliveries has some 50 kB.
const ANSWER_BYTES_MAX: usize = 8 << 20;
/// What of an answer that is an error goes into a text.
const MESSAGE_CHARS_MAX: usize = 300;
/// A repository that was renamed answers with where it is now.
const REDIRECTS_MAX: usize = 3;
/// Items of a page; the most that GitHub gives.
const PER_PAGE: &str = "100";
/// Pages of hooks; GitHub allows 20 hooks an event.
const HOOK_PAGES_MAX: usize = 20;
/// How long to wait where GitHub limits requests and does not say how long ("Best practices", a minute at least).
const LIMITED_FOR: Duration = Duration::from_secs(60);
/// The longest wait that is believed: limits are by the hour.
const LIMITED_MAX: Duration = Duration::from_secs(3600);

/// Why the API did not do it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ApiError {
    /// It cannot be reached, or failed.
    Unavailable(String),
    /// No such thing, or none that the token may see.
    NotFound(String),
    /// It refuses: the token, the request.
    Refused(StatusCode, String),
    /// No more requests for a while.
    Limited(Duration),
}

impl From<ApiError> for FeedError {
    fn from(error: ApiError) -> Self {
        match error {
            ApiError::Unavailable(text) => Self::Unavailable(text),
            ApiError::NotFound(text) | ApiError::Refused(_, text) => Self::Refused(text),
            ApiError::Limited(wait) => {
                Self::Unavailable(format!("GitHub takes no more requests for {} s", wait.as_secs()))
            }
        }
    }
}

pub(super) type Result<T> = std::result::Result<T, ApiError>;

/// The API as one repository's administrator.
pub(super) struct Api {
    http: Client,
    place: Place,
    clock: Arc<dyn Clock>,
}

/// A page of deliveries, newest first.
pub(super) struct Page {
    pub(super) deliveries: Vec<Delivery>,
    /// The next one, older.
    pub(super) next: Option<Url>,
}

impl Api {
    pub(super) fn new(place: &Place, clock: Arc<dyn Clock>) -> Result<Self> {
        let mut http = Client::builder()
            .user_agent(concat!("triggerfish/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_MAX)
            .timeout(REQUEST_MAX)
            .redirect(redirect::Policy::limited(REDIRECTS_MAX));
        for certificate in &place.ca {
            http = http.add_root_certificate(certificate.clone());
        }
        let http = http.build().map_err(|error| ApiError::Unavailable(format!("no HTTP client: {error}")))?;
        Ok(Self { http, place: place.clone(), clock })
    }

    fn url(&self, parts: &[&str]) -> Url {
        let mut url = self.place.repository.clone();
        // Cannot fail: settings take only addresses that can be a base.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.extend(parts);
        }
        url
    }

    fn request(&self, method: Method, url: Url) -> RequestBuilder {
        let request = self
            .http
            .request(method, url)
            .header("accept", "application/vnd.github+json")
            .header("x-github-api-version", "2022-11-28");
        match &self.place.username {
            // As the contract has it; GitHub looks at the token alone.
            Some(username) => request.basic_auth(username, Some(&self.place.token)),
            None => request.bearer_auth(&self.place.token),
        }
    }

    /// The repository's hooks.
    pub(super) async fn hooks(&self) -> Result<Vec<Hook>> {
        let mut url = self.url(&["hooks"]);
        url.query_pairs_mut().append_pair("per_page", PER_PAGE);
        let mut hooks = Vec::new();
        for _ in 0..HOOK_PAGES_MAX {
            let (page, next) = self.get::<Vec<Hook>>(url).await?;
            hooks.extend(page);
            match next {
                Some(next) => url = next,
                None => break,
            }
        }
        Ok(hooks)
    }

    /// Makes a hook.
    pub(super) async fn create(&self, hook: &Value) -> Result<Hook> {
        let request = self.request(Method::POST, self.url(&["hooks"])).json(hook);
        read(self.send("POST hooks", request).await?).await
    }

    /// Changes a hook.
    pub(super) async fn update(&self, id: u64, hook: &Value) -> Result<Hook> {
        let request = self.request(Method::PATCH, self.url(&["hooks", &id.to_string()])).json(hook);
        read(self.send("PATCH a hook", request).await?).await
    }

    /// Removes a hook; one that is gone is no error.
    pub(super) async fn delete(&self, id: u64) -> Result<()> {
        let request = self.request(Method::DELETE, self.url(&["hooks", &id.to_string()]));
        match self.send("DELETE a hook", request).await {
            Ok(_) | Err(ApiError::NotFound(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The newest page of a hook's failed deliveries; older servers give all of them.
    pub(super) async fn deliveries(&self, hook: u64) -> Result<Page> {
        let mut url = self.url(&["hooks", &hook.to_string(), "deliveries"]);
        url.query_pairs_mut().append_pair("per_page", PER_PAGE).append_pair("status", "failure");
        self.page(url).await
    }

    /// A further page.
    pub(super) async fn page(&self, url: Url) -> Result<Page> {
        let (deliveries, next) = self.get(url).await?;
        Ok(Page { deliveries, next })
    }

    /// Has a delivery sent again.
    pub(super) async fn redeliver(&self, hook: u64, delivery: u64) -> Result<()> {
        let parts = ["hooks", &hook.to_string(), "deliveries", &delivery.to_string(), "attempts"];
        self.send("POST attempts of a delivery", self.request(Method::POST, self.url(&parts))).await.map(drop)
    }

    async fn get<T: DeserializeOwned>(&self, url: Url) -> Result<(T, Option<Url>)> {
        let what = format!("GET {}", url.path());
        let response = self.send(&what, self.request(Method::GET, url)).await?;
        // The token goes along, so the next page is where this one was.
        let next =
            next_page(response.headers()).filter(|next| next.origin() == self.place.repository.origin());
        Ok((read(response).await?, next))
    }

    /// Sends a request; an answer that is no success is an error.
    async fn send(&self, what: &str, request: RequestBuilder) -> Result<Response> {
        let unavailable =
            |why: &dyn std::fmt::Display| ApiError::Unavailable(format!("GitHub's API, {what}: {why}"));
        let response = request.send().await.map_err(|error| unavailable(&causes(error.without_url())))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        if let Some(wait) = limited(status, response.headers(), self.clock.now().as_millis() / 1000) {
            return Err(ApiError::Limited(wait));
        }
        let message = message(&bytes(response).await.unwrap_or_default());
        let text = format!("GitHub's API, {what}: {status}{message}");
        Err(match status {
            StatusCode::NOT_FOUND => ApiError::NotFound(format!(
                "{text}: no such repository or hook, or the token may not administer it"
            )),
            status if status.is_server_error() => ApiError::Unavailable(text),
            status => ApiError::Refused(status, text),
        })
    }
}

/// The whole chain of an error: the cause is what helps.
fn causes(error: reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

async fn bytes(mut response: Response) -> Result<Vec<u8>> {
    let failed = |why: &dyn std::fmt::Display| ApiError::Unavailable(format!("GitHub's answer: {why}"));
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| failed(&causes(error.without_url())))? {
        if bytes.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Err(failed(&format!("more than {ANSWER_BYTES_MAX} bytes")));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

async fn read<T: DeserializeOwned>(response: Response) -> Result<T> {
    let bytes = bytes(response).await?;
    let mut reader = serde_json::Deserializer::from_slice(&bytes);
    serde_path_to_error::deserialize(&mut reader)
        .map_err(|error| ApiError::Unavailable(format!("GitHub's answer cannot be read: {error}")))
}

/// What an error's body says.
fn message(body: &[u8]) -> String {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let Some(message) = body.get("message").and_then(Value::as_str) else { return String::new() };
    let errors = body.get("errors").and_then(Value::as_array).into_iter().flatten();
    let details = errors.filter_map(|error| error.get("message").or(Some(error))?.as_str());
    let text = std::iter::once(message).chain(details).collect::<Vec<_>>().join("; ");
    format!(": {}", text.chars().filter(|c| !c.is_control()).take(MESSAGE_CHARS_MAX).collect::<String>())
}

/// How long GitHub wants no more requests, where that is what it says (its "Rate limits for the REST API"). `now` is in
/// seconds since 1970.
fn limited(status: StatusCode, headers: &HeaderMap, now: i64) -> Option<Duration> {
    let number = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<i64>().ok();
    let is_used_up = number("x-ratelimit-remaining") == Some(0);
    let after = number(RETRY_AFTER.as_str());
    let is_limit = status == StatusCode::TOO_MANY_REQUESTS
        || status == StatusCode::FORBIDDEN && (is_used_up || after.is_some());
    if !is_limit {
        return None;
    }
    let seconds = after.or_else(|| Some(number("x-ratelimit-reset").filter(|_| is_used_up)? - now));
    let wait = seconds.and_then(|seconds| u64::try_from(seconds).ok()).map(Duration::from_secs);
    Some(wait.unwrap_or(LIMITED_FOR).clamp(Duration::from_secs(1), LIMITED_MAX))
}

/// The next page's address (RFC 8288).
fn next_page(headers: &HeaderMap) -> Option<Url> {
    let links = headers.get(LINK)?.to_str().ok()?;
    links.split(',').find_map(|link| {
        let (url, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
        let is_next = parameters.split(';').any(|parameter| parameter.trim() == "rel=\"next\"");
        Url::parse(url).ok().filter(|_| is_next)
    })
}

/// When a delivery was made.
pub(super) fn delivered_at(delivery: &Delivery) -> Timestamp {
    Timestamp::from_millis(delivery.delivered_at.timestamp_millis())
}

#[cfg(test)]
mod tests {
    use reqwest::header::{HeaderName, HeaderValue};

    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn limits_are_told_from_refusals() {
        let wait = |status: u16, pairs: &[(&'static str, &str)]| {
            limited(StatusCode::from_u16(status).unwrap(), &headers(pairs), 1000).map(|wait| wait.as_secs())
        };
        assert_eq!(wait(403, &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1090")]), Some(90));
        assert_eq!(wait(403, &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "900")]), Some(60));
        assert_eq!(wait(403, &[("retry-after", "7")]), Some(7), "a secondary limit");
        assert_eq!(wait(429, &[]), Some(60));
        assert_eq!(wait(429, &[("retry-after", "999999")]), Some(3600));
        assert_eq!(wait(403, &[("x-ratelimit-remaining", "4999")]), None, "no right");
        assert_eq!(wait(401, &[("x-ratelimit-remaining", "0")]), None);
    }

    #[test]
    fn the_next_page_is_found() {
        let link = "<https://api.github.com/x?page=1>; rel=\"prev\", <https://api.github.com/x?cursor=v1_2>; rel=\"next\"";
        assert_eq!(
            next_page(&headers(&[("link", link)])).unwrap().as_str(),
            "https://api.github.com/x?cursor=v1_2"
        );
        assert_eq!(next_page(&headers(&[("link", "<https://x>; rel=\"last\"")])), None);
        assert_eq!(next_page(&headers(&[])), None);
    }

    #[test]
    fn an_errors_message_has_its_details() {
        let body = br#"{"message":"Validation Failed","errors":[{"resource":"Hook","code":"custom","message":"Hook already exists on this repository"}]}"#;
        assert_eq!(message(body), ": Validation Failed; Hook already exists on this repository");
        assert_eq!(message(b"<html>"), "");
    }
}
