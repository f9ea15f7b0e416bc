//! The hub as the REST API sees it.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::json;
use tokio::sync::broadcast;
use triggerfish_feeds::hook::{HookError, HookPath, HookRequest, HookTaken, HookTarget};
use triggerfish_model::{
    Activation, ActivationId, Clock, Event, FeedStatus, Invocation, Invoker, Json, JsonObject, Namespace,
    Origin, Parameters, Progress, QualifiedName, Response, Rule, Source, StatusCode, Subscription, Version,
};
use triggerfish_rules_engine::{CompiledRule, RuleSet, explain};
use triggerfish_store::{ActivationStore, DeadLetterStore, EntityStore, Identity, StoreError, SubjectStore};

use crate::api::backend::{Backend, FeedCall, Invoke, Invoked, Readiness, Refusal};
use crate::entities::resolve::ResolvedAction;

use super::feeds::FeedAnswer;
use super::{Hub, prepare};

#[async_trait]
impl Backend for Hub {
    fn entities(&self) -> &dyn EntityStore {
        &*self.entities
    }

    fn activations(&self) -> &dyn ActivationStore {
        &*self.activations
    }

    fn dead_letters(&self) -> &dyn DeadLetterStore {
        &*self.dead_letters
    }

    fn subjects(&self) -> &dyn SubjectStore {
        &*self.subjects
    }

    fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    async fn fire(
        &self,
        caller: &Identity,
        trigger: &QualifiedName,
        payload: JsonObject,
        _transaction: Arc<str>,
    ) -> Result<Option<ActivationId>, Refusal> {
        Ok(self.intake.fire(trigger, &caller.subject, payload).await?)
    }

    async fn invoke(&self, invoke: Invoke) -> Result<Invoked, Refusal> {
        let id = self.ids.activation_id();
        let invocation = Invocation {
            id,
            namespace: invoke.caller.namespace,
            subject: invoke.caller.subject,
            action: invoke.action,
            invoker: Invoker::Api,
            payload: invoke.payload,
            accepted: self.clock.now(),
            transaction: invoke.transaction,
            progress: Progress::default(),
            retry: None,
        };
        let Some(wait) = invoke.wait else {
            self.intake.invoke(invocation).await?;
            return Ok(Invoked::Accepted(id));
        };
        let mut waiter = self.runner.waiters.wait_for(id);
        let accepted = self.runner.run_directly(&invocation, invoke.resolved)?;
        if accepted.is_none() {
            self.intake.invoke(invocation).await?;
        }
        let stopped = || Refusal::from(StoreError::Unavailable("the hub is stopping".into()));
        let waited = tokio::select! {
            waited = tokio::time::timeout(wait, waiter.record()) => waited.ok(),
            () = self.runner.stopped() => None,
        };
        match (waited, accepted) {
            (Some(record), _) => record.map(Invoked::Finished).ok_or_else(stopped),
            (None, None) => Ok(Invoked::Accepted(id)),
            (None, Some(accepted)) => tokio::select! {
                biased;
                record = waiter.record() => record.map(Invoked::Finished).ok_or_else(stopped),
                Ok(in_log) = accepted => Ok(in_log.map(|()| Invoked::Accepted(id))?),
                () = self.runner.stopped() => Err(stopped()),
            },
        }
    }

    fn overrides_final(&self, action: &ResolvedAction, payload: &Json) -> bool {
        prepare::overrides_final(action, payload)
    }

    async fn feed_action(&self, call: FeedCall) -> Result<Arc<Activation>, Refusal> {
        let start = self.clock.now();
        let mut secret = None;
        let response = match self.lifecycle(&call).await? {
            Ok(FeedAnswer { answer, secret: told }) => {
                secret = told;
                Response {
                    status: StatusCode::Success,
                    size: Some(answer.as_str().len() as u64),
                    result: answer.into(),
                }
            }
            Err(text) => Response::error(StatusCode::ApplicationError, text),
        };
        let end = self.clock.now();
        // An invocation like any other: it leaves its record, which has the answer but not what it was called with.
        let record = Arc::new(Activation {
            namespace: call.caller.namespace,
            name: call.feed.name.clone(),
            version: Version::default(),
            subject: call.caller.subject,
            id: self.ids.activation_id(),
            cause: None,
            start,
            end: Some(end),
            duration_ms: Some(u64::try_from(end.since(start).as_millis()).unwrap_or(u64::MAX)),
            response,
            logs: Vec::new(),
            annotations: Parameters::new()
                .with("path", call.feed.to_string().as_str())
                .with("kind", "python:3")
                .with("timeout", Json::from(json!(false))),
            origin: Origin::default(),
        });
        self.activations.put(vec![record.clone()]).await?;
        self.runner.announce(&record);
        let Some(secret) = secret else { return Ok(record) };
        // Told to the caller and kept nowhere but in the sealed subscription.
        let mut told = Activation::clone(&record);
        let answer = told.response.result.as_object().unwrap_or_else(JsonObject::empty);
        let secret = JsonObject::from_fields([("secret", &Json::from(secret.as_str()))]);
        told.response.result = answer.overlaid_with(&secret).into();
        Ok(Arc::new(told))
    }

    async fn trigger_deleted(&self, trigger: &QualifiedName) -> Result<(), Refusal> {
        match self.feed_store.of_trigger(trigger).await? {
            Some(subscription) => Ok(self.forget_feed(subscription.id).await.map(drop)?),
            None => Ok(()),
        }
    }

    async fn feeds(&self, namespace: &Namespace) -> Result<Vec<(Subscription, Option<FeedStatus>)>, Refusal> {
        let mut found = self.feed_store.all().await?;
        found.retain(|subscription| subscription.trigger.namespace == *namespace);
        found.sort_by(|a, b| a.trigger.cmp(&b.trigger));
        Ok(found
            .into_iter()
            .map(|subscription| {
                let status = self.feeds.status(subscription.id);
                let params = triggerfish_feeds::lifecycle::redacted(&subscription.params);
                (Subscription { params, ..subscription }, status)
            })
            .collect())
    }

    async fn replay(
        &self,
        namespace: &Namespace,
        letter: ActivationId,
    ) -> Result<Option<ActivationId>, Refusal> {
        self.replay_letter(namespace, letter).await
    }

    fn hook(&self, trigger: &QualifiedName, path: HookPath) -> Result<HookTarget, HookError> {
        self.feeds.hook_target(trigger, path)
    }

    async fn take_hook(
        &self,
        trigger: &QualifiedName,
        path: HookPath,
        request: HookRequest,
    ) -> Result<HookTaken, HookError> {
        self.feeds.hook(trigger, path, &request).await
    }

    fn hook_refused(&self, target: Option<&HookTarget>, error: &HookError) {
        self.metrics.hook_refused(target.map_or("", |target| &target.feed), error.reason);
        if let Some(target) = target {
            self.feeds.hook_refused(&target.trigger, error);
        }
    }

    fn tail(&self) -> broadcast::Receiver<Arc<Activation>> {
        self.runner.tail()
    }

    fn compile_rule(&self, rule: &Rule) -> Result<(), String> {
        CompiledRule::compile(rule).map(drop).map_err(|error| error.to_string())
    }

    async fn explain(
        &self,
        trigger: &QualifiedName,
        rule: Option<&QualifiedName>,
        sample: JsonObject,
    ) -> Result<Json, Refusal> {
        let listener = self.intake.catalog.listener(trigger).await?;
        let listener = listener.ok_or_else(|| Refusal::NotFound(trigger.clone()))?;
        let event = Event {
            id: self.ids.activation_id(),
            trigger: trigger.clone(),
            subject: "explain".parse().expect("a legal subject"),
            source: Source::Api,
            key: None,
            payload: sample,
            received: self.clock.now(),
        };
        let explanation = match rule {
            None => explain(&event, listener.trigger(), &listener.rules),
            // One rule is explained whether it is active or not.
            Some(id) => {
                let found = self.entities.get(id).await?.ok_or_else(|| Refusal::NotFound(id.clone()))?;
                let triggerfish_model::Entity::Rule(rule) = &*found.entity else {
                    return Err(Refusal::NotFound(id.clone()));
                };
                let rule =
                    CompiledRule::compile(rule).map_err(|error| Refusal::Internal(error.to_string()))?;
                explain(&event, listener.trigger(), &RuleSet::new(vec![Arc::new(rule)]))
            }
        };
        Json::of(&explanation)
            .ok_or_else(|| Refusal::Internal("the explanation cannot be written as JSON".into()))
    }

    async fn metrics(&self) -> String {
        self.read_gauges().await;
        self.metrics.text()
    }

    async fn readiness(&self) -> Readiness {
        let mut parts = Vec::new();
        let mut ready = true;
        let mut part = |name: &str, state: Result<(), String>| {
            ready &= state.is_ok();
            parts.push((name.to_owned(), state.err().unwrap_or_else(|| "ok".to_owned())));
        };
        part("hub", if self.stopping.is_cancelled() { Err("it is stopping".into()) } else { Ok(()) });
        part(
            "store",
            match self.log.status().await {
                Ok(status) if status.disk_free_bytes < self.disk_reserve_bytes => {
                    Err(format!("only {} MB of disk are free", status.disk_free_bytes >> 20))
                }
                Ok(_) => Ok(()),
                Err(error) => Err(error.to_string()),
            },
        );
        Readiness { ready, parts }
    }
}
