//! What hits are sorted by, and the cursor that names where a page ended.

use std::cmp::Ordering;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

/// Bytes of a cursor: those that are given out are far shorter.
const CURSOR_BYTES_MAX: usize = 4 << 10;

/// An order of hits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sort {
    /// As it was asked for; a cursor belongs to one.
    text: String,
    /// The index's column.
    pub(super) column: String,
    pub(super) descending: bool,
}

/// The value that a hit is sorted by, in the order of its column.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Value {
    /// A number or a moment, moved so that it sorts as a whole number.
    Number(u64),
    Text(String),
    None,
}

/// A hit's place in the order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Key {
    #[serde(rename = "v")]
    pub(super) value: Value,
    #[serde(rename = "i")]
    pub(super) id_high: u64,
    #[serde(rename = "n")]
    pub(super) number: u64,
}

#[derive(Serialize, Deserialize)]
struct Cursor {
    #[serde(rename = "s")]
    sort: String,
    #[serde(flatten)]
    key: Key,
}

impl Sort {
    /// Reads `field:asc` or `field:desc`; the latest first where nothing is asked for.
    pub(super) fn parse(text: Option<&str>) -> Result<Self, String> {
        let text = text.map(str::trim).filter(|text| !text.is_empty()).unwrap_or("start:desc");
        let (field, descending) = match text.rsplit_once(':') {
            Some((field, "asc")) => (field, false),
            Some((field, "desc")) => (field, true),
            _ => {
                return Err(format!(
                    "`sort` is `{text}`: expected a field and a direction, as in `start:desc` or `duration:asc`"
                ));
            }
        };
        let column = match field {
            "name" | "kind" | "trigger" | "rule" | "cause" | "version" | "status" | "statusCode"
            | "duration" | "start" | "end" => field.to_owned(),
            _ => match (field.strip_prefix("annotations."), field.strip_prefix("result.")) {
                (Some(path), _) if !path.is_empty() => format!("annotations_fast.{path}"),
                (_, Some(path)) if !path.is_empty() => format!("result_fast.{path}"),
                _ => {
                    return Err(format!(
                        "hits cannot be sorted by `{field}`: expected `start`, `end`, `duration`, `name`, `kind`, `trigger`, \
                         `rule`, `cause`, `version`, `status`, `statusCode`, or a number within `annotations.…` or `result.…`"
                    ));
                }
            },
        };
        Ok(Self { text: text.to_owned(), column, descending })
    }

    /// Whether texts are sorted, not numbers.
    pub(super) fn is_text(&self) -> bool {
        matches!(self.column.as_str(), "name" | "kind" | "trigger" | "rule" | "cause" | "version" | "status")
    }

    pub(super) fn compare(&self, a: &Key, b: &Key) -> Ordering {
        let none = |key: &Key| key.value == Value::None;
        let values = match (none(a), none(b)) {
            (false, false) if self.descending => b.value.cmp(&a.value),
            (false, false) => a.value.cmp(&b.value),
            (a, b) => a.cmp(&b),
        };
        values.then(a.id_high.cmp(&b.id_high)).then(a.number.cmp(&b.number))
    }

    /// The cursor that goes on after a hit.
    pub(super) fn cursor(&self, key: &Key) -> Option<String> {
        let cursor = Cursor { sort: self.text.clone(), key: key.clone() };
        serde_json::to_vec(&cursor).ok().map(|bytes| URL_SAFE_NO_PAD.encode(bytes))
    }

    /// Reads a cursor that [`Sort::cursor`] made.
    pub(super) fn after(&self, text: &str) -> Result<Key, String> {
        let bad = || "`cursor` is not one that a search answered with".to_owned();
        if text.len() > CURSOR_BYTES_MAX {
            return Err(bad());
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| bad())?;
        let cursor: Cursor = serde_json::from_slice(&bytes).map_err(|_| bad())?;
        if cursor.sort != self.text {
            return Err(format!(
                "`cursor` belongs to a search with `sort={}`, and this one has `{}`",
                cursor.sort, self.text
            ));
        }
        let text = matches!(cursor.key.value, Value::Text(_));
        if cursor.key.value != Value::None && text != self.is_text() {
            return Err(bad());
        }
        Ok(cursor.key)
    }
}
