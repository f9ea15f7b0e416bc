//! When to try again: exponential back-off with jitter, and a rule's `retry`, which says how often and after what.
//!
//! Chance is passed in, so that a test or a simulation owns it.

use std::time::Duration;

use serde::Deserialize;
use triggerfish_model::{Json, Retry, StatusCode};

use crate::conditions::{Clause, ConditionError};

/// Attempts that a rule may ask for: each leaves a record.
const ATTEMPTS_MAX: u32 = 20;
/// The longest wait that a rule may ask for: a day.
const WAIT_MAX: Duration = Duration::from_secs(24 * 3600);
/// The wait before the second attempt, where the rule names none.
const BACKOFF: &str = "1s";
/// The longest wait, where the rule names none.
const LONGEST: &str = "5m";
/// The outcomes after which an action is tried again, where the rule names none: all that are no success.
const FAILURES: [StatusCode; 3] =
    [StatusCode::ApplicationError, StatusCode::DeveloperError, StatusCode::SystemError];

/// How the waits between attempts grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The upper bound of the first wait.
    pub first: Duration,
    /// The upper bound of every wait.
    pub max: Duration,
}

impl Backoff {
    /// The wait before the next attempt, after `failures` failures in a row (from 1): between half of and the whole
    /// of `first * 2^(failures - 1)`, never more than `max`. `random` is drawn evenly from all of `u64`.
    pub fn delay(&self, failures: u32, random: u64) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        let whole = self.first.saturating_mul(1 << doublings).min(self.max);
        let half = whole / 2;
        let span = u64::try_from((whole - half).as_nanos()).unwrap_or(u64::MAX);
        // The high half of the product is an even draw from 0..=span.
        let jitter = (u128::from(random) * (u128::from(span) + 1)) >> 64;
        half + Duration::from_nanos(u64::try_from(jitter).unwrap_or(span))
    }
}

/// A rule's `retry` as it is written: `{"attempts": 3, "backoff": "1s", "max": "5m", "on": ["whisk internal error"]}`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    attempts: u32,
    #[serde(default = "backoff")]
    backoff: String,
    #[serde(default = "longest")]
    max: String,
    on: Option<Vec<String>>,
}

fn backoff() -> String {
    BACKOFF.into()
}

fn longest() -> String {
    LONGEST.into()
}

/// Reads a rule's `retry`.
pub fn parse(given: &Json) -> Result<Retry, ConditionError> {
    let refused = |part: &str, message: String| {
        let offset = given.as_str().find(part).unwrap_or_default();
        ConditionError::at(Clause::Retry, given.as_str(), offset, message)
    };
    let written: Written = serde_json::from_str(given.as_str()).map_err(|error| {
        let text = error.to_string();
        let message = text.split(" at line ").next().unwrap_or(&text).to_owned();
        ConditionError::at_line(
            Clause::Retry,
            given.as_str(),
            (error.line().max(1), error.column().max(1)),
            message,
        )
    })?;
    if !(1..=ATTEMPTS_MAX).contains(&written.attempts) {
        let text = format!(
            "`attempts` is {}; expected 1 to {ATTEMPTS_MAX}, the first one included",
            written.attempts
        );
        return Err(refused("\"attempts\"", text));
    }
    let wait = |name: &str, text: &str| {
        duration(text).filter(|wait| !wait.is_zero() && *wait <= WAIT_MAX).ok_or_else(|| {
            let expected = "expected a number with `ms`, `s`, `m` or `h`, of at most 24h, like \"1s\"";
            refused(&format!("\"{name}\""), format!("`{name}` is \"{text}\"; {expected}"))
        })
    };
    let (backoff, max) = (wait("backoff", &written.backoff)?, wait("max", &written.max)?);
    let on = match &written.on {
        None => FAILURES.to_vec(),
        Some(names) => names
            .iter()
            .map(|name| {
                let found = FAILURES
                    .into_iter()
                    .find(|status| [status.as_str(), status.label()].contains(&name.as_str()));
                let all = FAILURES.map(|status| format!("\"{}\"", status.as_str())).join(", ");
                found.ok_or_else(|| refused(name, format!("`on` has \"{name}\"; expected some of {all}")))
            })
            .collect::<Result<_, _>>()?,
    };
    let millis = |wait: Duration| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
    Ok(Retry {
        attempts: written.attempts,
        backoff_ms: millis(backoff),
        max_ms: millis(max.max(backoff)),
        on,
    })
}

fn duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at_checked(digits)?;
    let number: u64 = number.parse().ok()?;
    let millis = match unit {
        "ms" => number,
        "s" => number.checked_mul(1000)?,
        "m" => number.checked_mul(60_000)?,
        "h" => number.checked_mul(3_600_000)?,
        _ => return None,
    };
    Some(Duration::from_millis(millis))
}

/// What follows an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// It is over: a success, or an outcome that the rule does not try again after.
    Over,
    /// Another attempt, after this wait.
    Again(Duration),
    /// It failed as often as the rule lets it.
    GivenUp,
}

/// What follows attempt `attempt` (from 0), which ended with `status`. `random` is drawn evenly from all of `u64`.
pub fn next(policy: &Retry, attempt: u32, status: StatusCode, random: u64) -> Next {
    if !policy.on.contains(&status) {
        return Next::Over;
    }
    if attempt + 1 >= policy.attempts {
        return Next::GivenUp;
    }
    let backoff = Backoff {
        first: Duration::from_millis(policy.backoff_ms),
        max: Duration::from_millis(policy.max_ms),
    };
    Next::Again(backoff.delay(attempt + 1, random))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINUTE: Backoff = Backoff { first: Duration::from_millis(500), max: Duration::from_secs(60) };

    #[test]
    fn waits_double_up_to_the_bound() {
        let most: Vec<u64> =
            [1, 2, 3, 8, 9, u32::MAX].iter().map(|&n| MINUTE.delay(n, u64::MAX).as_millis() as u64).collect();
        assert_eq!(most, [500, 1000, 2000, 60_000, 60_000, 60_000]);
        assert_eq!(MINUTE.delay(1, 0), Duration::from_millis(250));
        assert_eq!(MINUTE.delay(0, 0), Duration::from_millis(250));
    }

    fn policy(text: &str) -> Result<Retry, String> {
        parse(&Json::parse(text).unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_rule_says_how_often_and_after_what() {
        let all = FAILURES.to_vec();
        let expected = Retry { attempts: 3, backoff_ms: 1000, max_ms: 300_000, on: all };
        assert_eq!(policy(r#"{"attempts":3}"#).unwrap(), expected);
        let text = r#"{"attempts":2,"backoff":"250ms","max":"2h","on":["whisk_internal_error","application error"]}"#;
        let expected = Retry {
            attempts: 2,
            backoff_ms: 250,
            max_ms: 7_200_000,
            on: vec![StatusCode::SystemError, StatusCode::ApplicationError],
        };
        assert_eq!(policy(text).unwrap(), expected);
        let wrong = [
            (r#"{}"#, "missing field `attempts`"),
            (r#"{"attempts":0}"#, "column 2: `attempts` is 0; expected 1 to 20"),
            (
                r#"{"attempts":2,"backoff":"1 day"}"#,
                "column 15: `backoff` is \"1 day\"; expected a number with",
            ),
            (r#"{"attempts":2,"max":"48h"}"#, "`max` is \"48h\""),
            (
                r#"{"attempts":2,"on":["success"]}"#,
                "`on` has \"success\"; expected some of \"application error\"",
            ),
            (r#"{"attempts":2,"times":1}"#, "unknown field `times`"),
            (r#"[]"#, "`retry` is wrong at line 1"),
        ];
        for (text, part) in wrong {
            let error = policy(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn what_fails_is_tried_again_until_it_has_no_attempts_left() {
        let policy =
            Retry { attempts: 3, backoff_ms: 100, max_ms: 150, on: vec![StatusCode::ApplicationError] };
        let after = |attempt, status| next(&policy, attempt, status, u64::MAX);
        assert_eq!(after(0, StatusCode::Success), Next::Over);
        assert_eq!(after(0, StatusCode::DeveloperError), Next::Over);
        assert_eq!(after(0, StatusCode::ApplicationError), Next::Again(Duration::from_millis(100)));
        assert_eq!(after(1, StatusCode::ApplicationError), Next::Again(Duration::from_millis(150)));
        assert_eq!(after(2, StatusCode::ApplicationError), Next::GivenUp);
    }

    proptest! {
        #[test]
        fn a_wait_is_within_its_bounds(failures in any::<u32>(), random in any::<u64>()) {
            let wait = MINUTE.delay(failures, random);
            prop_assert!(wait >= MINUTE.first / 2 && wait <= MINUTE.max);
        }
    }
}
