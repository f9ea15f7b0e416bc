//! The records as the search index reads them.

use std::path::Path;
use std::sync::Arc;

use tokio::sync::watch;
use triggerfish_model::Activation;

use crate::Result;
use crate::search::Records;

use super::disk::Disk;
use super::shared::Shared;
use super::tables::{decode, engine, number};

/// A view of the shared tables. It holds them for one read each, so that a failed database can be opened again.
pub(super) struct Searched {
    shared: Arc<Shared>,
    disk: Disk,
}

impl Searched {
    /// The index may use half of the reserve: it follows work that was accepted before the disk was full.
    pub(super) fn new(shared: Arc<Shared>, directory: &Path, reserve: u64) -> Self {
        Self { shared, disk: Disk::new(directory, reserve / 2) }
    }
}

impl Records for Searched {
    fn last(&self) -> watch::Receiver<u64> {
        self.shared.last_record.subscribe()
    }

    fn first(&self) -> Result<Option<u64>> {
        let tables = self.shared.tables()?;
        tables.records.first_key_value().map(|row| Ok(number(&row.key().map_err(engine)?))).transpose()
    }

    fn record(&self, number: u64) -> Result<Option<Activation>> {
        self.shared.tables()?.record(number)
    }

    fn after(&self, last: u64, visit: &mut dyn FnMut(u64, usize, Activation) -> bool) -> Result<()> {
        let tables = self.shared.tables()?;
        for row in tables.records.range((last + 1).to_be_bytes()..) {
            let (key, value) = row.into_inner().map_err(engine)?;
            if !visit(number(&key), value.len(), decode(&value)?) {
                break;
            }
        }
        Ok(())
    }

    fn has_room(&self) -> bool {
        self.disk.check().is_ok()
    }
}
