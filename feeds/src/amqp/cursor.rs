//! The durable state of an AMQP feed: which deliveries the broker may send again. It holds no contents.

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::Digest as _;

/// 48 bits of SHA-256 over where a message was published to and what it holds. It only tells redelivered messages of one
/// queue apart, some thousands at most, so it may be short: an entry of the cursor takes 8 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Digest(pub(crate) [u8; 6]);

impl Digest {
    /// The digest of a message.
    pub(crate) fn of(exchange: &str, routing_key: &str, body: &[u8]) -> Self {
        let mut hash = sha2::Sha256::new();
        for part in [exchange.as_bytes(), routing_key.as_bytes()] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        hash.update(body);
        let whole: [u8; 32] = hash.finalize().into();
        Self(std::array::from_fn(|i| whole.get(i).copied().unwrap_or_default()))
    }
}

/// Where an AMQP feed goes on after a restart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Cursor {
    /// Which queue it belongs to: broker, virtual host and name.
    pub(crate) queue: String,
    /// Counts batches.
    pub(crate) number: u64,
    /// Deliveries that are durable and may come again, oldest first, in their batches; base64 of 6 bytes each.
    pub(crate) open: Vec<Group>,
    /// How many of these batches, the oldest, were acknowledged before this was written: most likely the broker had that.
    #[serde(default)]
    pub(crate) answered: usize,
}

/// What was acknowledged at once: the broker has had all of that or nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Group(pub(crate) Vec<Digest>);

impl Serialize for Group {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let bytes: Vec<u8> = self.0.iter().flat_map(|digest| digest.0).collect();
        serializer.serialize_str(&BASE64.encode(bytes))
    }
}

impl<'de> Deserialize<'de> for Group {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        let bytes = BASE64.decode(text.as_ref()).map_err(serde::de::Error::custom)?;
        let (digests, rest) = bytes.as_chunks::<6>();
        if !rest.is_empty() {
            return Err(serde::de::Error::custom("the open deliveries are cut off"));
        }
        Ok(Self(digests.iter().map(|bytes| Digest(*bytes)).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_small_and_reads_back() {
        let digests = (0..500_u32).map(|n| Digest::of("e", "k", &n.to_le_bytes())).collect();
        let open = vec![Group(digests), Group::default()];
        let cursor = Cursor { queue: "h:1/v/q".into(), number: 9, open, answered: 1 };
        let text = serde_json::to_string(&cursor).unwrap();
        assert!(text.len() < 4100, "{}", text.len());
        assert_eq!(serde_json::from_str::<Cursor>(&text).unwrap(), cursor);
        assert!(serde_json::from_str::<Cursor>(&text.replace("\"open\":[\"", "\"open\":[\"AA")).is_err());
    }

    #[test]
    fn where_it_was_published_to_is_part_of_a_message() {
        let all = [Digest::of("", "q", b"x"), Digest::of("q", "", b"x"), Digest::of("", "", b"qx")];
        assert!(all[0] != all[1] && all[1] != all[2] && all[0] != all[2]);
    }
}
