//! Ids: of activations, of places in the log, of an entity's revision.

use std::fmt;
use std::str::FromStr;

use rand::RngCore;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

/// The id of an activation: 128 bits, written as 32 lowercase hexadecimal digits (contract §2.2).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ActivationId([u8; 16]);

impl ActivationId {
    /// An id of these 16 bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The 16 bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// The id that follows from `parts` (SHA-256, cut to 128 bits): the same parts always give the same id, so a
    /// second write of the same thing is the same record (invariant 4). Parts are length-prefixed, so that
    /// `["ab", "c"]` and `["a", "bc"]` differ.
    pub fn derive(parts: &[&[u8]]) -> Self {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        let digest: [u8; 32] = hash.finalize().into();
        Self(std::array::from_fn(|i| digest.get(i).copied().unwrap_or_default()))
    }

    /// The id of the activation that `step` of this one causes (a rule's name, a sequence's step number).
    pub fn child(&self, step: &[u8]) -> Self {
        Self::derive(&[&self.0, step])
    }
}

impl fmt::Display for ActivationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; 32];
        hex::encode_to_slice(self.0, &mut text).map_err(|_| fmt::Error)?;
        f.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for ActivationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What is wrong with the text of an [`ActivationId`]; the texts are the contract's (§1.2).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseIdError {
    /// Not 32 characters.
    #[error("Activation id length is {0} but must be 32.")]
    Length(usize),
    /// 32 characters, but not all of them lowercase hexadecimal digits.
    #[error("The activation id is not valid.")]
    Digits,
}

impl FromStr for ActivationId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let length = text.chars().count();
        if length != 32 {
            return Err(ParseIdError::Length(length));
        }
        if text.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(ParseIdError::Digits);
        }
        let mut bytes = [0; 16];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| ParseIdError::Digits)?;
        Ok(Self(bytes))
    }
}

impl Serialize for ActivationId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            self.0.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for ActivationId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
            text.parse().map_err(serde::de::Error::custom)
        } else {
            <[u8; 16]>::deserialize(deserializer).map(Self)
        }
    }
}

/// A place in the event log: each accepted event has one, and a later event has a greater one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SeqNum(pub u64);

/// The revision of a stored entity: each write gives it a greater one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Revision(pub u64);

/// Where ids that follow from nothing come from. Whatever makes such ids takes one, so that tests own chance.
pub trait IdGen: Send + Sync + 'static {
    /// A fresh activation id.
    fn activation_id(&self) -> ActivationId;
}

/// Ids from the operating system's random numbers.
#[derive(Clone, Copy, Debug, Default)]
pub struct RandomIds;

impl IdGen for RandomIds {
    fn activation_id(&self) -> ActivationId {
        let mut bytes = [0; 16];
        rand::rng().fill_bytes(&mut bytes);
        ActivationId(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_32_lowercase_digits() {
        let id = ActivationId::derive(&[b"a", b"b"]);
        let text = id.to_string();
        assert_eq!(text.parse(), Ok(id));
        assert_eq!(text.to_uppercase().parse::<ActivationId>(), Err(ParseIdError::Digits));
        assert_eq!("abc".parse::<ActivationId>(), Err(ParseIdError::Length(3)));
        assert_eq!("g".repeat(32).parse::<ActivationId>(), Err(ParseIdError::Digits));
        assert_eq!(serde_json::to_string(&id).unwrap(), format!("\"{text}\""));
        assert_eq!(serde_json::from_str::<ActivationId>(&format!("\"{text}\"")).unwrap(), id);
    }

    #[test]
    fn derived_ids_tell_their_parts_apart() {
        assert_eq!(ActivationId::derive(&[b"ab", b"c"]), ActivationId::derive(&[b"ab", b"c"]));
        assert_ne!(ActivationId::derive(&[b"ab", b"c"]), ActivationId::derive(&[b"a", b"bc"]));
    }
}
