//! Intake: the one way in. Every event, from the API or a feed, is decided and made durable here, in one write.
//!
//! The rules are evaluated before the write, in memory; event, cursor, the trigger's record and the invocations then go
//! to disk in one atomic step. So nothing is acknowledged before all that follows from it is durable (invariants 1 to
//! 3), and rules that change between a crash and the restart change nothing for what was accepted. A crash before the
//! write leaves nothing: the client has no answer, and the broker sends again.

use std::sync::Arc;

use triggerfish_model::{
    ActivationId, Clock, DeadLetter, Event, EventKey, IdGen, Invocation, Json, JsonObject, QualifiedName,
    RecordPolicy, Source, Subject, Subscription,
};
use triggerfish_rules_engine::{Plan, plan};
use triggerfish_store::{Appended, Batch, Decided, EventLog, StoreError};

use super::catalog::{Catalog, Listener};
use super::metrics::Metrics;
use super::runner::Runner;

/// The intake of a hub.
pub(super) struct Intake {
    pub(super) log: Arc<dyn EventLog>,
    pub(super) catalog: Arc<Catalog>,
    pub(super) runner: Arc<Runner>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) ids: Arc<dyn IdGen>,
    pub(super) metrics: Arc<Metrics>,
}

/// An event of a feed, on its way in.
pub(super) struct Incoming {
    pub(super) key: Option<EventKey>,
    pub(super) payload: JsonObject,
}

/// What became of a feed's batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) accepted: u64,
    pub(super) duplicates: u64,
}

impl Intake {
    /// Fires a trigger for an API caller. `None` where no rule is active: then nothing is recorded (contract §2.3).
    pub(super) async fn fire(
        &self,
        trigger: &QualifiedName,
        subject: &Subject,
        payload: JsonObject,
    ) -> Result<Option<ActivationId>, StoreError> {
        let Some(listener) = self.catalog.listener(trigger).await? else { return Ok(None) };
        if !listener.has_active_rules() {
            return Ok(None);
        }
        let event = Event {
            id: self.ids.activation_id(),
            trigger: trigger.clone(),
            subject: subject.clone(),
            source: Source::Api,
            key: None,
            payload,
            received: self.clock.now(),
        };
        let id = event.id;
        let decided = self.decide(&listener, event, RecordPolicy::Matched);
        self.append(Batch { events: vec![decided], ..Batch::default() }).await?;
        Ok(Some(id))
    }

    /// Takes a feed's batch, with what it could make no events of and the cursor that it moves.
    pub(super) async fn take(
        &self,
        listener: &Listener,
        subscription: &Subscription,
        incoming: Vec<Incoming>,
        dead_letters: Vec<DeadLetter>,
        cursor: Option<Json>,
    ) -> Result<Taken, StoreError> {
        let Subscription { id: feed, subject, record: policy, .. } = subscription;
        let (feed, policy) = (*feed, *policy);
        let received = self.clock.now();
        let events = incoming
            .into_iter()
            .map(|Incoming { key, payload }| {
                let id = match &key {
                    Some(key) => ActivationId::derive(&[feed.0.as_bytes(), key.as_str().as_bytes()]),
                    None => self.ids.activation_id(),
                };
                let source = Source::Feed(feed);
                let trigger = listener.trigger().id.clone();
                let event = Event { id, trigger, subject: subject.clone(), source, key, payload, received };
                self.decide(listener, event, policy)
            })
            .collect();
        let cursor = cursor.map(|cursor| (feed, cursor));
        self.append(Batch { events, cursor, dead_letters, ..Batch::default() }).await
    }

    /// Accepts an invocation through the API, which is its own event.
    pub(super) async fn invoke(&self, invocation: Invocation) -> Result<(), StoreError> {
        let offering = self.runner.begin_offering();
        fail::fail_point!("intake::before_write");
        let pending = self.log.invoke(invocation.clone()).await?;
        fail::fail_point!("intake::written");
        self.runner.offer([(pending, invocation)]);
        drop(offering);
        Ok(())
    }

    /// Puts an invocation in the place of a dead letter; `false` where that is not there any more.
    pub(super) async fn revive(
        &self,
        letter: ActivationId,
        invocation: Invocation,
    ) -> Result<bool, StoreError> {
        let offering = self.runner.begin_offering();
        let pending = self.log.revive(letter, invocation.clone()).await?;
        let is_there = pending.is_some();
        self.runner.offer(pending.map(|pending| (pending, invocation)));
        drop(offering);
        Ok(is_there)
    }

    pub(super) fn decide(&self, listener: &Listener, event: Event, policy: RecordPolicy) -> Decided {
        let Plan { record, invocations, failures, matched } =
            plan(&event, listener.trigger(), &listener.rules, &listener.skipped, policy);
        self.metrics.decided(matched, failures.len());
        Decided { event, record: record.map(Arc::new), invocations }
    }

    pub(super) async fn append(&self, batch: Batch) -> Result<Taken, StoreError> {
        // What the log takes away comes back here for the queues: invocations are small but for their payload, which
        // is shared text.
        let follow_up: Vec<_> =
            batch.events.iter().map(|d| (d.record.clone(), d.invocations.clone())).collect();
        let offering = self.runner.begin_offering();
        fail::fail_point!("intake::before_write");
        let appended = self.log.append(batch).await?;
        fail::fail_point!("intake::written");
        let mut taken = Taken::default();
        for (appended, (record, invocations)) in appended.into_iter().zip(follow_up) {
            match appended {
                Appended::Accepted { pending, .. } => {
                    taken.accepted += 1;
                    if let Some(record) = record {
                        self.runner.announce(&record);
                    }
                    self.runner.offer(pending.into_iter().zip(invocations));
                }
                Appended::Duplicate => taken.duplicates += 1,
            }
        }
        drop(offering);
        self.metrics.taken(taken.accepted, taken.duplicates);
        Ok(taken)
    }
}
