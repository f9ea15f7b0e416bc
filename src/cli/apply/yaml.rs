//! YAML as a tree that knows where each of its parts stands, so that every fault can be pointed at.
//!
//! YAML 1.2, core schema: `yes` and `on` are text. Aliases are resolved; what that can blow up to is bounded.

use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Tag};
use serde_json::{Number, Value};

/// The deepest nesting; deeper is no manifest, and the tree is walked by recursion.
const DEPTH_MAX: usize = 64;
/// The most parts of a tree with its aliases resolved, so that a few lines cannot fill the memory.
const NODES_MAX: usize = 1_000_000;

/// Where something stands: line and column, from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    pub(super) line: usize,
    pub(super) column: usize,
}

/// What is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Fault {
    pub(super) at: Position,
    pub(super) what: String,
}

impl Fault {
    pub(super) fn new(at: Position, what: impl Into<String>) -> Self {
        Self { at, what: what.into() }
    }
}

/// A part of the tree.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    pub(super) at: Position,
    pub(super) data: Data,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Data {
    /// A scalar's text as it is written, and its value by the core schema.
    Scalar {
        text: String,
        value: Value,
    },
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Key {
    pub(super) at: Position,
    pub(super) text: String,
}

impl Node {
    pub(super) fn is_null(&self) -> bool {
        matches!(&self.data, Data::Scalar { value: Value::Null, .. })
    }

    /// What it is, for errors.
    pub(super) fn kind(&self) -> &'static str {
        match &self.data {
            Data::Scalar { value: Value::Null, .. } => "nothing",
            Data::Scalar { value: Value::Bool(_), .. } => "true or false",
            Data::Scalar { value: Value::Number(_), .. } => "a number",
            Data::Scalar { .. } => "text",
            Data::List(_) => "a list",
            Data::Map(_) => "a mapping",
        }
    }

    fn size(&self) -> usize {
        1 + match &self.data {
            Data::Scalar { .. } => 0,
            Data::List(nodes) => nodes.iter().map(Self::size).sum(),
            Data::Map(pairs) => pairs.iter().map(|(_, node)| node.size()).sum(),
        }
    }
}

/// A list or mapping that is still open, and the anchor it ends as.
struct Open {
    node: Node,
    anchor: usize,
    /// In a mapping, the key whose value comes next.
    key: Option<Key>,
}

#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
    root: Option<Node>,
}

/// Reads one document.
pub(super) fn parse(text: &str) -> Result<Node, Fault> {
    let mut builder = Builder::default();
    for event in Parser::new_from_str(text) {
        let (event, span) = event
            .map_err(|error| Fault::new(position(error.marker()), format!("no YAML: {}", error.info())))?;
        builder.take(event, position(&span.start))?;
    }
    builder.root.ok_or_else(|| Fault::new(Position { line: 1, column: 1 }, "the file is empty"))
}

fn position(marker: &Marker) -> Position {
    Position { line: marker.line(), column: marker.col() + 1 }
}

impl Builder {
    fn take(&mut self, event: Event<'_>, at: Position) -> Result<(), Fault> {
        match event {
            Event::DocumentStart(_) if self.root.is_some() => {
                Err(Fault::new(at, "a second document begins here; a manifest is one"))
            }
            Event::Alias(anchor) => match self.anchors.get(&anchor).cloned() {
                Some(node) => {
                    self.nodes += node.size();
                    self.add(Node { at, ..node }, 0)
                }
                None => Err(Fault::new(at, "an alias to something that is not complete before it")),
            },
            Event::Scalar(text, style, anchor, tag) => {
                let data = scalar(&text, style, tag.as_deref()).map_err(|what| Fault::new(at, what))?;
                self.add(Node { at, data }, anchor)
            }
            Event::SequenceStart(anchor, tag) => {
                self.begin(at, Data::List(Vec::new()), anchor, tag.as_deref())
            }
            Event::MappingStart(anchor, tag) => self.begin(at, Data::Map(Vec::new()), anchor, tag.as_deref()),
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(open) => self.add(open.node, open.anchor),
                None => Ok(()),
            },
            _ => Ok(()),
        }
    }

    fn begin(&mut self, at: Position, data: Data, anchor: usize, tag: Option<&Tag>) -> Result<(), Fault> {
        if let Some(tag) = tag.filter(|tag| !tag.is_yaml_core_schema()) {
            return Err(Fault::new(at, format!("the tag {tag} means nothing here")));
        }
        if self.open.len() >= DEPTH_MAX {
            return Err(Fault::new(at, format!("nested deeper than {DEPTH_MAX} levels")));
        }
        self.open.push(Open { node: Node { at, data }, anchor, key: None });
        Ok(())
    }

    /// Puts a finished part where it belongs.
    fn add(&mut self, node: Node, anchor: usize) -> Result<(), Fault> {
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            return Err(Fault::new(node.at, format!("more than {NODES_MAX} parts, aliases counted")));
        }
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        match (&mut open.node.data, open.key.take()) {
            (Data::List(nodes), _) => nodes.push(node),
            (Data::Map(pairs), Some(key)) => pairs.push((key, node)),
            (Data::Map(pairs), None) => {
                let Data::Scalar { text, .. } = node.data else {
                    return Err(Fault::new(node.at, "a key that is no text"));
                };
                if let Some((first, _)) = pairs.iter().find(|(key, _)| key.text == text) {
                    let line = first.at.line;
                    return Err(Fault::new(
                        node.at,
                        format!("the key `{text}` is there already, in line {line}"),
                    ));
                }
                open.key = Some(Key { at: node.at, text });
            }
            (Data::Scalar { .. }, _) => unreachable!("only lists and mappings are opened"),
        }
        Ok(())
    }
}

fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Result<Data, String> {
    let value = match tag {
        Some(tag) if tag.is_yaml_core_schema() && tag.suffix == "str" => Value::from(text),
        Some(tag) if !tag.is_yaml_core_schema() => return Err(format!("the tag {tag} means nothing here")),
        _ if style != ScalarStyle::Plain => Value::from(text),
        _ => plain(text)?,
    };
    Ok(Data::Scalar { text: text.to_owned(), value })
}

/// An unquoted scalar by the core schema (YAML 1.2.2, §10.3.2).
fn plain(text: &str) -> Result<Value, String> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Ok(Value::Null),
        "true" | "True" | "TRUE" => return Ok(Value::Bool(true)),
        "false" | "False" | "FALSE" => return Ok(Value::Bool(false)),
        _ => {}
    }
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if [".inf", ".Inf", ".INF", ".nan", ".NaN", ".NAN"].contains(&digits) {
        return Err(format!("`{text}` has no JSON value"));
    }
    if let Some(number) = integer(text) {
        return Ok(number.into());
    }
    let is_float = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && digits.contains(|c: char| c.is_ascii_digit())
        && digits.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b));
    let float = is_float.then(|| text.parse::<f64>().ok()).flatten().and_then(Number::from_f64);
    Ok(float.map_or_else(|| Value::from(text), Value::Number))
}

fn integer(text: &str) -> Option<Number> {
    let radix = |prefix, radix| text.strip_prefix(prefix).and_then(|of| u64::from_str_radix(of, radix).ok());
    if let Some(number) = radix("0x", 16).or_else(|| radix("0o", 8)) {
        return Some(number.into());
    }
    let text = text.strip_prefix('+').unwrap_or(text);
    text.parse::<i64>().map(Number::from).or_else(|_| text.parse::<u64>().map(Number::from)).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fault(text: &str) -> String {
        let Fault { at, what } = parse(text).unwrap_err();
        format!("{}:{}: {what}", at.line, at.column)
    }

    #[test]
    fn parts_know_where_they_stand() {
        let Data::Map(pairs) = parse("a: 1\nb:\n  c: [x, 'y']\n").unwrap().data else { panic!() };
        let (key, node) = &pairs[1];
        assert_eq!((key.text.as_str(), key.at), ("b", Position { line: 2, column: 1 }));
        let Data::Map(inner) = &node.data else { panic!() };
        assert_eq!(inner[0].0.at, Position { line: 3, column: 3 });
        assert_eq!(inner[0].1.at, Position { line: 3, column: 6 });
    }

    #[test]
    fn scalars_are_of_the_core_schema() {
        for (text, value) in [
            ("1", json!(1)),
            ("-0x1", json!("-0x1")),
            ("0x1f", json!(31)),
            ("1.50", json!(1.5)),
            ("1e3", json!(1000.0)),
            ("yes", json!("yes")),
            ("true", json!(true)),
            ("~", json!(null)),
            ("1.2.3", json!("1.2.3")),
            ("18446744073709551615", json!(u64::MAX)),
            ("-", json!("-")),
            ("", json!(null)),
        ] {
            assert_eq!(plain(text).unwrap(), value, "{text}");
        }
        for text in ["'1'", "\"1\"", "!!str 1"] {
            let Data::Scalar { value, .. } = parse(text).unwrap().data else { panic!("{text}") };
            assert_eq!(value, json!("1"), "{text}");
        }
    }

    #[test]
    fn what_is_no_manifest_is_refused_with_its_place() {
        assert_eq!(fault("a: 1\nb: 2\na: 3\n"), "3:1: the key `a` is there already, in line 1");
        assert!(fault("a: [1\n").contains("no YAML"));
        assert!(fault("").contains("the file is empty"));
        assert_eq!(fault("a: 1\n---\nb: 1\n"), "2:1: a second document begins here; a manifest is one");
        assert_eq!(fault("a: .inf"), "1:4: `.inf` has no JSON value");
        assert!(fault("a: !secret x").contains("!secret means nothing here"));
        let deep = format!("{}1{}", "[".repeat(100), "]".repeat(100));
        assert!(fault(&deep).contains("nested deeper than 64"));
        let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
        for n in 1..9 {
            let aliases = vec![format!("*a{}", n - 1); 10].join(",");
            bomb += &format!("a{n}: &a{n} [{aliases}]\n");
        }
        assert!(fault(&bomb).contains("more than 1000000 parts"));
    }
}
