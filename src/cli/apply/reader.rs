//! Reading parts of a manifest: faults are collected, so that one run shows all of them.

use serde_json::{Map, Value};
use triggerfish_model::{Name, Namespace, QualifiedName};

use super::variables::Variables;
use super::yaml::{Data, Fault, Key, Node, Position};

/// How far a key may be from a known one for that to be meant.
const DISTANCE_MAX: usize = 3;

/// The types of `wskdeploy`'s typed inputs, with the value of one that has none.
const TYPES: [(&str, &str); 8] = [
    ("string", "\"\""),
    ("integer", "0"),
    ("int", "0"),
    ("number", "0"),
    ("float", "0"),
    ("boolean", "false"),
    ("bool", "false"),
    ("json", "{}"),
];

/// Reads a manifest's parts, and keeps what is wrong with them.
pub(super) struct Reader<'a> {
    pub(super) variables: Variables<'a>,
    /// What names without a namespace are in.
    pub(super) own: Namespace,
    pub(super) faults: Vec<Fault>,
}

/// The fields of a mapping whose keys are known.
pub(super) struct Fields<'n> {
    pub(super) at: Position,
    pairs: &'n [(Key, Node)],
}

impl<'n> Fields<'n> {
    /// The field, where it is there and not empty.
    pub(super) fn given(&self, key: &str) -> Option<&'n Node> {
        self.pairs.iter().find(|(of, _)| of.text == key).map(|(_, node)| node).filter(|node| !node.is_null())
    }

    /// The first of two fields that mean the same.
    pub(super) fn either(&self, key: &str, old: &str) -> Option<&'n Node> {
        self.given(key).or_else(|| self.given(old))
    }

    pub(super) fn at(&self, key: &str) -> Option<Position> {
        self.pairs.iter().find(|(of, _)| of.text == key).map(|(of, _)| of.at)
    }
}

impl Reader<'_> {
    pub(super) fn fault(&mut self, at: Position, what: impl Into<String>) {
        self.faults.push(Fault::new(at, what));
    }

    /// The fields of `node`, all of which must be `known`; `unsupported` ones are known to `wskdeploy`, and refused
    /// with a word of their own.
    pub(super) fn fields<'n>(
        &mut self,
        node: &'n Node,
        what: &str,
        known: &[&str],
        unsupported: &[&str],
    ) -> Fields<'n> {
        let pairs = self.entries(node, what);
        for (key, _) in pairs {
            if unsupported.contains(&key.text.as_str()) {
                self.fault(key.at, format!("`{}` of wskdeploy is not supported here, in {what}", key.text));
            } else if !known.contains(&key.text.as_str()) {
                let hint = nearest(&key.text, known.iter().copied());
                self.fault(key.at, format!("unknown key `{}` in {what}{hint}", key.text));
            }
        }
        Fields { at: node.at, pairs }
    }

    /// The entries of a mapping with any keys.
    pub(super) fn entries<'n>(&mut self, node: &'n Node, what: &str) -> &'n [(Key, Node)] {
        match &node.data {
            Data::Map(pairs) => pairs,
            _ => {
                self.fault(node.at, format!("{what} is {}, but a mapping was expected", node.kind()));
                &[]
            }
        }
    }

    /// A text with its variables replaced.
    pub(super) fn text(&mut self, node: &Node, what: &str) -> Option<String> {
        let raw = self.raw(node, what)?;
        match self.variables.replaced(&raw) {
            Ok(text) => Some(text),
            Err(fault) => {
                self.fault(node.at, fault);
                None
            }
        }
    }

    /// A text as it is written: code and conditions have dollar signs of their own.
    pub(super) fn raw(&mut self, node: &Node, what: &str) -> Option<String> {
        match &node.data {
            Data::Scalar { text, .. } if !node.is_null() => Some(text.clone()),
            _ => {
                self.fault(node.at, format!("{what} is {}, but text was expected", node.kind()));
                None
            }
        }
    }

    pub(super) fn flag(&mut self, node: &Node, what: &str) -> Option<bool> {
        match &node.data {
            Data::Scalar { value: Value::Bool(flag), .. } => Some(*flag),
            Data::Scalar { text, .. } if text == "yes" => Some(true),
            Data::Scalar { text, .. } if text == "no" => Some(false),
            _ => {
                self.fault(node.at, format!("{what} is {}, but true or false was expected", node.kind()));
                None
            }
        }
    }

    pub(super) fn whole(&mut self, node: &Node, what: &str) -> Option<u64> {
        match &node.data {
            Data::Scalar { value: Value::Number(number), .. } if number.as_u64().is_some() => number.as_u64(),
            Data::Scalar { text, .. } => {
                self.fault(node.at, format!("{what} is `{text}`, but a whole number was expected"));
                None
            }
            _ => {
                self.fault(node.at, format!("{what} is {}, but a whole number was expected", node.kind()));
                None
            }
        }
    }

    /// JSON of any shape; its texts have their variables replaced where `variables` says so.
    pub(super) fn json(&mut self, node: &Node, variables: bool) -> Value {
        match &node.data {
            Data::Scalar { value: Value::String(text), .. } if variables => {
                match self.variables.replaced(text) {
                    Ok(text) => Value::String(text),
                    Err(fault) => {
                        self.fault(node.at, fault);
                        Value::Null
                    }
                }
            }
            Data::Scalar { value, .. } => value.clone(),
            Data::List(nodes) => nodes.iter().map(|node| self.json(node, variables)).collect(),
            Data::Map(pairs) => {
                let pairs = pairs.iter().map(|(key, node)| (key.text.clone(), self.json(node, variables)));
                Value::Object(pairs.collect())
            }
        }
    }

    /// `inputs`: values, or typed ones `{type, value, default, description, required}` as `wskdeploy` has them.
    pub(super) fn inputs(&mut self, node: Option<&Node>, what: &str) -> Map<String, Value> {
        let Some(node) = node else { return Map::new() };
        let pairs = self.entries(node, what);
        pairs.iter().map(|(key, node)| (key.text.clone(), self.input(node))).collect()
    }

    fn input(&mut self, node: &Node) -> Value {
        const KEYS: [&str; 5] = ["type", "value", "default", "description", "required"];
        let Data::Map(pairs) = &node.data else { return self.json(node, true) };
        let fields = Fields { at: node.at, pairs };
        let is_typed = pairs.iter().all(|(key, _)| KEYS.contains(&key.text.as_str()))
            && (fields.given("value").is_some() || fields.given("type").is_some());
        if !is_typed {
            return self.json(node, true);
        }
        let of_type = match fields.given("type") {
            None => None,
            Some(node) => {
                let Some(name) = self.text(node, "the type of an input") else { return Value::Null };
                let known = TYPES.iter().find(|(of, _)| *of == name);
                if known.is_none() {
                    let hint = nearest(&name, TYPES.iter().map(|(of, _)| *of));
                    self.fault(node.at, format!("unknown type `{name}` of an input{hint}"));
                }
                known
            }
        };
        match fields.either("value", "default") {
            Some(node) => {
                let value = self.json(node, true);
                match of_type {
                    Some((name, _)) => self.typed(node.at, value, name),
                    None => value,
                }
            }
            None => of_type.and_then(|(_, empty)| serde_json::from_str(empty).ok()).unwrap_or(Value::Null),
        }
    }

    /// A value as its type: the text of a variable becomes a number where one is wanted.
    fn typed(&mut self, at: Position, value: Value, name: &str) -> Value {
        let fits = |value: &Value| match name {
            "string" => value.is_string(),
            "integer" | "int" => value.is_i64() || value.is_u64(),
            "number" | "float" => value.is_number(),
            "boolean" | "bool" => value.is_boolean(),
            _ => value.is_object() || value.is_array(),
        };
        if fits(&value) {
            return value;
        }
        if let (Value::Number(_) | Value::Bool(_), "string") = (&value, name) {
            return Value::String(value.to_string());
        }
        let read = value.as_str().and_then(|text| serde_json::from_str(text).ok()).filter(fits);
        read.unwrap_or_else(|| {
            self.fault(at, format!("{value} is no {name}, which this input is to be"));
            Value::Null
        })
    }

    /// A name of one segment.
    pub(super) fn name(&mut self, key: &Key, what: &str) -> Option<Name> {
        match key.text.parse() {
            Ok(name) => Some(name),
            Err(error) => {
                self.fault(key.at, format!("`{}` cannot be the name of {what}: {error}", key.text));
                None
            }
        }
    }

    /// A reference: `name`, `package/name` or `/namespace/[package/]name`. A name alone is in `package`.
    pub(super) fn reference(
        &mut self,
        at: Position,
        text: &str,
        package: Option<&Name>,
    ) -> Option<QualifiedName> {
        let text = text.trim();
        let whole = match (text.starts_with('/'), text.contains('/'), package) {
            (true, _, _) => text.to_owned(),
            (false, false, Some(package)) => format!("/{}/{package}/{text}", self.own),
            (false, _, _) => format!("/{}/{text}", self.own),
        };
        match QualifiedName::parse(&whole, &self.own) {
            Ok(id) => Some(id),
            Err(error) => {
                self.fault(at, format!("`{text}` is no name: {error}"));
                None
            }
        }
    }
}

/// "; did you mean `x`?" with the nearest of `known`, or all of them where none is near.
pub(super) fn nearest<'k>(text: &str, known: impl Iterator<Item = &'k str>) -> String {
    let known: Vec<&str> = known.collect();
    let distance = |of: &&&str| strsim::damerau_levenshtein(&text.to_lowercase(), &of.to_lowercase());
    match known.iter().min_by_key(distance) {
        Some(near) if distance(&near) <= DISTANCE_MAX.min(text.chars().count().max(2) - 1) => {
            format!("; did you mean `{near}`?")
        }
        Some(_) => format!("; there are: {}", known.join(", ")),
        None => String::new(),
    }
}
