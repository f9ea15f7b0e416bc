//! Keys on the embedded store: found by HMAC, sealed at rest.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use triggerfish_model::Namespace;

use crate::{Identity, Result, StoreError, SubjectStore};

use super::Embedded;
use super::tables::{Tables, engine};

/// What is sealed of a key.
#[derive(Serialize, Deserialize)]
struct Row {
    identity: Identity,
    key: String,
}

#[async_trait]
impl SubjectStore for Embedded {
    async fn authenticate(&self, uuid: &str, key: &str) -> Result<Option<Identity>> {
        let lookup = self.lookup(uuid, key);
        let tables = self.shared.tables()?;
        let Some(sealed) = tables.subjects.get(lookup).map_err(engine)? else { return Ok(None) };
        self.open_row(&lookup, &sealed).map(|row| Some(row.identity))
    }

    async fn put(&self, identity: Identity, key: &str) -> Result<()> {
        let lookup = self.lookup(&identity.uuid, key);
        let outdated: Vec<_> = self
            .rows(&*self.shared.tables()?)?
            .into_iter()
            .filter(|(at, row)| *at != lookup && row.identity.namespace == identity.namespace)
            .map(|(at, _)| at)
            .collect();
        let row = Row { identity, key: key.to_owned() };
        let text = serde_json::to_vec(&row).map_err(|error| StoreError::Corrupt(error.to_string()))?;
        let sealed = self.seal.seal(&lookup, &text)?;
        self.write(move |transaction| {
            for at in outdated {
                transaction.batch.remove(&transaction.tables.subjects, at);
            }
            transaction.batch.insert(&transaction.tables.subjects, lookup, sealed);
            Ok(())
        })
        .await
    }

    async fn reveal(&self, namespace: &Namespace) -> Result<Option<(Identity, String)>> {
        let rows = self.rows(&*self.shared.tables()?)?;
        Ok(rows
            .into_iter()
            .find(|(_, row)| row.identity.namespace == *namespace)
            .map(|(_, row)| (row.identity, row.key)))
    }

    async fn identities(&self) -> Result<Vec<Identity>> {
        Ok(self.rows(&*self.shared.tables()?)?.into_iter().map(|(_, row)| row.identity).collect())
    }
}

impl Embedded {
    fn lookup(&self, uuid: &str, key: &str) -> [u8; 32] {
        self.seal.lookup(format!("{uuid}:{key}").as_bytes())
    }

    fn open_row(&self, lookup: &[u8; 32], sealed: &[u8]) -> Result<Row> {
        let text = self.seal.open_sealed(lookup, sealed)?;
        serde_json::from_slice(&text).map_err(|error| StoreError::Corrupt(format!("a subject: {error}")))
    }

    fn rows(&self, tables: &Tables) -> Result<Vec<([u8; 32], Row)>> {
        let mut rows = Vec::new();
        for row in tables.subjects.iter() {
            let (key, sealed) = row.into_inner().map_err(engine)?;
            let lookup: [u8; 32] =
                (*key).try_into().map_err(|_| StoreError::Corrupt("a subject's key".into()))?;
            rows.push((lookup, self.open_row(&lookup, &sealed)?));
        }
        Ok(rows)
    }
}
