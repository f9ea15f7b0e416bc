//! From an event to what is done about it: which actions run with which payloads, and the trigger's record.
//!
//! A plan is written down whole before its first effect, so rules that change afterwards change nothing for its event
//! (invariant 2). The same event and rules always give the same plan, ids included.

use std::sync::Arc;

use serde_json::Value;
use triggerfish_model::{
    Activation, ActivationId, Event, Invocation, Invoker, Json, Origin, Parameters, Progress, QualifiedName,
    RecordPolicy, Response, Retrying, Source, StatusCode, Trigger,
};

use crate::conditions::Failure;
use crate::rule::{CompiledRule, Decision, Matcher};
use crate::view::EventView;

/// How much of a payload a trigger's record keeps, in bytes (design.md, "What is pinned").
const RECORDED_BYTES_MAX: usize = 1 << 20;

/// What an event leads to.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// The trigger's record, where one is to be kept.
    pub record: Option<Activation>,
    /// What is to run, in the rules' order.
    pub invocations: Vec<Invocation>,
    /// Rules that could not decide.
    pub failures: Vec<RuleFailure>,
    /// How many rules matched.
    pub matched: usize,
}

/// A rule that could not decide about an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleFailure {
    /// The rule.
    pub rule: QualifiedName,
    /// Why.
    pub failure: Failure,
}

/// A rule of the trigger that is not asked, and gets an error line in the trigger's record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SkippedRule {
    /// The rule.
    pub rule: QualifiedName,
    /// Its action.
    pub action: QualifiedName,
    /// Why.
    pub reason: SkipReason,
}

/// Why a rule is not asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SkipReason {
    /// It is inactive.
    Inactive,
    /// Its action is gone.
    ActionGone,
    /// It cannot be made ready; the text says why.
    Broken(String),
}

impl SkippedRule {
    fn text(&self) -> String {
        match &self.reason {
            SkipReason::Inactive => {
                format!("Rule '{}' is inactive, action '{}' was not activated.", self.rule, self.action)
            }
            SkipReason::ActionGone => "The requested resource does not exist.".into(),
            SkipReason::Broken(text) => text.clone(),
        }
    }
}

/// Decides what `event` on `trigger` leads to. `rules` are the trigger's active rules, `skipped` its others.
///
/// A fire through the API leaves a record where there is an active rule (without one the API answers 204); an event of a
/// feed leaves one where a rule matched, or where `policy` says so.
pub fn plan(
    event: &Event,
    trigger: &Trigger,
    rules: &dyn Matcher,
    skipped: &[SkippedRule],
    policy: RecordPolicy,
) -> Plan {
    let payload = if trigger.parameters.is_empty() {
        event.payload.clone()
    } else {
        trigger.parameters.to_object().overlaid_with(&event.payload)
    };
    let view = EventView::new(event, trigger, &payload);
    let transaction: Arc<str> = event.id.to_string().into();
    let mut plan = Plan::default();
    let mut lines: Vec<(usize, String)> = Vec::new();
    let place = |rule: &QualifiedName| trigger.rules.get_index_of(rule).unwrap_or(usize::MAX);
    rules.decide(&view, &mut |rule, decision| match decision {
        Decision::Matched(transformed) => {
            let id = event.id.child(rule.id_text.as_bytes());
            lines.push((place(&rule.id), started_line(id, rule)));
            let payload = transformed.unwrap_or_else(|| payload.clone()).into();
            plan.invocations.push(invocation(event, rule, id, payload, transaction.clone()));
        }
        Decision::Failed(failure) => {
            lines.push((place(&rule.id), error_line(&rule.id, &rule.action, &failure.to_string())));
            plan.failures.push(RuleFailure { rule: rule.id.clone(), failure });
        }
        Decision::NotMatched => {}
    });
    plan.matched = plan.invocations.len();
    let recorded = match event.source {
        // A fire is answered with an id where a rule is active, be it one that cannot start anything.
        Source::Api => !rules.is_empty() || skipped.iter().any(|s| !matches!(s.reason, SkipReason::Inactive)),
        Source::Feed(_) => plan.matched > 0 || policy == RecordPolicy::All,
    };
    if recorded {
        lines.extend(skipped.iter().map(|s| (place(&s.rule), error_line(&s.rule, &s.action, &s.text()))));
        // In the order in which the trigger lists its rules; a stable sort.
        lines.sort_by_key(|(place, _)| *place);
        plan.record = Some(record(event, trigger, lines.into_iter().map(|(_, line)| line).collect()));
    }
    plan
}

fn invocation(
    event: &Event,
    rule: &CompiledRule,
    id: ActivationId,
    payload: Json,
    transaction: Arc<str>,
) -> Invocation {
    Invocation {
        id,
        namespace: event.trigger.namespace.clone(),
        subject: event.subject.clone(),
        action: rule.action.clone(),
        invoker: Invoker::Rule { trigger: event.trigger.clone(), rule: rule.id.clone(), event: event.id },
        payload,
        accepted: event.received,
        transaction,
        progress: Progress::default(),
        retry: rule.retry.clone().map(|policy| Retrying { policy, attempt: 0, due: None, replays: 0 }),
    }
}

/// The fields stand in the order of the reference's records.
fn started_line(id: ActivationId, rule: &CompiledRule) -> String {
    format!(r#"{{"statusCode":0,"success":true,"activationId":"{id}"{}"#, rule.line_end)
}

fn error_line(rule: &QualifiedName, action: &QualifiedName, error: &str) -> String {
    let error = Value::from(error);
    format!(r#"{{"statusCode":1,"success":false,"rule":"{rule}","error":{error},"action":"{action}"}}"#)
}

fn record(event: &Event, trigger: &Trigger, logs: Vec<String>) -> Activation {
    let (result, annotations) = recorded_payload(event);
    Activation {
        namespace: event.trigger.namespace.clone(),
        name: event.trigger.name.clone(),
        version: trigger.version,
        subject: event.subject.clone(),
        id: event.id,
        cause: None,
        start: event.received,
        end: None,
        duration_ms: None,
        response: Response { status: StatusCode::Success, result, size: None },
        logs,
        annotations,
        origin: Origin { trigger: Some(event.trigger.clone()), rule: None },
    }
}

/// The payload, or `{"truncated": "<its first 1 MB>"}` with the annotations `truncated` and `payloadBytes`.
fn recorded_payload(event: &Event) -> (Json, Parameters) {
    let text = event.payload.as_str();
    if text.len() <= RECORDED_BYTES_MAX {
        return (event.payload.as_json().clone(), Parameters::new());
    }
    let start = text.get(..char_boundary(text, RECORDED_BYTES_MAX)).unwrap_or_default();
    let annotations = Parameters::new()
        .with("truncated", Json::from(Value::Bool(true)))
        .with("payloadBytes", Json::from(Value::from(text.len())));
    (Json::from(serde_json::json!({ "truncated": start })), annotations)
}

/// The end of the last whole character within the first `bytes` bytes of `text`.
fn char_boundary(text: &str, bytes: usize) -> usize {
    (0..=bytes).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0)
}
