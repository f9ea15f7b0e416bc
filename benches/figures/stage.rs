//! A hub to measure, with what it counts.

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::client::Client;
use crate::support::hub::{Hub, Start};

/// A hub on a directory of its own, which goes with it.
pub struct Stage {
    pub hub: Hub,
    runtime: tokio::runtime::Runtime,
    directory: TempDir,
}

impl Stage {
    pub fn start() -> Self {
        Self::with(&Start::default())
    }

    pub fn with(start: &Start) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let start = start.clone().env("TRIGGERFISH_LOG__FILTER", "warn,triggerfish::serve=info");
        let hub = start.start(&directory.path().join("data")).unwrap_or_else(|log| panic!("{log}"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        Self { hub, runtime, directory }
    }

    pub fn address(&self) -> String {
        self.hub.address().to_owned()
    }

    /// Where its data lies, and what else belongs to the measurement.
    pub fn directory(&self) -> &std::path::Path {
        self.directory.path()
    }

    /// Sets entities up through the API.
    pub fn set_up<T>(&self, work: impl AsyncFnOnce(&Client) -> T) -> T {
        let client = self.hub.client();
        self.runtime.block_on(work(&client))
    }

    /// A no-op action of `kind`.
    pub fn put_noop(&self, name: &str, kind: &str, memory_mb: u32) {
        let code = match kind.split(':').next() {
            Some("python") => "def main(a):\n    return {}",
            _ => "function main(a) { return {}; }",
        };
        let body = json!({"exec": {"kind": kind, "code": code}, "limits": {"memory": memory_mb}});
        self.set_up(async |client| client.put(&format!("actions/{name}"), &body).await);
    }

    /// A gauge or counter of `/metrics`, as it is written there.
    pub fn metric(&self, name: &str) -> f64 {
        let url = format!("http://{}/metrics", self.hub.address());
        let (_, text) = self.set_up(async |client| client.send("GET", &url, None).await);
        let Value::String(text) = text else { panic!("metrics are text") };
        let line =
            text.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')));
        line.and_then(|line| line.rsplit(' ').next()?.parse().ok())
            .unwrap_or_else(|| panic!("no {name} in:\n{text}"))
    }

    pub fn syncs(&self) -> f64 {
        self.metric("triggerfish_log_syncs_total")
    }
}
