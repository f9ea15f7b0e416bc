use hmac::{Hmac, Mac};
use serde_json::Value;
use sha2::Sha256;

use super::*;
use crate::catalogue::read;
use crate::hook::testing::{request, with_query};
use crate::hook::{HookAnswer, HookDocument};
use triggerfish_model::JsonObject;

fn settings(params: Value) -> Result<Settings, String> {
    read(&JsonObject::from_map(params.as_object().unwrap())).map_err(|error| error.0)
}

fn take(params: Value, request: &HookRequest) -> Result<HookOutcome, HookError> {
    Webhook.on_hook(&settings(params).unwrap(), request, 1000)
}

fn reason(params: Value, request: &HookRequest) -> &'static str {
    take(params, request).unwrap_err().reason.label()
}

fn signature(secret: &str, text: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(text.as_bytes());
    hex::encode(mac.finalize().into_bytes())
}

#[test]
fn a_signature_is_asked_for_where_there_is_a_secret() {
    let params = json!({"secret": "It's a Secret to Everybody"});
    // The example of GitHub's documentation, "Validating webhook deliveries"; in base64 and bare, too.
    let right = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    for given in [format!("sha256={right}"), right.into(), "dXEH6g6yUJ/CESIczphLijdXC211hsIsRvQ3nIsEPhc=".into()] {
        let request = request("Hello, World!", &[("x-hub-signature-256", &given)]);
        assert!(take(params.clone(), &request).is_ok(), "{given}");
    }
    assert_eq!(reason(params.clone(), &request("Hello", &[("x-hub-signature-256", right)])), "signature");
    assert_eq!(reason(params, &request("Hello, World!", &[])), "unsigned");
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
    let taken = take(json!({"idHeader": "X-Id"}), &request(r#"{"a":1}"#, &headers)).unwrap();
    let expected = r#"{"a":1,"__ow_headers":{"content-type":"application/json","x-id":"7"}}"#;
    assert_eq!(taken.events[0].payload.as_str(), expected);
    assert_eq!(taken.events[0].key.as_ref().unwrap().as_str(), "7");
    assert_eq!(taken.answer, HookAnswer::Accepted);
    let text = take(json!({}), &request("hot", &[])).unwrap();
    assert_eq!(text.events[0].payload.as_str(), r#"{"body":"hot","encoding":"utf8","__ow_headers":{}}"#);
    assert_eq!(reason(json!({}), &request(&"x".repeat(1001), &[])), "too_large");
}

#[test]
fn a_delivery_has_its_id_where_the_scheme_or_the_user_says() {
    let key = |params: Value, request: &HookRequest| {
        take(params, request).map(|taken| taken.events[0].key.as_ref().map(|key| key.as_str().to_owned()))
    };
    let idempotent = request("{}", &[("idempotency-key", "k1")]);
    assert_eq!(key(json!({}), &idempotent), Ok(Some("k1".into())));
    assert_eq!(key(json!({}), &request("{}", &[])), Ok(None));
    let field = json!({"idField": "/meta/id"});
    assert_eq!(key(field.clone(), &request(r#"{"meta":{"id":7}}"#, &[])), Ok(Some("7".into())));
    assert_eq!(reason(field, &request("{}", &[])), "id");
    assert_eq!(reason(json!({"idHeader": "X-Id"}), &request("{}", &[])), "id");
    assert_eq!(reason(json!({"idHeader": "X-Id"}), &request("{}", &[("x-id", "")])), "id");
    let github = json!({"scheme": "github", "secret": "geheim-geheim"});
    let signed = format!("sha256={}", signature("geheim-geheim", "{}"));
    let headers = [("x-hub-signature-256", signed.as_str()), ("x-github-delivery", "d-1")];
    assert_eq!(key(github.clone(), &request("{}", &headers)), Ok(Some("d-1".into())));
    assert_eq!(reason(github, &request("{}", &headers[..1])), "id");
    let gitlab = json!({"scheme": "gitlab", "secret": "geheim-geheim"});
    assert_eq!(key(gitlab, &request("{}", &[("x-gitlab-token", "geheim-geheim")])), Ok(None));
}

#[test]
fn a_handshake_is_answered_and_fires_nothing() {
    let slack = json!({"scheme": "slack", "secret": "geheim-geheim"});
    let body = r#"{"type":"url_verification","challenge":"c"}"#;
    let signed = format!("v0={}", signature("geheim-geheim", &format!("v0:0:{body}")));
    let headers = [("x-slack-signature", signed.as_str()), ("x-slack-request-timestamp", "0")];
    let taken = take(slack.clone(), &request(body, &headers)).unwrap();
    assert!(taken.events.is_empty());
    assert!(matches!(taken.answer, HookAnswer::Document(HookDocument { ref body, .. }) if body == "c"));
    assert_eq!(reason(slack, &request(body, &headers[1..])), "unsigned", "it is signed as all is");
    let dropbox = json!({"handshake": "dropbox", "secret": "geheim-geheim", "header": "X-Dropbox-Signature"});
    let ask = with_query(HookMethod::Get, &[("challenge", "c")]);
    assert!(take(dropbox.clone(), &ask).unwrap().events.is_empty());
    assert_eq!(reason(dropbox.clone(), &with_query(HookMethod::Get, &[])), "method");
    assert_eq!(Webhook.methods(&settings(dropbox).unwrap()), [HookMethod::Post, HookMethod::Get]);
}

#[test]
fn cloudevents_have_their_own_ids_in_every_mode() {
    let params = json!({"format": "cloudevents", "handshake": "cloudevents"});
    let event = |id: &str| format!(r#"{{"specversion":"1.0","type":"t","source":"/s","id":"{id}"}}"#);
    let batch = format!("[{},{}]", event("1"), event("2"));
    let taken =
        take(params.clone(), &request(&batch, &[("content-type", "application/cloudevents-batch+json")])).unwrap();
    let keys: Vec<_> = taken.events.iter().map(|event| event.key.as_ref().unwrap().as_str()).collect();
    assert_eq!(keys, [r#"["/s","1"]"#, r#"["/s","2"]"#]);
    assert!(taken.events[0].payload.as_str().contains("__ow_headers"));
    assert_eq!(reason(params, &request("{}", &[("content-type", "application/json")])), "content_type");
}

#[test]
fn methods_and_content_types_are_those_that_are_asked_for() {
    let params = json!({"methods": ["put", "GET"], "contentTypes": ["application/json", "text/*"]});
    assert_eq!(reason(params.clone(), &request("{}", &[("content-type", "application/json")])), "method");
    let put = |kind: &str| HookRequest { method: HookMethod::Put, ..request("{}", &[("content-type", kind)]) };
    for kind in ["application/json", "Application/JSON; charset=utf-8", "text/plain"] {
        assert!(take(params.clone(), &put(kind)).is_ok(), "{kind}");
    }
    assert_eq!(reason(params.clone(), &put("application/xml")), "content_type");
    let get = take(params, &with_query(HookMethod::Get, &[("a", "1")])).unwrap();
    assert_eq!(get.events[0].payload.as_str(), r#"{"__ow_headers":{},"__ow_query":{"a":"1"}}"#);
}

#[test]
fn parameters_that_make_no_sense_are_refused() {
    for (params, text) in [
        (json!({"secret": "short"}), "shorter than 8 characters"),
        (json!({"secret": 7}), "the parameter `secret`: expected a text or an array of texts"),
        (json!({"secret": []}), "has 0 texts; expected 1 to 3"),
        (json!({"header": "X"}), "need a `secret`"),
        (json!({"secret": "long-enough", "scheme": "gitbub"}), "one of hmac-sha256, github, gitlab"),
        (json!({"secret": "long-enough", "scheme": 7}), "the name of a preset or an object"),
        (json!({"secret": "long-enough", "scheme": {"header": "X", "hash": "md5"}}), "`scheme.hash`: unknown variant `md5`"),
        (json!({"secret": "long-enough", "scheme": {}}), "missing field `header`"),
        (json!({"secret": "long-enough", "tolerance": 5}), "needs a `scheme` with a time of signing"),
        (json!({"secret": "long-enough", "scheme": "standard-webhooks"}), "not the base64"),
        (json!({"idHeader": "a b"}), "`idHeader` must be the name"),
        (json!({"idHeader": "a", "idField": "/a"}), "exclude each other"),
        (json!({"idField": "a"}), "a JSON pointer, like /id"),
        (json!({"methods": ["DELETE"]}), "an array of POST, PUT and GET"),
        (json!({"contentTypes": ["json"]}), "media types like"),
        (json!({"handshake": "x"}), "needs a `secret`"),
        (json!({"handshake": "meta"}), "need each other"),
        (json!({"format": "xml"}), "`format`: unknown variant `xml`"),
    ] {
        let error = settings(params.clone()).err().unwrap_or_else(|| panic!("{params} is taken"));
        assert!(error.contains(text), "{params}: {error}");
    }
}

proptest::proptest! {
    /// Whoever knows the address may send anything: it is taken or refused, and breaks nothing off.
    #[test]
    fn anything_is_taken_or_refused(
        scheme in proptest::sample::select(crate::hook::scheme::PRESETS.to_vec()),
        handshake in proptest::sample::select(vec!["cloudevents", "event-grid", "graph", "x", "dropbox", "okta"]),
        cloudevents in proptest::bool::ANY,
        method in proptest::sample::select(vec![HookMethod::Post, HookMethod::Put, HookMethod::Get, HookMethod::Options]),
        media_type in proptest::sample::select(vec!["application/json", "application/x-www-form-urlencoded", "application/cloudevents+json", "application/cloudevents-batch+json", "", "x"]),
        signature in "[ -~]{0,40}",
        other in "[ -~]{0,40}",
        body in proptest::collection::vec(proptest::num::u8::ANY, 0..60),
    ) {
        let secret = if scheme == "standard-webhooks" { "whsec_AAAAAAAA" } else { "geheim-geheim" };
        let params = json!({
            "scheme": scheme, "secret": secret, "handshake": handshake, "methods": ["POST", "PUT", "GET"],
            "format": if cloudevents { "cloudevents" } else { "any" },
        });
        let settings = settings(params).unwrap();
        let signed = settings.verifier.as_ref().unwrap().scheme();
        let mut names = vec![signed.header.clone(), "ce-specversion".into(), "ce-id".into(), "aeg-event-type".into()];
        names.extend(signed.timestamp_header.clone());
        names.extend(signed.id_header.clone());
        let headers: Vec<(&str, &str)> = names
            .iter()
            .enumerate()
            .map(|(n, name)| (name.as_str(), if n % 2 == 0 { signature.as_str() } else { other.as_str() }))
            .chain([("content-type", media_type)])
            .collect();
        let query = vec![("challenge".to_owned(), other.clone()), ("crc_token".to_owned(), signature.clone())];
        let request = HookRequest { method, query, body: bytes::Bytes::from(body), ..request("", &headers) };
        if let Err(error) = Webhook.on_hook(&settings, &request, 1000) {
            proptest::prop_assert_ne!(error.reason, HookReason::Fault);
            proptest::prop_assert!(!error.text.contains(secret));
        }
    }
}
