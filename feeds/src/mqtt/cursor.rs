//! The durable state of an MQTT feed: what the broker may send again. It holds no credentials and no contents.

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::Digest as _;

/// 48 bits of SHA-256 over topic and payload. It only confirms what flag and packet id say already, so it may be short;
/// with the id an entry takes 8 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Digest(pub(crate) [u8; 6]);

impl Digest {
    /// The digest of a message.
    pub(crate) fn of(topic: &[u8], payload: &[u8]) -> Self {
        let mut hash = sha2::Sha256::new();
        hash.update((topic.len() as u64).to_le_bytes());
        hash.update(topic);
        hash.update(payload);
        let whole: [u8; 32] = hash.finalize().into();
        Self(std::array::from_fn(|i| whole.get(i).copied().unwrap_or_default()))
    }
}

/// A delivery that is durable but that the broker may still send again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Open {
    /// Its packet id.
    pub(crate) id: u16,
    /// 1 or 2.
    pub(crate) qos: u8,
    /// What it held.
    pub(crate) digest: Digest,
}

/// Where an MQTT feed goes on after a restart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Cursor {
    /// Which session it belongs to: broker and client id. Another session's ids mean nothing here.
    pub(crate) session: String,
    /// Counts batches.
    pub(crate) number: u64,
    /// The filters that the broker's session is subscribed to, with the QoS.
    pub(crate) topics: Vec<(String, u8)>,
    /// What may come again; 9 bytes each, base64.
    #[serde(serialize_with = "pack", deserialize_with = "unpack")]
    pub(crate) open: Vec<Open>,
}

fn pack<S: Serializer>(open: &[Open], serializer: S) -> Result<S::Ok, S::Error> {
    let mut bytes = Vec::with_capacity(open.len() * 9);
    for Open { id, qos, digest } in open {
        bytes.extend_from_slice(&id.to_be_bytes());
        bytes.push(*qos);
        bytes.extend_from_slice(&digest.0);
    }
    serializer.serialize_str(&BASE64.encode(bytes))
}

fn unpack<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Open>, D::Error> {
    use serde::de::Error;
    let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
    let bytes = BASE64.decode(text.as_bytes()).map_err(D::Error::custom)?;
    let (entries, rest) = bytes.as_chunks::<9>();
    if !rest.is_empty() {
        return Err(D::Error::custom(format!(
            "{} bytes of open deliveries, expected a multiple of 9",
            bytes.len()
        )));
    }
    let open = |&[a, b, qos, digest @ ..]: &[u8; 9]| Open {
        id: u16::from_be_bytes([a, b]),
        qos,
        digest: Digest(digest),
    };
    Ok(entries.iter().map(open).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_stored_and_read_again_as_it_was() {
        let open = vec![
            Open { id: 1, qos: 1, digest: Digest::of(b"a", b"b") },
            Open { id: 65_535, qos: 2, digest: Digest::of(b"ab", b"") },
        ];
        assert_ne!(open[0].digest, open[1].digest, "topic and payload are told apart");
        let cursor = Cursor { session: "s".into(), number: 7, topics: vec![("t/#".into(), 1)], open };
        let text = serde_json::to_string(&cursor).unwrap();
        assert_eq!(serde_json::from_str::<Cursor>(&text).unwrap(), cursor);
        assert!(serde_json::from_str::<Cursor>(&text.replace("\"open\":\"", "\"open\":\"AA")).is_err());
    }
}
