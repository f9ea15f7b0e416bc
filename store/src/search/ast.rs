//! A query as a tree: what the index turns into its own queries and the filter evaluates.

use std::ops::Bound;

use super::words::is_word;

/// A query.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Ast {
    /// Matches every record.
    All,
    /// All of these.
    And(Vec<Ast>),
    /// Any of these.
    Or(Vec<Ast>),
    /// Not this.
    Not(Box<Ast>),
    /// A test of one field.
    Leaf(Field, Test),
}

/// What can be searched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Logs,
    Name,
    Kind,
    Trigger,
    Rule,
    Cause,
    Version,
    ActivationId,
    StatusCode,
    Duration,
    Start,
    End,
    /// A path within the annotations.
    Annotation(String),
    /// A path within the result.
    Result(String),
}

/// What must hold of a field.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Test {
    /// It has a value.
    Exists,
    /// These words follow one another.
    Words(Vec<String>),
    /// A word (of text), or the whole value (of a name), has this form.
    Glob(Glob),
    /// The whole value is this.
    Exact(String),
    /// The status code is one of these.
    Codes([bool; 4]),
    /// The value as a number, a flag, or words in a text.
    Value { words: Vec<String>, number: Option<f64>, flag: Option<bool> },
    /// A number between these.
    Range(Bound<f64>, Bound<f64>),
}

/// A part of a term: a character as it is, or a wildcard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Char(char),
    /// `?`: one character.
    One,
    /// `*`: any number of them.
    Many,
}

/// A term with wildcards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Glob(pub(super) Vec<Piece>);

impl Glob {
    /// The characters before the first wildcard.
    pub(super) fn prefix(&self) -> String {
        let known = |piece: &Piece| if let Piece::Char(c) = piece { Some(*c) } else { None };
        self.0.iter().map_while(known).collect()
    }

    /// The first character that no word holds.
    pub(super) fn outside_word(&self) -> Option<char> {
        self.0.iter().find_map(|piece| match piece {
            Piece::Char(c) if !is_word(*c) => Some(*c),
            _ => None,
        })
    }

    /// Whether the whole of `text` has this form; in time length by length at worst.
    pub(super) fn matches(&self, text: &str) -> bool {
        let (mut pieces, mut rest) = (self.0.as_slice(), text);
        let mut retry: Option<(&[Piece], &str)> = None;
        loop {
            let mut chars = rest.chars();
            match (pieces.split_first(), chars.next()) {
                (Some((Piece::Many, after)), _) => {
                    retry = Some((after, rest));
                    pieces = after;
                    continue;
                }
                (None, None) => return true,
                (Some((Piece::One, after)), Some(_)) => {
                    (pieces, rest) = (after, chars.as_str());
                    continue;
                }
                (Some((Piece::Char(want), after)), Some(c)) if *want == c => {
                    (pieces, rest) = (after, chars.as_str());
                    continue;
                }
                _ => {}
            }
            let Some((after, from)) = retry else { return false };
            let mut chars = from.chars();
            if chars.next().is_none() {
                return false;
            }
            retry = Some((after, chars.as_str()));
            (pieces, rest) = (after, chars.as_str());
        }
    }
}
