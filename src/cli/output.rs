//! Writing to the terminal: colours where a person reads, plain text elsewhere, tables, moments.

use std::io::{IsTerminal, Write};

use serde_json::Value;

/// How often a part of a text is coloured.
#[derive(Clone, Copy, Debug)]
pub(super) struct Paint {
    on: bool,
}

impl Paint {
    /// For standard output: on a terminal, unless `NO_COLOR` is set (no-color.org) or the terminal is a dumb one.
    pub(super) fn stdout() -> Self {
        Self::of(std::io::stdout().is_terminal())
    }

    /// For standard error.
    pub(super) fn stderr() -> Self {
        Self::of(std::io::stderr().is_terminal())
    }

    /// Never any colour.
    #[cfg(test)]
    pub(super) fn off() -> Self {
        Self { on: false }
    }

    fn of(terminal: bool) -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|value| value == "dumb");
        Self { on: terminal && !refused && !dumb }
    }

    fn wrap(self, code: &str, text: &str) -> String {
        if self.on { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    pub(super) fn red(self, text: &str) -> String {
        self.wrap("31", text)
    }

    pub(super) fn green(self, text: &str) -> String {
        self.wrap("32", text)
    }

    pub(super) fn yellow(self, text: &str) -> String {
        self.wrap("33", text)
    }

    pub(super) fn bold(self, text: &str) -> String {
        self.wrap("1", text)
    }

    pub(super) fn dim(self, text: &str) -> String {
        self.wrap("2", text)
    }
}

/// Where a command's answer goes.
pub(super) struct Output {
    out: Box<dyn Write>,
    /// Whether JSON is asked for.
    pub(super) json: bool,
    pub(super) paint: Paint,
}

impl Output {
    pub(super) fn stdout(json: bool) -> Self {
        Self { out: Box::new(std::io::stdout()), json, paint: Paint::stdout() }
    }

    /// One line, shown at once.
    pub(super) fn line(&mut self, text: &str) -> std::io::Result<()> {
        writeln!(self.out, "{text}")?;
        self.out.flush()
    }

    /// A whole answer as indented JSON.
    pub(super) fn document(&mut self, value: &Value) -> std::io::Result<()> {
        self.line(&format!("{value:#}"))
    }

    /// Rows in columns as wide as their widest cell. Each cell is its text and what paints it.
    pub(super) fn table(&mut self, head: &[&str], rows: &[Vec<Cell>]) -> std::io::Result<()> {
        let width_of = |column: usize| {
            let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.text.chars().count());
            cells.chain(head.get(column).map(|head| head.chars().count())).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..head.len()).map(width_of).collect();
        let paint = self.paint;
        let bold: fn(Paint, &str) -> String = Paint::bold;
        let head: Vec<Cell> =
            head.iter().map(|text| Cell { text: (*text).to_owned(), paint: Some(bold) }).collect();
        for row in std::iter::once(&head).chain(rows) {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                let blanks = width - cell.text.chars().count().min(*width);
                line += &cell.paint.map_or_else(|| cell.text.clone(), |with| with(paint, &cell.text));
                line += &" ".repeat(blanks + 2);
            }
            self.line(line.trim_end())?;
        }
        Ok(())
    }
}

/// A cell of a table.
pub(super) struct Cell {
    text: String,
    paint: Option<fn(Paint, &str) -> String>,
}

impl Cell {
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self { text: clean(&text.into()), paint: None }
    }

    pub(super) fn painted(text: impl Into<String>, paint: fn(Paint, &str) -> String) -> Self {
        Self { paint: Some(paint), ..Self::new(text) }
    }
}

/// `text` without the control characters by which a log line could take over the terminal; line ends become blanks.
pub(super) fn clean(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\t' => c,
            '\n' | '\r' => ' ',
            c if c.is_control() => '\u{fffd}',
            c => c,
        })
        .collect()
}

/// `text` cut to `chars` characters, with a sign that it was.
pub(super) fn cut(text: &str, chars: usize) -> String {
    match text.char_indices().nth(chars) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// A moment in the local time zone: with its date, or as the time of day.
pub(super) fn moment(millis: i64, with_date: bool) -> String {
    let Ok(at) = jiff::Timestamp::from_millisecond(millis) else { return millis.to_string() };
    let format = if with_date { "%Y-%m-%d %H:%M:%S%.3f" } else { "%H:%M:%S%.3f" };
    at.to_zoned(jiff::tz::TimeZone::system()).strftime(format).to_string()
}

/// How long ago a moment was, roughly.
pub(super) fn ago(millis: i64, now_millis: i64) -> String {
    let seconds = now_millis.saturating_sub(millis).max(0) / 1000;
    match seconds {
        0 => "now".to_owned(),
        1..=119 => format!("{seconds} s ago"),
        120..=7199 => format!("{} min ago", seconds / 60),
        7200..=172_799 => format!("{} h ago", seconds / 3600),
        _ => format!("{} d ago", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_from_outside_cannot_steer_the_terminal() {
        assert_eq!(clean("a\x1b[2Jb\nc\td"), "a\u{fffd}[2Jb c\td");
        assert_eq!(cut("äöü", 2), "äö…");
        assert_eq!(cut("äöü", 3), "äöü");
    }

    #[test]
    fn ages_are_rough() {
        let of = |seconds: i64| ago(0, seconds * 1000);
        assert_eq!(
            [of(0), of(119), of(120), of(7200), of(172_800)],
            ["now", "119 s ago", "2 min ago", "2 h ago", "2 d ago"]
        );
    }
}
