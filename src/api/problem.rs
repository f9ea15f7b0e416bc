//! Answers that are errors, in the contract's shape (§1.2): `{"code": <transaction>, "error": <text>}`.

use std::time::Duration;

use axum::http::StatusCode;
use triggerfish_store::StoreError;

use super::backend::Refusal;
use crate::entities::EntityError;
use crate::entities::resolve::ResolveError;

/// An error to answer with.
#[derive(Clone, Debug)]
pub(super) struct Problem {
    pub(super) status: StatusCode,
    pub(super) text: String,
    /// Whether a handler answers: rejections before one have no CORS headers (contract §1.1).
    pub(super) cors: bool,
    pub(super) extra: Extra,
}

/// A header that some errors have.
#[derive(Clone, Debug)]
pub(super) enum Extra {
    None,
    /// `WWW-Authenticate`.
    Challenge,
    /// `Allow`, with these methods.
    Allow(String),
    /// `Retry-After`.
    Retry(Duration),
}

impl Problem {
    /// An error of a handler.
    pub(super) fn of(status: StatusCode, text: impl Into<String>) -> Self {
        Self { status, text: text.into(), cors: true, extra: Extra::None }
    }

    /// A rejection before any handler.
    pub(super) fn rejection(status: StatusCode, text: impl Into<String>) -> Self {
        Self { cors: false, ..Self::of(status, text) }
    }

    /// The body cannot be read.
    pub(super) fn malformed(reason: impl std::fmt::Display) -> Self {
        Self::rejection(StatusCode::BAD_REQUEST, format!("The request content was malformed:\n{reason}"))
    }

    /// A query parameter cannot be read.
    pub(super) fn query(name: &str, reason: impl std::fmt::Display) -> Self {
        Self::rejection(
            StatusCode::BAD_REQUEST,
            format!("The query parameter '{name}' was malformed:\n{reason}"),
        )
    }

    /// No such route.
    pub(super) fn no_route() -> Self {
        Self::rejection(StatusCode::NOT_FOUND, "The requested resource could not be found.")
    }

    /// No such thing.
    pub(super) fn not_found() -> Self {
        Self::of(StatusCode::NOT_FOUND, "The requested resource does not exist.")
    }

    /// Not the caller's.
    pub(super) fn forbidden(what: impl std::fmt::Display) -> Self {
        Self::of(
            StatusCode::FORBIDDEN,
            format!("The supplied authentication is not authorized to access '{what}'."),
        )
    }

    /// The route is there, but not for this method.
    pub(super) fn method(allowed: &str) -> Self {
        let text = format!("HTTP method not allowed, supported methods: {allowed}");
        Self {
            extra: Extra::Allow(allowed.to_owned()),
            ..Self::rejection(StatusCode::METHOD_NOT_ALLOWED, text)
        }
    }

    /// Nobody known is calling.
    pub(super) fn unauthorized(text: &str) -> Self {
        Self { extra: Extra::Challenge, ..Self::rejection(StatusCode::UNAUTHORIZED, text) }
    }

    /// The hub failed; the cause is in its log, not in the answer.
    pub(super) fn internal(cause: impl std::fmt::Display) -> Self {
        tracing::error!(%cause, "a request failed");
        Self::of(StatusCode::INTERNAL_SERVER_ERROR, "There was an internal server error.")
    }

    /// Not now, and when to come again.
    pub(super) fn retry(status: StatusCode, why: String, after: Duration) -> Self {
        Self { extra: Extra::Retry(after), ..Self::of(status, why) }
    }
}

impl From<EntityError> for Problem {
    fn from(error: EntityError) -> Self {
        let status = match &error {
            EntityError::Malformed(_) => return Self::rejection(StatusCode::BAD_REQUEST, error.to_string()),
            EntityError::Store(error) => return error.clone().into(),
            EntityError::Invalid(_) => StatusCode::BAD_REQUEST,
            EntityError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            EntityError::NotFound | EntityError::NotFoundNamed(_) | EntityError::Gone(_) => {
                StatusCode::NOT_FOUND
            }
            EntityError::Forbidden(_) => StatusCode::FORBIDDEN,
            EntityError::Conflict(_) => StatusCode::CONFLICT,
        };
        Self::of(status, error.to_string())
    }
}

impl From<ResolveError> for Problem {
    fn from(error: ResolveError) -> Self {
        EntityError::from(error).into()
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Conflict => EntityError::from(error).into(),
            other => Refusal::from(other).into(),
        }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::OverShare { why, retry_after } => {
                Self::retry(StatusCode::TOO_MANY_REQUESTS, why, retry_after)
            }
            Refusal::Unavailable { why, retry_after } => {
                Self::retry(StatusCode::SERVICE_UNAVAILABLE, why, retry_after)
            }
            Refusal::TooLarge(why) => Self::of(StatusCode::PAYLOAD_TOO_LARGE, why),
            Refusal::Invalid(why) => Self::of(StatusCode::BAD_REQUEST, why),
            Refusal::NotFound(_) => Self::not_found(),
            Refusal::Internal(why) => Self::internal(why),
        }
    }
}
