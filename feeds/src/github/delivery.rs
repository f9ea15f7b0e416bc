//! A delivery of GitHub's, verified and mapped. Pure.

use triggerfish_model::{EventKey, JsonError, JsonObject};

use crate::hook::payload::{self, FORM};
use crate::hook::{HookError, HookOutcome, HookReason, HookRequest};
use crate::provider::FeedEvent;

use super::settings::Settings;

/// The longest id of a delivery; GitHub's are UUIDs.
const ID_BYTES_MAX: usize = 100;
/// The longest name of an event.
const EVENT_BYTES_MAX: usize = 100;
const JSON: &str = "application/json";

/// The event that a delivery holds, or why it fires nothing.
pub(crate) fn read(
    settings: &Settings,
    request: &HookRequest,
    event_bytes_max: usize,
) -> Result<HookOutcome, HookError> {
    if request.body.len() > event_bytes_max {
        let text = format!("the delivery has {} bytes, more than {event_bytes_max}", request.body.len());
        return Err(HookError::new(HookReason::TooLarge, text));
    }
    let media_type = request.media_type();
    if ![JSON, FORM].contains(&media_type.as_str()) {
        let text = format!("the content type is `{}`; expected {JSON} or {FORM}", media_type.escape_debug());
        return Err(HookError::new(HookReason::ContentType, text));
    }
    settings.verifier.verify(request)?;
    let event =
        header(request, "X-GitHub-Event", EVENT_BYTES_MAX, "the event's name", HookReason::Malformed)?;
    let id = header(request, "X-GitHub-Delivery", ID_BYTES_MAX, "the delivery's id", HookReason::Id)?;
    let fields = if media_type == FORM { of_form(&request.body)? } else { parse(&request.body)? };
    if event == "ping" {
        return Ok(HookOutcome::ignored("a ping fires nothing"));
    }
    if !settings.events.iter().any(|wanted| wanted == "*" || wanted == event) {
        return Ok(HookOutcome::ignored("the event is not asked for"));
    }
    if !settings.filter.is_empty()
        && let Some(why) = settings.filter.leaves_out(event, &fields.as_json().to_value())
    {
        return Ok(HookOutcome::ignored(why));
    }
    let payload = payload::with_request(&fields, request, &settings.verifier.scheme().header);
    Ok(HookOutcome::events(vec![FeedEvent { key: Some(EventKey::new(id)), payload }]))
}

fn header<'a>(
    request: &'a HookRequest,
    name: &str,
    bytes_max: usize,
    what: &str,
    reason: HookReason,
) -> Result<&'a str, HookError> {
    match request.header(name) {
        Some(value) if !value.is_empty() && value.len() <= bytes_max => Ok(value),
        Some(_) => Err(HookError::new(
            reason,
            format!("the header {name} is empty or longer than {bytes_max} bytes: it holds {what}"),
        )),
        None => Err(HookError::new(reason, format!("the header {name} is missing: it holds {what}"))),
    }
}

fn parse(text: &[u8]) -> Result<JsonObject, HookError> {
    JsonObject::parse(text).map_err(|error| {
        let text = match error {
            JsonError::NotAnObject(what) => format!("the payload is {what}; expected an object"),
            other => format!("the payload is no JSON: {other}"),
        };
        HookError::new(HookReason::Malformed, text)
    })
}

fn of_form(body: &[u8]) -> Result<JsonObject, HookError> {
    let form = payload::form(body)?;
    match form.get("payload").and_then(|values| values.first()) {
        Some(text) => parse(text.as_bytes()),
        None => Err(HookError::new(HookReason::Malformed, "the form has no field `payload`")),
    }
}
