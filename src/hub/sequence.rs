//! Runs sequences: asks the machine for the next step, runs it, and writes down how far it has come (invariant 5).

use std::sync::Arc;

use triggerfish_model::{Activation, ActivationId, Exec, Invocation, Json, Progress};
use triggerfish_rules_engine::sequence::{Ended, Machine, Owner, Sequence};
use triggerfish_store::Pending;

use crate::entities::resolve::ResolvedAction;

use super::record::{self, Account};
use super::runner::Runner;

impl Runner {
    /// Runs a sequence to its end, from the step after the last one on disk. The records that end it, or `None` where
    /// the hub stops first.
    pub(super) async fn run_sequence(
        self: &Arc<Self>,
        pending: &Pending,
        invocation: &Invocation,
        resolved: &ResolvedAction,
    ) -> Option<Vec<Arc<Activation>>> {
        let clock = &self.parts.clock;
        let owner = Owner {
            namespace: invocation.namespace.clone(),
            subject: invocation.subject.clone(),
            origin: record::origin(&invocation.invoker),
        };
        let stored = invocation.progress.sequence.as_ref().and_then(|state| state.read::<Machine>().ok());
        let mut machine = stored.unwrap_or_else(|| {
            let sequence = sequence_of(resolved)
                .unwrap_or_else(|| unreachable!("the caller looked at the action's kind"));
            Machine::start(
                invocation.attempt_id(),
                sequence,
                invocation.payload.clone(),
                invocation.accepted,
                clock.now(),
            )
        });
        while let Some(step) = machine.step() {
            let mut records = Vec::new();
            match self.resolve(invocation, &step.component).await {
                Err(_) => records.extend(machine.missing(&owner, clock.now())),
                Ok(component) => match sequence_of(&component) {
                    Some(inner) => records.extend(machine.enter(inner, &owner, clock.now())),
                    None if !machine.admits() => records.extend(machine.too_long(&owner, clock.now())),
                    None => {
                        let account = Account { invocation, id: step.id, cause: Some(step.cause) };
                        let started = || self.parts.log.started(pending, invocation.progress.interrupted + 1);
                        let ran = self.run_action(&account, &component, &step.arguments, started).await;
                        let ended = ended(&ran, step.id, &component);
                        records.push(ran);
                        records.extend(machine.ended(ended, &owner, clock.now()));
                    }
                },
            }
            let records: Vec<_> = records.into_iter().map(Arc::new).collect();
            if machine.step().is_none() {
                return Some(records);
            }
            if records.is_empty() {
                continue;
            }
            let sequence = Json::of(&machine);
            if !self.advance(pending, Progress { interrupted: 0, sequence }, records).await {
                return None;
            }
        }
        Some(Vec::new())
    }
}

fn sequence_of(resolved: &ResolvedAction) -> Option<Sequence> {
    let action = resolved.action();
    let Exec::Sequence { components } = &action.exec else { return None };
    Some(Sequence {
        action: action.id.clone(),
        version: action.version,
        limits: action.limits,
        components: components.clone(),
    })
}

fn ended(ran: &Activation, id: ActivationId, component: &ResolvedAction) -> Ended {
    Ended {
        id,
        response: ran.response.clone(),
        duration_ms: ran.duration_ms.unwrap_or_default(),
        memory_mb: component.action().limits.memory_mb,
    }
}
