//! The first result of a new action, without and with a prewarmed container; and the hub's memory when idle.

use std::time::{Duration, Instant};

use crate::Options;
use crate::load::{self, percentile};
use crate::machine::anonymous_mb;
use crate::report::Report;
use crate::stage::Stage;
use crate::support::hub::Start;

/// New actions of each kind.
const ACTIONS: usize = 20;

pub fn measure(_: &Options, report: &mut Report) {
    report.section(
        "The first result of a new action",
        "Blocking invocation of an action that never ran, one after the other. *cold*: of a memory size for which no container is \
         kept ready; *prewarmed*: one is ready, and gets the code.",
    );
    report.head(&["kind", "container", "actions", "min ms", "p50 ms", "max ms"]);
    // Room for all of them at once, so that none is removed for another.
    let stage = Stage::with(&Start::default().env("TRIGGERFISH_CONTAINERS__MEMORY_MB", "32768"));
    for kind in ["nodejs:20", "python:3"] {
        for (container, memory_mb) in [("cold", 128), ("prewarmed", 256)] {
            let mut micros: Vec<u32> = (0..ACTIONS)
                .map(|n| {
                    let name = format!("{}-{container}-{n}", kind.replace(':', "-"));
                    stage.put_noop(&name, kind, memory_mb);
                    stock_is_full(&stage);
                    let path = format!("actions/{name}?blocking=true&result=true");
                    let (answer, took) = load::once(&stage.address(), &load::request("POST", &path, "{}"));
                    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
                    u32::try_from(took.as_micros()).unwrap_or(u32::MAX)
                })
                .collect();
            micros.sort_unstable();
            let millis = |p| format!("{:.1}", percentile(&micros, p) / 1000.0);
            report.row(&[kind, container, &ACTIONS.to_string(), &millis(0.0), &millis(50.0), &millis(100.0)]);
        }
    }
    report.section("Memory", "Anonymous memory (`RssAnon`) of the hub alone, without its containers.");
    let fresh = Stage::start();
    stock_is_full(&fresh);
    report.line(&format!("- idle, fresh: {:.0} MB", anonymous_mb(fresh.hub.pid())));
    report.line(&format!("- idle, after the starts above: {:.0} MB", anonymous_mb(stage.hub.pid())));
}

/// Waits until a prewarmed container of each kind is there again, and nothing is being made or removed.
fn stock_is_full(stage: &Stage) {
    let begun = Instant::now();
    let of = |state: &str| stage.metric(&format!("triggerfish_containers{{state=\"{state}\"}}"));
    while of("prewarmed") < 2.0 || of("starting") > 0.0 || of("removing") > 0.0 {
        assert!(begun.elapsed() < Duration::from_secs(30), "no prewarmed containers within 30 s");
        std::thread::sleep(Duration::from_millis(5));
    }
}
