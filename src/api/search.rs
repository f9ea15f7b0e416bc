//! `/namespaces/{ns}/activations/_search` (design.md, "Search"): as a query, or as a JSON body of the same names.

use axum::http::Method;
use serde::Deserialize;
use serde_json::json;
use triggerfish_model::{Json, Namespace, Timestamp};
use triggerfish_store::SearchQuery;

use super::call::Call;
use super::collections::own_namespace;
use super::problem::Problem;
use super::render;
use super::reply::{Reply, Result};

/// Hits of a page where no limit is given.
const LIMIT_DEFAULT: usize = 30;
/// The most hits of a page.
const LIMIT_MAX: usize = 1000;

/// What a search's body may say.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Input {
    q: Option<String>,
    since: Option<i64>,
    upto: Option<i64>,
    sort: Option<String>,
    limit: Option<usize>,
    cursor: Option<String>,
    aggs: Option<Json>,
}

pub(super) async fn search(mut call: Call<'_>, namespace: &Namespace) -> Result {
    own_namespace(&call, namespace)?;
    let input = match *call.method() {
        Method::GET => from_query(&call)?,
        Method::POST => {
            let payload = call.payload().await?;
            payload.as_json().read().map_err(Problem::malformed)?
        }
        _ => return Err(Problem::no_route()),
    };
    let limit = input.limit.unwrap_or(LIMIT_DEFAULT);
    if limit > LIMIT_MAX {
        return Err(Problem::query(
            "limit",
            format!("The value '{limit}' is not in the range of 0 to {LIMIT_MAX}."),
        ));
    }
    let query = SearchQuery {
        q: input.q,
        since: input.since.map(Timestamp::from_millis),
        upto: input.upto.map(Timestamp::from_millis),
        sort: input.sort,
        limit,
        cursor: input.cursor,
        aggs: input.aggs,
    };
    let page = call.backend.activations().search(namespace, &query).await?;
    let hits: Vec<_> = page
        .hits
        .iter()
        .map(|hit| json!({ "activation": render::activation(&hit.activation, true), "highlight": hit.highlight }))
        .collect();
    let took = u64::try_from(page.took.as_millis()).unwrap_or(u64::MAX);
    Ok(Reply::ok(&json!({
        "total": page.total,
        "tookMs": took,
        "hits": hits,
        "aggregations": page.aggregations,
        "cursor": page.cursor,
    })))
}

fn from_query(call: &Call<'_>) -> Result<Input> {
    let query = &call.query;
    let text = |name: &str| query.get(name).filter(|text| !text.is_empty()).map(str::to_owned);
    let aggs = text("aggs").map(Json::parse).transpose().map_err(|error| Problem::query("aggs", error))?;
    let limit = text("limit")
        .map(|limit| {
            let bad = || Problem::query("limit", format!("The value '{limit}' is not a whole number."));
            limit.parse().map_err(|_| bad())
        })
        .transpose()?;
    let millis = |name| Ok::<_, Problem>(query.time(name)?.map(Timestamp::as_millis));
    Ok(Input {
        q: text("q"),
        since: millis("since")?,
        upto: millis("upto")?,
        sort: text("sort"),
        limit,
        cursor: text("cursor"),
        aggs,
    })
}
