//! The parameters of an AMQP feed, read: which broker, as whom, which queue. Its texts never hold the password. Pure.

use rustls::pki_types::CertificateDer;
use triggerfish_model::FeedId;
use url::Url;

use crate::transport::{Target, percent_decoded, read_ca};

/// Deliveries under way at once unless the user says otherwise: enough for several durable writes.
const PREFETCH: u16 = 500;
/// The most of them: each may be named by the cursor, which is written with each batch.
const PREFETCH_MAX: u16 = 5_000;
/// Routing keys of one feed; each is a binding that is made at each start.
const KEYS_MAX: usize = 100;
/// The longest name in AMQP (a short string).
const NAME_BYTES_MAX: usize = 255;

/// What the user gave.
#[derive(Clone, Copy, Default)]
pub(crate) struct Given<'a> {
    pub(crate) url: Option<&'a str>,
    pub(crate) queue: Option<&'a str>,
    pub(crate) exchange: Option<&'a str>,
    pub(crate) exchange_type: Option<&'a str>,
    pub(crate) routing_keys: &'a [String],
    pub(crate) declare: Option<bool>,
    pub(crate) queue_type: Option<&'a str>,
    pub(crate) dead_letter_exchange: Option<&'a str>,
    pub(crate) prefetch: Option<u16>,
    pub(crate) username: Option<&'a str>,
    pub(crate) password: Option<&'a str>,
    pub(crate) ca: Option<&'a str>,
}

/// How the queue is declared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Declare {
    /// Its `x-queue-type`; the broker's default where absent.
    pub(crate) kind: Option<String>,
    /// Its `x-dead-letter-exchange`.
    pub(crate) dead_letters: Option<String>,
}

/// What the queue is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Binding {
    pub(crate) exchange: String,
    /// The exchange's type where it is to be declared.
    pub(crate) kind: Option<String>,
    pub(crate) keys: Vec<String>,
}

/// The parameters, read.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) tls: bool,
    pub(crate) ca: Vec<CertificateDer<'static>>,
    pub(crate) username: String,
    pub(crate) password: String,
    pub(crate) vhost: String,
    pub(crate) queue: String,
    /// Whether the queue is the feed's own, and goes with it.
    pub(crate) owns_queue: bool,
    pub(crate) declare: Option<Declare>,
    pub(crate) binding: Option<Binding>,
    pub(crate) prefetch: u16,
}

impl Settings {
    /// Reads the parameters; the error says which is wrong and what was expected.
    pub(crate) fn read(given: &Given<'_>, feed: FeedId) -> Result<Self, String> {
        let mut place = read_url(given.url.unwrap_or_default())?;
        if let Some(username) = given.username {
            username.clone_into(&mut place.username);
        }
        if let Some(password) = given.password {
            password.clone_into(&mut place.password);
        }
        for (name, text) in [
            ("queue", given.queue),
            ("exchange", given.exchange),
            ("exchangeType", given.exchange_type),
            ("deadLetterExchange", given.dead_letter_exchange),
        ] {
            if let Some(text) = text {
                check_name(name, text)?;
            }
        }
        if given.queue.is_none() && given.exchange.is_none() {
            return Err("the parameter `queue` or `exchange` must be given".into());
        }
        let owns_queue = given.queue.is_none();
        let declares = given.declare.unwrap_or(owns_queue);
        if owns_queue && !declares {
            return Err(
                "without the parameter `queue` the feed's own queue must be declared, but `declare` is false"
                    .into(),
            );
        }
        let kind = match given.queue_type {
            None => None,
            Some(kind @ ("classic" | "quorum")) => Some(kind.to_owned()),
            Some(other) => {
                return Err(format!("the parameter `queueType` is `{other}`; expected classic or quorum"));
            }
        };
        let dead_letters = given.dead_letter_exchange.map(str::to_owned);
        if !declares && (kind.is_some() || dead_letters.is_some()) {
            return Err(
                "the parameters `queueType` and `deadLetterExchange` need `declare` to be true".into()
            );
        }
        let prefetch = given.prefetch.unwrap_or(PREFETCH);
        if prefetch == 0 || prefetch > PREFETCH_MAX {
            return Err(format!("the parameter `prefetch` is {prefetch}; expected 1 to {PREFETCH_MAX}"));
        }
        let ca = match given.ca {
            None => Vec::new(),
            Some(_) if !place.tls => {
                return Err("the parameter `ca` needs a `url` that begins with amqps://".into());
            }
            Some(text) => read_ca(text)?,
        };
        let Place { host, port, tls, username, password, vhost } = place;
        Ok(Self {
            host,
            port,
            tls,
            ca,
            username,
            password,
            vhost,
            queue: given.queue.map_or_else(|| format!("triggerfish-{feed}"), str::to_owned),
            owns_queue,
            declare: declares.then_some(Declare { kind, dead_letters }),
            binding: read_binding(given)?,
            prefetch,
        })
    }

    /// `host:port`, for texts.
    pub(crate) fn peer(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }

    /// The broker, for whoever connects to it.
    pub(crate) fn target(&self) -> Target<'_> {
        Target {
            name: format!("the AMQP broker {}", self.peer()),
            host: &self.host,
            port: self.port,
            tls: self.tls.then_some(self.ca.as_slice()),
        }
    }

    /// What names the queue: what is open in another one means nothing in this.
    pub(crate) fn place(&self) -> String {
        format!("{}/{}/{}", self.peer(), self.vhost, self.queue)
    }
}

fn check_name(parameter: &str, text: &str) -> Result<(), String> {
    if text.is_empty() || text.len() > NAME_BYTES_MAX || text.contains(char::is_control) {
        return Err(format!(
            "the parameter `{parameter}` must be 1 to {NAME_BYTES_MAX} bytes without control characters"
        ));
    }
    Ok(())
}

fn read_binding(given: &Given<'_>) -> Result<Option<Binding>, String> {
    let Some(exchange) = given.exchange else {
        return match given.routing_keys.is_empty() && given.exchange_type.is_none() {
            true => Ok(None),
            false => Err("the parameters `routingKey` and `exchangeType` need an `exchange`".into()),
        };
    };
    if given.routing_keys.len() > KEYS_MAX {
        return Err(format!(
            "the parameter `routingKey` has {} keys; expected 1 to {KEYS_MAX}",
            given.routing_keys.len()
        ));
    }
    let mut keys = given.routing_keys.to_vec();
    if keys.is_empty() {
        // Everything, of a topic exchange; of one that knows no keys as well.
        keys.push("#".into());
    }
    if let Some(key) = keys.iter().find(|key| key.len() > NAME_BYTES_MAX) {
        return Err(format!(
            "the parameter `routingKey` has a key of {} bytes, more than AMQP's {NAME_BYTES_MAX}",
            key.len()
        ));
    }
    Ok(Some(Binding { exchange: exchange.to_owned(), kind: given.exchange_type.map(str::to_owned), keys }))
}

struct Place {
    host: String,
    port: u16,
    tls: bool,
    username: String,
    password: String,
    vhost: String,
}

fn read_url(text: &str) -> Result<Place, String> {
    // The text itself may hold a password, so that it is not repeated.
    let wrong = |why: &str| {
        format!(
            "the parameter `url` {why}; expected amqp://host[:port][/vhost] or amqps://host[:port][/vhost]"
        )
    };
    if text.is_empty() {
        return Err(wrong("is missing"));
    }
    let url = Url::parse(text).map_err(|error| wrong(&format!("cannot be read ({error})")))?;
    let tls = match url.scheme() {
        "amqp" => false,
        "amqps" => true,
        other => return Err(wrong(&format!("begins with {other}://"))),
    };
    let host = url.host_str().filter(|host| !host.is_empty()).ok_or_else(|| wrong("names no host"))?;
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    if url.query().is_some() || url.fragment().is_some() || url.path().matches('/').count() > 1 {
        return Err(wrong("has something after the virtual host (write its slashes as %2f)"));
    }
    let decode = |part: &str| percent_decoded(part).ok_or_else(|| wrong("has a part that is not UTF-8"));
    let vhost = match url.path().trim_start_matches('/') {
        "" => "/".to_owned(),
        path => decode(path)?,
    };
    if vhost.len() > NAME_BYTES_MAX {
        return Err(wrong("has too long a virtual host"));
    }
    // As every broker comes, and as it lets in from its own machine alone.
    let (username, password) = match (url.username(), url.password()) {
        ("", None) => ("guest".to_owned(), "guest".to_owned()),
        (username, password) => (decode(username)?, decode(password.unwrap_or_default())?),
    };
    let port = url.port().unwrap_or(if tls { 5671 } else { 5672 });
    Ok(Place { host, port, tls, username, password, vhost })
}

#[cfg(test)]
mod tests {
    use triggerfish_model::ActivationId;

    use super::*;

    fn read(change: impl FnOnce(&mut Given<'_>)) -> Result<Settings, String> {
        let mut given = Given { url: Some("amqp://u:geheim@h"), queue: Some("q"), ..Given::default() };
        change(&mut given);
        Settings::read(&given, FeedId(ActivationId::from_bytes([0xab; 16])))
    }

    #[test]
    fn a_url_names_broker_user_and_virtual_host() {
        let place = |url: &'static str| {
            let it = read(|given| given.url = Some(url)).unwrap();
            (it.place(), it.tls, it.username, it.password)
        };
        let plain = ("h:5672///q".to_owned(), false, "guest".to_owned(), "guest".to_owned());
        assert_eq!(place("amqp://h"), plain);
        assert_eq!(place("amqp://h/"), plain);
        assert_eq!(place("amqp://h/%2f"), plain);
        let full = place("amqps://u:p%40@[::1]:99/team%2fa");
        assert_eq!(full, ("[::1]:99/team/a/q".to_owned(), true, "u".to_owned(), "p@".to_owned()));
        let over = read(|given| (given.username, given.password) = (Some("x"), Some("y"))).unwrap();
        assert_eq!((over.username.as_str(), over.password.as_str()), ("x", "y"));
    }

    #[test]
    fn a_feed_of_an_exchange_has_a_queue_of_its_own() {
        let own = read(|given| (given.queue, given.exchange) = (None, Some("e"))).unwrap();
        assert_eq!(own.queue, "triggerfish-abababababababababababababababab");
        assert!(own.owns_queue && own.declare.is_some());
        assert_eq!(own.binding.unwrap().keys, ["#"]);
        let named = read(|given| given.exchange = Some("e")).unwrap();
        assert!(!named.owns_queue && named.declare.is_none() && named.binding.is_some());
    }

    #[test]
    fn what_is_wrong_is_said_without_the_password() {
        for (text, got) in [
            ("is missing", read(|it| it.url = None)),
            ("begins with http://", read(|it| it.url = Some("http://u:geheim@h"))),
            ("names no host", read(|it| it.url = Some("amqp://"))),
            ("after the virtual host", read(|it| it.url = Some("amqp://u:geheim@h/a/b"))),
            ("`queue` or `exchange` must be given", read(|it| it.queue = None)),
            ("`queue` must be 1 to 255", read(|it| it.queue = Some(""))),
            (
                "`queueType` is `stream`",
                read(|it| (it.declare, it.queue_type) = (Some(true), Some("stream"))),
            ),
            ("need `declare`", read(|it| it.queue_type = Some("quorum"))),
            ("need an `exchange`", read(|it| it.exchange_type = Some("topic"))),
            (
                "`declare` is false",
                read(|it| (it.queue, it.exchange, it.declare) = (None, Some("e"), Some(false))),
            ),
            ("`prefetch` is 0", read(|it| it.prefetch = Some(0))),
            ("begins with amqps://", read(|it| it.ca = Some("x"))),
        ] {
            let error = got.map(drop).unwrap_err();
            assert!(error.contains(text) && !error.contains("geheim"), "{text}: {error}");
        }
    }
}
