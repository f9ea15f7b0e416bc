//! The catalogue of feeds. Adding one is a file here and a word in the list below.

use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::Value;
use triggerfish_model::{FeedId, Json, JsonObject, QualifiedName, Timestamp};

use crate::hook::erased::{DynHook, Shared};
use crate::hook::keeper::Kept;
use crate::hook::{HookKeeper, HookPath, HookProvider};
use crate::provider::{
    FeedBatch, FeedConnection, FeedContext, FeedError, FeedEvent, FeedProvider, ParamError, Refused,
};

/// Declares the feeds: a module each, whose `feed()` gives its [`Feed`].
macro_rules! catalogue {
    ($($module:ident),* $(,)?) => {
        $(mod $module;)*

        static FEEDS: LazyLock<Vec<Feed>> = LazyLock::new(|| vec![$($module::feed()),*]);
    };
}

catalogue!(alarm, amqp, changes, github, interval, kafka, mqtt, once, rss, webhook);

/// One feed of the catalogue.
pub struct Feed {
    /// The package of its action in `/whisk.system`.
    pub package: &'static str,
    /// The name of its action.
    pub name: &'static str,
    /// What it is, in one line.
    pub description: String,
    /// The JSON schema of its parameters.
    pub schema: Json,
    /// A working example of its parameters.
    pub example: JsonObject,
    /// What runs it.
    pub(crate) engine: Engine,
}

/// The shapes of providers, without their types.
#[derive(Clone)]
pub(crate) enum Engine {
    /// Connects to a remote side and reads.
    Read(Arc<dyn DynProvider>),
    /// Is called by the remote side.
    Hook(Arc<dyn DynHook>),
    /// Is called by a remote side, and keeps its hook there by connecting.
    Kept(Arc<dyn DynHook>, Arc<dyn DynProvider>),
}

impl Engine {
    /// What connects, where something does.
    pub(crate) fn reader(&self) -> Option<&Arc<dyn DynProvider>> {
        match self {
            Self::Read(provider) | Self::Kept(_, provider) => Some(provider),
            Self::Hook(_) => None,
        }
    }

    /// What is called, where something is.
    pub(crate) fn hook(&self) -> Option<&Arc<dyn DynHook>> {
        match self {
            Self::Hook(hook) | Self::Kept(hook, _) => Some(hook),
            Self::Read(_) => None,
        }
    }
}

impl Feed {
    /// A feed that reads.
    fn reading<P: FeedProvider>(provider: P, description: &str, example: Value) -> Self {
        let (package, name) = provider.action();
        Self::new::<P::Params>((package, name), description, example, Engine::Read(Arc::new(provider)))
    }

    /// A feed of webhooks.
    fn hooked<P: HookProvider>(provider: P, description: &str, example: Value) -> Self {
        let (package, name) = provider.action();
        let engine = Engine::Hook(Arc::new(Shared(Arc::new(provider))));
        Self::new::<P::Params>((package, name), description, example, engine)
    }

    /// A feed of webhooks that keeps its hook at the remote side.
    fn kept<P: HookKeeper>(provider: P, description: &str, example: Value) -> Self {
        let (package, name) = provider.action();
        let provider = Arc::new(provider);
        let engine = Engine::Kept(Arc::new(Shared(provider.clone())), Arc::new(Kept(provider)));
        Self::new::<P::Params>((package, name), description, example, engine)
    }

    fn new<P: JsonSchema>(
        (package, name): (&'static str, &'static str),
        description: &str,
        example: Value,
        engine: Engine,
    ) -> Self {
        let schema = Json::from_value(schemars::schema_for!(P).as_value());
        let example = Json::from(example).as_object().expect("an example is an object");
        Self { package, name, description: description.to_owned(), schema, example, engine }
    }

    /// Checks parameters (without those of the feed protocol) that replace those `before`, if any; the text says which
    /// makes no sense and why.
    pub fn check(
        &self,
        params: &JsonObject,
        before: Option<&JsonObject>,
        now: Timestamp,
    ) -> Result<(), ParamError> {
        match &self.engine {
            Engine::Read(provider) => provider.check(params, before, now),
            Engine::Hook(hook) | Engine::Kept(hook, _) => hook.check(params, now),
        }
    }

    /// Where its requests arrive, where it is a webhook.
    pub fn hook_path(&self) -> Option<HookPath> {
        self.engine.hook().map(|hook| hook.path())
    }

    /// Whether it signs with a secret that the hub makes where the user gives none.
    pub fn makes_secret(&self) -> bool {
        self.engine.hook().is_some_and(|hook| hook.makes_secret())
    }

    /// The names of its parameters.
    pub fn parameters(&self) -> Vec<String> {
        let schema = self.schema.to_value();
        let properties = schema.get("properties").and_then(Value::as_object);
        properties.map(|properties| properties.keys().cloned().collect()).unwrap_or_default()
    }
}

/// All feeds.
pub fn actions() -> &'static [Feed] {
    &FEEDS
}

/// The feed whose action this is.
pub fn feed(action: &QualifiedName) -> Option<&'static Feed> {
    let package = action.package.as_ref()?;
    let ours = action.namespace == triggerfish_model::Namespace::system();
    FEEDS.iter().find(|feed| ours && feed.package == package.as_str() && feed.name == action.name.as_str())
}

/// A batch without its cursor's type.
#[derive(Clone, Debug)]
pub(crate) struct DynBatch {
    pub(crate) events: Vec<FeedEvent>,
    pub(crate) cursor: Json,
    pub(crate) refused: Vec<Refused>,
    pub(crate) duplicates: u64,
}

/// A [`FeedProvider`] over JSON.
#[async_trait]
pub(crate) trait DynProvider: Send + Sync {
    fn check(
        &self,
        params: &JsonObject,
        before: Option<&JsonObject>,
        now: Timestamp,
    ) -> Result<(), ParamError>;

    async fn connect(
        &self,
        params: &JsonObject,
        cursor: Option<Json>,
        context: &FeedContext,
    ) -> Result<Box<dyn DynConnection>, FeedError>;

    fn keeps(&self, _params: &JsonObject, _feed: FeedId) -> Option<String> {
        None
    }

    async fn subscribe(&self, _params: &JsonObject, _context: &FeedContext) -> Result<(), FeedError> {
        Ok(())
    }

    async fn forget(&self, _params: &JsonObject, _context: &FeedContext) -> Result<(), FeedError> {
        Ok(())
    }
}

/// A [`FeedConnection`] over JSON.
#[async_trait]
pub(crate) trait DynConnection: Send {
    async fn next(&mut self) -> Result<DynBatch, FeedError>;
    async fn ack(&mut self, cursor: &Json) -> Result<(), FeedError>;
    async fn tend(&mut self) -> FeedError {
        std::future::pending().await
    }
    fn lag(&self) -> Option<u64>;
    async fn close(&mut self);
}

/// Reads parameters; the error names the one that is wrong.
pub(crate) fn read<T: DeserializeOwned>(params: &JsonObject) -> Result<T, ParamError> {
    let mut reader = serde_json::Deserializer::from_str(params.as_str());
    serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        // The place in a compact text that nobody sees helps nobody; the parameter's name does.
        let text = error.into_inner().to_string();
        let text = text.split(" at line ").next().unwrap_or(&text);
        // A parameter that is missing, or not known, is named by the text itself.
        ParamError(if path == "." || text.contains(&format!("`{path}`")) {
            text.to_owned()
        } else {
            format!("the parameter `{path}`: {text}")
        })
    })
}

#[async_trait]
impl<P: FeedProvider> DynProvider for P {
    fn check(
        &self,
        params: &JsonObject,
        before: Option<&JsonObject>,
        now: Timestamp,
    ) -> Result<(), ParamError> {
        // What was stored by an older hub and cannot be read any more sets no example.
        let before = before.and_then(|before| read(before).ok());
        FeedProvider::check(self, &read(params)?, before.as_ref(), now)
    }

    async fn connect(
        &self,
        params: &JsonObject,
        cursor: Option<Json>,
        context: &FeedContext,
    ) -> Result<Box<dyn DynConnection>, FeedError> {
        let params = read(params).map_err(|error| FeedError::Invalid(error.0))?;
        let cursor = cursor
            .map(|cursor| cursor.read::<P::Cursor>())
            .transpose()
            .map_err(|error| FeedError::Invalid(format!("the stored cursor cannot be read: {error}")))?;
        let connection = FeedProvider::connect(self, &params, cursor, context).await?;
        Ok(Box::new(Erased { connection, given: std::collections::VecDeque::new() }))
    }

    fn keeps(&self, params: &JsonObject, feed: FeedId) -> Option<String> {
        FeedProvider::keeps(self, &read(params).ok()?, feed)
    }

    async fn subscribe(&self, params: &JsonObject, context: &FeedContext) -> Result<(), FeedError> {
        let params = read(params).map_err(|error| FeedError::Invalid(error.0))?;
        FeedProvider::subscribe(self, &params, context).await
    }

    async fn forget(&self, params: &JsonObject, context: &FeedContext) -> Result<(), FeedError> {
        let params = read(params).map_err(|error| FeedError::Invalid(error.0))?;
        FeedProvider::forget(self, &params, context).await
    }
}

/// A connection, with the cursors of the batches that it gave and that are not acknowledged yet.
struct Erased<C: FeedConnection> {
    connection: C,
    given: std::collections::VecDeque<(Json, C::Cursor)>,
}

#[async_trait]
impl<C> DynConnection for Erased<C>
where
    C: FeedConnection,
    C::Cursor: serde::Serialize + Send + Sync,
{
    async fn next(&mut self) -> Result<DynBatch, FeedError> {
        let FeedBatch { events, cursor: typed, refused, duplicates } = self.connection.next().await?;
        let cursor = Json::of(&typed)
            .ok_or_else(|| FeedError::Invalid("the feed's cursor cannot be written as JSON".into()))?;
        self.given.push_back((cursor.clone(), typed));
        Ok(DynBatch { events, cursor, refused, duplicates })
    }

    async fn ack(&mut self, cursor: &Json) -> Result<(), FeedError> {
        while let Some((text, typed)) = self.given.pop_front() {
            if text == *cursor {
                return self.connection.ack(&typed).await;
            }
        }
        Err(FeedError::Invalid("a cursor was acknowledged that was not given".into()))
    }

    async fn tend(&mut self) -> FeedError {
        self.connection.tend().await
    }

    fn lag(&self) -> Option<u64> {
        self.connection.lag()
    }

    async fn close(&mut self) {
        self.connection.close().await;
    }
}
