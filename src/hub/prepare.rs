//! From an invocation and its action to a job for the invoker (contract §2.1): pure.

use std::sync::Arc;

use indexmap::IndexMap;
use triggerfish_invoker::{Job, Runnable};
use triggerfish_model::{Exec, Invocation, Json, JsonObject, Parameter, Parameters, Response, StatusCode};

use crate::entities::resolve::ResolvedAction;

use super::record::Account;

/// The contract's text where a payload names a parameter that it may not (contract §1.2).
const NOT_ALLOWED: &str = "Request defines parameters that are not allowed (e.g., reserved properties).";

/// Whether `payload` names a parameter of a `final` action that is defined (contract §2.1).
pub(crate) fn overrides_final(resolved: &ResolvedAction, payload: &Json) -> bool {
    // Nothing but `true`, unlike other flags (contract-corrections.md, 2.1).
    if resolved.action().annotations.value("final").is_none_or(|value| value.as_str() != "true") {
        return false;
    }
    let Some(payload) = payload.as_object() else { return false };
    let fields = payload.fields();
    resolved.parameters.iter().any(|p| p.value.as_str() != "null" && fields.contains_key(&p.key))
}

/// The job that runs `resolved` with `arguments` over its parameters.
pub(super) fn job(
    account: &Account<'_>,
    resolved: &ResolvedAction,
    arguments: &Json,
    api_key: Option<String>,
) -> Result<Job, Response> {
    let action = resolved.action();
    let Exec::Code { kind, code, main } = &action.exec else {
        return Err(Response::error(
            StatusCode::SystemError,
            format!("actions of kind `{}` cannot run on this hub yet", action.exec.kind()),
        ));
    };
    if account.cause.is_none() && overrides_final(resolved, arguments) {
        return Err(Response::error(StatusCode::ApplicationError, NOT_ALLOWED));
    }
    let (arguments, environment) = merge(&resolved.parameters, arguments);
    let invocation: &Invocation = account.invocation;
    Ok(Job {
        activation: account.id,
        namespace: invocation.namespace.clone(),
        action: Arc::new(Runnable {
            id: action.id.clone(),
            version: action.version,
            revision: resolved.revision,
            kind: kind.clone(),
            code: code.clone(),
            main: main.clone(),
            limits: action.limits,
        }),
        arguments,
        environment,
        api_key,
        transaction: invocation.transaction.clone(),
        accepted: invocation.accepted,
    })
}

/// The arguments of the run and the fields of its environment: parameters under `payload`, those marked `init` apart.
/// An array passes as it is.
fn merge(parameters: &Parameters, payload: &Json) -> (Json, JsonObject) {
    let Some(object) = payload.as_object() else {
        return (payload.clone(), environment_of(parameters.iter()));
    };
    if parameters.is_empty() {
        return (payload.clone(), JsonObject::empty());
    }
    if !parameters.iter().any(|p| p.init) {
        return (parameters.to_object().overlaid_with(&object).into(), JsonObject::empty());
    }
    let mut arguments = object.fields();
    let mut environment = IndexMap::new();
    for parameter in parameters.iter() {
        if parameter.init {
            let value = arguments.shift_remove(&parameter.key).unwrap_or_else(|| parameter.value.clone());
            environment.insert(parameter.key.clone(), value);
        } else {
            arguments.entry(parameter.key.clone()).or_insert_with(|| parameter.value.clone());
        }
    }
    let object = |fields: &IndexMap<String, Json>| {
        JsonObject::from_fields(fields.iter().map(|(k, v)| (k.as_str(), v)))
    };
    (object(&arguments).into(), object(&environment))
}

fn environment_of<'a>(parameters: impl Iterator<Item = &'a Parameter>) -> JsonObject {
    JsonObject::from_fields(parameters.filter(|p| p.init).map(|p| (p.key.as_str(), &p.value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameter(key: &str, value: &str, init: bool) -> Parameter {
        Parameter { key: key.into(), value: Json::parse(value).unwrap(), init, encryption: None }
    }

    #[test]
    fn payload_wins_and_init_parameters_go_to_the_environment() {
        let parameters: Parameters =
            [parameter("a", "1", false), parameter("b", "2", true), parameter("c", "3", true)]
                .into_iter()
                .collect();
        let (arguments, environment) = merge(&parameters, &Json::parse(r#"{"b":5,"x":[1]}"#).unwrap());
        assert_eq!(arguments.as_str(), r#"{"x":[1],"a":1}"#);
        assert_eq!(environment.as_str(), r#"{"b":5,"c":3}"#);
    }

    #[test]
    fn arrays_pass_as_they_are() {
        let parameters = Parameters::new().with("a", Json::null());
        let (arguments, environment) = merge(&parameters, &Json::parse("[1]").unwrap());
        assert_eq!((arguments.as_str(), environment.as_str()), ("[1]", "{}"));
    }
}
