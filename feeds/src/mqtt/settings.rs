//! The parameters of an MQTT feed, read: which broker, as whom, which topics. Its texts never hold the password.

use rustls::pki_types::CertificateDer;
use triggerfish_model::FeedId;
use url::Url;

use crate::transport::{Target, percent_decoded, read_ca};

/// Topic filters of one feed. They are written with each batch's cursor, so there are not many.
pub(crate) const TOPICS_MAX: usize = 100;
/// The longest topic filter in bytes, for the same reason.
pub(crate) const TOPIC_BYTES_MAX: usize = 1024;

/// The protocol's version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// MQTT 3.1.1.
    V3,
    /// MQTT 5.
    V5,
}

/// What the user gave.
#[derive(Clone, Copy, Default)]
pub(crate) struct Given<'a> {
    /// `mqtt://[user[:password]@]host[:port]`, or `mqtts://`.
    pub(crate) url: &'a str,
    /// Topic filters.
    pub(crate) topics: &'a [String],
    /// 0, 1 or 2.
    pub(crate) qos: u8,
    /// The client id, where the user chooses it.
    pub(crate) client_id: Option<&'a str>,
    /// The user, over the one of the URL.
    pub(crate) username: Option<&'a str>,
    /// The password, over the one of the URL.
    pub(crate) password: Option<&'a str>,
    /// 5 or 3.
    pub(crate) version: u8,
    /// PEM text of the certificates that the broker's is signed by.
    pub(crate) ca: Option<&'a str>,
}

/// The parameters, read.
pub(crate) struct Settings {
    /// The broker's name or address.
    pub(crate) host: String,
    /// Its port.
    pub(crate) port: u16,
    /// Whether it is spoken to through TLS.
    pub(crate) tls: bool,
    /// The certificates that the broker's must be signed by; those of the system where empty.
    pub(crate) ca: Vec<CertificateDer<'static>>,
    /// User and password.
    pub(crate) login: Option<(String, String)>,
    /// The client id: the name of the session.
    pub(crate) client_id: String,
    /// Topic filters with the QoS wanted.
    pub(crate) filters: Vec<(String, u8)>,
    /// The protocol's version.
    pub(crate) version: Version,
}

impl Settings {
    /// Reads the parameters; the error says which is wrong and what was expected.
    pub(crate) fn read(given: &Given<'_>, feed: FeedId) -> Result<Self, String> {
        let (host, port, tls, mut login) = read_url(given.url)?;
        if given.username.is_some() || given.password.is_some() {
            let (user, password) = login.take().unwrap_or_default();
            login = Some((
                given.username.map_or(user, str::to_owned),
                given.password.map_or(password, str::to_owned),
            ));
        }
        if let Some((user, password)) = &login {
            let long = [("username", user), ("password", password)]
                .into_iter()
                .find(|(_, text)| text.len() > 65_535);
            if let Some((name, text)) = long {
                return Err(format!(
                    "the parameter `{name}` has {} bytes, more than MQTT's 65535",
                    text.len()
                ));
            }
        }
        let version = match given.version {
            3 | 4 => Version::V3,
            5 => Version::V5,
            other => return Err(format!("the parameter `version` is {other}; expected 5 or 3")),
        };
        if given.qos > 2 {
            return Err(format!("the parameter `qos` is {}; expected 0, 1 or 2", given.qos));
        }
        let filters = read_filters(given)?;
        let client_id = match given.client_id {
            None => default_client_id(feed),
            Some(id) if id.is_empty() || id.len() > 256 || id.contains(char::is_control) => {
                return Err(
                    "the parameter `clientId` must be 1 to 256 bytes without control characters".into()
                );
            }
            Some(id) => id.to_owned(),
        };
        let ca = match given.ca {
            None => Vec::new(),
            Some(_) if !tls => {
                return Err("the parameter `ca` needs a `url` that begins with mqtts://".into());
            }
            Some(text) => read_ca(text)?,
        };
        Ok(Self { host, port, tls, ca, login, client_id, filters, version })
    }

    /// `host:port`, for texts.
    pub(crate) fn peer(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// The broker, for whoever connects to it.
    pub(crate) fn target(&self) -> Target<'_> {
        Target {
            name: format!("the MQTT broker {}", self.peer()),
            host: &self.host,
            port: self.port,
            tls: self.tls.then_some(self.ca.as_slice()),
        }
    }

    /// What names the broker's session: another broker or client id is another session.
    pub(crate) fn session(&self) -> String {
        format!("{}/{}", self.peer(), self.client_id)
    }
}

/// 23 letters and digits: what every broker of 3.1.1 must take (§3.1.3.1). 48 bits of the feed's random id tell the feeds
/// of a broker apart.
fn default_client_id(feed: FeedId) -> String {
    let id = feed.to_string();
    format!("triggerfish{}", id.get(..12).unwrap_or(&id))
}

type Place = (String, u16, bool, Option<(String, String)>);

fn read_url(text: &str) -> Result<Place, String> {
    // The text itself may hold a password, so that it is not repeated.
    let wrong =
        |why: &str| format!("the parameter `url` {why}; expected mqtt://host[:port] or mqtts://host[:port]");
    let url = Url::parse(text).map_err(|error| wrong(&format!("cannot be read ({error})")))?;
    let tls = match url.scheme() {
        "mqtt" | "tcp" => false,
        "mqtts" | "ssl" | "tls" => true,
        other => return Err(wrong(&format!("begins with {other}://"))),
    };
    let host = url.host_str().filter(|host| !host.is_empty()).ok_or_else(|| wrong("names no host"))?;
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("has something after the host"));
    }
    let decode =
        |part: &str| percent_decoded(part).ok_or_else(|| wrong("has a user or password that is not UTF-8"));
    let login = if url.username().is_empty() && url.password().is_none() {
        None
    } else {
        Some((decode(url.username())?, decode(url.password().unwrap_or_default())?))
    };
    Ok((host, url.port().unwrap_or(if tls { 8883 } else { 1883 }), tls, login))
}

fn read_filters(given: &Given<'_>) -> Result<Vec<(String, u8)>, String> {
    if given.topics.is_empty() || given.topics.len() > TOPICS_MAX {
        return Err(format!(
            "the parameter `topic` has {} topics; expected 1 to {TOPICS_MAX}",
            given.topics.len()
        ));
    }
    let mut filters: Vec<(String, u8)> = Vec::with_capacity(given.topics.len());
    for topic in given.topics {
        check_filter(topic).map_err(|why| format!("the topic `{topic}` {why}"))?;
        if !filters.iter().any(|(known, _)| known == topic) {
            filters.push((topic.clone(), given.qos));
        }
    }
    Ok(filters)
}

/// Checks a topic filter (MQTT 5 §4.7, §4.8.2).
fn check_filter(filter: &str) -> Result<(), String> {
    if filter.is_empty() {
        return Err("is empty".into());
    }
    if filter.len() > TOPIC_BYTES_MAX {
        return Err(format!("has {} bytes, more than {TOPIC_BYTES_MAX}", filter.len()));
    }
    if filter.contains('\0') {
        return Err("holds a NUL character".into());
    }
    let topic = match filter.strip_prefix("$share/") {
        None => filter,
        Some(rest) => match rest.split_once('/') {
            Some((group, topic)) if !group.is_empty() && !group.contains(['+', '#']) && !topic.is_empty() => {
                topic
            }
            _ => return Err("is no shared subscription; expected $share/group/topic".into()),
        },
    };
    if !rumqttc::mqttbytes::valid_filter(topic) {
        return Err("has a wildcard in the wrong place: `+` takes a whole level, `#` the last one".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use triggerfish_model::ActivationId;

    use super::*;

    fn read(url: &str, topic: &str) -> Result<Settings, String> {
        let topics = [topic.to_owned()];
        let given = Given { url, topics: &topics, qos: 1, version: 5, ..Given::default() };
        Settings::read(&given, FeedId(ActivationId::from_bytes([0xab; 16])))
    }

    #[test]
    fn a_url_names_broker_port_user_and_tls() {
        let plain = read("mqtt://broker.example", "a/+/#").unwrap();
        assert_eq!((plain.peer().as_str(), plain.tls, plain.login), ("broker.example:1883", false, None));
        assert_eq!(plain.client_id, "triggerfishabababababab");
        let tls = read("mqtts://u:p%40%2fw@[::1]:99", "$share/g/t").unwrap();
        assert_eq!((tls.peer().as_str(), tls.tls), ("[::1]:99", true));
        assert_eq!(tls.login, Some(("u".into(), "p@/w".into())));
    }

    #[test]
    fn what_is_wrong_is_said_without_the_password() {
        for (url, topic, text) in [
            ("http://u:geheim@h", "t", "begins with http://"),
            ("mqtt://u:geheim@h/path", "t", "after the host"),
            ("mqtt://", "t", "names no host"),
            ("broker:1883", "t", "begins with broker://"),
            ("mqtt://h", "a/#/b", "wildcard in the wrong place"),
            ("mqtt://h", "$share/g", "expected $share/group/topic"),
            ("mqtt://h", "", "is empty"),
        ] {
            let error = read(url, topic).err().unwrap();
            assert!(error.contains(text) && !error.contains("geheim"), "{url} {topic}: {error}");
        }
    }
}
