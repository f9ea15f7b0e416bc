//! A backend in memory: entities in a map, and actions that answer their payload at once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::broadcast;
use triggerfish_feeds::hook::{
    HookAnswer, HookDocument, HookError, HookMethod, HookPath, HookReason, HookRequest, HookTaken, HookTarget,
};
use triggerfish_model::{
    Activation, ActivationId, Clock, DeadLetter, Entity, FeedStatus, Json, JsonObject, Namespace, Origin,
    Parameters, QualifiedName, Response, Revision, Rule, StatusCode, Subscription, SystemClock, Version,
};
use triggerfish_store::{
    ActivationQuery, ActivationStore, Change, DeadLetterQuery, DeadLetterStore, EntityQuery, EntityStore,
    Identity, Precondition, RecordFilter, Result, SearchPage, SearchQuery, StoreError, SubjectStore,
    Versioned,
};

use crate::api::backend::{Backend, FeedCall, Invoke, Invoked, Readiness, Refusal};
use crate::entities::resolve::ResolvedAction;

/// The key of every namespace here, after its uuid.
pub(super) const KEY: &str = "kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk";

#[derive(Default)]
struct Rows {
    entities: BTreeMap<QualifiedName, Versioned>,
    records: Vec<Arc<Activation>>,
    revision: u64,
}

pub(super) struct Fake {
    rows: Mutex<Rows>,
    records: broadcast::Sender<Arc<Activation>>,
    changes: broadcast::Sender<Change>,
    /// The refused requests of webhooks: whether there was one, and why.
    pub(super) refused: Mutex<Vec<(bool, HookReason)>>,
    /// What fires and invocations are refused with.
    pub(super) refusal: Mutex<Option<Refusal>>,
}

impl Fake {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            rows: Mutex::default(),
            records: broadcast::channel(16).0,
            changes: broadcast::channel(16).0,
            refused: Mutex::default(),
            refusal: Mutex::default(),
        })
    }

    /// Writes a record, as if something had run.
    pub(super) fn record(&self, caller: &Identity, action: &QualifiedName, result: Json) -> Arc<Activation> {
        let mut rows = self.rows.lock();
        let now = SystemClock.now();
        let failed = result.as_object().is_some_and(|object| object.fields().contains_key("error"));
        let status = if failed { StatusCode::ApplicationError } else { StatusCode::Success };
        let record = Arc::new(Activation {
            namespace: caller.namespace.clone(),
            name: action.name.clone(),
            version: Version::default(),
            subject: caller.subject.clone(),
            id: ActivationId::derive(&[&rows.records.len().to_le_bytes()]),
            cause: None,
            start: now,
            end: Some(now),
            duration_ms: Some(0),
            response: Response { status, result, size: None },
            logs: vec!["a line".to_owned()],
            annotations: Parameters::new().with("path", action.to_string().as_str()),
            origin: Origin::default(),
        });
        rows.records.push(record.clone());
        // Nobody may listen.
        let _ = self.records.send(record.clone());
        record
    }

    fn matching(&self, query: &EntityQuery) -> Vec<Versioned> {
        let rows = self.rows.lock();
        let mut found: Vec<Versioned> = rows
            .entities
            .values()
            .filter(|row| {
                let id = row.entity.id();
                row.entity.collection() == query.collection
                    && id.namespace == query.namespace
                    && (query.package.is_none() || id.package == query.package)
            })
            .cloned()
            .collect();
        found.sort_by_key(|row| std::cmp::Reverse((row.entity.updated(), row.revision)));
        found
    }
}

#[async_trait]
impl EntityStore for Fake {
    async fn get(&self, id: &QualifiedName) -> Result<Option<Versioned>> {
        Ok(self.rows.lock().entities.get(id).cloned())
    }

    async fn put(&self, entity: Entity, when: Precondition) -> Result<Revision> {
        let mut rows = self.rows.lock();
        let stored = rows.entities.get(entity.id()).map(|row| row.revision);
        let holds = match when {
            Precondition::Absent => stored.is_none(),
            Precondition::Matches(revision) => stored == Some(revision),
        };
        if !holds {
            return Err(StoreError::Conflict);
        }
        rows.revision += 1;
        let revision = Revision(rows.revision);
        rows.entities.insert(entity.id().clone(), Versioned { revision, entity: Arc::new(entity) });
        Ok(revision)
    }

    async fn delete(&self, id: &QualifiedName, revision: Revision) -> Result<()> {
        let mut rows = self.rows.lock();
        if rows.entities.get(id).map(|row| row.revision) != Some(revision) {
            return Err(StoreError::Conflict);
        }
        rows.entities.remove(id);
        Ok(())
    }

    async fn list(&self, query: &EntityQuery) -> Result<Vec<Versioned>> {
        let limit = if query.limit == 0 { usize::MAX } else { query.limit };
        Ok(self.matching(query).into_iter().skip(query.skip).take(limit).collect())
    }

    async fn count(&self, query: &EntityQuery) -> Result<usize> {
        Ok(self.matching(query).len())
    }

    async fn all(&self) -> Result<Vec<Versioned>> {
        Ok(self.rows.lock().entities.values().cloned().collect())
    }

    fn changes(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }
}

struct All;

impl RecordFilter for All {
    fn matches(&self, _: &Activation) -> bool {
        true
    }
}

/// There are none.
#[async_trait]
impl DeadLetterStore for Fake {
    async fn dead_letters(&self, _query: &DeadLetterQuery) -> Result<Vec<DeadLetter>> {
        Ok(Vec::new())
    }

    async fn dead_letter(&self, _namespace: &Namespace, _id: ActivationId) -> Result<Option<DeadLetter>> {
        Ok(None)
    }

    async fn discard(&self, _namespace: &Namespace, _id: ActivationId) -> Result<bool> {
        Ok(false)
    }
}

#[async_trait]
impl ActivationStore for Fake {
    async fn put(&self, records: Vec<Arc<Activation>>) -> Result<()> {
        self.rows.lock().records.extend(records);
        Ok(())
    }

    async fn get(&self, namespace: &Namespace, id: ActivationId) -> Result<Option<Arc<Activation>>> {
        let rows = self.rows.lock();
        Ok(rows.records.iter().find(|record| record.id == id && record.namespace == *namespace).cloned())
    }

    async fn list(&self, query: &ActivationQuery) -> Result<Vec<Arc<Activation>>> {
        let rows = self.rows.lock();
        let of = rows.records.iter().rev().filter(|record| record.namespace == query.namespace);
        Ok(of.skip(query.skip).take(query.limit).cloned().collect())
    }

    async fn count(&self, query: &ActivationQuery) -> Result<usize> {
        Ok(self.rows.lock().records.iter().filter(|record| record.namespace == query.namespace).count())
    }

    async fn search(&self, _: &Namespace, query: &SearchQuery) -> Result<SearchPage> {
        match query.q.as_deref() {
            Some("(") => Err(StoreError::BadQuery("column 1: a `)` is missing".to_owned())),
            _ => Ok(SearchPage::default()),
        }
    }

    fn filter(&self, _: &str) -> Result<Box<dyn RecordFilter>> {
        Ok(Box::new(All))
    }
}

#[async_trait]
impl SubjectStore for Fake {
    async fn authenticate(&self, uuid: &str, key: &str) -> Result<Option<Identity>> {
        Ok((key == KEY).then(|| identity(uuid)))
    }

    async fn put(&self, _: Identity, _: &str) -> Result<()> {
        Ok(())
    }

    async fn reveal(&self, namespace: &Namespace) -> Result<Option<(Identity, String)>> {
        Ok(Some((identity(namespace.as_str()), KEY.to_owned())))
    }

    async fn identities(&self) -> Result<Vec<Identity>> {
        Ok(Vec::new())
    }
}

/// Who has the key whose uuid is the namespace's name.
pub(super) fn identity(name: &str) -> Identity {
    Identity {
        subject: format!("{name:_<5}").parse().unwrap(),
        namespace: name.parse().unwrap(),
        uuid: name.to_owned(),
    }
}

#[async_trait]
impl Backend for Fake {
    fn entities(&self) -> &dyn EntityStore {
        self
    }

    fn activations(&self) -> &dyn ActivationStore {
        self
    }

    fn dead_letters(&self) -> &dyn DeadLetterStore {
        self
    }

    fn subjects(&self) -> &dyn SubjectStore {
        self
    }

    fn clock(&self) -> &dyn Clock {
        &SystemClock
    }

    async fn fire(
        &self,
        caller: &Identity,
        trigger: &QualifiedName,
        payload: JsonObject,
        _: Arc<str>,
    ) -> std::result::Result<Option<ActivationId>, Refusal> {
        if let Some(refusal) = self.refusal.lock().clone() {
            return Err(refusal);
        }
        let found = self.rows.lock().entities.get(trigger).cloned();
        let listens = found.is_some_and(|found| match &*found.entity {
            Entity::Trigger(trigger) => trigger.rules.values().any(|link| link.active),
            _ => false,
        });
        Ok(listens.then(|| self.record(caller, trigger, payload.into()).id))
    }

    async fn invoke(&self, invoke: Invoke) -> std::result::Result<Invoked, Refusal> {
        if let Some(refusal) = self.refusal.lock().clone() {
            return Err(refusal);
        }
        let record = self.record(&invoke.caller, &invoke.action, invoke.payload);
        Ok(if invoke.wait.is_some() { Invoked::Finished(record) } else { Invoked::Accepted(record.id) })
    }

    fn overrides_final(&self, _: &ResolvedAction, payload: &Json) -> bool {
        payload.as_object().is_some_and(|payload| payload.fields().contains_key("final"))
    }

    async fn feed_action(&self, call: FeedCall) -> std::result::Result<Arc<Activation>, Refusal> {
        Ok(self.record(&call.caller, &call.feed, call.params.into()))
    }

    async fn trigger_deleted(&self, _: &QualifiedName) -> std::result::Result<(), Refusal> {
        Ok(())
    }

    async fn feeds(
        &self,
        _: &Namespace,
    ) -> std::result::Result<Vec<(Subscription, Option<FeedStatus>)>, Refusal> {
        Ok(Vec::new())
    }

    async fn replay(
        &self,
        _namespace: &Namespace,
        _letter: ActivationId,
    ) -> std::result::Result<Option<ActivationId>, Refusal> {
        Ok(None)
    }

    fn hook(&self, trigger: &QualifiedName, _: HookPath) -> std::result::Result<HookTarget, HookError> {
        if trigger.name.as_str() == "none" {
            return Err(HookError::new(HookReason::NotFound, "no webhook"));
        }
        let methods = vec![HookMethod::Post, HookMethod::Options];
        Ok(HookTarget { trigger: trigger.clone(), feed: "a/b".into(), methods, body_bytes_max: 25 << 20 })
    }

    async fn take_hook(
        &self,
        trigger: &QualifiedName,
        path: HookPath,
        request: HookRequest,
    ) -> std::result::Result<HookTaken, HookError> {
        if request.body.is_empty() && request.method == HookMethod::Post {
            return Err(HookError::new(HookReason::Busy, "full").after(Duration::from_secs(2)));
        }
        let document = HookDocument {
            content_type: Some("text/plain"),
            body: format!("{} {} {trigger}", request.method.name(), path.base()),
            headers: vec![("webhook-allowed-origin", "*".into())],
        };
        Ok(HookTaken { accepted: 0, duplicates: 0, answer: HookAnswer::Document(document) })
    }

    fn hook_refused(&self, target: Option<&HookTarget>, error: &HookError) {
        self.refused.lock().push((target.is_some(), error.reason));
    }

    fn tail(&self) -> broadcast::Receiver<Arc<Activation>> {
        self.records.subscribe()
    }

    fn compile_rule(&self, rule: &Rule) -> std::result::Result<(), String> {
        match rule.conditions.when.as_deref() {
            Some("bad") => Err("`when`, column 1: expected an expression".to_owned()),
            _ => Ok(()),
        }
    }

    async fn explain(
        &self,
        trigger: &QualifiedName,
        rule: Option<&QualifiedName>,
        sample: JsonObject,
    ) -> std::result::Result<Json, Refusal> {
        Ok(Json::from(serde_json::json!({ "trigger": trigger, "rule": rule, "event": sample })))
    }

    async fn metrics(&self) -> String {
        "# EOF\n".to_owned()
    }

    async fn readiness(&self) -> Readiness {
        Readiness { ready: false, parts: vec![("disk".to_owned(), "full".to_owned())] }
    }
}
