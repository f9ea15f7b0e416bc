//! Log lines with the words that were looked for in `<em>`.
//!
//! A highlight is safe to put into a page: logs come from anywhere, so `&`, `<`, `>`, `"` and `'` are written as
//! references, and `<em>` and `</em>` are the only tags.

use triggerfish_model::Activation;

use super::ast::{Ast, Field, Test};
use super::view;
use super::words::next_word;

/// Lines of one hit.
const LINES_MAX: usize = 10;
/// Bytes of one line, around its first word that was looked for.
const LINE_BYTES_MAX: usize = 512;
/// Bytes before that word.
const BEFORE_BYTES: usize = 128;

/// What is looked for in the logs.
pub(super) struct Highlighter<'a>(Vec<&'a Test>);

impl<'a> Highlighter<'a> {
    /// Of a query: what must not be there is not marked.
    pub(super) fn new(ast: &'a Ast) -> Self {
        let mut tests = Vec::new();
        gather(ast, &mut tests);
        Self(tests)
    }

    /// The lines of a record that hold what was looked for.
    pub(super) fn lines(&self, record: &Activation) -> Vec<String> {
        if self.0.is_empty() {
            return Vec::new();
        }
        let lines = view::log_lines(record).zip(&record.logs);
        lines.filter_map(|(searched, line)| self.line(searched, line)).take(LINES_MAX).collect()
    }

    /// `line` as a highlight, where `searched`, a part of it, holds what was looked for.
    fn line(&self, searched: &str, line: &str) -> Option<String> {
        let marks = self.marks(searched);
        let (first, _) = *marks.first()?;
        // What is searched begins after the time stamp.
        let offset = line.len() - view::line_text(line).len();
        let from =
            if offset + first <= BEFORE_BYTES { 0 } else { after(line, offset + first - BEFORE_BYTES) };
        let to = view::cut(line, (from + LINE_BYTES_MAX).min(line.len())).len();
        let mut html = String::with_capacity(LINE_BYTES_MAX);
        let mut at = from;
        if from > 0 {
            html.push('…');
        }
        for (begin, end) in marks.into_iter().map(|(begin, end)| (offset + begin, offset + end)) {
            let Some(word) = line.get(begin..end).filter(|_| end <= to) else { break };
            escape(line.get(at..begin).unwrap_or_default(), &mut html);
            html.push_str("<em>");
            escape(word, &mut html);
            html.push_str("</em>");
            at = end;
        }
        escape(line.get(at..to).unwrap_or_default(), &mut html);
        if to < line.len() {
            html.push('…');
        }
        Some(html)
    }

    /// The places of the words that were looked for, in order.
    fn marks(&self, text: &str) -> Vec<(usize, usize)> {
        let (mut words, mut word, mut at) = (Vec::new(), String::new(), 0);
        while let Some((begin, end)) = next_word(text, at, &mut word) {
            words.push((word.clone(), begin, end));
            at = end;
        }
        let mut marked = vec![false; words.len()];
        for test in &self.0 {
            match test {
                Test::Words(wanted) if !wanted.is_empty() => {
                    for (place, found) in words.windows(wanted.len()).enumerate() {
                        if found.iter().map(|(word, ..)| word).eq(wanted) {
                            marked.iter_mut().skip(place).take(wanted.len()).for_each(|mark| *mark = true);
                        }
                    }
                }
                Test::Glob(glob) => {
                    for (mark, (word, ..)) in marked.iter_mut().zip(&words) {
                        *mark |= glob.matches(word);
                    }
                }
                _ => {}
            }
        }
        marked
            .into_iter()
            .zip(words)
            .filter(|(mark, _)| *mark)
            .map(|(_, (_, begin, end))| (begin, end))
            .collect()
    }
}

fn gather<'a>(ast: &'a Ast, tests: &mut Vec<&'a Test>) {
    match ast {
        Ast::And(parts) | Ast::Or(parts) => parts.iter().for_each(|part| gather(part, tests)),
        Ast::Leaf(Field::Logs, test) if *test != Test::Exists => tests.push(test),
        Ast::All | Ast::Not(_) | Ast::Leaf(..) => {}
    }
}

/// The first place between characters at or after `at`.
fn after(text: &str, at: usize) -> usize {
    (at..text.len()).find(|&at| text.is_char_boundary(at)).unwrap_or(text.len())
}

fn escape(text: &str, html: &mut String) {
    for c in text.chars() {
        match c {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            _ => html.push(c),
        }
    }
}
