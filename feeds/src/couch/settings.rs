//! The parameters of `cloudant/changes`, read and checked, and the requests that they make. Pure.

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use url::Url;

/// How often the database is asked to say that it lives while nothing changes, in milliseconds.
pub(super) const HEARTBEAT_MS: u64 = 10_000;
/// The longest name or value of `query_params` that is taken; they are part of a URL.
const QUERY_BYTES_MAX: usize = 4096;

/// The parameters as they are given.
#[derive(Default)]
pub(crate) struct Given<'a> {
    pub(crate) host: Option<&'a str>,
    pub(crate) dbname: Option<&'a str>,
    pub(crate) protocol: Option<&'a str>,
    pub(crate) port: Option<&'a Value>,
    pub(crate) username: Option<&'a str>,
    pub(crate) password: Option<&'a str>,
    pub(crate) has_iam: bool,
    pub(crate) since: Option<&'a Value>,
    pub(crate) max_triggers: Option<i64>,
    pub(crate) filter: Option<&'a str>,
    pub(crate) query_params: Option<&'a Map<String, Value>>,
    pub(crate) include_docs: bool,
}

/// The parameters, read.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// The database, without credentials.
    pub(super) database: Url,
    pub(super) dbname: String,
    pub(super) credentials: Option<(String, String)>,
    /// Where to begin; `None` is now.
    pub(super) since: Option<Value>,
    /// How many changes end the feed.
    pub(super) most: Option<u64>,
    query: Vec<(String, String)>,
}

impl Settings {
    /// Reads the parameters; an error says which makes no sense, in the contract's words where it has some.
    pub(crate) fn read(given: &Given<'_>) -> Result<Self, String> {
        let missing = |name: &str| format!("cloudant trigger feed: missing {name} parameter");
        let dbname = given.dbname.filter(|text| !text.is_empty()).ok_or_else(|| missing("dbname"))?;
        let host = given.host.filter(|text| !text.is_empty()).ok_or_else(|| missing("host"))?;
        if given.has_iam {
            return Err("cloudant trigger feed: iamApiKey is not supported; use username and password".into());
        }
        let credentials = match (given.username, given.password) {
            (Some(username), Some(password)) => Some((username.to_owned(), password.to_owned())),
            (None, None) => None,
            (Some(_), None) => return Err(missing("password")),
            (None, Some(_)) => return Err(missing("username")),
        };
        let mut query = vec![
            ("feed".to_owned(), "continuous".to_owned()),
            ("heartbeat".to_owned(), HEARTBEAT_MS.to_string()),
        ];
        if given.include_docs {
            query.push(("include_docs".into(), "true".into()));
        }
        query.extend(filter(given.filter, given.query_params)?);
        Ok(Self {
            database: database(given.protocol.unwrap_or("https"), host, given.port, dbname)?,
            dbname: dbname.to_owned(),
            credentials,
            since: since(given.since)?,
            most: given.max_triggers.and_then(|most| u64::try_from(most).ok()),
            query,
        })
    }

    /// What tells this database from others.
    pub(super) fn database_hash(&self) -> String {
        hex::encode(Sha256::digest(self.database.as_str()).first_chunk::<8>().unwrap_or(&[0; 8]))
    }

    /// The continuous feed of the changes after `since`.
    pub(super) fn changes(&self, since: &Value) -> Url {
        let mut url = self.under("_changes");
        url.query_pairs_mut().extend_pairs(&self.query).append_pair("since", &plain(since));
        url
    }

    /// Tells the sequence of now.
    pub(super) fn latest(&self) -> Url {
        let mut url = self.under("_changes");
        url.query_pairs_mut().append_pair("since", "now").append_pair("limit", "1");
        url
    }

    fn under(&self, segment: &str) -> Url {
        let mut url = self.database.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.push(segment);
        }
        url
    }
}

fn database(protocol: &str, host: &str, port: Option<&Value>, dbname: &str) -> Result<Url, String> {
    if !matches!(protocol, "http" | "https") {
        return Err(format!("the parameter `protocol` is `{protocol}`; expected http or https"));
    }
    let port =
        match port {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) if text.is_empty() => None,
            Some(given) => {
                let number = given.as_u64().or_else(|| given.as_str()?.trim().parse().ok());
                let port = number.and_then(|number| u16::try_from(number).ok()).filter(|port| *port > 0);
                Some(port.ok_or_else(|| {
                    format!("the parameter `port` is {given}; expected a number up to 65535")
                })?)
            }
        };
    let refused =
        || format!("the parameter `host` is `{host}`; expected a name or an address, and a port in `port`");
    if host.contains(['/', '@', '?', '#', '\\']) {
        // It may hold a password.
        return Err("the parameter `host` is no host; expected a name or an address alone".into());
    }
    let mut url = Url::parse(&format!("{protocol}://{host}/")).map_err(|_| refused())?;
    if port.is_some() {
        url.set_port(port).map_err(|()| refused())?;
    }
    url.path_segments_mut().map_err(|()| refused())?.pop_if_empty().push(dbname);
    Ok(url)
}

fn since(given: Option<&Value>) -> Result<Option<Value>, String> {
    match given {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text == "now" || text.is_empty() => Ok(None),
        Some(since @ (Value::String(_) | Value::Number(_))) if plain(since).len() <= QUERY_BYTES_MAX => {
            Ok(Some(since.clone()))
        }
        Some(_) => {
            Err("the parameter `since` is no sequence; expected \"now\", 0, or what the database gave".into())
        }
    }
}

fn filter(
    filter: Option<&str>,
    params: Option<&Map<String, Value>>,
) -> Result<Vec<(String, String)>, String> {
    let Some(filter) = filter.filter(|text| !text.is_empty()) else {
        return match params {
            Some(_) => {
                Err("cloudant trigger feed: query_params is only allowed if the filter parameter is defined"
                    .into())
            }
            None => Ok(Vec::new()),
        };
    };
    let mut query = vec![("filter".to_owned(), filter.to_owned())];
    for (name, value) in params.into_iter().flatten() {
        let value = plain(value);
        // What the feed itself asks with.
        let is_ours = ["feed", "heartbeat", "since", "include_docs", "filter", "limit", "timeout"]
            .contains(&name.as_str());
        if is_ours || name.len() + value.len() > QUERY_BYTES_MAX {
            return Err(format!(
                "the parameter `query_params` has a `{name}` that is not the filter's, or is too long"
            ));
        }
        query.push((name.clone(), value));
    }
    Ok(query)
}

/// A value as it stands in a query.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn given<'a>(host: &'a str, dbname: &'a str) -> Given<'a> {
        Given { host: Some(host), dbname: Some(dbname), ..Given::default() }
    }

    #[test]
    fn requests_are_made_of_the_parameters() {
        let params = json!({"type": "a b", "n": 7});
        let settings = Settings::read(&Given {
            protocol: Some("http"),
            port: Some(&json!("5984")),
            filter: Some("design/some"),
            query_params: params.as_object(),
            include_docs: true,
            since: Some(&json!(12)),
            ..given("a.example", "my/db")
        })
        .unwrap();
        assert_eq!(settings.since, Some(json!(12)));
        assert_eq!(
            settings.changes(&json!("12-x")).as_str(),
            "http://a.example:5984/my%2Fdb/_changes?feed=continuous&heartbeat=10000&include_docs=true\
             &filter=design%2Fsome&type=a+b&n=7&since=12-x"
        );
        assert_eq!(settings.latest().as_str(), "http://a.example:5984/my%2Fdb/_changes?since=now&limit=1");
        let plain = Settings::read(&given("a.example", "db")).unwrap();
        assert_eq!((plain.database.as_str(), plain.since), ("https://a.example/db", None));
    }

    #[test]
    fn parameters_that_make_no_sense_are_refused() {
        let refused = |given: Given<'_>| Settings::read(&given).unwrap_err();
        assert_eq!(refused(Given::default()), "cloudant trigger feed: missing dbname parameter");
        assert_eq!(refused(given("", "db")), "cloudant trigger feed: missing host parameter");
        let half = Given { username: Some("ann"), ..given("a", "db") };
        assert_eq!(refused(half), "cloudant trigger feed: missing password parameter");
        let iam = Given { has_iam: true, ..given("a", "db") };
        assert_eq!(
            refused(iam),
            "cloudant trigger feed: iamApiKey is not supported; use username and password"
        );
        let text = refused(given("ann:geheim@a", "db"));
        assert!(text.contains("`host`") && !text.contains("geheim"), "{text}");
        let params = json!({"since": 1});
        let object = params.as_object();
        assert!(
            refused(Given { query_params: object, ..given("a", "db") })
                .contains("only allowed if the filter")
        );
        let taken = Given { filter: Some("d/f"), query_params: object, ..given("a", "db") };
        assert!(refused(taken).contains("`since`"));
        for port in [json!(0), json!(70_000), json!("x"), json!([1])] {
            assert!(refused(Given { port: Some(&port), ..given("a", "db") }).contains("`port`"), "{port}");
        }
        assert!(refused(Given { since: Some(&json!({})), ..given("a", "db") }).contains("`since`"));
        assert!(refused(Given { protocol: Some("ftp"), ..given("a", "db") }).contains("`protocol`"));
    }
}
