//! What callers and the writer share: the open database, the cache of entities, and the news for watchers.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};
use tokio::sync::{broadcast, watch};
use triggerfish_model::{Entity, QualifiedName, Revision, SeqNum};

use crate::{Change, Result, StoreError, Versioned};

use super::disk::Disk;
use super::state::State;
use super::tables::{Tables, engine, number};
use super::transaction::Published;
use super::writer::Counts;

/// Changes of entities that a slow watcher may be behind before it must read everything again.
const CHANGES_MAX: usize = 4096;
/// How long readers may hold a failed database before it cannot be opened again this time.
const RELEASE: Duration = Duration::from_secs(10);

/// Shared by all handles of one store.
pub(super) struct Shared {
    path: PathBuf,
    pub(super) disk: Disk,
    tables: RwLock<Result<Arc<Tables>>>,
    /// All entities; they are few and read at every event.
    pub(super) entities: RwLock<HashMap<QualifiedName, Versioned>>,
    pub(super) changes: broadcast::Sender<Change>,
    /// The number of the last durable record.
    pub(super) last_record: watch::Sender<u64>,
    /// Runs that a hub before this one had started, with how often.
    pub(super) interrupted: Mutex<HashMap<SeqNum, u32>>,
    pub(super) counts: Counts,
    /// The writer's counters, with what the batch in the making adds to them. Nobody holds them across a sync.
    pub(super) state: Mutex<State>,
}

impl Shared {
    /// Opens the database at `path`.
    pub(super) fn open(path: PathBuf, disk: Disk) -> Result<Self> {
        let tables = Arc::new(Tables::open(&path)?);
        let entities = read_entities(&tables)?;
        let mut interrupted = HashMap::new();
        for row in tables.started.iter() {
            let (key, value) = row.into_inner().map_err(engine)?;
            let times = value.first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes));
            interrupted.insert(super::tables::pending_of(&key)?.seq, times);
        }
        let state = State::read(&tables)?;
        Ok(Self {
            path,
            disk,
            tables: RwLock::new(Ok(tables)),
            entities: RwLock::new(entities),
            changes: broadcast::channel(CHANGES_MAX).0,
            last_record: watch::Sender::new(state.last_record()),
            interrupted: Mutex::new(interrupted),
            counts: Counts::default(),
            state: Mutex::new(state),
        })
    }

    /// The open database, or why there is none.
    pub(super) fn tables(&self) -> Result<Arc<Tables>> {
        self.tables.read().clone()
    }

    /// Why there is no database.
    pub(super) fn failure(&self) -> StoreError {
        self.tables().err().unwrap_or_else(|| StoreError::Unavailable("it is being opened again".into()))
    }

    /// Closes the database: it is of no more use.
    pub(super) fn fail(&self, why: StoreError) {
        *self.tables.write() = Err(why);
    }

    /// Opens the database again, once all readers have let go of the failed one.
    pub(super) fn reopen(&self, read: impl FnOnce(&Tables) -> Result<()>) -> Result<()> {
        let deadline = Instant::now() + RELEASE;
        let tables = loop {
            match Tables::open(&self.path) {
                Ok(tables) => break tables,
                // fjall's lock tells that somebody still reads.
                Err(StoreError::Unavailable(text))
                    if text.contains("Locked") && Instant::now() < deadline =>
                {
                    std::thread::sleep(Duration::from_millis(50));
                }
                Err(error) => return Err(error),
            }
        };
        read(&tables)?;
        *self.entities.write() = read_entities(&tables)?;
        *self.tables.write() = Ok(Arc::new(tables));
        tracing::info!("the database is open again");
        Ok(())
    }

    /// Shows readers what a batch wrote; it is on disk.
    pub(super) fn publish(&self, published: Published, last_record: u64) {
        if !published.entities.is_empty() {
            let mut entities = self.entities.write();
            for change in &published.entities {
                match &change.now {
                    Some(now) => entities.insert(change.id.clone(), now.clone()),
                    None => entities.remove(&change.id),
                };
            }
            drop(entities);
            for change in published.entities {
                // Nobody may be watching.
                let _ = self.changes.send(change);
            }
        }
        self.last_record.send_if_modified(|last| std::mem::replace(last, last_record) != last_record);
    }
}

fn read_entities(tables: &Tables) -> Result<HashMap<QualifiedName, Versioned>> {
    let mut entities = HashMap::new();
    for row in tables.entities.iter() {
        let (_, value) = row.into_inner().map_err(engine)?;
        let text = value.get(8..).unwrap_or_default();
        let entity: Entity = serde_json::from_slice(text)
            .map_err(|error| StoreError::Corrupt(format!("an entity: {error}")))?;
        let versioned = Versioned { revision: Revision(number(&value)), entity: Arc::new(entity) };
        entities.insert(versioned.entity.id().clone(), versioned);
    }
    Ok(entities)
}
