//! Dead letters on the embedded store.

use async_trait::async_trait;
use triggerfish_model::{ActivationId, DeadLetter, Namespace};

use crate::{DeadLetterQuery, DeadLetterStore, Result, StoreError};

use super::Embedded;
use super::tables::{Tables, dead_letter_id_key, engine, number, times_prefix};

#[async_trait]
impl DeadLetterStore for Embedded {
    async fn dead_letters(&self, query: &DeadLetterQuery) -> Result<Vec<DeadLetter>> {
        let query = query.clone();
        self.read(move |tables| {
            let prefix = times_prefix(&query.namespace);
            let (mut found, mut skipped) = (Vec::new(), 0);
            for row in tables.dead_letter_order.prefix(&prefix) {
                if found.len() >= query.limit {
                    break;
                }
                let key = row.key().map_err(engine)?;
                let place = key.last_chunk::<8>().map_or(0, |bytes| !u64::from_be_bytes(*bytes));
                let Some(letter) = at(tables, place)? else { continue };
                if query.of.as_ref().is_some_and(|of| letter.of() != of) {
                    continue;
                }
                if skipped < query.skip {
                    skipped += 1;
                } else {
                    found.push(letter);
                }
            }
            Ok(found)
        })
        .await
    }

    async fn dead_letter(&self, namespace: &Namespace, id: ActivationId) -> Result<Option<DeadLetter>> {
        let key = dead_letter_id_key(namespace, id);
        self.read(move |tables| match tables.dead_letter_ids.get(&key).map_err(engine)? {
            Some(place) => at(tables, number(&place)),
            None => Ok(None),
        })
        .await
    }

    async fn discard(&self, namespace: &Namespace, id: ActivationId) -> Result<bool> {
        let namespace = namespace.clone();
        self.write(move |transaction| transaction.remove_dead_letter(&namespace, id)).await
    }
}

/// The dead letter at a place.
pub(super) fn at(tables: &Tables, place: u64) -> Result<Option<DeadLetter>> {
    let Some(bytes) = tables.dead_letters.get(place.to_be_bytes()).map_err(engine)? else { return Ok(None) };
    read(&bytes).map(Some)
}

/// The dead letter of these bytes.
pub(super) fn read(bytes: &[u8]) -> Result<DeadLetter> {
    serde_json::from_slice(bytes).map_err(|error| StoreError::Corrupt(format!("a dead letter: {error}")))
}
