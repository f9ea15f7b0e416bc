//! Event patterns of Amazon EventBridge's form, matched against a payload.
//!
//! A pattern is an object: each of its members must match the payload's member of that name. A leaf is an array of
//! alternatives, one of which must match; an object goes deeper; `$or` is an array of objects, one of which must match.
//! Where the payload has an array, any of its elements may match. Numbers compare by value. Two things differ from
//! EventBridge on purpose: `exists: true` is also true of objects and arrays, and an array's element must match all
//! members of an object pattern itself (siblings do not mix).
//!
//! A match spends fuel, so that no pattern holds up the events behind it.

mod compile;
mod explain;
mod operator;

use std::cell::Cell;

pub(crate) use compile::compile;
pub(crate) use explain::{Check, explain};
pub(crate) use operator::Operator;

use crate::document::{Kind, Node};

/// The largest pattern, in bytes of its text: far more than a person writes.
pub(crate) const PATTERN_BYTES_MAX: usize = 64 * 1024;

/// How many comparisons one match may make, each with up to 64 bytes of text: tens of milliseconds.
const FUEL: u64 = 4_000_000;

/// A pattern, or a part of one below a member.
#[derive(Debug)]
pub(crate) struct Pattern {
    /// Each must match.
    members: Vec<(String, Member)>,
    /// Of each group, at least one must match (`$or`).
    any_of: Vec<Vec<Pattern>>,
}

#[derive(Debug)]
enum Member {
    Deeper(Pattern),
    /// At least one must match.
    Leaf(Vec<Test>),
}

/// One alternative of a leaf.
#[derive(Debug)]
pub(crate) struct Test {
    operator: Operator,
    /// As it was written.
    text: String,
}

/// A match took more steps than it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the match took more than {FUEL} steps: the event is too large for this pattern")]
pub(crate) struct OutOfFuel;

/// What a match may still spend.
pub(crate) struct Fuel(Cell<u64>);

impl Fuel {
    /// What one match may spend.
    pub(crate) fn new() -> Self {
        Self(Cell::new(FUEL))
    }

    fn spend(&self, bytes: usize) -> Result<(), OutOfFuel> {
        let cost = 1 + u64::try_from(bytes / 64).unwrap_or(u64::MAX - 1);
        self.0.set(self.0.get().checked_sub(cost).ok_or(OutOfFuel)?);
        Ok(())
    }
}

impl Pattern {
    /// Whether `node` (absent where the payload has no such member) matches.
    pub(crate) fn matches(&self, node: Option<&Node<'_>>, fuel: &Fuel) -> Result<bool, OutOfFuel> {
        fuel.spend(0)?;
        if let Some(Node { kind: Kind::Array(elements), .. }) = node
            && !elements.is_empty()
        {
            for element in elements {
                if self.matches(Some(element), fuel)? {
                    return Ok(true);
                }
            }
            return Ok(false);
        }
        for (name, member) in &self.members {
            let found = node.and_then(|node| node.member(name));
            let matched = match member {
                Member::Deeper(pattern) => pattern.matches(found, fuel)?,
                Member::Leaf(tests) => any(tests, |test| test.matches(found, fuel))?,
            };
            if !matched {
                return Ok(false);
            }
        }
        for group in &self.any_of {
            if !any(group, |pattern| pattern.matches(node, fuel))? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl Test {
    fn matches(&self, node: Option<&Node<'_>>, fuel: &Fuel) -> Result<bool, OutOfFuel> {
        if let Operator::Exists(wanted) = self.operator {
            return Ok(node.is_some() == wanted);
        }
        match node {
            Some(node) => self.matches_value(node, fuel),
            None => Ok(false),
        }
    }

    fn matches_value(&self, node: &Node<'_>, fuel: &Fuel) -> Result<bool, OutOfFuel> {
        match &node.kind {
            Kind::Array(elements) => any(elements, |element| self.matches_value(element, fuel)),
            Kind::Null | Kind::Bool(_) | Kind::Number | Kind::Text(_) | Kind::Object(_) => {
                fuel.spend(node.raw.len() * self.operator.width())?;
                Ok(self.operator.holds(node))
            }
        }
    }
}

fn any<T>(of: &[T], matches: impl Fn(&T) -> Result<bool, OutOfFuel>) -> Result<bool, OutOfFuel> {
    for one in of {
        if matches(one)? {
            return Ok(true);
        }
    }
    Ok(false)
}
