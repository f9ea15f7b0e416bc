//! A rule made ready, and the rules of one trigger.

use std::sync::Arc;

use cel::common::types::CelMap;
use triggerfish_model::{JsonObject, QualifiedName, Retry, Rule};

use crate::conditions::{Clause, ConditionError, Failure};
use crate::expression::{Expression, output_text};
use crate::pattern::{self, Fuel, Pattern};
use crate::view::EventView;

/// A rule whose conditions were checked and made ready. One serves every event until the rule changes.
#[derive(Debug)]
pub struct CompiledRule {
    /// The rule's whole name.
    pub id: QualifiedName,
    /// The action that it starts.
    pub action: QualifiedName,
    /// `id` as text: the activation ids of its invocations follow from it.
    pub(crate) id_text: String,
    /// The end of its line in a trigger's record (contract §2.3).
    pub(crate) line_end: String,
    pub(crate) pattern: Option<Pattern>,
    pub(crate) when: Option<Expression>,
    pub(crate) with: Option<Expression>,
    pub(crate) retry: Option<Retry>,
}

/// What a rule decides about an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It matches; the action gets this payload, or the event's own where there is none.
    Matched(Option<JsonObject>),
    /// It does not match.
    NotMatched,
    /// A condition could not be evaluated.
    Failed(Failure),
}

impl CompiledRule {
    /// Checks the conditions of `rule` and makes them ready.
    pub fn compile(rule: &Rule) -> Result<Self, ConditionError> {
        let conditions = &rule.conditions;
        let expression = |clause, source: &Option<String>| {
            source.as_deref().map(|source| Expression::compile(clause, source)).transpose()
        };
        Ok(Self {
            id: rule.id.clone(),
            action: rule.action.clone(),
            id_text: rule.id.to_string(),
            line_end: format!(r#","rule":"{}","action":"{}"}}"#, rule.id, rule.action),
            pattern: conditions.pattern.as_ref().map(pattern::compile).transpose()?,
            when: expression(Clause::When, &conditions.when)?,
            with: expression(Clause::With, &conditions.with)?,
            retry: conditions.retry.as_ref().map(crate::retry::parse).transpose()?,
        })
    }

    /// Whether every event matches and is passed on as it is.
    pub fn is_unconditional(&self) -> bool {
        self.pattern.is_none() && self.when.is_none() && self.with.is_none()
    }

    /// What the rule decides about `event`.
    pub fn decide(&self, event: &EventView<'_>) -> Decision {
        self.try_decide(event).unwrap_or_else(Decision::Failed)
    }

    fn try_decide(&self, event: &EventView<'_>) -> Result<Decision, Failure> {
        if let Some(pattern) = &self.pattern {
            let failed = |message: String| Failure::new(Clause::Pattern, message);
            let document = event.document().map_err(|error| failed(error.to_owned()))?;
            if !pattern.matches(Some(document), &Fuel::new()).map_err(|error| failed(error.to_string()))? {
                return Ok(Decision::NotMatched);
            }
        }
        if let Some(when) = &self.when {
            let failed = |message: String| Failure::new(Clause::When, message);
            let context = event.context().map_err(failed)?;
            let document = event.document().map_err(|error| failed(error.to_owned()))?;
            if !when.is_true(context, document)? {
                return Ok(Decision::NotMatched);
            }
        }
        self.transform(event).map(Decision::Matched)
    }

    /// The payload that `with` gives.
    pub(crate) fn transform(&self, event: &EventView<'_>) -> Result<Option<JsonObject>, Failure> {
        let Some(with) = &self.with else { return Ok(None) };
        let failed = |message: String| Failure::new(Clause::With, message);
        let context = event.context().map_err(failed)?;
        let document = event.document().map_err(|error| failed(error.to_owned()))?;
        let value = with.evaluate(context, document)?;
        if value.downcast_ref::<CelMap<'_>>().is_none() {
            return Err(failed(format!("expected an object, got a {}", value.get_type().name())));
        }
        let text = output_text(&*value).map_err(failed)?;
        JsonObject::parse(text).map(Some).map_err(|error| failed(error.to_string()))
    }
}

/// Decides for all active rules of one trigger. [`RuleSet`] asks each in turn; a matcher for thousands of rules, which
/// asks only those that can match, is another implementation.
pub trait Matcher: Send + Sync {
    /// How many active rules there are.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Tells `visit` each rule that matched or failed, in the rules' order.
    fn decide<'r>(&'r self, event: &EventView<'_>, visit: &mut dyn FnMut(&'r Arc<CompiledRule>, Decision));

    /// All rules, in their order.
    fn rules(&self) -> &[Arc<CompiledRule>];
}

/// The active rules of one trigger.
#[derive(Clone, Debug, Default)]
pub struct RuleSet {
    rules: Vec<Arc<CompiledRule>>,
}

impl RuleSet {
    /// These rules, in this order.
    pub fn new(rules: Vec<Arc<CompiledRule>>) -> Self {
        Self { rules }
    }
}

impl Matcher for RuleSet {
    fn len(&self) -> usize {
        self.rules.len()
    }

    fn decide<'r>(&'r self, event: &EventView<'_>, visit: &mut dyn FnMut(&'r Arc<CompiledRule>, Decision)) {
        for rule in &self.rules {
            let decision = if rule.is_unconditional() { Decision::Matched(None) } else { rule.decide(event) };
            if decision != Decision::NotMatched {
                visit(rule, decision);
            }
        }
    }

    fn rules(&self) -> &[Arc<CompiledRule>] {
        &self.rules
    }
}
