//! Warm blocking invocations of a no-op.

use std::time::Duration;

use crate::Options;
use crate::load;
use crate::machine::cpu_seconds;
use crate::report::Report;
use crate::stage::Stage;

pub fn measure(options: &Options, report: &mut Report) {
    report.section(
        "Warm blocking invocations",
        "`POST /actions/{a}?blocking=true&result=true` of a no-op; answered when its record is synced. Every id is checked to have \
         its record.",
    );
    report.head(&[
        "kind",
        "connections",
        "runs/s",
        "p50 ms",
        "p99 ms",
        "syncs",
        "hub CPU µs a run",
        "records found",
    ]);
    for kind in ["nodejs:20", "python:3"] {
        for connections in [1, 8, 32] {
            let stage = Stage::start();
            stage.put_noop("noop", kind, 256);
            let request = load::request("POST", "actions/noop?blocking=true&result=true", "{}");
            load::run(&stage.address(), connections, Duration::from_secs(2), &request, 200);
            let (syncs, cpu) = (stage.syncs(), cpu_seconds(stage.hub.pid()));
            let load = load::run(&stage.address(), connections, options.span, &request, 200);
            let (syncs, cpu) = (stage.syncs() - syncs, cpu_seconds(stage.hub.pid()) - cpu);
            load::records(&stage.address(), &load.ids, Duration::from_secs(60), |_| {});
            report.row(&[
                kind,
                &connections.to_string(),
                &format!("{:.0}", load.per_second()),
                &format!("{:.2}", load.millis(50.0)),
                &format!("{:.2}", load.millis(99.0)),
                &format!("{syncs:.0}"),
                &format!("{:.0}", cpu * 1e6 / load.ids.len() as f64),
                &load.ids.len().to_string(),
            ]);
        }
    }
}
