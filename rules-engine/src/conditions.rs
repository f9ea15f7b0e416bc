//! What can be wrong with a rule's conditions: when they are made, and when they meet an event.

use std::fmt;

use serde::Serialize;

/// What a rule's own language says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Clause {
    /// The event pattern.
    Pattern,
    /// The CEL expression that must be true.
    When,
    /// The CEL expression that gives the action's payload.
    With,
    /// How often, and after what, the action is tried again.
    Retry,
}

impl fmt::Display for Clause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pattern => "pattern",
            Self::When => "when",
            Self::With => "with",
            Self::Retry => "retry",
        })
    }
}

/// Why a rule's condition is refused. Nobody's event was touched: the rule is not stored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{clause}` is wrong at line {line}, column {column}: {message}")]
pub struct ConditionError {
    /// Which condition.
    pub clause: Clause,
    /// The line in the condition's text, from 1.
    pub line: usize,
    /// The column in that line, in characters, from 1.
    pub column: usize,
    /// The same place as bytes from the text's start.
    pub offset: usize,
    /// What is there, and what was expected.
    pub message: String,
}

impl ConditionError {
    /// An error at `offset` bytes into `text`.
    pub(crate) fn at(clause: Clause, text: &str, offset: usize, message: impl Into<String>) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        Self { clause, line, column, offset, message: message.into() }
    }

    /// An error at a line and column (in characters) of `text`, both from 1.
    pub(crate) fn at_line(
        clause: Clause,
        text: &str,
        (line, column): (usize, usize),
        message: String,
    ) -> Self {
        let start: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
        let rest = text.get(start..).unwrap_or_default();
        let within = rest.char_indices().nth(column.saturating_sub(1)).map_or(rest.len(), |(at, _)| at);
        Self { clause, line, column, offset: start + within, message }
    }
}

/// Why a condition could not be decided for one event. The other rules of the trigger are not concerned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("`{clause}` could not be evaluated: {message}")]
pub struct Failure {
    /// Which condition.
    pub clause: Clause,
    /// What happened, and what was expected.
    pub message: String,
}

impl Failure {
    pub(crate) fn new(clause: Clause, message: impl Into<String>) -> Self {
        Self { clause, message: message.into() }
    }
}
