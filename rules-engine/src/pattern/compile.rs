//! From a pattern's JSON to what is matched, or to an error with its place.

use triggerfish_model::Json;

use super::operator::{Cidr, Comparison, Text, Wildcard};
use super::{Member, Operator, PATTERN_BYTES_MAX, Pattern, Test};
use crate::conditions::{Clause, ConditionError};
use crate::decimal::Decimal;
use crate::document::{Kind, Node};

/// The operators of a leaf, for messages.
const OPERATORS: &str =
    "`prefix`, `suffix`, `equals-ignore-case`, `wildcard`, `anything-but`, `numeric`, `cidr` or `exists`";

/// Reads the pattern `json`.
pub(crate) fn compile(json: &Json) -> Result<Pattern, ConditionError> {
    let text = json.as_str();
    if text.len() > PATTERN_BYTES_MAX {
        let message =
            format!("a pattern of {} bytes is longer than the {PATTERN_BYTES_MAX} allowed", text.len());
        return Err(ConditionError::at(Clause::Pattern, text, 0, message));
    }
    let node =
        Node::read(text).map_err(|error| ConditionError::at(Clause::Pattern, text, 0, error.to_string()))?;
    let place = Place { text, path: "$".into() };
    object(&place, &node)
}

/// Where in the pattern we are.
struct Place<'a> {
    text: &'a str,
    path: String,
}

impl Place<'_> {
    fn below(&self, key: &str) -> Self {
        let plain =
            !key.is_empty() && key.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '$'));
        let path = if plain { format!("{}.{key}", self.path) } else { format!("{}[{key:?}]", self.path) };
        Self { path, text: self.text }
    }

    fn element(&self, index: usize) -> Self {
        Self { path: format!("{}[{index}]", self.path), text: self.text }
    }

    fn error(&self, node: &Node<'_>, message: impl AsRef<str>) -> ConditionError {
        // Nodes are slices of the text, so the distance of their starts is the offset.
        let offset = (node.raw.as_ptr() as usize).saturating_sub(self.text.as_ptr() as usize);
        ConditionError::at(
            Clause::Pattern,
            self.text,
            offset,
            format!("at `{}`: {}", self.path, message.as_ref()),
        )
    }
}

fn object(place: &Place<'_>, node: &Node<'_>) -> Result<Pattern, ConditionError> {
    let Kind::Object(members) = &node.kind else {
        return Err(place.error(node, format!("expected an object, found `{}`", cut(node.raw))));
    };
    if members.is_empty() {
        return Err(place.error(node, "expected at least one member, found `{}`"));
    }
    let mut pattern = Pattern { members: Vec::new(), any_of: Vec::new() };
    for (index, (key, value)) in members.iter().enumerate() {
        let below = place.below(key);
        if members.iter().take(index).any(|(earlier, _)| earlier == key) {
            return Err(below.error(value, "this member stands here twice"));
        }
        match &value.kind {
            Kind::Array(alternatives) if key == "$or" => {
                pattern.any_of.push(or(&below, value, alternatives)?);
            }
            Kind::Array(alternatives) => {
                pattern.members.push((key.to_string(), Member::Leaf(leaf(&below, value, alternatives)?)));
            }
            Kind::Object(_) if key != "$or" => {
                pattern.members.push((key.to_string(), Member::Deeper(object(&below, value)?)));
            }
            Kind::Object(_) => return Err(below.error(value, "expected an array of patterns")),
            Kind::Null | Kind::Bool(_) | Kind::Number | Kind::Text(_) => {
                let found = cut(value.raw);
                let message = format!(
                    "expected an array of alternatives or an object, found `{found}`: write `[{found}]`"
                );
                return Err(below.error(value, message));
            }
        }
    }
    Ok(pattern)
}

fn or(place: &Place<'_>, node: &Node<'_>, alternatives: &[Node<'_>]) -> Result<Vec<Pattern>, ConditionError> {
    if alternatives.is_empty() {
        return Err(place.error(node, "expected at least one pattern, found `[]`"));
    }
    alternatives.iter().enumerate().map(|(index, node)| object(&place.element(index), node)).collect()
}

fn leaf(place: &Place<'_>, node: &Node<'_>, alternatives: &[Node<'_>]) -> Result<Vec<Test>, ConditionError> {
    if alternatives.is_empty() {
        return Err(place.error(node, "expected at least one alternative, found `[]`"));
    }
    let test = |(index, node): (usize, &Node<'_>)| {
        let operator = alternative(&place.element(index), node)?;
        Ok(Test { operator, text: node.raw.to_owned() })
    };
    alternatives.iter().enumerate().map(test).collect()
}

fn alternative(place: &Place<'_>, node: &Node<'_>) -> Result<Operator, ConditionError> {
    match &node.kind {
        Kind::Object(_) => {
            let (name, value, place) = only_member(place, node, OPERATORS)?;
            operator(&place, name, value)
        }
        Kind::Array(_) => {
            Err(place.error(node, "expected a value or an operator, found an array within the array"))
        }
        Kind::Null | Kind::Bool(_) | Kind::Number | Kind::Text(_) => Ok(exact(node)),
    }
}

fn exact(node: &Node<'_>) -> Operator {
    match &node.kind {
        Kind::Bool(flag) => Operator::Bool(*flag),
        Kind::Number => Operator::Number(Decimal::read(node.raw)),
        Kind::Text(text) => Operator::Text(text.to_string()),
        Kind::Null | Kind::Array(_) | Kind::Object(_) => Operator::Null,
    }
}

fn only_member<'n, 'a, 'p>(
    place: &Place<'p>,
    node: &'n Node<'a>,
    expected: &str,
) -> Result<(&'n str, &'n Node<'a>, Place<'p>), ConditionError> {
    match &node.kind {
        Kind::Object(members) => match members.as_slice() {
            [(name, value)] => Ok((name, value, place.below(name))),
            _ => {
                Err(place.error(node, format!("expected one operator, found {}: {expected}", members.len())))
            }
        },
        Kind::Null | Kind::Bool(_) | Kind::Number | Kind::Text(_) | Kind::Array(_) => {
            Err(place.error(node, format!("expected {expected}, found `{}`", cut(node.raw))))
        }
    }
}

fn operator(place: &Place<'_>, name: &str, value: &Node<'_>) -> Result<Operator, ConditionError> {
    Ok(match name {
        "prefix" => Operator::Prefix(affix(place, value)?),
        "suffix" => Operator::Suffix(affix(place, value)?),
        "equals-ignore-case" => Operator::IgnoreCase(string(place, value)?),
        "wildcard" => wildcard(place, value)?,
        "anything-but" => Operator::AnythingBut(anything_but(place, value)?),
        "numeric" => Operator::Numeric(numeric(place, value)?),
        "cidr" => cidr(place, value)?,
        "exists" => match value.kind {
            Kind::Bool(wanted) => Operator::Exists(wanted),
            Kind::Null | Kind::Number | Kind::Text(_) | Kind::Array(_) | Kind::Object(_) => {
                return Err(place.error(value, format!("expected true or false, found `{}`", cut(value.raw))));
            }
        },
        _ => {
            return Err(place.error(value, format!("unknown operator `{}`; expected {OPERATORS}", cut(name))));
        }
    })
}

fn string(place: &Place<'_>, value: &Node<'_>) -> Result<String, ConditionError> {
    match &value.kind {
        Kind::Text(text) => Ok(text.to_string()),
        Kind::Null | Kind::Bool(_) | Kind::Number | Kind::Array(_) | Kind::Object(_) => {
            Err(place.error(value, format!("expected a string, found `{}`", cut(value.raw))))
        }
    }
}

fn affix(place: &Place<'_>, value: &Node<'_>) -> Result<Text, ConditionError> {
    if !matches!(value.kind, Kind::Object(_)) {
        return Ok(Text { text: string(place, value)?, fold: false });
    }
    let (name, inner, below) = only_member(place, value, "a string or `equals-ignore-case`")?;
    if name != "equals-ignore-case" {
        return Err(
            below.error(inner, format!("expected a string or `equals-ignore-case`, found `{}`", cut(name)))
        );
    }
    Ok(Text { text: string(&below, inner)?, fold: true })
}

fn wildcard(place: &Place<'_>, value: &Node<'_>) -> Result<Operator, ConditionError> {
    let text = string(place, value)?;
    Wildcard::read(&text).map(Operator::Wildcard).map_err(|error| place.error(value, error))
}

fn cidr(place: &Place<'_>, value: &Node<'_>) -> Result<Operator, ConditionError> {
    let text = string(place, value)?;
    let refused =
        || place.error(value, format!("expected a range such as `10.0.0.0/24`, found `{}`", cut(&text)));
    Cidr::read(&text).map(Operator::Cidr).ok_or_else(refused)
}

/// One or more of what `read` reads: `x`, or `[x, y]`.
fn one_or_more(
    place: &Place<'_>,
    value: &Node<'_>,
    read: impl Fn(&Place<'_>, &Node<'_>) -> Result<Operator, ConditionError>,
) -> Result<Vec<Operator>, ConditionError> {
    match &value.kind {
        Kind::Array(values) if values.is_empty() => {
            Err(place.error(value, "expected at least one value, found `[]`"))
        }
        Kind::Array(values) => {
            values.iter().enumerate().map(|(index, value)| read(&place.element(index), value)).collect()
        }
        Kind::Null | Kind::Bool(_) | Kind::Number | Kind::Text(_) | Kind::Object(_) => {
            Ok(vec![read(place, value)?])
        }
    }
}

fn anything_but(place: &Place<'_>, value: &Node<'_>) -> Result<Vec<Operator>, ConditionError> {
    const INNER: &str = "`prefix`, `suffix`, `equals-ignore-case` or `wildcard`";
    if !matches!(value.kind, Kind::Object(_)) {
        return one_or_more(place, value, |place, value| match value.kind {
            Kind::Null | Kind::Bool(_) | Kind::Number | Kind::Text(_) => Ok(exact(value)),
            Kind::Array(_) | Kind::Object(_) => {
                Err(place.error(value, format!("expected a plain value, found `{}`", cut(value.raw))))
            }
        });
    }
    let (name, inner, below) = only_member(place, value, INNER)?;
    match name {
        "prefix" => one_or_more(&below, inner, |place, value| Ok(Operator::Prefix(affix(place, value)?))),
        "suffix" => one_or_more(&below, inner, |place, value| Ok(Operator::Suffix(affix(place, value)?))),
        "equals-ignore-case" => {
            one_or_more(&below, inner, |place, value| Ok(Operator::IgnoreCase(string(place, value)?)))
        }
        "wildcard" => one_or_more(&below, inner, wildcard),
        _ => Err(below.error(inner, format!("expected {INNER} in `anything-but`, found `{}`", cut(name)))),
    }
}

fn numeric(place: &Place<'_>, value: &Node<'_>) -> Result<Vec<(Comparison, Decimal)>, ConditionError> {
    const FORM: &str = "expected a comparison and a number, as in `[\">\", 0, \"<=\", 5]`";
    let refused = |node: &Node<'_>| place.error(node, format!("{FORM}, found `{}`", cut(node.raw)));
    let Kind::Array(parts) = &value.kind else { return Err(refused(value)) };
    let mut bounds = Vec::new();
    for pair in parts.chunks(2) {
        let [sign, number] = pair else { return Err(refused(value)) };
        let comparison = match &sign.kind {
            Kind::Text(text) => Comparison::read(text),
            Kind::Null | Kind::Bool(_) | Kind::Number | Kind::Array(_) | Kind::Object(_) => None,
        };
        let comparison = comparison.ok_or_else(|| {
            place.error(sign, format!("expected `=`, `<`, `<=`, `>` or `>=`, found `{}`", cut(sign.raw)))
        })?;
        if !matches!(number.kind, Kind::Number) {
            return Err(place.error(number, format!("expected a number, found `{}`", cut(number.raw))));
        }
        bounds.push((comparison, Decimal::read(number.raw)));
    }
    match bounds.as_slice() {
        [_] => Ok(bounds),
        [(low, from), (high, to)] if low.is_lower() && !high.is_lower() && *high != Comparison::Equal => {
            if from < to {
                Ok(bounds)
            } else {
                Err(place.error(value, "this range holds no number"))
            }
        }
        _ => Err(place.error(value, format!("{FORM} (one comparison, or a lower and then an upper bound)"))),
    }
}

/// The first characters of `text`, for a message.
fn cut(text: &str) -> String {
    const CHARS_MAX: usize = 40;
    match text.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}
