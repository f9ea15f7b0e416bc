//! The rules of each trigger, compiled once and kept until one of them changes.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use tokio::sync::broadcast::{self, error::TryRecvError};
use triggerfish_model::{Entity, QualifiedName, Trigger};
use triggerfish_rules_engine::{CompiledRule, RuleSet, SkipReason, SkippedRule};
use triggerfish_store::{Change, EntityStore, StoreError};

use crate::entities::{EntityError, access};

/// A trigger with its rules, ready to decide.
pub(super) struct Listener {
    entity: Arc<Entity>,
    /// Its active rules.
    pub(super) rules: RuleSet,
    /// Its other rules, with why they are not asked.
    pub(super) skipped: Vec<SkippedRule>,
}

impl Listener {
    /// The trigger.
    pub(super) fn trigger(&self) -> &Trigger {
        match &*self.entity {
            Entity::Trigger(trigger) => trigger,
            Entity::Package(_) | Entity::Action(_) | Entity::Rule(_) => {
                unreachable!("only `Catalog::compile` makes listeners, and only of triggers")
            }
        }
    }

    /// Whether a rule is active.
    pub(super) fn has_active_rules(&self) -> bool {
        self.trigger().rules.values().any(|link| link.active)
    }
}

/// The compiled rules by trigger.
pub(super) struct Catalog {
    entities: Arc<dyn EntityStore>,
    listeners: RwLock<HashMap<QualifiedName, Arc<Listener>>>,
    changes: Mutex<broadcast::Receiver<Change>>,
}

impl Catalog {
    pub(super) fn new(entities: Arc<dyn EntityStore>) -> Self {
        let changes = Mutex::new(entities.changes());
        Self { entities, listeners: RwLock::default(), changes }
    }

    /// The trigger of this name with its rules, as they are now; `None` where there is no such trigger.
    pub(super) async fn listener(
        &self,
        trigger: &QualifiedName,
    ) -> Result<Option<Arc<Listener>>, StoreError> {
        self.forget_changed();
        if let Some(listener) = self.listeners.read().get(trigger) {
            return Ok(Some(listener.clone()));
        }
        let Some(listener) = self.compile(trigger).await? else { return Ok(None) };
        let listener = Arc::new(listener);
        // A change that came while this was compiled is in the channel, and takes the entry out again.
        self.listeners.write().insert(trigger.clone(), listener.clone());
        Ok(Some(listener))
    }

    /// Drops everything where an entity changed: changes are few and compiling is cheap, and a listener depends on its
    /// trigger, its rules, their actions and those actions' packages. A change is in the channel before its writer is
    /// answered.
    fn forget_changed(&self) {
        let mut changes = self.changes.lock();
        let mut changed = false;
        while let Ok(_) | Err(TryRecvError::Lagged(_)) = changes.try_recv() {
            changed = true;
        }
        if changed {
            self.listeners.write().clear();
        }
    }

    async fn compile(&self, id: &QualifiedName) -> Result<Option<Listener>, StoreError> {
        let Some(found) = self.entities.get(id).await? else { return Ok(None) };
        let Entity::Trigger(trigger) = &*found.entity else { return Ok(None) };
        let (mut active, mut skipped) = (Vec::new(), Vec::new());
        for (rule_id, link) in &trigger.rules {
            let mut skip = |reason| {
                skipped.push(SkippedRule { rule: rule_id.clone(), action: link.action.clone(), reason });
            };
            if !link.active {
                skip(SkipReason::Inactive);
                continue;
            }
            match access::action(&*self.entities, &id.namespace, &link.action).await {
                Ok(_) => {}
                Err(EntityError::Store(error)) => return Err(error),
                // Gone, or no longer this namespace's to run.
                Err(_) => {
                    skip(SkipReason::ActionGone);
                    continue;
                }
            }
            let Some(rule) = self.entities.get(rule_id).await? else { continue };
            let Entity::Rule(rule) = &*rule.entity else { continue };
            match CompiledRule::compile(rule) {
                Ok(rule) => active.push(Arc::new(rule)),
                // Creation refuses such a rule, so only an older hub's rule can come here.
                Err(error) => {
                    tracing::error!(rule = %rule_id, %error, "a stored rule cannot be read and matches nothing");
                    skip(SkipReason::Broken(error.to_string()));
                }
            }
        }
        Ok(Some(Listener { rules: RuleSet::new(active), skipped, entity: found.entity.clone() }))
    }
}
