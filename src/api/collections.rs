//! From a path below `/api/v1` to a handler.

use axum::http::Method;
use triggerfish_model::{Collection, Entity, Namespace};
use triggerfish_store::{EntityQuery, Versioned};

use super::call::Call;
use super::problem::Problem;
use super::reply::{Reply, Result};
use super::tail::Tails;
use super::{
    actions, activations, dead_letters, feeds, info, packages, path, render, rules, search, triggers,
};

/// Answers a request for `rest`, the path after `/api/v1`.
pub(super) async fn route(call: Call<'_>, rest: &str, tails: &Tails) -> Result {
    let Some(rest) = rest.strip_prefix("/namespaces") else { return Err(Problem::no_route()) };
    if matches!(rest, "" | "/") {
        let own = [call.own()];
        return if call.method() == Method::GET { Ok(Reply::ok(&own)) } else { Err(Problem::no_route()) };
    }
    let Some(rest) = rest.strip_prefix('/') else { return Err(Problem::no_route()) };
    let segments = path::segments(rest);
    let segments: Vec<&str> = segments.iter().map(AsRef::as_ref).collect();
    let Some((namespace, segments)) = segments.split_first() else { return Err(Problem::no_route()) };
    let namespace = path::namespace(namespace, call.own())?;
    match segments {
        ["actions", rest @ ..] => actions::route(call, &namespace, rest).await,
        ["packages", rest @ ..] => packages::route(call, &namespace, rest).await,
        ["triggers", rest @ ..] => triggers::route(call, &namespace, rest).await,
        ["rules", rest @ ..] => rules::route(call, &namespace, rest).await,
        ["activations", "_search"] => search::search(call, &namespace).await,
        ["activations", "_tail"] => tails.stream(call, &namespace),
        ["activations", rest @ ..] => activations::route(call, &namespace, rest).await,
        ["limits" | "limits/"] | ["limits", ""] => info::limits(&call, &namespace),
        ["dead-letters", rest @ ..] => dead_letters::route(call, &namespace, rest).await,
        ["feeds"] | ["feeds", ""] => feeds::list(&call, &namespace).await,
        _ => Err(Problem::no_route()),
    }
}

/// Refuses another's namespace as a whole.
pub(super) fn own_namespace(call: &Call<'_>, namespace: &Namespace) -> Result<()> {
    if namespace == call.own() { Ok(()) } else { Err(Problem::forbidden(namespace)) }
}

/// The list of `collection`, in all of a namespace.
pub(super) async fn list(call: &Call<'_>, namespace: &Namespace, collection: Collection) -> Result {
    own_namespace(call, namespace)?;
    let page = call.query.page(collection.as_str())?;
    let query = EntityQuery {
        namespace: namespace.clone(),
        collection,
        package: None,
        skip: page.skip,
        limit: page.limit,
    };
    listed(call, &query, page.count).await
}

/// The entities of `query`, or how many there are.
pub(super) async fn listed(call: &Call<'_>, query: &EntityQuery, count: bool) -> Result {
    let store = call.backend.entities();
    if count {
        let count = store.count(query).await?.saturating_sub(query.skip);
        return Ok(counted(query.collection, count));
    }
    Ok(summaries(&store.list(query).await?))
}

/// `{"actions": n}`.
pub(super) fn counted(collection: Collection, count: usize) -> Reply {
    Reply::ok(&serde_json::json!({ collection.as_str(): count }))
}

/// Entities as lists show them.
pub(super) fn summaries(found: &[Versioned]) -> Reply {
    let entities: Vec<_> = found.iter().map(|found| render::summary(&found.entity)).collect();
    Reply::ok(&entities)
}

/// Entities of one namespace that `keep` lets pass, after skipping and up to the limit.
pub(super) fn kept(found: Vec<Versioned>, keep: impl Fn(&Entity) -> bool) -> Vec<Versioned> {
    found.into_iter().filter(|found| keep(&found.entity)).collect()
}
