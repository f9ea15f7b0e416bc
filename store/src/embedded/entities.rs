//! Entities on the embedded store: all in memory for readers, written through the writer.

use std::cmp::Reverse;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::broadcast;
use triggerfish_model::{Entity, QualifiedName, Revision};

use crate::{Change, EntityQuery, EntityStore, Precondition, Result, Versioned};

use super::Embedded;

#[async_trait]
impl EntityStore for Embedded {
    async fn get(&self, id: &QualifiedName) -> Result<Option<Versioned>> {
        Ok(self.shared.entities.read().get(id).cloned())
    }

    async fn put(&self, entity: Entity, when: Precondition) -> Result<Revision> {
        self.shared.disk.check()?;
        let (shared, entity) = (self.shared.clone(), Arc::new(entity));
        self.write(move |transaction| transaction.put_entity(entity, when, &shared.entities.read())).await
    }

    async fn delete(&self, id: &QualifiedName, revision: Revision) -> Result<()> {
        let (shared, id) = (self.shared.clone(), id.clone());
        self.write(move |transaction| transaction.delete_entity(&id, revision, &shared.entities.read())).await
    }

    async fn list(&self, query: &EntityQuery) -> Result<Vec<Versioned>> {
        let mut found = self.matching(query);
        found.sort_by_key(|found| (Reverse(found.entity.updated()), Reverse(found.revision)));
        let limit = if query.limit == 0 { usize::MAX } else { query.limit };
        Ok(found.into_iter().skip(query.skip).take(limit).collect())
    }

    async fn count(&self, query: &EntityQuery) -> Result<usize> {
        Ok(self.matching(query).len())
    }

    async fn all(&self) -> Result<Vec<Versioned>> {
        Ok(self.shared.entities.read().values().cloned().collect())
    }

    fn changes(&self) -> broadcast::Receiver<Change> {
        self.shared.changes.subscribe()
    }
}

impl Embedded {
    fn matching(&self, query: &EntityQuery) -> Vec<Versioned> {
        let matches = |found: &&Versioned| {
            let id = found.entity.id();
            id.namespace == query.namespace
                && found.entity.collection() == query.collection
                && query.package.as_ref().is_none_or(|package| id.package.as_ref() == Some(package))
        };
        self.shared.entities.read().values().filter(matches).cloned().collect()
    }
}
