//! The hub: intake, dispatch, feeds and stores wired together. It drives; what decides lies in the crates below it.
//!
//! [`Hub::open`] brings up everything in order: stores, containers, what a crash left pending, feeds. [`Hub::stop`] takes
//! it down in the reverse order. A crash at any point in between loses nothing that was acknowledged.

mod attempts;
mod backend;
mod catalog;
mod direct;
mod execute;
mod feeds;
mod intake;
mod metrics;
mod offers;
mod packages;
mod prepare;
mod queue;
mod record;
mod replay;
mod runner;
mod sequence;
mod setup;
mod upkeep;
mod waiters;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use triggerfish_feeds::Supervisor;
use triggerfish_invoker::Invoker;
use triggerfish_model::{Clock, IdGen, RandomIds, SystemClock};
use triggerfish_store::{ActivationStore, DeadLetterStore, EntityStore, EventLog, FeedStore, SubjectStore};

use crate::config::Config;

use catalog::Catalog;
use intake::Intake;
use metrics::Metrics;
use runner::{Parts, Runner};

/// A running hub.
pub struct Hub {
    clock: Arc<dyn Clock>,
    ids: Arc<dyn IdGen>,
    log: Arc<dyn EventLog>,
    entities: Arc<dyn EntityStore>,
    activations: Arc<dyn ActivationStore>,
    dead_letters: Arc<dyn DeadLetterStore>,
    subjects: Arc<dyn SubjectStore>,
    feed_store: Arc<dyn FeedStore>,
    intake: Arc<Intake>,
    runner: Arc<Runner>,
    invoker: Arc<Invoker>,
    feeds: Supervisor,
    metrics: Arc<Metrics>,
    disk_reserve_bytes: u64,
    upkeep: TaskTracker,
    stopping: CancellationToken,
}

impl Hub {
    /// Opens the stores, sweeps what a dead hub left, goes on with what is pending, and starts the feeds.
    pub async fn open(config: &Config, address: SocketAddr, dev: bool) -> anyhow::Result<Arc<Self>> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let ids: Arc<dyn IdGen> = Arc::new(RandomIds);
        let store = setup::open_store(config).await?;
        let invoker = setup::open_invoker(config, address, clock.clone()).await?;
        let metrics = Arc::new(Metrics::new());
        let entities: Arc<dyn EntityStore> = store.clone();
        let runner = Runner::new(Parts {
            log: store.clone(),
            activations: store.clone(),
            entities: entities.clone(),
            subjects: store.clone(),
            invoker: invoker.clone(),
            clock: clock.clone(),
            metrics: metrics.clone(),
        });
        let intake = Arc::new(Intake {
            log: store.clone(),
            catalog: Arc::new(Catalog::new(entities.clone())),
            runner: runner.clone(),
            clock: clock.clone(),
            ids: ids.clone(),
            metrics: metrics.clone(),
        });
        packages::seed(&*entities, clock.now()).await.context("the hub's own packages")?;
        setup::subjects(&*store, config, dev).await?;
        let hub = Arc::new_cyclic(|hub| Self {
            feeds: setup::supervisor(config, address, intake.clone(), hub.clone(), clock.clone()),
            clock,
            ids,
            log: store.clone(),
            entities,
            activations: store.clone(),
            dead_letters: store.clone(),
            subjects: store.clone(),
            feed_store: store,
            intake,
            runner,
            invoker,
            metrics,
            disk_reserve_bytes: config.events.disk_reserve_mb << 20,
            upkeep: TaskTracker::new(),
            stopping: CancellationToken::new(),
        });
        let pending = hub.runner.recover().await.context("the pending invocations of the hub before")?;
        if pending > 0 {
            tracing::info!(pending, "going on with what was accepted before the restart");
        }
        hub.start_feeds().await.context("the feeds of the hub before")?;
        hub.start_upkeep();
        Ok(hub)
    }

    /// Stops taking events from feeds. What the API sends is still answered.
    pub async fn stop_intake(&self) {
        /// How long feeds may take to say goodbye to their brokers.
        const FEEDS: Duration = Duration::from_secs(5);
        self.stopping.cancel();
        self.feeds.shutdown(FEEDS).await;
    }

    /// Lets running work end until `deadline` has passed, and ends all containers. What does not end is pending on disk.
    pub async fn stop(&self, deadline: Duration) {
        self.runner.stop(deadline).await;
        self.invoker.shutdown(Duration::from_secs(5)).await;
        self.upkeep.close();
        self.upkeep.wait().await;
    }
}
