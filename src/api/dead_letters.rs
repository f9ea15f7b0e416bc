//! `/namespaces/{ns}/dead-letters`: what could not be processed; to look at, to replay, to discard.

use axum::http::{Method, StatusCode};
use serde_json::{Value, json};
use triggerfish_model::{ActivationId, DeadContent, DeadLetter, Invoker, Namespace, QualifiedName};
use triggerfish_store::DeadLetterQuery;

use super::call::Call;
use super::collections::own_namespace;
use super::problem::Problem;
use super::reply::{Reply, Result};
use super::triggers;

pub(super) async fn route(call: Call<'_>, namespace: &Namespace, rest: &[&str]) -> Result {
    own_namespace(&call, namespace)?;
    match (call.method().clone(), rest) {
        (Method::GET, [] | [""]) => list(&call, namespace).await,
        (Method::GET, [id] | [id, ""]) => {
            let found = call.backend.dead_letters().dead_letter(namespace, parse(id)?).await?;
            Ok(Reply::ok(&whole(&found.ok_or_else(Problem::not_found)?)))
        }
        (Method::DELETE, [id]) => {
            let found = call.backend.dead_letters().discard(namespace, parse(id)?).await?;
            if found { Ok(Reply::empty()) } else { Err(Problem::not_found()) }
        }
        (Method::POST, [id, "_replay"]) => {
            let started = call.backend.replay(namespace, parse(id)?).await?;
            started.map(triggers::accepted).ok_or_else(Problem::not_found)
        }
        _ => Err(Problem::no_route()),
    }
}

fn parse(id: &str) -> Result<ActivationId> {
    id.parse::<ActivationId>().map_err(|error| Problem::rejection(StatusCode::BAD_REQUEST, error.to_string()))
}

/// Latest first; `of` names a trigger or an action.
async fn list(call: &Call<'_>, namespace: &Namespace) -> Result {
    let page = call.query.page("dead-letters")?;
    let of = match call.query.get("of") {
        None | Some("") => None,
        Some(name) => {
            // `name` is short for `/_/name`.
            let whole = if name.contains('/') { name.to_owned() } else { format!("/_/{name}") };
            let of = QualifiedName::parse(&whole, call.own());
            Some(of.map_err(|error| Problem::query("of", error.to_string()))?)
        }
    };
    let query = DeadLetterQuery { namespace: namespace.clone(), of, skip: page.skip, limit: page.limit };
    let found = call.backend.dead_letters().dead_letters(&query).await?;
    Ok(Reply::ok(&found.iter().map(|letter| Value::Object(summary(letter))).collect::<Vec<_>>()))
}

/// A dead letter as lists show it.
fn summary(letter: &DeadLetter) -> serde_json::Map<String, Value> {
    let kind = match letter.content {
        DeadContent::Run { .. } => "run",
        DeadContent::Message { .. } => "message",
    };
    let shown = json!({
        "id": letter.id,
        "at": letter.at,
        "kind": kind,
        "of": format!("/{}", letter.of()),
        "reason": letter.reason,
        "replays": letter.replays,
    });
    shown.as_object().cloned().unwrap_or_default()
}

/// A dead letter with all that it holds.
fn whole(letter: &DeadLetter) -> Value {
    let mut shown = summary(letter);
    match &letter.content {
        DeadContent::Run { invocation, retry } => {
            shown.insert("payload".into(), json!(invocation.payload));
            shown.insert("attempts".into(), json!(retry.attempts));
            if let Invoker::Rule { trigger, rule, event } = &invocation.invoker {
                shown.insert("trigger".into(), json!(format!("/{trigger}")));
                shown.insert("rule".into(), json!(format!("/{rule}")));
                shown.insert("event".into(), json!(event));
            }
        }
        DeadContent::Message { context, payload, .. } => {
            shown.insert("context".into(), json!(context));
            shown.insert("payload".into(), json!(payload));
        }
    }
    Value::Object(shown)
}
