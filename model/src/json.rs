//! JSON as checked, compact text.
//!
//! Payloads travel from a broker to a container and into a record mostly unread. So they are kept as text: checked
//! once, parsed only by what looks inside, and numbers keep the form that they came in (a 20-digit integer stays
//! one).

use std::fmt;
use std::sync::Arc;

use indexmap::IndexMap;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// How deep arrays and objects may nest; serde_json refuses to read deeper ones.
const DEPTH_MAX: usize = 120;

/// A JSON value of any type, as compact text.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Json(Arc<str>);

/// A JSON object, as compact text.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct JsonObject(Json);

/// Why a text is not the JSON that was expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// Not JSON at all; serde_json's own words, with line and column.
    #[error("{0}")]
    Syntax(String),
    /// Deeper than this hub reads.
    #[error("arrays and objects nest deeper than {DEPTH_MAX} levels")]
    TooDeep,
    /// JSON, but no object.
    #[error("a JSON object was expected, but this is {0}")]
    NotAnObject(&'static str),
}

impl Json {
    /// Checks `text` and keeps it without its insignificant white space.
    pub fn parse(text: impl AsRef<[u8]>) -> Result<Self, JsonError> {
        let raw: &RawValue =
            serde_json::from_slice(text.as_ref()).map_err(|error| JsonError::Syntax(error.to_string()))?;
        Self::from_raw(raw)
    }

    fn from_raw(raw: &RawValue) -> Result<Self, JsonError> {
        compact(raw.get()).map(|text| Self(text.into()))
    }

    /// The text of `value`.
    pub fn from_value(value: &Value) -> Self {
        Self(value.to_string().into())
    }

    /// The text of whatever `value` serialises to; `None` where it is nothing that JSON can say.
    pub fn of(value: &impl Serialize) -> Option<Self> {
        Self::parse(serde_json::to_string(value).ok()?).ok()
    }

    /// `null`.
    pub fn null() -> Self {
        Self("null".into())
    }

    /// The compact text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The parsed value.
    pub fn to_value(&self) -> Value {
        self.read().unwrap_or(Value::Null)
    }

    /// Reads the value as a `T`.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(&self.0)
    }

    /// The object, where this is one.
    pub fn as_object(&self) -> Option<JsonObject> {
        self.0.starts_with('{').then(|| JsonObject(self.clone()))
    }

    /// What type of JSON value this is, with its article: "an object", "a string", …
    pub fn type_name(&self) -> &'static str {
        match self.0.as_bytes().first() {
            Some(b'{') => "an object",
            Some(b'[') => "an array",
            Some(b'"') => "a string",
            Some(b't' | b'f') => "a boolean",
            Some(b'n') => "null",
            _ => "a number",
        }
    }

    fn raw(&self) -> &RawValue {
        serde_json::from_str(&self.0).expect("the text was checked when the value was made")
    }
}

impl JsonObject {
    /// Checks that `text` is one JSON object, and keeps it without its insignificant white space.
    pub fn parse(text: impl AsRef<[u8]>) -> Result<Self, JsonError> {
        let json = Json::parse(text)?;
        json.as_object().ok_or_else(|| JsonError::NotAnObject(json.type_name()))
    }

    /// The text of `map`.
    pub fn from_map(map: &Map<String, Value>) -> Self {
        Self(Json(serde_json::to_string(map).expect("a JSON map has a text").into()))
    }

    /// `{}`.
    pub fn empty() -> Self {
        Self(Json("{}".into()))
    }

    /// Whether this is `{}`.
    pub fn is_empty(&self) -> bool {
        self.as_str() == "{}"
    }

    /// The compact text.
    pub fn as_str(&self) -> &str {
        &self.0.0
    }

    /// The same, as a value of any type.
    pub fn as_json(&self) -> &Json {
        &self.0
    }

    /// The parsed map.
    pub fn to_map(&self) -> Map<String, Value> {
        self.0.read().unwrap_or_default()
    }

    /// The fields, each value as text; of a key given twice the last counts.
    pub fn fields(&self) -> IndexMap<String, Json> {
        let raw: IndexMap<String, &RawValue> =
            serde_json::from_str(self.as_str()).expect("the text was checked when the object was made");
        raw.into_iter().map(|(key, value)| (key, Json(value.get().into()))).collect()
    }

    /// An object of these fields.
    pub fn from_fields<'a>(fields: impl IntoIterator<Item = (&'a str, &'a Json)>) -> Self {
        let mut text = String::from("{");
        for (key, value) in fields {
            if text.len() > 1 {
                text.push(',');
            }
            text.push_str(&Value::from(key).to_string());
            text.push(':');
            text.push_str(value.as_str());
        }
        text.push('}');
        Self(Json(text.into()))
    }

    /// The fields of `self` with those of `top` over them; shallow, by key (contract §2.1).
    pub fn overlaid_with(&self, top: &Self) -> Self {
        if self.is_empty() {
            return top.clone();
        }
        if top.is_empty() {
            return self.clone();
        }
        let mut fields = self.fields();
        fields.extend(top.fields());
        Self::from_fields(fields.iter().map(|(key, value)| (key.as_str(), value)))
    }
}

/// `text` (one valid JSON value) without the white space between its tokens.
fn compact(text: &str) -> Result<String, JsonError> {
    let mut out = Vec::with_capacity(text.len());
    let (mut in_string, mut escaped, mut depth) = (false, false, 0_usize);
    // Whether the escape before this one was the first half of a surrogate pair.
    let mut pairs = false;
    for (at, &byte) in text.as_bytes().iter().enumerate() {
        if in_string {
            if escaped && byte == b'u' {
                pairs = surrogate(text, at, pairs)?;
            }
            in_string = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
        } else {
            match byte {
                b' ' | b'\t' | b'\n' | b'\r' => continue,
                b'"' => in_string = true,
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth -= 1,
                _ => {}
            }
            if depth > DEPTH_MAX {
                return Err(JsonError::TooDeep);
            }
        }
        out.push(byte);
    }
    Ok(String::from_utf8(out).expect("only whole ASCII characters were left out"))
}

/// Refuses half of a surrogate pair at the `u` of an escape, which no text can hold: whoever looked inside later would
/// fail. `true` where it is the first half and the second one follows.
fn surrogate(text: &str, at: usize, pairs: bool) -> Result<bool, JsonError> {
    let unit =
        |at: usize| text.get(at..at + 4).and_then(|hex| u16::from_str_radix(hex, 16).ok()).unwrap_or(0);
    let follows = || text.get(at + 5..at + 7) == Some("\\u") && (0xdc00..0xe000).contains(&unit(at + 7));
    match unit(at + 1) {
        0xd800..0xdc00 if follows() => Ok(true),
        0xdc00..0xe000 if pairs => Ok(false),
        0xd800..0xe000 => Err(JsonError::Syntax(format!("half of a surrogate pair at byte {at}"))),
        _ => Ok(false),
    }
}

impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for JsonObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for JsonObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Default for JsonObject {
    fn default() -> Self {
        Self::empty()
    }
}

impl From<Value> for Json {
    fn from(value: Value) -> Self {
        Self::from_value(&value)
    }
}

impl From<&str> for Json {
    fn from(text: &str) -> Self {
        Self::from_value(&Value::from(text))
    }
}

impl From<JsonObject> for Json {
    fn from(object: JsonObject) -> Self {
        object.0
    }
}

impl From<Map<String, Value>> for JsonObject {
    fn from(map: Map<String, Value>) -> Self {
        Self::from_map(&map)
    }
}

impl Serialize for Json {
    /// As the value itself in JSON, and as its text in a binary format.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            self.raw().serialize(serializer)
        } else {
            serializer.serialize_str(&self.0)
        }
    }
}

impl<'de> Deserialize<'de> for Json {
    /// Only from serde_json's text readers, or from a binary format's string.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let raw = Box::<RawValue>::deserialize(deserializer)?;
            Self::from_raw(&raw).map_err(serde::de::Error::custom)
        } else {
            // Our own binary records hold text that was checked when they were written.
            std::borrow::Cow::<'de, str>::deserialize(deserializer).map(|text| Self(text.into()))
        }
    }
}

impl Serialize for JsonObject {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for JsonObject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = Json::deserialize(deserializer)?;
        let type_name = json.type_name();
        json.as_object().ok_or_else(|| serde::de::Error::custom(JsonError::NotAnObject(type_name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_checked_and_compacted_and_numbers_keep_their_form() {
        let json =
            Json::parse(r#" { "a" : [ 1.0 , 12345678901234567890123 ] , "b c" : "x \" y" } "#).unwrap();
        assert_eq!(json.as_str(), r#"{"a":[1.0,12345678901234567890123],"b c":"x \" y"}"#);
        assert_eq!(json.type_name(), "an object");
        assert!(matches!(Json::parse("{"), Err(JsonError::Syntax(_))));
        assert!(matches!(Json::parse(b"\xff"), Err(JsonError::Syntax(_))));
        assert_eq!(JsonObject::parse("[1]"), Err(JsonError::NotAnObject("an array")));
        assert_eq!(Json::parse("[".repeat(5000) + &"]".repeat(5000)), Err(JsonError::TooDeep));
    }

    #[test]
    fn half_of_a_surrogate_pair_is_refused_at_once() {
        for poison in [
            r#"{"a":"\ud800"}"#,
            r#"{"\udc00":1}"#,
            r#"["\ud800\u0041"]"#,
            r#""\\ud83d\ude00""#,
            r#""\ud83d\ude00\ude00""#,
        ] {
            assert!(matches!(Json::parse(poison), Err(JsonError::Syntax(_))), "{poison}");
            assert!(serde_json::from_str::<Json>(poison).is_err(), "{poison}");
        }
        for fine in [r#""\ud83d\ude00""#, r#""\\ud83d""#, r#""\uD83D\uDE00\uD83D\uDE00""#, r#""\u0000""#] {
            assert_eq!(Json::parse(fine).unwrap().as_str(), fine);
        }
    }

    #[test]
    fn overlay_is_shallow_and_the_top_wins() {
        let base = JsonObject::parse(r#"{"a":1,"b":{"x":1}}"#).unwrap();
        let top = JsonObject::parse(r#"{"b":{"y":2},"c":3}"#).unwrap();
        assert_eq!(base.overlaid_with(&top).as_str(), r#"{"a":1,"b":{"y":2},"c":3}"#);
        assert_eq!(base.overlaid_with(&JsonObject::empty()), base);
        assert_eq!(JsonObject::empty().overlaid_with(&top), top);
    }

    #[test]
    fn values_pass_through_json_unchanged() {
        #[derive(Serialize, Deserialize)]
        struct Holder {
            value: Json,
        }
        let text = r#"{"value":{"n":1e3,"z":-0.0}}"#;
        let holder: Holder = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&holder).unwrap(), text);
    }
}
