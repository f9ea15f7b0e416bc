//! Activation records on the embedded store.

use std::sync::Arc;

use async_trait::async_trait;
use triggerfish_model::{Activation, ActivationId, Clock, Namespace, SystemClock, Timestamp};

use crate::{ActivationQuery, ActivationStore, RecordFilter, Result, SearchPage, SearchQuery};

use super::Embedded;
use super::tables::{Tables, at_time, engine, names_prefix, number, times_prefix};

#[async_trait]
impl ActivationStore for Embedded {
    async fn put(&self, records: Vec<Arc<Activation>>) -> Result<()> {
        self.write(move |transaction| records.iter().try_for_each(|record| transaction.put_record(record)))
            .await
    }

    async fn get(&self, namespace: &Namespace, id: ActivationId) -> Result<Option<Arc<Activation>>> {
        let namespace = namespace.clone();
        self.read(move |tables| by_id(tables, &namespace, id)).await
    }

    async fn list(&self, query: &ActivationQuery) -> Result<Vec<Arc<Activation>>> {
        let query = query.clone();
        self.read(move |tables| {
            let mut found = Vec::new();
            let mut skip = query.skip;
            walk(tables, &query, |number| {
                if skip > 0 {
                    skip -= 1;
                } else if let Some(record) = tables.record(number)? {
                    found.push(Arc::new(record));
                }
                Ok(found.len() < query.limit)
            })?;
            Ok(found)
        })
        .await
    }

    async fn count(&self, query: &ActivationQuery) -> Result<usize> {
        let query = ActivationQuery { limit: usize::MAX, ..query.clone() };
        self.read(move |tables| {
            let mut count = 0;
            walk(tables, &query, |_| {
                count += 1;
                Ok(true)
            })?;
            Ok(count)
        })
        .await
    }

    async fn search(&self, namespace: &Namespace, query: &SearchQuery) -> Result<SearchPage> {
        self.search.search(namespace, query, SystemClock.now()).await
    }

    fn filter(&self, q: &str) -> Result<Box<dyn RecordFilter>> {
        crate::search::filter(q, SystemClock.now())
    }
}

fn by_id(tables: &Tables, namespace: &Namespace, id: ActivationId) -> Result<Option<Arc<Activation>>> {
    let Some(number) = tables.record_number(id)? else { return Ok(None) };
    Ok(tables.record(number)?.filter(|record| record.namespace == *namespace).map(Arc::new))
}

/// Gives the number of each record that matches, latest start first, until `visit` says that it is enough.
fn walk(tables: &Tables, query: &ActivationQuery, mut visit: impl FnMut(u64) -> Result<bool>) -> Result<()> {
    if query.limit == 0 {
        return Ok(());
    }
    let (table, prefix) = match &query.name {
        Some(name) => (&tables.record_names, names_prefix(&query.namespace, name)),
        None => (&tables.record_times, times_prefix(&query.namespace)),
    };
    let millis = |time: Option<Timestamp>, otherwise: i64| time.map_or(otherwise, Timestamp::as_millis);
    let from = at_time(prefix.clone(), millis(query.upto, i64::MAX));
    // A key is longer than its time by the id, so the bound lies behind all ids of the earliest moment.
    let mut to = at_time(prefix, millis(query.since, i64::MIN));
    to.extend([0xff; 17]);
    for row in table.range(from..=to) {
        if !visit(number(&row.value().map_err(engine)?))? {
            break;
        }
    }
    Ok(())
}

/// Records after a number, in order, at most `limit`.
pub(super) fn after(tables: &Tables, last: u64, limit: usize) -> Result<Vec<(u64, Arc<Activation>)>> {
    let mut found = Vec::new();
    for row in tables.records.range((last + 1).to_be_bytes()..).take(limit) {
        let (key, value) = row.into_inner().map_err(engine)?;
        found.push((number(&key), Arc::new(super::tables::decode(&value)?)));
    }
    Ok(found)
}
