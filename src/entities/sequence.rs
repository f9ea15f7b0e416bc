//! Checking a sequence's components before it is stored (contract §2.4).

use triggerfish_model::{Exec, Namespace, QualifiedName};
use triggerfish_store::EntityStore;

use super::access;
use super::error::EntityError;

/// The most actions of a sequence, inner sequences counted by theirs (contract §2.4).
pub const ACTIONS_MAX: usize = 50;

/// The most components looked at: a bound for chains of sequences of one action each.
const LOOKED_AT_MAX: usize = 1000;

/// Refuses a sequence `id` of these components that is too long, refers to itself, or to what is not there.
pub async fn check(
    store: &dyn EntityStore,
    caller: &Namespace,
    id: &QualifiedName,
    components: &[QualifiedName],
) -> Result<(), EntityError> {
    let invalid = |text: &str| EntityError::Invalid(text.to_owned());
    if components.is_empty() {
        return Err(invalid("No component specified for the sequence."));
    }
    let mut open: Vec<QualifiedName> = components.iter().rev().cloned().collect();
    let (mut actions, mut looked_at) = (0, 0);
    while let Some(component) = open.pop() {
        looked_at += 1;
        // Writes that crossed may have stored a cycle; each honest sequence adds at least one action.
        if looked_at > LOOKED_AT_MAX {
            return Err(invalid("Too many actions in the sequence."));
        }
        if component == *id {
            return Err(invalid("Sequence may not refer to itself."));
        }
        let resolved = match access::action(store, caller, &component).await {
            Ok(resolved) => resolved,
            Err(error) => return Err(missing(store, error, &component).await),
        };
        let real = resolved.action();
        if real.id == *id {
            return Err(invalid("Sequence may not refer to itself."));
        }
        match &real.exec {
            Exec::Sequence { components } => open.extend(components.iter().rev().cloned()),
            Exec::Code { .. } | Exec::Blackbox { .. } => actions += 1,
        }
        if actions > ACTIONS_MAX {
            return Err(invalid("Too many actions in the sequence."));
        }
    }
    Ok(())
}

/// An action that is missing from a package that is there has its own text; a missing package is a plain 404.
async fn missing(store: &dyn EntityStore, error: EntityError, component: &QualifiedName) -> EntityError {
    let EntityError::NotFound = error else { return error };
    if let Some(package) = &component.package {
        match store.get(&component.namespace.with(package.clone())).await {
            Ok(Some(_)) => {}
            Ok(None) => return EntityError::NotFound,
            Err(error) => return error.into(),
        }
    }
    EntityError::Invalid("Sequence component does not exist.".to_owned())
}
