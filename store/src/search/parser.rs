//! Reads a query string, in the syntax of Lucene as Elasticsearch's `query_string` has it.
//!
//! ```text
//! timeout sensor-17            either; with `+` or `-` before a term, it must or must not be there
//! "bad value" AND NOT retry    phrases; NOT binds more tightly than AND, AND than OR
//! name:too-hot status:success  fields; a term without one is looked for in the logs
//! result.celsius:[30 TO 40}    ranges, `*` for an open end; also `>30`, `>=30`, `<40`, `<=40`
//! logs:time* duration:*        wildcards `*` and `?`; `*` alone, and `_exists_:duration`: has a value
//! ```
//!
//! It answers with a tree or with the column of the first character that it cannot take. Depth, length and number of
//! terms are bounded, so that reading is quick whatever is sent.

use triggerfish_model::Timestamp;

use super::ast::{Ast, Field, Glob, Piece, Test};
use super::fields;

/// Bytes of a query string: far more than anybody types, and read in microseconds.
pub(super) const QUERY_BYTES_MAX: usize = 8 << 10;
/// Parentheses within one another.
const DEPTH_MAX: usize = 32;
/// Terms of a query: each costs the index a look-up.
const TERMS_MAX: usize = 256;

/// Why a query cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("column {column}: {text}")]
pub(super) struct SyntaxError {
    /// The place, counted in characters from 1.
    pub(super) column: usize,
    /// What is wrong there, and what was expected.
    pub(super) text: String,
}

type Result<T> = std::result::Result<T, SyntaxError>;

/// The tree of a query string; `now` is what moments such as `now-15m` count from.
pub(super) fn parse(query: &str, now: Timestamp) -> Result<Ast> {
    if query.len() > QUERY_BYTES_MAX {
        let text = format!("the query has {} bytes, and {QUERY_BYTES_MAX} are read at most", query.len());
        return Err(SyntaxError { column: 1, text });
    }
    if query.trim().is_empty() {
        return Ok(Ast::All);
    }
    let mut parser = Parser { chars: query.chars().collect(), at: 0, now, terms: 0 };
    let ast = parser.clauses(&Field::Logs, 0)?;
    match parser.peek() {
        None => Ok(ast),
        Some(_) => Err(parser.error("this `)` closes nothing")),
    }
}

/// How a clause counts among its neighbours.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Occur {
    Should,
    Must,
    MustNot,
}

/// An operator between two clauses.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Operator {
    And,
    Or,
}

pub(super) struct Parser {
    chars: Vec<char>,
    at: usize,
    pub(super) now: Timestamp,
    terms: usize,
}

impl Parser {
    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn ahead(&self, by: usize) -> Option<char> {
        self.chars.get(self.at + by).copied()
    }

    fn take(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        self.at += usize::from(found);
        found
    }

    fn skip_blanks(&mut self) {
        while self.peek().is_some_and(char::is_whitespace) {
            self.at += 1;
        }
    }

    fn error(&self, text: impl Into<String>) -> SyntaxError {
        self.error_at(self.at, text)
    }

    fn error_at(&self, at: usize, text: impl Into<String>) -> SyntaxError {
        SyntaxError { column: at + 1, text: text.into() }
    }

    /// Clauses up to a `)` or the end. Those beside one another are alternatives, unless one of them must be there.
    fn clauses(&mut self, field: &Field, depth: usize) -> Result<Ast> {
        let (mut must, mut should, mut not) = (Vec::new(), Vec::new(), Vec::new());
        loop {
            self.skip_blanks();
            if matches!(self.peek(), None | Some(')')) {
                break;
            }
            let (occur, clause) = self.clause(field, depth)?;
            match occur {
                Occur::Must => must.push(clause),
                Occur::Should => should.push(clause),
                Occur::MustNot => not.push(Ast::Not(Box::new(clause))),
            }
        }
        if must.is_empty() && should.is_empty() && not.is_empty() {
            return Err(self.error("expected a term"));
        }
        if must.is_empty() && !should.is_empty() {
            must.push(joined(should, Ast::Or));
        }
        must.extend(not);
        Ok(joined(must, Ast::And))
    }

    /// One clause, with what is tied to it by operators.
    fn clause(&mut self, field: &Field, depth: usize) -> Result<(Occur, Ast)> {
        let occur = self.modifiers()?;
        let first = self.primary(field, depth)?;
        let Some(mut operator) = self.operator()? else { return Ok((occur, first)) };
        let (mut all, mut any) = (vec![occurring(occur, first)], Vec::new());
        loop {
            if operator == Operator::Or {
                any.push(joined(std::mem::take(&mut all), Ast::And));
            }
            let occur = self.modifiers()?;
            let next = self.primary(field, depth)?;
            all.push(occurring(occur, next));
            match self.operator()? {
                Some(next) => operator = next,
                None => break,
            }
        }
        any.push(joined(all, Ast::And));
        Ok((Occur::Should, joined(any, Ast::Or)))
    }

    /// `+`, `-`, `!` and `NOT` before a term.
    fn modifiers(&mut self) -> Result<Occur> {
        let mut occur = Occur::Should;
        loop {
            self.skip_blanks();
            let negated = if occur == Occur::MustNot { Occur::Should } else { Occur::MustNot };
            let sign = self.peek();
            if self.keyword("NOT") {
                occur = negated;
                continue;
            }
            occur = match sign {
                Some('+') if occur != Occur::MustNot => Occur::Must,
                Some('+') => occur,
                Some('-' | '!') => negated,
                _ => return Ok(occur),
            };
            self.at += 1;
            if self.peek().is_none_or(char::is_whitespace) {
                return Err(self.error(format!("expected a term right after `{}`", sign.unwrap_or_default())));
            }
        }
    }

    /// Takes a keyword, where it stands here as a word of its own.
    fn keyword(&mut self, word: &str) -> bool {
        let length = word.chars().count();
        let here = self.chars.get(self.at..self.at + length);
        let found = here.is_some_and(|here| here.iter().copied().eq(word.chars()))
            && self.ahead(length).is_none_or(|c| c.is_whitespace() || matches!(c, '(' | ')' | '"'));
        self.at += if found { length } else { 0 };
        found
    }

    /// `AND` or `OR`, with the term after it still to come.
    fn operator(&mut self) -> Result<Option<Operator>> {
        self.skip_blanks();
        let from = self.at;
        let twice = |c| self.peek() == Some(c) && self.ahead(1) == Some(c);
        let found = if twice('&') {
            self.at += 2;
            Operator::And
        } else if twice('|') {
            self.at += 2;
            Operator::Or
        } else if self.keyword("AND") {
            Operator::And
        } else if self.keyword("OR") {
            Operator::Or
        } else {
            return Ok(None);
        };
        let name: String = self.chars.get(from..self.at).unwrap_or_default().iter().collect();
        self.skip_blanks();
        if matches!(self.peek(), None | Some(')')) {
            return Err(self.error(format!("expected a term after `{name}`")));
        }
        Ok(Some(found))
    }

    /// A group, a phrase, or a term with or without its field.
    fn primary(&mut self, field: &Field, depth: usize) -> Result<Ast> {
        self.skip_blanks();
        let from = self.at;
        if self.keyword("AND") || self.keyword("OR") {
            return Err(self.error_at(
                from,
                "expected a term before an operator; put the word in quotes to search for it",
            ));
        }
        match self.peek() {
            None | Some(')') => return Err(self.error("expected a term")),
            Some('(') => return self.group(field, depth),
            Some('"') => return self.phrase(field),
            Some('[' | '{') => {
                return Err(self.error(
                    "a range belongs after a field, as in `duration:[100 TO 500]`; put text with brackets in quotes",
                ));
            }
            Some(':') => {
                return Err(self.error("expected a field before `:`; put text that holds it in quotes"));
            }
            Some(_) => {}
        }
        let term = self.term(|c| matches!(c, '(' | ')' | '"' | ':'))?;
        if self.peek() != Some(':') {
            if *field == Field::Logs && term.0 == [Piece::Many] {
                return Ok(Ast::All);
            }
            return self.leaf(from, field, |parser| fields::term(parser, field, &term));
        }
        self.at += 1;
        self.skip_blanks();
        let name = plain(&term);
        if name.as_deref() == Some("_exists_") {
            return self.exists();
        }
        if term.0.iter().all(|piece| *piece == Piece::Many) && self.take('*') {
            return Ok(Ast::All);
        }
        let name = name.unwrap_or_else(|| "*".into());
        let field = fields::named(&name).map_err(|text| self.error_at(from, text))?;
        self.value(&field, &name, depth)
    }

    /// What comes after `field:`.
    fn value(&mut self, field: &Field, name: &str, depth: usize) -> Result<Ast> {
        let from = self.at;
        match self.peek() {
            None | Some(')') => Err(self.error(format!("expected a value after `{name}:`"))),
            Some('(') => self.group(field, depth),
            Some('"') => self.phrase(field),
            Some('[' | '{') => self.range(field),
            Some('<' | '>') => self.comparison(field),
            Some(_) => {
                let term = self.term(|c| matches!(c, '(' | ')' | '"'))?;
                self.leaf(from, field, |parser| fields::term(parser, field, &term))
            }
        }
    }

    fn leaf(
        &mut self,
        at: usize,
        field: &Field,
        test: impl FnOnce(&Self) -> std::result::Result<Test, String>,
    ) -> Result<Ast> {
        self.terms += 1;
        if self.terms > TERMS_MAX {
            return Err(self.error_at(at, format!("more than {TERMS_MAX} terms")));
        }
        let test = test(self).map_err(|text| self.error_at(at, text))?;
        Ok(Ast::Leaf(field.clone(), test))
    }

    fn group(&mut self, field: &Field, depth: usize) -> Result<Ast> {
        let from = self.at;
        if depth == DEPTH_MAX {
            return Err(self.error(format!("more than {DEPTH_MAX} parentheses within one another")));
        }
        self.at += 1;
        let inner = self.clauses(field, depth + 1)?;
        if !self.take(')') {
            return Err(self.error_at(from, "a `)` is missing for this `(`"));
        }
        self.no_suffix()?;
        Ok(inner)
    }

    fn phrase(&mut self, field: &Field) -> Result<Ast> {
        let from = self.at;
        let text = self.quoted()?;
        self.no_suffix()?;
        self.leaf(from, field, |parser| fields::phrase(parser.now, field, &text))
    }

    /// A text in quotes; `\` takes the next character as it is.
    fn quoted(&mut self) -> Result<String> {
        let from = self.at;
        self.at += 1;
        let mut text = String::new();
        while let Some(c) = self.peek() {
            self.at += 1;
            match c {
                '"' => return Ok(text),
                '\\' => text.push(self.escaped()?),
                _ => text.push(c),
            }
        }
        Err(self.error_at(from, "a `\"` is missing for this one"))
    }

    fn escaped(&mut self) -> Result<char> {
        let c = self.peek().ok_or_else(|| self.error("expected a character after `\\`"))?;
        self.at += 1;
        Ok(c)
    }

    /// A term up to a blank or a character that ends it.
    fn term(&mut self, ends: impl Fn(char) -> bool) -> Result<Glob> {
        let mut pieces = Vec::new();
        while let Some(c) = self.peek().filter(|&c| !c.is_whitespace() && !ends(c)) {
            self.no_suffix()?;
            self.at += 1;
            pieces.push(match c {
                '\\' => Piece::Char(self.escaped()?),
                // Two of them are one: the match then takes length by length at worst.
                '*' if pieces.last() == Some(&Piece::Many) => continue,
                '*' => Piece::Many,
                '?' => Piece::One,
                _ => Piece::Char(c),
            });
        }
        Ok(Glob(pieces))
    }

    /// Refuses what Lucene has and this has not: `~2` and `^2` at the end of a term.
    fn no_suffix(&self) -> Result<()> {
        let Some(sign) = self.peek().filter(|c| matches!(c, '~' | '^')) else { return Ok(()) };
        let mut after = (1..).map_while(|by| self.ahead(by)).skip_while(|c| c.is_ascii_digit() || *c == '.');
        if after.next().is_some_and(|c| !c.is_whitespace() && c != ')') {
            return Ok(());
        }
        Err(self.error(match sign {
            '~' => "fuzzy terms and loose phrases are not supported: use wildcards, or escape it as `\\~`",
            _ => "boosts are not supported, for hits are sorted by a field: escape it as `\\^`",
        }))
    }

    fn exists(&mut self) -> Result<Ast> {
        let from = self.at;
        let term = self.term(|c| matches!(c, '(' | ')' | '"'))?;
        let name = plain(&term).filter(|name| !name.is_empty());
        let name =
            name.ok_or_else(|| self.error_at(from, "expected the name of a field after `_exists_:`"))?;
        let field = fields::named(&name).map_err(|text| self.error_at(from, text))?;
        self.leaf(from, &field, |_| Ok(Test::Exists))
    }

    /// `[a TO b]`, with `{` and `}` where an end is left out.
    fn range(&mut self, field: &Field) -> Result<Ast> {
        let from = self.at;
        let from_included = self.take('[') || !self.take('{');
        let low = self.bound()?;
        self.skip_blanks();
        if !self.keyword("TO") {
            return Err(self.error("expected `TO` between the ends of a range, as in `[100 TO 500]`"));
        }
        let high = self.bound()?;
        self.skip_blanks();
        let to_included = match self.peek() {
            Some(']') => true,
            Some('}') => false,
            _ => return Err(self.error("expected `]` or `}` after the ends of a range")),
        };
        self.at += 1;
        let (low, high) = (low.map(|text| (text, from_included)), high.map(|text| (text, to_included)));
        self.leaf(from, field, |parser| fields::range(parser.now, field, low, high))
    }

    /// One end of a range; `None` is open.
    fn bound(&mut self) -> Result<Option<String>> {
        self.skip_blanks();
        if self.peek() == Some('"') {
            return self.quoted().map(Some);
        }
        let mut text = String::new();
        while let Some(c) = self.peek().filter(|&c| !c.is_whitespace() && !matches!(c, ']' | '}')) {
            self.at += 1;
            text.push(if c == '\\' { self.escaped()? } else { c });
        }
        match text.as_str() {
            "" => Err(self.error("expected one end of the range, `*` where it is open")),
            "*" => Ok(None),
            _ => Ok(Some(text)),
        }
    }

    /// `>a`, `>=a`, `<a`, `<=a`.
    fn comparison(&mut self, field: &Field) -> Result<Ast> {
        let from = self.at;
        let above = self.take('>') || !self.take('<');
        let included = self.take('=');
        self.skip_blanks();
        let text = if self.peek() == Some('"') {
            self.quoted()?
        } else {
            let term = self.term(|c| matches!(c, '(' | ')' | '"'))?;
            plain(&term).filter(|text| !text.is_empty()).ok_or_else(|| {
                self.error_at(from, "expected a value without wildcards after the comparison")
            })?
        };
        let end = Some((text, included));
        let (low, high) = if above { (end, None) } else { (None, end) };
        self.leaf(from, field, |parser| fields::range(parser.now, field, low, high))
    }
}

/// The text of a term without wildcards.
pub(super) fn plain(term: &Glob) -> Option<String> {
    let char_of = |piece: &Piece| if let Piece::Char(c) = piece { Some(*c) } else { None };
    term.0.iter().map(char_of).collect()
}

fn occurring(occur: Occur, clause: Ast) -> Ast {
    if occur == Occur::MustNot { Ast::Not(Box::new(clause)) } else { clause }
}

fn joined(mut parts: Vec<Ast>, join: impl Fn(Vec<Ast>) -> Ast) -> Ast {
    match (parts.pop(), parts.is_empty()) {
        (Some(only), true) => only,
        (last, _) => {
            parts.extend(last);
            join(parts)
        }
    }
}
