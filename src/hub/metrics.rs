//! What the hub counts, in Prometheus' text form at `/metrics`.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use triggerfish_feeds::hook::HookReason;
use triggerfish_model::Activation;

/// Labels of an activation.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfActivation {
    status: &'static str,
}

/// All counters, gauges and histograms of a hub.
pub(super) struct Metrics {
    registry: Registry,
    accepted: Counter,
    duplicates: Counter,
    matched: Counter,
    failed: Counter,
    activations: Family<OfActivation, Counter>,
    run_seconds: Histogram,
    hooks_refused: Family<OfRefusal, Counter>,
    pub(super) pending: Gauge<i64>,
    pub(super) running: Gauge<i64>,
    pub(super) waiting: Gauge<i64>,
    pub(super) syncs: Counter<u64, AtomicU64>,
    pub(super) commits: Counter<u64, AtomicU64>,
    pub(super) disk_free: Gauge<i64>,
    pub(super) containers: Family<OfContainers, Gauge<i64>>,
    pub(super) feeds: Family<OfFeeds, Gauge<i64>>,
}

/// Labels of a webhook's refused request.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfRefusal {
    /// The feed, `github/webhook`; empty where there is none.
    feed: String,
    reason: &'static str,
}

/// Labels of the containers' gauge.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OfContainers {
    pub(super) state: &'static str,
}

/// Labels of the feeds' gauge.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OfFeeds {
    pub(super) state: String,
}

impl Metrics {
    pub(super) fn new() -> Self {
        let mut registry = Registry::with_prefix("triggerfish");
        macro_rules! metric {
            ($name:literal, $help:literal) => {
                metric!($name, $help, Default::default())
            };
            ($name:literal, $help:literal, $value:expr) => {{
                let metric = $value;
                registry.register($name, $help, Clone::clone(&metric));
                metric
            }};
        }
        Self {
            accepted: metric!("events_accepted", "Events accepted and made durable", Counter::default()),
            duplicates: metric!(
                "events_duplicate",
                "Redelivered events recognised and dropped",
                Counter::default()
            ),
            matched: metric!("rules_matched", "Rules that matched an event", Counter::default()),
            failed: metric!("rules_failed", "Rules whose condition failed on an event", Counter::default()),
            activations: metric!("activations", "Activation records written, by status", Family::default()),
            run_seconds: metric!(
                "run_seconds",
                "Initialisation and run time of activations",
                Histogram::new(exponential_buckets(0.001, 2.0, 18))
            ),
            hooks_refused: metric!(
                "hooks_refused",
                "Requests to webhooks that were refused, by feed and reason",
                Family::default()
            ),
            pending: metric!(
                "invocations_pending",
                "Invocations accepted and not completed",
                Gauge::default()
            ),
            running: metric!("invocations_running", "Invocations handed to the invoker", Gauge::default()),
            waiting: metric!("invocations_waiting", "Invocations waiting in memory", Gauge::default()),
            syncs: metric!("log_syncs", "Syncs of the event log to disk", Counter::default()),
            commits: metric!(
                "log_commits",
                "Writes that the syncs of the event log carried",
                Counter::default()
            ),
            disk_free: metric!(
                "disk_free_bytes",
                "Free space of the data directory's file system",
                Gauge::default()
            ),
            containers: metric!("containers", "Containers by state", Family::default()),
            feeds: metric!("feeds", "Feeds by state", Family::default()),
            registry,
        }
    }

    pub(super) fn taken(&self, accepted: u64, duplicates: u64) {
        self.accepted.inc_by(accepted);
        self.duplicates.inc_by(duplicates);
    }

    pub(super) fn hook_refused(&self, feed: &str, reason: HookReason) {
        self.hooks_refused.get_or_create(&OfRefusal { feed: feed.to_owned(), reason: reason.label() }).inc();
    }

    pub(super) fn decided(&self, matched: usize, failed: usize) {
        self.matched.inc_by(matched as u64);
        self.failed.inc_by(failed as u64);
    }

    pub(super) fn recorded(&self, record: &Activation) {
        self.activations.get_or_create(&OfActivation { status: record.response.status.label() }).inc();
        if let Some(duration) = record.duration_ms {
            #[expect(clippy::cast_precision_loss, reason = "milliseconds of a run are far below 2^52")]
            self.run_seconds.observe(duration as f64 / 1000.0);
        }
    }

    /// The text of all of them (OpenMetrics, which Prometheus reads).
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("a String takes any text");
        text
    }
}
