//! A query asked of one record, without the index: for records as they come.
//!
//! It answers as the index would; a property test holds the two together.

use std::ops::{Bound, RangeBounds};

use triggerfish_model::Activation;

use super::ast::{Ast, Field, Test};
use super::view::{self, Leaf};
use super::words::words;
use crate::RecordFilter;

/// A query that is asked of each new record.
pub(super) struct Filter(pub(super) Ast);

impl RecordFilter for Filter {
    fn matches(&self, activation: &Activation) -> bool {
        holds(&self.0, activation)
    }
}

fn holds(ast: &Ast, record: &Activation) -> bool {
    match ast {
        Ast::All => true,
        Ast::And(parts) => parts.iter().all(|part| holds(part, record)),
        Ast::Or(parts) => parts.iter().any(|part| holds(part, record)),
        Ast::Not(inner) => !holds(inner, record),
        Ast::Leaf(field, test) => leaf(field, test, record),
    }
}

fn leaf(field: &Field, test: &Test, record: &Activation) -> bool {
    let number = |value: Option<f64>| value.is_some_and(|value| number_passes(test, value));
    let label = |value: Option<String>| value.is_some_and(|value| label_passes(test, &value));
    match field {
        Field::Logs if *test == Test::Exists => !record.logs.is_empty(),
        Field::Logs => view::log_lines(record).any(|line| text_passes(test, line)),
        Field::Name => label(Some(record.name.to_string())) || label(view::packaged_name(record)),
        Field::Kind => label(record.kind()),
        Field::Trigger => label(record.origin.trigger.as_ref().map(|trigger| trigger.local())),
        Field::Rule => label(record.origin.rule.as_ref().map(|rule| rule.local())),
        Field::Cause => label(record.cause.map(|cause| cause.to_string())),
        Field::Version => label(Some(record.version.to_string())),
        Field::ActivationId => label(Some(record.id.to_string())),
        Field::StatusCode => match test {
            Test::Codes(codes) => codes.get(usize::from(record.response.status.as_u8())) == Some(&true),
            _ => *test == Test::Exists,
        },
        Field::Duration => number(record.duration_ms.map(|millis| millis as f64)),
        Field::Start => number(Some(record.start.as_millis() as f64)),
        Field::End => number(record.end.map(|end| end.as_millis() as f64)),
        Field::Annotation(path) => json_passes(test, path, &view::annotations(record)),
        Field::Result(path) => json_passes(test, path, &view::result(record)),
    }
}

fn number_passes(test: &Test, value: f64) -> bool {
    match test {
        Test::Exists => true,
        Test::Range(from, to) => contains((*from, *to), value),
        Test::Value { number, .. } => *number == Some(value),
        _ => false,
    }
}

/// Whether a number lies within bounds.
pub(super) fn contains(bounds: (Bound<f64>, Bound<f64>), value: f64) -> bool {
    bounds.contains(&value)
}

fn label_passes(test: &Test, value: &str) -> bool {
    match test {
        Test::Exists => true,
        Test::Exact(want) => want == value,
        Test::Glob(glob) => glob.matches(value),
        _ => false,
    }
}

fn text_passes(test: &Test, text: &str) -> bool {
    match test {
        Test::Words(wanted) | Test::Value { words: wanted, .. } => follow(wanted, &words(text)),
        Test::Glob(glob) => words(text).iter().any(|word| glob.matches(word)),
        _ => false,
    }
}

/// Whether `wanted` follow one another somewhere in `found`.
fn follow(wanted: &[String], found: &[String]) -> bool {
    !wanted.is_empty() && found.windows(wanted.len()).any(|part| part == wanted)
}

fn json_passes(test: &Test, path: &str, leaves: &[(String, Leaf)]) -> bool {
    let below = |at: &str| at.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    if *test == Test::Exists {
        return leaves.iter().any(|(at, _)| below(at));
    }
    leaves.iter().filter(|(at, _)| at == path).any(|(_, leaf)| match (leaf, test) {
        (Leaf::Text(text), _) => text_passes(test, text),
        (Leaf::Number(number), _) => number_passes(test, *number),
        (Leaf::Flag(have), Test::Value { flag, .. }) => *flag == Some(*have),
        (Leaf::Flag(_), _) => false,
    })
}
