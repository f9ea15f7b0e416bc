//! The activation record: what a run or a trigger's fire left behind (contract §2.2).

use serde::{Deserialize, Serialize};

use crate::{ActivationId, Json, Name, Namespace, Parameters, QualifiedName, Subject, Timestamp, Version};

/// How a run ended, as the contract numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum StatusCode {
    /// 0: ran, and its result has no `error`.
    Success,
    /// 1: ran, and its result is an error of the application's own.
    ApplicationError,
    /// 2: did not start or run properly: bad code, crash, timeout, out of memory.
    DeveloperError,
    /// 3: the hub's own failure.
    SystemError,
}

impl StatusCode {
    /// The number, 0 to 3.
    pub fn as_u8(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::ApplicationError => 1,
            Self::DeveloperError => 2,
            Self::SystemError => 3,
        }
    }

    /// The `status` text of the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::ApplicationError => "application error",
            Self::DeveloperError => "action developer error",
            Self::SystemError => "whisk internal error",
        }
    }

    /// The label of metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::ApplicationError => "application_error",
            Self::DeveloperError => "action_developer_error",
            Self::SystemError => "whisk_internal_error",
        }
    }
}

/// What a run answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Response {
    /// How it ended.
    pub status: StatusCode,
    /// The result; where the run failed, an object with `error`.
    pub result: Json,
    /// Length in characters of what the container answered; absent where nothing was parsed.
    pub size: Option<u64>,
}

impl Response {
    /// An answer of `status` with `{"error": message}`, and no size.
    pub fn error(status: StatusCode, message: impl Into<String>) -> Self {
        let message = serde_json::Value::from(message.into());
        let result = Json::from(serde_json::json!({ "error": message }));
        Self { status, result, size: None }
    }
}

/// Which trigger and rule led to an activation; not served by the contract's API, but searchable.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The trigger that was fired.
    pub trigger: Option<QualifiedName>,
    /// The rule that matched.
    pub rule: Option<QualifiedName>,
}

/// An activation record. It never changes once written (invariant 7).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Activation {
    /// The namespace that it ran for.
    pub namespace: Namespace,
    /// The action's or trigger's name, without its package.
    pub name: Name,
    /// The action's or trigger's version.
    pub version: Version,
    /// Whose rights it ran with.
    pub subject: Subject,
    /// The id.
    pub id: ActivationId,
    /// The sequence or composition that it is a part of.
    pub cause: Option<ActivationId>,
    /// When it started.
    pub start: Timestamp,
    /// When it ended; absent for a trigger's record.
    pub end: Option<Timestamp>,
    /// Initialisation and run time in milliseconds; of a sequence, the sum over its components.
    pub duration_ms: Option<u64>,
    /// What it answered; of a trigger's record, the payload that was fired.
    pub response: Response,
    /// Log lines: time, padded to 30 characters, a blank, `stdout: ` or `stderr: `, text (contract §4.3).
    pub logs: Vec<String>,
    /// Annotations: `path`, `kind`, `limits`, `timeout`, `waitTime`, `initTime`, …
    pub annotations: Parameters,
    /// Which trigger and rule led to it.
    pub origin: Origin,
}

impl Activation {
    /// The `kind` annotation's text, if it has one: a runtime's name or `sequence`.
    pub fn kind(&self) -> Option<String> {
        self.annotations.value("kind").and_then(|kind| kind.read().ok())
    }
}
