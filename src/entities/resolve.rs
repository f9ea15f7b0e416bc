//! From an action's name to what runs: packages, bindings and the merging of parameters (contract §1.7, §2.1).

use std::sync::Arc;

use triggerfish_model::{Action, Entity, Package, Parameters, QualifiedName, Revision};
use triggerfish_store::{EntityStore, StoreError};

/// An action as a caller reaches it.
#[derive(Clone, Debug)]
pub struct ResolvedAction {
    /// The entity; [`ResolvedAction::action`] gives it as an action.
    entity: Arc<Entity>,
    /// Its revision.
    pub revision: Revision,
    /// The binding that it was reached through.
    pub binding: Option<QualifiedName>,
    /// Provider package's parameters, overlaid by the binding's, overlaid by the action's own.
    pub parameters: Parameters,
}

/// Why a name leads to no action.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ResolveError {
    /// Nothing of this name, or its package or provider is gone.
    #[error("`{0}` does not exist")]
    NotFound(QualifiedName),
    /// Something of this name that is no action, or a package path below something that is no package.
    #[error("`{0}` is not in this collection")]
    NotAnAction(QualifiedName),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ResolvedAction {
    /// The action.
    pub fn action(&self) -> &Action {
        match &*self.entity {
            Entity::Action(action) => action,
            Entity::Package(_) | Entity::Trigger(_) | Entity::Rule(_) => {
                unreachable!("only `action` below makes this type, and only of actions")
            }
        }
    }
}

/// Finds the action that `id` names, through a binding where `id`'s package is one.
pub async fn action(store: &dyn EntityStore, id: &QualifiedName) -> Result<ResolvedAction, ResolveError> {
    let Some(package) = &id.package else {
        return found(store, id, None, Parameters::new()).await;
    };
    let package_id = id.namespace.with(package.clone());
    let outer = package_named(store, &package_id).await?;
    match &outer.binding {
        None => found(store, id, None, outer.parameters).await,
        Some(provider) => {
            let inner = package_named(store, &provider.id()).await?;
            let real = QualifiedName {
                namespace: provider.namespace.clone(),
                package: Some(provider.name.clone()),
                name: id.name.clone(),
            };
            let parameters = inner.parameters.overlaid_with(&outer.parameters);
            found(store, &real, Some(package_id), parameters).await
        }
    }
}

async fn package_named(store: &dyn EntityStore, id: &QualifiedName) -> Result<Package, ResolveError> {
    let found = store.get(id).await?.ok_or_else(|| ResolveError::NotFound(id.clone()))?;
    match &*found.entity {
        Entity::Package(package) => Ok(package.clone()),
        Entity::Action(_) | Entity::Trigger(_) | Entity::Rule(_) => {
            Err(ResolveError::NotAnAction(id.clone()))
        }
    }
}

async fn found(
    store: &dyn EntityStore,
    id: &QualifiedName,
    binding: Option<QualifiedName>,
    inherited: Parameters,
) -> Result<ResolvedAction, ResolveError> {
    let found = store.get(id).await?.ok_or_else(|| ResolveError::NotFound(id.clone()))?;
    let Entity::Action(action) = &*found.entity else {
        return Err(ResolveError::NotAnAction(id.clone()));
    };
    let parameters = if inherited.is_empty() {
        action.parameters.clone()
    } else {
        inherited.overlaid_with(&action.parameters)
    };
    Ok(ResolvedAction { revision: found.revision, binding, parameters, entity: found.entity })
}
