//! Writing packages and bindings (contract §1.7).

use serde_json::{Value, json};
use triggerfish_model::{
    Collection, Entity, Json, Name, Namespace, Package, PackageRef, Parameters, QualifiedName, Timestamp,
};
use triggerfish_store::{EntityQuery, EntityStore, Precondition};

use super::access;
use super::error::EntityError;
use super::input::{Common, Fields};

/// The annotation that the server keeps on bindings.
const BINDING: &str = "binding";
/// How often a forced delete looks for actions that were made meanwhile.
const ROUNDS_MAX: usize = 10;

/// A PUT's document.
#[derive(Debug)]
pub struct PackageInput {
    binding: Option<PackageRef>,
    common: Common,
}

impl PackageInput {
    /// Reads the body; `own` is what `_` stands for.
    pub fn parse(body: &[u8], own: &Namespace) -> Result<Self, EntityError> {
        let fields = Fields::parse(body)?;
        let binding = fields.raw(BINDING).map(|binding| read_binding(binding, own)).transpose()?.flatten();
        Ok(Self { binding, common: fields.common()? })
    }
}

fn read_binding(binding: &Json, own: &Namespace) -> Result<Option<PackageRef>, EntityError> {
    let Value::Object(map) = binding.to_value() else {
        return Err(EntityError::malformed("Object expected in field 'namespace'"));
    };
    if map.is_empty() {
        return Ok(None);
    }
    let field = |key: &str| {
        map.get(key)
            .ok_or_else(|| EntityError::malformed(format!("Object is missing required member '{key}'")))
    };
    let malformed = || EntityError::malformed("entity name malformed");
    let namespace = match field("namespace")?.as_str() {
        Some("_") => own.clone(),
        Some(text) => text.parse().map_err(|_| malformed())?,
        None => return Err(malformed()),
    };
    let name: Name = field("name")?.as_str().ok_or_else(malformed)?.parse().map_err(|_| malformed())?;
    Ok(Some(PackageRef { namespace, name }))
}

/// Annotations with the one of bindings as the server has it.
fn annotated(mut annotations: Parameters, binding: Option<&PackageRef>) -> Parameters {
    annotations.remove(BINDING);
    if let Some(PackageRef { namespace, name }) = binding {
        annotations.set(BINDING, Json::from(json!({ "name": name, "namespace": namespace })));
    }
    annotations
}

/// Creates or, where `overwrite`, updates the package `id`. Answers what was written.
pub async fn put(
    store: &dyn EntityStore,
    id: &QualifiedName,
    input: PackageInput,
    overwrite: bool,
    now: Timestamp,
) -> Result<Package, EntityError> {
    let PackageInput { binding, common } = input;
    common.check_sizes()?;
    if id.name.as_str() == "default" {
        return Err(EntityError::Invalid("Package name 'default' is reserved.".to_owned()));
    }
    if let Some(provider) = &binding {
        check_binding(store, &id.namespace, &provider.id()).await?;
    }
    let found = access::existing(store, id, Collection::Packages).await?;
    let (package, when) = match found {
        None => {
            let annotations = annotated(common.annotations.unwrap_or_default(), binding.as_ref());
            let package = Package {
                id: id.clone(),
                parameters: common.parameters.unwrap_or_default(),
                annotations,
                publish: common.publish.unwrap_or(false),
                version: common.version.unwrap_or_default(),
                updated: now,
                binding,
            };
            (package, Precondition::Absent)
        }
        Some(_) if !overwrite => return Err(EntityError::Conflict("resource already exists".to_owned())),
        Some(found) => {
            let Entity::Package(old) = &*found.entity else { return Err(EntityError::wrong_collection()) };
            (updated(old, binding, common, now)?, Precondition::Matches(found.revision))
        }
    };
    store.put(Entity::Package(package.clone()), when).await?;
    Ok(package)
}

fn updated(
    old: &Package,
    binding: Option<PackageRef>,
    common: Common,
    now: Timestamp,
) -> Result<Package, EntityError> {
    if binding.is_some() && old.binding.is_none() {
        return Err(EntityError::Conflict(
            "Resource is a package and cannot be converted into a binding.".to_owned(),
        ));
    }
    let binding = binding.or_else(|| old.binding.clone());
    let annotations = common.annotations.unwrap_or_else(|| old.annotations.clone());
    Ok(Package {
        id: old.id.clone(),
        parameters: common.parameters.unwrap_or_else(|| old.parameters.clone()),
        annotations: annotated(annotations, binding.as_ref()),
        publish: common.publish.unwrap_or(old.publish),
        version: common.version.unwrap_or_else(|| old.version.bumped()),
        updated: now,
        binding,
    })
}

/// Only real packages that the caller may read can be bound.
async fn check_binding(
    store: &dyn EntityStore,
    caller: &Namespace,
    provider: &QualifiedName,
) -> Result<(), EntityError> {
    let found = store.get(provider).await?;
    let foreign = provider.namespace != *caller;
    match found.as_ref().map(|found| &*found.entity) {
        Some(Entity::Package(package)) if foreign && !package.publish => {
            Err(EntityError::Forbidden(provider.clone()))
        }
        Some(Entity::Package(package)) if package.binding.is_some() => {
            Err(EntityError::Invalid("Cannot bind to another package binding.".to_owned()))
        }
        Some(Entity::Package(_)) => Ok(()),
        _ if foreign => Err(EntityError::Forbidden(provider.clone())),
        Some(_) => Err(EntityError::Conflict("Cannot bind to a resource that is not a package.".to_owned())),
        None => Err(EntityError::Invalid("Binding references a package that does not exist.".to_owned())),
    }
}

/// The actions of a package.
pub fn contents(id: &QualifiedName) -> EntityQuery {
    EntityQuery {
        namespace: id.namespace.clone(),
        collection: Collection::Actions,
        package: Some(id.name.clone()),
        skip: 0,
        limit: 0,
    }
}

/// Deletes the package `id`, and with `force` the actions in it. Answers what it was.
pub async fn delete(
    store: &dyn EntityStore,
    id: &QualifiedName,
    force: bool,
) -> Result<Package, EntityError> {
    let found = access::own(store, id, Collection::Packages).await?;
    let Entity::Package(package) = &*found.entity else { return Err(EntityError::wrong_collection()) };
    let query = contents(id);
    let mut held = store.count(&query).await?;
    if force {
        for _ in 0..ROUNDS_MAX {
            for action in store.list(&query).await? {
                store.delete(action.entity.id(), action.revision).await?;
            }
            held = store.count(&query).await?;
            if held == 0 {
                break;
            }
        }
    }
    if held > 0 {
        let entities = if held == 1 { "entity" } else { "entities" };
        return Err(EntityError::Conflict(format!(
            "Package not empty (contains {held} {entities}). Set force param or delete package contents."
        )));
    }
    store.delete(id, found.revision).await?;
    Ok(package.clone())
}
