//! One invocation, from its action's name to its last records: a run, or a sequence of runs.

use std::sync::Arc;

use triggerfish_model::{Activation, Exec, Invocation, Json, Namespace, QualifiedName, Response, StatusCode};
use triggerfish_store::Pending;

use crate::entities::resolve::ResolvedAction;
use crate::entities::{EntityError, access};

use super::prepare;
use super::record::{self, Account, Ran};
use super::runner::Runner;

/// The contract's texts for an action that cannot be fetched (contract §4.2).
const GONE: &str = "Action could not be found or may have been deleted.";
const NOT_FETCHED: &str = "Action could not be fetched.";

impl Runner {
    /// Runs an invocation to its end. The records that end it, or `None` where the hub stops first.
    pub(super) async fn execute(
        self: &Arc<Self>,
        pending: &Pending,
        invocation: &Invocation,
    ) -> Option<Vec<Arc<Activation>>> {
        let account = Account { invocation, id: invocation.attempt_id(), cause: None };
        let resolved = match self.resolve(invocation, &invocation.action).await {
            Ok(resolved) => resolved,
            Err(error) => return Some(vec![Arc::new(self.unresolved(&account, &error))]),
        };
        if let Exec::Sequence { .. } = resolved.action().exec {
            return self.run_sequence(pending, invocation, &resolved).await;
        }
        let started = || self.parts.log.started(pending, invocation.progress.interrupted + 1);
        let record = self.run_action(&account, &resolved, &invocation.payload, started).await;
        Some(vec![Arc::new(record)])
    }

    /// The action that `id` names for an invocation's namespace: rights are looked at when it runs, since a package that
    /// was public when a rule or sequence was made may not be any more.
    pub(super) async fn resolve(
        &self,
        invocation: &Invocation,
        id: &QualifiedName,
    ) -> Result<ResolvedAction, EntityError> {
        access::action(&*self.parts.entities, &invocation.namespace, id).await
    }

    /// Runs one action in a container, and calls `started` before anything of it runs. Failures of the action are records.
    pub(super) async fn run_action(
        &self,
        account: &Account<'_>,
        resolved: &ResolvedAction,
        arguments: &Json,
        started: impl FnOnce() + Send,
    ) -> Activation {
        let ran = ran(resolved);
        let api_key = match self.api_key(resolved, &account.invocation.namespace).await {
            Ok(key) => key,
            Err(response) => {
                return record::of_failure(account, Some(&ran), response, self.parts.clock.now());
            }
        };
        match prepare::job(account, resolved, arguments, api_key) {
            Ok(job) => {
                let started = || {
                    started();
                    fail::fail_point!("run::started");
                };
                record::of_outcome(account, &ran, self.parts.invoker.run(job, started).await)
            }
            Err(response) => record::of_failure(account, Some(&ran), response, self.parts.clock.now()),
        }
    }

    /// The record of an invocation whose action cannot be found.
    pub(super) fn unresolved(&self, account: &Account<'_>, error: &EntityError) -> Activation {
        let response = match error {
            EntityError::Store(error) => {
                tracing::error!(action = %account.invocation.action, %error, "an action cannot be fetched");
                Response::error(StatusCode::SystemError, NOT_FETCHED)
            }
            _ => Response::error(StatusCode::ApplicationError, GONE),
        };
        record::of_failure(account, None, response, self.parts.clock.now())
    }

    /// The key that the action gets, where it may have one: unless `provide-api-key` is set to something false.
    async fn api_key(
        &self,
        resolved: &ResolvedAction,
        namespace: &Namespace,
    ) -> Result<Option<String>, Response> {
        if resolved.action().id.namespace != *namespace {
            // Whoever publishes a package must not be given the keys of those who use it.
            return Ok(None);
        }
        let annotations = &resolved.action().annotations;
        if annotations.value("provide-api-key").is_some() && !annotations.is_truthy("provide-api-key") {
            return Ok(None);
        }
        match self.parts.subjects.reveal(namespace).await {
            Ok(found) => Ok(found.map(|(identity, key)| format!("{}:{key}", identity.uuid))),
            Err(error) => {
                tracing::error!(%namespace, %error, "the namespace's key cannot be read");
                Err(Response::error(StatusCode::SystemError, NOT_FETCHED))
            }
        }
    }
}

/// What a record says of `resolved`.
pub(super) fn ran(resolved: &ResolvedAction) -> Ran<'_> {
    let action = resolved.action();
    Ran {
        id: &action.id,
        version: action.version,
        kind: action.exec.kind(),
        limits: action.limits,
        binding: resolved.binding.as_ref(),
    }
}
