//! Asks a server for a document: conditionally, through redirects, within bounds of size and time.

use std::time::Duration;

use reqwest::header::{
    ACCEPT, ETAG, HeaderMap, HeaderName, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED, LOCATION,
    RETRY_AFTER,
};
use reqwest::{Response, StatusCode};
use tokio::sync::{Semaphore, SemaphorePermit};
use triggerfish_model::Timestamp;
use url::Url;

use super::cursor::{Validators, digest};
use crate::provider::FeedError;
use crate::web::{self, Web};

/// The largest document, unpacked, in bytes; the largest real ones (podcasts of many years) have about so many.
const DOCUMENT_BYTES_MAX: usize = 8 << 20;
/// A document above this size waits for one of [`LARGE`].
const SMALL_BYTES_MAX: usize = 256 << 10;
/// How many large documents are held at once, by all feeds together: so many times [`DOCUMENT_BYTES_MAX`] bytes.
static LARGE: Semaphore = Semaphore::const_new(8);
/// How long an answer may take, to its last byte and with all redirects; less than a feed's connecting may take.
const FETCH_MAX: Duration = Duration::from_secs(18);
/// How many redirects are followed, as browsers once did by RFC 2068.
const REDIRECTS_MAX: usize = 5;
/// The longest validator that is kept; longer ones are no use to anybody.
const VALIDATOR_BYTES_MAX: usize = 1024;
/// The longest time that a server can ask to be left alone for.
pub(super) const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 3600);
/// What is asked for.
const ACCEPTED: &str = "application/atom+xml, application/rss+xml, application/rdf+xml, application/feed+json, \
                        application/xml;q=0.9, text/xml;q=0.9, application/json;q=0.8, */*;q=0.1";

/// What came of asking.
pub(super) struct Fetched {
    /// Where redirects led that are permanent, all of them; `None` where there were none.
    pub(super) moved_to: Option<Url>,
    /// Where the answer came from.
    pub(super) from: Url,
    pub(super) outcome: Outcome,
}

/// The server's answer.
pub(super) enum Outcome {
    /// The document is as it was (304).
    Unchanged,
    /// The document.
    Document {
        bytes: Vec<u8>,
        validators: Option<Validators>,
        /// Held as long as the bytes are.
        room: Option<SemaphorePermit<'static>>,
    },
    /// The document is there and cannot be taken.
    Unreadable(String),
    /// The server answers something else, and perhaps says when to come again.
    Refused { status: StatusCode, retry_after: Option<Duration> },
}

/// Asks for the document at `url`.
pub(super) async fn fetch(
    web: &Web,
    url: Url,
    validators: Option<Validators>,
    now: Timestamp,
) -> Result<Fetched, FeedError> {
    let shown = web::shown(&url);
    match tokio::time::timeout(FETCH_MAX, follow(web, url, validators, now)).await {
        Ok(fetched) => fetched,
        Err(_) => Err(FeedError::Unavailable(format!("`{shown}`: no whole answer within {FETCH_MAX:?}"))),
    }
}

async fn follow(
    web: &Web,
    url: Url,
    validators: Option<Validators>,
    now: Timestamp,
) -> Result<Fetched, FeedError> {
    let mut at = url;
    let mut moved_to = None;
    let mut is_permanent = true;
    for _ in 0..=REDIRECTS_MAX {
        let response = ask(web, &at, validators.as_ref()).await?;
        let permanently = match response.status() {
            StatusCode::MOVED_PERMANENTLY | StatusCode::PERMANENT_REDIRECT => true,
            StatusCode::FOUND | StatusCode::SEE_OTHER | StatusCode::TEMPORARY_REDIRECT => false,
            _ => {
                let outcome = answer(response, &at, now).await?;
                return Ok(Fetched { moved_to, from: at, outcome });
            }
        };
        at = target(&at, &response)?;
        is_permanent &= permanently;
        if is_permanent {
            moved_to = Some(at.clone());
        }
    }
    Err(FeedError::Unavailable(format!("`{}`: more than {REDIRECTS_MAX} redirects", web::shown(&at))))
}

async fn ask(web: &Web, url: &Url, validators: Option<&Validators>) -> Result<Response, FeedError> {
    let mut request = web.client(url)?.get(url.clone()).header(ACCEPT, ACCEPTED);
    if let Some(validators) = validators.filter(|validators| validators.of == hash(url)) {
        if let Some(etag) = &validators.etag {
            request = request.header(IF_NONE_MATCH, etag);
        }
        if let Some(date) = &validators.last_modified {
            request = request.header(IF_MODIFIED_SINCE, date);
        }
    }
    request.send().await.map_err(|error| web::failure(url, &error))
}

/// Where a redirect leads.
fn target(from: &Url, response: &Response) -> Result<Url, FeedError> {
    let refused = |what: &str| FeedError::Unavailable(format!("`{}`: {what}", web::shown(from)));
    let location =
        text(response.headers(), &LOCATION).ok_or_else(|| refused("a redirect without a place"))?;
    let mut url = from.join(location).map_err(|_| refused("a redirect to what is no URL"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(refused("a redirect out of the web"));
    }
    if url.origin() != from.origin() && (!url.username().is_empty() || url.password().is_some()) {
        // Credentials that a server hands on are its own; ours stay with their server.
        let _ = url.set_username("");
        let _ = url.set_password(None);
    }
    Ok(url)
}

async fn answer(response: Response, url: &Url, now: Timestamp) -> Result<Outcome, FeedError> {
    let status = response.status();
    if status == StatusCode::NOT_MODIFIED {
        return Ok(Outcome::Unchanged);
    }
    if !status.is_success() {
        let retry_after = text(response.headers(), &RETRY_AFTER).and_then(|text| retry_after(text, now));
        return Ok(Outcome::Refused { status, retry_after });
    }
    let validators = validators(response.headers(), url);
    body(response, url, validators).await
}

async fn body(
    mut response: Response,
    url: &Url,
    validators: Option<Validators>,
) -> Result<Outcome, FeedError> {
    let mut bytes = Vec::new();
    let mut room = None;
    while let Some(chunk) = response.chunk().await.map_err(|error| web::failure(url, &error))? {
        if bytes.len() + chunk.len() > DOCUMENT_BYTES_MAX {
            let text = format!("the document has more than {DOCUMENT_BYTES_MAX} bytes");
            return Ok(Outcome::Unreadable(text));
        }
        if room.is_none() && bytes.len() + chunk.len() > SMALL_BYTES_MAX {
            room = Some(LARGE.acquire().await.expect("nobody closes it"));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(Outcome::Document { bytes, validators, room })
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn validators(headers: &HeaderMap, url: &Url) -> Option<Validators> {
    let kept =
        |name| text(headers, &name).filter(|text| text.len() <= VALIDATOR_BYTES_MAX).map(str::to_owned);
    let (etag, last_modified) = (kept(ETAG), kept(LAST_MODIFIED));
    (etag.is_some() || last_modified.is_some()).then(|| Validators { of: hash(url), etag, last_modified })
}

fn hash(url: &Url) -> String {
    hex::encode(digest(&[url.as_str()]).first_chunk::<8>().unwrap_or(&[0; 8]))
}

/// How long a `Retry-After` asks to wait (RFC 9110 §10.2.3: seconds, or a date), at most [`RETRY_AFTER_MAX`].
fn retry_after(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    let wait = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
            Timestamp::from_millis(date.as_millisecond()).since(now)
        }
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date_and_is_bounded() {
        let now = Timestamp::from_millis(784_111_777_000);
        assert_eq!(retry_after("120", now), Some(Duration::from_secs(120)));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:50:37 GMT", now), Some(Duration::from_secs(60)));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:00:00 GMT", now), Some(Duration::ZERO));
        assert_eq!(retry_after("99999999999", now), Some(RETRY_AFTER_MAX));
        assert_eq!(retry_after("soon", now), None);
        assert_eq!(retry_after("-5", now), None);
    }
}
