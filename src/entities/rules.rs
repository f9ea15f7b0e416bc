//! Writing rules (contract §1.6). A rule's document is written before its trigger's link to it: a crash in between
//! leaves a rule that reads as inactive, and the same PUT with `overwrite` mends it.

use triggerfish_model::{
    Collection, Conditions, Entity, Json, Namespace, Parameters, QualifiedName, Rule, RuleLink, Timestamp,
};
use triggerfish_store::{EntityStore, Precondition};

use super::access;
use super::error::EntityError;
use super::input::{Common, Fields, Reference};
use super::triggers;

/// A PUT's document.
#[derive(Debug)]
pub struct RuleInput {
    trigger: Option<Reference>,
    action: Option<Reference>,
    conditions: ConditionsInput,
    common: Common,
}

/// A condition field: outer `None` where it is absent, inner where it is null.
type Given = Option<Option<Json>>;

#[derive(Debug)]
struct ConditionsInput {
    pattern: Given,
    when: Given,
    with: Given,
    retry: Given,
}

/// A rule with its status.
#[derive(Clone, Debug)]
pub struct StatedRule {
    /// The rule.
    pub rule: Rule,
    /// Whether it is active.
    pub active: bool,
}

impl RuleInput {
    /// Reads the body; `own` is what `_` stands for.
    pub fn parse(body: &[u8], own: &Namespace) -> Result<Self, EntityError> {
        let fields = Fields::parse(body)?;
        let given = |key: &str| fields.raw(key).map(|_| fields.given(key).cloned());
        Ok(Self {
            trigger: fields.reference("trigger", own)?,
            action: fields.reference("action", own)?,
            conditions: ConditionsInput {
                pattern: given("pattern"),
                when: given("when"),
                with: given("with"),
                retry: given("retry"),
            },
            common: fields.common()?,
        })
    }
}

impl ConditionsInput {
    /// The conditions: fields win over annotations of the same name, and what is not named stays as it was. An
    /// annotation that new annotations leave out takes its condition with it.
    fn over(&self, old: &Conditions, was: &Parameters, now: &Parameters) -> Result<Conditions, EntityError> {
        let pick = |field: &Given, key: &str, old: Option<Json>| match field {
            Some(given) => given.clone(),
            None => match now.value(key) {
                Some(value) if value.as_str() == "null" => None,
                Some(value) => Some(value.clone()),
                None if was.value(key).is_some() => None,
                None => old,
            },
        };
        let text = |text: &Option<String>| text.as_deref().map(Json::from);
        Ok(Conditions {
            pattern: pick(&self.pattern, "pattern", old.pattern.clone())
                .map(|value| object("pattern", &value))
                .transpose()?,
            when: pick(&self.when, "when", text(&old.when))
                .map(|value| expression("when", &value))
                .transpose()?,
            with: pick(&self.with, "with", text(&old.with))
                .map(|value| expression("with", &value))
                .transpose()?,
            retry: pick(&self.retry, "retry", old.retry.clone())
                .map(|value| object("retry", &value))
                .transpose()?,
        })
    }
}

/// A pattern or `retry` is an object; as an annotation it may come as the text of one.
fn object(key: &str, value: &Json) -> Result<Json, EntityError> {
    match value.read::<String>() {
        Ok(text) => Json::parse(&text)
            .map_err(|error| EntityError::Invalid(format!("the rule's `{key}` is no JSON: {error}"))),
        Err(_) => Ok(value.clone()),
    }
}

fn expression(key: &str, value: &Json) -> Result<String, EntityError> {
    value.read().map_err(|_| {
        EntityError::Invalid(format!(
            "the rule's `{key}` is {}, but a CEL expression as text was expected",
            value.type_name()
        ))
    })
}

/// Creates or, where `overwrite`, updates the rule `id`; `compile` says what is wrong with its conditions. Answers what
/// was written.
pub async fn put(
    store: &dyn EntityStore,
    id: &QualifiedName,
    input: RuleInput,
    overwrite: bool,
    now: Timestamp,
    compile: impl Fn(&Rule) -> Result<(), String> + Send,
) -> Result<StatedRule, EntityError> {
    input.common.check_sizes()?;
    for (reference, is_action) in [(&input.trigger, false), (&input.action, true)] {
        check_rights(store, &id.namespace, reference.as_ref(), is_action).await?;
    }
    let found = access::existing(store, id, Collection::Rules).await?;
    let (old, when) = match &found {
        None => (None, Precondition::Absent),
        Some(_) if !overwrite => return Err(EntityError::Conflict("resource already exists".to_owned())),
        Some(found) => match &*found.entity {
            Entity::Rule(old) => (Some(old), Precondition::Matches(found.revision)),
            _ => return Err(EntityError::wrong_collection()),
        },
    };
    let rule = merged(id, input, old, now)?;
    check_parts(store, &rule).await?;
    compile(&rule).map_err(EntityError::Invalid)?;
    let active = match old {
        None => true,
        Some(old) => is_active(store, old).await?,
    };
    store.put(Entity::Rule(rule.clone()), when).await?;
    if let Some(old) = old
        && old.trigger != rule.trigger
    {
        triggers::link(store, &old.trigger, id, None).await?;
    }
    let link = RuleLink { action: rule.action.clone(), active };
    triggers::link(store, &rule.trigger, id, Some(link)).await?;
    Ok(StatedRule { rule, active })
}

fn merged(
    id: &QualifiedName,
    input: RuleInput,
    old: Option<&Rule>,
    now: Timestamp,
) -> Result<Rule, EntityError> {
    let part = |given: Option<Reference>, old: Option<&QualifiedName>| match (given, old) {
        (Some(Reference::To(id)), _) => Ok(id),
        (Some(Reference::TooDeep), _) => Err(EntityError::NotFound),
        (None, Some(old)) => Ok(old.clone()),
        (None, None) => {
            Err(EntityError::Invalid("rule requires a valid trigger and a valid action".to_owned()))
        }
    };
    let trigger = part(input.trigger, old.map(|old| &old.trigger))?;
    let action = part(input.action, old.map(|old| &old.action))?;
    let nothing = (Conditions::default(), Parameters::new());
    let (conditions, was) = old.map_or((&nothing.0, &nothing.1), |old| (&old.conditions, &old.annotations));
    let annotations = input.common.annotations.unwrap_or_else(|| was.clone());
    Ok(Rule {
        id: id.clone(),
        trigger,
        action,
        conditions: input.conditions.over(conditions, was, &annotations)?,
        annotations,
        publish: input.common.publish.unwrap_or_else(|| old.is_some_and(|old| old.publish)),
        version: match (input.common.version, old) {
            (Some(version), _) => version,
            (None, Some(old)) => old.version.bumped(),
            (None, None) => triggerfish_model::Version::default(),
        },
        updated: now,
    })
}

/// A rule may name what its owner may read (contract §1.6).
async fn check_rights(
    store: &dyn EntityStore,
    caller: &Namespace,
    reference: Option<&Reference>,
    is_action: bool,
) -> Result<(), EntityError> {
    let Some(Reference::To(id)) = reference else { return Ok(()) };
    match &id.package {
        Some(package) if is_action => {
            access::package(store, caller, &id.namespace.with(package.clone()))
                .await
                .map_err(access::unnamed)?;
            Ok(())
        }
        _ => access::writable(caller, id),
    }
}

/// Both parts have to exist.
async fn check_parts(store: &dyn EntityStore, rule: &Rule) -> Result<(), EntityError> {
    let missing =
        |what: &str, id: &QualifiedName| EntityError::Invalid(format!("{what} /{id} does not exist"));
    match store.get(&rule.trigger).await?.as_ref().map(|found| &*found.entity) {
        Some(Entity::Trigger(_)) => {}
        Some(other) => return Err(other_kind(&rule.trigger, other, "trigger")),
        None => return Err(missing("trigger", &rule.trigger)),
    }
    match access::action(store, &rule.id.namespace, &rule.action).await {
        Ok(_) => Ok(()),
        Err(EntityError::NotFound) => Err(missing("action", &rule.action)),
        Err(EntityError::Conflict(_)) => match store.get(&rule.action).await? {
            Some(found) => Err(other_kind(&rule.action, &found.entity, "action")),
            None => Err(missing("action", &rule.action)),
        },
        Err(error) => Err(error),
    }
}

fn other_kind(id: &QualifiedName, entity: &Entity, wanted: &str) -> EntityError {
    let collection = entity.collection().as_str();
    EntityError::Invalid(format!(
        "/{id} is in the collection `{collection}`, but the rule needs an existing {wanted}"
    ))
}

/// Whether a rule is active: its trigger says so.
pub async fn is_active(store: &dyn EntityStore, rule: &Rule) -> Result<bool, EntityError> {
    let trigger = triggers::find(store, &rule.trigger).await?;
    Ok(trigger.is_some_and(|trigger| trigger.rules.get(&rule.id).is_some_and(|link| link.active)))
}

/// The rule `id`, with its status.
pub async fn get(store: &dyn EntityStore, id: &QualifiedName) -> Result<StatedRule, EntityError> {
    let found = access::own(store, id, Collection::Rules).await?;
    let Entity::Rule(rule) = &*found.entity else { return Err(EntityError::wrong_collection()) };
    Ok(StatedRule { rule: rule.clone(), active: is_active(store, rule).await? })
}

/// Makes the rule `id` active or inactive.
pub async fn set_status(
    store: &dyn EntityStore,
    id: &QualifiedName,
    active: bool,
) -> Result<(), EntityError> {
    let StatedRule { rule, active: was } = get(store, id).await?;
    if active == was {
        return Ok(());
    }
    let link = RuleLink { action: rule.action.clone(), active };
    if triggers::link(store, &rule.trigger, id, Some(link)).await? || !active {
        Ok(())
    } else {
        Err(EntityError::Gone("Only rules with existing triggers can be activated"))
    }
}

/// Deletes the rule `id` and its trigger's link to it. Answers what it was.
pub async fn delete(store: &dyn EntityStore, id: &QualifiedName) -> Result<StatedRule, EntityError> {
    let found = access::own(store, id, Collection::Rules).await?;
    let Entity::Rule(rule) = &*found.entity else { return Err(EntityError::wrong_collection()) };
    // The link goes first: a trigger never has one to a rule that is not there.
    triggers::link(store, &rule.trigger, id, None).await?;
    store.delete(id, found.revision).await?;
    Ok(StatedRule { rule: rule.clone(), active: false })
}
