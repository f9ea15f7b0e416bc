//! What the hub does on its own from time to time, and the gauges that are read when somebody asks.

use std::sync::Arc;
use std::time::Duration;

use super::Hub;
use super::metrics::{OfContainers, OfFeeds};

/// How often old events, keys and records are dropped.
const TRUNCATE_EVERY: Duration = Duration::from_secs(60);

impl Hub {
    pub(super) fn start_upkeep(self: &Arc<Self>) {
        self.every(TRUNCATE_EVERY, |hub| async move {
            match hub.log.truncate(hub.clock.now()).await {
                Ok(0) => {}
                Ok(rows) => tracing::debug!(rows, "old rows were dropped"),
                Err(error) => tracing::warn!(%error, "old rows cannot be dropped; trying again in a minute"),
            }
        });
    }

    /// Runs `work` every `period` until the hub stops. The task holds no strong reference between runs.
    fn every<F>(self: &Arc<Self>, period: Duration, work: impl Fn(Arc<Self>) -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send,
    {
        let (hub, stopping) = (Arc::downgrade(self), self.stopping.clone());
        self.upkeep.spawn(async move {
            loop {
                tokio::select! {
                    () = tokio::time::sleep(period) => {}
                    () = stopping.cancelled() => return,
                }
                let Some(hub) = hub.upgrade() else { return };
                work(hub).await;
            }
        });
    }

    /// Brings the gauges up to date, for whoever asks for the metrics.
    pub(super) async fn read_gauges(&self) {
        let gauge = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        let (running, waiting) = self.runner.load();
        self.metrics.running.set(gauge(running as u64));
        self.metrics.waiting.set(gauge(waiting as u64));
        match self.log.status().await {
            Ok(status) => {
                self.metrics.pending.set(gauge(status.pending));
                self.metrics.disk_free.set(gauge(status.disk_free_bytes));
                self.metrics.syncs.inner().store(status.syncs, std::sync::atomic::Ordering::Relaxed);
                self.metrics.commits.inner().store(status.commits, std::sync::atomic::Ordering::Relaxed);
            }
            Err(error) => tracing::warn!(%error, "the log's status cannot be read"),
        }
        let census = self.invoker.census();
        let states = [
            ("starting", census.starting),
            ("prewarmed", census.prewarmed),
            ("running", census.running),
            ("ready", census.ready),
            ("paused", census.paused),
            ("removing", census.removing),
        ];
        for (state, count) in states {
            self.metrics.containers.get_or_create(&OfContainers { state }).set(gauge(count as u64));
        }
        self.metrics.feeds.clear();
        for (_, status) in self.feeds.statuses() {
            let state = serde_json::to_value(status.state).unwrap_or_default();
            let state = state.as_str().unwrap_or_default().to_owned();
            self.metrics.feeds.get_or_create(&OfFeeds { state }).inc();
        }
    }
}
