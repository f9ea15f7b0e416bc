//! `webhook/feed`: an HTTP request to `/hooks/{namespace}/{trigger}` fires the trigger.
//!
//! ```yaml
//! feed: /whisk.system/webhook/feed
//! inputs: { scheme: stripe, secret: "whsec_..." }
//! ```
//!
//! With a secret the request must be signed as its `scheme` says: a preset of a sender, or one of the user's own in the same
//! form (`feeds/src/hook/scheme.rs`). A delivery that comes again is recognised by its id and dropped. With
//! `format: cloudevents` bodies are CloudEvents 1.0, recognised by source and id. A sender's handshake is answered and fires
//! nothing. All else is answered only after the event is durable.

use serde_json::json;
use triggerfish_model::{EventKey, Json, Timestamp};

use crate::hook::handshake::Secrets;
use crate::hook::settings::{DeliveryId, Format, Settings};
use crate::hook::{HookError, HookMethod, HookOutcome, HookProvider, HookReason, HookRequest};
use crate::hook::{cloudevents, payload};
use crate::provider::{FeedEvent, ParamError};

use super::Feed;

/// The longest id of a delivery.
const ID_BYTES_MAX: usize = 1024;

struct Webhook;

pub(super) fn feed() -> Feed {
    let example = json!({"secret": "a long random text", "header": "X-Signature", "idHeader": "X-Delivery"});
    Feed::hooked(Webhook, "Fires on an HTTP POST to /hooks/{namespace}/{trigger}, optionally signed", example)
}

impl HookProvider for Webhook {
    type Params = Settings;

    fn action(&self) -> (&'static str, &'static str) {
        ("webhook", "feed")
    }

    /// They were checked when they were read.
    fn check(&self, _params: &Settings, _now: Timestamp) -> Result<(), ParamError> {
        Ok(())
    }

    fn methods(&self, settings: &Settings) -> Vec<HookMethod> {
        let mut methods = settings.methods.clone();
        if let Some(method) = settings.handshake.map(|handshake| handshake.method())
            && !methods.contains(&method)
        {
            methods.push(method);
        }
        methods
    }

    fn on_hook(
        &self,
        settings: &Settings,
        request: &HookRequest,
        event_bytes_max: usize,
    ) -> Result<HookOutcome, HookError> {
        if request.body.len() > event_bytes_max {
            let text = format!("the body has {} bytes, more than {event_bytes_max}", request.body.len());
            return Err(HookError::new(HookReason::TooLarge, text));
        }
        let secrets = Secrets {
            key: settings.verifier.as_ref().map(|verifier| verifier.key()).unwrap_or_default(),
            verify_token: settings.verify_token.as_deref(),
        };
        let handshake = |signed: bool| match settings.handshake.filter(|kind| kind.is_signed() == signed) {
            Some(kind) => kind.answer(request, &secrets),
            None => Ok(None),
        };
        if let Some(answer) = handshake(false)? {
            return Ok(answer);
        }
        if !settings.methods.contains(&request.method) {
            let text = format!("a {} that is no handshake fires nothing here", request.method.name());
            return Err(HookError::new(HookReason::Method, text));
        }
        check_content_type(settings, request)?;
        if let Some(verifier) = &settings.verifier {
            verifier.verify(request)?;
        }
        match handshake(true)? {
            Some(answer) => Ok(answer),
            None => events(settings, request).map(HookOutcome::events),
        }
    }
}

fn check_content_type(settings: &Settings, request: &HookRequest) -> Result<(), HookError> {
    let given = request.media_type();
    let takes = |wanted: &String| match wanted.strip_suffix('*') {
        Some(kind) => given.starts_with(kind),
        None => given == *wanted,
    };
    if settings.content_types.is_empty()
        || request.method == HookMethod::Get
        || settings.content_types.iter().any(takes)
    {
        return Ok(());
    }
    let text = format!(
        "the content type is `{}`; expected {}",
        given.escape_debug(),
        settings.content_types.join(" or ")
    );
    Err(HookError::new(HookReason::ContentType, text))
}

fn events(settings: &Settings, request: &HookRequest) -> Result<Vec<FeedEvent>, HookError> {
    let hidden = settings.verifier.as_ref().map(|verifier| verifier.scheme().header.as_str()).unwrap_or_default();
    if settings.format == Format::Cloudevents {
        // Events have ids of their own; a delivery's counts where the user names its place.
        let id = if settings.id.is_required() { id(settings, request)? } else { None };
        let events = cloudevents::read(request)?;
        let is_batch = events.len() > 1;
        let event = |event: cloudevents::CloudEvent| FeedEvent {
            // Of a batch one delivery's id says nothing of its events.
            key: Some(id.clone().filter(|_| !is_batch).unwrap_or(event.key)),
            payload: payload::with_request(&event.event, request, hidden),
        };
        return Ok(events.into_iter().map(event).collect());
    }
    let key = id(settings, request)?;
    let fields = payload::fields(request)?;
    Ok(vec![FeedEvent { key, payload: payload::with_request(&fields, request, hidden) }])
}

/// The delivery's id.
fn id(settings: &Settings, request: &HookRequest) -> Result<Option<EventKey>, HookError> {
    let (found, place, required) = match &settings.id {
        DeliveryId::Header { name, required } => {
            (request.header(name).map(str::to_owned), format!("the header {name}"), *required)
        }
        DeliveryId::Field { pointer, required } => {
            let body = Json::parse(&request.body).map(|body| body.to_value()).unwrap_or_default();
            let text = body.pointer(pointer).and_then(|value| match value {
                serde_json::Value::String(text) => Some(text.clone()),
                serde_json::Value::Number(number) => Some(number.to_string()),
                _ => None,
            });
            (text, format!("the body's field {pointer}"), *required)
        }
    };
    match found {
        Some(id) if !id.is_empty() && id.len() <= ID_BYTES_MAX => Ok(Some(EventKey::new(&id))),
        Some(_) => {
            let text = format!("{place} is empty or longer than {ID_BYTES_MAX} bytes: it holds the delivery's id");
            Err(HookError::new(HookReason::Id, text))
        }
        None if required => {
            let text = format!("{place} is missing: it holds the delivery's id");
            Err(HookError::new(HookReason::Id, text))
        }
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests;
