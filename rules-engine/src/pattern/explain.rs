//! Which parts of a pattern hold for a payload, and which decided.

use super::{Fuel, Member, OutOfFuel, Pattern, Test};
use crate::document::{Kind, Node};

/// How many checks an explanation lists; the pattern's later ones are left out.
const CHECKS_MAX: usize = 200;

/// One leaf of a pattern and what it met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Check {
    /// Where in the payload: `sensor.temperature`, `messages[0].topic`.
    pub(crate) path: String,
    /// The alternatives as they were written; the one that held, where one did.
    pub(crate) expected: Vec<String>,
    /// The payload's text there; absent where there is nothing.
    pub(crate) actual: Option<String>,
    pub(crate) holds: bool,
}

/// Whether `pattern` matches, and the leaves that were looked at.
pub(crate) fn explain(pattern: &Pattern, node: &Node<'_>) -> Result<(bool, Vec<Check>), OutOfFuel> {
    let mut checks = Vec::new();
    let fuel = Fuel::new();
    let matched = visit(pattern, Some(node), "", &fuel, &mut checks)?;
    checks.truncate(CHECKS_MAX);
    Ok((matched, checks))
}

fn visit(
    pattern: &Pattern,
    node: Option<&Node<'_>>,
    path: &str,
    fuel: &Fuel,
    checks: &mut Vec<Check>,
) -> Result<bool, OutOfFuel> {
    if let Some(Node { kind: Kind::Array(elements), .. }) = node
        && !elements.is_empty()
    {
        // The element that matches; where none does, the first stands for all.
        let mut best = (0, elements.first());
        for (index, element) in elements.iter().enumerate() {
            if pattern.matches(Some(element), fuel)? {
                best = (index, Some(element));
                break;
            }
        }
        return visit(pattern, best.1, &format!("{path}[{}]", best.0), fuel, checks);
    }
    let mut all = true;
    for (name, member) in &pattern.members {
        let found = node.and_then(|node| node.member(name));
        let below = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        all &= match member {
            Member::Deeper(pattern) => visit(pattern, found, &below, fuel, checks)?,
            Member::Leaf(tests) => {
                let check = check(tests, found, below, fuel)?;
                let holds = check.holds;
                checks.push(check);
                holds
            }
        };
    }
    for group in &pattern.any_of {
        all &= visit_any(group, node, path, fuel, checks)?;
    }
    Ok(all)
}

/// The alternative of an `$or` that matches is told alone; where none does, all are, first the one that failed by least: it
/// is what its author meant.
fn visit_any(
    group: &[Pattern],
    node: Option<&Node<'_>>,
    path: &str,
    fuel: &Fuel,
    checks: &mut Vec<Check>,
) -> Result<bool, OutOfFuel> {
    for pattern in group {
        if pattern.matches(node, fuel)? {
            return visit(pattern, node, path, fuel, checks);
        }
    }
    let mut told = Vec::with_capacity(group.len());
    for pattern in group {
        let mut own = Vec::new();
        visit(pattern, node, path, fuel, &mut own)?;
        told.push(own);
    }
    told.sort_by_key(|own| own.iter().filter(|check| !check.holds).count());
    checks.extend(told.into_iter().flatten());
    Ok(false)
}

fn check(tests: &[Test], node: Option<&Node<'_>>, path: String, fuel: &Fuel) -> Result<Check, OutOfFuel> {
    let actual = node.map(|node| node.raw.to_owned());
    for test in tests {
        if test.matches(node, fuel)? {
            return Ok(Check { path, expected: vec![test.text.clone()], actual, holds: true });
        }
    }
    Ok(Check { path, expected: tests.iter().map(|test| test.text.clone()).collect(), actual, holds: false })
}
