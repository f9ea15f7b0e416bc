//! Activation records of runs (contract §2.2): pure functions from what ran and how it ended.

use serde_json::json;
use triggerfish_invoker::Outcome;
use triggerfish_model::{
    Activation, ActivationId, Invocation, Invoker, Json, Limits, Name, Origin, Parameters, QualifiedName,
    Response, Timestamp, Version,
};

/// What a record says of the action that ran.
#[derive(Clone, Debug)]
pub(super) struct Ran<'a> {
    /// The real action.
    pub(super) id: &'a QualifiedName,
    /// Its version.
    pub(super) version: Version,
    /// Its kind.
    pub(super) kind: &'a str,
    /// Its limits.
    pub(super) limits: Limits,
    /// The binding that it was reached through.
    pub(super) binding: Option<&'a QualifiedName>,
}

/// For whom and on whose account something ran: the invocation, or a step of its sequence.
#[derive(Clone, Debug)]
pub(super) struct Account<'a> {
    /// The invocation.
    pub(super) invocation: &'a Invocation,
    /// The activation's own id; the invocation's, but for a component of a sequence.
    pub(super) id: ActivationId,
    /// The sequence that it is a component of.
    pub(super) cause: Option<ActivationId>,
}

/// The record of a run.
pub(super) fn of_outcome(account: &Account<'_>, ran: &Ran<'_>, outcome: Outcome) -> Activation {
    let mut annotations = Parameters::new();
    annotations.set("path", ran.id.to_string().as_str());
    annotations.set("waitTime", Json::from(json!(outcome.wait_ms)));
    annotations.set("kind", ran.kind);
    annotations.set("timeout", Json::from(json!(outcome.timed_out)));
    annotations.set("limits", limits(&ran.limits));
    if let Some(init_ms) = outcome.init_ms {
        annotations.set("initTime", Json::from(json!(init_ms)));
    }
    if let Some(binding) = ran.binding {
        annotations.set("binding", binding.to_string().as_str());
    }
    let duration = outcome.end.since(outcome.start).as_millis();
    Activation {
        version: ran.version,
        start: outcome.start,
        end: Some(outcome.end),
        duration_ms: Some(u64::try_from(duration).unwrap_or(u64::MAX)),
        response: outcome.response,
        logs: outcome.logs,
        ..base(account, ran.id.name.clone(), annotations)
    }
}

/// The record of something that did not come to run: its action is gone, or the hub gave up.
pub(super) fn of_failure(
    account: &Account<'_>,
    ran: Option<&Ran<'_>>,
    response: Response,
    now: Timestamp,
) -> Activation {
    let addressed = &account.invocation.action;
    let (id, kind) = ran.map_or((addressed, "unknown"), |ran| (ran.id, ran.kind));
    let mut annotations = Parameters::new();
    annotations.set("path", id.to_string().as_str());
    annotations.set("kind", kind);
    annotations.set("timeout", Json::from(json!(false)));
    if let Some(ran) = ran {
        annotations.set("limits", limits(&ran.limits));
    }
    Activation {
        version: ran.map(|ran| ran.version).unwrap_or_default(),
        start: now,
        end: Some(now),
        duration_ms: Some(0),
        response,
        ..base(account, id.name.clone(), annotations)
    }
}

fn base(account: &Account<'_>, name: Name, mut annotations: Parameters) -> Activation {
    if account.cause.is_some() {
        annotations.set("causedBy", "sequence");
    }
    let invocation = account.invocation;
    Activation {
        namespace: invocation.namespace.clone(),
        name,
        version: Version::default(),
        subject: invocation.subject.clone(),
        id: account.id,
        cause: account.cause,
        start: invocation.accepted,
        end: None,
        duration_ms: None,
        response: Response {
            status: triggerfish_model::StatusCode::Success,
            result: Json::null(),
            size: None,
        },
        logs: Vec::new(),
        annotations,
        origin: origin(&invocation.invoker),
    }
}

/// Which trigger and rule are behind an invocation.
pub(super) fn origin(invoker: &Invoker) -> Origin {
    match invoker {
        Invoker::Api => Origin::default(),
        Invoker::Rule { trigger, rule, .. } => {
            Origin { trigger: Some(trigger.clone()), rule: Some(rule.clone()) }
        }
    }
}

/// The `limits` annotation.
pub(super) fn limits(limits: &Limits) -> Json {
    Json::from(json!({
        "timeout": limits.timeout_ms,
        "memory": limits.memory_mb,
        "logs": limits.logs_mb,
        "concurrency": limits.concurrency,
    }))
}
