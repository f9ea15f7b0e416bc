//! What a web feed remembers over a restart: which entries it knows, where the document is now, and when to come again.

use std::collections::{HashMap, HashSet};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};
use triggerfish_model::Timestamp;

/// Bytes of an entry that is known: eight tell which it is, four what it held. Among the few thousand entries of a feed two
/// ids share eight bytes once in 10^13 feeds; an edit is overlooked once in four thousand million.
const ENTRY_BYTES: usize = 12;
/// How many entries are remembered at least that are no longer in the document; a server that falls back to an older
/// document, or deletes its latest entries, brings some of them again.
const DEPARTED_MIN: usize = 100;

/// Where a web feed goes on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Cursor {
    /// Which URL the rest is about, as its hash: after a change of it all begins anew.
    pub(super) of: String,
    /// Where permanent redirects led.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) moved_to: Option<String>,
    /// What the server said of the document, to be asked with next time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) validators: Option<Validators>,
    /// How long the document asked to be left alone, in minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) ttl_minutes: Option<u32>,
    /// When the server asked to be asked again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) not_before: Option<Timestamp>,
    /// Counts the documents that had something new; makes the keys of edits differ.
    pub(super) revision: u64,
    pub(super) known: Known,
}

impl Cursor {
    /// The cursor of a feed that was never read.
    pub(super) fn new(url: &str) -> Self {
        Self { of: hex::encode(digest(&[url]).first_chunk::<8>().unwrap_or(&[0; 8])), ..Self::default() }
    }
}

/// What the server said of a document (RFC 9110 §8.8).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Validators {
    /// Of which URL, as its hash: redirects may lead elsewhere next time.
    pub(super) of: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) etag: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) last_modified: Option<String>,
}

/// The entry that a hash stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct EntryId([u8; 8]);

impl EntryId {
    /// The entry that these parts tell from all others.
    pub(super) fn of(parts: &[&str]) -> Self {
        Self(*digest(parts).first_chunk().unwrap_or(&[0; 8]))
    }

    pub(super) fn to_hex(self) -> String {
        hex::encode(self.0)
    }
}

/// What an entry held, as a hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ContentHash([u8; 4]);

impl ContentHash {
    pub(super) fn of(text: &str) -> Self {
        Self(*digest(&[text]).first_chunk().unwrap_or(&[0; 4]))
    }
}

/// SHA-256 over parts, each with its length before it, so that no two lists of parts are the same bytes.
pub(super) fn digest(parts: &[&str]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hasher.finalize().into()
}

/// The known entries, the latest seen last. In the cursor they are one base64 text, 16 characters an entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Known {
    order: Vec<EntryId>,
    content: HashMap<EntryId, ContentHash>,
}

impl Known {
    /// What the entry held when it was last seen; `None` where it is not known.
    pub(super) fn get(&self, id: EntryId) -> Option<ContentHash> {
        self.content.get(&id).copied()
    }

    /// Remembers what an entry holds.
    pub(super) fn put(&mut self, id: EntryId, content: ContentHash) {
        if self.content.insert(id, content).is_none() {
            self.order.push(id);
        }
    }

    /// Makes an entry what it was before.
    pub(super) fn restore(&mut self, id: EntryId, before: Option<ContentHash>) {
        match before {
            Some(content) => drop(self.content.insert(id, content)),
            None => {
                self.content.remove(&id);
                self.order.retain(|known| *known != id);
            }
        }
    }

    /// Forgets entries that are not in the document (`present`), oldest first, down to as many as the document has, or
    /// [`DEPARTED_MIN`].
    pub(super) fn forget_departed(&mut self, present: &[EntryId]) {
        let present: HashSet<_> = present.iter().copied().collect();
        let departed = self.order.iter().filter(|id| !present.contains(*id)).count();
        let excess = departed.saturating_sub(present.len().max(DEPARTED_MIN));
        let mut gone = 0;
        self.order.retain(|id| {
            let goes = gone < excess && !present.contains(id);
            if goes {
                gone += 1;
                self.content.remove(id);
            }
            !goes
        });
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.order.len()
    }
}

impl Serialize for Known {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut bytes = Vec::with_capacity(self.order.len() * ENTRY_BYTES);
        for id in &self.order {
            bytes.extend(id.0);
            bytes.extend(self.get(*id).map_or([0; 4], |content| content.0));
        }
        serializer.serialize_str(&STANDARD.encode(bytes))
    }
}

impl<'de> Deserialize<'de> for Known {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = STANDARD.decode(text).map_err(serde::de::Error::custom)?;
        let (entries, []) = bytes.as_chunks::<ENTRY_BYTES>() else {
            return Err(serde::de::Error::custom("the known entries are cut off"));
        };
        let mut known = Self::default();
        for [a, b, c, d, e, f, g, h, content @ ..] in entries {
            known.put(EntryId([*a, *b, *c, *d, *e, *f, *g, *h]), ContentHash(*content));
        }
        Ok(known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_survives_as_text_and_is_bounded() {
        let id = |n: usize| EntryId::of(&[&n.to_string()]);
        let mut cursor = Cursor::new("http://a/");
        for n in 0..500 {
            cursor.known.put(id(n), ContentHash::of(&format!("content {n}")));
        }
        let present: Vec<_> = (450..500).map(id).collect();
        cursor.known.forget_departed(&present);
        assert_eq!(cursor.known.len(), 50 + DEPARTED_MIN);
        assert_eq!(cursor.known.get(id(349)), None, "the oldest is forgotten");
        assert_eq!(cursor.known.get(id(350)), Some(ContentHash::of("content 350")));
        let text = serde_json::to_string(&cursor).unwrap();
        assert!(text.len() < 150 * 16 + 100, "{} bytes", text.len());
        assert_eq!(serde_json::from_str::<Cursor>(&text).unwrap(), cursor);
        let cut =
            text.replace(&STANDARD.encode([0_u8; 0]), "").replacen("\"known\":\"", "\"known\":\"AAAA", 1);
        assert!(
            serde_json::from_str::<Cursor>(&cut).is_err(),
            "a cursor that makes no sense is not taken for an empty one"
        );
    }
}
