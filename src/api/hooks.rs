//! `/hooks/{ns}/{trigger}` and `/hooks/github/{ns}/{trigger}`: where webhooks arrive (design.md, "What is pinned").
//!
//! Who sends has no key of ours: the feed checks the request's signature, and fires under its owner's rights.

use axum::http::request::Parts;
use axum::http::{Method, StatusCode};
use triggerfish_model::QualifiedName;

use super::backend::{Backend, Hook};
use super::call::{Incoming, PAYLOAD_BYTES_MAX};
use super::path;
use super::problem::{Extra, Problem};
use super::query::Query;
use super::reply::{Reply, Result};

/// The largest body of a webhook; GitHub's own limit is 25 MB.
const BODY_BYTES_MAX: usize = 25 * PAYLOAD_BYTES_MAX;

/// Hands a webhook's request to its feed. `rest` is the path after `/hooks/`.
pub(super) async fn receive(backend: &dyn Backend, parts: &Parts, rest: &str, body: &mut Incoming) -> Result {
    let segments = path::segments(rest);
    let segments: Vec<&str> = segments.iter().map(AsRef::as_ref).collect();
    let (github, namespace, trigger) = match segments.as_slice() {
        ["github", namespace, trigger] => (true, namespace, trigger),
        [namespace, trigger] => (false, namespace, trigger),
        _ => return Err(Problem::no_route()),
    };
    if parts.method != Method::POST {
        return Err(Problem::method("POST, OPTIONS"));
    }
    let (Ok(namespace), Ok(name)) = (namespace.parse(), trigger.parse()) else {
        return Err(Problem::no_route());
    };
    let trigger = QualifiedName { namespace, package: None, name };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let headers = parts.headers.keys().filter_map(|name| {
        let value = parts.headers.get_all(name).iter().next_back()?;
        Some((name.as_str().to_owned(), text(value.as_bytes())))
    });
    let hook = Hook {
        trigger,
        github,
        headers: headers.collect(),
        query: Query::parse(parts.uri.query()).pairs(),
        body: body.read(parts, BODY_BYTES_MAX).await?,
    };
    let reply = backend.hook(hook).await;
    let status = StatusCode::from_u16(reply.status).map_err(Problem::internal)?;
    match reply.retry_after {
        None => Ok(Reply::json_text(status, reply.body.as_str().to_owned()).without_cors()),
        Some(after) => {
            let text = reply.body.as_object().and_then(|body| body.fields().get("error")?.read().ok());
            let problem = Problem::rejection(status, text.unwrap_or_else(|| "The hub is busy.".to_owned()));
            Err(Problem { extra: Extra::Retry(after), ..problem })
        }
    }
}
