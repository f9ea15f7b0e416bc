//! How senders sign, as data: a scheme is a row of a table, or the user's own in the same form.
//!
//! | preset | its source |
//! |---|---|
//! | `github` | GitHub, "Validating webhook deliveries"; Forgejo and Gogs send the same |
//! | `gitlab` | GitLab, "Webhooks": the secret itself in a header |
//! | `stripe` | Stripe, "Verify webhook signatures manually" |
//! | `slack` | Slack, "Verifying requests from Slack" |
//! | `standard-webhooks` | Standard Webhooks 1.0.0; Svix and those that build on it |
//! | `shopify`, `bitbucket`, `gitea`, `zoom` | their pages of the same kind |
//! | `bearer` | RFC 6750: the secret itself in `Authorization` |
//! | `hmac-sha256` | no sender's own: hexadecimal or base64, with or without `sha256=` |

use schemars::JsonSchema;
use serde::Deserialize;

use super::handshake::Handshake;

/// How old a signature may be where the scheme's own page names five minutes, in seconds.
const TOLERANCE: u32 = 300;
/// The longest tolerance that a user may ask for: with more, a signature is hardly bound to its time.
const TOLERANCE_MAX: u32 = 24 * 3600;

/// A way to sign requests.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Scheme {
    /// The header that holds the signature, or the secret itself.
    pub(crate) header: String,
    /// `hmac`, or `token` where the header holds the secret itself [default: hmac].
    #[serde(default)]
    pub(crate) kind: Kind,
    /// The hash of the HMAC: `sha1`, `sha256` or `sha512` [default: sha256].
    #[serde(default)]
    pub(crate) hash: Hash,
    /// How the signature is written: `hex`, `base64`, or `any` of both [default: hex].
    #[serde(default)]
    pub(crate) encoding: Encoding,
    /// What stands before the signature in the header; other parts are not looked at.
    #[serde(default)]
    pub(crate) prefix: String,
    /// What parts several signatures in the header.
    #[serde(default)]
    pub(crate) separator: Option<char>,
    /// What is signed: a text with `{body}`, and `{timestamp}` and `{id}` where they are signed too [default: {body}].
    #[serde(default = "body")]
    pub(crate) signed: String,
    /// The header that holds the time of signing, in seconds since 1970.
    #[serde(default)]
    pub(crate) timestamp_header: Option<String>,
    /// What stands before the time of signing where it is a part of the signature's header.
    #[serde(default)]
    pub(crate) timestamp_prefix: Option<String>,
    /// How many seconds the time of signing may be off [default: 300].
    #[serde(default = "tolerance")]
    pub(crate) tolerance: u32,
    /// How the secret becomes the key: `text` as it is, or `base64`, with what stands before the first `_` left out
    /// [default: text].
    #[serde(default)]
    pub(crate) secret_encoding: SecretEncoding,
    /// The header that holds the delivery's id, by which a repeated one is recognised.
    #[serde(default)]
    pub(crate) id_header: Option<String>,
    /// The JSON pointer to the delivery's id in the body: `/id`.
    #[serde(default)]
    pub(crate) id_field: Option<String>,
    /// Whether every delivery has its id.
    #[serde(skip)]
    pub(crate) id_required: bool,
    /// How the sender asks whether it may call.
    #[serde(skip)]
    pub(crate) handshake: Option<Handshake>,
    /// Whether the prefix may be left out.
    #[serde(skip)]
    pub(crate) prefix_optional: bool,
}

fn body() -> String {
    "{body}".to_owned()
}

fn tolerance() -> u32 {
    TOLERANCE
}

/// What the header holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    #[default]
    Hmac,
    Token,
}

/// The hash of an HMAC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Hash {
    Sha1,
    #[default]
    Sha256,
    Sha512,
}

/// How a signature is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Encoding {
    #[default]
    Hex,
    Base64,
    Any,
}

/// How a secret becomes a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum SecretEncoding {
    #[default]
    Text,
    Base64,
}

/// The names of the presets.
pub(crate) const PRESETS: [&str; 11] = [
    "hmac-sha256",
    "github",
    "gitlab",
    "stripe",
    "slack",
    "standard-webhooks",
    "shopify",
    "bitbucket",
    "gitea",
    "zoom",
    "bearer",
];

impl Scheme {
    /// The scheme of the header `header` with nothing special.
    fn of(header: &str) -> Self {
        Self {
            header: header.to_owned(),
            kind: Kind::Hmac,
            hash: Hash::Sha256,
            encoding: Encoding::Hex,
            prefix: String::new(),
            separator: None,
            signed: body(),
            timestamp_header: None,
            timestamp_prefix: None,
            tolerance: TOLERANCE,
            secret_encoding: SecretEncoding::Text,
            id_header: None,
            id_field: None,
            id_required: false,
            handshake: None,
            prefix_optional: false,
        }
    }

    /// The preset of this name.
    pub(crate) fn preset(name: &str) -> Option<Self> {
        let text = |text: &str| Some(text.to_owned());
        Some(match name {
            "hmac-sha256" => Self {
                prefix: "sha256=".into(),
                prefix_optional: true,
                encoding: Encoding::Any,
                ..Self::of("X-Hub-Signature-256")
            },
            "github" => Self {
                prefix: "sha256=".into(),
                id_header: text("X-GitHub-Delivery"),
                id_required: true,
                ..Self::of("X-Hub-Signature-256")
            },
            "gitlab" => {
                Self { kind: Kind::Token, id_header: text("Idempotency-Key"), ..Self::of("X-Gitlab-Token") }
            }
            "stripe" => Self {
                prefix: "v1=".into(),
                separator: Some(','),
                signed: "{timestamp}.{body}".into(),
                timestamp_prefix: text("t="),
                id_field: text("/id"),
                ..Self::of("Stripe-Signature")
            },
            "slack" => Self {
                prefix: "v0=".into(),
                signed: "v0:{timestamp}:{body}".into(),
                timestamp_header: text("X-Slack-Request-Timestamp"),
                id_field: text("/event_id"),
                handshake: Some(Handshake::Slack),
                ..Self::of("X-Slack-Signature")
            },
            "standard-webhooks" => Self {
                prefix: "v1,".into(),
                separator: Some(' '),
                encoding: Encoding::Base64,
                signed: "{id}.{timestamp}.{body}".into(),
                timestamp_header: text("webhook-timestamp"),
                secret_encoding: SecretEncoding::Base64,
                id_header: text("webhook-id"),
                id_required: true,
                ..Self::of("webhook-signature")
            },
            "shopify" => Self {
                encoding: Encoding::Base64,
                id_header: text("X-Shopify-Webhook-Id"),
                ..Self::of("X-Shopify-Hmac-Sha256")
            },
            "bitbucket" => Self {
                prefix: "sha256=".into(),
                id_header: text("X-Request-UUID"),
                ..Self::of("X-Hub-Signature")
            },
            "gitea" => Self { id_header: text("X-Gitea-Delivery"), ..Self::of("X-Gitea-Signature") },
            "zoom" => Self {
                prefix: "v0=".into(),
                signed: "v0:{timestamp}:{body}".into(),
                timestamp_header: text("x-zm-request-timestamp"),
                handshake: Some(Handshake::Zoom),
                ..Self::of("x-zm-signature")
            },
            "bearer" => Self { kind: Kind::Token, prefix: "Bearer ".into(), ..Self::of("Authorization") },
            _ => return None,
        })
    }

    /// Whether the time of signing is told, and so looked at.
    pub(crate) fn is_timed(&self) -> bool {
        self.timestamp_header.is_some() || self.timestamp_prefix.is_some()
    }

    /// Checks what types cannot say; the text names the field.
    pub(crate) fn check(&self) -> Result<(), String> {
        let headers = [Some(&self.header), self.timestamp_header.as_ref(), self.id_header.as_ref()];
        if let Some(bad) = headers.into_iter().flatten().find(|name| !is_header(name)) {
            return Err(format!("`{}` is no name of an HTTP header", bad.escape_debug()));
        }
        if self.tolerance == 0 || self.tolerance > TOLERANCE_MAX {
            return Err(format!("the tolerance is {} s; expected 1 to {TOLERANCE_MAX}", self.tolerance));
        }
        if self.timestamp_header.is_some() && self.timestamp_prefix.is_some() {
            return Err("`timestampHeader` and `timestampPrefix` exclude each other".to_owned());
        }
        let parts = self.parts()?;
        let has = |wanted: &Part<'_>| parts.iter().any(|part| part == wanted);
        if self.kind == Kind::Hmac && !has(&Part::Body) {
            return Err(format!("`signed` is `{}`, which does not hold {{body}}", self.signed));
        }
        if has(&Part::Timestamp) != self.is_timed() {
            return Err(
                "a signed {timestamp} needs `timestampHeader` or `timestampPrefix`, and these need it"
                    .to_owned(),
            );
        }
        if has(&Part::Id) && self.id_header.is_none() {
            return Err("a signed {id} needs `idHeader`".to_owned());
        }
        if let Some(pointer) = &self.id_field
            && !pointer.starts_with('/')
        {
            return Err(format!("`{pointer}` is no JSON pointer; expected something like /id"));
        }
        Ok(())
    }

    /// What is signed, in parts.
    pub(crate) fn parts(&self) -> Result<Vec<Part<'_>>, String> {
        let mut parts = Vec::new();
        let mut rest = self.signed.as_str();
        while let Some((text, after)) = rest.split_once('{') {
            let (name, after) = after
                .split_once('}')
                .ok_or_else(|| format!("`signed` is `{}`: a brace is not closed", self.signed))?;
            if !text.is_empty() {
                parts.push(Part::Text(text));
            }
            parts.push(match name {
                "body" => Part::Body,
                "timestamp" => Part::Timestamp,
                "id" => Part::Id,
                other => {
                    return Err(format!(
                        "`signed` has {{{other}}}; expected {{body}}, {{timestamp}} or {{id}}"
                    ));
                }
            });
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest));
        }
        Ok(parts)
    }
}

/// A part of what is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part<'a> {
    Text(&'a str),
    Body,
    Timestamp,
    Id,
}

/// Whether `name` can be the name of an HTTP header (RFC 9110 §5.6.2, with a bound of our own).
pub(crate) fn is_header(name: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.len() <= 128 && name.bytes().all(legal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_makes_sense() {
        for name in PRESETS {
            let scheme = Scheme::preset(name).unwrap_or_else(|| panic!("{name} is listed and not there"));
            assert_eq!(scheme.check(), Ok(()), "{name}");
        }
        assert_eq!(Scheme::preset("nonsense"), None);
    }

    #[test]
    fn a_scheme_of_ones_own_is_checked() {
        let read = |value: serde_json::Value| serde_json::from_value::<Scheme>(value);
        let own = serde_json::json!({
            "header": "X-Sign", "hash": "sha512", "encoding": "base64", "signed": "{timestamp}:{body}",
            "timestampHeader": "X-Time", "tolerance": 60,
        });
        assert_eq!(read(own).unwrap().check(), Ok(()));
        for (wrong, text) in [
            (serde_json::json!({"header": "X Sign"}), "no name of an HTTP header"),
            (serde_json::json!({"header": "X", "signed": "{timestamp}"}), "does not hold {body}"),
            (serde_json::json!({"header": "X", "signed": "{body}{timestamp}"}), "needs `timestampHeader`"),
            (serde_json::json!({"header": "X", "timestampHeader": "T"}), "and these need it"),
            (serde_json::json!({"header": "X", "signed": "{id}{body}"}), "needs `idHeader`"),
            (serde_json::json!({"header": "X", "signed": "{url}{body}"}), "has {url}; expected"),
            (serde_json::json!({"header": "X", "signed": "{body"}), "not closed"),
            (serde_json::json!({"header": "X", "tolerance": 0}), "expected 1 to 86400"),
            (serde_json::json!({"header": "X", "idField": "id"}), "no JSON pointer"),
        ] {
            let error = read(wrong.clone()).unwrap().check().unwrap_err();
            assert!(error.contains(text), "{wrong}: {error}");
        }
        assert!(read(serde_json::json!({"header": "X", "hash": "md5"})).is_err());
        assert!(read(serde_json::json!({"header": "X", "handshake": "slack"})).is_err());
    }
}
