//! The comparisons of a pattern's leaf, each on one scalar of the payload.

use std::cmp::Ordering;
use std::net::IpAddr;

use crate::decimal::Decimal;
use crate::document::{Kind, Node};

/// One comparison.
#[derive(Debug)]
pub(crate) enum Operator {
    Null,
    Bool(bool),
    Number(Decimal),
    Text(String),
    Prefix(Text),
    Suffix(Text),
    IgnoreCase(String),
    Wildcard(Wildcard),
    /// A scalar that none of these holds for.
    AnythingBut(Vec<Operator>),
    /// All of these must hold.
    Numeric(Vec<(Comparison, Decimal)>),
    Cidr(Cidr),
    Exists(bool),
}

/// A text to compare with.
#[derive(Debug)]
pub(crate) struct Text {
    pub(crate) text: String,
    /// Whether case does not matter.
    pub(crate) fold: bool,
}

/// How a number compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Comparison {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Comparison {
    pub(crate) fn read(text: &str) -> Option<Self> {
        Some(match text {
            "=" => Self::Equal,
            "<" => Self::Less,
            "<=" => Self::LessOrEqual,
            ">" => Self::Greater,
            ">=" => Self::GreaterOrEqual,
            _ => return None,
        })
    }

    /// Whether it bounds from below.
    pub(crate) fn is_lower(self) -> bool {
        matches!(self, Self::Greater | Self::GreaterOrEqual)
    }

    fn holds(self, ordering: Ordering) -> bool {
        match self {
            Self::Equal => ordering.is_eq(),
            Self::Less => ordering.is_lt(),
            Self::LessOrEqual => ordering.is_le(),
            Self::Greater => ordering.is_gt(),
            Self::GreaterOrEqual => ordering.is_ge(),
        }
    }
}

impl Operator {
    /// How many comparisons in one it is, for the fuel.
    pub(crate) fn width(&self) -> usize {
        match self {
            Self::AnythingBut(inner) => inner.iter().map(Self::width).sum::<usize>().max(1),
            Self::Wildcard(wildcard) => wildcard.parts.len().max(1),
            Self::Null
            | Self::Bool(_)
            | Self::Number(_)
            | Self::Text(_)
            | Self::Prefix(_)
            | Self::Suffix(_)
            | Self::IgnoreCase(_)
            | Self::Numeric(_)
            | Self::Cidr(_)
            | Self::Exists(_) => 1,
        }
    }

    /// Whether it holds for `node`, which is there and no array.
    pub(crate) fn holds(&self, node: &Node<'_>) -> bool {
        let text = match &node.kind {
            Kind::Text(text) => Some(text.as_ref()),
            Kind::Null | Kind::Bool(_) | Kind::Number | Kind::Array(_) | Kind::Object(_) => None,
        };
        let is_number = matches!(node.kind, Kind::Number);
        match self {
            Self::Null => matches!(node.kind, Kind::Null),
            Self::Bool(wanted) => matches!(node.kind, Kind::Bool(flag) if flag == *wanted),
            Self::Number(wanted) => is_number && Decimal::read(node.raw) == *wanted,
            Self::Text(wanted) => text.is_some_and(|text| text == wanted),
            Self::Prefix(prefix) => text.is_some_and(|text| prefix.starts(text)),
            Self::Suffix(suffix) => text.is_some_and(|text| suffix.ends(text)),
            Self::IgnoreCase(wanted) => text.is_some_and(|text| folded(text).eq(folded(wanted))),
            Self::Wildcard(wildcard) => text.is_some_and(|text| wildcard.holds(text)),
            Self::AnythingBut(inner) => {
                !matches!(node.kind, Kind::Object(_)) && !inner.iter().any(|operator| operator.holds(node))
            }
            Self::Numeric(bounds) => {
                is_number && {
                    let number = Decimal::read(node.raw);
                    bounds.iter().all(|(comparison, bound)| comparison.holds(number.cmp(bound)))
                }
            }
            Self::Cidr(cidr) => {
                text.and_then(|text| text.parse().ok()).is_some_and(|address| cidr.contains(address))
            }
            Self::Exists(wanted) => *wanted,
        }
    }
}

/// The characters of `text` without regard to case.
fn folded(text: &str) -> impl DoubleEndedIterator<Item = char> {
    text.chars().flat_map(char::to_lowercase)
}

impl Text {
    fn starts(&self, text: &str) -> bool {
        if !self.fold {
            return text.starts_with(&self.text);
        }
        let mut characters = folded(text);
        folded(&self.text).all(|wanted| characters.next() == Some(wanted))
    }

    fn ends(&self, text: &str) -> bool {
        if !self.fold {
            return text.ends_with(&self.text);
        }
        let mut characters = folded(text).rev();
        folded(&self.text).rev().all(|wanted| characters.next() == Some(wanted))
    }
}

/// A text with `*` for any characters; `\*` and `\\` stand for themselves.
#[derive(Debug)]
pub(crate) struct Wildcard {
    /// What lies between the stars; one part means no star.
    parts: Vec<String>,
}

impl Wildcard {
    /// Reads a wildcard's text, or says what is wrong with it.
    pub(crate) fn read(text: &str) -> Result<Self, &'static str> {
        let mut parts = vec![String::new()];
        let mut after_star = false;
        let mut characters = text.chars();
        while let Some(character) = characters.next() {
            let literal = match character {
                '*' if after_star => return Err("two stars in a row: write one"),
                '*' => {
                    parts.push(String::new());
                    after_star = true;
                    continue;
                }
                '\\' => match characters.next() {
                    Some(escaped @ ('*' | '\\')) => escaped,
                    _ => return Err(r"a backslash must stand before `*` or `\`"),
                },
                other => other,
            };
            after_star = false;
            if let Some(part) = parts.last_mut() {
                part.push(literal);
            }
        }
        Ok(Self { parts })
    }

    fn holds(&self, text: &str) -> bool {
        let Some((first, rest)) = self.parts.split_first() else { return false };
        let Some((last, middle)) = rest.split_last() else { return text == first };
        let Some(mut text) =
            text.strip_prefix(first.as_str()).and_then(|text| text.strip_suffix(last.as_str()))
        else {
            return false;
        };
        // The leftmost place of each part leaves the most room for the next.
        for part in middle {
            match text.split_once(part.as_str()) {
                Some((_, after)) => text = after,
                None => return false,
            }
        }
        true
    }
}

/// A range of addresses.
#[derive(Debug)]
pub(crate) struct Cidr {
    network: u128,
    mask: u128,
    is_v4: bool,
}

impl Cidr {
    /// Reads `address/bits`.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let (address, bits) = text.split_once('/')?;
        let (address, bits): (IpAddr, u32) = (address.parse().ok()?, bits.parse().ok()?);
        let width = if address.is_ipv4() { 32 } else { 128 };
        if bits > width {
            return None;
        }
        let mask = u128::MAX.checked_shl(width - bits).unwrap_or(0);
        Some(Self { network: number(address) & mask, mask, is_v4: address.is_ipv4() })
    }

    fn contains(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.is_v4 && number(address) & self.mask == self.network
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => u128::from(address),
    }
}
