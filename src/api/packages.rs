//! `/namespaces/{ns}/packages` (contract §1.7).

use axum::http::Method;
use triggerfish_model::{Action, Collection, Entity, Namespace, Package, QualifiedName};
use triggerfish_store::EntityQuery;

use super::call::Call;
use super::collections::{counted, kept, listed, summaries};
use super::problem::Problem;
use super::reply::{Reply, Result};
use super::{path, render};
use crate::entities::access;
use crate::entities::packages::{self, PackageInput};

pub(super) async fn route(call: Call<'_>, namespace: &Namespace, rest: &[&str]) -> Result {
    match rest {
        [] | [""] if call.method() == Method::GET => list(&call, namespace).await,
        [name] if !name.is_empty() => one(call, path::id(namespace, None, name)?).await,
        _ => Err(Problem::no_route()),
    }
}

/// Anybody may list another's public packages.
async fn list(call: &Call<'_>, namespace: &Namespace) -> Result {
    let collection = Collection::Packages;
    let page = call.query.page(collection.as_str())?;
    let query =
        |skip, limit| EntityQuery { namespace: namespace.clone(), collection, package: None, skip, limit };
    if namespace == call.own() {
        return listed(call, &query(page.skip, page.limit), page.count).await;
    }
    let all = call.backend.entities().list(&query(0, 0)).await?;
    let public =
        kept(all, |entity| matches!(entity, Entity::Package(Package { publish: true, binding: None, .. })));
    let shown: Vec<_> = public.into_iter().skip(page.skip).collect();
    if page.count {
        return Ok(counted(collection, shown.len()));
    }
    Ok(summaries(shown.get(..page.limit.min(shown.len())).unwrap_or_default()))
}

async fn one(mut call: Call<'_>, id: QualifiedName) -> Result {
    let store = call.backend.entities();
    match *call.method() {
        Method::GET => get(&call, &id).await,
        Method::PUT => {
            access::writable(call.own(), &id)?;
            let overwrite = call.query.flag("overwrite", false)?;
            let input = PackageInput::parse(&call.document().await?, call.own())?;
            let package = packages::put(store, &id, input, overwrite, call.backend.clock().now()).await?;
            Ok(Reply::ok(&render::package(&package)))
        }
        Method::DELETE => {
            access::writable(call.own(), &id)?;
            let force = call.query.flag("force", false)?;
            let package = packages::delete(store, &id, force).await?;
            Ok(Reply::ok(&render::package(&package)))
        }
        _ => Err(Problem::no_route()),
    }
}

async fn get(call: &Call<'_>, id: &QualifiedName) -> Result {
    let store = call.backend.entities();
    let found = access::package(store, call.own(), id).await?;
    let held = store.list(&packages::contents(&found.real().id)).await?;
    let actions: Vec<Action> = held
        .iter()
        .filter_map(|held| match &*held.entity {
            Entity::Action(action) => Some(action.clone()),
            _ => None,
        })
        .collect();
    Ok(Reply::ok(&render::package_with(&found.package, &found.parameters(), Some(&actions))))
}
