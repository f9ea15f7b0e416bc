//! The parameters of `github/webhook` (contract §3.4), read: they are checked once, where they are read.

use std::borrow::Cow;

use reqwest::Certificate;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;
use url::Url;

use crate::hook::scheme::Scheme;
use crate::hook::settings::OneOrSeveral;
use crate::hook::verify::Verifier;

use super::filter::{Filter, Globs};

/// Where GitHub's API is.
const API: &str = "https://api.github.com";
/// Events of one hook; GitHub has some seventy.
const EVENTS_MAX: usize = 100;
/// The longest name of an owner or a repository at GitHub.
const NAME_CHARS_MAX: usize = 100;
/// The event that is asked for where none is named; GitHub's own default.
const PUSH: &str = "push";

/// The parameters of `github/webhook`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Given {
    /// The user that the access token is of, and the owner of a repository that is named without one.
    #[serde(default)]
    username: Option<String>,
    /// The repository: `name`, or `owner/name`.
    #[serde(default)]
    repository: Option<String>,
    /// A token that may administer the repository's hooks (`admin:repo_hook`, or "Webhooks: read and write"). With it the hub
    /// makes, mends and removes the hook; without it the answer tells the address and the secret to enter at GitHub.
    #[serde(default)]
    access_token: Option<String>,
    /// The events, as an array or a text with commas; `*` is all [default: push].
    #[serde(default)]
    events: Option<OneOrSeveral>,
    /// Where the API is; `https://HOST/api/v3` for GitHub Enterprise Server [default: https://api.github.com].
    #[serde(default)]
    base_url: Option<String>,
    /// The secret that deliveries are signed with [default: one that the hub makes].
    #[serde(default)]
    secret: Option<String>,
    /// Patterns of branches: an event that is about other branches fires nothing. `*` is anything without `/`, `**` anything, and
    /// a pattern after `!` takes out again [default: all].
    #[serde(default)]
    branches: Option<OneOrSeveral>,
    /// Patterns of files, in the same form: a push that changes none of them fires nothing [default: all].
    #[serde(default)]
    paths: Option<OneOrSeveral>,
    /// PEM text of the certificates that the API's may be signed by, beside those that the system trusts.
    #[serde(default)]
    ca: Option<String>,
    /// The secret that the hub made.
    #[serde(default)]
    #[schemars(skip)]
    generated_secret: Option<String>,
}

/// The parameters, read.
#[derive(Deserialize)]
#[serde(try_from = "Given")]
pub(crate) struct Settings {
    /// Verifies deliveries.
    pub(crate) verifier: Verifier,
    /// The events; `*` is all.
    pub(crate) events: Vec<String>,
    pub(crate) filter: Filter,
    /// The secret that deliveries are signed with.
    pub(crate) secret: String,
    /// Where the hub keeps the hook, where it has a token for that.
    pub(crate) place: Option<Place>,
}

/// A repository at GitHub, and who asks.
#[derive(Clone)]
pub(crate) struct Place {
    /// The API's address of the repository.
    pub(crate) repository: Url,
    /// The user, where one is named.
    pub(crate) username: Option<String>,
    pub(crate) token: String,
    /// Further certificates to trust.
    pub(crate) ca: Vec<Certificate>,
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
        let place = read_place(&given)?;
        let secret = match (given.secret, given.generated_secret) {
            (Some(secret), _) if secret.chars().count() < 8 => {
                return Err(
                    "the parameter `secret` is shorter than 8 characters, which is guessed easily".into()
                );
            }
            (Some(secret), _) | (None, Some(secret)) => secret,
            (None, None) => return Err("the parameter `secret` is missing".into()),
        };
        let scheme = Scheme::preset("github").ok_or("the scheme of GitHub is missing")?;
        let patterns = |name: &str, given: Option<OneOrSeveral>| match given {
            None => Ok(None),
            Some(given) => {
                Globs::read(&items(given)).map(Some).map_err(|text| format!("the parameter `{name}` {text}"))
            }
        };
        let filter = Filter {
            branches: patterns("branches", given.branches)?,
            paths: patterns("paths", given.paths)?,
        };
        Ok(Self {
            verifier: Verifier::new(scheme, std::slice::from_ref(&secret))?,
            events: read_events(given.events)?,
            filter,
            secret,
            place,
        })
    }
}

/// The items of an array, or of a text with commas.
fn items(given: OneOrSeveral) -> Vec<String> {
    let texts = given.into_vec();
    texts
        .iter()
        .flat_map(|text| text.split(','))
        .map(|item| item.trim().to_owned())
        .filter(|item| !item.is_empty())
        .collect()
}

fn read_events(given: Option<OneOrSeveral>) -> Result<Vec<String>, String> {
    let Some(given) = given else { return Ok(vec![PUSH.to_owned()]) };
    let mut events = items(given);
    events.sort();
    events.dedup();
    let legal =
        |event: &String| event == "*" || event.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    if let Some(bad) = events.iter().find(|event| !legal(event)) {
        return Err(format!(
            "the parameter `events` has `{}`; expected names like push or pull_request, or `*` for all",
            bad.escape_debug()
        ));
    }
    match events.len() {
        0 => Err("the parameter `events` names none; leave it out for push, or give `*` for all".into()),
        count if count > EVENTS_MAX => {
            Err(format!("the parameter `events` has {count} events, more than {EVENTS_MAX}"))
        }
        // All of them and some of them are all of them.
        _ if events.iter().any(|event| event == "*") => Ok(vec!["*".to_owned()]),
        _ => Ok(events),
    }
}

fn read_place(given: &Given) -> Result<Option<Place>, String> {
    let base = read_base(given.base_url.as_deref().unwrap_or(API))?;
    let ca = match &given.ca {
        None => Vec::new(),
        Some(text) => match Certificate::from_pem_bundle(text.as_bytes()) {
            Ok(ca) if !ca.is_empty() => ca,
            _ => return Err("the parameter `ca` holds no certificate in PEM form".into()),
        },
    };
    let named = match (&given.repository, &given.username) {
        (None, _) => None,
        (Some(repository), username) => Some(match (repository.split_once('/'), username) {
            (Some((owner, name)), _) => (owner, name),
            (None, Some(owner)) => (owner.as_str(), repository.as_str()),
            (None, None) => {
                return Err(
                    "the parameter `repository` names no owner: give owner/name, or `username`".into()
                );
            }
        }),
    };
    if let Some((owner, name)) = named
        && ![owner, name].into_iter().all(is_name)
    {
        return Err(
            "the parameter `repository` must be the name of one at GitHub: name, or owner/name".into()
        );
    }
    let Some(token) = given.access_token.clone() else { return Ok(None) };
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("the parameter `accessToken` is no token of GitHub's".into());
    }
    let Some((owner, name)) = named else {
        return Err("an `accessToken` needs a `repository`, where the hook is made".into());
    };
    let mut repository = base;
    repository
        .path_segments_mut()
        .map_err(|()| "the parameter `baseUrl` cannot be a base".to_owned())?
        .pop_if_empty()
        .extend(["repos", owner, name]);
    Ok(Some(Place { repository, username: given.username.clone(), token, ca }))
}

fn read_base(text: &str) -> Result<Url, String> {
    // The text may hold a password, so that it is not repeated.
    let wrong = "the parameter `baseUrl` must be like https://api.github.com or https://HOST/api/v3";
    let url = Url::parse(text).map_err(|_| wrong.to_owned())?;
    let is_base = ["http", "https"].contains(&url.scheme())
        && url.has_host()
        && url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    if is_base { Ok(url) } else { Err(wrong.to_owned()) }
}

fn is_name(name: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    !name.is_empty() && name.len() <= NAME_CHARS_MAX && name.bytes().all(legal) && name != "." && name != ".."
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use triggerfish_model::JsonObject;

    use super::*;

    fn read(params: Value) -> Result<Settings, String> {
        let mut params = params.as_object().unwrap().clone();
        params.insert("generatedSecret".into(), json!("made-by-the-hub"));
        crate::catalogue::read(&JsonObject::from_map(&params)).map_err(|error| error.0)
    }

    #[test]
    fn the_contracts_parameters_name_a_repository_and_its_events() {
        let stock = json!({"username": "u", "repository": "r", "accessToken": "t", "events": "push, pull_request,push"});
        let settings = read(stock).unwrap();
        assert_eq!(settings.events, ["pull_request", "push"]);
        let place = settings.place.unwrap();
        assert_eq!(place.repository.as_str(), "https://api.github.com/repos/u/r");
        let enterprise = json!({"repository": "o/r", "accessToken": "t", "baseUrl": "https://ghe.example/api/v3/", "events": ["*", "push"]});
        let settings = read(enterprise).unwrap();
        assert_eq!(settings.events, ["*"]);
        assert_eq!(settings.place.unwrap().repository.as_str(), "https://ghe.example/api/v3/repos/o/r");
        let by_hand = read(json!({})).unwrap();
        assert_eq!(
            (by_hand.events.as_slice(), by_hand.secret.as_str()),
            (&["push".to_owned()][..], "made-by-the-hub")
        );
        assert!(by_hand.place.is_none());
        assert_eq!(read(json!({"secret": "given-by-the-user"})).unwrap().secret, "given-by-the-user");
    }

    #[test]
    fn parameters_that_make_no_sense_are_refused() {
        for (params, text) in [
            (json!({"secret": "short"}), "shorter than 8 characters"),
            (json!({"accessToken": "t"}), "needs a `repository`"),
            (json!({"accessToken": "t", "repository": "r"}), "names no owner"),
            (json!({"accessToken": "t t", "repository": "o/r"}), "no token"),
            (json!({"repository": "o/r/x"}), "must be the name of one"),
            (json!({"repository": "../.."}), "must be the name of one"),
            (json!({"events": ""}), "names none"),
            (json!({"events": "Push"}), "has `Push`; expected names like push"),
            (json!({"baseUrl": "ftp://x"}), "must be like https://api.github.com"),
            (json!({"baseUrl": "https://u:geheim@x"}), "must be like https://api.github.com"),
            (json!({"ca": "x"}), "no certificate"),
            (json!({"branches": "!main"}), "the parameter `branches` "),
            (json!({"paths": []}), "the parameter `paths` "),
        ] {
            let error = read(params.clone()).err().unwrap_or_else(|| panic!("{params} is taken"));
            assert!(error.contains(text) && !error.contains("geheim"), "{params}: {error}");
        }
    }
}
