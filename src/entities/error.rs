//! What can be wrong with an entity's document, or with what is done to it; the texts are the contract's (§1.2).

use triggerfish_model::QualifiedName;
use triggerfish_store::StoreError;

use super::resolve::ResolveError;

/// Why an entity cannot be read, written or deleted.
#[derive(Clone, Debug, thiserror::Error)]
pub enum EntityError {
    /// The document cannot be read: the reason.
    #[error("The request content was malformed:\n{0}")]
    Malformed(String),
    /// The document can be read, but says something that cannot be.
    #[error("{0}")]
    Invalid(String),
    /// A part of the document is too large.
    #[error("{what} larger than allowed: {is} > {max} bytes.")]
    TooLarge {
        /// `exec`, `parameters`, `annotations` or `Request`.
        what: &'static str,
        /// Its size in bytes.
        is: usize,
        /// The largest size.
        max: usize,
    },
    /// Nothing of this name.
    #[error("The requested resource does not exist.")]
    NotFound,
    /// Nothing of this name, where the answer names it.
    #[error("The requested resource '{0}' does not exist.")]
    NotFoundNamed(QualifiedName),
    /// Nothing of this name, in words of its own.
    #[error("{0}")]
    Gone(&'static str),
    /// The caller may not; nothing is said of whether it exists.
    #[error("The supplied authentication is not authorized to access '{0}'.")]
    Forbidden(QualifiedName),
    /// What exists is in the way.
    #[error("{0}")]
    Conflict(String),
    /// The store failed.
    #[error(transparent)]
    Store(StoreError),
}

/// The text where something of that name is of another kind.
pub const WRONG_COLLECTION: &str = "Resource by this name exists but is not in this collection.";

impl EntityError {
    /// A document whose `reason` is the contract's text.
    pub fn malformed(reason: impl Into<String>) -> Self {
        Self::Malformed(reason.into())
    }

    /// Something of that name is of another kind.
    pub fn wrong_collection() -> Self {
        Self::Conflict(WRONG_COLLECTION.to_owned())
    }
}

impl From<StoreError> for EntityError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Conflict => {
                Self::Conflict("Concurrent modification to resource detected.".to_owned())
            }
            other => Self::Store(other),
        }
    }
}

impl From<ResolveError> for EntityError {
    fn from(error: ResolveError) -> Self {
        match error {
            ResolveError::NotFound(_) => Self::NotFound,
            ResolveError::NotAnAction(_) => Self::wrong_collection(),
            ResolveError::Store(error) => error.into(),
        }
    }
}
