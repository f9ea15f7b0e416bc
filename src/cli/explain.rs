//! `triggerfish explain`: what the rules say to a sample event.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde_json::Value;

use super::Common;
use super::api::{Api, Path};
use super::fire::split;
use super::output::{Output, Paint, clean};
use super::payload::{self, Pair};

/// Says which rules match a sample event, and which clause decided.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    triggerfish explain rule too-hot --param celsius=35.5\n  \
    triggerfish explain trigger reading --event event.json\n  \
    echo '{\"celsius\": 20}' | triggerfish explain trigger reading --event -\n\nNothing is fired, run or recorded.")]
pub struct Explain {
    /// Explain one rule, or all rules of a trigger
    #[arg(value_name = "rule|trigger", hide_possible_values = true)]
    of: Of,
    /// The name of the rule or trigger
    name: String,
    /// A file with the event's payload, a JSON object; - is standard input
    #[arg(long, value_name = "FILE", required_unless_present = "params")]
    event: Option<PathBuf>,
    /// One field of the payload, KEY=VALUE; the value is JSON where it can be, else text
    #[arg(short, long = "param", value_name = "KEY=VALUE", value_parser = payload::pair)]
    params: Vec<Pair>,
    #[command(flatten)]
    common: Common,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Of {
    Rule,
    Trigger,
}

impl Explain {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let mut output = self.common.output();
        let sample = payload::object(self.event.as_deref(), &self.params)?;
        let api = Api::new(self.common.connection.target()?)?;
        let (namespace, name) = split(&self.name);
        let (collection, one) = match self.of {
            Of::Rule => ("rules", "rule"),
            Of::Trigger => ("triggers", "trigger"),
        };
        let path = Path { namespace, parts: &[collection, name, "_explain"], query: &[] };
        let told = api.post(path, &Value::Object(sample)).await.map_err(|error| {
            if error.is_not_found() {
                return anyhow::anyhow!("there is no {one} `{}`", self.name);
            }
            error.into()
        })?;
        if output.json {
            output.document(&told)?;
        } else {
            show(&told, &mut output)?;
        }
        Ok(())
    }
}

fn show(told: &Value, output: &mut Output) -> std::io::Result<()> {
    let rules = told.get("rules").and_then(Value::as_array).cloned().unwrap_or_default();
    if rules.is_empty() {
        return output.line("the trigger has no active rules");
    }
    for rule in &rules {
        for line in verdict(rule, output.paint) {
            output.line(&line)?;
        }
    }
    Ok(())
}

/// A rule's verdict, then its clauses, then the payload that its action would get.
fn verdict(rule: &Value, paint: Paint) -> Vec<String> {
    let head = match text(rule, "verdict") {
        "matches" => paint.green("matches       "),
        "doesNotMatch" => paint.yellow("does not match"),
        _ => paint.red("fails         "),
    };
    let name = paint.bold(&clean(text(rule, "rule")));
    let mut lines =
        vec![format!("{head} {name} → {}: {}", clean(text(rule, "action")), clean(text(rule, "reason")))];
    let list = |key: &str| rule.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
    for check in list("pattern") {
        let holds = check.get("holds").and_then(Value::as_bool).unwrap_or(false);
        let mark = if holds { paint.green("✓") } else { paint.red("✗") };
        let expected: Vec<String> = check
            .get("expected")
            .and_then(Value::as_array)
            .map(|all| all.iter().filter_map(Value::as_str).map(clean).collect())
            .unwrap_or_default();
        let actual = check.get("actual").and_then(Value::as_str).map_or("absent".to_owned(), clean);
        let path = clean(text(&check, "path"));
        lines.push(format!("  {mark} pattern  {path} is {actual}; wanted {}", expected.join(" or ")));
    }
    for term in list("when") {
        let value = clean(text(&term, "value"));
        let mark = match value.as_str() {
            "true" => paint.green("✓"),
            "false" => paint.red("✗"),
            _ => " ".to_owned(),
        };
        lines.push(format!("  {mark} when     {} is {value}", clean(text(&term, "text"))));
    }
    if let Some(payload) = rule.get("payload") {
        lines.push(format!("    payload  {}", clean(&payload.to_string())));
    }
    lines
}

fn text<'a>(of: &'a Value, key: &str) -> &'a str {
    of.get(key).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_clause_has_its_line() {
        let rule = json!({
            "rule": "guest/r", "action": "guest/a", "verdict": "doesNotMatch", "decidedBy": "when",
            "reason": "`event.n > 3` is false",
            "pattern": [
                {"path": "room", "expected": ["\"7\""], "actual": "\"7\"", "holds": true},
                {"path": "x", "expected": ["1", "2"], "actual": null, "holds": false},
            ],
            "when": [{"text": "event.n > 3", "value": "false"}, {"text": "event.n", "value": "2"}],
        });
        assert_eq!(
            verdict(&rule, Paint::off()),
            [
                "does not match guest/r → guest/a: `event.n > 3` is false",
                "  ✓ pattern  room is \"7\"; wanted \"7\"",
                "  ✗ pattern  x is absent; wanted 1 or 2",
                "  ✗ when     event.n > 3 is false",
                "    when     event.n is 2",
            ]
        );
    }
}
