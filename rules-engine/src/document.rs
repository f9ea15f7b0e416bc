//! A payload read into a tree that borrows from its text: numbers keep their digits, strings are copied only where they
//! hold escapes. The text is a [`triggerfish_model::Json`], so it is valid, compact and not too deep.

use std::borrow::Cow;

/// The most values (members, elements) of an event that conditions look into; one takes about 64 bytes while they do.
pub(crate) const VALUES_MAX: usize = 1_000_000;

/// One value, with the text it was read from.
#[derive(Clone, Debug)]
pub(crate) struct Node<'a> {
    /// The value's own text.
    pub(crate) raw: &'a str,
    /// What it is.
    pub(crate) kind: Kind<'a>,
}

/// What a value is.
#[derive(Clone, Debug)]
pub(crate) enum Kind<'a> {
    Null,
    Bool(bool),
    /// The digits are in `raw`.
    Number,
    Text(Cow<'a, str>),
    Array(Vec<Node<'a>>),
    /// In the text's order; of a key given twice, the last counts.
    Object(Vec<(Cow<'a, str>, Node<'a>)>),
}

/// An event holds more than [`VALUES_MAX`] values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the event holds more than {VALUES_MAX} values, the most that conditions look into")]
pub(crate) struct TooManyValues;

impl<'a> Node<'a> {
    /// Reads `text`, the text of a checked `Json`.
    pub(crate) fn read(text: &'a str) -> Result<Self, TooManyValues> {
        Reader { text, at: 0, values: 0 }.value()
    }

    /// The member `key`, where this is an object that has it.
    pub(crate) fn member(&self, key: &str) -> Option<&Self> {
        match &self.kind {
            Kind::Object(members) => members.iter().rev().find(|(name, _)| name == key).map(|(_, node)| node),
            Kind::Null | Kind::Bool(_) | Kind::Number | Kind::Text(_) | Kind::Array(_) => None,
        }
    }

    /// How many elements or members it has; 0 for a scalar.
    pub(crate) fn len(&self) -> usize {
        match &self.kind {
            Kind::Array(elements) => elements.len(),
            Kind::Object(members) => members.len(),
            Kind::Null | Kind::Bool(_) | Kind::Number | Kind::Text(_) => 0,
        }
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    values: usize,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> u8 {
        self.text.as_bytes().get(self.at).copied().unwrap_or_default()
    }

    fn slice(&self, from: usize) -> &'a str {
        self.text.get(from..self.at).unwrap_or_default()
    }

    fn value(&mut self) -> Result<Node<'a>, TooManyValues> {
        self.values += 1;
        if self.values > VALUES_MAX {
            return Err(TooManyValues);
        }
        let from = self.at;
        let kind = match self.peek() {
            b'{' => self.object()?,
            b'[' => self.array()?,
            b'"' => Kind::Text(self.string()),
            b't' => self.word(4, Kind::Bool(true)),
            b'f' => self.word(5, Kind::Bool(false)),
            b'n' => self.word(4, Kind::Null),
            _ => {
                while matches!(self.peek(), b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E') {
                    self.at += 1;
                }
                Kind::Number
            }
        };
        Ok(Node { raw: self.slice(from), kind })
    }

    fn word(&mut self, length: usize, kind: Kind<'a>) -> Kind<'a> {
        self.at += length;
        kind
    }

    fn object(&mut self) -> Result<Kind<'a>, TooManyValues> {
        let mut members = Vec::new();
        self.at += 1;
        while self.peek() == b'"' {
            let key = self.string();
            self.at += 1;
            members.push((key, self.value()?));
            if self.peek() == b',' {
                self.at += 1;
            }
        }
        self.at += 1;
        Ok(Kind::Object(members))
    }

    fn array(&mut self) -> Result<Kind<'a>, TooManyValues> {
        let mut elements = Vec::new();
        self.at += 1;
        while !matches!(self.peek(), b']' | 0) {
            elements.push(self.value()?);
            if self.peek() == b',' {
                self.at += 1;
            }
        }
        self.at += 1;
        Ok(Kind::Array(elements))
    }

    fn string(&mut self) -> Cow<'a, str> {
        let from = self.at;
        let mut escapes = false;
        self.at += 1;
        loop {
            match self.peek() {
                b'"' | 0 => break,
                b'\\' => {
                    escapes = true;
                    self.at += 2;
                }
                _ => self.at += 1,
            }
        }
        self.at += 1;
        let quoted = self.slice(from);
        if escapes {
            Cow::Owned(serde_json::from_str(quoted).unwrap_or_else(|_| quoted.to_owned()))
        } else {
            let inner = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
            Cow::Borrowed(inner.unwrap_or_default())
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;
    use triggerfish_model::Json;

    use super::*;

    fn as_value(node: &Node<'_>) -> Value {
        match &node.kind {
            Kind::Null => Value::Null,
            Kind::Bool(flag) => Value::Bool(*flag),
            Kind::Number => serde_json::from_str(node.raw).unwrap(),
            Kind::Text(text) => Value::String(text.to_string()),
            Kind::Array(elements) => elements.iter().map(as_value).collect(),
            Kind::Object(members) => {
                Value::Object(members.iter().map(|(key, node)| (key.to_string(), as_value(node))).collect())
            }
        }
    }

    pub(crate) fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            "[a-c\"\\\\\n\u{e9}]{0,4}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map("[a-c\"]{0,2}", inner, 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_document_reads_as_serde_json_reads_it(value in any_json()) {
            let json = Json::from_value(&value);
            let node = Node::read(json.as_str()).unwrap();
            prop_assert_eq!(node.raw, json.as_str());
            prop_assert_eq!(as_value(&node), value);
        }
    }

    #[test]
    fn of_duplicate_keys_the_last_counts_and_too_many_values_are_refused() {
        let node = Node::read(r#"{"a":1,"a":2}"#).unwrap();
        assert_eq!(node.member("a").unwrap().raw, "2");
        let long = format!("[{}0]", "0,".repeat(VALUES_MAX));
        assert_eq!(Node::read(&long).unwrap_err(), TooManyValues);
    }
}
