//! Names: of namespaces, subjects and entities (contract §1.3).

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The longest name, in characters (contract §1.3).
const NAME_CHARS_MAX: usize = 256;

/// What is wrong with a name; the texts are the contract's (§1.2).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// A character, or the first or last one, that a name may not have.
    #[error("The name of the entity contains illegal characters.")]
    IllegalName,
    /// An entity's name is too long.
    #[error("Name segement longer than allowed: {0} > 256.")]
    NameTooLong(usize),
    /// A namespace has a character that it may not have.
    #[error("The namespace contains illegal characters.")]
    IllegalNamespace,
    /// A namespace is too long.
    #[error("Namespace longer than allowed: {0} > 256.")]
    NamespaceTooLong(usize),
    /// Not `namespace/name` or `namespace/package/name`.
    #[error(
        "The fully qualified name of the entity must contain at least the namespace and the name of the entity."
    )]
    NotQualified,
}

/// Whether `text` is one `\w`, or `\w`, then `[\w@ .&-]`, and a last one that is no blank.
fn is_legal(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let inner = |b: u8| word(b) || matches!(b, b'@' | b' ' | b'.' | b'&' | b'-');
    let bytes = text.as_bytes();
    bytes.first().is_some_and(|&b| word(b))
        && bytes.iter().all(|&b| inner(b))
        && bytes.last().is_some_and(|&b| b != b' ')
}

macro_rules! text_type {
    ($(#[$doc:meta])* $name:ident, $error:ty) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

text_type! {
    /// The name of an entity within its namespace or package: one segment of a path.
    Name, NameError
}

text_type! {
    /// The name of a namespace.
    Namespace, NameError
}

text_type! {
    /// Who acts: the owner of one or more namespaces; at least 5 characters.
    Subject, SubjectError
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let length = text.chars().count();
        if length > NAME_CHARS_MAX {
            return Err(NameError::NameTooLong(length));
        }
        if !is_legal(text) {
            return Err(NameError::IllegalName);
        }
        Ok(Self(text.into()))
    }
}

impl FromStr for Namespace {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let length = text.chars().count();
        if length > NAME_CHARS_MAX {
            return Err(NameError::NamespaceTooLong(length));
        }
        if !is_legal(text) {
            return Err(NameError::IllegalNamespace);
        }
        Ok(Self(text.into()))
    }
}

/// A subject's name was too short or held a control character.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a subject needs 5 to 256 printable characters")]
pub struct SubjectError;

impl FromStr for Subject {
    type Err = SubjectError;

    fn from_str(text: &str) -> Result<Self, SubjectError> {
        let legal =
            (5..=NAME_CHARS_MAX).contains(&text.chars().count()) && !text.chars().any(char::is_control);
        if legal { Ok(Self(text.into())) } else { Err(SubjectError) }
    }
}

impl Namespace {
    /// The namespace of the hub's own packages, `whisk.system`.
    pub fn system() -> Self {
        Self("whisk.system".into())
    }

    /// The `/namespace/name` of something directly in this namespace.
    pub fn with(&self, name: Name) -> QualifiedName {
        QualifiedName { namespace: self.clone(), package: None, name }
    }
}

/// A whole name: `namespace/name`, or `namespace/package/name`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QualifiedName {
    /// The namespace.
    pub namespace: Namespace,
    /// The package within it, if any.
    pub package: Option<Name>,
    /// The entity's own name.
    pub name: Name,
}

impl QualifiedName {
    /// Reads `[/]namespace/[package/]name`; `_` stands for `own`, the namespace of whoever asks.
    pub fn parse(text: &str, own: &Namespace) -> Result<Self, NameError> {
        let mut segments = text.strip_prefix('/').unwrap_or(text).split('/');
        let namespace = match segments.next() {
            Some("_") => own.clone(),
            Some(text) => text.parse()?,
            None => return Err(NameError::NotQualified),
        };
        let (first, second, third) = (segments.next(), segments.next(), segments.next());
        match (first, second, third) {
            (Some(name), None, None) => Ok(Self { namespace, package: None, name: name.parse()? }),
            (Some(package), Some(name), None) => {
                Ok(Self { namespace, package: Some(package.parse()?), name: name.parse()? })
            }
            (None, ..) => Err(NameError::NotQualified),
            _ => Err(NameError::IllegalName),
        }
    }

    /// `namespace` or `namespace/package`: where the entity lies.
    pub fn path(&self) -> String {
        match &self.package {
            Some(package) => format!("{}/{package}", self.namespace),
            None => self.namespace.to_string(),
        }
    }

    /// `name` or `package/name`: the name as its own namespace writes it.
    pub fn local(&self) -> String {
        match &self.package {
            Some(package) => format!("{package}/{}", self.name),
            None => self.name.to_string(),
        }
    }
}

impl fmt::Display for QualifiedName {
    /// `namespace/[package/]name`, without a leading slash.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.package {
            Some(package) => write!(f, "{}/{package}/{}", self.namespace, self.name),
            None => write!(f, "{}/{}", self.namespace, self.name),
        }
    }
}

impl fmt::Debug for QualifiedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for QualifiedName {
    type Err = NameError;

    /// Reads a name as it was written by `Display`; `_` stands for nothing here.
    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::parse(text, &Namespace("_".into()))
    }
}

impl Serialize for QualifiedName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for QualifiedName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_legal_or_refused_with_the_contracts_words() {
        for good in ["a", "_", "a b", "a@b.c&d-e", "0", &"x".repeat(256)] {
            assert!(good.parse::<Name>().is_ok(), "{good}");
        }
        for bad in ["", " a", "a ", "-a", ".a", "a/b", "ü", "a\n"] {
            assert_eq!(bad.parse::<Name>(), Err(NameError::IllegalName), "{bad:?}");
        }
        assert_eq!("x".repeat(257).parse::<Name>(), Err(NameError::NameTooLong(257)));
        assert_eq!("a:b".parse::<Namespace>(), Err(NameError::IllegalNamespace));
    }

    #[test]
    fn qualified_names_have_two_or_three_segments() {
        let own: Namespace = "guest".parse().unwrap();
        let name = QualifiedName::parse("/_/p/a", &own).unwrap();
        assert_eq!(name.to_string(), "guest/p/a");
        assert_eq!((name.path(), name.local()), ("guest/p".into(), "p/a".into()));
        assert_eq!(QualifiedName::parse("ns/a", &own).unwrap().to_string(), "ns/a");
        assert_eq!(QualifiedName::parse("a", &own), Err(NameError::NotQualified));
        assert_eq!(QualifiedName::parse("a/b/c/d", &own), Err(NameError::IllegalName));
    }
}
