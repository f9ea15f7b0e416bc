//! The librdkafka consumer: its settings, the way to the brokers, and what its errors mean.

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::types::RDKafkaErrorCode;

use super::settings::{Settings, Tls};
use crate::provider::FeedError;

/// How long the group waits for a member that says nothing. A hub that is back sooner goes on at once, in its own place;
/// after that time its partitions go to other members. Brokers take 6 s and more unless configured otherwise.
const SESSION_MS: u32 = 10_000;
/// Fetched messages in librdkafka's queue, in KB, all partitions together. It holds a second of 16 MB/s.
const QUEUED_KB_MAX: u32 = 16 * 1024;
/// Bytes of one answer to a fetch, from one broker. A message that is larger comes all the same, alone.
const FETCH_BYTES_MAX: u32 = 8 << 20;
/// Bytes of any answer; the largest message that can be read. Above it the connection is broken off.
const RECEIVE_BYTES_MAX: u32 = 200 << 20;
/// How long a full queue is left before it is looked at again. The default of a second starves a small queue.
const FETCH_BACKOFF_MS: u32 = 10;
/// How often topics and partitions are looked up: so long may one that is new wait.
const METADATA_MS: u32 = 10_000;
/// How often the ends of the partitions are told, for the lag.
const STATISTICS_MS: u32 = 2_000;

/// The consumer's configuration.
pub(super) fn config(settings: &Settings) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set_log_level(RDKafkaLogLevel::Warning)
        .set("bootstrap.servers", settings.brokers.join(","))
        .set("client.id", "triggerfish")
        .set("group.id", &settings.group)
        .set("group.instance.id", &settings.instance)
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("session.timeout.ms", SESSION_MS.to_string())
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        // An offset that is not there is a question for `place`, never a silent jump.
        .set("auto.offset.reset", "error")
        .set("isolation.level", if settings.committed_only { "read_committed" } else { "read_uncommitted" })
        .set("queued.max.messages.kbytes", QUEUED_KB_MAX.to_string())
        .set("fetch.max.bytes", FETCH_BYTES_MAX.to_string())
        .set("fetch.queue.backoff.ms", FETCH_BACKOFF_MS.to_string())
        .set("receive.message.max.bytes", RECEIVE_BYTES_MAX.to_string())
        .set("topic.metadata.refresh.interval.ms", METADATA_MS.to_string())
        .set("statistics.interval.ms", STATISTICS_MS.to_string())
        .set("allow.auto.create.topics", "false");
    if !settings.patterns.is_empty() && !settings.topics.iter().any(|topic| topic.starts_with("__")) {
        // A pattern does not mean Kafka's own topics.
        config.set("topic.blacklist", "^__.*");
    }
    let protocol = match (&settings.login, &settings.tls) {
        (None, None) => "plaintext",
        (None, Some(_)) => "ssl",
        (Some(_), None) => "sasl_plaintext",
        (Some(_), Some(_)) => "sasl_ssl",
    };
    config.set("security.protocol", protocol);
    if let Some(login) = &settings.login {
        config
            .set("sasl.mechanism", login.mechanism)
            .set("sasl.username", &login.username)
            .set("sasl.password", &login.password);
    }
    if let Some(Tls { ca, certificate }) = &settings.tls {
        match ca {
            Some(ca) => config.set("ssl.ca.pem", ca),
            None => config.set("ssl.ca.location", "probe"),
        };
        if let Some((certificate, key)) = certificate {
            config.set("ssl.certificate.pem", certificate).set("ssl.key.pem", key);
        }
    }
    config
}

/// What an error of the consumer means for the feed; `None` where librdkafka gets over it by itself. `trouble` is what it
/// said last about a broker.
pub(super) fn classify(peer: &str, code: RDKafkaErrorCode, trouble: Option<&str>) -> Option<FeedError> {
    use RDKafkaErrorCode as Code;
    let said = trouble.map_or_else(|| code.to_string(), without_duration);
    let error = match code {
        // A broker alone, while there may be others; or a pause of this hub, after which the group takes it back.
        Code::BrokerTransportFailure | Code::Resolve | Code::OperationTimedOut | Code::PollExceeded => {
            return None;
        }
        Code::Authentication
        | Code::SSL
        | Code::SaslAuthenticationFailed
        | Code::UnsupportedSASLMechanism
        | Code::TopicAuthorizationFailed
        | Code::GroupAuthorizationFailed
        | Code::ClusterAuthorizationFailed => FeedError::Refused(format!("Kafka at {peer} refuses: {said}")),
        Code::AllBrokersDown => FeedError::Unavailable(format!("cannot reach Kafka at {peer}: {said}")),
        Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition => {
            FeedError::Unavailable(format!("a topic or partition is gone from Kafka at {peer}: {said}"))
        }
        _ => FeedError::Unavailable(format!("Kafka at {peer}: {said}")),
    };
    Some(error)
}

/// Whether a text about this error tells more than what comes with those that follow from it.
pub(super) fn is_telling(code: RDKafkaErrorCode) -> bool {
    code != RDKafkaErrorCode::AllBrokersDown
}

/// The text without how long the connection had been in which state, which tells users nothing.
pub(super) fn without_duration(text: &str) -> String {
    let end = text.find(" (after ").unwrap_or(text.len());
    text.get(..end).unwrap_or(text).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_what_the_broker_said() {
        let said = "127.0.0.1:1/bootstrap: Connect to ipv4#127.0.0.1:1 failed: Connection refused (after 0ms in state CONNECT)";
        let error = classify("127.0.0.1:1", RDKafkaErrorCode::AllBrokersDown, Some(said));
        let expected = "cannot reach Kafka at 127.0.0.1:1: 127.0.0.1:1/bootstrap: Connect to ipv4#127.0.0.1:1 failed: Connection refused";
        assert_eq!(error, Some(FeedError::Unavailable(expected.into())));
        assert_eq!(classify("a:1", RDKafkaErrorCode::BrokerTransportFailure, Some(said)), None);
        let refused = classify("a:1", RDKafkaErrorCode::GroupAuthorizationFailed, None);
        assert!(matches!(refused, Some(FeedError::Refused(_))), "{refused:?}");
    }
}
