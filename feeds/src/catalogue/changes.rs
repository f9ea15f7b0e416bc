//! `cloudant/changes`: fires on each change of a database that speaks CouchDB's protocol (contract §3.5).
//!
//! ```yaml
//! feed: /whisk.system/cloudant/changes
//! inputs: { host: db.example, dbname: orders, username: ann, password: "...", include_docs: true }
//! ```
//!
//! The database's sequence is written with each batch, so that a restart neither skips nor repeats. A database that was
//! deleted is asked for again until it is back; made anew, it is read from its beginning.

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use triggerfish_model::Timestamp;

use crate::couch::{Connection, Cursor, Given, Settings};
use crate::provider::{FeedContext, FeedError, FeedProvider, ParamError};

use super::Feed;

/// The parameters of `cloudant/changes`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Params {
    /// The server: a name or an address.
    host: Option<String>,
    /// The database.
    dbname: Option<String>,
    /// `https` or `http` [default: https].
    protocol: Option<String>,
    /// The server's port [default: the protocol's].
    port: Option<Value>,
    /// Who reads, with a `password`.
    username: Option<String>,
    /// The user's password.
    password: Option<String>,
    /// Not supported: `username` and `password` are.
    #[serde(rename = "iamApiKey")]
    iam_api_key: Option<String>,
    /// Goes with `iamApiKey`.
    #[serde(rename = "iamUrl")]
    iam_url: Option<String>,
    /// Where a new feed begins: `now`, `0` for all there is, or a sequence of the database [default: now].
    since: Option<Value>,
    /// Ends the feed after so many changes; -1 is unlimited.
    #[serde(rename = "maxTriggers")]
    max_triggers: Option<i64>,
    /// A filter function of the database: `design-document/function`.
    filter: Option<String>,
    /// What the filter function is given.
    query_params: Option<Map<String, Value>>,
    /// Whether each change carries its document, as `doc` [default: false].
    #[serde(default)]
    include_docs: bool,
}

struct Changes;

pub(super) fn feed() -> Feed {
    let example =
        json!({"host": "db.example", "dbname": "orders", "username": "ann", "password": "...", "include_docs": true});
    Feed::reading(Changes, "Fires on each change of a CouchDB database", example)
}

impl Params {
    fn settings(&self) -> Result<Settings, String> {
        Settings::read(&Given {
            host: self.host.as_deref(),
            dbname: self.dbname.as_deref(),
            protocol: self.protocol.as_deref(),
            port: self.port.as_ref(),
            username: self.username.as_deref(),
            password: self.password.as_deref(),
            has_iam: self.iam_api_key.is_some() || self.iam_url.is_some(),
            since: self.since.as_ref(),
            max_triggers: self.max_triggers,
            filter: self.filter.as_deref(),
            query_params: self.query_params.as_ref(),
            include_docs: self.include_docs,
        })
    }
}

#[async_trait]
impl FeedProvider for Changes {
    type Params = Params;
    type Cursor = Cursor;
    type Connection = Connection;

    fn action(&self) -> (&'static str, &'static str) {
        ("cloudant", "changes")
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
