//! What a runtime's answer means (contract §4.2): pure.

use serde_json::Value;
use triggerfish_model::{Json, Response, StatusCode};

use crate::{Answer, Call, ContainerError};

/// What a call came to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Verdict {
    /// What the record says.
    pub(crate) response: Response,
    /// Whether it ran into its time limit.
    pub(crate) timed_out: bool,
}

impl Verdict {
    fn error(status: StatusCode, text: impl Into<String>) -> Self {
        Self { response: Response::error(status, text), timed_out: false }
    }

    /// Whether the container may be used again: it answered properly, even if with an error of the application's own.
    pub(crate) fn reusable(&self) -> bool {
        matches!(self.response.status, StatusCode::Success | StatusCode::ApplicationError)
    }
}

/// The status of a runtime that shuts down: the run is to go to another container (contract §4.2).
const SHUTTING_DOWN: u16 = 503;

/// Whether a call was provably not begun by its container, so that another one may serve it. `fresh` is a container
/// that was made for this run: where such a one ends by itself, the next would too.
pub(crate) fn elsewhere(answer: &Result<Answer, ContainerError>, fresh: bool) -> bool {
    match answer {
        Ok(answer) => answer.status == SHUTTING_DOWN,
        Err(ContainerError::Gone { unheard, .. }) => *unheard && !fresh,
        Err(_) => false,
    }
}

/// What an answer to `/init` means; `None` goes on with the run.
pub(crate) fn init(
    answer: &Result<Answer, ContainerError>,
    timeout_ms: u32,
    bytes_max: usize,
) -> Option<Verdict> {
    const ENDED: &str = "The action did not initialize and exited unexpectedly.";
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => return Some(broken(error, Call::Init, timeout_ms, ENDED)),
    };
    if answer.status == 200 {
        return None;
    }
    if let Some(verdict) = too_long(answer, bytes_max, StatusCode::DeveloperError) {
        return Some(verdict);
    }
    if let Some(verdict) = error_of(answer) {
        return Some(verdict);
    }
    let body = String::from_utf8_lossy(&answer.body);
    let text = match &*body {
        "" => "The action failed during initialization.".to_owned(),
        body => format!("The action failed during initialization: {body}"),
    };
    Some(Verdict::error(StatusCode::DeveloperError, text))
}

/// What an answer to `/run` means.
pub(crate) fn run(answer: &Result<Answer, ContainerError>, timeout_ms: u32, bytes_max: usize) -> Verdict {
    const ENDED: &str = "The action did not produce a valid response and exited unexpectedly.";
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => return broken(error, Call::Run, timeout_ms, ENDED),
    };
    if let Some(verdict) = too_long(answer, bytes_max, StatusCode::ApplicationError) {
        return verdict;
    }
    if answer.status != 200 {
        return error_of(answer).unwrap_or_else(|| unreadable(answer));
    }
    let Ok(result) = Json::parse(&answer.body) else { return unreadable(answer) };
    match result.type_name() {
        "an object" => match error_field(&result) {
            Some(error) => respond(StatusCode::ApplicationError, error, answer),
            None => respond(StatusCode::Success, result, answer),
        },
        "an array" => respond(StatusCode::Success, result, answer),
        _ => unreadable(answer),
    }
}

/// The response where the container could not be made.
pub(crate) fn not_provisioned(error: Option<&ContainerError>) -> Verdict {
    match error {
        Some(ContainerError::Unsupported(text)) => Verdict::error(StatusCode::SystemError, text.clone()),
        _ => Verdict::error(StatusCode::SystemError, "Failed to provision resources to run the action."),
    }
}

fn broken(error: &ContainerError, call: Call, timeout_ms: u32, ended: &str) -> Verdict {
    match error {
        ContainerError::Timeout(_) => {
            let during = if call == Call::Init { " during initialization" } else { "" };
            let text = format!("The action exceeded its time limits of {timeout_ms} milliseconds{during}.");
            Verdict { timed_out: true, ..Verdict::error(StatusCode::DeveloperError, text) }
        }
        ContainerError::Gone { out_of_memory: true, .. } => {
            Verdict::error(StatusCode::DeveloperError, "The action exhausted its memory and was aborted.")
        }
        ContainerError::Gone { out_of_memory: false, .. } => {
            Verdict::error(StatusCode::DeveloperError, ended)
        }
        ContainerError::Unsupported(_) | ContainerError::Engine(_) => not_provisioned(Some(error)),
    }
}

fn too_long(answer: &Answer, bytes_max: usize, status: StatusCode) -> Option<Verdict> {
    if answer.body_bytes <= bytes_max as u64 {
        return None;
    }
    let kept = String::from_utf8_lossy(&answer.body);
    let text = format!(
        "The action produced a response that exceeded the allowed length: {} > {bytes_max} bytes. The truncated \
         response was: {kept}",
        answer.body_bytes
    );
    let mut verdict = Verdict::error(status, text);
    verdict.response.size = Some(answer.body_bytes);
    Some(verdict)
}

/// The `{"error": …}` of an answer that is not 200, where it has one.
fn error_of(answer: &Answer) -> Option<Verdict> {
    let error = error_field(&Json::parse(&answer.body).ok()?)?;
    Some(respond(StatusCode::DeveloperError, error, answer))
}

/// An object of the `error` field alone: the other fields are dropped (contract §4.2).
fn error_field(result: &Json) -> Option<Json> {
    // Most results have no such field, and looking for the word is cheaper than parsing.
    if !result.as_str().contains("\"error\"") {
        return None;
    }
    let object = result.as_object()?;
    let fields = object.fields();
    let error = fields.get("error")?;
    Some(triggerfish_model::JsonObject::from_fields([("error", error)]).into())
}

fn respond(status: StatusCode, result: Json, answer: &Answer) -> Verdict {
    let size = String::from_utf8_lossy(&answer.body).chars().count() as u64;
    Verdict { response: Response { status, result, size: Some(size) }, timed_out: false }
}

fn unreadable(answer: &Answer) -> Verdict {
    let body = String::from_utf8_lossy(&answer.body);
    let text = format!("The action did not produce a valid JSON or JSON Array response: {body}");
    let error = Json::from(serde_json::json!({ "error": Value::from(text) }));
    respond(StatusCode::DeveloperError, error, answer)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn answer(status: u16, body: &str) -> Result<Answer, ContainerError> {
        Ok(Answer { status, body: body.as_bytes().to_vec(), body_bytes: body.len() as u64 })
    }

    fn told(verdict: &Verdict) -> (u8, String, Option<u64>) {
        (verdict.response.status.as_u8(), verdict.response.result.to_string(), verdict.response.size)
    }

    #[test]
    fn answers_of_run_are_read_as_the_contract_reads_them() {
        let run = |status, body| told(&run(&answer(status, body), 100, 1000));
        let unreadable = |body: &str, size| {
            let text = format!("The action did not produce a valid JSON or JSON Array response: {body}");
            (2, serde_json::json!({ "error": text }).to_string(), Some(size))
        };
        assert_eq!(run(200, r#"{"a": 1.0}"#), (0, r#"{"a":1.0}"#.into(), Some(10)));
        assert_eq!(run(200, "[1]"), (0, "[1]".into(), Some(3)));
        assert_eq!(run(200, r#"{"error":null,"b":1}"#), (1, r#"{"error":null}"#.into(), Some(20)));
        assert_eq!(run(200, r#"{"b":{"error":1}}"#), (0, r#"{"b":{"error":1}}"#.into(), Some(17)));
        assert_eq!(run(200, "null\n"), unreadable("null\n", 5));
        assert_eq!(run(200, "x"), unreadable("x", 1));
        assert_eq!(run(502, r#"{"error":"boom"}"#), (2, r#"{"error":"boom"}"#.into(), Some(16)));
        assert_eq!(run(502, "x"), unreadable("x", 1));
    }

    #[test]
    fn what_breaks_is_told_with_the_contracts_words() {
        let broken = |error| {
            let verdict = run(&Err(error), 100, 1000);
            (
                verdict.response.result.to_value()["error"].as_str().unwrap().to_owned(),
                verdict.timed_out,
                verdict.reusable(),
            )
        };
        let gone = |out_of_memory| ContainerError::Gone { out_of_memory, unheard: false };
        assert_eq!(
            broken(ContainerError::Timeout(Duration::from_secs(1))),
            ("The action exceeded its time limits of 100 milliseconds.".into(), true, false)
        );
        assert_eq!(broken(gone(true)).0, "The action exhausted its memory and was aborted.");
        assert_eq!(
            broken(gone(false)).0,
            "The action did not produce a valid response and exited unexpectedly."
        );
        let long = run(&Ok(Answer { status: 200, body: b"abc".to_vec(), body_bytes: 9 }), 100, 3);
        assert_eq!(long.response.status, StatusCode::ApplicationError);
        assert!(
            long.response
                .result
                .as_str()
                .contains("exceeded the allowed length: 9 > 3 bytes. The truncated response was: abc")
        );
    }

    #[test]
    fn answers_of_init_are_read_as_the_contract_reads_them() {
        let init = |status, body| init(&answer(status, body), 100, 1000).map(|verdict| told(&verdict).1);
        assert_eq!(init(200, "anything"), None);
        assert_eq!(init(502, r#"{"error":"bad"}"#), Some(r#"{"error":"bad"}"#.into()));
        assert_eq!(init(502, "x"), Some(r#"{"error":"The action failed during initialization: x"}"#.into()));
        assert_eq!(init(502, ""), Some(r#"{"error":"The action failed during initialization."}"#.into()));
    }
}
