//! Writing actions (contract §1.4).

use serde_json::{Value, json};
use triggerfish_model::{
    Action, Collection, Entity, Exec, Json, Limits, Namespace, Parameters, QualifiedName, Timestamp,
};
use triggerfish_store::{EntityStore, Precondition};

use super::access;
use super::error::EntityError;
use super::exec;
use super::input::{Common, Fields};
use super::limits::{self, LimitsInput};
use super::sequence;

/// The annotation that names the kind.
const EXEC: &str = "exec";
/// The annotation that says whether a run is given the API's key.
const PROVIDE_API_KEY: &str = "provide-api-key";
/// The parameter of a sequence that lists its components.
const ACTIONS: &str = "_actions";

/// A PUT's document.
#[derive(Debug)]
pub struct ActionInput {
    exec: Option<Exec>,
    limits: LimitsInput,
    del_annotations: Vec<String>,
    common: Common,
}

impl ActionInput {
    /// Reads the body; `own` is what `_` stands for.
    pub fn parse(body: &[u8], own: &Namespace) -> Result<Self, EntityError> {
        let fields = Fields::parse(body)?;
        Ok(Self {
            exec: fields.given("exec").map(|exec| exec::read(exec, own)).transpose()?,
            limits: fields.given("limits").map(limits::read).transpose()?.unwrap_or_default(),
            del_annotations: fields.given("delAnnotations").map(names).transpose()?.unwrap_or_default(),
            common: fields.common()?,
        })
    }

    fn created(self, id: QualifiedName, now: Timestamp) -> Result<Action, EntityError> {
        let exec = self.exec.ok_or_else(|| EntityError::Invalid("exec undefined".to_owned()))?;
        let mut annotations = self.common.annotations.unwrap_or_default();
        if annotations.value(PROVIDE_API_KEY).is_none() {
            annotations.set(PROVIDE_API_KEY, Json::from(Value::Bool(false)));
        }
        annotations.set(EXEC, exec.kind());
        Ok(Action {
            id,
            parameters: parameters_of(&exec, self.common.parameters.unwrap_or_default()),
            annotations,
            limits: self.limits.over(Limits::default())?,
            publish: self.common.publish.unwrap_or(false),
            version: self.common.version.unwrap_or_default(),
            updated: now,
            exec,
        })
    }

    fn updated(self, old: &Action, now: Timestamp) -> Result<Action, EntityError> {
        let exec = self.exec.unwrap_or_else(|| old.exec.clone());
        let mut annotations = old.annotations.clone();
        for key in &self.del_annotations {
            annotations.remove(key);
        }
        if let Some(new) = &self.common.annotations {
            annotations = annotations.overlaid_with(new);
        }
        annotations.set(EXEC, exec.kind());
        let kept = || {
            let mut parameters = old.parameters.clone();
            if matches!(old.exec, Exec::Sequence { .. }) {
                parameters.remove(ACTIONS);
            }
            parameters
        };
        Ok(Action {
            id: old.id.clone(),
            parameters: parameters_of(&exec, self.common.parameters.unwrap_or_else(kept)),
            annotations,
            limits: self.limits.over(old.limits)?,
            publish: self.common.publish.unwrap_or(old.publish),
            version: self.common.version.unwrap_or_else(|| old.version.bumped()),
            updated: now,
            exec,
        })
    }
}

/// A sequence's parameters are its components, whatever was sent.
fn parameters_of(exec: &Exec, given: Parameters) -> Parameters {
    match exec {
        Exec::Sequence { components } => {
            let names: Vec<String> = components.iter().map(|component| format!("/{component}")).collect();
            Parameters::new().with(ACTIONS, Json::from(json!(names)))
        }
        Exec::Code { .. } | Exec::Blackbox { .. } => given,
    }
}

fn names(value: &Json) -> Result<Vec<String>, EntityError> {
    value.read().map_err(|_| EntityError::malformed(format!("Expected Array as JsArray, but got {value}")))
}

/// Creates or, where `overwrite`, updates the action `id`. Answers what was written.
pub async fn put(
    store: &dyn EntityStore,
    id: &QualifiedName,
    input: ActionInput,
    overwrite: bool,
    now: Timestamp,
) -> Result<Action, EntityError> {
    input.common.check_sizes()?;
    access::writable_package(store, id).await?;
    if let Some(exec) = &input.exec {
        exec::check(exec)?;
        if let Exec::Sequence { components } = exec {
            sequence::check(store, &id.namespace, id, components).await?;
        }
    }
    let found = access::existing(store, id, Collection::Actions).await?;
    let (action, when) = match found {
        None => (input.created(id.clone(), now)?, Precondition::Absent),
        Some(_) if !overwrite => return Err(EntityError::Conflict("resource already exists".to_owned())),
        Some(found) => match &*found.entity {
            Entity::Action(old) => (input.updated(old, now)?, Precondition::Matches(found.revision)),
            _ => return Err(EntityError::wrong_collection()),
        },
    };
    store.put(Entity::Action(action.clone()), when).await?;
    Ok(action)
}

/// Deletes the action `id`. Answers what it was.
pub async fn delete(store: &dyn EntityStore, id: &QualifiedName) -> Result<Action, EntityError> {
    access::writable_package(store, id).await?;
    let found = access::own(store, id, Collection::Actions).await?;
    let Entity::Action(action) = &*found.entity else { return Err(EntityError::wrong_collection()) };
    store.delete(id, found.revision).await?;
    Ok(action.clone())
}

#[cfg(test)]
mod tests {
    use triggerfish_model::Version;

    use super::*;

    fn input(text: &str) -> ActionInput {
        ActionInput::parse(text.as_bytes(), &"guest".parse().unwrap()).unwrap()
    }

    #[test]
    fn updates_merge_annotations_and_replace_parameters() {
        let now = Timestamp::from_millis(1);
        let created = input(
            r#"{"exec":{"kind":"nodejs:20","code":"x"},"annotations":[{"key":"x","value":1},{"key":"y","value":1}],
                "parameters":[{"key":"p","value":1}]}"#,
        )
        .created("guest/a".parse().unwrap(), now)
        .unwrap();
        assert_eq!(created.version, Version::default());
        let updated =
            input(r#"{"delAnnotations":["x"],"annotations":[{"key":"z","value":2}],"parameters":[]}"#)
                .updated(&created, now)
                .unwrap();
        assert_eq!(
            updated.annotations.to_object().as_str(),
            r#"{"y":1,"provide-api-key":false,"exec":"nodejs:20","z":2}"#
        );
        assert!(updated.parameters.is_empty());
        assert_eq!(updated.version.to_string(), "0.0.2");
    }

    #[test]
    fn a_sequences_parameters_are_its_components() {
        let now = Timestamp::from_millis(1);
        let text =
            r#"{"exec":{"kind":"sequence","components":["/_/a"]},"parameters":[{"key":"p","value":1}]}"#;
        let sequence = input(text).created("guest/s".parse().unwrap(), now).unwrap();
        assert_eq!(sequence.parameters.to_object().as_str(), r#"{"_actions":["/guest/a"]}"#);
        let code = input(r#"{"exec":{"kind":"nodejs:20","code":"x"}}"#).updated(&sequence, now).unwrap();
        assert!(code.parameters.is_empty());
    }
}
