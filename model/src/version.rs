//! An entity's version, `major.minor.patch` (contract §1.3).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// `major.minor.patch`; a new entity is 0.0.1, and each overwrite adds one to the patch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    major: u32,
    minor: u32,
    patch: u32,
}

/// The text is no version, or it is 0.0.0.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("semantic version malformed")]
pub struct VersionError;

impl Version {
    /// The next patch version.
    pub fn bumped(self) -> Self {
        Self { patch: self.patch.saturating_add(1), ..self }
    }
}

impl Default for Version {
    fn default() -> Self {
        Self { major: 0, minor: 0, patch: 1 }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

impl FromStr for Version {
    type Err = VersionError;

    /// Missing parts are 0 and parts after the third are dropped, as the reference reads them.
    fn from_str(text: &str) -> Result<Self, VersionError> {
        let mut parts = [0; 3];
        for (part, digits) in parts.iter_mut().zip(text.split('.')) {
            *part = digits.parse().map_err(|_| VersionError)?;
        }
        let [major, minor, patch] = parts;
        if parts == [0; 3] { Err(VersionError) } else { Ok(Self { major, minor, patch }) }
    }
}

impl Serialize for Version {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_read_as_the_reference_reads_them() {
        let read = |text: &str| text.parse::<Version>().map(|v| v.to_string());
        assert_eq!(read("1"), Ok("1.0.0".into()));
        assert_eq!(read("1.2"), Ok("1.2.0".into()));
        assert_eq!(read("1.2.3.4"), Ok("1.2.3".into()));
        assert_eq!(read("01.02.03"), Ok("1.2.3".into()));
        for bad in ["", "x", "0.0.0", "1.-2", "1..2"] {
            assert_eq!(read(bad), Err(VersionError), "{bad}");
        }
        assert_eq!(Version::default().bumped().to_string(), "0.0.2");
    }
}
