//! One run in its container: `/init` where it is new, `/run`, the log lines, and what they came to.
//!
//! Nothing here survives a crash; the job is durable in the hub's log and runs again.

use std::sync::Arc;
use std::time::Duration;

use triggerfish_model::Clock;

use super::Invoker;
use crate::interpret::{self, Verdict};
use crate::pool::{ContainerId, Input, Refusal, Start};
use crate::{Call, CapturedLogs, Container, ContainerError, Job, Outcome, message};

/// How long the sentinels of a run that ended properly are waited for (contract §4.3).
const LOGS_WAIT: Duration = Duration::from_secs(2);
/// The same after a run that did not: what is there is read.
const LOGS_WAIT_BROKEN: Duration = Duration::from_millis(50);
/// The kind whose runtimes need not write sentinels: of their lines those are read that are there (contract §4.3).
const WITHOUT_SENTINELS: &str = "blackbox";
impl Invoker {
    /// Runs a job in its container: `/init` where it is new, `/run`, logs. `None` where the container did not begin it
    /// and it `may_move` to another one.
    pub(super) async fn execute(
        self: &Arc<Self>,
        job: &Job,
        id: ContainerId,
        container: &dyn Container,
        start: Start,
        may_move: bool,
    ) -> Option<Outcome> {
        let limits = &job.action.limits;
        let timeout = Duration::from_millis(u64::from(limits.timeout_ms));
        let bytes_max = self.options.result_bytes_max;
        let begun = self.clock.now();
        let (mut verdict, mut init_ms) = (None, None);
        if start != Start::Warm {
            let body = message::init(job, begun + timeout);
            let answer = container.call(Call::Init, body, timeout, bytes_max).await;
            if may_move && interpret::elsewhere(&answer, start == Start::Cold) {
                return None;
            }
            verdict = interpret::init(&answer, limits.timeout_ms, bytes_max);
            init_ms = Some(millis(self.clock.now().since(begun)));
            if verdict.is_none() && limits.concurrency > 1 {
                self.step(Input::Initialised(id));
            }
        }
        let verdict = match verdict {
            Some(verdict) => verdict,
            None => {
                let body = message::run(job, self.clock.now() + timeout);
                let answer = container.call(Call::Run, body, timeout, bytes_max).await;
                if may_move && interpret::elsewhere(&answer, start != Start::Warm) {
                    return None;
                }
                interpret::run(&answer, limits.timeout_ms, bytes_max)
            }
        };
        let end = self.clock.now();
        let (logs, complete) = self.logs(job, container, &verdict).await;
        self.step(Input::Finished { container: id, reuse: verdict.reusable() && complete });
        Some(Outcome {
            response: verdict.response,
            logs,
            start: begun,
            end,
            wait_ms: millis(begun.since(job.accepted)),
            init_ms,
            timed_out: verdict.timed_out,
        })
    }

    /// The run's log lines, with what the contract adds to them (§4.3), and whether all of them came.
    async fn logs(&self, job: &Job, container: &dyn Container, verdict: &Verdict) -> (Vec<String>, bool) {
        let bytes_max = u64::from(job.action.limits.logs_mb) << 20;
        let sentinels = job.action.kind != WITHOUT_SENTINELS;
        let wait = match verdict.reusable() {
            true if sentinels => LOGS_WAIT,
            true => Duration::ZERO,
            false => LOGS_WAIT_BROKEN,
        };
        let CapturedLogs { mut lines, truncated, complete } = container.logs(bytes_max, wait).await;
        let complete = complete || !sentinels;
        if bytes_max == 0 {
            return (Vec::new(), complete);
        }
        let mut add = |text: String| lines.push(format!("{:<30} stderr: {text}", stamp(&*self.clock)));
        if truncated {
            add(format!(
                "Logs were truncated because the total bytes size exceeds the limit of {bytes_max} bytes."
            ));
        }
        if !verdict.reusable() {
            add("The action did not initialize or run as expected. Log data might be missing.".into());
        } else if !complete {
            add("There was an issue while collecting your logs. Data might be missing.".into());
        }
        (lines, complete)
    }

    /// The outcome of a job that got no container.
    pub(super) fn refused(&self, job: &Job, reason: Refusal, error: Option<&ContainerError>) -> Outcome {
        let now = self.clock.now();
        let verdict = match reason {
            Refusal::TooLarge => interpret::not_provisioned(Some(&ContainerError::Unsupported(format!(
                "the action needs {} MB of memory, and all containers together may have {} MB",
                job.action.limits.memory_mb, self.options.memory_mb
            )))),
            Refusal::NotProvisioned => interpret::not_provisioned(error),
            Refusal::Full | Refusal::Closed => interpret::not_provisioned(None),
        };
        Outcome {
            response: verdict.response,
            logs: Vec::new(),
            start: now,
            end: now,
            wait_ms: millis(now.since(job.accepted)),
            init_ms: None,
            timed_out: false,
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The time as log lines carry it.
fn stamp(clock: &dyn Clock) -> String {
    jiff::Timestamp::from_millisecond(clock.now().as_millis())
        .unwrap_or_default()
        .strftime("%Y-%m-%dT%H:%M:%S.%9fZ")
        .to_string()
}
