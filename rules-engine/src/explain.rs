//! Why a rule matches an event, or why it does not.

use serde::Serialize;
use triggerfish_model::{Event, JsonObject, QualifiedName, Trigger};

use crate::conditions::{Clause, Failure};
use crate::expression::Expression;
use crate::pattern;
use crate::rule::{CompiledRule, Matcher};
use crate::view::EventView;

/// How much of a value an explanation shows, in characters.
const SHOWN_CHARS_MAX: usize = 400;

/// What each rule of a trigger says about an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// How many rules match.
    pub matched: usize,
    /// The rules, in their order.
    pub rules: Vec<RuleExplanation>,
}

/// What one rule says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RuleExplanation {
    /// The rule.
    pub rule: QualifiedName,
    /// Its action.
    pub action: QualifiedName,
    /// Whether the rule matches.
    pub verdict: Verdict,
    /// The condition that decided: the one that did not hold or failed; absent where all hold.
    pub decided_by: Option<Clause>,
    /// The same in words.
    pub reason: String,
    /// The parts of the pattern that were compared.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pattern: Vec<PatternCheck>,
    /// The operands of `when`, then the fields that it looks at, with their values.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub when: Vec<Term>,
    /// The payload that the action gets, where the rule matches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload: Option<JsonObject>,
}

/// What a rule says of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Verdict {
    /// It matches.
    Matches,
    /// It does not.
    DoesNotMatch,
    /// A condition could not be evaluated.
    Fails,
}

/// One leaf of a pattern, and what it met.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PatternCheck {
    /// Where in the payload: `sensor.temperature`.
    pub path: String,
    /// The alternatives as they were written; only the one that holds, where one does.
    pub expected: Vec<String>,
    /// The payload's JSON text there; absent where there is nothing.
    pub actual: Option<String>,
    /// Whether one of the alternatives holds.
    pub holds: bool,
}

/// A part of an expression with its value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Term {
    /// The part's text.
    pub text: String,
    /// Its value as JSON text, or why it has none.
    pub value: String,
}

/// Says of each rule whether it matches `event`, and which condition decided.
pub fn explain(event: &Event, trigger: &Trigger, rules: &dyn Matcher) -> Explanation {
    let payload = trigger.parameters.to_object().overlaid_with(&event.payload);
    let view = EventView::new(event, trigger, &payload);
    let rules: Vec<_> = rules.rules().iter().map(|rule| explain_rule(rule, &view)).collect();
    Explanation { matched: rules.iter().filter(|rule| rule.verdict == Verdict::Matches).count(), rules }
}

fn explain_rule(rule: &CompiledRule, view: &EventView<'_>) -> RuleExplanation {
    let mut told = RuleExplanation {
        rule: rule.id.clone(),
        action: rule.action.clone(),
        verdict: Verdict::Matches,
        decided_by: None,
        reason: String::new(),
        pattern: Vec::new(),
        when: Vec::new(),
        payload: None,
    };
    match decide(rule, view, &mut told) {
        Ok(()) => {}
        Err(failure) => {
            told.verdict = Verdict::Fails;
            told.decided_by = Some(failure.clause);
            told.reason = failure.to_string();
        }
    }
    told
}

fn decide(rule: &CompiledRule, view: &EventView<'_>, told: &mut RuleExplanation) -> Result<(), Failure> {
    if rule.pattern.is_some() && !tell_pattern(rule, view, told)? {
        return Ok(());
    }
    if let Some(when) = &rule.when
        && !tell_when(when, view, told)?
    {
        return Ok(());
    }
    told.payload = Some(rule.transform(view)?.unwrap_or_else(|| view.payload().clone()));
    told.reason = match (rule.is_unconditional(), rule.pattern.is_some() || rule.when.is_some()) {
        (true, _) => "the rule has no conditions: every event matches".into(),
        (false, true) => "all conditions hold".into(),
        (false, false) => "every event matches; `with` gives the payload".into(),
    };
    Ok(())
}

fn tell_pattern(
    rule: &CompiledRule,
    view: &EventView<'_>,
    told: &mut RuleExplanation,
) -> Result<bool, Failure> {
    let Some(pattern) = &rule.pattern else { return Ok(true) };
    let document = view.document().map_err(|error| Failure::new(Clause::Pattern, error))?;
    let explained = pattern::explain(pattern, document);
    let (matched, checks) = explained.map_err(|error| Failure::new(Clause::Pattern, error.to_string()))?;
    told.pattern = checks.into_iter().map(shown).collect();
    if !matched {
        told.verdict = Verdict::DoesNotMatch;
        told.decided_by = Some(Clause::Pattern);
        told.reason = match told.pattern.iter().find(|check| !check.holds) {
            Some(check) => {
                let actual = check.actual.as_deref().unwrap_or("absent");
                format!("`{}` is {actual}, but the pattern wants {}", check.path, check.expected.join(" or "))
            }
            None => "the pattern does not hold".into(),
        };
    }
    Ok(matched)
}

fn shown(check: pattern::Check) -> PatternCheck {
    PatternCheck {
        path: check.path,
        expected: check.expected,
        actual: check.actual.map(|text| cut(&text)),
        holds: check.holds,
    }
}

fn tell_when(when: &Expression, view: &EventView<'_>, told: &mut RuleExplanation) -> Result<bool, Failure> {
    let failed = |message: String| Failure::new(Clause::When, message);
    let context = view.context().map_err(failed)?;
    let document = view.document().map_err(|error| failed(error.to_owned()))?;
    let mut parts = when.operands(context, document);
    let decider = parts.iter().find(|(_, value)| value == "false").map(|(text, _)| text.clone());
    parts.extend(when.terms(context, document));
    told.when = parts.into_iter().map(|(text, value)| Term { text, value: cut(&value) }).collect();
    let holds = when.is_true(context, document)?;
    if !holds {
        told.verdict = Verdict::DoesNotMatch;
        told.decided_by = Some(Clause::When);
        told.reason = format!("`{}` is false", decider.as_deref().unwrap_or(when.source()));
    }
    Ok(holds)
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}
