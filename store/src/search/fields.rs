//! The fields of a query: their names, and what a term, a phrase or a range means in each.

use std::ops::Bound;

use triggerfish_model::{StatusCode, Timestamp};

use super::ast::{Field, Glob, Piece, Test};
use super::parser::{Parser, plain};
use super::values::{self, MOMENTS, STATUS_WORDS, Span};
use super::words::words;

/// Words of a phrase.
const PHRASE_WORDS_MAX: usize = 64;

/// What can be said of a query's part, instead of its test.
type Result<T> = std::result::Result<T, String>;
/// An end of a range, and whether it belongs to it.
type End = Option<(String, bool)>;

/// All names; for error messages.
const NAMES: [&str; 13] = [
    "logs",
    "name",
    "kind",
    "trigger",
    "rule",
    "status",
    "statusCode",
    "cause",
    "version",
    "activationId",
    "duration",
    "start",
    "end",
];

/// The field of a name.
pub(super) fn named(name: &str) -> Result<Field> {
    let below = |root: &str| name.strip_prefix(root).filter(|path| !path.is_empty()).map(str::to_owned);
    Ok(match name {
        "logs" => Field::Logs,
        "name" => Field::Name,
        "kind" => Field::Kind,
        "trigger" => Field::Trigger,
        "rule" => Field::Rule,
        "status" | "statusCode" => Field::StatusCode,
        "cause" => Field::Cause,
        "version" => Field::Version,
        "activationId" => Field::ActivationId,
        "duration" => Field::Duration,
        "start" => Field::Start,
        "end" => Field::End,
        _ => match (below("annotations."), below("result.")) {
            (Some(path), _) => Field::Annotation(path),
            (_, Some(path)) => Field::Result(path),
            _ => {
                return Err(format!(
                    "there is no field `{name}`: expected {}, `annotations.…` or `result.…`; put text that holds `:` in quotes",
                    NAMES.map(|name| format!("`{name}`")).join(", ")
                ));
            }
        },
    })
}

/// A term, perhaps with wildcards.
pub(super) fn term(parser: &Parser, field: &Field, glob: &Glob) -> Result<Test> {
    if glob.0 == [Piece::Many] {
        return Ok(Test::Exists);
    }
    match plain(glob) {
        Some(text) => phrase(parser.now, field, &text),
        None => wild(field, glob),
    }
}

/// A term with wildcards.
fn wild(field: &Field, glob: &Glob) -> Result<Test> {
    match field {
        Field::Logs | Field::Annotation(_) | Field::Result(_) => {
            if let Some(c) = glob.outside_word() {
                return Err(format!(
                    "a term with wildcards is one word, and `{c}` is part of none: write the words apart, joined by AND"
                ));
            }
            let lower = |piece: &Piece| match piece {
                Piece::Char(c) => c.to_lowercase().map(Piece::Char).collect(),
                other => vec![*other],
            };
            Ok(Test::Glob(Glob(glob.0.iter().flat_map(lower).collect())))
        }
        Field::StatusCode => {
            let names = |status: StatusCode| {
                [status.as_str(), status.label()].map(|name| glob.matches(name)).contains(&true)
            };
            values::codes_where(names)
                .map(Test::Codes)
                .ok_or_else(|| format!("no status is like this: expected {STATUS_WORDS}"))
        }
        Field::Duration | Field::Start | Field::End => {
            Err("wildcards are for text: use a range, as in `duration:[100 TO 500]`".into())
        }
        Field::Name
        | Field::Kind
        | Field::Trigger
        | Field::Rule
        | Field::Cause
        | Field::Version
        | Field::ActivationId => Ok(Test::Glob(glob.clone())),
    }
}

/// A text without wildcards: a term, or what stood in quotes.
pub(super) fn phrase(now: Timestamp, field: &Field, text: &str) -> Result<Test> {
    match field {
        Field::Logs => Ok(Test::Words(some_words(text)?)),
        Field::Annotation(_) | Field::Result(_) => {
            let number = values::number(text);
            let words = if number.is_some() { words(text) } else { some_words(text)? };
            let flag = [("true", true), ("false", false)]
                .into_iter()
                .find_map(|(name, flag)| (name == text).then_some(flag));
            Ok(Test::Value { words, number, flag })
        }
        Field::StatusCode => values::codes(text)
            .map(Test::Codes)
            .ok_or_else(|| format!("`{text}` is no status: expected {STATUS_WORDS}")),
        Field::Duration => {
            let millis = duration(text)?;
            Ok(Test::Range(Bound::Included(millis), Bound::Included(millis)))
        }
        Field::Start | Field::End => {
            let (from, to) = moment(text, now)?;
            Ok(Test::Range(Bound::Included(from), Bound::Excluded(to)))
        }
        Field::Name
        | Field::Kind
        | Field::Trigger
        | Field::Rule
        | Field::Cause
        | Field::Version
        | Field::ActivationId => Ok(Test::Exact(text.to_owned())),
    }
}

/// A range.
pub(super) fn range(now: Timestamp, field: &Field, low: End, high: End) -> Result<Test> {
    let numbers = |read: &dyn Fn(&str) -> Result<f64>| {
        let bound = |end: &End| match end {
            None => Ok(Bound::Unbounded),
            Some((text, true)) => read(text).map(Bound::Included),
            Some((text, false)) => read(text).map(Bound::Excluded),
        };
        Ok::<_, String>((bound(&low)?, bound(&high)?))
    };
    match field {
        Field::Duration => numbers(&duration).map(|(low, high)| Test::Range(low, high)),
        Field::Annotation(_) | Field::Result(_) => {
            let number = |text: &str| {
                values::number(text).ok_or_else(|| format!("`{text}` is no number, and ranges of values are of numbers"))
            };
            numbers(&number).map(|(low, high)| Test::Range(low, high))
        }
        Field::StatusCode => {
            let (low, high) = numbers(&|text| values::number(text).ok_or_else(|| format!("`{text}` is no code from 0 to 3")))?;
            let codes = values::codes_where(|status| super::filter::contains((low, high), f64::from(status.as_u8())));
            Ok(Test::Codes(codes.unwrap_or_default()))
        }
        Field::Start | Field::End => {
            // An end that names a day means all of it.
            let low = match &low {
                None => Bound::Unbounded,
                Some((text, true)) => Bound::Included(moment(text, now)?.0),
                Some((text, false)) => Bound::Included(moment(text, now)?.1),
            };
            let high = match &high {
                None => Bound::Unbounded,
                Some((text, true)) => Bound::Excluded(moment(text, now)?.1),
                Some((text, false)) => Bound::Excluded(moment(text, now)?.0),
            };
            Ok(Test::Range(low, high))
        }
        _ => Err("ranges are for numbers and times: `duration`, `start`, `end`, `statusCode`, `annotations.…`, `result.…`".into()),
    }
}

fn some_words(text: &str) -> Result<Vec<String>> {
    let words = words(text);
    match words.len() {
        0 => Err(format!("`{text}` holds no letter and no digit to search for")),
        1..=PHRASE_WORDS_MAX => Ok(words),
        more => Err(format!("a phrase of {more} words, and {PHRASE_WORDS_MAX} are searched for at most")),
    }
}

fn duration(text: &str) -> Result<f64> {
    values::duration(text).ok_or_else(|| {
        format!("`{text}` is no duration: expected milliseconds, or a number with its unit as in `2s`")
    })
}

fn moment(text: &str, now: Timestamp) -> Result<Span> {
    values::moment(text, now).ok_or_else(|| format!("`{text}` is no moment: expected {MOMENTS}"))
}
