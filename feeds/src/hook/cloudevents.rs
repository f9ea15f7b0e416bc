//! CloudEvents 1.0 over HTTP (the HTTP protocol binding §3): binary, structured and batched mode.
//!
//! An event is given to its trigger in the form of the JSON format whatever the mode: the attributes, and `data` (or
//! `data_base64`). So the same rule matches in each mode. What is in `data` keeps its text.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;
use triggerfish_model::{EventKey, Json, JsonObject};

use super::{HookError, HookReason, HookRequest};

/// The version of the specification that is read.
const VERSION: &str = "1.0";
/// Attributes that every event has (CloudEvents §3.1).
const REQUIRED: [&str; 3] = ["id", "source", "type"];
/// Events in a batch; one write takes them all.
const BATCH_MAX: usize = 10_000;

const STRUCTURED: &str = "application/cloudevents+json";
const BATCHED: &str = "application/cloudevents-batch+json";
/// What the names of attributes begin with in binary mode.
const PREFIX: &str = "ce-";

/// An event, with the key that its source and id make: together they are unique (CloudEvents §3.1.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CloudEvent {
    pub(crate) key: EventKey,
    pub(crate) event: JsonObject,
}

/// The events of a request.
pub(crate) fn read(request: &HookRequest) -> Result<Vec<CloudEvent>, HookError> {
    let media_type = request.media_type();
    match media_type.as_str() {
        STRUCTURED => Ok(vec![structured(&parse(&request.body)?, "the event")?]),
        BATCHED => batched(&parse(&request.body)?),
        other if other.starts_with("application/cloudevents") => {
            let text = format!("the content type is {other}; expected {STRUCTURED} or {BATCHED}");
            Err(HookError::new(HookReason::ContentType, text))
        }
        _ if request.header("ce-specversion").is_some() => Ok(vec![binary(request)?]),
        other => {
            let text = format!(
                "the content type is `{other}` and there is no header ce-specversion: expected a CloudEvent, in binary \
                 mode or as {STRUCTURED} or {BATCHED}"
            );
            Err(HookError::new(HookReason::ContentType, text))
        }
    }
}

fn malformed(text: impl Into<String>) -> HookError {
    HookError::new(HookReason::Malformed, text)
}

fn parse(body: &[u8]) -> Result<Json, HookError> {
    Json::parse(body).map_err(|error| malformed(format!("the body is no JSON: {error}")))
}

fn batched(json: &Json) -> Result<Vec<CloudEvent>, HookError> {
    let events: Vec<Json> = json
        .read()
        .map_err(|_| malformed(format!("a batch is an array of events; this is {}", json.type_name())))?;
    if events.len() > BATCH_MAX {
        let text = format!("the batch has {} events, more than {BATCH_MAX}", events.len());
        return Err(HookError::new(HookReason::TooLarge, text));
    }
    events
        .iter()
        .enumerate()
        .map(|(place, event)| structured(event, &format!("the batch's event {place}")))
        .collect()
}

/// An event of the JSON format. `what` names it in texts.
fn structured(json: &Json, what: &str) -> Result<CloudEvent, HookError> {
    let event = json
        .as_object()
        .ok_or_else(|| malformed(format!("{what} is {}; expected an object", json.type_name())))?;
    let fields = event.fields();
    let text = |name: &str| fields.get(name).and_then(|value| value.read::<String>().ok());
    if fields.contains_key("data") && fields.contains_key("data_base64") {
        return Err(malformed(format!("{what} has both data and data_base64")));
    }
    checked(event, text, what)
}

/// An event whose attributes are headers.
fn binary(request: &HookRequest) -> Result<CloudEvent, HookError> {
    let mut fields: Vec<(String, Json)> = Vec::new();
    for (name, value) in &request.headers {
        let Some(attribute) = name.strip_prefix(PREFIX) else { continue };
        if attribute.is_empty()
            || !attribute.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        {
            let text = format!(
                "the header {name} names no attribute: these have lower-case letters and digits alone"
            );
            return Err(malformed(text));
        }
        if ["data", "datacontenttype"].contains(&attribute) {
            return Err(malformed(format!("the header {name} is none of binary mode's")));
        }
        let value = percent_decode_str(value)
            .decode_utf8()
            .map_err(|_| malformed(format!("the header {name} is no percent-encoded UTF-8")))?;
        fields.push((attribute.to_owned(), Json::from(value.as_ref())));
    }
    if let Some(media_type) = request.header("content-type") {
        fields.push(("datacontenttype".to_owned(), Json::from(media_type)));
    }
    if !request.body.is_empty() {
        fields.push(data(request)?);
    }
    let event = JsonObject::from_fields(fields.iter().map(|(name, value)| (name.as_str(), value)));
    let text = |name: &str| {
        let (_, value) = fields.iter().find(|(field, _)| field == name)?;
        value.read::<String>().ok()
    };
    checked(event, text, "the event")
}

/// The body as the JSON format has it (CloudEvents' JSON format §3.1): JSON as it is, text, or base64.
fn data(request: &HookRequest) -> Result<(String, Json), HookError> {
    let media_type = request.media_type();
    let is_json = media_type.is_empty() || media_type.ends_with("/json") || media_type.ends_with("+json");
    if is_json {
        return Ok(("data".to_owned(), parse(&request.body)?));
    }
    Ok(match std::str::from_utf8(&request.body) {
        Ok(text) => ("data".to_owned(), Json::from(text)),
        Err(_) => ("data_base64".to_owned(), Json::from(STANDARD.encode(&request.body).as_str())),
    })
}

/// Checks what every event has.
fn checked(
    event: JsonObject,
    text: impl Fn(&str) -> Option<String>,
    what: &str,
) -> Result<CloudEvent, HookError> {
    match text("specversion").as_deref() {
        Some(VERSION) => {}
        Some(other) => {
            return Err(malformed(format!(
                "{what} is of version {}; expected {VERSION}",
                other.escape_debug()
            )));
        }
        None => return Err(malformed(format!("{what} has no specversion"))),
    }
    let missing = REQUIRED.into_iter().find(|name| text(name).is_none_or(|value| value.is_empty()));
    if let Some(name) = missing {
        return Err(malformed(format!("{what} has no {name}, or an empty one")));
    }
    let key = serde_json::json!([text("source"), text("id")]).to_string();
    Ok(CloudEvent { key: EventKey::new(&key), event })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hook::testing::request;

    fn one(request: &HookRequest) -> CloudEvent {
        let mut events = read(request).unwrap();
        assert_eq!(events.len(), 1);
        events.remove(0)
    }

    #[test]
    fn the_modes_give_the_same_event() {
        let body = r#"{"specversion":"1.0","type":"com.example.t","source":"/s","id":"A 1","datacontenttype":"application/json","data":{"n":1.50}}"#;
        let structured =
            one(&request(body, &[("content-type", "application/cloudevents+json; charset=UTF-8")]));
        let binary = one(&request(
            r#"{"n":1.50}"#,
            &[
                ("ce-specversion", "1.0"),
                ("ce-type", "com.example.t"),
                ("ce-source", "/s"),
                ("ce-id", "A%201"),
                ("content-type", "application/json"),
            ],
        ));
        assert_eq!(structured.event.to_map(), binary.event.to_map());
        assert!(binary.event.as_str().contains("1.50"), "numbers keep their text: {}", binary.event.as_str());
        assert_eq!((structured.key.as_str(), &structured.key), (r#"["/s","A 1"]"#, &binary.key));
        let batch = format!("[{body},{}]", body.replace("A 1", "B"));
        let batch = read(&request(&batch, &[("content-type", BATCHED)])).unwrap();
        assert_eq!((batch.len(), &batch[0]), (2, &structured));
        assert_eq!(read(&request("[]", &[("content-type", BATCHED)])), Ok(vec![]));
    }

    #[test]
    fn data_of_other_types_is_text_or_base64() {
        let binary = |body: &'static [u8], kind: &str| {
            let mut request = request(
                "",
                &[("ce-specversion", "1.0"), ("ce-type", "t"), ("ce-source", "s"), ("ce-id", "1")],
            );
            request.headers.push(("content-type".into(), kind.into()));
            request.body = bytes::Bytes::from_static(body);
            one(&request).event.to_map()
        };
        assert_eq!(binary(b"<a/>", "application/xml")["data"], "<a/>");
        assert_eq!(binary(b"\xff\x00", "image/png")["data_base64"], "/wA=");
        assert_eq!(binary(b"[1]", "application/vnd.x+json")["data"], serde_json::json!([1]));
        assert!(!binary(b"", "text/plain").contains_key("data"));
    }

    #[test]
    fn what_is_no_event_is_refused() {
        let refused = |body: &str, headers: &[(&str, &str)]| {
            let error = read(&request(body, headers)).unwrap_err();
            (error.reason.label(), error.text)
        };
        let in_json = [("content-type", STRUCTURED)];
        for (body, text) in [
            ("{", "no JSON"),
            ("[]", "an array; expected an object"),
            (r#"{"type":"t","source":"s","id":"1"}"#, "no specversion"),
            (r#"{"specversion":"0.3","type":"t","source":"s","id":"1"}"#, "version 0.3; expected 1.0"),
            (r#"{"specversion":"1.0","type":"t","source":"s"}"#, "no id"),
            (r#"{"specversion":"1.0","type":"","source":"s","id":"1"}"#, "no type, or an empty one"),
            (r#"{"specversion":"1.0","type":"t","source":7,"id":"1"}"#, "no source"),
            (
                r#"{"specversion":"1.0","type":"t","source":"s","id":"1","data":1,"data_base64":""}"#,
                "both data",
            ),
        ] {
            let (reason, error) = refused(body, &in_json);
            assert!(reason == "malformed" && error.contains(text), "{body}: {reason}: {error}");
        }
        assert_eq!(refused("{}", &[("content-type", BATCHED)]).0, "malformed");
        assert_eq!(refused("", &[("content-type", "application/cloudevents+avro")]).0, "content_type");
        assert_eq!(refused("{}", &[("content-type", "application/json")]).0, "content_type");
        let binary = [
            ("ce-specversion", "1.0"),
            ("ce-type", "t"),
            ("ce-source", "s"),
            ("ce-id", "1"),
            ("ce-my_ext", "1"),
        ];
        assert_eq!(refused("", &binary).0, "malformed");
    }
}
