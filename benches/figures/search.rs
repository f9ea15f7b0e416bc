//! Search over a million records, by the API; and how fast the index follows.

use std::time::{Duration, Instant};

use triggerfish_model::{Clock, SystemClock};
use triggerfish_store::embedded::{Embedded, Options as StoreOptions};
use triggerfish_store::{ActivationStore, SearchQuery};

use crate::Options;
use crate::load::{self, percentile};
use crate::machine::anonymous_mb;
use crate::records::{QUERIES, records};
use crate::report::Report;
use crate::support::hub::Start;

/// Records that are searched; `BENCH_RECORDS` sets another number.
const RECORDS: u64 = 1_000_000;
/// Records of one write.
const WRITE: u64 = 1000;
/// Searches of each kind.
const SEARCHES: usize = 200;

pub fn measure(_: &Options, report: &mut Report) {
    let count =
        std::env::var("BENCH_RECORDS").map_or(RECORDS, |text| text.parse().expect("BENCH_RECORDS: a number"));
    report.section(
        &format!("Search over {count} records"),
        "One request after the other, 30 hits a page with their highlights, the hub's files in the kernel's cache. *found* is how \
         many records match.",
    );
    let directory = tempfile::tempdir().expect("a directory");
    let (written, indexed) = fill(directory.path(), count);
    let rate = |took: Duration| count as f64 / took.as_secs_f64();
    report.line(&format!(
        "- written at {:.0} records/s, and found {:.1} s after the last write ({:.0} records/s indexed)\n",
        rate(written),
        (indexed - written).as_secs_f64(),
        rate(indexed)
    ));
    report.head(&["query", "found", "p50 ms", "p99 ms", "max ms"]);
    let hub = Start::default().start(directory.path()).unwrap_or_else(|log| panic!("{log}"));
    for (what, body) in QUERIES {
        let request = load::request("POST", "activations/_search", body);
        let mut found = 0;
        let mut micros: Vec<u32> = (0..SEARCHES)
            .map(|_| {
                let (answer, took) = load::once(hub.address(), &request);
                assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
                let page: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
                found = page["total"].as_u64().expect("a number");
                u32::try_from(took.as_micros()).unwrap_or(u32::MAX)
            })
            .collect();
        micros.sort_unstable();
        let millis = |p| format!("{:.1}", percentile(&micros, p) / 1000.0);
        report.row(&[what, &found.to_string(), &millis(50.0), &millis(99.0), &millis(100.0)]);
    }
    report.line(&format!(
        "\n- the hub's anonymous memory after these searches: {:.0} MB",
        anonymous_mb(hub.pid())
    ));
}

/// Writes records straight into a store; how long that took, and how long until all of them were found.
fn fill(directory: &std::path::Path, count: u64) -> (Duration, Duration) {
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    let store = Embedded::open(directory, StoreOptions::default()).expect("a store");
    runtime.block_on(async {
        let (begun, now) = (Instant::now(), SystemClock.now());
        for first in (0..count).step_by(WRITE as usize) {
            store.put(records(first..(first + WRITE).min(count), count, now)).await.expect("written");
        }
        let written = begun.elapsed();
        let guest = "guest".parse().expect("a legal name");
        while store.search(&guest, &SearchQuery::default()).await.expect("found").total < count {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        (written, begun.elapsed())
    })
}
