//! Attempts: what follows a run that failed and whose rule says `retry`. Another attempt after a while, or a dead letter.
//!
//! Each attempt leaves its record, which is written together with when the next one may start; so a crash in between
//! neither loses an attempt nor adds one.

use std::sync::Arc;

use triggerfish_model::{
    Activation, DeadContent, DeadLetter, Invocation, Progress, Retrying, StatusCode, Timestamp,
};
use triggerfish_rules_engine::retry::{self, Next};
use triggerfish_store::Pending;

use super::queue::{Item, Offer, Queue};
use super::runner::Runner;

impl Runner {
    /// Writes what an attempt came to; the invocation where there is to be another one.
    pub(super) async fn conclude(
        &self,
        pending: &Pending,
        invocation: Invocation,
        records: Vec<Arc<Activation>>,
    ) -> Option<Invocation> {
        let id = invocation.attempt_id();
        let outcome = records.iter().find(|record| record.id == id);
        let now = self.parts.clock.now();
        let next = match (&invocation.retry, outcome) {
            (Some(Retrying { policy, attempt, .. }), Some(record)) => {
                retry::next(policy, *attempt, record.response.status, rand::random())
            }
            _ => Next::Over,
        };
        let wait = match next {
            Next::Over => {
                self.complete(Some(pending), records, None).await;
                return None;
            }
            Next::GivenUp => {
                let reason = outcome.map(|record| why(record)).unwrap_or_default();
                let dead_letter = dead_letter(&invocation, reason, now);
                self.complete(Some(pending), records, dead_letter).await;
                return None;
            }
            Next::Again(wait) => wait,
        };
        let retrying = invocation.retry.as_ref().map(|retry| Retrying {
            attempt: retry.attempt + 1,
            due: Some(now + wait),
            ..retry.clone()
        })?;
        let write = || self.parts.log.retry(pending, retrying.clone(), records.clone());
        if !self.durably("a failed attempt", write).await {
            return None;
        }
        fail::fail_point!("run::retried");
        self.announce_all(&records);
        Some(Invocation { progress: Progress::default(), retry: Some(retrying.clone()), ..invocation })
    }

    /// Lets an invocation wait for its next attempt, and answers what to run in its place; that is itself, which waits
    /// there, where too many wait.
    pub(super) fn park(self: &Arc<Self>, item: Item) -> Option<Item> {
        let action = item.0.action.clone();
        if !self.with_queue(&action, |queue| queue.park(&item)) {
            return Some(item);
        }
        self.wait_for_turn(item);
        let next = self.with_queue(&action, Queue::next);
        self.read_more(&action);
        next
    }

    /// Gives a parked invocation to its queue when its time has come.
    pub(super) fn wait_for_turn(self: &Arc<Self>, item: Item) {
        let runner = self.clone();
        self.tasks.spawn(async move {
            if !runner.is_due(&item.1).await {
                return;
            }
            let action = item.0.action.clone();
            if let Offer::Run(item) = runner.with_queue(&action, |queue| queue.unpark(item)) {
                runner.work(Some(*item)).await;
            }
        });
    }
}

/// What is kept of an invocation that is given up, where its rule cared to have it tried again.
pub(super) fn dead_letter(invocation: &Invocation, reason: String, now: Timestamp) -> Option<DeadLetter> {
    let retrying = invocation.retry.as_ref()?;
    Some(DeadLetter {
        id: invocation.attempt_id(),
        namespace: invocation.namespace.clone(),
        at: now,
        reason,
        replays: retrying.replays,
        content: DeadContent::Run {
            invocation: Box::new(Invocation {
                progress: Progress::default(),
                retry: None,
                ..invocation.clone()
            }),
            retry: retrying.policy.clone(),
        },
    })
}

/// Why a run is given up, in one line.
fn why(record: &Activation) -> String {
    const TEXT_CHARS_MAX: usize = 200;
    let status = record.response.status;
    let error = record.response.result.as_object().and_then(|result| result.fields().get("error").cloned());
    let text = error.map(|error| error.read::<String>().unwrap_or_else(|_| error.as_str().to_owned()));
    let text: String = text.unwrap_or_default().chars().take(TEXT_CHARS_MAX).collect();
    debug_assert!(status != StatusCode::Success, "a success is not given up");
    format!("{}: {text}", status.as_str())
}
