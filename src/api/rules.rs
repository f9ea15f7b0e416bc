//! `/namespaces/{ns}/rules` (contract §1.6).

use axum::http::Method;
use serde_json::Value;
use triggerfish_model::{Collection, Json, Namespace, QualifiedName};

use super::call::Call;
use super::problem::Problem;
use super::reply::{Reply, Result};
use super::{collections, path, render};
use crate::entities::access;
use crate::entities::input::unreadable;
use crate::entities::rules::{self, RuleInput, StatedRule};

pub(super) async fn route(call: Call<'_>, namespace: &Namespace, rest: &[&str]) -> Result {
    match rest {
        [] | [""] if call.method() == Method::GET => {
            collections::list(&call, namespace, Collection::Rules).await
        }
        [name] if !name.is_empty() => one(call, path::id(namespace, None, name)?).await,
        [name, "_explain"] if call.method() == Method::POST => {
            explain(call, path::id(namespace, None, name)?).await
        }
        _ => Err(Problem::no_route()),
    }
}

fn shown(rule: &StatedRule) -> Reply {
    Reply::ok(&render::rule(&rule.rule, Some(rule.active)))
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
            let input = RuleInput::parse(&call.document().await?, call.own())?;
            let backend = call.backend;
            let now = backend.clock().now();
            let rule =
                rules::put(store, &id, input, overwrite, now, |rule| backend.compile_rule(rule)).await?;
            Ok(shown(&rule))
        }
        Method::DELETE => Ok(shown(&rules::delete(store, &id).await?)),
        Method::POST => {
            let active = read_status(&call.document().await?)?;
            rules::set_status(store, &id, active).await?;
            Ok(Reply::text("OK"))
        }
        _ => Ok(shown(&rules::get(store, &id).await?)),
    }
}

/// Reads `{"status": "active" | "inactive"}`; the texts of faults are the reference's own.
fn read_status(body: &[u8]) -> Result<bool> {
    let json = Json::parse(body).map_err(|error| Problem::from(unreadable(error)))?;
    let Some(object) = json.as_object() else { return Err(of_class(&json)) };
    let fields = object.fields();
    let status = fields.get("status").ok_or_else(|| Problem::malformed("key not found: status"))?;
    match status.read::<String>() {
        Ok(text) => match text.as_str() {
            "active" => Ok(true),
            "inactive" => Ok(false),
            "" => Err(Problem::malformed("requirement failed: argument undefined")),
            other => {
                Err(Problem::malformed(format!("requirement failed: {other} is not a recognized rule state")))
            }
        },
        Err(_) => Err(of_class(status)),
    }
}

/// A value of the wrong type, named as the reference names it.
fn of_class(value: &Json) -> Problem {
    let class = match value.to_value() {
        Value::Null => "JsNull$",
        Value::Bool(true) => "JsTrue$",
        Value::Bool(false) => "JsFalse$",
        Value::Number(_) => "JsNumber",
        Value::String(_) => "JsString",
        Value::Array(_) => "JsArray",
        Value::Object(_) => "JsObject",
    };
    Problem::malformed(format!("{value} (of class spray.json.{class})"))
}

async fn explain(mut call: Call<'_>, id: QualifiedName) -> Result {
    access::writable(call.own(), &id)?;
    let sample = call.payload().await?;
    let StatedRule { rule, .. } = rules::get(call.backend.entities(), &id).await?;
    Ok(Reply::ok(&call.backend.explain(&rule.trigger, Some(&id), sample).await?))
}
