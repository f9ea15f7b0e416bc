//! `make bench`: the figures that the README quotes, measured in one run on the release build, with durability on.
//!
//! Each part starts a hub of its own on a fresh directory. Throughputs are held for [`Options::span`] and count only
//! after every id that was answered has been found as a record. `BENCH=fires,warm make bench` runs some parts;
//! `BENCH_SECONDS` sets the span. The whole goes to `benches/RESULTS.md` when all parts ran.
#![allow(
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::unwrap_used,
    missing_docs,
    unreachable_pub,
    reason = "a harness that stops at the first thing that is not as it should be"
)]

#[path = "../../tests/support/mod.rs"]
mod support;

mod fires;
mod load;
mod machine;
mod readings;
mod records;
mod report;
mod search;
mod stage;
mod starts;
mod warm;

use std::time::Duration;

use report::Report;

/// What to measure, and for how long.
pub struct Options {
    /// How long a throughput is held.
    pub span: Duration,
    parts: Option<Vec<String>>,
}

/// A part: its name, and what it measures.
type Part = (&'static str, fn(&Options, &mut Report));

const PARTS: [Part; 5] = [
    ("fires", fires::measure),
    ("warm", warm::measure),
    ("readings", readings::measure),
    ("starts", starts::measure),
    ("search", search::measure),
];

impl Options {
    fn from_environment() -> Self {
        let seconds =
            std::env::var("BENCH_SECONDS").map_or(10, |text| text.parse().expect("BENCH_SECONDS: a number"));
        let parts =
            std::env::var("BENCH").ok().map(|text| text.split(',').map(str::to_owned).collect::<Vec<_>>());
        for part in parts.iter().flatten() {
            let known = PARTS.map(|(name, _)| name);
            assert!(known.contains(&part.as_str()), "BENCH: `{part}` is none of {known:?}");
        }
        Self { span: Duration::from_secs(seconds), parts }
    }

    fn wants(&self, part: &str) -> bool {
        self.parts.as_ref().is_none_or(|parts| parts.iter().any(|wanted| wanted == part))
    }
}

fn main() {
    if cfg!(debug_assertions) {
        println!("the figures are those of a release build: run `make bench`");
        return;
    }
    let options = Options::from_environment();
    let probe = tempfile::tempdir().expect("a directory");
    machine::refuse_tmpfs(probe.path());
    let mut report = Report::new(&machine::conditions(probe.path()), options.span);
    for (name, measure) in PARTS {
        if options.wants(name) {
            measure(&options, &mut report);
        }
    }
    if options.parts.is_none() {
        report.write();
    }
}
