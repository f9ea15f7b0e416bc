//! Subscriptions on the embedded store; their parameters may hold credentials, so the whole row is sealed.

use async_trait::async_trait;
use triggerfish_model::{FeedId, QualifiedName, Subscription};

use crate::{FeedStore, Result, StoreError};

use super::Embedded;
use super::tables::engine;

#[async_trait]
impl FeedStore for Embedded {
    async fn put(&self, subscription: Subscription) -> Result<()> {
        let text =
            serde_json::to_vec(&subscription).map_err(|error| StoreError::Corrupt(error.to_string()))?;
        let sealed = self.seal.seal(subscription.id.0.as_bytes(), &text)?;
        self.write(move |transaction| {
            transaction.set_subscription(subscription.id, Some(sealed));
            Ok(())
        })
        .await
    }

    async fn of_trigger(&self, trigger: &QualifiedName) -> Result<Option<Subscription>> {
        Ok(FeedStore::all(self).await?.into_iter().find(|subscription| subscription.trigger == *trigger))
    }

    async fn delete(&self, id: FeedId) -> Result<()> {
        self.write(move |transaction| {
            transaction.set_subscription(id, None);
            Ok(())
        })
        .await
    }

    async fn all(&self) -> Result<Vec<Subscription>> {
        let tables = self.shared.tables()?;
        let mut found = Vec::new();
        for row in tables.subscriptions.iter() {
            let (key, sealed) = row.into_inner().map_err(engine)?;
            let text = self.seal.open_sealed(&key, &sealed)?;
            let subscription = serde_json::from_slice(&text)
                .map_err(|error| StoreError::Corrupt(format!("a subscription: {error}")))?;
            found.push(subscription);
        }
        Ok(found)
    }
}
