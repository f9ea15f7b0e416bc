//! The feed protocol (contract §3.1): from a lifecycle call to the subscription that is wanted. Pure.

use serde_json::{Map, Value, json};
use triggerfish_model::{
    FeedId, Json, JsonObject, QualifiedName, RecordPolicy, Subject, Subscription, Timestamp,
};

use crate::catalogue::{self, Feed};

/// What a lifecycle call asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifecycle {
    /// Make the feed.
    Create,
    /// Tell how it is.
    Read,
    /// Change its parameters.
    Update,
    /// End it.
    Delete,
    /// Hold it.
    Pause,
    /// Let it go on.
    Unpause,
}

/// A call of a feed's action, read.
#[derive(Clone, Debug, PartialEq)]
pub struct LifecycleRequest {
    /// What is asked for.
    pub event: Lifecycle,
    /// The feed's action.
    pub feed: QualifiedName,
    /// The trigger.
    pub trigger: QualifiedName,
    /// The user's parameters, without those of the protocol.
    pub params: JsonObject,
    /// The `record` parameter, where it is given.
    pub record: Option<RecordPolicy>,
    /// Who calls.
    pub subject: Subject,
}

/// What follows from a call.
#[derive(Clone, Debug, PartialEq)]
pub struct LifecyclePlan {
    /// What is wanted from now on.
    pub change: Change,
    /// What the caller is answered.
    pub answer: JsonObject,
    /// The secret that this call made, told to the caller this once and kept in no record.
    pub secret: Option<String>,
}

/// What chance gives to a call that makes something.
#[derive(Clone, Debug)]
pub struct Fresh {
    /// The id of a new subscription.
    pub id: FeedId,
    /// A secret that nobody guesses, for a feed that wants one and was given none.
    pub secret: String,
}

/// A change of what is wanted.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Nothing changes.
    Nothing,
    /// This subscription, new or changed.
    Put(Box<Subscription>),
    /// No subscription of this id.
    Delete(FeedId),
}

/// A call that makes no sense; the text is the contract's where it has one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct LifecycleError(pub String);

/// Parameters of the protocol itself, and of the packages of old, that are not the user's.
const OF_PROTOCOL: [&str; 6] =
    ["lifecycleEvent", "triggerName", "authKey", "record", "apihost", "provider_endpoint"];
/// The parameter that holds a secret which the hub made. It is not the user's: nobody can give it, and it is not shown.
const GENERATED: &str = "generatedSecret";
/// The parameter in whose place it is.
const GIVEN: &str = "secret";
/// Parameters that are shown as `***`.
const SECRET: [&str; 11] = [
    "password",
    GIVEN,
    GENERATED,
    "accessToken",
    "apiKey",
    "iamApiKey",
    "authKey",
    "token",
    "verifyToken",
    "kafka_admin_url",
    "privateKey",
];

impl LifecycleRequest {
    /// Reads the parameters of a feed action's invocation. `trigger` resolves the name that they give.
    pub fn read(
        feed: QualifiedName,
        params: &JsonObject,
        trigger: impl FnOnce(&str) -> Result<QualifiedName, String>,
        subject: Subject,
    ) -> Result<Self, LifecycleError> {
        let refused = |text: String| Err(LifecycleError(text));
        let mut map = params.fields();
        let text = |key: &str| params.to_map().get(key).and_then(Value::as_str).map(str::to_owned);
        let event = match text("lifecycleEvent").as_deref().unwrap_or("CREATE") {
            "CREATE" => Lifecycle::Create,
            "READ" => Lifecycle::Read,
            "UPDATE" => Lifecycle::Update,
            "DELETE" => Lifecycle::Delete,
            "PAUSE" => Lifecycle::Pause,
            "UNPAUSE" => Lifecycle::Unpause,
            _ => return refused("unsupported lifecycleEvent".into()),
        };
        let Some(name) = text("triggerName") else {
            return refused("no trigger name parameter was provided".into());
        };
        let trigger = trigger(&name).map_err(LifecycleError)?;
        let record = match map.get("record").map(Json::to_value) {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) if text == "matched" => Some(RecordPolicy::Matched),
            Some(Value::String(text)) if text == "all" => Some(RecordPolicy::All),
            Some(other) => {
                return refused(format!(
                    "the parameter `record` is {other}; expected \"matched\" or \"all\""
                ));
            }
        };
        for key in OF_PROTOCOL {
            map.shift_remove(key);
        }
        let params = JsonObject::from_fields(map.iter().map(|(key, value)| (key.as_str(), value)));
        Ok(Self { event, feed, trigger, params, record, subject })
    }
}

/// Decides what a call changes, and what it answers.
pub fn decide(
    request: &LifecycleRequest,
    existing: Option<&Subscription>,
    fresh: &Fresh,
    now: Timestamp,
) -> Result<LifecyclePlan, LifecycleError> {
    let feed = catalogue::feed(&request.feed)
        .ok_or_else(|| LifecycleError(format!("there is no feed `{}`", request.feed)))?;
    let existing = existing.filter(|subscription| subscription.feed == request.feed);
    let known = || {
        existing.ok_or_else(|| {
            LifecycleError(format!("could not find trigger /{} in the database", request.trigger))
        })
    };
    match request.event {
        Lifecycle::Create => {
            only_known(feed, &request.params)?;
            let before = existing.map(|subscription| &subscription.params);
            let (params, secret) = with_secret(feed, request.params.clone(), before, &fresh.secret);
            check(feed, &params, None, now)?;
            let made = Subscription {
                id: existing.map_or(fresh.id, |subscription| subscription.id),
                trigger: request.trigger.clone(),
                feed: request.feed.clone(),
                params,
                subject: request.subject.clone(),
                record: request.record.unwrap_or_default(),
                paused: false,
                ended: None,
                created: existing.map_or(now, |subscription| subscription.created),
                updated: now,
            };
            Ok(LifecyclePlan { secret, ..put(made) })
        }
        Lifecycle::Read => {
            Ok(LifecyclePlan { change: Change::Nothing, answer: describe(known()?), secret: None })
        }
        Lifecycle::Update => {
            let old = known()?;
            if request.params.is_empty() && request.record.is_none() {
                return Err(LifecycleError("no updatable parameters were specified".into()));
            }
            only_known(feed, &request.params)?;
            let merged = old.params.overlaid_with(&request.params);
            let (params, _) = with_secret(feed, merged, Some(&old.params), &fresh.secret);
            check(feed, &params, Some(&old.params), now)?;
            let record = request.record.unwrap_or(old.record);
            Ok(put(Subscription { params, record, ended: None, updated: now, ..old.clone() }))
        }
        Lifecycle::Delete => {
            let change = Change::Delete(known()?.id);
            Ok(LifecyclePlan { change, answer: success(), secret: None })
        }
        Lifecycle::Pause => Ok(put(Subscription { paused: true, updated: now, ..known()?.clone() })),
        Lifecycle::Unpause => Ok(put(Subscription { paused: false, updated: now, ..known()?.clone() })),
    }
}

fn put(subscription: Subscription) -> LifecyclePlan {
    LifecyclePlan { change: Change::Put(Box::new(subscription)), answer: success(), secret: None }
}

fn success() -> JsonObject {
    JsonObject::from_map(&Map::from_iter([("status".to_owned(), json!("success"))]))
}

/// Refuses parameters that the feed does not have.
fn only_known(feed: &Feed, params: &JsonObject) -> Result<(), LifecycleError> {
    let known = feed.parameters();
    for key in params.fields().keys() {
        if !known.iter().any(|name| name == key) {
            return Err(LifecycleError(format!(
                "the feed `{}/{}` has no parameter `{key}`; it has: {}",
                feed.package,
                feed.name,
                known.join(", ")
            )));
        }
    }
    Ok(())
}

/// Refuses values that make no sense; `before` are the parameters that these replace.
fn check(
    feed: &Feed,
    params: &JsonObject,
    before: Option<&JsonObject>,
    now: Timestamp,
) -> Result<(), LifecycleError> {
    feed.check(params, before, now).map_err(|error| LifecycleError(error.0))
}

/// The parameters with the secret that the hub makes where the feed wants one and the user gives none, and that secret
/// where it is new. A secret that was made `before` stays, since the remote side has it.
fn with_secret(
    feed: &Feed,
    params: JsonObject,
    before: Option<&JsonObject>,
    fresh: &str,
) -> (JsonObject, Option<String>) {
    let mut fields = params.fields();
    if !feed.makes_secret() {
        return (params, None);
    }
    let is_given = fields.get(GIVEN).is_some_and(|given| *given != Json::null());
    let kept = before.and_then(|before| before.fields().shift_remove(GENERATED)).filter(|_| !is_given);
    let made = (!is_given && kept.is_none()).then(|| fresh.to_owned());
    match kept.or_else(|| made.as_deref().map(Json::from)) {
        Some(secret) => drop(fields.insert(GENERATED.to_owned(), secret)),
        None => drop(fields.shift_remove(GENERATED)),
    }
    (JsonObject::from_fields(fields.iter().map(|(key, value)| (key.as_str(), value))), made)
}

/// What READ answers (contract §3.2); secrets are masked.
fn describe(subscription: &Subscription) -> JsonObject {
    let mut config = redacted(&subscription.params).to_map();
    config.shift_remove(GENERATED);
    config.insert("name".into(), json!(subscription.trigger.name));
    config.insert("namespace".into(), json!(subscription.trigger.namespace));
    let mut status = json!({
        "active": !subscription.paused && subscription.ended.is_none(),
        "dateChanged": subscription.updated.as_millis(),
        "dateChangedISO": subscription.updated.to_string(),
    });
    if let (Some(why), Some(status)) = (&subscription.ended, status.as_object_mut()) {
        status.insert("reason".into(), json!({ "kind": "AUTO", "message": why }));
    }
    JsonObject::from_map(&Map::from_iter([
        ("config".to_owned(), Value::Object(config)),
        ("status".to_owned(), status),
    ]))
}

/// Parameters as they may be shown.
pub fn redacted(params: &JsonObject) -> JsonObject {
    let mut map = params.to_map();
    for (key, value) in &mut map {
        if SECRET.iter().any(|secret| secret.eq_ignore_ascii_case(key)) {
            *value = json!("***");
        } else if let Some(masked) = value.as_str().and_then(without_user_info) {
            *value = json!(masked);
        }
    }
    JsonObject::from_map(&map)
}

/// A URL that holds a user or password, with these masked; `None` for any other text.
fn without_user_info(text: &str) -> Option<String> {
    let (scheme, rest) = text.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let (_, host) = authority.rsplit_once('@')?;
    Some(format!("{scheme}://***@{host}{}", rest.get(authority.len()..).unwrap_or_default()))
}

#[cfg(test)]
mod tests;
