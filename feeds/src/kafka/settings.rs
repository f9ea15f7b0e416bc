//! The parameters of `messaging/kafkaFeed` (contract §3.3), read and checked. Pure.

use triggerfish_model::{FeedId, Timestamp};

use super::payload::Form;

/// Brokers named in one feed. They only lead to the others, so a few will do.
const BROKERS_MAX: usize = 100;
/// Topics and patterns of one feed: each name is looked up at the start.
const TOPICS_MAX: usize = 100;
/// A topic's longest name (Kafka's own limit).
const TOPIC_BYTES_MAX: usize = 249;
/// The longest pattern; matching one is linear in it.
const PATTERN_BYTES_MAX: usize = 1_000;
/// Messages in one event, at most: an action gets them at once.
pub(crate) const BATCH_MESSAGES_MAX: u32 = 10_000;
/// How long messages are collected for one event unless the user says otherwise: some five events a second where
/// messages come all the time.
const BATCH_TIME_MS: u64 = 200;
/// The longest that they may be collected (contract §3.3).
const BATCH_TIME_MS_MAX: u64 = 2_000;

/// Where a partition is begun that neither the cursor nor the group knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StartFrom {
    /// With the oldest message that is there.
    Earliest,
    /// With what comes from now on.
    Latest,
    /// With the first message of this time or later.
    Time(Timestamp),
}

/// How the broker is told who this is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Login {
    pub(crate) mechanism: &'static str,
    pub(crate) username: String,
    pub(crate) password: String,
}

/// TLS, with what is given for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tls {
    /// PEM text of the authorities; those that the system trusts where absent.
    pub(crate) ca: Option<String>,
    /// PEM texts of a certificate and its key, where the broker asks the client for one.
    pub(crate) certificate: Option<(String, String)>,
}

/// What the user gave.
#[derive(Clone, Copy, Default)]
pub(crate) struct Given<'a> {
    pub(crate) brokers: Option<&'a [String]>,
    pub(crate) topics: Option<&'a [String]>,
    pub(crate) group: Option<&'a str>,
    pub(crate) start_from: Option<&'a str>,
    pub(crate) max_batch_size: Option<u32>,
    pub(crate) max_batch_time: Option<u64>,
    pub(crate) is_json_data: bool,
    pub(crate) is_binary_key: bool,
    pub(crate) is_binary_value: bool,
    pub(crate) isolation: Option<&'a str>,
    pub(crate) username: Option<&'a str>,
    pub(crate) password: Option<&'a str>,
    pub(crate) mechanism: Option<&'a str>,
    pub(crate) tls: bool,
    pub(crate) ca: Option<&'a str>,
    pub(crate) certificate: Option<&'a str>,
    pub(crate) private_key: Option<&'a str>,
}

/// The parameters, read.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) brokers: Vec<String>,
    /// Names of topics.
    pub(crate) topics: Vec<String>,
    /// Patterns of names; each begins with `^`.
    pub(crate) patterns: Vec<String>,
    pub(crate) group: String,
    /// Names this feed in its group: a hub that comes back takes its own place again at once.
    pub(crate) instance: String,
    pub(crate) start_from: StartFrom,
    pub(crate) batch_messages_max: usize,
    pub(crate) batch_time: std::time::Duration,
    pub(crate) form: Form,
    pub(crate) committed_only: bool,
    pub(crate) login: Option<Login>,
    pub(crate) tls: Option<Tls>,
}

impl Settings {
    /// Reads the parameters; the error says which is wrong and what was expected.
    pub(crate) fn read(given: &Given<'_>, feed: FeedId) -> Result<Self, String> {
        let brokers = read_brokers(given.brokers.unwrap_or_default())?;
        let (topics, patterns) = read_topics(given.topics.unwrap_or_default())?;
        if given.is_json_data && given.is_binary_value {
            return Err("isJSONData and isBinaryValue cannot both be enabled.".into());
        }
        let group = match given.group {
            None => format!("triggerfish-{feed}"),
            Some(group) if group.is_empty() || group.len() > 255 || group.contains(char::is_control) => {
                return Err(
                    "the parameter `groupId` must be 1 to 255 bytes without control characters".into()
                );
            }
            Some(group) => group.to_owned(),
        };
        let batch_messages_max = match given.max_batch_size.unwrap_or(BATCH_MESSAGES_MAX) {
            size @ 1..=BATCH_MESSAGES_MAX => usize::try_from(size).unwrap_or(1),
            size => {
                return Err(format!(
                    "the parameter `maxBatchSize` is {size}; expected 1 to {BATCH_MESSAGES_MAX} messages"
                ));
            }
        };
        let batch_time = match given.max_batch_time.unwrap_or(BATCH_TIME_MS) {
            time @ 0..=BATCH_TIME_MS_MAX => std::time::Duration::from_millis(time),
            time => {
                return Err(format!(
                    "the parameter `maxBatchTime` is {time}; expected 0 to {BATCH_TIME_MS_MAX} milliseconds"
                ));
            }
        };
        let committed_only = match given.isolation {
            None | Some("read_uncommitted") => false,
            Some("read_committed") => true,
            Some(other) => {
                return Err(format!(
                    "the parameter `isolationLevel` is `{other}`; expected read_uncommitted or read_committed"
                ));
            }
        };
        Ok(Self {
            brokers,
            topics,
            patterns,
            group,
            instance: format!("triggerfish-{feed}"),
            start_from: read_start(given.start_from)?,
            batch_messages_max,
            batch_time,
            form: Form {
                json_value: given.is_json_data,
                binary_key: given.is_binary_key,
                binary_value: given.is_binary_value,
            },
            committed_only,
            login: read_login(given)?,
            tls: read_tls(given)?,
        })
    }

    /// The brokers, for texts.
    pub(crate) fn peer(&self) -> String {
        self.brokers.join(",")
    }
}

fn read_brokers(given: &[String]) -> Result<Vec<String>, String> {
    let brokers: Vec<String> = given
        .iter()
        .flat_map(|text| text.split(','))
        .map(|broker| broker.trim().to_owned())
        .filter(|broker| !broker.is_empty())
        .collect();
    if brokers.is_empty() {
        return Err("You must supply a 'brokers' parameter.".into());
    }
    if brokers.len() > BROKERS_MAX {
        return Err(format!("the parameter `brokers` has {}; expected 1 to {BROKERS_MAX}", brokers.len()));
    }
    for broker in &brokers {
        let port = broker.rsplit_once(':').filter(|(host, _)| !host.is_empty());
        let has_port = port.is_some_and(|(_, port)| port.parse::<u16>().is_ok_and(|port| port > 0));
        // librdkafka would take a scheme as a security protocol; what secures a feed is said by its own parameters.
        if !has_port || broker.contains(['/', '@', ' ']) || broker.contains(char::is_control) {
            return Err(format!("the parameter `brokers` has `{broker}`; expected host:port"));
        }
    }
    Ok(brokers)
}

fn read_topics(given: &[String]) -> Result<(Vec<String>, Vec<String>), String> {
    if given.iter().all(String::is_empty) {
        return Err("You must supply a 'topic' parameter.".into());
    }
    if given.len() > TOPICS_MAX {
        return Err(format!("the parameter `topic` has {} topics; expected 1 to {TOPICS_MAX}", given.len()));
    }
    let (mut topics, mut patterns) = (Vec::new(), Vec::new());
    for topic in given {
        let list = if topic.starts_with('^') {
            if topic.len() > PATTERN_BYTES_MAX || topic.contains(char::is_control) {
                return Err(format!(
                    "a pattern of the parameter `topic` has {} bytes; expected at most {PATTERN_BYTES_MAX}, without control characters",
                    topic.len()
                ));
            }
            &mut patterns
        } else {
            let is_legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
            if topic.is_empty() || topic.len() > TOPIC_BYTES_MAX || !topic.chars().all(is_legal) {
                return Err(format!(
                    "the topic `{topic}` cannot be; expected 1 to {TOPIC_BYTES_MAX} letters, digits, dots, dashes and underscores, or a pattern that begins with ^"
                ));
            }
            &mut topics
        };
        if !list.contains(topic) {
            list.push(topic.clone());
        }
    }
    Ok((topics, patterns))
}

fn read_start(given: Option<&str>) -> Result<StartFrom, String> {
    match given {
        None | Some("latest") => Ok(StartFrom::Latest),
        Some("earliest") => Ok(StartFrom::Earliest),
        Some(text) => {
            let millis = match text.parse::<i64>() {
                Ok(millis) => Some(millis),
                Err(_) => text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_millisecond),
            };
            match millis.filter(|millis| *millis >= 0) {
                Some(millis) => Ok(StartFrom::Time(Timestamp::from_millis(millis))),
                None => Err(format!(
                    "the parameter `startFrom` is `{text}`; expected earliest, latest, or a time as milliseconds since 1970 or RFC 3339"
                )),
            }
        }
    }
}

fn read_login(given: &Given<'_>) -> Result<Option<Login>, String> {
    let mechanism = match given.mechanism.map(str::to_ascii_lowercase).as_deref() {
        None | Some("plain") => "PLAIN",
        Some("scram-sha-256") => "SCRAM-SHA-256",
        Some("scram-sha-512") => "SCRAM-SHA-512",
        Some(other) => {
            return Err(format!(
                "the parameter `mechanism` is `{other}`; expected plain, scram-sha-256 or scram-sha-512"
            ));
        }
    };
    match (given.username, given.password) {
        (Some(username), Some(password)) if !username.is_empty() => {
            Ok(Some(Login { mechanism, username: username.to_owned(), password: password.to_owned() }))
        }
        (None, None) if given.mechanism.is_none() => Ok(None),
        _ => {
            Err("the parameters `username` and `password` belong together, and `mechanism` needs both".into())
        }
    }
}

fn read_tls(given: &Given<'_>) -> Result<Option<Tls>, String> {
    let parts = [("ca", given.ca), ("certificate", given.certificate), ("privateKey", given.private_key)];
    for (name, text) in parts {
        match text {
            Some(_) if !given.tls => return Err(format!("the parameter `{name}` needs `tls` to be true")),
            Some(text) if !text.contains("-----BEGIN ") => {
                return Err(format!("the parameter `{name}` is no PEM text"));
            }
            Some(_) | None => {}
        }
    }
    let certificate = match (given.certificate, given.private_key) {
        (Some(certificate), Some(key)) => Some((certificate.to_owned(), key.to_owned())),
        (None, None) => None,
        _ => return Err("the parameters `certificate` and `privateKey` belong together".into()),
    };
    Ok(given.tls.then(|| Tls { ca: given.ca.map(str::to_owned), certificate }))
}

#[cfg(test)]
mod tests {
    use triggerfish_model::ActivationId;

    use super::*;

    fn feed() -> FeedId {
        FeedId(ActivationId::from_bytes([0xab; 16]))
    }

    fn error(change: impl FnOnce(&mut Given<'_>)) -> String {
        let (brokers, topics) = (["a:1".to_owned()], ["t".to_owned()]);
        let mut given = Given { brokers: Some(&brokers), topics: Some(&topics), ..Given::default() };
        change(&mut given);
        Settings::read(&given, feed()).map(drop).unwrap_err()
    }

    #[test]
    fn brokers_and_topics_are_lists_and_have_defaults_beside_them() {
        let brokers = ["a:9092, b:9093".to_owned(), "[::1]:9094".to_owned()];
        let topics = ["t".to_owned(), "^x.*".to_owned(), "t".to_owned()];
        let given = Given { brokers: Some(&brokers), topics: Some(&topics), ..Given::default() };
        let read = Settings::read(&given, feed()).unwrap();
        assert_eq!(read.peer(), "a:9092,b:9093,[::1]:9094");
        assert_eq!((read.topics, read.patterns), (vec!["t".to_owned()], vec!["^x.*".to_owned()]));
        assert_eq!(read.group, "triggerfish-abababababababababababababababab");
        assert_eq!((read.start_from, read.batch_messages_max), (StartFrom::Latest, 10_000));
        assert!(!read.committed_only && read.login.is_none() && read.tls.is_none());
    }

    #[test]
    fn what_is_wrong_is_said_in_the_contracts_words_where_it_has_some() {
        assert_eq!(error(|it| it.brokers = None), "You must supply a 'brokers' parameter.");
        assert_eq!(error(|it| it.topics = None), "You must supply a 'topic' parameter.");
        assert_eq!(
            error(|it| (it.is_json_data, it.is_binary_value) = (true, true)),
            "isJSONData and isBinaryValue cannot both be enabled."
        );
        for (text, got) in [
            ("`maxBatchSize` is 0", error(|it| it.max_batch_size = Some(0))),
            ("`maxBatchTime` is 2001", error(|it| it.max_batch_time = Some(2001))),
            ("`startFrom` is `never`", error(|it| it.start_from = Some("never"))),
            ("`isolationLevel` is `x`", error(|it| it.isolation = Some("x"))),
            ("`mechanism` is `md5`", error(|it| it.mechanism = Some("md5"))),
            ("belong together", error(|it| it.username = Some("u"))),
            ("needs `tls`", error(|it| it.ca = Some("x"))),
            ("`ca` is no PEM text", error(|it| (it.tls, it.ca) = (true, Some("x")))),
            ("`groupId` must be", error(|it| it.group = Some(""))),
        ] {
            assert!(got.contains(text), "{text}: {got}");
        }
    }

    #[test]
    fn names_that_cannot_be_are_refused() {
        for broker in ["a", "a:", ":1", "a:0", "a:99999", "ssl://a:1", "u:p@a:1"] {
            let brokers = [broker.to_owned()];
            assert!(read_brokers(&brokers).unwrap_err().contains("expected host:port"), "{broker}");
        }
        for topic in ["a b", "a/b", "ä", &"x".repeat(250)] {
            assert!(read_topics(&[topic.to_owned()]).unwrap_err().contains("cannot be"), "{topic}");
        }
    }

    #[test]
    fn a_start_is_a_word_or_a_time() {
        let time = |text| read_start(Some(text));
        assert_eq!(time("earliest"), Ok(StartFrom::Earliest));
        assert_eq!(time("1500"), Ok(StartFrom::Time(Timestamp::from_millis(1500))));
        assert_eq!(time("1970-01-01T00:00:02Z"), Ok(StartFrom::Time(Timestamp::from_millis(2000))));
    }
}
