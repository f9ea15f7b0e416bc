//! `/namespaces/{ns}/actions` (contract §1.4).

use axum::http::{Method, StatusCode};
use triggerfish_model::{Activation, Collection, Namespace, QualifiedName};
use triggerfish_store::EntityQuery;

use super::backend::{FeedCall, Invoke, Invoked};
use super::call::Call;
use super::problem::Problem;
use super::reply::{Reply, Result};
use super::{collections, path, render, triggers};
use crate::entities::actions::{self, ActionInput};
use crate::entities::resolve::ResolvedAction;
use crate::entities::{EntityError, access};

/// The contract's text where a payload names a parameter that it may not (contract §1.2).
const NOT_ALLOWED: &str = "Request defines parameters that are not allowed (e.g., reserved properties).";

pub(super) async fn route(call: Call<'_>, namespace: &Namespace, rest: &[&str]) -> Result {
    match rest {
        [] | [""] if call.method() == Method::GET => {
            collections::list(&call, namespace, Collection::Actions).await
        }
        [name] if !name.is_empty() => one(call, path::id(namespace, None, name)?).await,
        [package, ""] if !package.is_empty() && call.method() == Method::GET => {
            in_package(&call, path::id(namespace, None, package)?).await
        }
        [package, name] if !package.is_empty() && !name.is_empty() => {
            one(call, path::id(namespace, Some(package), name)?).await
        }
        _ => Err(Problem::no_route()),
    }
}

/// The actions of a package, or of the provider of a binding.
async fn in_package(call: &Call<'_>, package: QualifiedName) -> Result {
    let collection = Collection::Actions;
    let found =
        access::package(call.backend.entities(), call.own(), &package).await.map_err(access::unnamed)?;
    let page = call.query.page(collection.as_str())?;
    let real = &found.real().id;
    let query = EntityQuery {
        namespace: real.namespace.clone(),
        collection,
        package: Some(real.name.clone()),
        skip: page.skip,
        limit: page.limit,
    };
    collections::listed(call, &query, page.count).await
}

async fn one(mut call: Call<'_>, id: QualifiedName) -> Result {
    let store = call.backend.entities();
    match *call.method() {
        Method::GET => get(&call, &id).await,
        Method::PUT => {
            access::writable(call.own(), &id)?;
            let overwrite = call.query.flag("overwrite", false)?;
            let input = ActionInput::parse(&call.document().await?, call.own())?;
            let action = actions::put(store, &id, input, overwrite, call.backend.clock().now()).await?;
            Ok(stored(&action))
        }
        Method::DELETE => {
            access::writable(call.own(), &id)?;
            Ok(stored(&actions::delete(store, &id).await?))
        }
        Method::POST => invoke(call, &id).await,
        _ => Err(Problem::no_route()),
    }
}

fn stored(action: &triggerfish_model::Action) -> Reply {
    let view = render::ActionView { action, parameters: &action.parameters, with_code: true, binding: None };
    Reply::ok(&render::action(&view))
}

async fn get(call: &Call<'_>, id: &QualifiedName) -> Result {
    let found = access::action(call.backend.entities(), call.own(), id).await;
    let found = rights_first(found)?;
    let with_code = call.query.flag("code", true)?;
    let found = found?;
    let view = render::ActionView {
        action: found.action(),
        parameters: &found.parameters,
        with_code,
        binding: found.binding.as_ref(),
    };
    Ok(Reply::ok(&render::action(&view)))
}

async fn invoke(mut call: Call<'_>, id: &QualifiedName) -> Result {
    let found = access::action(call.backend.entities(), call.own(), id).await;
    let found = rights_first(found)?;
    let blocking = call.query.flag("blocking", false)?;
    let only_result = call.query.flag("result", false)?;
    let wait = call.query.wait()?;
    let payload = call.payload().await?;
    let found = found?;
    if is_system_feed(&found) {
        let params = found.parameters.to_object().overlaid_with(&payload);
        let feed = found.action().id.clone();
        let feed_call = FeedCall { caller: call.caller, feed, params, transaction: call.transaction };
        let record = call.backend.feed_action(feed_call).await?;
        return Ok(if blocking { finished(&record, only_result) } else { triggers::accepted(record.id) });
    }
    let payload = payload.into();
    if call.backend.overrides_final(&found, &payload) {
        return Err(Problem::of(StatusCode::BAD_REQUEST, NOT_ALLOWED));
    }
    let invoke = Invoke {
        caller: call.caller,
        action: id.clone(),
        resolved: found,
        payload,
        transaction: call.transaction,
        wait: blocking.then_some(wait),
    };
    Ok(match call.backend.invoke(invoke).await? {
        Invoked::Accepted(id) => triggers::accepted(id),
        Invoked::Finished(record) => finished(&record, only_result),
    })
}

/// Rights are answered for at once; what else is wrong with the action comes after query and body.
fn rights_first(
    found: std::result::Result<ResolvedAction, EntityError>,
) -> Result<std::result::Result<ResolvedAction, EntityError>> {
    match found {
        Err(error @ EntityError::Forbidden(_)) => Err(error.into()),
        other => Ok(other),
    }
}

/// Whether the hub answers this action itself.
fn is_system_feed(found: &ResolvedAction) -> bool {
    let action = found.action();
    action.id.namespace == Namespace::system() && action.annotations.is_truthy("feed")
}

/// The answer to a blocking caller (contract §1.4.3): 502 for what the action is to blame for, and an array alone
/// whatever was asked for.
fn finished(record: &Activation, only_result: bool) -> Reply {
    let status = match record.response.status.as_u8() {
        0 => StatusCode::OK,
        1 | 2 => StatusCode::BAD_GATEWAY,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    let result = &record.response.result;
    let reply = if only_result || result.as_str().starts_with('[') {
        Reply::json_text(status, result.as_str().to_owned())
    } else {
        Reply::json(status, &render::activation(record, false))
    };
    reply.with_activation(record.id)
}
