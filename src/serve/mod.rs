//! `triggerfish serve`: the hub as a process. Starts everything in order, answers HTTP, and stops in order.

mod http;
mod logging;
mod signals;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::Args;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::hub::Hub;

/// Runs the hub.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  triggerfish serve --dev\n  triggerfish serve --config /etc/triggerfish.toml --data-dir /var/lib/triggerfish\n\n\
    Settings come from triggerfish.toml, then TRIGGERFISH_* variables (TRIGGERFISH_EVENTS__KEEP_HOURS=48), then flags."
)]
pub struct Serve {
    /// For development: the namespace `guest` with the publicly known key; only on a loopback address
    #[arg(long)]
    dev: bool,
    /// Address and port of the API [default: 127.0.0.1:3233]
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// Where all that survives a restart lies [default: ./triggerfish-data]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The configuration file [default: ./triggerfish.toml, if there is one]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Serve {
    /// Runs until a signal ends it.
    pub fn run(self) -> anyhow::Result<()> {
        let mut config = Config::load(self.config.as_deref(), std::env::vars())?;
        if let Some(listen) = self.listen {
            config.listen = listen;
        }
        if let Some(data_dir) = self.data_dir {
            config.data_dir = data_dir;
        }
        let address: SocketAddr = config.listen.parse().with_context(|| {
            format!("`{}` is no address and port; expected something like 127.0.0.1:3233", config.listen)
        })?;
        if self.dev && !address.ip().is_loopback() {
            bail!("--dev has a publicly known key and is refused on {address}: it is no loopback address");
        }
        if !self.dev && !config.namespaces.is_empty() {
            bail!("`namespaces` in the configuration is for development and needs --dev");
        }
        logging::start(&config.log)?;
        let runtime =
            tokio::runtime::Builder::new_multi_thread().enable_all().build().context("the async runtime")?;
        let result = runtime.block_on(serve(config, address, self.dev));
        runtime.shutdown_timeout(std::time::Duration::from_secs(1));
        result
    }
}

async fn serve(config: Config, address: SocketAddr, dev: bool) -> anyhow::Result<()> {
    let listener = TcpListener::bind(address).await.with_context(|| {
        format!("cannot listen on {address}: is another hub running there? `--listen` takes another address")
    })?;
    let address = listener.local_addr().context("the listening address")?;
    let stopping = CancellationToken::new();
    let hub = Hub::open(&config, address, dev).await?;
    // The readers of this line (people and scripts) wait for it: everything answers from here on.
    tracing::info!(%address, data_dir = %config.data_dir.display(), "the hub is ready");
    let server = tokio::spawn(http::serve(listener, crate::api::router(hub.clone()), stopping.clone()));
    signals::asked_to_stop().await?;
    tracing::info!("stopping: no new work is taken; running work has {} s", config.shutdown_seconds);
    hub.stop_intake().await;
    stopping.cancel();
    hub.stop(config.shutdown_deadline()).await;
    if tokio::time::timeout(std::time::Duration::from_secs(2), server).await.is_err() {
        tracing::warn!("connections were cut: they did not end in time");
    }
    let hub = Arc::into_inner(hub);
    // Closing the store flushes and joins threads: it blocks.
    tokio::task::spawn_blocking(move || drop(hub)).await.context("closing the store")?;
    tracing::info!("stopped");
    Ok(())
}
