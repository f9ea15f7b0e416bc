//! Answers, and their headers (contract §1.1).

use axum::body::Body;
use axum::http::header::{self, HeaderName, HeaderValue};
use axum::http::{HeaderMap, Response, StatusCode};
use bytes::Bytes;
use serde::Serialize;
use triggerfish_model::ActivationId;

use super::problem::{Extra, Problem};

/// What a handler answers.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) body: Body,
    pub(super) content_type: Option<&'static str>,
    pub(super) activation: Option<ActivationId>,
    pub(super) cors: bool,
    /// Headers of this answer alone.
    pub(super) headers: Vec<(&'static str, String)>,
    /// The methods that CORS headers name.
    pub(super) methods: HeaderValue,
}

/// What a handler gives.
pub(super) type Result<T = Reply> = std::result::Result<T, Problem>;

const JSON: &str = "application/json";
pub(super) const TEXT: &str = "text/plain; charset=UTF-8";
const ACTIVATION_ID: HeaderName = HeaderName::from_static("x-openwhisk-activation-id");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const CHALLENGE: HeaderValue =
    HeaderValue::from_static("Basic realm=\"OpenWhisk secure realm\",charset=UTF-8");
const CORS_HEADERS: HeaderValue =
    HeaderValue::from_static("Authorization, Origin, X-Requested-With, Content-Type, Accept, User-Agent");
/// The methods that the API's answers name.
const API_METHODS: HeaderValue = HeaderValue::from_static("GET, DELETE, POST, PUT, HEAD");
/// The methods that answers outside the API name.
pub(super) const ROOT_METHODS: HeaderValue = HeaderValue::from_static("OPTIONS, GET, POST");

impl Reply {
    /// JSON text.
    pub(super) fn json_text(status: StatusCode, text: impl Into<Bytes>) -> Self {
        Self {
            status,
            body: Body::from(text.into()),
            content_type: Some(JSON),
            activation: None,
            cors: true,
            headers: Vec::new(),
            methods: API_METHODS,
        }
    }

    /// `value` as JSON.
    pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Self {
        let text = serde_json::to_vec(value).expect("the API's documents have text keys and JSON values");
        Self::json_text(status, text)
    }

    /// 200 with `value` as JSON.
    pub(super) fn ok(value: &impl Serialize) -> Self {
        Self::json(StatusCode::OK, value)
    }

    /// 200 with plain text.
    pub(super) fn text(text: impl Into<Bytes>) -> Self {
        Self { content_type: Some(TEXT), ..Self::json_text(StatusCode::OK, text) }
    }

    /// 204.
    pub(super) fn empty() -> Self {
        Self { content_type: None, ..Self::json_text(StatusCode::NO_CONTENT, Bytes::new()) }
    }

    /// 200 without a body.
    pub(super) fn empty_ok() -> Self {
        Self { status: StatusCode::OK, ..Self::empty() }
    }

    /// The same, without CORS headers.
    pub(super) fn without_cors(self) -> Self {
        Self { cors: false, ..self }
    }

    /// The same, naming the activation that was made.
    pub(super) fn with_activation(self, id: ActivationId) -> Self {
        Self { activation: Some(id), ..self }
    }

    /// As an HTTP answer.
    pub(super) fn into_response(self, transaction: &str) -> Response<Body> {
        let mut response = Response::new(self.body);
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        common(headers, transaction, self.cors.then_some(self.methods));
        if let Some(content_type) = self.content_type {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        }
        for (name, value) in self.headers {
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.insert(name, value);
            }
        }
        if let Some(id) = self.activation
            && let Ok(id) = HeaderValue::try_from(id.to_string())
        {
            headers.insert(ACTIVATION_ID, id);
        }
        response
    }
}

/// The headers of every answer, and those of CORS where `methods` are named.
pub(super) fn common(headers: &mut HeaderMap, transaction: &str, methods: Option<HeaderValue>) {
    if let Ok(transaction) = HeaderValue::from_bytes(transaction.as_bytes()) {
        headers.insert(REQUEST_ID, transaction);
    }
    if let Some(methods) = methods {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, CORS_HEADERS);
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
    }
}

/// The error body of the contract.
#[derive(Serialize)]
struct ErrorBody<'a> {
    code: &'a str,
    error: &'a str,
}

impl Problem {
    /// As an HTTP answer.
    pub(super) fn into_response(self, transaction: &str) -> Response<Body> {
        let reply = Reply::json(self.status, &ErrorBody { code: transaction, error: &self.text });
        let mut response = Reply { cors: self.cors, ..reply }.into_response(transaction);
        let headers = response.headers_mut();
        match self.extra {
            Extra::None => {}
            Extra::Challenge => drop(headers.insert(header::WWW_AUTHENTICATE, CHALLENGE)),
            Extra::Allow(methods) => {
                if let Ok(methods) = HeaderValue::try_from(methods) {
                    headers.insert(header::ALLOW, methods);
                }
            }
            Extra::Retry(after) => {
                drop(headers.insert(header::RETRY_AFTER, HeaderValue::from(after.as_secs().max(1))));
            }
        }
        response
    }
}
