//! How senders ask whether they may call, before they do: each sender's own way, answered without firing anything.
//!
//! | name | what is asked | its source |
//! |---|---|---|
//! | `slack` | POST of `{"type": "url_verification", "challenge"}`, signed | Slack, "url_verification" |
//! | `zoom` | POST of `{"event": "endpoint.url_validation", "payload": {"plainToken"}}`, signed | Zoom, "Validate your webhook endpoint" |
//! | `cloudevents` | OPTIONS with `WebHook-Request-Origin` | CloudEvents' HTTP 1.1 Web Hooks §4; Azure Event Grid |
//! | `event-grid` | POST with `aeg-event-type: SubscriptionValidation` | Azure Event Grid in its own schema |
//! | `graph` | POST with `?validationToken=` | Microsoft Graph, "Receive change notifications through webhooks" |
//! | `meta` | GET with `?hub.mode=subscribe&hub.verify_token=&hub.challenge=` | Meta; WebSub (W3C) §5.3 with a token |
//! | `x` | GET with `?crc_token=` | X, "Challenge-response checks" |
//! | `dropbox` | GET with `?challenge=` | Dropbox, "Webhooks" |
//! | `okta` | GET with `X-Okta-Verification-Challenge` | Okta, "Event hooks" |

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::{HookDocument, HookError, HookMethod, HookOutcome, HookReason, HookRequest};

/// The longest challenge that is sent back; senders' own have 100 characters at most.
const CHALLENGE_BYTES_MAX: usize = 4096;
const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

/// A sender's way to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Handshake {
    /// Slack's.
    Slack,
    /// Zoom's.
    Zoom,
    /// The one of CloudEvents over HTTP.
    Cloudevents,
    /// The one of Azure Event Grid's own schema.
    EventGrid,
    /// Microsoft Graph's.
    Graph,
    /// The one of Meta, and of WebSub with a token.
    Meta,
    /// The one of X.
    X,
    /// Dropbox's.
    Dropbox,
    /// Okta's.
    Okta,
}

/// What answers are made of.
pub(crate) struct Secrets<'a> {
    /// The key that requests are signed with.
    pub(crate) key: &'a [u8],
    /// The token that the sender was given beside it.
    pub(crate) verify_token: Option<&'a str>,
}

impl Handshake {
    /// The method that it comes with.
    pub(crate) fn method(self) -> HookMethod {
        match self {
            Self::Cloudevents => HookMethod::Options,
            Self::Meta | Self::X | Self::Dropbox | Self::Okta => HookMethod::Get,
            Self::Slack | Self::Zoom | Self::EventGrid | Self::Graph => HookMethod::Post,
        }
    }

    /// Whether it is signed as every request is, and so looked at only after that was verified.
    pub(crate) fn is_signed(self) -> bool {
        matches!(self, Self::Slack | Self::Zoom)
    }

    /// Whether its answer is made with the secret.
    pub(crate) fn needs_secret(self) -> bool {
        matches!(self, Self::Slack | Self::Zoom | Self::X)
    }

    /// The answer, where `request` asks in this way.
    pub(crate) fn answer(
        self,
        request: &HookRequest,
        secrets: &Secrets<'_>,
    ) -> Result<Option<HookOutcome>, HookError> {
        if request.method != self.method() {
            return Ok(None);
        }
        let document = match self {
            Self::Slack => slack(request)?,
            Self::Zoom => zoom(request, secrets.key)?,
            Self::Cloudevents => cloudevents(request),
            Self::EventGrid => event_grid(request)?,
            Self::Graph => echo(request.query("validationToken"))?,
            Self::Meta => meta(request, secrets.verify_token)?,
            Self::X => crc(request, secrets.key)?,
            Self::Dropbox => echo(request.query("challenge"))?,
            Self::Okta => match request.header("x-okta-verification-challenge") {
                Some(challenge) => Some(in_json(&json!({ "verification": bounded(challenge)? }))),
                None => None,
            },
        };
        Ok(document.map(HookOutcome::document))
    }
}

fn in_json(value: &Value) -> HookDocument {
    HookDocument { content_type: Some(JSON), body: value.to_string(), headers: Vec::new() }
}

fn bounded(challenge: &str) -> Result<&str, HookError> {
    if challenge.len() <= CHALLENGE_BYTES_MAX {
        return Ok(challenge);
    }
    let text = format!("the challenge has {} bytes, more than {CHALLENGE_BYTES_MAX}", challenge.len());
    Err(HookError::new(HookReason::Malformed, text))
}

fn echo(challenge: Option<&str>) -> Result<Option<HookDocument>, HookError> {
    let Some(challenge) = challenge else { return Ok(None) };
    let body = bounded(challenge)?.to_owned();
    Ok(Some(HookDocument { content_type: Some(TEXT), body, headers: Vec::new() }))
}

/// The body as JSON, where it is small enough to be a handshake's.
fn small(request: &HookRequest) -> Option<Value> {
    if request.body.len() > 4 * CHALLENGE_BYTES_MAX {
        return None;
    }
    serde_json::from_slice(&request.body).ok()
}

/// The text at a place of a document.
fn text<'a>(body: &'a Value, pointer: &str) -> Option<&'a str> {
    body.pointer(pointer).and_then(Value::as_str)
}

fn slack(request: &HookRequest) -> Result<Option<HookDocument>, HookError> {
    match small(request) {
        Some(body) if text(&body, "/type") == Some("url_verification") => echo(text(&body, "/challenge")),
        _ => Ok(None),
    }
}

fn zoom(request: &HookRequest, key: &[u8]) -> Result<Option<HookDocument>, HookError> {
    let Some(body) = small(request).filter(|body| text(body, "/event") == Some("endpoint.url_validation"))
    else {
        return Ok(None);
    };
    let Some(plain) = text(&body, "/payload/plainToken") else { return Ok(None) };
    let encrypted = hex::encode(mac(key, bounded(plain)?.as_bytes()));
    Ok(Some(in_json(&json!({ "plainToken": plain, "encryptedToken": encrypted }))))
}

fn mac(key: &[u8], text: &[u8]) -> Vec<u8> {
    let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(text);
    mac.finalize().into_bytes().to_vec()
}

/// Any origin may call: what it sends is verified by itself. The rate is what the sender asks for.
fn cloudevents(request: &HookRequest) -> Option<HookDocument> {
    let origin = request.header("webhook-request-origin")?;
    let mut headers =
        vec![("webhook-allowed-origin", origin.to_owned()), ("allow", HookMethod::Post.name().to_owned())];
    if let Some(rate) = request.header("webhook-request-rate").filter(|rate| rate.parse::<u32>().is_ok()) {
        headers.push(("webhook-allowed-rate", rate.to_owned()));
    }
    Some(HookDocument { content_type: None, body: String::new(), headers })
}

fn event_grid(request: &HookRequest) -> Result<Option<HookDocument>, HookError> {
    let asks = request.header("aeg-event-type").is_some_and(|kind| kind == "SubscriptionValidation");
    let Some(body) = asks.then(|| small(request)).flatten() else { return Ok(None) };
    let code = text(&body, "/0/data/validationCode").map(bounded).transpose()?;
    Ok(code.map(|code| in_json(&json!({ "validationResponse": code }))))
}

fn meta(request: &HookRequest, token: Option<&str>) -> Result<Option<HookDocument>, HookError> {
    if request.query("hub.mode") != Some("subscribe") {
        return Ok(None);
    }
    let digest = |text: &str| Sha256::digest(text.as_bytes());
    let given = digest(request.query("hub.verify_token").unwrap_or_default());
    if !token.is_some_and(|token| bool::from(digest(token).as_slice().ct_eq(given.as_slice()))) {
        let text = "hub.verify_token is not this webhook's `verifyToken`";
        return Err(HookError::new(HookReason::Signature, text));
    }
    echo(request.query("hub.challenge"))
}

fn crc(request: &HookRequest, key: &[u8]) -> Result<Option<HookDocument>, HookError> {
    let Some(token) = request.query("crc_token").map(bounded).transpose()? else { return Ok(None) };
    let response = format!("sha256={}", STANDARD.encode(mac(key, token.as_bytes())));
    Ok(Some(in_json(&json!({ "response_token": response }))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hook::testing::request;
    use crate::hook::{HookAnswer, testing};

    const SECRETS: Secrets<'static> = Secrets { key: b"0123456789abcdef", verify_token: Some("meet-me") };

    /// What is answered: type, body, headers; an error's reason is its label.
    fn ask(kind: Handshake, request: &HookRequest) -> Result<Option<HookDocument>, &'static str> {
        let outcome = kind.answer(request, &SECRETS).map_err(|error| error.reason.label())?;
        Ok(outcome.map(|outcome| match outcome.answer {
            HookAnswer::Document(document) => document,
            other => panic!("{other:?}"),
        }))
    }

    fn body(kind: Handshake, request: &HookRequest) -> String {
        ask(kind, request).unwrap().expect("it is a handshake").body
    }

    #[test]
    fn each_way_has_its_answer() {
        let post = |text: &str| request(text, &[]);
        let slack = post(r#"{"token":"x","challenge":"3eZbrw1a","type":"url_verification"}"#);
        assert_eq!(body(Handshake::Slack, &slack), "3eZbrw1a");
        let zoom =
            post(r#"{"event":"endpoint.url_validation","payload":{"plainToken":"qgg8vlvZRS6UYooatFL8Aw"}}"#);
        // printf qgg8vlvZRS6UYooatFL8Aw | openssl dgst -sha256 -hmac 0123456789abcdef
        let encrypted = "ee9f6cfd809e368fab94b358593f7a535b35ecfb5a55b90cbcc04ef169223487";
        let expected = format!(r#"{{"plainToken":"qgg8vlvZRS6UYooatFL8Aw","encryptedToken":"{encrypted}"}}"#);
        assert_eq!(body(Handshake::Zoom, &zoom), expected);
        let grid = r#"[{"eventType":"Microsoft.EventGrid.SubscriptionValidationEvent","data":{"validationCode":"5A-1"}}]"#;
        let grid = request(grid, &[("aeg-event-type", "SubscriptionValidation")]);
        assert_eq!(body(Handshake::EventGrid, &grid), r#"{"validationResponse":"5A-1"}"#);
        let graph = testing::with_query(HookMethod::Post, &[("validationToken", "a b")]);
        assert_eq!(body(Handshake::Graph, &graph), "a b");
        let crc = testing::with_query(HookMethod::Get, &[("crc_token", "challenge")]);
        // printf challenge | openssl dgst -sha256 -hmac 0123456789abcdef -binary | base64
        assert_eq!(
            body(Handshake::X, &crc),
            r#"{"response_token":"sha256=ubUC3Lx67FMJ2+z1Ufqpjx2jrlN9CDvFUEONtLzh+x4="}"#
        );
        let dropbox = testing::with_query(HookMethod::Get, &[("challenge", "c")]);
        assert_eq!(body(Handshake::Dropbox, &dropbox), "c");
        let mut okta = testing::with_query(HookMethod::Get, &[]);
        okta.headers.push(("x-okta-verification-challenge".into(), "v".into()));
        assert_eq!(body(Handshake::Okta, &okta), r#"{"verification":"v"}"#);
    }

    #[test]
    fn what_is_no_handshake_is_left_to_the_feed() {
        for kind in [Handshake::Slack, Handshake::Zoom, Handshake::EventGrid, Handshake::Graph] {
            assert_eq!(ask(kind, &request(r#"{"type":"event_callback"}"#, &[])), Ok(None), "{kind:?}");
            assert_eq!(ask(kind, &testing::with_query(HookMethod::Get, &[("challenge", "c")])), Ok(None));
        }
        for kind in [Handshake::Meta, Handshake::X, Handshake::Dropbox, Handshake::Okta] {
            assert_eq!(ask(kind, &testing::with_query(HookMethod::Get, &[])), Ok(None), "{kind:?}");
        }
        let long = format!(r#"{{"type":"url_verification","challenge":"{}"}}"#, "x".repeat(5000));
        assert_eq!(ask(Handshake::Slack, &request(&long, &[])), Err("malformed"));
    }

    #[test]
    fn a_token_of_meta_is_compared() {
        let ask = |token: &str| {
            let pairs = [("hub.mode", "subscribe"), ("hub.verify_token", token), ("hub.challenge", "77")];
            ask(Handshake::Meta, &testing::with_query(HookMethod::Get, &pairs))
        };
        assert_eq!(ask("meet-me").unwrap().unwrap().body, "77");
        assert_eq!(ask("guess"), Err("signature"));
    }

    #[test]
    fn cloudevents_are_told_that_their_origin_may_call() {
        let mut options = testing::with_query(HookMethod::Options, &[]);
        assert_eq!(ask(Handshake::Cloudevents, &options), Ok(None));
        options.headers.push(("webhook-request-origin".into(), "eventemitter.example.com".into()));
        options.headers.push(("webhook-request-rate".into(), "120".into()));
        let answer = ask(Handshake::Cloudevents, &options).unwrap().unwrap();
        let expected = [
            ("webhook-allowed-origin", "eventemitter.example.com".to_owned()),
            ("allow", "POST".to_owned()),
            ("webhook-allowed-rate", "120".to_owned()),
        ];
        assert_eq!((answer.content_type, answer.body.as_str()), (None, ""));
        assert_eq!(answer.headers, expected);
    }
}
