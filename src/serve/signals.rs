//! The signals that end the hub.

use std::time::Duration;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

/// How soon after the first signal another one is the same request: a terminal's or supervisor's goes to a whole group, and
/// whoever passes it on sends it again.
const SAME: Duration = Duration::from_millis(500);

/// Waits for SIGTERM or SIGINT; a second one ends the process at once.
pub(super) async fn asked_to_stop() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("the handler of SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("the handler of SIGINT")?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    let first = Instant::now();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if first.elapsed() > SAME {
                break;
            }
        }
        tracing::warn!(
            "asked to stop a second time: stopping at once; pending work goes on after the restart"
        );
        std::process::exit(130);
    });
    Ok(())
}
