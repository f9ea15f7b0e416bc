//! Direct runs: those that their caller waits for. They are put in the log only where they take longer than a moment.
//!
//! An invocation is accepted by being answered, and a caller that waits is answered with the run's record. Until then
//! nothing is promised, and nothing of the run can be seen outside its container, which has no network: a crash before
//! the record is durable is the same as one before the request came (invariants 1 and 2). So such a run costs one write
//! instead of two (docs/decisions/0007-direct-runs.md). One that goes on for longer than [`LOG_AFTER`] is put in the log
//! beside it: from then on it survives a crash like any other, and its caller can be told that it is accepted (contract
//! §2.6).

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use triggerfish_model::{Activation, Exec, Invocation};
use triggerfish_store::{Pending, StoreError};

use crate::entities::resolve::ResolvedAction;

use super::record::Account;
use super::runner::Runner;

/// How long a run may go on before it is put in the log. Most runs of warm containers are over by then, and what a crash
/// takes of one is less than any client waits before it tries again.
const LOG_AFTER: Duration = Duration::from_millis(50);

/// Tells when a direct run is in the log, or why it could not be put there.
pub(super) type Accepted = oneshot::Receiver<Result<(), StoreError>>;

impl Runner {
    /// Begins to run an invocation that its caller waits for. `None` where it has to go through the log: it is a sequence,
    /// which goes on after a crash at the step it had reached, or others wait for their turn.
    pub(super) fn run_directly(
        self: &Arc<Self>,
        invocation: &Invocation,
        resolved: ResolvedAction,
    ) -> Result<Option<Accepted>, StoreError> {
        if matches!(resolved.action().exec, Exec::Sequence { .. }) || self.is_stopping() {
            return Ok(None);
        }
        self.parts.log.admits(&invocation.namespace)?;
        if !self.with_queue(&invocation.action, |queue| queue.begin_direct()) {
            return Ok(None);
        }
        let (runner, invocation) = (self.clone(), invocation.clone());
        let (accepted, is_accepted) = oneshot::channel();
        self.tasks.spawn(async move {
            let place = runner.direct(&invocation, &resolved, accepted).await;
            let next = runner.after(&invocation.action, place.map(|place| place.seq));
            runner.work(next).await;
        });
        Ok(Some(is_accepted))
    }

    /// The whole of a direct run; its place, where it was put in the log.
    async fn direct(
        &self,
        invocation: &Invocation,
        resolved: &ResolvedAction,
        accepted: oneshot::Sender<Result<(), StoreError>>,
    ) -> Option<Pending> {
        fail::fail_point!("run::before_start");
        let account = Account { invocation, id: invocation.id, cause: None };
        let run = self.run_action(&account, resolved, &invocation.payload, || {});
        tokio::pin!(run);
        let (record, place): (Activation, _) = tokio::select! {
            biased;
            record = &mut run => (record, None),
            () = tokio::time::sleep(LOG_AFTER) => tokio::join!(run, self.put_in_log(invocation, accepted)),
        };
        fail::fail_point!("run::ended");
        self.complete(place.as_ref(), vec![Arc::new(record)], None).await;
        place
    }

    /// Puts a run that goes on in the log. Where that fails its caller hears why, and a crash would lose the run.
    async fn put_in_log(
        &self,
        invocation: &Invocation,
        accepted: oneshot::Sender<Result<(), StoreError>>,
    ) -> Option<Pending> {
        let offering = self.begin_offering();
        let written = self.parts.log.invoke(invocation.clone()).await;
        let place = written.as_ref().ok().cloned();
        if let Some(place) = &place {
            self.with_queue(&invocation.action, |queue| queue.logged(place.seq));
            self.parts.log.started(place, 1);
        }
        drop(offering);
        // The caller may have gone; the run goes on.
        let _ = accepted.send(written.map(drop));
        place
    }
}
