//! `triggerfish search`: records by words of their logs and by their fields.

use clap::Args;
use jiff::{Span, Timestamp, Zoned};
use serde_json::{Value, json};

use super::Common;
use super::api::{Api, Path};
use super::output::{Output, Paint, clean};
use super::record;

/// The most hits of a page, which is the hub's own limit.
const LIMIT_MAX: u64 = 1000;

/// Searches the activation records and their logs.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    triggerfish search 'timeout AND name:judge' --since 1h\n  \
    triggerfish search 'status:\"application error\"' --sort duration:desc --limit 5\n  \
    triggerfish search --aggs '{\"by\": {\"terms\": {\"field\": \"name\"}}}' --limit 0\n\n\
    Plain words search the logs. Fields: logs, name, kind, trigger, rule, status, statusCode, cause, version, duration, \
    start, end, annotations.*, result.*; AND, OR, NOT, \"phrases\", wild*cards, [1 TO 9]. Without QUERY all records match.")]
pub struct Search {
    /// The query, Lucene-style
    query: Option<String>,
    /// Started since then: an age like 90s, 15m, 1h, 2d, or a time like 2026-01-31T12:00:00Z
    #[arg(long, value_name = "WHEN", value_parser = when)]
    since: Option<i64>,
    /// Started until then
    #[arg(long, value_name = "WHEN", value_parser = when)]
    upto: Option<i64>,
    /// How many records to show [default: 30]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(0..=LIMIT_MAX))]
    limit: Option<u64>,
    /// FIELD:asc or FIELD:desc [default: start:desc]
    #[arg(long, value_name = "FIELD:ORDER")]
    sort: Option<String>,
    /// Where the page before ended, as it said
    #[arg(long, value_name = "CURSOR")]
    cursor: Option<String>,
    /// Aggregations, JSON in Elasticsearch's form
    #[arg(long, value_name = "JSON", value_parser = aggregations)]
    aggs: Option<Value>,
    #[command(flatten)]
    common: Common,
}

impl Search {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let mut output = self.common.output();
        let api = Api::new(self.common.connection.target()?)?;
        let mut body = json!({
            "q": self.query, "since": self.since, "upto": self.upto, "limit": self.limit,
            "sort": self.sort, "cursor": self.cursor, "aggs": self.aggs,
        });
        if let Some(body) = body.as_object_mut() {
            body.retain(|_, value| !value.is_null());
        }
        let found = api.post(Path::own(&["activations", "_search"]), &body).await?;
        if output.json {
            output.document(&found)?;
        } else {
            show(&found, &mut output)?;
        }
        Ok(())
    }
}

fn show(found: &Value, output: &mut Output) -> std::io::Result<()> {
    let hits = found.get("hits").and_then(Value::as_array).cloned().unwrap_or_default();
    let paint = output.paint;
    for hit in &hits {
        let Some(activation) = hit.get("activation") else { continue };
        output.line(&record::line(activation, paint, true))?;
        let highlight = hit.get("highlight").and_then(Value::as_array).cloned().unwrap_or_default();
        for line in highlight.iter().filter_map(Value::as_str) {
            output.line(&format!("    {}", highlighted(line, paint)))?;
        }
    }
    if let Some(aggregations) = found.get("aggregations").filter(|of| !of.is_null()) {
        output.document(aggregations)?;
    }
    let number = |key: &str| found.get(key).and_then(Value::as_u64).unwrap_or(0);
    let summary = format!("{} of {} records, found in {} ms", hits.len(), number("total"), number("tookMs"));
    output.line(&paint.dim(&summary))?;
    if let Some(cursor) = found.get("cursor").and_then(Value::as_str) {
        output.line(&paint.dim(&format!("more: --cursor {cursor}")))?;
    }
    Ok(())
}

/// A log line whose matching words stand between tags, without its time and stream.
fn highlighted(line: &str, paint: Paint) -> String {
    let line = clean(line);
    let text = line.split_once(' ').and_then(|(_, rest)| rest.split_once(": ")).filter(|(stream, _)| {
        // A word of the prefix itself may have matched; then all of the line is shown.
        ["stdout", "stderr"].contains(stream)
    });
    let line = text.map_or(line.as_str(), |(_, text)| text);
    let mut shown = String::new();
    for (n, part) in line.split("<em>").enumerate() {
        match part.split_once("</em>") {
            Some((word, rest)) if n > 0 => {
                shown += &paint.yellow(&text_of(word));
                shown += &text_of(rest);
            }
            _ => shown += &text_of(part),
        }
    }
    shown
}

/// A part of a highlight, which is HTML, as text.
fn text_of(html: &str) -> String {
    let references = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#39;", "'"), ("&amp;", "&")];
    references.into_iter().fold(html.to_owned(), |text, (reference, c)| text.replace(reference, c))
}

/// Reads an age or a time; milliseconds since 1970.
fn when(text: &str) -> Result<i64, String> {
    when_at(text, &Zoned::now())
}

fn when_at(text: &str, now: &Zoned) -> Result<i64, String> {
    let expected = || {
        "expected an age like 90s, 15m, 1h, 2d, a time like 2026-01-31T12:00:00Z, or milliseconds since 1970"
            .to_owned()
    };
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(at.as_millisecond());
    }
    if let Ok(millis) = text.parse::<i64>() {
        return Ok(millis);
    }
    let age: Span = text.parse().map_err(|_| expected())?;
    now.checked_sub(age.abs()).map(|at| at.timestamp().as_millisecond()).map_err(|_| expected())
}

fn aggregations(text: &str) -> Result<Value, String> {
    match serde_json::from_str(text) {
        Ok(value @ Value::Object(_)) => Ok(value),
        Ok(_) => Err("expected a JSON object".to_owned()),
        Err(error) => Err(format!("no JSON: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn highlights_are_text_without_time_and_stream() {
        let of = |line: &str| highlighted(line, Paint::off());
        assert_eq!(of("2026-01-01T00:00:00Z stdout: a <em>hot</em> &lt;room&gt;: 7"), "a hot <room>: 7");
        assert_eq!(of("<em>step</em> 7"), "step 7");
    }

    #[test]
    fn ages_and_times_are_read() {
        let now: Zoned = "2026-01-31T12:00:00+00:00[UTC]".parse().unwrap();
        let of = |text: &str| when_at(text, &now).map(|at| now.timestamp().as_millisecond() - at);
        assert_eq!(of("90s"), Ok(90_000));
        assert_eq!(of("15m"), Ok(15 * 60_000));
        assert_eq!(of("1h"), Ok(3_600_000));
        assert_eq!(of("2d"), Ok(2 * 86_400_000));
        assert_eq!(of("2026-01-31T11:59:59Z"), Ok(1000));
        assert_eq!(when_at("1000", &now), Ok(1000));
        for bad in ["", "yesterday", "1", "5x"] {
            assert!(bad == "1" || when_at(bad, &now).is_err(), "{bad}");
        }
    }
}
