//! An activation record for people: one line, and its logs below it.

use serde_json::Value;

use super::output::{Paint, clean, cut, moment};

/// How much of a result its line shows, in characters.
const RESULT_CHARS_MAX: usize = 140;
/// How many log lines are shown below a record; `--json` has all of them.
const LOG_LINES_MAX: usize = 50;

/// The line of a record.
pub(super) fn line(record: &Value, paint: Paint, with_date: bool) -> String {
    let text = |key: &str| record.get(key).and_then(Value::as_str).unwrap_or_default();
    let at = moment(record.get("start").and_then(Value::as_i64).unwrap_or(0), with_date);
    let is_fire = annotation(record, "kind").is_none();
    let status = match record.pointer("/response/status").and_then(Value::as_str).unwrap_or_default() {
        "success" if is_fire => paint.yellow("fired  "),
        "success" => paint.green("success"),
        other => paint.red(other),
    };
    let name = annotation(record, "path").and_then(|path| path.split_once('/')).map(|(_, name)| name);
    let duration = match record.get("duration").and_then(Value::as_i64) {
        Some(millis) => format!(" {millis} ms"),
        None => String::new(),
    };
    let result = record.pointer("/response/result").map(Value::to_string).unwrap_or_default();
    format!(
        "{}  {status}  {}{duration}  {}  {}",
        paint.dim(&at),
        paint.bold(&clean(name.unwrap_or_else(|| text("name")))),
        clean(&cut(&result, RESULT_CHARS_MAX)),
        paint.dim(text("activationId")),
    )
}

/// The log lines of a record, without what its line says already.
pub(super) fn logs(record: &Value, paint: Paint) -> Vec<String> {
    let none = Vec::new();
    let lines = record.get("logs").and_then(Value::as_array).unwrap_or(&none);
    let is_sequence = annotation(record, "kind") == Some("sequence");
    let mut shown: Vec<String> = lines
        .iter()
        .filter_map(Value::as_str)
        .take(LOG_LINES_MAX)
        .map(|line| {
            if is_sequence {
                return format!("    {}", paint.dim(&format!("step {}", clean(line))));
            }
            of_rule(line, paint).unwrap_or_else(|| format!("    {}", of_code(line, paint)))
        })
        .collect();
    if lines.len() > LOG_LINES_MAX {
        shown.push(paint.dim(&format!("    … and {} more lines", lines.len() - LOG_LINES_MAX)));
    }
    shown
}

/// A line of a trigger's record: what became of one rule (contract §2.3).
fn of_rule(line: &str, paint: Paint) -> Option<String> {
    let told: Value = serde_json::from_str(line).ok()?;
    let text = |key: &str| told.get(key).and_then(Value::as_str);
    let (rule, action) = (text("rule")?, text("action")?);
    let outcome = match (text("activationId"), text("error")) {
        (Some(id), _) => paint.dim(id),
        (None, Some(error)) => paint.red(&clean(error)),
        (None, None) => String::new(),
    };
    Some(format!("    rule {} → {}  {outcome}", clean(rule), clean(action)))
}

/// A line that code printed: `<time> stdout: text` (contract §4.3).
fn of_code(line: &str, paint: Paint) -> String {
    let parts = line.split_once(' ').and_then(|(_, rest)| rest.split_once(": "));
    match parts {
        Some(("stdout", text)) => clean(text),
        Some(("stderr", text)) => paint.red(&clean(text)),
        _ => clean(line),
    }
}

fn annotation<'a>(record: &'a Value, key: &str) -> Option<&'a str> {
    let annotations = record.get("annotations")?.as_array()?;
    annotations.iter().find(|of| of.get("key").and_then(Value::as_str) == Some(key))?.get("value")?.as_str()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn runs_fires_and_sequences_are_told_apart() {
        let run = json!({
            "activationId": "a1", "name": "judge", "start": 0, "duration": 12,
            "annotations": [{"key": "kind", "value": "python:3"}, {"key": "path", "value": "guest/iot/judge"}],
            "response": {"status": "application error", "result": {"error": "no"}},
            "logs": ["2026-01-01T00:00:00Z stdout: it is \u{1b}[31mhot", "2026-01-01T00:00:00Z stderr: oh"],
        });
        let text = line(&run, Paint::off(), false);
        assert!(text.ends_with(r#"application error  iot/judge 12 ms  {"error":"no"}  a1"#), "{text}");
        assert_eq!(logs(&run, Paint::off()), ["    it is \u{fffd}[31mhot", "    oh"]);
        let fire = json!({
            "activationId": "b2", "name": "t", "start": 0, "response": {"status": "success", "result": {}},
            "logs": [r#"{"statusCode":0,"success":true,"activationId":"a1","rule":"guest/r","action":"guest/a"}"#],
        });
        assert!(line(&fire, Paint::off(), false).ends_with("fired    t  {}  b2"));
        assert_eq!(logs(&fire, Paint::off()), ["    rule guest/r → guest/a  a1"]);
        let sequence = json!({"annotations": [{"key": "kind", "value": "sequence"}], "logs": ["a1"]});
        assert_eq!(logs(&sequence, Paint::off()), ["    step a1"]);
    }
}
