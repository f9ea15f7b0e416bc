//! What of a record can be searched, with its limits; the index and the filter both look only at this.

use serde_json::Value;
use triggerfish_model::{Activation, Json};

/// Bytes of a log line that are searched: longer lines are dumps.
const LINE_BYTES_MAX: usize = 32 << 10;
/// Bytes of a record's logs that are searched.
const LOG_BYTES_MAX: usize = 1 << 20;
/// A larger JSON value is not looked into.
const JSON_BYTES_MAX: usize = 64 << 10;
/// Values of one JSON document that are searched: each path costs the index a column.
const LEAVES_MAX: usize = 64;
/// Levels of a JSON document that are searched; the index's own limit is 20.
const DEPTH_MAX: usize = 16;
/// A value under a longer path is left out.
const PATH_BYTES_MAX: usize = 256;

/// A value within `annotations` or `result`.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Leaf {
    /// A text.
    Text(String),
    /// A number; integers above 2^53 lose their last digits.
    Number(f64),
    /// True or false.
    Flag(bool),
}

/// `text` cut to at most `bytes`, between characters.
pub(super) fn cut(text: &str, bytes: usize) -> &str {
    let end = (0..=bytes).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
    if bytes < text.len() { text.get(..end).unwrap_or(text) } else { text }
}

/// The log lines, without their time stamps: each is unlike any other, and nobody searches for nanoseconds.
pub(super) fn log_lines(activation: &Activation) -> impl Iterator<Item = &str> {
    let mut left = LOG_BYTES_MAX;
    activation.logs.iter().map_while(move |line| {
        if left == 0 {
            return None;
        }
        let text = cut(line_text(line), LINE_BYTES_MAX.min(left));
        left -= text.len();
        Some(text)
    })
}

/// A log line from its stream's name on; the whole line where it has no time stamp (contract §4.3).
pub(super) fn line_text(line: &str) -> &str {
    match (line.as_bytes().get(10), line.get(31..)) {
        (Some(b'T'), Some(rest)) if rest.starts_with("stdout: ") || rest.starts_with("stderr: ") => rest,
        _ => line,
    }
}

/// `package/name` where the `path` annotation names a package.
pub(super) fn packaged_name(activation: &Activation) -> Option<String> {
    let path: String = activation.annotations.value("path")?.read().ok()?;
    let mut parts = path.split('/').skip(1);
    match (parts.next(), parts.next(), parts.next()) {
        (Some(package), Some(name), None) => Some(format!("{package}/{name}")),
        _ => None,
    }
}

/// The result's values with their paths, keys joined by dots; arrays are looked through.
pub(super) fn result(activation: &Activation) -> Vec<(String, Leaf)> {
    let mut leaves = Vec::new();
    flatten(&activation.response.result, "", &mut leaves);
    leaves
}

/// The annotations' values with their paths.
pub(super) fn annotations(activation: &Activation) -> Vec<(String, Leaf)> {
    let mut leaves = Vec::new();
    for annotation in activation.annotations.iter() {
        flatten(&annotation.value, &annotation.key, &mut leaves);
    }
    leaves
}

fn flatten(json: &Json, path: &str, leaves: &mut Vec<(String, Leaf)>) {
    if json.as_str().len() <= JSON_BYTES_MAX {
        collect(json.to_value(), path, DEPTH_MAX, leaves);
    }
}

fn collect(value: Value, path: &str, depth: usize, leaves: &mut Vec<(String, Leaf)>) {
    // The index joins the parts of a path with the first control characters.
    let legal = path.len() <= PATH_BYTES_MAX && !path.contains(['\0', '\u{1}']);
    if depth == 0 || leaves.len() >= LEAVES_MAX || !legal {
        return;
    }
    let leaf = match value {
        Value::Null => return,
        Value::Bool(flag) => Leaf::Flag(flag),
        Value::Number(number) => match number.as_f64().filter(|n| n.is_finite()) {
            Some(number) => Leaf::Number(number),
            None => return,
        },
        Value::String(text) => Leaf::Text(text),
        Value::Array(items) => {
            for item in items {
                collect(item, path, depth - 1, leaves);
            }
            return;
        }
        Value::Object(fields) => {
            for (key, value) in fields {
                let path = if path.is_empty() { key } else { format!("{path}.{key}") };
                collect(value, &path, depth - 1, leaves);
            }
            return;
        }
    };
    if !path.is_empty() {
        leaves.push((path.to_owned(), leaf));
    }
}
