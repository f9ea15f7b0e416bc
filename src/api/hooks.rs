//! `/hooks/{ns}/{trigger}` and `/hooks/github/{ns}/{trigger}`: where webhooks arrive (design.md, "What is pinned").
//!
//! Who sends has no key of ours: the feed checks the request's signature, and fires under its owner's rights. So nothing is
//! read of a body before there is a webhook that wants it, bodies have room of their own, and each refusal is counted.

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{Method, StatusCode};
use serde_json::json;
use triggerfish_feeds::hook::{
    HookAnswer, HookDocument, HookError, HookMethod, HookPath, HookReason, HookRequest, HookTaken, HookTarget,
};
use triggerfish_model::QualifiedName;

use super::backend::Backend;
use super::call::{Incoming, Room};
use super::path;
use super::problem::{Extra, Problem};
use super::query::Query;
use super::reply::{Reply, Result};

/// The header by which a handshake of CloudEvents (HTTP 1.1 Web Hooks for Event Delivery, §4) differs from a browser's
/// question.
const HANDSHAKE: &str = "webhook-request-origin";

/// Whether an OPTIONS request is a webhook's matter.
pub(super) fn is_handshake(parts: &Parts) -> bool {
    parts.uri.path().starts_with("/hooks/") && parts.headers.contains_key(HANDSHAKE)
}

/// Hands a webhook's request to its feed. `rest` is the path after `/hooks/`.
pub(super) async fn receive(
    backend: &dyn Backend,
    parts: &Parts,
    rest: &str,
    body: &mut Incoming,
    room: &Room,
) -> Result {
    let (trigger, path) = address(rest).ok_or_else(Problem::no_route)?;
    let target = match backend.hook(&trigger, path) {
        Ok(target) => target,
        Err(error) => {
            backend.hook_refused(None, &error);
            return Err(problem(error, ""));
        }
    };
    match take(backend, &target, path, parts, body, room).await {
        Ok(taken) => Ok(reply(taken)),
        Err(error) => {
            backend.hook_refused(Some(&target), &error);
            let methods: Vec<&str> = target.methods.iter().map(|method| method.name()).collect();
            Err(problem(error, &methods.join(", ")))
        }
    }
}

/// The trigger that a path names, and the kind of its hook.
fn address(rest: &str) -> Option<(QualifiedName, HookPath)> {
    let segments = path::segments(rest);
    let segments: Vec<&str> = segments.iter().map(AsRef::as_ref).collect();
    let (path, namespace, trigger) = match segments.as_slice() {
        ["github", namespace, trigger] => (HookPath::Github, namespace, trigger),
        [namespace, trigger] => (HookPath::Plain, namespace, trigger),
        _ => return None,
    };
    let trigger =
        QualifiedName { namespace: namespace.parse().ok()?, package: None, name: trigger.parse().ok()? };
    Some((trigger, path))
}

async fn take(
    backend: &dyn Backend,
    target: &HookTarget,
    path: HookPath,
    parts: &Parts,
    body: &mut Incoming,
    room: &Room,
) -> std::result::Result<HookTaken, HookError> {
    let method = method(target, &parts.method)?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let headers = parts.headers.keys().filter_map(|name| {
        let value = parts.headers.get_all(name).iter().next_back()?;
        Some((name.as_str().to_owned(), text(value.as_bytes())))
    });
    let request = HookRequest {
        method,
        query: Query::parse(parts.uri.query()).pairs(),
        headers: headers.collect(),
        body: body.read(parts, target.body_bytes_max, room).await.map_err(unread)?,
        received: backend.clock().now(),
    };
    backend.take_hook(&target.trigger, path, request).await
}

fn method(target: &HookTarget, method: &Method) -> std::result::Result<HookMethod, HookError> {
    HookMethod::parse(method.as_str()).filter(|method| target.methods.contains(method)).ok_or_else(|| {
        let methods: Vec<&str> = target.methods.iter().map(|method| method.name()).collect();
        let text =
            format!("The method {method} is not one of this webhook's; expected {}.", methods.join(" or "));
        HookError::new(HookReason::Method, text)
    })
}

/// Why a body was not read, as webhooks count it.
fn unread(problem: Problem) -> HookError {
    let reason = match problem.status {
        StatusCode::PAYLOAD_TOO_LARGE => HookReason::TooLarge,
        StatusCode::REQUEST_TIMEOUT => HookReason::Slow,
        StatusCode::SERVICE_UNAVAILABLE => HookReason::Busy,
        _ => HookReason::Malformed,
    };
    let error = HookError::new(reason, problem.text);
    match problem.extra {
        Extra::Retry(after) => error.after(after),
        Extra::None | Extra::Challenge | Extra::Allow(_) => error,
    }
}

fn reply(taken: HookTaken) -> Reply {
    let HookTaken { accepted, duplicates, answer } = taken;
    let reply = match answer {
        HookAnswer::Accepted => {
            Reply::json(StatusCode::ACCEPTED, &json!({ "accepted": accepted, "duplicates": duplicates }))
        }
        HookAnswer::Ignored(why) => Reply::ok(&json!({ "accepted": 0, "ignored": why })),
        HookAnswer::Document(HookDocument { content_type, body, mut headers }) => {
            // Some of it is what the sender sent: no browser is to make anything of it.
            headers.push(("x-content-type-options", "nosniff".to_owned()));
            Reply { content_type, body: Body::from(body), headers, ..Reply::empty_ok() }
        }
    };
    reply.without_cors()
}

/// The one place where a refusal becomes an HTTP status.
fn problem(error: HookError, methods: &str) -> Problem {
    let status = match error.reason {
        HookReason::Unsigned | HookReason::Signature | HookReason::Timestamp => StatusCode::UNAUTHORIZED,
        HookReason::Malformed | HookReason::Id => StatusCode::BAD_REQUEST,
        HookReason::Method => StatusCode::METHOD_NOT_ALLOWED,
        HookReason::ContentType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        HookReason::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        HookReason::Slow => StatusCode::REQUEST_TIMEOUT,
        HookReason::NotFound => StatusCode::NOT_FOUND,
        HookReason::Paused | HookReason::Busy => StatusCode::SERVICE_UNAVAILABLE,
        HookReason::Fault => StatusCode::INTERNAL_SERVER_ERROR,
    };
    let extra = match (error.reason, error.retry_after) {
        (HookReason::Method, _) => Extra::Allow(methods.to_owned()),
        (_, Some(after)) => Extra::Retry(after),
        (_, None) => Extra::None,
    };
    Problem { extra, ..Problem::rejection(status, error.text) }
}
