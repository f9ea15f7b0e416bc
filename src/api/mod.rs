//! The REST API: the OpenWhisk API under `/api/v1`, the hub's own additions to it, and the documents beside it.
//!
//! Requests are recognised by hand, not by a router's patterns: the contract fixes the order in which a request's
//! faults are found (credentials, then names, then rights, then query and body), which says which fault is answered.
//! Handlers keep no state: a crash in the middle of one leaves what its single write left.

mod actions;
mod activations;
mod auth;
mod call;
mod collections;
mod dead_letters;
mod feeds;
mod hooks;
mod info;
mod packages;
mod path;
mod problem;
mod query;
mod render;
mod reply;
mod rules;
mod search;
mod tail;
mod triggers;

pub mod backend;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, Response, StatusCode, header};
use rand::distr::{Alphanumeric, SampleString};

use auth::Authenticator;
use call::{Call, Incoming, Rooms};
use problem::Problem;
use query::Query;
use reply::{Reply, Result};
use tail::Tails;

pub use backend::Backend;

/// The longest path and query, in bytes (contract §1.1).
const URI_BYTES_MAX: usize = 8192;
/// The longest transaction id that a client may choose: it is kept with each invocation, and comes back in each answer.
const TRANSACTION_BYTES_MAX: usize = 1024;
/// Where the API begins.
const BASE: &str = "/api/v1";

/// What all requests share.
struct Api {
    backend: Arc<dyn Backend>,
    authenticator: Authenticator,
    tails: Tails,
    rooms: Rooms,
}

/// The API over `backend`, to be served.
pub fn router(backend: Arc<dyn Backend>) -> Router {
    let api = Api {
        backend,
        authenticator: Authenticator::new(),
        tails: Tails::default(),
        rooms: Rooms::default(),
    };
    Router::new().fallback(handle).with_state(Arc::new(api))
}

/// Answers one request.
async fn handle(State(api): State<Arc<Api>>, request: Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let mut body = Incoming::new(body);
    if parts.uri.path_and_query().is_some_and(|target| target.as_str().len() > URI_BYTES_MAX) {
        body.drain().await;
        return uri_too_long();
    }
    let transaction = transaction_of(&parts);
    let answered = answer(&api, &parts, &mut body, &transaction).await;
    body.drain().await;
    match answered {
        Ok(reply) if is_acceptable(&parts, &reply) => reply.into_response(&transaction),
        Ok(reply) => not_acceptable(&reply).into_response(&transaction),
        Err(problem) => problem.into_response(&transaction),
    }
}

async fn answer(api: &Api, parts: &Parts, body: &mut Incoming, transaction: &Arc<str>) -> Result {
    let path = parts.uri.path();
    let in_api = path.strip_prefix(BASE).filter(|rest| rest.is_empty() || rest.starts_with('/'));
    if in_api.is_some_and(|rest| rest.starts_with("/web/")) {
        // Web actions come with the second part of the API; until then none is exported.
        return Err(Problem { cors: false, ..Problem::not_found() });
    }
    if parts.method == Method::OPTIONS && !hooks::is_handshake(parts) {
        return Ok(info::options(in_api.is_some()));
    }
    let Some(rest) = in_api else { return root(api, parts, body).await };
    if matches!(rest, "" | "/") && parts.method == Method::GET {
        return Ok(info::api());
    }
    let backend = &*api.backend;
    let caller = api.authenticator.identify(backend.subjects(), &parts.headers).await?;
    let query = Query::parse(parts.uri.query());
    let room = &api.rooms.callers;
    let call = Call { backend, parts, query, caller, transaction: transaction.clone(), body, room };
    collections::route(call, rest, &api.tails).await
}

/// What lies outside the API.
async fn root(api: &Api, parts: &Parts, body: &mut Incoming) -> Result {
    let path = parts.uri.path();
    if let Some(rest) = path.strip_prefix("/hooks/") {
        return hooks::receive(&*api.backend, parts, rest, body, &api.rooms.hooks).await;
    }
    let reply = match path {
        "/" => info::root(),
        "/ping" => Reply::text("pong").without_cors(),
        "/metrics" => info::metrics(&*api.backend).await,
        "/health/live" => info::live(),
        "/health/ready" => info::ready(&*api.backend).await,
        _ => return Err(Problem::method("OPTIONS")),
    };
    if parts.method == Method::GET { Ok(reply) } else { Err(Problem::method("GET, OPTIONS")) }
}

/// The transaction's id: the client's own, unless it looks like one of the system's (contract §1.1) or is no id by its
/// length.
fn transaction_of(parts: &Parts) -> Arc<str> {
    let given =
        parts.headers.get("x-request-id").and_then(|value| std::str::from_utf8(value.as_bytes()).ok());
    match given {
        Some(id) if !id.starts_with("sid_") && id.len() <= TRANSACTION_BYTES_MAX => id.into(),
        _ => Alphanumeric.sample_string(&mut rand::rng(), 32).into(),
    }
}

/// Whether the client takes what a success answers; errors are sent whatever it takes.
fn is_acceptable(parts: &Parts, reply: &Reply) -> bool {
    let (Some(content_type), Some(accept)) = (reply.content_type, parts.headers.get(header::ACCEPT)) else {
        return true;
    };
    // What a webhook's sender is told is done, whatever it takes.
    if !reply.status.is_success() || parts.uri.path().starts_with("/hooks/") {
        return true;
    }
    let Ok(accept) = accept.to_str() else { return true };
    let ours = content_type.split(';').next().unwrap_or_default();
    accept.split(',').map(|range| range.split(';').next().unwrap_or_default().trim()).any(|range| {
        range.is_empty()
            || range == "*/*"
            || range.eq_ignore_ascii_case(ours)
            || range.strip_suffix("/*").is_some_and(|kind| ours.split('/').next() == Some(kind))
    })
}

fn not_acceptable(reply: &Reply) -> Problem {
    let content_type = reply.content_type.unwrap_or_default();
    let ours = content_type.split(';').next().unwrap_or_default();
    Problem::rejection(
        StatusCode::NOT_ACCEPTABLE,
        format!("Resource representation is only available with these types:\n{ours}"),
    )
}

/// From the HTTP layer: no request id, no JSON (contract-corrections.md §1.1).
fn uri_too_long() -> Response<Body> {
    let text = format!("URI length exceeds the configured limit of {URI_BYTES_MAX} characters");
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = StatusCode::URI_TOO_LONG;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(reply::TEXT));
    response
}

#[cfg(test)]
mod tests;
