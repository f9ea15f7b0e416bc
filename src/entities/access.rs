//! Who may read what (contract §2.7): one's own namespace, and public packages of others with their actions.

use triggerfish_model::{Collection, Entity, Namespace, Package, Parameters, QualifiedName, Revision};
use triggerfish_store::{EntityStore, Versioned};

use super::error::EntityError;
use super::resolve::{self, ResolvedAction};

/// A package that the caller may read.
#[derive(Clone, Debug)]
pub struct ReadablePackage {
    /// The package, or the binding.
    pub package: Package,
    /// Its revision.
    pub revision: Revision,
    /// What it is bound to.
    pub provider: Option<Package>,
}

impl ReadablePackage {
    /// The package whose actions these are.
    pub fn real(&self) -> &Package {
        self.provider.as_ref().unwrap_or(&self.package)
    }

    /// The provider's parameters, overlaid by the binding's.
    pub fn parameters(&self) -> Parameters {
        match &self.provider {
            Some(provider) => provider.parameters.overlaid_with(&self.package.parameters),
            None => self.package.parameters.clone(),
        }
    }
}

/// The entity `id`, where it is in `collection`.
pub async fn own(
    store: &dyn EntityStore,
    id: &QualifiedName,
    collection: Collection,
) -> Result<Versioned, EntityError> {
    existing(store, id, collection).await?.ok_or(EntityError::NotFound)
}

/// The entity `id`, if there is one; an error where it is in another collection.
pub async fn existing(
    store: &dyn EntityStore,
    id: &QualifiedName,
    collection: Collection,
) -> Result<Option<Versioned>, EntityError> {
    match store.get(id).await? {
        Some(found) if found.entity.collection() != collection => Err(EntityError::wrong_collection()),
        found => Ok(found),
    }
}

/// The package `id` for a reader of the namespace `caller`.
pub async fn package(
    store: &dyn EntityStore,
    caller: &Namespace,
    id: &QualifiedName,
) -> Result<ReadablePackage, EntityError> {
    let found = store.get(id).await?;
    if id.namespace != *caller {
        // Nothing is said of whether it exists (contract §1.2).
        let public = found.and_then(|found| public_package(&found).map(|package| (package, found.revision)));
        let (package, revision) = public.ok_or_else(|| EntityError::Forbidden(id.clone()))?;
        return Ok(ReadablePackage { package, revision, provider: None });
    }
    let found = found.ok_or_else(|| EntityError::NotFoundNamed(id.clone()))?;
    let Entity::Package(package) = &*found.entity else { return Err(EntityError::wrong_collection()) };
    let provider = match &package.binding {
        Some(provider) => Some(provider_of(store, caller, id, &provider.id()).await?),
        None => None,
    };
    Ok(ReadablePackage { package: package.clone(), revision: found.revision, provider })
}

fn public_package(found: &Versioned) -> Option<Package> {
    match &*found.entity {
        Entity::Package(package) if package.publish && package.binding.is_none() => Some(package.clone()),
        _ => None,
    }
}

async fn provider_of(
    store: &dyn EntityStore,
    caller: &Namespace,
    binding: &QualifiedName,
    provider: &QualifiedName,
) -> Result<Package, EntityError> {
    let found = store.get(provider).await?.ok_or_else(|| EntityError::NotFoundNamed(binding.clone()))?;
    match &*found.entity {
        Entity::Package(package) if provider.namespace == *caller || package.publish => Ok(package.clone()),
        Entity::Package(_) => Err(EntityError::Forbidden(binding.clone())),
        _ => Err(EntityError::NotFoundNamed(binding.clone())),
    }
}

/// The action `id` for a reader or invoker of the namespace `caller`, through a binding where its package is one.
pub async fn action(
    store: &dyn EntityStore,
    caller: &Namespace,
    id: &QualifiedName,
) -> Result<ResolvedAction, EntityError> {
    match &id.package {
        None if id.namespace == *caller => {}
        None => return Err(EntityError::Forbidden(id.clone())),
        Some(name) => {
            package(store, caller, &id.namespace.with(name.clone())).await.map_err(unnamed)?;
        }
    }
    Ok(resolve::action(store, id).await?)
}

/// The 404 of an action does not name the package that is missing.
pub fn unnamed(error: EntityError) -> EntityError {
    match error {
        EntityError::NotFoundNamed(_) => EntityError::NotFound,
        other => other,
    }
}

/// Refuses what is not in the caller's own namespace.
pub fn writable(caller: &Namespace, id: &QualifiedName) -> Result<(), EntityError> {
    if id.namespace == *caller { Ok(()) } else { Err(EntityError::Forbidden(id.clone())) }
}

/// Refuses to write an action below something that is no package of its own.
pub async fn writable_package(store: &dyn EntityStore, id: &QualifiedName) -> Result<(), EntityError> {
    let Some(package) = &id.package else { return Ok(()) };
    let found = own(store, &id.namespace.with(package.clone()), Collection::Packages).await?;
    match &*found.entity {
        Entity::Package(Package { binding: Some(_), .. }) => {
            Err(EntityError::Invalid("Operation not permitted on package binding.".to_owned()))
        }
        _ => Ok(()),
    }
}
