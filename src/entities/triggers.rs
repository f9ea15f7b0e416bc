//! Writing triggers (contract §1.5).

use indexmap::IndexMap;
use triggerfish_model::{Collection, Entity, Json, Name, QualifiedName, RuleLink, Timestamp, Trigger};
use triggerfish_store::{EntityStore, Precondition, StoreError};

use super::access;
use super::error::EntityError;
use super::input::{Common, Fields};

/// How often a link is tried to be written against others who write the same trigger.
const TRIES_MAX: usize = 20;

/// A PUT's document.
#[derive(Debug)]
pub struct TriggerInput {
    common: Common,
}

impl TriggerInput {
    /// Reads the body.
    pub fn parse(body: &[u8]) -> Result<Self, EntityError> {
        Ok(Self { common: Fields::parse(body)?.common()? })
    }
}

/// Creates or, where `overwrite`, updates the trigger `id`. Answers what was written.
pub async fn put(
    store: &dyn EntityStore,
    id: &QualifiedName,
    input: TriggerInput,
    overwrite: bool,
    now: Timestamp,
) -> Result<Trigger, EntityError> {
    let common = input.common;
    common.check_sizes()?;
    let found = access::existing(store, id, Collection::Triggers).await?;
    let (trigger, when) = match found {
        None => {
            let annotations = common.annotations.unwrap_or_default();
            if annotations.value("feed").is_some_and(|feed| !is_feed_name(feed)) {
                return Err(EntityError::Invalid("Feed name is not valid".to_owned()));
            }
            let trigger = Trigger {
                id: id.clone(),
                parameters: common.parameters.unwrap_or_default(),
                annotations,
                rules: IndexMap::new(),
                publish: common.publish.unwrap_or(false),
                version: common.version.unwrap_or_default(),
                updated: now,
            };
            (trigger, Precondition::Absent)
        }
        Some(_) if !overwrite => return Err(EntityError::Conflict("resource already exists".to_owned())),
        Some(found) => {
            let Entity::Trigger(old) = &*found.entity else { return Err(EntityError::wrong_collection()) };
            let trigger = Trigger {
                id: id.clone(),
                parameters: common.parameters.unwrap_or_else(|| old.parameters.clone()),
                annotations: common.annotations.unwrap_or_else(|| old.annotations.clone()),
                rules: old.rules.clone(),
                publish: common.publish.unwrap_or(old.publish),
                version: common.version.unwrap_or_else(|| old.version.bumped()),
                updated: now,
            };
            (trigger, Precondition::Matches(found.revision))
        }
    };
    store.put(Entity::Trigger(trigger.clone()), when).await?;
    Ok(trigger)
}

/// A feed's name is a path of legal segments.
fn is_feed_name(feed: &Json) -> bool {
    let Ok(text) = feed.read::<String>() else { return false };
    let mut segments = text.split('/').filter(|segment| !segment.is_empty()).peekable();
    segments.peek().is_some() && segments.all(|segment| segment.parse::<Name>().is_ok())
}

/// Deletes the trigger `id`; its rules stay, and read as inactive. Answers what it was.
pub async fn delete(store: &dyn EntityStore, id: &QualifiedName) -> Result<Trigger, EntityError> {
    let found = access::own(store, id, Collection::Triggers).await?;
    let Entity::Trigger(trigger) = &*found.entity else { return Err(EntityError::wrong_collection()) };
    store.delete(id, found.revision).await?;
    Ok(trigger.clone())
}

/// The trigger `id`, if there is one.
pub async fn find(store: &dyn EntityStore, id: &QualifiedName) -> Result<Option<Trigger>, EntityError> {
    let found = store.get(id).await?;
    Ok(found.and_then(|found| match &*found.entity {
        Entity::Trigger(trigger) => Some(trigger.clone()),
        _ => None,
    }))
}

/// Sets or removes the link of `rule` on a trigger; whoever else writes the trigger meanwhile loses nothing. The
/// trigger's version stays. Answers whether there is such a trigger.
pub async fn link(
    store: &dyn EntityStore,
    trigger: &QualifiedName,
    rule: &QualifiedName,
    link: Option<RuleLink>,
) -> Result<bool, EntityError> {
    for _ in 0..TRIES_MAX {
        let Some(found) = store.get(trigger).await? else { return Ok(false) };
        let Entity::Trigger(old) = &*found.entity else { return Ok(false) };
        if old.rules.get(rule) == link.as_ref() {
            return Ok(true);
        }
        let mut changed = old.clone();
        match &link {
            Some(link) => drop(changed.rules.insert(rule.clone(), link.clone())),
            None => drop(changed.rules.shift_remove(rule)),
        }
        match store.put(Entity::Trigger(changed), Precondition::Matches(found.revision)).await {
            Ok(_) => return Ok(true),
            Err(StoreError::Conflict) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(StoreError::Conflict.into())
}
