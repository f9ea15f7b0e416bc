//! The parameters of `webhook/feed`, read: they are checked once, where they are read.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;
use serde_json::Value;

use super::HookMethod;
use super::handshake::Handshake;
use super::scheme::{PRESETS, Scheme, is_header};
use super::verify::Verifier;

/// The least length of a secret: a shorter one is guessed easily.
const SECRET_CHARS_MIN: usize = 8;
/// Secrets at once: the old one and the new one, and one to spare.
const SECRETS_MAX: usize = 3;
/// Media types that a hook may be bound to.
const CONTENT_TYPES_MAX: usize = 20;

/// The parameters of `webhook/feed`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Given {
    /// The secret that requests are signed with, or up to three while it changes; without one everybody who knows the address
    /// can fire the trigger.
    #[serde(default)]
    secret: Option<OneOrSeveral>,
    /// How requests are signed: a preset (`github`, `gitlab`, `stripe`, `slack`, `standard-webhooks`, `shopify`, `bitbucket`,
    /// `gitea`, `zoom`, `bearer`), or an object of one's own with `header` and the like [default: hmac-sha256].
    #[serde(default)]
    #[schemars(with = "Option<NameOrScheme>")]
    scheme: Option<Value>,
    /// The header that holds the signature, in place of the scheme's.
    #[serde(default)]
    header: Option<String>,
    /// How many seconds the time of signing may be off, in place of the scheme's.
    #[serde(default)]
    tolerance: Option<u32>,
    /// The header that holds the delivery's id, by which a repeated one is recognised; a request without it is refused
    /// [default: the scheme's, else Idempotency-Key where it is sent].
    #[serde(default)]
    id_header: Option<String>,
    /// The JSON pointer to the delivery's id in the body, `/id`, in place of a header.
    #[serde(default)]
    id_field: Option<String>,
    /// What bodies are: `any`, or `cloudevents` in binary, structured or batched mode [default: any].
    #[serde(default)]
    format: Format,
    /// The methods that fire: POST, PUT, GET [default: POST].
    #[serde(default)]
    methods: Option<Vec<String>>,
    /// The media types that are taken, `application/json` or `text/*` [default: all].
    #[serde(default)]
    content_types: Option<Vec<String>>,
    /// How the sender asks whether it may call: `slack`, `zoom`, `cloudevents`, `event-grid`, `graph`, `meta`, `x`, `dropbox`,
    /// `okta` [default: the scheme's own].
    #[serde(default)]
    handshake: Option<Handshake>,
    /// The token by which the handshake `meta` is recognised.
    #[serde(default)]
    verify_token: Option<String>,
}

/// What a body is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    #[default]
    Any,
    Cloudevents,
}

/// A text or several.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected a text or an array of texts")]
pub(crate) enum OneOrSeveral {
    One(String),
    Several(Vec<String>),
}

impl OneOrSeveral {
    /// All of them.
    pub(crate) fn into_vec(self) -> Vec<String> {
        match self {
            Self::One(text) => vec![text],
            Self::Several(texts) => texts,
        }
    }
}

/// For the schema of the parameter `scheme`.
#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "it is only described")]
enum NameOrScheme {
    Name(String),
    Own(Box<Scheme>),
}

/// The parameters, read.
#[derive(Deserialize)]
#[serde(try_from = "Given")]
pub(crate) struct Settings {
    /// The scheme, with its secrets where there are any.
    pub(crate) verifier: Option<Verifier>,
    /// Where a delivery's id is.
    pub(crate) id: DeliveryId,
    pub(crate) format: Format,
    /// The methods that fire.
    pub(crate) methods: Vec<HookMethod>,
    /// The media types that are taken; all where there are none.
    pub(crate) content_types: Vec<String>,
    pub(crate) handshake: Option<Handshake>,
    pub(crate) verify_token: Option<String>,
}

/// Where a delivery's id is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DeliveryId {
    /// In this header; refused without it where `required`.
    Header { name: String, required: bool },
    /// In the body at this JSON pointer; refused without it where `required`.
    Field { pointer: String, required: bool },
}

impl DeliveryId {
    /// Whether a request without it is refused.
    pub(crate) fn is_required(&self) -> bool {
        match self {
            Self::Header { required, .. } | Self::Field { required, .. } => *required,
        }
    }
}

impl JsonSchema for Settings {
    fn schema_name() -> Cow<'static, str> {
        Given::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Given::json_schema(generator)
    }
}

impl TryFrom<Given> for Settings {
    type Error = String;

    fn try_from(given: Given) -> Result<Self, String> {
        let secrets = read_secrets(given.secret)?;
        let is_named = given.scheme.is_some() || given.header.is_some() || given.tolerance.is_some();
        if secrets.is_empty() && is_named {
            return Err("the parameters `header`, `scheme` and `tolerance` need a `secret`".into());
        }
        let mut scheme = read_scheme(given.scheme)?;
        if let Some(header) = given.header {
            scheme.header = header;
        }
        if let Some(tolerance) = given.tolerance {
            if !scheme.is_timed() {
                return Err("the parameter `tolerance` needs a `scheme` with a time of signing".into());
            }
            scheme.tolerance = tolerance;
        }
        let id = match (given.id_header, given.id_field) {
            (Some(_), Some(_)) => {
                return Err("the parameters `idHeader` and `idField` exclude each other".into());
            }
            (Some(name), None) => {
                if !is_header(&name) {
                    return Err("the parameter `idHeader` must be the name of an HTTP header".into());
                }
                DeliveryId::Header { name, required: true }
            }
            (None, Some(pointer)) => {
                if !pointer.starts_with('/') {
                    return Err("the parameter `idField` must be a JSON pointer, like /id".into());
                }
                DeliveryId::Field { pointer, required: true }
            }
            (None, None) => id_of_scheme(&scheme, secrets.is_empty()),
        };
        scheme.check().map_err(|text| format!("the parameter `scheme`: {text}"))?;
        let handshake = given.handshake.or(scheme.handshake.filter(|_| !secrets.is_empty()));
        if handshake.is_some_and(Handshake::needs_secret) && secrets.is_empty() {
            return Err("the parameter `handshake` needs a `secret`, which its answer is made with".into());
        }
        if (handshake == Some(Handshake::Meta)) != given.verify_token.is_some() {
            return Err("the handshake `meta` and the parameter `verifyToken` need each other".into());
        }
        Ok(Self {
            verifier: if secrets.is_empty() { None } else { Some(Verifier::new(scheme, &secrets)?) },
            id,
            format: given.format,
            methods: read_methods(given.methods)?,
            content_types: read_content_types(given.content_types)?,
            handshake,
            verify_token: given.verify_token,
        })
    }
}

fn read_secrets(given: Option<OneOrSeveral>) -> Result<Vec<String>, String> {
    let Some(given) = given else { return Ok(Vec::new()) };
    let secrets = given.into_vec();
    if secrets.is_empty() || secrets.len() > SECRETS_MAX {
        return Err(format!(
            "the parameter `secret` has {} texts; expected 1 to {SECRETS_MAX}",
            secrets.len()
        ));
    }
    if secrets.iter().any(|secret| secret.chars().count() < SECRET_CHARS_MIN) {
        return Err(format!(
            "the parameter `secret` is shorter than {SECRET_CHARS_MIN} characters, which is guessed easily"
        ));
    }
    Ok(secrets)
}

fn read_scheme(given: Option<Value>) -> Result<Scheme, String> {
    match given.unwrap_or_else(|| Value::from("hmac-sha256")) {
        Value::String(name) => Scheme::preset(&name).ok_or_else(|| {
            format!(
                "the parameter `scheme` is no preset; expected an object, or one of {}",
                PRESETS.join(", ")
            )
        }),
        own @ Value::Object(_) => serde_path_to_error::deserialize(own).map_err(|error| {
            let path = error.path().to_string();
            let place = if path == "." { "scheme".to_owned() } else { format!("scheme.{path}") };
            format!("the parameter `{place}`: {}", error.into_inner())
        }),
        _ => Err("the parameter `scheme` must be the name of a preset or an object".into()),
    }
}

/// Where ids are where the user names no place.
fn id_of_scheme(scheme: &Scheme, is_unsigned: bool) -> DeliveryId {
    /// Of the IETF's draft, and of those who follow it.
    const IDEMPOTENCY_KEY: &str = "Idempotency-Key";
    match (&scheme.id_header, &scheme.id_field) {
        (Some(name), _) if !is_unsigned => {
            DeliveryId::Header { name: name.clone(), required: scheme.id_required }
        }
        (None, Some(pointer)) if !is_unsigned => {
            DeliveryId::Field { pointer: pointer.clone(), required: scheme.id_required }
        }
        _ => DeliveryId::Header { name: IDEMPOTENCY_KEY.into(), required: false },
    }
}

fn read_methods(given: Option<Vec<String>>) -> Result<Vec<HookMethod>, String> {
    let Some(given) = given else { return Ok(vec![HookMethod::Post]) };
    let read = |name: &String| {
        HookMethod::parse(&name.to_ascii_uppercase()).filter(|method| *method != HookMethod::Options)
    };
    given
        .iter()
        .map(read)
        .collect::<Option<Vec<_>>>()
        .filter(|methods| !methods.is_empty())
        .ok_or_else(|| "the parameter `methods` must be an array of POST, PUT and GET".to_owned())
}

fn read_content_types(given: Option<Vec<String>>) -> Result<Vec<String>, String> {
    let given = given.unwrap_or_default();
    let legal =
        |name: &str| name.split_once('/').is_some_and(|(kind, rest)| !kind.is_empty() && !rest.is_empty());
    match given.iter().find(|name| !legal(name)) {
        Some(bad) => Err(format!(
            "the parameter `contentTypes` has `{}`; expected media types like application/json or text/*",
            bad.escape_debug()
        )),
        None if given.len() > CONTENT_TYPES_MAX => {
            Err(format!("the parameter `contentTypes` has more than {CONTENT_TYPES_MAX} media types"))
        }
        None => Ok(given.into_iter().map(|name| name.trim().to_ascii_lowercase()).collect()),
    }
}
