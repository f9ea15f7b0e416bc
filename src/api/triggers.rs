//! `/namespaces/{ns}/triggers` (contract §1.5, §2.3).

use axum::http::{Method, StatusCode};
use triggerfish_model::{Collection, Entity, Namespace, QualifiedName};

use super::call::Call;
use super::problem::Problem;
use super::reply::{Reply, Result};
use super::{collections, path, render};
use crate::entities::triggers::{self, TriggerInput};
use crate::entities::{EntityError, access};

pub(super) async fn route(call: Call<'_>, namespace: &Namespace, rest: &[&str]) -> Result {
    match rest {
        [] | [""] if call.method() == Method::GET => {
            collections::list(&call, namespace, Collection::Triggers).await
        }
        [name] if !name.is_empty() => one(call, path::id(namespace, None, name)?).await,
        [name, "_explain"] if call.method() == Method::POST => {
            explain(call, path::id(namespace, None, name)?).await
        }
        _ => Err(Problem::no_route()),
    }
}

async fn one(mut call: Call<'_>, id: QualifiedName) -> Result {
    let store = call.backend.entities();
    if !matches!(*call.method(), Method::GET | Method::PUT | Method::DELETE | Method::POST) {
        return Err(Problem::no_route());
    }
    access::writable(call.own(), &id)?;
    match *call.method() {
        Method::PUT => {
            let overwrite = call.query.flag("overwrite", false)?;
            let input = TriggerInput::parse(&call.document().await?)?;
            let trigger = triggers::put(store, &id, input, overwrite, call.backend.clock().now()).await?;
            Ok(Reply::ok(&render::trigger(&trigger)))
        }
        Method::DELETE => {
            let trigger = triggers::delete(store, &id).await?;
            call.backend.trigger_deleted(&id).await?;
            Ok(Reply::ok(&render::trigger(&trigger)))
        }
        Method::POST => fire(call, &id).await,
        _ => {
            let found = access::own(store, &id, Collection::Triggers).await?;
            match &*found.entity {
                Entity::Trigger(trigger) => Ok(Reply::ok(&render::trigger(trigger))),
                _ => Err(EntityError::wrong_collection().into()),
            }
        }
    }
}

async fn fire(mut call: Call<'_>, id: &QualifiedName) -> Result {
    let payload = call.payload().await?;
    match call.backend.fire(&call.caller, id, payload, call.transaction.clone()).await? {
        Some(activation) => Ok(accepted(activation)),
        None => {
            // Nobody listens, or nothing is there: only now is it worth to look which.
            access::own(call.backend.entities(), id, Collection::Triggers).await?;
            Ok(Reply::empty())
        }
    }
}

/// 202 with the activation's id.
pub(super) fn accepted(id: triggerfish_model::ActivationId) -> Reply {
    Reply::json_text(StatusCode::ACCEPTED, format!("{{\"activationId\":\"{id}\"}}")).with_activation(id)
}

async fn explain(mut call: Call<'_>, id: QualifiedName) -> Result {
    access::writable(call.own(), &id)?;
    let sample = call.payload().await?;
    access::own(call.backend.entities(), &id, Collection::Triggers).await?;
    Ok(Reply::ok(&call.backend.explain(&id, None, sample).await?))
}
