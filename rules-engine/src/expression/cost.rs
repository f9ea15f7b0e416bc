//! What an expression would cost on one event, bounded from above before it is evaluated.
//!
//! The interpreter cannot be stopped, so time and memory are bounded by a walk over the expression with the sizes of the
//! event's own lists and texts. The bound is linear where it matters: of a loop within a loop, the elements of all inner
//! lists together are counted, not the longest times the number of lists.

use cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue, operators};

use crate::document::{Kind, Node};

/// Steps an evaluation may take; about 50 ms of an optimised build.
const STEPS_MAX: f64 = 1_000_000.0;

/// Bytes that a value may grow to on the way.
const BYTES_MAX: f64 = 16.0 * 1024.0 * 1024.0;

/// Up to this size of event, an expression without loops needs no estimate.
const SMALL_EVENT_BYTES: usize = 16 * 1024;

/// What compiling a regular expression for one use costs, in steps.
const REGEX_STEPS: f64 = 500.0;

/// Bytes that are compared or copied in one step.
const BYTES_A_STEP: f64 = 64.0;

/// Whether an expression of `nodes` nodes without loops is within the bounds by its size alone.
pub(super) fn is_surely_cheap(nodes: usize, event: &Node<'_>) -> bool {
    // Without loops each node is evaluated once, on at most a copy of the event for each node.
    nodes < 500 && event.raw.len() <= SMALL_EVENT_BYTES
}

/// Refuses what could cost too much, with the reason.
pub(super) fn afford(tree: &IdedExpr, event: &Node<'_>) -> Result<(), String> {
    let bound = Estimate { event, variables: Vec::new() }.of(tree);
    if bound.steps > STEPS_MAX {
        return Err(format!(
            "this event could take {:.0} steps, more than the {STEPS_MAX:.0} allowed: expected shorter lists",
            bound.steps
        ));
    }
    if bound.peak > BYTES_MAX {
        return Err(format!(
            "this event could give a value of {:.0} bytes, more than the {BYTES_MAX:.0} allowed",
            bound.peak
        ));
    }
    Ok(())
}

/// Upper bounds of one part's evaluation.
#[derive(Clone, Copy)]
struct Bound<'e> {
    /// Steps to evaluate it.
    steps: f64,
    /// Bytes of its value, as JSON text.
    bytes: f64,
    /// Elements or members of its value.
    count: f64,
    /// Elements or members of whatever lies within its value.
    within: f64,
    /// The largest value on the way.
    peak: f64,
    /// Its value, where it is a path into the event.
    actual: Option<&'e Node<'e>>,
}

/// A macro's variable: averages over its loop, whose sums are exact bounds of the whole.
struct Variable<'t, 'e> {
    name: &'t str,
    bytes: f64,
    bytes_max: f64,
    within: f64,
    /// The one value it can have, if there is but one.
    actual: Option<&'e Node<'e>>,
}

struct Estimate<'t, 'e> {
    event: &'e Node<'e>,
    variables: Vec<Variable<'t, 'e>>,
}

impl<'e> Bound<'e> {
    fn scalar(steps: f64, bytes: f64, peak: f64) -> Self {
        Self { steps, bytes, count: 0.0, within: 0.0, peak: peak.max(bytes), actual: None }
    }

    fn actual(node: &'e Node<'e>, steps: f64) -> Self {
        let bytes = float(node.raw.len());
        Self {
            steps,
            bytes,
            count: float(node.len()),
            within: bytes / 2.0 + 1.0,
            peak: 0.0,
            actual: Some(node),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "sizes here are far below 2^52, and this is an estimate")]
fn float(size: usize) -> f64 {
    size as f64
}

impl<'t, 'e> Estimate<'t, 'e> {
    fn of(&mut self, tree: &'t IdedExpr) -> Bound<'e> {
        match &tree.expr {
            Expr::Ident(name) => self.name(name),
            Expr::Select(select) => {
                let operand = self.of(&select.operand);
                if select.test {
                    return Bound::scalar(operand.steps + 1.0, 1.0, operand.peak);
                }
                self.member(operand, |node| node.member(&select.field))
            }
            Expr::Call(call) => self.call(call),
            Expr::List(list) => {
                let bounds: Vec<Bound<'e>> = list.elements.iter().map(|element| self.of(element)).collect();
                Self::collection(&bounds, float(list.elements.len()))
            }
            Expr::Map(map) => {
                let mut bounds = Vec::new();
                for entry in &map.entries {
                    if let EntryExpr::MapEntry(entry) = &entry.expr {
                        bounds.push(self.of(&entry.key));
                        bounds.push(self.of(&entry.value));
                    }
                }
                Self::collection(&bounds, float(map.entries.len()))
            }
            Expr::Comprehension(inner) => self.comprehension(inner),
            Expr::Literal(LiteralValue::String(text)) => Bound::scalar(1.0, float(text.inner().len()), 0.0),
            Expr::Literal(_) | Expr::Unspecified | Expr::Struct(_) => Bound::scalar(1.0, 24.0, 0.0),
        }
    }

    fn name(&self, name: &str) -> Bound<'e> {
        if let Some(variable) = self.variables.iter().rev().find(|variable| variable.name == name) {
            return Bound {
                steps: 1.0,
                bytes: variable.bytes,
                count: variable.within,
                within: variable.within,
                peak: 0.0,
                actual: variable.actual,
            };
        }
        match name {
            "event" => Bound::actual(self.event, 1.0),
            // The names and the key of a trigger are short.
            "trigger" => Bound { count: 8.0, within: 8.0, ..Bound::scalar(1.0, 2048.0, 0.0) },
            // A macro's result so far, which grows in place.
            _ => Bound::scalar(1.0, 0.0, 0.0),
        }
    }

    fn member(&self, of: Bound<'e>, find: impl Fn(&'e Node<'e>) -> Option<&'e Node<'e>>) -> Bound<'e> {
        match of.actual {
            Some(node) => match find(node) {
                Some(node) => Bound { peak: of.peak, ..Bound::actual(node, of.steps + 1.0) },
                None => Bound::scalar(of.steps + 1.0, 0.0, of.peak),
            },
            None => Bound { steps: of.steps + 1.0, count: of.within, ..of },
        }
    }

    fn collection(bounds: &[Bound<'e>], count: f64) -> Bound<'e> {
        let sum = Self::sum(bounds);
        let bytes = sum.bytes + 8.0 * count + 2.0;
        Bound { count, bytes, within: sum.within + sum.count, peak: sum.peak.max(bytes), ..sum }
    }

    /// All of `bounds` one after the other, their values side by side.
    fn sum(bounds: &[Bound<'e>]) -> Bound<'e> {
        let start = Bound::scalar(1.0, 0.0, 0.0);
        bounds.iter().fold(start, |sum, bound| Bound {
            steps: sum.steps + bound.steps,
            bytes: sum.bytes + bound.bytes,
            count: sum.count + bound.count,
            within: sum.within + bound.within,
            peak: sum.peak.max(bound.peak),
            actual: None,
        })
    }

    fn call(&mut self, call: &'t CallExpr) -> Bound<'e> {
        use operators as op;
        let name = call.func_name.as_str();
        if name == op::INDEX
            && let [of, IdedExpr { expr: Expr::Literal(literal), .. }] = call.args.as_slice()
        {
            let of = self.of(of);
            return self.member(of, |node| element(node, literal));
        }
        let args: Vec<Bound<'e>> =
            call.target.iter().map(|target| &**target).chain(&call.args).map(|arg| self.of(arg)).collect();
        let sum = Self::sum(&args);
        match name {
            op::LOGICAL_AND | op::LOGICAL_OR | op::LOGICAL_NOT | op::NOT_STRICTLY_FALSE => {
                Bound::scalar(sum.steps, 1.0, sum.peak)
            }
            op::CONDITIONAL => sum,
            op::INDEX | op::OPT_INDEX | op::OPT_SELECT | "value" | "orValue" | "or" | "of" | "dyn" => {
                Bound { count: sum.count + sum.within, ..sum }
            }
            "matches" => Bound::scalar(sum.steps + REGEX_STEPS + sum.bytes / BYTES_A_STEP, 1.0, sum.peak),
            op::ADD | "@plus" => {
                let steps = sum.steps + sum.bytes / BYTES_A_STEP;
                Bound { steps, bytes: sum.bytes + 8.0, peak: sum.peak.max(sum.bytes), ..sum }
            }
            "string" | "bytes" => {
                Bound::scalar(sum.steps + sum.bytes / BYTES_A_STEP, sum.bytes + 32.0, sum.peak)
            }
            // Comparisons, searches, arithmetic and conversions: they read their arguments and give a small value.
            _ => Bound::scalar(sum.steps + sum.bytes / BYTES_A_STEP, 32.0, sum.peak),
        }
    }

    fn comprehension(&mut self, inner: &'t ComprehensionExpr) -> Bound<'e> {
        let range = self.of(&inner.iter_range);
        let rounds = range.count;
        let each = |sum: f64| sum / rounds.max(1.0);
        let longest = range.actual.map_or(range.bytes, |node| float(longest_element(node)));
        let only = range.actual.filter(|_| rounds <= 1.0).and_then(first_element);
        // Within this loop, the variables around it stand still: their averages are no bound here, their maxima are.
        let outer: Vec<f64> = self.variables.iter().map(|variable| variable.bytes).collect();
        self.variables.iter_mut().for_each(|variable| variable.bytes = variable.bytes_max);
        for name in std::iter::once(&inner.iter_var).chain(&inner.iter_var2) {
            self.variables.push(Variable {
                name,
                bytes: each(range.bytes),
                bytes_max: longest,
                within: each(range.bytes / 2.0 + 1.0),
                actual: only,
            });
        }
        let step = self.of(&inner.loop_step);
        self.variables.truncate(outer.len());
        for (variable, bytes) in self.variables.iter_mut().zip(outer) {
            variable.bytes = bytes;
        }
        let bytes = rounds * step.bytes + 2.0;
        Bound {
            steps: range.steps + rounds * (step.steps + 3.0) + 3.0,
            bytes,
            count: rounds * step.count,
            within: rounds * step.within,
            peak: range.peak.max(step.peak).max(bytes),
            actual: None,
        }
    }
}

fn element<'e>(node: &'e Node<'e>, index: &LiteralValue) -> Option<&'e Node<'e>> {
    match (index, &node.kind) {
        (LiteralValue::String(key), _) => node.member(key.inner()),
        (LiteralValue::Int(index), Kind::Array(elements)) => {
            elements.get(usize::try_from(*index.inner()).ok()?)
        }
        _ => None,
    }
}

fn longest_element(node: &Node<'_>) -> usize {
    let longest = match &node.kind {
        Kind::Array(elements) => elements.iter().map(|element| element.raw.len()).max(),
        Kind::Object(members) => members.iter().map(|(key, _)| key.len()).max(),
        Kind::Null | Kind::Bool(_) | Kind::Number | Kind::Text(_) => None,
    };
    longest.unwrap_or(0)
}

/// The first element of an array; a map's loop goes through its keys, which are no nodes.
fn first_element<'e>(node: &'e Node<'e>) -> Option<&'e Node<'e>> {
    match &node.kind {
        Kind::Array(elements) => elements.first(),
        Kind::Null | Kind::Bool(_) | Kind::Number | Kind::Text(_) | Kind::Object(_) => None,
    }
}
