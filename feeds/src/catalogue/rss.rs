//! `rss/feed`: fires on each new entry of an RSS, Atom or JSON feed (contract §3.6).
//!
//! ```yaml
//! feed: /whisk.system/rss/feed
//! inputs: { url: "https://blog.example/feed.xml", pollingInterval: 15m, filter: "rust, wasm" }
//! ```
//!
//! An entry is told by its id, or else by what it says. The first poll fires nothing, or the latest `first` entries. A server
//! is asked no more often than the document's `ttl` and its own `Retry-After` allow, with its validators, so that an unchanged
//! document costs it an empty answer. Addresses that are not public are refused unless `feeds.private_allowed` has them.

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;
use triggerfish_model::Timestamp;

use crate::provider::{FeedContext, FeedError, FeedProvider, ParamError};
use crate::rss::{Connection, Cursor, Given, Settings};

use super::Feed;

/// The parameters of `rss/feed`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Params {
    /// The document: `http://` or `https://`, with `user:password@` where the server asks for it.
    url: Option<String>,
    /// How often it is asked for: `5s`, `1m`, `2.5hrs`, `2 days`; at least a second [default: 15m].
    #[serde(rename = "pollingInterval")]
    polling_interval: Option<String>,
    /// Keywords with commas between them: an entry fires where at least 60 % of them occur in its title or description.
    filter: Option<String>,
    /// How many of the latest entries the first poll fires [default: 0].
    first: Option<u64>,
    /// Whether an entry that changed fires again, with `edited: true` [default: false].
    #[serde(default)]
    edits: bool,
}

struct Rss;

pub(super) fn feed() -> Feed {
    let example = json!({"url": "https://blog.example/feed.xml", "pollingInterval": "15m", "filter": "rust, wasm"});
    Feed::reading(Rss, "Fires on each new entry of an RSS, Atom or JSON feed", example)
}

impl Params {
    fn settings(&self) -> Result<Settings, String> {
        Settings::read(&Given {
            url: self.url.as_deref(),
            polling_interval: self.polling_interval.as_deref(),
            filter: self.filter.as_deref(),
            first: self.first,
            edits: self.edits,
        })
    }
}

#[async_trait]
impl FeedProvider for Rss {
    type Params = Params;
    type Cursor = Cursor;
    type Connection = Connection;

    fn action(&self) -> (&'static str, &'static str) {
        ("rss", "feed")
    }

    fn check(&self, params: &Params, _before: Option<&Params>, _now: Timestamp) -> Result<(), ParamError> {
        params.settings().map(drop).map_err(ParamError)
    }

    async fn connect(
        &self,
        params: &Params,
        cursor: Option<Cursor>,
        context: &FeedContext,
    ) -> Result<Connection, FeedError> {
        let settings = params.settings().map_err(FeedError::Invalid)?;
        Connection::open(settings, cursor, context).await
    }
}
