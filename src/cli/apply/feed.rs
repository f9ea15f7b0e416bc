//! The feed protocol as clients drive it (contract §3.1): a trigger is annotated with its feed, and the feed's action is
//! told of it.

use hmac::{Hmac, Mac};
use serde_json::{Map, Value, json};
use sha2::Sha256;
use triggerfish_model::QualifiedName;

use super::compare::{feed_differs, pairs_of};
use super::wanted::{Wanted, WantedFeed};
use crate::cli::api::{Api, CallError, Path};

/// The annotation that holds a keyed digest of the feed's parameters as they were applied: secret ones cannot be read
/// back, and this tells whether they changed. Its key is the caller's, so nobody else learns anything from it.
const DIGEST: &str = "feedDigest";
/// The annotation that names the feed (contract §3.1).
const FEED: &str = "feed";

/// What becomes of a trigger's feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum FeedStep {
    Nothing,
    /// It is made, or made anew with other parameters: a hub keeps its place in the stream then.
    Create,
    /// Its parameters change.
    Update,
    /// The trigger had another feed, which ends; the new one, if there is one, is made.
    Replace(QualifiedName),
}

/// Annotates `wanted` with the digest of its feed's parameters.
pub(super) fn annotate(wanted: &mut Wanted, key: &str) {
    let Some(feed) = &wanted.feed else { return };
    let digest = digest(&feed.params, key);
    if let Some(Value::Array(annotations)) = wanted.document.get_mut("annotations") {
        annotations.push(json!({ "key": DIGEST, "value": digest }));
    }
}

fn digest(params: &Map<String, Value>, key: &str) -> String {
    let sorted: std::collections::BTreeMap<_, _> = params.iter().collect();
    let text = serde_json::to_string(&sorted).expect("JSON values with text keys can be written");
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).expect("HMAC takes keys of any length");
    mac.update(text.as_bytes());
    hex::encode(mac.finalize().into_bytes())
}

/// Decides what becomes of the feed of `wanted`, whose trigger is `stored`.
pub(super) async fn step(api: &Api, wanted: &Wanted, stored: Option<&Value>) -> Result<FeedStep, CallError> {
    let annotations = pairs_of(stored.and_then(|stored| stored.get("annotations")));
    let old = annotations.get(FEED).and_then(Value::as_str);
    let old = old.and_then(|old| QualifiedName::parse(old, &wanted.id.namespace).ok());
    let Some(feed) = &wanted.feed else { return Ok(old.map_or(FeedStep::Nothing, FeedStep::Replace)) };
    match old {
        None => return Ok(FeedStep::Create),
        Some(old) if old != feed.action => return Ok(FeedStep::Replace(old)),
        Some(_) => {}
    }
    let told = match call(api, &feed.action, &wanted.id, "READ", &Map::new()).await {
        Ok(told) => told,
        // A feed that does not know the trigger: it was never made, or has been deleted.
        Err(CallError::Refused { status, .. }) if status.as_u16() == 502 => return Ok(FeedStep::Create),
        Err(error) => return Err(error),
    };
    let Some(config) = told.pointer("/response/result/config") else { return Ok(FeedStep::Create) };
    let wanted_digest = pairs_of(wanted.document.get("annotations"));
    let same_digest = wanted_digest.get(DIGEST) == annotations.get(DIGEST);
    Ok(if !feed_differs(&feed.params, config, same_digest) {
        FeedStep::Nothing
    } else if drops(feed, config) {
        FeedStep::Create
    } else {
        FeedStep::Update
    })
}

/// Whether the feed has parameters that are not wanted any more: UPDATE merges, so it could not take them out.
fn drops(feed: &WantedFeed, config: &Value) -> bool {
    let keys = config.as_object().into_iter().flat_map(|config| config.keys());
    keys.filter(|key| *key != "name" && *key != "namespace").any(|key| !feed.params.contains_key(key))
}

/// Calls a feed's action.
pub(super) async fn call(
    api: &Api,
    action: &QualifiedName,
    trigger: &QualifiedName,
    event: &str,
    params: &Map<String, Value>,
) -> Result<Value, CallError> {
    let mut body = params.clone();
    body.insert("lifecycleEvent".to_owned(), json!(event));
    body.insert("triggerName".to_owned(), json!(format!("/{trigger}")));
    body.insert("authKey".to_owned(), json!(api.key()));
    let query = [("blocking", "true".to_owned()), ("result", "false".to_owned())];
    let package = action.package.as_ref().map(|package| package.as_str());
    let parts: Vec<&str> = std::iter::once("actions").chain(package).chain([action.name.as_str()]).collect();
    let path = Path { namespace: Some(action.namespace.as_str()), parts: &parts, query: &query };
    api.post(path, &Value::Object(body)).await
}
