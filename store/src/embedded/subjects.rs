//! Keys on the embedded store: found by HMAC, sealed at rest.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use triggerfish_model::Namespace;

use crate::{Identity, Result, StoreError, SubjectStore};

use super::Embedded;
use super::tables::{Tables, engine};
use super::transaction::Lookup;
use crate::seal::Seal;

/// What is sealed of a key.
#[derive(Serialize, Deserialize)]
pub(super) struct Row {
    pub(super) identity: Identity,
    pub(super) key: String,
}

#[async_trait]
impl SubjectStore for Embedded {
    async fn authenticate(&self, uuid: &str, key: &str) -> Result<Option<Identity>> {
        let lookup = self.lookup(uuid, key);
        let tables = self.shared.tables()?;
        let Some(sealed) = tables.subjects.get(lookup).map_err(engine)? else { return Ok(None) };
        open_row(&self.seal, &lookup, &sealed).map(|row| Some(row.identity))
    }

    async fn put(&self, identity: Identity, key: &str) -> Result<()> {
        let lookup = self.lookup(&identity.uuid, key);
        let namespace = identity.namespace.clone();
        let row = Row { identity, key: key.to_owned() };
        let text = serde_json::to_vec(&row).map_err(|error| StoreError::Corrupt(error.to_string()))?;
        let sealed = self.seal.seal(&lookup, &text)?;
        let seal = self.seal.clone();
        // The writer looks for the keys that this one replaces, so that of two calls at a time one key stays.
        self.write(move |transaction| {
            let mut outdated = rows(&seal, transaction.tables)?;
            outdated.retain(|(_, row)| row.identity.namespace == namespace);
            let outdated = outdated.into_iter().map(|(at, _)| at).collect();
            transaction.set_subject(lookup, namespace, sealed, outdated);
            Ok(())
        })
        .await
    }

    async fn reveal(&self, namespace: &Namespace) -> Result<Option<(Identity, String)>> {
        let rows = rows(&self.seal, &*self.shared.tables()?)?;
        Ok(rows
            .into_iter()
            .find(|(_, row)| row.identity.namespace == *namespace)
            .map(|(_, row)| (row.identity, row.key)))
    }

    async fn identities(&self) -> Result<Vec<Identity>> {
        Ok(rows(&self.seal, &*self.shared.tables()?)?.into_iter().map(|(_, row)| row.identity).collect())
    }
}

impl Embedded {
    fn lookup(&self, uuid: &str, key: &str) -> Lookup {
        self.seal.lookup(format!("{uuid}:{key}").as_bytes())
    }
}

fn open_row(seal: &Seal, lookup: &Lookup, sealed: &[u8]) -> Result<Row> {
    let text = seal.open_sealed(lookup, sealed)?;
    serde_json::from_slice(&text).map_err(|error| StoreError::Corrupt(format!("a subject: {error}")))
}

fn rows(seal: &Seal, tables: &Tables) -> Result<Vec<(Lookup, Row)>> {
    let mut rows = Vec::new();
    for row in tables.subjects.iter() {
        let (key, sealed) = row.into_inner().map_err(engine)?;
        let lookup: Lookup = (*key).try_into().map_err(|_| StoreError::Corrupt("a subject's key".into()))?;
        rows.push((lookup, open_row(seal, &lookup, &sealed)?));
    }
    Ok(rows)
}
