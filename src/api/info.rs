//! The documents beside the entities (contract §1.8): what the server is, its limits, its health.

use axum::http::{Method, StatusCode};
use serde_json::{Value, json};
use triggerfish_model::Namespace;

use super::backend::Backend;
use super::call::Call;
use super::collections::own_namespace;
use super::problem::Problem;
use super::reply::{ROOT_METHODS, Reply, Result};
use crate::entities::kinds::{FAMILIES, Family};
use crate::entities::limits::{CONCURRENCY, INSTANCES_MAX, LOGS_MB, MEMORY_MB, TIMEOUT_MS};
use crate::entities::sequence;

/// What the documents say of limits per minute: none is set unless configured (design.md, "What is pinned").
const PER_MINUTE: u32 = 10_000_000;
/// Bytes of a MB, as limits count them.
const MB: i64 = 1 << 20;

/// The answer to any `OPTIONS`; nobody's credentials are looked at.
pub(super) fn options(in_api: bool) -> Reply {
    let reply = Reply::text("OK");
    if in_api { reply } else { Reply { methods: ROOT_METHODS, ..reply } }
}

/// `GET /api/v1`.
pub(super) fn api() -> Reply {
    Reply::ok(&json!({
        "api_version": "1.0.0",
        "api_version_path": "v1",
        "build": env!("CARGO_PKG_VERSION"),
        "buildno": "triggerfish",
        "description": "OpenWhisk API",
        "swagger_paths": { "api-docs": "/api-docs", "ui": "/docs" },
    }))
}

/// `GET /`.
pub(super) fn root() -> Reply {
    let runtimes: serde_json::Map<String, Value> =
        FAMILIES.iter().map(|family| (family.name.to_owned(), runtimes_of(family))).collect();
    let document = json!({
        "api_paths": ["/api/v1"],
        "description": "OpenWhisk",
        "limits": {
            "actions_per_minute": PER_MINUTE,
            "concurrent_actions": INSTANCES_MAX,
            "default_max_action_duration": TIMEOUT_MS.1,
            "default_max_action_logs": LOGS_MB.1 * MB,
            "default_max_action_memory": MEMORY_MB.1 * MB,
            "default_min_action_duration": TIMEOUT_MS.0,
            "default_min_action_logs": LOGS_MB.0 * MB,
            "default_min_action_memory": MEMORY_MB.0 * MB,
            "max_action_duration": TIMEOUT_MS.1,
            "max_action_logs": LOGS_MB.1 * MB,
            "max_action_memory": MEMORY_MB.1 * MB,
            "min_action_duration": TIMEOUT_MS.0,
            "min_action_logs": LOGS_MB.0 * MB,
            "min_action_memory": MEMORY_MB.0 * MB,
            "sequence_length": sequence::ACTIONS_MAX,
            "triggers_per_minute": PER_MINUTE,
        },
        "runtimes": runtimes,
        "support": { "github": "https://github.com/apache/openwhisk/issues", "slack": "http://slack.openwhisk.org" },
    });
    Reply::ok(&document).without_cors()
}

fn runtimes_of(family: &Family) -> Value {
    let shown = family.kinds.iter().map(|kind| {
        json!({
            "attached": true,
            "default": kind.default,
            "deprecated": kind.deprecated,
            "image": kind.image,
            "kind": kind.kind,
            "requireMain": kind.require_main,
        })
    });
    shown.collect()
}

/// `GET /namespaces/{ns}/limits`.
pub(super) fn limits(call: &Call<'_>, namespace: &Namespace) -> Result {
    if call.method() != Method::GET {
        return Err(Problem::no_route());
    }
    own_namespace(call, namespace)?;
    Ok(Reply::ok(&json!({
        "concurrentInvocations": INSTANCES_MAX,
        "firesPerMinute": PER_MINUTE,
        "invocationsPerMinute": PER_MINUTE,
        "maxActionConcurrency": CONCURRENCY.1,
        "maxActionInstances": INSTANCES_MAX,
        "maxActionLogs": LOGS_MB.1,
        "maxActionMemory": MEMORY_MB.1,
        "maxActionTimeout": TIMEOUT_MS.1,
        "maxParameterSize": "1048576 B",
        "minActionConcurrency": CONCURRENCY.0,
        "minActionLogs": LOGS_MB.0,
        "minActionMemory": MEMORY_MB.0,
        "minActionTimeout": TIMEOUT_MS.0,
    })))
}

/// `GET /metrics`.
pub(super) async fn metrics(backend: &dyn Backend) -> Reply {
    let reply = Reply::text(backend.metrics().await).without_cors();
    Reply { content_type: Some("application/openmetrics-text; version=1.0.0; charset=utf-8"), ..reply }
}

/// `GET /health/live`: it answers, so it lives.
pub(super) fn live() -> Reply {
    Reply::ok(&json!({ "status": "ok" })).without_cors()
}

/// `GET /health/ready`: 503 where the hub takes no work, with what is wrong.
pub(super) async fn ready(backend: &dyn Backend) -> Reply {
    let readiness = backend.readiness().await;
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let parts: serde_json::Map<String, Value> =
        readiness.parts.into_iter().map(|(part, state)| (part, Value::from(state))).collect();
    Reply::json(status, &json!({ "ready": readiness.ready, "parts": parts })).without_cors()
}
