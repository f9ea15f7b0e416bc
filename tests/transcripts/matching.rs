//! Whether an answer is the recorded one, placeholders and all (the conventions of the recordings).
//!
//! Compared more loosely than byte by byte, each for a reason:
//! - `annotations` and `parameters` are sets, and the annotation `initTime` is not compared: whether a container is cold
//!   is the machine's affair;
//! - where a JSON body cannot be parsed, the parser's own words after "malformed:\nUnexpected" are not compared, nor the
//!   list of kinds after "Valid values are:", which is the hub's own manifest;
//! - a trigger without rules may have `rules: {}` or none.

use std::collections::HashMap;

use serde_json::{Map, Value};

/// What placeholders stand for, as far as it was seen.
#[derive(Clone, Default)]
pub struct Bindings {
    /// `<activationId:1>` and so on.
    pub ids: HashMap<String, String>,
    /// `<auth:guest>`, `<host>`, …: known from the start.
    pub known: HashMap<String, String>,
    /// The transaction id of the answer at hand.
    pub transaction: String,
}

/// `text` with its placeholders filled in, for a request.
pub fn filled(text: &str, bindings: &Bindings, started: i64) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, name, after)) = next_placeholder(rest) {
        out.push_str(before);
        match name {
            "ms" => out.push_str(&started.to_string()),
            _ => match repeated(name)
                .or_else(|| bindings.ids.get(name).cloned())
                .or_else(|| bindings.known.get(name).cloned())
            {
                Some(value) => out.push_str(&value),
                None => out.push_str(&format!("<{name}>")),
            },
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

fn repeated(name: &str) -> Option<String> {
    let rest = name.strip_prefix("repeat:")?;
    let (unit, count) = rest.rsplit_once(':')?;
    Some(unit.repeat(count.parse().ok()?))
}

/// The text before the next placeholder, its name, and the text after it.
fn next_placeholder(text: &str) -> Option<(&str, &str, &str)> {
    let mut from = 0;
    while let Some(open) = text[from..].find('<').map(|at| at + from) {
        let close = text[open..].find('>')? + open;
        let name = &text[open + 1..close];
        let kind = name.split(':').next().unwrap_or_default();
        let known =
            ["activationId", "tid", "int", "ms", "time", "host", "auth", "basic", "uuid", "repeat", "logs"];
        if known.contains(&kind) {
            return Some((&text[..open], name, &text[close + 1..]));
        }
        from = open + 1;
    }
    None
}

/// Whether `actual` is what `pattern` describes; new activation ids are bound.
pub fn text_matches(pattern: &str, actual: &str, bindings: &mut Bindings) -> bool {
    let Some((before, name, after)) = next_placeholder(pattern) else { return pattern == actual };
    let Some(rest) = actual.strip_prefix(before) else { return false };
    let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let taken = match name {
        "logs" => return true,
        "tid" => rest.starts_with(&bindings.transaction).then_some(bindings.transaction.len()),
        "int" | "ms" => (digits > 0).then_some(digits),
        "time" => rest.find(" std").filter(|at| *at >= 20),
        _ => match repeated(name)
            .or_else(|| bindings.known.get(name).cloned())
            .or_else(|| bindings.ids.get(name).cloned())
        {
            Some(value) => rest.starts_with(&value).then_some(value.len()),
            None => rest.get(..32).filter(|id| id.bytes().all(|b| b.is_ascii_hexdigit())).map(|id| {
                bindings.ids.insert(name.to_owned(), id.to_owned());
                32
            }),
        },
    };
    taken.is_some_and(|taken| text_matches(after, &rest[taken..], bindings))
}

/// Where texts differ by design, the part that is compared.
fn compared(text: &str) -> &str {
    for mark in ["The request content was malformed:\nUnexpected ", "Valid values are: "] {
        if let Some(at) = text.find(mark) {
            return if mark.starts_with("The") {
                "The request content was malformed:\n"
            } else {
                &text[..at]
            };
        }
    }
    text
}

/// What differs between a recorded value and an answer's, if anything does.
pub fn difference(expected: &Value, actual: &Value, bindings: &mut Bindings, at: &str) -> Option<String> {
    let differs = || Some(format!("{at}: recorded {}, answered {}", shortened(expected), shortened(actual)));
    match (expected, actual) {
        (Value::String(pattern), Value::Number(_)) if pattern == "<int>" => None,
        (Value::String(pattern), Value::String(text)) => {
            let part = compared(pattern);
            let same = if part.len() < pattern.len() {
                text.starts_with(part)
            } else {
                text_matches(pattern, text, bindings)
            };
            if same { None } else { differs() }
        }
        (Value::Number(a), Value::Number(b)) => {
            if a.as_f64() == b.as_f64() {
                None
            } else {
                differs()
            }
        }
        (Value::Array(a), Value::Array(b)) if is_set(at) => set_difference(a, b, bindings, at),
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => a
            .iter()
            .zip(b)
            .enumerate()
            .find_map(|(i, (a, b))| difference(a, b, bindings, &format!("{at}[{i}]"))),
        (Value::Object(a), Value::Object(b)) => object_difference(a, b, bindings, at),
        _ if expected == actual => None,
        _ => differs(),
    }
}

fn is_set(at: &str) -> bool {
    at.ends_with(".annotations") || at.ends_with(".parameters")
}

fn set_difference(expected: &[Value], actual: &[Value], bindings: &mut Bindings, at: &str) -> Option<String> {
    let compared = |values: &[Value]| -> Vec<Value> {
        let mut values: Vec<Value> =
            values.iter().filter(|value| value["key"] != "initTime").cloned().collect();
        values.sort_by_key(|value| value["key"].to_string());
        values
    };
    let (expected, actual) = (compared(expected), compared(actual));
    difference(&Value::Array(expected), &Value::Array(actual), bindings, &format!("{at}*"))
}

fn object_difference(
    expected: &Map<String, Value>,
    actual: &Map<String, Value>,
    bindings: &mut Bindings,
    at: &str,
) -> Option<String> {
    let is_empty_rules =
        |key: &str, value: &Value| key == "rules" && value.as_object().is_some_and(Map::is_empty);
    if let Some((key, _)) = actual.iter().find(|(key, _)| !expected.contains_key(*key)) {
        return Some(format!("{at}: `{key}` is answered, but was not recorded"));
    }
    // Ids are numbered in the order in which the recording saw them: at the top first.
    let mut keys: Vec<&String> = expected.keys().collect();
    keys.sort_by_key(|key| (*key != "activationId", key.as_str().to_owned()));
    keys.into_iter().find_map(|key| match (&expected[key], actual.get(key)) {
        (wanted, Some(given)) => difference(wanted, given, bindings, &format!("{at}.{key}")),
        (wanted, None) if is_empty_rules(key, wanted) => None,
        (_, None) => Some(format!("{at}: `{key}` was recorded, but is not answered")),
    })
}

fn shortened(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() > 300 {
        format!("{}…", text.chars().take(300).collect::<String>())
    } else {
        text
    }
}
