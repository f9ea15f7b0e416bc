//! Parameters and annotations: arrays of key and value (contract §1.3).

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Json, JsonObject};

/// One key with its value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Parameter {
    /// The key; empty and blank ones are legal.
    pub key: String,
    /// The value, of any type.
    pub value: Json,
    /// Whether the value goes to the container's environment at `/init`, instead of into the run's arguments.
    #[serde(default)]
    pub init: bool,
    /// The algorithm that the value is locked with; stored and shown.
    #[serde(default)]
    pub encryption: Option<String>,
}

/// Parameters or annotations: each key once, in the order of their first appearance.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Parameters(Vec<Parameter>);

impl Parameters {
    /// No parameters.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Parameter> {
        self.0.iter()
    }

    /// The value under `key`.
    pub fn value(&self, key: &str) -> Option<&Json> {
        self.0.iter().find(|p| p.key == key).map(|p| &p.value)
    }

    /// Whether the value under `key` is set and "true" as the contract reads it: not false, 0, null or "" (§2.5).
    pub fn is_truthy(&self, key: &str) -> bool {
        self.value(key).is_some_and(|value| match value.to_value() {
            Value::Null => false,
            Value::Bool(flag) => flag,
            Value::Number(number) => number.as_f64() != Some(0.0),
            Value::String(text) => !text.is_empty(),
            Value::Array(_) | Value::Object(_) => true,
        })
    }

    /// Puts `parameter` in, replacing one of the same key.
    pub fn put(&mut self, parameter: Parameter) {
        match self.0.iter_mut().find(|p| p.key == parameter.key) {
            Some(old) => *old = parameter,
            None => self.0.push(parameter),
        }
    }

    /// Puts a plain value under `key`.
    pub fn set(&mut self, key: &str, value: impl Into<Json>) {
        self.put(Parameter { key: key.to_owned(), value: value.into(), init: false, encryption: None });
    }

    /// The same with a plain value under `key`.
    pub fn with(mut self, key: &str, value: impl Into<Json>) -> Self {
        self.set(key, value);
        self
    }

    /// Takes the one under `key` out.
    pub fn remove(&mut self, key: &str) -> Option<Parameter> {
        let at = self.0.iter().position(|p| p.key == key)?;
        Some(self.0.remove(at))
    }

    /// These with those of `top` over them; an `init` flag of the lower one is kept (contract §2.1).
    pub fn overlaid_with(&self, top: &Self) -> Self {
        let mut merged = self.clone();
        for parameter in &top.0 {
            let init = parameter.init || self.0.iter().any(|p| p.key == parameter.key && p.init);
            merged.put(Parameter { init, ..parameter.clone() });
        }
        merged
    }

    /// As one object, key to value.
    pub fn to_object(&self) -> JsonObject {
        JsonObject::from_fields(self.0.iter().map(|p| (p.key.as_str(), &p.value)))
    }

    /// Bytes of keys and of the values' JSON text, as the contract's size limit counts them (§1.3).
    pub fn bytes(&self) -> usize {
        self.0.iter().map(|p| p.key.len() + p.value.as_str().len()).sum()
    }
}

impl FromIterator<Parameter> for Parameters {
    fn from_iter<I: IntoIterator<Item = Parameter>>(iter: I) -> Self {
        let mut parameters = Self::new();
        for parameter in iter {
            parameters.put(parameter);
        }
        parameters
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_duplicate_keys_the_last_wins_and_layers_overlay() {
        let base =
            Parameters::new().with("a", Json::from("1")).with("a", Json::from("2")).with("b", Json::null());
        assert_eq!(base.value("a").unwrap().as_str(), "\"2\"");
        let top = Parameters::new().with("b", Json::from("x"));
        assert_eq!(base.overlaid_with(&top).to_object().as_str(), r#"{"a":"2","b":"x"}"#);
        assert_eq!(base.bytes(), 1 + 3 + 1 + 4);
    }

    #[test]
    fn truth_is_read_as_the_contract_reads_it() {
        for (value, truth) in [("true", true), ("1", true), ("\"no\"", true), ("{}", true), ("[]", true)]
            .into_iter()
            .chain([("false", false), ("0", false), ("null", false), ("\"\"", false)])
        {
            let parameters = Parameters::new().with("k", Json::parse(value).unwrap());
            assert_eq!(parameters.is_truthy("k"), truth, "{value}");
        }
        assert!(!Parameters::new().is_truthy("k"));
    }
}
