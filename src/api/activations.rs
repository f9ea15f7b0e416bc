//! `/namespaces/{ns}/activations` (contract §1.8).

use std::sync::Arc;

use axum::http::{Method, StatusCode};
use serde_json::json;
use triggerfish_model::{Activation, ActivationId, Namespace};
use triggerfish_store::ActivationQuery;

use super::call::Call;
use super::collections::own_namespace;
use super::problem::Problem;
use super::render;
use super::reply::{Reply, Result};

pub(super) async fn route(call: Call<'_>, namespace: &Namespace, rest: &[&str]) -> Result {
    if call.method() != Method::GET {
        return Err(Problem::no_route());
    }
    match rest {
        [] | [""] => list(&call, namespace).await,
        [id] | [id, ""] => {
            let record = record(&call, namespace, id).await?;
            Ok(Reply::ok(&render::activation(&record, true)))
        }
        [id, "logs"] => {
            let record = record(&call, namespace, id).await?;
            Ok(Reply::ok(&json!({ "logs": record.logs })))
        }
        [id, "result"] => {
            let record = record(&call, namespace, id).await?;
            Ok(Reply::ok(&render::response(&record)))
        }
        [id, _] => {
            parse(id)?;
            Err(Problem::no_route())
        }
        _ => Err(Problem::no_route()),
    }
}

fn parse(id: &str) -> Result<ActivationId> {
    id.parse::<ActivationId>().map_err(|error| Problem::rejection(StatusCode::BAD_REQUEST, error.to_string()))
}

async fn record(call: &Call<'_>, namespace: &Namespace, id: &str) -> Result<Arc<Activation>> {
    let id = parse(id)?;
    if namespace != call.own() {
        return Err(Problem::forbidden(format!("{namespace}/{id}")));
    }
    call.backend.activations().get(namespace, id).await?.ok_or_else(Problem::not_found)
}

async fn list(call: &Call<'_>, namespace: &Namespace) -> Result {
    own_namespace(call, namespace)?;
    let page = call.query.page("activations")?;
    let docs = call.query.flag("docs", false)?;
    let query = ActivationQuery {
        namespace: namespace.clone(),
        name: call.query.activation_name()?,
        since: call.query.time("since")?,
        upto: call.query.time("upto")?,
        skip: page.skip,
        limit: page.limit,
    };
    let store = call.backend.activations();
    if page.count {
        if docs {
            let text = "The parameter 'docs' is not permitted with 'count'.";
            return Err(Problem::of(StatusCode::BAD_REQUEST, text));
        }
        let count = store.count(&query).await?.saturating_sub(page.skip);
        return Ok(Reply::ok(&json!({ "activations": count })));
    }
    let records = store.list(&query).await?;
    let shown: Vec<_> = records
        .iter()
        .map(
            |record| if docs { render::activation(record, true) } else { render::activation_summary(record) },
        )
        .collect();
    Ok(Reply::ok(&shown))
}
