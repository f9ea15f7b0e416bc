//! The decisions of Triggerfish: patterns, conditions, transforms, retries.
//!
//! Everything here is a function of its arguments: no I/O, no clock, no
//! randomness, no async. What survives a crash is what its callers write down: a [`Plan`] before its first effect.

mod conditions;
mod decimal;
mod document;
mod explain;
mod expression;
mod pattern;
mod plan;
pub mod retry;
mod rule;
pub mod sequence;
mod view;

pub use conditions::{Clause, ConditionError, Failure};
pub use explain::{Explanation, PatternCheck, RuleExplanation, Term, Verdict, explain};
pub use plan::{Plan, RuleFailure, SkipReason, SkippedRule, plan};
pub use rule::{CompiledRule, Decision, Matcher, RuleSet};
pub use view::EventView;
