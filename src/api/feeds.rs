//! `/namespaces/{ns}/feeds`: what the feeds of a namespace's triggers are doing.

use axum::http::Method;
use serde_json::json;
use triggerfish_model::Namespace;

use super::call::Call;
use super::collections::own_namespace;
use super::problem::Problem;
use super::reply::{Reply, Result};

/// The feeds, without their parameters: these may hold credentials.
pub(super) async fn list(call: &Call<'_>, namespace: &Namespace) -> Result {
    own_namespace(call, namespace)?;
    if call.method() != Method::GET {
        return Err(Problem::no_route());
    }
    let feeds = call.backend.feeds(namespace).await?;
    let shown: Vec<_> = feeds
        .iter()
        .map(|(subscription, status)| {
            json!({
                "id": subscription.id,
                "trigger": format!("/{}", subscription.trigger),
                "feed": format!("/{}", subscription.feed),
                "record": subscription.record,
                "paused": subscription.paused,
                "ended": subscription.ended,
                "created": subscription.created,
                "updated": subscription.updated,
                "status": status,
            })
        })
        .collect();
    Ok(Reply::ok(&shown))
}
