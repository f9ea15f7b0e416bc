//! Full-text search over activation records, in tantivy.
//!
//! Records live in the record store; the index is derived from it and follows it (`follower`). It holds no text, only
//! what finds a record: hits are read from the record store by their number. After a crash it goes on where its last
//! commit ended, and where it is damaged, removed or of another version it is built anew (`index`).

mod aggs;
mod ast;
mod collect;
mod deadline;
mod directory;
mod fields;
mod filter;
mod follower;
mod glob;
mod highlight;
mod index;
mod parser;
mod plan;
mod schema;
mod sort;
#[cfg(test)]
mod tests;
mod values;
mod view;
mod words;

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};
use tantivy::query::{BooleanQuery, Occur};
use tokio::sync::{Semaphore, watch};
use triggerfish_model::{Json, Namespace, Timestamp};

use crate::{Hit, RecordFilter, Result, SearchPage, SearchQuery, StoreError};

use ast::Ast;
use deadline::{Bounded, Deadline};
use follower::{Current, Follower};
use highlight::Highlighter;
use index::Opened;
use plan::Planner;
use sort::Sort;

pub(crate) use follower::Records;

/// How long a search may take, waiting included.
const SEARCH_TIME: Duration = Duration::from_secs(10);
/// Searches at once; each takes a core for a while.
const SEARCHES_AT_ONCE: usize = 2;

/// The search index of one store.
pub(crate) struct Search {
    current: Current,
    records: Arc<dyn Records>,
    turns: Arc<Semaphore>,
    stop: watch::Sender<bool>,
    follower: Mutex<Option<JoinHandle<()>>>,
}

impl Search {
    /// Opens the index in `path` and starts to follow the records. An index that cannot be opened is no error: it is
    /// tried again, and searches say why they cannot be answered.
    pub(crate) fn open(path: &Path, records: Arc<dyn Records>) -> std::io::Result<Self> {
        let opened = follower::open(path, &records).map(Arc::new);
        let current: Current = Arc::new(RwLock::new(opened));
        let (stop, stopped) = watch::channel(false);
        let follower = Follower {
            path: path.to_owned(),
            records: records.clone(),
            current: current.clone(),
            stop: stopped,
        };
        let follower =
            std::thread::Builder::new().name("search-index".into()).spawn(move || follower.run())?;
        Ok(Self {
            current,
            records,
            turns: Arc::new(Semaphore::new(SEARCHES_AT_ONCE)),
            stop,
            follower: Mutex::new(Some(follower)),
        })
    }

    /// Ends the follower; what it has not committed is indexed when the store is opened again.
    pub(crate) fn close(&self) {
        self.stop.send_replace(true);
        if let Some(follower) = self.follower.lock().take()
            && follower.join().is_err()
        {
            tracing::error!("the follower of the search index broke off");
        }
    }

    /// Searches the records of one namespace.
    pub(crate) async fn search(
        &self,
        namespace: &Namespace,
        query: &SearchQuery,
        now: Timestamp,
    ) -> Result<SearchPage> {
        let begun = Instant::now();
        let plan = Plan::of(namespace, query, now)?;
        let (turns, current, records) = (self.turns.clone(), self.current.clone(), self.records.clone());
        let found = tokio::time::timeout(SEARCH_TIME, async move {
            let turn = turns
                .acquire_owned()
                .await
                .map_err(|_| StoreError::Unavailable("the store is closed".into()))?;
            tokio::task::spawn_blocking(move || {
                let _turn = turn;
                let unavailable =
                    |why| StoreError::Unavailable(format!("the search index cannot be opened: {why}"));
                let opened = current.read().clone().map_err(unavailable)?;
                plan.run(&opened, &*records, SEARCH_TIME.saturating_sub(begun.elapsed()))
            })
            .await
            .map_err(|error| StoreError::Unavailable(format!("a search broke off: {error}")))?
        });
        let page = found.await.map_err(|_| too_long())??;
        Ok(SearchPage { took: begun.elapsed(), ..page })
    }
}

impl Drop for Search {
    fn drop(&mut self) {
        self.close();
    }
}

/// A filter of a query string; `now` is what its moments count from.
pub(crate) fn filter(q: &str, now: Timestamp) -> Result<Box<dyn RecordFilter>> {
    Ok(Box::new(filter::Filter(parse(q, now)?)))
}

fn parse(q: &str, now: Timestamp) -> Result<Ast> {
    parser::parse(q, now).map_err(|error| StoreError::BadQuery(format!("`q`, {error}")))
}

fn too_long() -> StoreError {
    StoreError::BadQuery(format!(
        "the search took more than {} seconds and was ended: narrow it by `since`, or by a longer beginning of its wildcards",
        SEARCH_TIME.as_secs()
    ))
}

/// A search that was understood.
struct Plan {
    namespace: Namespace,
    ast: Ast,
    since: Option<Timestamp>,
    upto: Option<Timestamp>,
    page: collect::Page,
    aggs: Option<aggs::Wanted>,
}

impl Plan {
    fn of(namespace: &Namespace, query: &SearchQuery, now: Timestamp) -> Result<Self> {
        let sort = Sort::parse(query.sort.as_deref()).map_err(StoreError::BadQuery)?;
        let after = query.cursor.as_deref().map(|cursor| sort.after(cursor)).transpose();
        Ok(Self {
            namespace: namespace.clone(),
            ast: parse(query.q.as_deref().unwrap_or_default(), now)?,
            since: query.since,
            upto: query.upto,
            // One more than asked for tells whether there is a next page.
            page: collect::Page {
                sort,
                after: after.map_err(StoreError::BadQuery)?,
                limit: query.limit.saturating_add(1),
            },
            aggs: query.aggs.as_ref().map(aggs::Wanted::parse).transpose().map_err(StoreError::BadQuery)?,
        })
    }

    /// Runs it; blocks.
    fn run(self, opened: &Opened, records: &dyn Records, time: Duration) -> Result<SearchPage> {
        let deadline = Deadline::after(time);
        let planner = Planner { fields: &opened.fields, deadline: deadline.clone() };
        let mut clauses = planner.scope(self.namespace.as_str(), self.since, self.upto);
        if self.ast != Ast::All {
            clauses.push((Occur::Must, planner.query(&self.ast)));
        }
        let query = Bounded { inner: Box::new(BooleanQuery::new(clauses)), deadline: deadline.clone() };
        let searcher = opened.reader.searcher();
        let (sort, limit) = (self.page.sort.clone(), self.page.limit - 1);
        let page = collect::Page { limit: if limit == 0 { 0 } else { self.page.limit }, ..self.page };
        let collector = (page, self.aggs.map(|aggs| aggs.collector(&opened.index)));
        let found = searcher.search(&query, &collector);
        if deadline.was_over() {
            return Err(too_long());
        }
        let (mut gathered, aggregations) = found.map_err(engine)?;
        let more = gathered.keys.len() > limit;
        gathered.keys.truncate(limit);
        let cursor = gathered.keys.last().filter(|_| more).and_then(|key| sort.cursor(key));
        let highlighter = Highlighter::new(&self.ast);
        let mut hits = Vec::with_capacity(gathered.keys.len());
        for key in &gathered.keys {
            // Retention may have dropped it a moment ago.
            if let Some(record) =
                records.record(key.number)?.filter(|record| record.namespace == self.namespace)
            {
                hits.push(Hit { highlight: highlighter.lines(&record), activation: Arc::new(record) });
            }
        }
        let aggregations = aggregations.and_then(|found| serde_json::to_value(found).ok()).map(Json::from);
        Ok(SearchPage { total: gathered.total, took: Duration::ZERO, hits, aggregations, cursor })
    }
}

fn engine(error: tantivy::TantivyError) -> StoreError {
    match error {
        tantivy::TantivyError::AggregationError(error) => StoreError::BadQuery(format!("`aggs`: {error}")),
        tantivy::TantivyError::InvalidArgument(text) => StoreError::BadQuery(text),
        error => StoreError::Unavailable(error.to_string()),
    }
}
