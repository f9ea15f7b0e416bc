//! `webhook/feed`: an HTTP POST to `/hooks/{namespace}/{trigger}` fires the trigger.
//!
//! ```yaml
//! feed: /whisk.system/webhook/feed
//! inputs: { secret: "...", header: X-Signature, idHeader: X-Delivery }
//! ```
//!
//! With a secret the request must carry an HMAC-SHA256 over its body (RFC 2104), in hexadecimal or base64, with or without
//! `sha256=` before it. With `idHeader` a delivery that comes again is recognised and dropped. The request is answered
//! only after the event is durable.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;
use sha2::Sha256;
use triggerfish_model::{EventKey, Json, JsonObject, Timestamp};

use crate::body;
use crate::provider::{FeedEvent, HookError, HookProvider, HookRequest, ParamError};

use super::Feed;

/// The header of the signature where none is named; GitHub's.
const SIGNATURE_HEADER: &str = "x-hub-signature-256";
/// The longest id of a delivery.
const ID_BYTES_MAX: usize = 1024;
/// Headers whose names hold one of these are never given to an action: they hold credentials.
const CREDENTIALS: [&str; 6] = ["authorization", "cookie", "api-key", "apikey", "token", "secret"];

/// The parameters of `webhook/feed`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Params {
    /// The secret of the signature; without one everybody who knows the address can fire the trigger.
    secret: Option<String>,
    /// How the signature is made; `hmac-sha256` is the only way so far.
    scheme: Option<String>,
    /// The header that holds the signature [default: X-Hub-Signature-256].
    header: Option<String>,
    /// The header that holds the delivery's id, by which a repeated one is recognised.
    #[serde(rename = "idHeader")]
    id_header: Option<String>,
}

struct Webhook;

pub(super) fn feed() -> Feed {
    let example = json!({"secret": "a long random text", "header": "X-Signature", "idHeader": "X-Delivery"});
    Feed::hooked(Webhook, "Fires on an HTTP POST to /hooks/{namespace}/{trigger}, optionally signed", example)
}

impl HookProvider for Webhook {
    type Params = Params;

    fn action(&self) -> (&'static str, &'static str) {
        ("webhook", "feed")
    }

    fn check(&self, params: &Params, _now: Timestamp) -> Result<(), ParamError> {
        let refused = |text: &str| Err(ParamError(text.to_owned()));
        if params.secret.as_ref().is_some_and(|secret| secret.len() < 8) {
            return refused("the parameter `secret` is shorter than 8 characters, which is guessed easily");
        }
        match params.scheme.as_deref() {
            None | Some("hmac-sha256") => {}
            Some(_) => return refused("the parameter `scheme` must be \"hmac-sha256\""),
        }
        if params.secret.is_none() && (params.header.is_some() || params.scheme.is_some()) {
            return refused("the parameters `header` and `scheme` need a `secret`");
        }
        let legal = |name: &String| {
            !name.is_empty() && name.len() <= 128 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        };
        if ![&params.header, &params.id_header].into_iter().flatten().all(legal) {
            return refused("the parameters `header` and `idHeader` must be names of HTTP headers");
        }
        Ok(())
    }

    fn on_hook(
        &self,
        params: &Params,
        request: &HookRequest,
        event_bytes_max: usize,
    ) -> Result<Vec<FeedEvent>, HookError> {
        if request.body.len() > event_bytes_max {
            let text = format!("the body has {} bytes, more than {event_bytes_max}", request.body.len());
            return Err(HookError::TooLarge(text));
        }
        let signature = params.header.as_deref().unwrap_or(SIGNATURE_HEADER);
        if let Some(secret) = &params.secret {
            verify(secret, signature, request)?;
        }
        let key = match &params.id_header {
            None => None,
            Some(name) => match request.header(name) {
                Some(id) if !id.is_empty() && id.len() <= ID_BYTES_MAX => Some(EventKey::new(id)),
                Some(_) => return Err(HookError::Invalid(format!("the header {name} is empty or too long"))),
                None => return Err(HookError::Invalid(format!("the header {name} is missing: it holds the delivery's id"))),
            },
        };
        Ok(vec![FeedEvent { key, payload: payload(request, signature) }])
    }
}

/// Refuses a request whose signature is missing or wrong; takes the same time wherever they differ.
fn verify(secret: &str, header: &str, request: &HookRequest) -> Result<(), HookError> {
    let Some(given) = request.header(header) else {
        return Err(HookError::Unauthorized(format!("the header {header} is missing: it holds the body's HMAC-SHA256")));
    };
    let given = given.trim();
    let given = given.strip_prefix("sha256=").unwrap_or(given);
    let wrong = || HookError::Unauthorized(format!("the signature in {header} is not that of the body"));
    let given = hex::decode(given).or_else(|_| STANDARD.decode(given)).map_err(|_| wrong())?;
    let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of any length");
    mac.update(&request.body);
    mac.verify_slice(&given).map_err(|_| wrong())
}

/// The fields of the JSON body, or `body` and `encoding` of anything else, with the request's headers.
fn payload(request: &HookRequest, signature: &str) -> JsonObject {
    let headers: serde_json::Map<_, _> = request
        .headers
        .iter()
        .filter(|(name, _)| !CREDENTIALS.iter().any(|part| name.contains(part)))
        // With body and signature whoever reads the record could send the request again.
        .filter(|(name, _)| !name.eq_ignore_ascii_case(signature))
        .map(|(name, value)| (name.clone(), json!(value)))
        .collect();
    let headers = Json::from(JsonObject::from_map(&headers));
    let (json, encoding) = body::decode(&request.body);
    let fields = match json.as_object() {
        Some(object) => object,
        None => JsonObject::from_fields([("body", &json), ("encoding", &Json::from(encoding))]),
    };
    fields.overlaid_with(&JsonObject::from_fields([("__ow_headers", &headers)]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(body: &str, headers: &[(&str, &str)]) -> HookRequest {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        HookRequest { headers, body: bytes::Bytes::copy_from_slice(body.as_bytes()) }
    }

    fn params(value: serde_json::Value) -> Params {
        serde_json::from_value(value).unwrap()
    }

    fn signature(secret: &str, body: &str) -> Vec<u8> {
        let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(secret.as_bytes()).unwrap();
        mac.update(body.as_bytes());
        mac.finalize().into_bytes().to_vec()
    }

    #[test]
    fn a_signature_is_asked_for_and_verified() {
        let params = params(json!({"secret": "It's a Secret to Everybody"}));
        // The example of GitHub's documentation, "Validating webhook deliveries".
        let right = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        let take = |value: &str| Webhook.on_hook(&params, &request("Hello, World!", &[("x-hub-signature-256", value)]), 100);
        assert!(take(right).is_ok());
        assert!(take(&STANDARD.encode(signature("It's a Secret to Everybody", "Hello, World!"))).is_ok());
        for wrong in ["", "sha256=00", "zz", &right.replace('7', "8")] {
            assert!(matches!(take(wrong), Err(HookError::Unauthorized(_))), "{wrong}");
        }
        assert!(matches!(Webhook.on_hook(&params, &request("x", &[]), 100), Err(HookError::Unauthorized(_))));
    }

    #[test]
    fn the_payload_has_the_body_and_the_headers_without_credentials() {
        let headers = [
            ("content-type", "application/json"),
            ("authorization", "Basic x"),
            ("x-auth-token", "x"),
            ("x-hub-signature-256", "sha256=00"),
            ("x-id", "7"),
        ];
        let events =
            Webhook.on_hook(&params(json!({"idHeader": "X-Id"})), &request(r#"{"a":1}"#, &headers), 100).unwrap();
        let expected = r#"{"a":1,"__ow_headers":{"content-type":"application/json","x-id":"7"}}"#;
        assert_eq!(events[0].payload.as_str(), expected);
        assert_eq!(events[0].key.as_ref().unwrap().as_str(), "7");
        let text = Webhook.on_hook(&params(json!({})), &request("hot", &[]), 100).unwrap();
        assert_eq!(text[0].payload.as_str(), r#"{"body":"hot","encoding":"utf8","__ow_headers":{}}"#);
        assert!(matches!(Webhook.on_hook(&params(json!({})), &request("hot", &[]), 2), Err(HookError::TooLarge(_))));
        let no_id = Webhook.on_hook(&params(json!({"idHeader": "X-Id"})), &request("", &[]), 100);
        assert!(matches!(no_id, Err(HookError::Invalid(_))));
    }
}
