//! The hub's own packages in `/whisk.system`: one action for each feed of the catalogue (design.md, "Feeds").
//!
//! They are entities like any other, so that `wsk package list /whisk.system` and bindings work; what they do is not in
//! their code but in the hub, which answers their invocations itself.

use serde_json::json;
use triggerfish_feeds::catalogue;
use triggerfish_model::{
    Action, Code, Entity, Exec, Json, Limits, Name, Namespace, Package, Parameters, QualifiedName, Timestamp,
    Version,
};
use triggerfish_store::{EntityStore, Precondition, StoreError};

/// The code that is shown for a feed's action. It never runs: the hub answers these actions itself.
const CODE: &str = "def main(args):\n    return {'error': 'feeds are served by the hub itself'}\n";

/// Makes the packages and actions of all feeds where they are missing or not as this version has them.
pub(super) async fn seed(store: &dyn EntityStore, now: Timestamp) -> Result<(), StoreError> {
    for feed in catalogue::actions() {
        let package: Name = feed.package.parse().expect("the catalogue's package names are legal");
        let name: Name = feed.name.parse().expect("the catalogue's feed names are legal");
        let package_id = Namespace::system().with(package.clone());
        put(
            store,
            Entity::Package(Package {
                id: package_id,
                binding: None,
                parameters: Parameters::new(),
                annotations: Parameters::new()
                    .with("description", format!("Feeds: {}", feed.package).as_str()),
                publish: true,
                version: Version::default(),
                updated: now,
            }),
        )
        .await?;
        put(
            store,
            Entity::Action(Action {
                id: QualifiedName { namespace: Namespace::system(), package: Some(package), name },
                exec: Exec::Code {
                    kind: "python:3".into(),
                    code: Code { text: CODE.into(), binary: false },
                    main: None,
                },
                parameters: Parameters::new(),
                annotations: Parameters::new()
                    .with("feed", Json::from(json!(true)))
                    .with("description", feed.description.as_str())
                    .with("parameters", feed.schema.clone())
                    .with("provide-api-key", Json::from(json!(false))),
                limits: Limits::default(),
                publish: false,
                version: Version::default(),
                updated: now,
            }),
        )
        .await?;
    }
    Ok(())
}

/// Writes `entity` unless the stored one differs in nothing but its time.
async fn put(store: &dyn EntityStore, entity: Entity) -> Result<(), StoreError> {
    let when = match store.get(entity.id()).await? {
        Some(stored) if same(&stored.entity, &entity) => return Ok(()),
        Some(stored) => Precondition::Matches(stored.revision),
        None => Precondition::Absent,
    };
    store.put(entity, when).await.map(drop)
}

fn same(stored: &Entity, wanted: &Entity) -> bool {
    let at = |entity: &Entity| {
        let mut entity = entity.clone();
        match &mut entity {
            Entity::Package(package) => package.updated = Timestamp::default(),
            Entity::Action(action) => action.updated = Timestamp::default(),
            Entity::Trigger(_) | Entity::Rule(_) => {}
        }
        entity
    };
    at(stored) == at(wanted)
}
