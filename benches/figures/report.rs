//! Figures beside their conditions: printed as they come, and kept as Markdown.

use std::path::Path;
use std::time::Duration;

/// What was measured so far.
pub struct Report {
    text: String,
}

impl Report {
    pub fn new(conditions: &str, span: Duration) -> Self {
        let mut report = Self { text: String::new() };
        report.line("# Figures\n");
        report.line(
            "Written by `make bench`: release build, hub, load and containers on the same machine, every write synced to disk \
             before it is answered.\n",
        );
        report.line(&format!("Conditions: {conditions}. Each throughput is held for {} s.", span.as_secs()));
        report
    }

    /// A section, with what its figures mean.
    pub fn section(&mut self, title: &str, meaning: &str) {
        self.line(&format!("\n## {title}\n\n{meaning}\n"));
    }

    /// The head of a table.
    pub fn head(&mut self, columns: &[&str]) {
        self.row(columns);
        self.row(&columns.iter().map(|_| "---").collect::<Vec<_>>());
    }

    /// A row of a table.
    pub fn row(&mut self, cells: &[&str]) {
        self.line(&format!("| {} |", cells.join(" | ")));
    }

    pub fn line(&mut self, line: &str) {
        println!("{line}");
        self.text.push_str(line);
        self.text.push('\n');
    }

    /// Writes `benches/RESULTS.md`.
    pub fn write(&self) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/RESULTS.md");
        std::fs::write(&path, &self.text).expect("the sources can be written");
        println!("\nwritten to {}", path.display());
    }
}
