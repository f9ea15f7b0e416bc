//! A query's tree as the index's own queries.

use std::ops::Bound;

use tantivy::Term;
use tantivy::query::{AllQuery, BooleanQuery, EmptyQuery, Occur, PhraseQuery, Query, RangeQuery, TermQuery};
use tantivy::schema::{Field as Handle, IndexRecordOption};
use triggerfish_model::Timestamp;

use super::ast::{Ast, Field, Glob, Test};
use super::deadline::{Bounded, Deadline};
use super::glob::GlobQuery;
use super::schema::{Fields, date};

type BoxQuery = Box<dyn Query>;

/// Makes queries for one search.
pub(super) struct Planner<'a> {
    pub(super) fields: &'a Fields,
    pub(super) deadline: Deadline,
}

impl Planner<'_> {
    /// The query of a tree.
    pub(super) fn query(&self, ast: &Ast) -> BoxQuery {
        match ast {
            Ast::All => Box::new(AllQuery),
            Ast::And(parts) => {
                let (not, must): (Vec<&Ast>, Vec<&Ast>) =
                    parts.iter().partition(|part| matches!(part, Ast::Not(_)));
                let mut clauses: Vec<_> = must.iter().map(|part| (Occur::Must, self.query(part))).collect();
                if clauses.is_empty() {
                    clauses.push((Occur::Must, Box::new(AllQuery)));
                }
                for part in not {
                    if let Ast::Not(inner) = part {
                        clauses.push((Occur::MustNot, self.query(inner)));
                    }
                }
                Box::new(BooleanQuery::new(clauses))
            }
            Ast::Or(parts) => any(parts.iter().map(|part| self.query(part)).collect()),
            Ast::Not(inner) => Box::new(BooleanQuery::new(vec![
                (Occur::Must, Box::new(AllQuery)),
                (Occur::MustNot, self.query(inner)),
            ])),
            Ast::Leaf(field, test) => self.leaf(field, test),
        }
    }

    /// All records of a namespace that started between these moments.
    pub(super) fn scope(
        &self,
        namespace: &str,
        since: Option<Timestamp>,
        upto: Option<Timestamp>,
    ) -> Vec<(Occur, BoxQuery)> {
        let mut clauses: Vec<(Occur, BoxQuery)> =
            vec![(Occur::Must, exactly(self.fields.namespace, namespace))];
        if since.is_some() || upto.is_some() {
            let term = |time: Timestamp| Term::from_field_date(self.fields.start, date(time));
            let bound =
                |time: Option<Timestamp>| time.map_or(Bound::Unbounded, |time| Bound::Included(term(time)));
            clauses.push((Occur::Must, Box::new(RangeQuery::new(bound(since), bound(upto)))));
        }
        clauses
    }

    fn leaf(&self, field: &Field, test: &Test) -> BoxQuery {
        let fields = self.fields;
        match field {
            Field::Logs => match test {
                Test::Exists => exactly(fields.present, "logs"),
                Test::Words(words) | Test::Value { words, .. } => {
                    self.phrase(words.iter().map(|word| Term::from_field_text(fields.logs, word)).collect())
                }
                Test::Glob(glob) => self.glob(fields.logs, Vec::new(), glob),
                _ => Box::new(EmptyQuery),
            },
            Field::Name => match test {
                Test::Exists => Box::new(AllQuery),
                _ => any(vec![self.label(fields.name, "", test), self.label(fields.packaged, "", test)]),
            },
            Field::Kind => self.label(fields.kind, "kind", test),
            Field::Trigger => self.label(fields.trigger, "trigger", test),
            Field::Rule => self.label(fields.rule, "rule", test),
            Field::Cause => self.label(fields.cause, "cause", test),
            Field::Version => self.label(fields.version, "", test),
            Field::ActivationId => self.label(fields.id, "", test),
            Field::StatusCode => self.status(test),
            Field::Duration => match test {
                Test::Exists => exactly(fields.present, "duration"),
                Test::Range(low, high) => {
                    self.whole_numbers(*low, *high, |value| Term::from_field_u64(fields.duration, value))
                }
                _ => Box::new(EmptyQuery),
            },
            Field::Start if *test == Test::Exists => Box::new(AllQuery),
            Field::Start => self.time(fields.start, test),
            Field::End if *test == Test::Exists => exactly(fields.present, "end"),
            Field::End => self.time(fields.end, test),
            Field::Annotation(path) => {
                self.json(fields.annotations, fields.annotations_fast, "annotations", path, test)
            }
            Field::Result(path) => self.json(fields.result, fields.result_fast, "result", path, test),
        }
    }

    /// A test of a whole text; `present` is empty where every record has one.
    fn label(&self, handle: Handle, present: &str, test: &Test) -> BoxQuery {
        match test {
            Test::Exists if present.is_empty() => Box::new(AllQuery),
            Test::Exists => exactly(self.fields.present, present),
            Test::Exact(text) => exactly(handle, text),
            Test::Glob(glob) => self.glob(handle, Vec::new(), glob),
            _ => Box::new(EmptyQuery),
        }
    }

    fn status(&self, test: &Test) -> BoxQuery {
        match test {
            Test::Exists => Box::new(AllQuery),
            Test::Codes(codes) => any((0..)
                .zip(codes)
                .filter(|(_, wanted)| **wanted)
                .map(|(code, _)| term(Term::from_field_u64(self.fields.status_code, code)))
                .collect()),
            _ => Box::new(EmptyQuery),
        }
    }

    fn time(&self, handle: Handle, test: &Test) -> BoxQuery {
        let Test::Range(low, high) = test else { return Box::new(EmptyQuery) };
        let Some((low, high)) = whole(*low, *high) else { return Box::new(EmptyQuery) };
        let term = |millis: i64| Term::from_field_date(handle, date(Timestamp::from_millis(millis)));
        between(low.map(term), high.map(term))
    }

    fn whole_numbers(&self, low: Bound<f64>, high: Bound<f64>, term: impl Fn(u64) -> Term) -> BoxQuery {
        let Some((low, high)) = whole(low, high) else { return Box::new(EmptyQuery) };
        if high.is_some_and(|high| high < 0) {
            return Box::new(EmptyQuery);
        }
        // A lower end keeps the range from being open at both, which the index would take for all records.
        let low = low.map_or(0, |low| u64::try_from(low).unwrap_or(0));
        between(Some(term(low)), high.and_then(|high| u64::try_from(high).ok()).map(term))
    }

    fn json(&self, words: Handle, columns: Handle, root: &str, path: &str, test: &Test) -> BoxQuery {
        let at = |handle| Term::from_field_json_path(handle, path, true);
        let text = |word: &str| {
            let mut term = at(words);
            term.append_type_and_str(word);
            term
        };
        let column = |number: f64| {
            let mut term = at(columns);
            term.append_type_and_fast_value(number);
            term
        };
        match test {
            Test::Exists => exactly(self.fields.present, &format!("{root}.{path}")),
            Test::Words(words) => self.phrase(words.iter().map(|word| text(word)).collect()),
            Test::Glob(glob) => self.glob(words, text("").serialized_value_bytes().to_vec(), glob),
            Test::Range(low, high) => match (low, high) {
                (Bound::Unbounded, Bound::Unbounded) => {
                    Box::new(RangeQuery::new(Bound::Included(column(f64::MIN)), Bound::Unbounded))
                }
                _ if is_empty(*low, *high) => Box::new(EmptyQuery),
                _ => Box::new(RangeQuery::new(low.map(column), high.map(column))),
            },
            Test::Value { words: wanted, number, flag } => {
                let mut ways = vec![self.phrase(wanted.iter().map(|word| text(word)).collect())];
                if let Some(number) = number {
                    let exact = || Bound::Included(column(*number));
                    ways.push(Box::new(RangeQuery::new(exact(), exact())));
                }
                if let Some(flag) = flag {
                    let mut is = at(words);
                    is.append_type_and_fast_value(*flag);
                    ways.push(term(is));
                }
                any(ways)
            }
            Test::Exact(_) | Test::Codes(_) => Box::new(EmptyQuery),
        }
    }

    /// Words that follow one another.
    fn phrase(&self, mut terms: Vec<Term>) -> BoxQuery {
        match (terms.len(), terms.pop()) {
            (_, None) => Box::new(EmptyQuery),
            (1, Some(only)) => term(only),
            (_, Some(last)) => {
                terms.push(last);
                // tantivy's own scorer of phrases, where it is excluded from others, is asked to go back, and fails.
                Box::new(Bounded {
                    inner: Box::new(PhraseQuery::new(terms)),
                    deadline: self.deadline.clone(),
                })
            }
        }
    }

    fn glob(&self, handle: Handle, prefix: Vec<u8>, glob: &Glob) -> BoxQuery {
        Box::new(GlobQuery {
            field: handle,
            path: prefix,
            glob: glob.clone(),
            deadline: self.deadline.clone(),
        })
    }
}

/// Records whose field has a value between these, both included.
fn between(low: Option<Term>, high: Option<Term>) -> BoxQuery {
    if low.is_none() && high.is_none() {
        return Box::new(AllQuery);
    }
    let bound = |end: Option<Term>| end.map_or(Bound::Unbounded, Bound::Included);
    Box::new(RangeQuery::new(bound(low), bound(high)))
}

/// The first and the last whole number between bounds; `None` where there is none.
fn whole(low: Bound<f64>, high: Bound<f64>) -> Option<(Option<i64>, Option<i64>)> {
    let low = match low {
        Bound::Unbounded => None,
        Bound::Included(at) => Some(at.ceil() as i64),
        Bound::Excluded(at) => Some((at.floor() as i64).saturating_add(1)),
    };
    let high = match high {
        Bound::Unbounded => None,
        Bound::Included(at) => Some(at.floor() as i64),
        Bound::Excluded(at) => Some((at.ceil() as i64).saturating_sub(1)),
    };
    match (low, high) {
        (Some(low), Some(high)) if low > high => None,
        ends => Some(ends),
    }
}

/// Whether no number lies between these.
fn is_empty(low: Bound<f64>, high: Bound<f64>) -> bool {
    match (low, high) {
        (Bound::Included(low), Bound::Included(high)) => low > high,
        (Bound::Included(low) | Bound::Excluded(low), Bound::Included(high) | Bound::Excluded(high)) => {
            low >= high
        }
        _ => false,
    }
}

fn any(mut ways: Vec<BoxQuery>) -> BoxQuery {
    if ways.len() == 1
        && let Some(only) = ways.pop()
    {
        return only;
    }
    if ways.is_empty() {
        return Box::new(EmptyQuery);
    }
    Box::new(BooleanQuery::new(ways.into_iter().map(|way| (Occur::Should, way)).collect()))
}

fn term(term: Term) -> BoxQuery {
    Box::new(TermQuery::new(term, IndexRecordOption::Basic))
}

fn exactly(handle: Handle, text: &str) -> BoxQuery {
    term(Term::from_field_text(handle, text))
}
