//! Aggregations in Elasticsearch's form: checked, and given to the index with its own names of the fields.
//!
//! Only what is listed here is let through. The index knows more, which would show what is not the caller's (a filter
//! or a hit of its own) or cost without bound (a regular expression, gaps of a fine histogram that are filled).

use serde_json::{Map, Value};
use tantivy::Index;
use tantivy::aggregation::agg_req::Aggregations;
use tantivy::aggregation::{AggContextParams, AggregationCollector, AggregationLimitsGuard};
use triggerfish_model::Json;

/// Bytes of all aggregations as text.
const BYTES_MAX: usize = 16 << 10;
/// Aggregations of one search, those within others included.
const COUNT_MAX: usize = 32;
/// Aggregations within one another: each level multiplies the buckets.
const DEPTH_MAX: usize = 4;
/// Buckets of one `terms` aggregation.
const TERMS_MAX: u64 = 1000;
/// Buckets of an answer.
const BUCKETS_MAX: u32 = 10_000;
/// Memory of one search's aggregations.
const MEMORY_BYTES_MAX: u64 = 64 << 20;

/// What a kind of aggregation is over.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Over {
    /// Any field.
    Any,
    /// Numbers and times.
    Numbers,
    /// Times.
    Times,
}

/// The kinds, what they are over, and their parameters beside `field`.
const KINDS: [(&str, Over, &[&str]); 13] = [
    ("terms", Over::Any, &["size", "order", "min_doc_count", "missing"]),
    ("histogram", Over::Numbers, &["interval", "offset", "min_doc_count", "hard_bounds", "keyed"]),
    ("date_histogram", Over::Times, &["fixed_interval", "offset", "min_doc_count", "hard_bounds", "keyed"]),
    ("range", Over::Numbers, &["ranges", "keyed"]),
    ("avg", Over::Numbers, &["missing"]),
    ("min", Over::Numbers, &["missing"]),
    ("max", Over::Numbers, &["missing"]),
    ("sum", Over::Numbers, &["missing"]),
    ("stats", Over::Numbers, &["missing"]),
    ("extended_stats", Over::Numbers, &["missing", "sigma"]),
    ("percentiles", Over::Numbers, &["percents", "keyed"]),
    ("value_count", Over::Any, &[]),
    ("cardinality", Over::Any, &[]),
];

type Result<T> = std::result::Result<T, String>;

/// Aggregations that were understood.
pub(super) struct Wanted(Aggregations);

impl Wanted {
    pub(super) fn parse(json: &Json) -> Result<Self> {
        let bytes = json.as_str().len();
        if bytes > BYTES_MAX {
            return Err(format!("`aggs` has {bytes} bytes, and {BYTES_MAX} are read at most"));
        }
        let mut left = COUNT_MAX;
        let checked = all(json.to_value(), "aggs", DEPTH_MAX, &mut left)?;
        let wanted = serde_json::from_value(checked).map_err(|error| format!("`aggs`: {error}"))?;
        Ok(Self(wanted))
    }

    pub(super) fn collector(self, index: &Index) -> AggregationCollector {
        let limits = AggregationLimitsGuard::new(Some(MEMORY_BYTES_MAX), Some(BUCKETS_MAX));
        AggregationCollector::from_aggs(self.0, AggContextParams::new(limits, index.tokenizers().clone()))
    }
}

/// Checks named aggregations.
fn all(value: Value, at: &str, depth: usize, left: &mut usize) -> Result<Value> {
    let Value::Object(named) = value else {
        return Err(format!("`{at}`: expected an object of named aggregations"));
    };
    let mut checked = Map::new();
    for (name, value) in named {
        let at = format!("{at}.{name}");
        *left = left.checked_sub(1).ok_or_else(|| format!("`{at}`: more than {COUNT_MAX} aggregations"))?;
        if depth == 0 {
            return Err(format!("`{at}`: more than {DEPTH_MAX} aggregations within one another"));
        }
        checked.insert(name, one(value, &at, depth, left)?);
    }
    Ok(Value::Object(checked))
}

/// Checks one aggregation: its kind, and what is within it.
fn one(value: Value, at: &str, depth: usize, left: &mut usize) -> Result<Value> {
    let kinds = || KINDS.map(|(name, ..)| format!("`{name}`")).join(", ");
    let Value::Object(parts) = value else {
        return Err(format!("`{at}`: expected an object with one of {}", kinds()));
    };
    let mut checked = Map::new();
    for (key, value) in parts {
        if matches!(key.as_str(), "aggs" | "aggregations") {
            let within = format!("{at}.{key}");
            checked.insert("aggs".into(), all(value, &within, depth - 1, left)?);
            continue;
        }
        let Some((kind, over, known)) = KINDS.iter().find(|(name, ..)| *name == key) else {
            return Err(format!("`{at}`: there is no aggregation `{key}`: expected {}", kinds()));
        };
        checked.insert(key, params(value, &format!("{at}.{kind}"), kind, *over, known)?);
    }
    let kinds_given = checked.keys().filter(|key| *key != "aggs").count();
    if kinds_given != 1 {
        return Err(format!("`{at}`: expected one of {}, and it has {kinds_given}", kinds()));
    }
    Ok(Value::Object(checked))
}

fn params(value: Value, at: &str, kind: &str, over: Over, known: &[&str]) -> Result<Value> {
    let Value::Object(mut params) = value else {
        return Err(format!("`{at}`: expected an object with `field`"));
    };
    let Some(Value::String(field)) = params.get("field") else {
        return Err(format!("`{at}`: expected the text `field`"));
    };
    let column = column(field, over).map_err(|text| format!("`{at}.field`: {text}"))?;
    params.insert("field".into(), column.into());
    if let Some(unknown) = params.keys().find(|key| *key != "field" && !known.contains(&key.as_str())) {
        return Err(format!("`{at}`: there is no parameter `{unknown}`: expected `field`, {}", list(known)));
    }
    match kind {
        "terms" => {
            if let Some(size) = params.get("size")
                && size.as_u64().is_none_or(|size| size == 0 || size > TERMS_MAX)
            {
                return Err(format!("`{at}.size`: expected a number from 1 to {TERMS_MAX}"));
            }
        }
        "histogram" => {
            if params.get("interval").and_then(Value::as_f64).is_none_or(|interval| interval <= 0.0) {
                return Err(format!("`{at}.interval`: expected a number above 0"));
            }
            // Filled gaps may be any number of buckets.
            if params.get("min_doc_count").and_then(Value::as_u64) == Some(0) {
                return Err(format!("`{at}.min_doc_count`: expected 1 or more; empty buckets are left out"));
            }
            params.entry("min_doc_count").or_insert_with(|| 1.into());
        }
        "date_histogram" => {
            let interval = params.get("fixed_interval").and_then(Value::as_str).unwrap_or_default();
            let unit = interval.trim_start_matches(|c: char| c.is_ascii_digit());
            if !matches!(unit, "s" | "m" | "h" | "d") || unit == interval {
                return Err(format!(
                    "`{at}.fixed_interval`: expected a number with its unit, as in `30s`, `5m`, `1h`, `1d`"
                ));
            }
        }
        _ => {}
    }
    Ok(Value::Object(params))
}

fn list(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// The index's column of a field.
fn column(field: &str, over: Over) -> Result<String> {
    let numbers = ["duration", "statusCode"];
    let times = ["start", "end"];
    let labels = ["name", "kind", "trigger", "rule", "cause", "version", "status"];
    let fits = times.contains(&field)
        || (over != Over::Times && numbers.contains(&field))
        || (over == Over::Any && labels.contains(&field));
    if fits {
        return Ok(field.to_owned());
    }
    let below = |root: &str| field.strip_prefix(root).filter(|path| !path.is_empty());
    match (below("annotations."), below("result.")) {
        (Some(path), _) if over != Over::Times => Ok(format!("annotations_fast.{path}")),
        (_, Some(path)) if over != Over::Times => Ok(format!("result_fast.{path}")),
        _ => {
            let mut fields = times.to_vec();
            if over != Over::Times {
                fields.extend(numbers);
            }
            if over == Over::Any {
                fields.extend(labels);
            }
            if over != Over::Times {
                fields.extend(["annotations.…", "result.…"]);
            }
            Err(format!("`{field}` cannot be used here: expected {}", list(&fields)))
        }
    }
}
