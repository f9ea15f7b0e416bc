//! How the hub's parts are made from its configuration.

use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use anyhow::{Context, bail};
use rand::Rng;
use rand::distr::Alphanumeric;
use triggerfish_feeds::{PrivateAllowed, Supervisor, Web};
use triggerfish_invoker::{ContainerFactory, Invoker, OciFactory};
use triggerfish_model::{Clock, Namespace, Subject};
use triggerfish_store::embedded::{self, Embedded};
use triggerfish_store::{Identity, SubjectStore};

use crate::config::{Config, NamespaceKey};

use super::Hub;
use super::feeds::Deliveries;
use super::intake::Intake;

/// The namespace of a hub that was started without `--dev`.
const FIRST_NAMESPACE: &str = "main";
/// The namespace and publicly known key of OpenWhisk's standalone mode (design.md, "What is pinned").
const DEV_NAMESPACE: &str = "guest";
const DEV_KEY: &str =
    "23bc46b1-71f6-4ed5-8c54-816aa4f8c502:123zO3xZCLrMN6v2BKK1dXYFpXlPkccOFqm12CdAsMgRU4VrNZ9lyGVCGuMDGIwP";
/// Characters of a key (contract §1.1).
const KEY_CHARS: usize = 64;
/// The longest result of an action (contract §4.2).
const RESULT_BYTES_MAX: usize = 1 << 20;

/// Opens the stores in the data directory.
pub(super) async fn open_store(config: &Config) -> anyhow::Result<Arc<Embedded>> {
    let hours = |hours: u64| Duration::from_secs(hours.saturating_mul(3600));
    let options = embedded::Options {
        events_age: hours(config.events.keep_hours),
        events_bytes_max: config.events.keep_bytes,
        keys_age: hours(config.events.keys_keep_hours),
        keys_per_feed: config.events.keys_max,
        namespace_events: config.events.namespace_pending_max,
        namespace_bytes: config.events.namespace_pending_bytes_max,
        feed_events: config.events.feed_pending_max,
        feed_bytes: config.events.feed_pending_bytes_max,
        disk_reserve_bytes: config.events.disk_reserve_mb << 20,
        records_age: hours(config.records.keep_hours),
        records_bytes_max: config.records.keep_bytes,
        dead_letters_age: hours(config.dead_letters.keep_hours),
        dead_letters_bytes_max: config.dead_letters.keep_bytes,
    };
    let dir = config.data_dir.clone();
    let store = tokio::task::spawn_blocking(move || Embedded::open(&dir, options))
        .await
        .context("opening the store")?
        .with_context(|| format!("the data directory {}", config.data_dir.display()))?;
    Ok(Arc::new(store))
}

/// Makes the invoker, and ends the containers of a hub that died on this data directory.
pub(super) async fn open_invoker(
    config: &Config,
    address: SocketAddr,
    clock: Arc<dyn Clock>,
) -> anyhow::Result<Arc<Invoker>> {
    let directory = config.data_dir.join("containers");
    let options = triggerfish_invoker::Options {
        directory: directory.clone(),
        memory_mb: config.containers.memory_mb,
        pause_after: Duration::from_secs(config.containers.pause_after_seconds),
        remove_after: Duration::from_secs(config.containers.remove_after_seconds),
        prewarm: config.containers.prewarm.iter().map(|p| (p.kind.clone(), p.memory_mb, p.count)).collect(),
        result_bytes_max: RESULT_BYTES_MAX,
        api_host: format!("http://{address}"),
    };
    let factory = OciFactory::new(directory, &options.api_host).context("the container factory")?;
    factory.check().await.context("containers cannot be made here")?;
    let swept = factory.sweep().await.context("containers of the hub before")?;
    if swept > 0 {
        tracing::info!(swept, "containers of the hub before were ended");
    }
    Ok(Invoker::new(Arc::new(factory), options, clock))
}

/// Makes the supervisor of the feeds.
pub(super) fn supervisor(
    config: &Config,
    address: SocketAddr,
    intake: Arc<Intake>,
    hub: Weak<Hub>,
    clock: Arc<dyn Clock>,
) -> Supervisor {
    // The configuration was checked when it was read.
    let allowed = PrivateAllowed::parse(&config.feeds.private_allowed).unwrap_or_default();
    let options = triggerfish_feeds::Options {
        event_bytes_max: config.events.bytes_max,
        public_url: (!config.public_url.is_empty()).then(|| config.public_url.clone()),
        listen_url: format!("http://{address}"),
        web: Web::new(allowed),
        ..triggerfish_feeds::Options::default()
    };
    Supervisor::new(Arc::new(Deliveries { intake, hub }), clock, options)
}

/// Makes the keys that this start needs: the development ones, or on a first start one that is printed once.
pub(super) async fn subjects(store: &dyn SubjectStore, config: &Config, dev: bool) -> anyhow::Result<()> {
    let known = DEV_KEY.split_once(':').unwrap_or_default();
    let has_dev_key = store.authenticate(known.0, known.1).await?.is_some();
    if dev {
        if !has_dev_key && !store.identities().await?.is_empty() {
            bail!(
                "this data directory was made without --dev, which would open it to whoever knows the public key: start \
                 without --dev, or with another --data-dir"
            );
        }
        put(store, &NamespaceKey { name: DEV_NAMESPACE.into(), key: DEV_KEY.into() }).await?;
        for namespace in &config.namespaces {
            put(store, namespace).await?;
        }
        return Ok(());
    }
    if has_dev_key {
        bail!(
            "this data directory was made with --dev, so it has a publicly known key: start with --dev again, or with \
             another --data-dir"
        );
    }
    if store.identities().await?.is_empty() {
        let secret: String = rand::rng().sample_iter(Alphanumeric).take(KEY_CHARS).map(char::from).collect();
        let key = format!("{}:{secret}", uuid::Uuid::new_v4());
        put(store, &NamespaceKey { name: FIRST_NAMESPACE.into(), key: key.clone() }).await?;
        print_once(&key);
    }
    Ok(())
}

#[expect(
    clippy::print_stdout,
    reason = "the key is shown to whoever starts the hub, once, and must not be in the log"
)]
fn print_once(key: &str) {
    println!(
        "The first start made the namespace `{FIRST_NAMESPACE}`. Its key is shown this once; keep it:\n\n  {key}\n"
    );
}

async fn put(store: &dyn SubjectStore, namespace: &NamespaceKey) -> anyhow::Result<()> {
    let name: Namespace =
        namespace.name.parse().with_context(|| format!("the namespace `{}`", namespace.name))?;
    let subject: Subject = format!("{:_<5}", namespace.name).parse().context("the namespace's subject")?;
    let (uuid, key) =
        namespace.key.split_once(':').filter(|(_, key)| key.len() == KEY_CHARS).with_context(|| {
            format!("the key of namespace `{name}` is not of the form uuid:64 characters")
        })?;
    let identity = Identity { subject, namespace: name, uuid: uuid.to_owned() };
    store.put(identity, key).await.context("the namespace's key")
}
