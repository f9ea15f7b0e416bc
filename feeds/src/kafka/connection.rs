//! A Kafka feed's connection, as the runtime sees it: batches come from the thread that reads, acknowledgements go to it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::cursor::Cursor;
use super::reader;
use super::settings::Settings;
use super::shared::Shared;
use crate::provider::{FeedBatch, FeedConnection, FeedError};

/// How long to wait for the group to give the feed its partitions. It may take longer where members have to be waited
/// for; the feed runs, and they come.
const PLACED_MAX: Duration = Duration::from_secs(10);

/// A connection to a Kafka cluster.
pub(crate) struct Connection {
    shared: Arc<Shared>,
}

impl Connection {
    /// Reaches the brokers and joins the group, to go on after `cursor`.
    pub(crate) async fn open(
        settings: Settings,
        cursor: Option<Cursor>,
        event_bytes_max: usize,
    ) -> Result<Self, FeedError> {
        let this = Self { shared: reader::start(settings, cursor, event_bytes_max)? };
        let placed = this.shared.until(|state| match &state.over {
            // A topic that is missing is told with the cursor that notes it.
            Some(_) if state.assembly.as_ref().is_some_and(super::assembly::Assembly::owes_cursor) => {
                Some(Ok(()))
            }
            Some(error) => Some(Err(error.clone())),
            None => state.is_placed.then_some(Ok(())),
        });
        match tokio::time::timeout(PLACED_MAX, placed).await {
            Ok(Err(error)) => Err(error),
            Ok(Ok(())) | Err(_) => Ok(this),
        }
    }
}

#[async_trait]
impl FeedConnection for Connection {
    type Cursor = Cursor;

    async fn next(&mut self) -> Result<FeedBatch<Cursor>, FeedError> {
        let found = self.shared.until(|state| match state.assembly.as_mut().and_then(|it| it.batch()) {
            Some(batch) => Some(Ok(batch)),
            None => state.over.clone().map(Err),
        });
        let found = found.await;
        self.shared.tell_all();
        found
    }

    async fn ack(&mut self, cursor: &Cursor) -> Result<(), FeedError> {
        self.shared.assemble(|assembly| assembly.ack(cursor.number));
        self.shared.tell_all();
        Ok(())
    }

    async fn tend(&mut self) -> FeedError {
        self.shared.until(|state| state.over.clone()).await
    }

    fn lag(&self) -> Option<u64> {
        let state = self.shared.lock();
        let ends = &state.ends;
        let assembly = state.assembly.as_ref()?;
        Some(assembly.lag(|topic, partition| ends.get(&(topic.to_owned(), partition)).copied()))
    }

    async fn close(&mut self) {
        self.shared.lock().stop = true;
        self.shared.tell_all();
        self.shared.until(|state| state.is_closed.then_some(())).await;
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        self.shared.tell_all();
    }
}
