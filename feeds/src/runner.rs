//! Runs one feed: connect, take batches ahead, have them made durable, acknowledge in order.
//!
//! A crash anywhere leaves the cursor of the last durable batch; the connection goes on from it. Batches are read ahead
//! while one is being written, so that a slow disk costs latency and not throughput.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;
use triggerfish_model::{EventKey, FeedId, FeedState, Json, Subscription};

use crate::catalogue::{DynBatch, DynConnection, DynProvider};
use crate::provider::{FeedContext, FeedError, FeedEvent, Refused};
use crate::supervisor::Status;

/// How long an acknowledgement may take to be sent; a remote side that takes none for so long is gone.
const ACK_MAX: Duration = Duration::from_secs(10);
/// How long a goodbye may take; it is a courtesy.
const CLOSE_MAX: Duration = Duration::from_secs(2);

/// How long a feed that is asked to stop waits for the batch that is being written. It is durable soon or never; its
/// acknowledgement spares the remote side, and whoever goes on there, to have it again.
const FINISH_MAX: Duration = Duration::from_secs(5);

/// What became of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delivered {
    /// Events that are durable now.
    pub accepted: u64,
    /// Redelivered events that were dropped.
    pub duplicates: u64,
}

/// Why the hub did not take a batch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IntakeError {
    /// No room: the batch is offered again, and nothing more is read until it is taken.
    #[error("{why}")]
    Busy {
        /// When to offer it again.
        retry_after: Duration,
        /// Why.
        why: String,
    },
    /// The trigger is gone: the feed ends.
    #[error("{0}")]
    Gone(String),
    /// It failed: the feed reconnects from the last durable cursor.
    #[error("{0}")]
    Failed(String),
}

/// Where feeds deliver to; the hub implements it. `Ok` means durable.
#[async_trait]
pub trait Intake: Send + Sync + 'static {
    /// Takes events, what is kept of messages that are none, and the cursor behind them, in one durable step.
    async fn deliver(
        &self,
        subscription: &Subscription,
        events: Vec<FeedEvent>,
        refused: Vec<Refused>,
        cursor: Option<Json>,
    ) -> Result<Delivered, IntakeError>;

    /// The cursor of the last durable batch.
    async fn cursor(&self, feed: FeedId) -> Result<Option<Json>, IntakeError>;

    /// For each key, whether an event of it was stored; to ask again for what is known costs little, so a hub that does
    /// not look says no.
    async fn known(&self, _feed: FeedId, keys: &[EventKey]) -> Result<Vec<bool>, IntakeError> {
        Ok(vec![false; keys.len()])
    }

    /// The feed will emit no more; to be written down, with what goes along.
    async fn ended(&self, subscription: &Subscription, why: &str, also_delete: crate::AlsoDelete);
}

/// Why a run of a feed is over.
#[derive(Debug)]
pub(crate) enum Over {
    /// It was asked to stop.
    Stopped,
    /// It failed and is to be tried again.
    Failed(FeedError),
    /// It is done for good.
    Ended(FeedError),
}

/// Runs `subscription` until it fails, ends, or `stop`.
pub(crate) async fn run(
    provider: &dyn DynProvider,
    subscription: &Subscription,
    context: &FeedContext,
    intake: &Arc<dyn Intake>,
    status: &Status,
    stop: &CancellationToken,
) -> Over {
    let connecting = async {
        let cursor = intake.cursor(subscription.id).await.map_err(failed)?;
        let connect = provider.connect(&subscription.params, cursor, context);
        match tokio::time::timeout(context.connect_timeout, connect).await {
            Ok(connected) => connected,
            Err(_) => {
                Err(FeedError::Unavailable(format!("no connection within {:?}", context.connect_timeout)))
            }
        }
    };
    let connected = tokio::select! {
        connected = connecting => connected,
        () = stop.cancelled() => return Over::Stopped,
    };
    let mut connection = match connected {
        Ok(connection) => connection,
        Err(error @ FeedError::Ended { .. }) => return Over::Ended(error),
        Err(error) => return Over::Failed(error),
    };
    status.set(FeedState::Running);
    let over = pump(&mut *connection, subscription, intake, status, stop).await;
    if let Over::Stopped = over
        && tokio::time::timeout(CLOSE_MAX, connection.close()).await.is_err()
    {
        tracing::debug!(trigger = %subscription.trigger, "a feed's goodbye took too long and was left out");
    }
    over
}

/// Moves batches from the connection to the intake, one being written while the next is read.
async fn pump(
    connection: &mut dyn DynConnection,
    subscription: &Subscription,
    intake: &Arc<dyn Intake>,
    status: &Status,
    stop: &CancellationToken,
) -> Over {
    let mut ahead: Option<Result<DynBatch, FeedError>> = None;
    loop {
        let batch = match ahead.take() {
            _ if stop.is_cancelled() => return Over::Stopped,
            Some(batch) => batch,
            None => tokio::select! {
                batch = connection.next() => batch,
                () = stop.cancelled() => return Over::Stopped,
            },
        };
        let batch = match batch {
            Ok(batch) => batch,
            Err(error @ FeedError::Ended { .. }) => return Over::Ended(error),
            Err(error) => return Over::Failed(error),
        };
        let cursor = batch.cursor.clone();
        let writing = write(subscription, batch, intake, status, stop);
        tokio::pin!(writing);
        let written = loop {
            let aside = aside(connection, &ahead);
            tokio::select! {
                biased;
                written = &mut writing => break written,
                next = aside => ahead = Some(next),
                () = stop.cancelled() => match tokio::time::timeout(FINISH_MAX, &mut writing).await {
                    Ok(written) => break written,
                    Err(_) => return Over::Stopped,
                },
            }
        };
        if let Err(over) = written {
            return over;
        }
        fail::fail_point!("feed::before_ack");
        match tokio::time::timeout(ACK_MAX, connection.ack(&cursor)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Over::Failed(error),
            Err(_) => {
                let text = format!("the remote side took no acknowledgement within {ACK_MAX:?}");
                return Over::Failed(FeedError::Unavailable(text));
            }
        }
        fail::fail_point!("feed::acked");
        status.lag(connection.lag());
    }
}

/// What a connection does beside a write: it reads one batch ahead, and then only stays alive.
async fn aside(
    connection: &mut dyn DynConnection,
    ahead: &Option<Result<DynBatch, FeedError>>,
) -> Result<DynBatch, FeedError> {
    match ahead {
        None => connection.next().await,
        Some(Ok(_)) => Err(connection.tend().await),
        Some(Err(_)) => std::future::pending().await,
    }
}

/// Offers a batch until it is durable, or until `stop` while the hub has no room for it.
async fn write(
    subscription: &Subscription,
    batch: DynBatch,
    intake: &Arc<dyn Intake>,
    status: &Status,
    stop: &CancellationToken,
) -> Result<(), Over> {
    loop {
        // Payloads are shared text, so keeping the batch for another try costs little.
        match intake
            .deliver(subscription, batch.events.clone(), batch.refused.clone(), Some(batch.cursor.clone()))
            .await
        {
            Ok(Delivered { accepted, duplicates }) => {
                status.delivered(Delivered { accepted, duplicates: duplicates + batch.duplicates });
                status.refused(batch.refused.iter().map(|refused| &refused.why));
                return Ok(());
            }
            Err(IntakeError::Busy { retry_after, why }) => {
                status.busy(&why);
                tokio::select! {
                    () = tokio::time::sleep(retry_after) => {}
                    () = stop.cancelled() => return Err(Over::Stopped),
                }
            }
            Err(IntakeError::Gone(why)) => {
                return Err(Over::Ended(FeedError::Ended { why, also_delete: crate::AlsoDelete::Nothing }));
            }
            Err(IntakeError::Failed(why)) => return Err(Over::Failed(FeedError::Unavailable(why))),
        }
    }
}

fn failed(error: IntakeError) -> FeedError {
    FeedError::Unavailable(error.to_string())
}
