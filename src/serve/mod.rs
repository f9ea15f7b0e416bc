//! `triggerfish serve`: the hub as a process. Starts everything in order, answers HTTP, and stops in order.

mod connections;
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
    /// The configuration: the file's settings, then the variables', then the flags'.
    fn settings(&self, env: impl Iterator<Item = (String, String)>) -> anyhow::Result<Config> {
        let mut config = Config::load(self.config.as_deref(), env)?;
        if let Some(listen) = &self.listen {
            config.listen.clone_from(listen);
        }
        if let Some(data_dir) = &self.data_dir {
            config.data_dir.clone_from(data_dir);
        }
        Ok(config)
    }

    /// Runs until a signal ends it.
    pub fn run(self) -> anyhow::Result<()> {
        let config = self.settings(std::env::vars())?;
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
    let (stopping, stopped) = (CancellationToken::new(), CancellationToken::new());
    let hub = Hub::open(&config, address, dev).await?;
    // The readers of this line (people and scripts) wait for it: everything answers from here on.
    tracing::info!(%address, data_dir = %config.data_dir.display(), "the hub is ready");
    let router = crate::api::router(hub.clone());
    let server = tokio::spawn(http::serve(listener, router, stopping.clone(), stopped.clone()));
    signals::asked_to_stop().await?;
    tracing::info!("stopping: no new work is taken; running work has {} s", config.shutdown_seconds);
    hub.stop_intake().await;
    stopping.cancel();
    hub.stop(config.shutdown_deadline()).await;
    stopped.cancel();
    if tokio::time::timeout(std::time::Duration::from_secs(2), server).await.is_err() {
        tracing::warn!("connections were cut: they did not end in time");
    }
    let hub = Arc::into_inner(hub);
    // Closing the store flushes and joins threads: it blocks.
    tokio::task::spawn_blocking(move || drop(hub)).await.context("closing the store")?;
    tracing::info!("stopped");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_win_over_variables_and_variables_over_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("triggerfish.toml");
        let text = "listen = \"127.0.0.1:1\"\ndata_dir = \"of-the-file\"\nshutdown_seconds = 1\n";
        std::fs::write(&file, text).unwrap();
        let variables = [("LISTEN", "127.0.0.1:2"), ("DATA_DIR", "of-a-variable")];
        let settings = |listen: Option<&str>, variables: &[(&str, &str)]| {
            let serve = Serve {
                dev: true,
                listen: listen.map(Into::into),
                data_dir: None,
                config: Some(file.clone()),
            };
            let env = variables.iter().map(|(name, value)| (format!("TRIGGERFISH_{name}"), (*value).into()));
            let config = serve.settings(env).unwrap();
            (config.listen, config.data_dir.display().to_string(), config.shutdown_seconds)
        };
        assert_eq!(settings(None, &[]), ("127.0.0.1:1".into(), "of-the-file".into(), 1));
        assert_eq!(settings(None, &variables), ("127.0.0.1:2".into(), "of-a-variable".into(), 1));
        let flag = Some("127.0.0.1:3");
        assert_eq!(settings(flag, &variables), ("127.0.0.1:3".into(), "of-a-variable".into(), 1));
        assert_eq!(settings(flag, &[]), ("127.0.0.1:3".into(), "of-the-file".into(), 1));
    }
}
