//! Reading an action's limits (contract §1.4.2).

use triggerfish_model::{Json, Limits};

use super::error::EntityError;

/// Bounds of the time limit, in milliseconds.
pub const TIMEOUT_MS: (i64, i64) = (100, 300_000);
/// Bounds of the memory limit, in MB.
pub const MEMORY_MB: (i64, i64) = (128, 512);
/// Bounds of the log limit, in MB.
pub const LOGS_MB: (i64, i64) = (0, 10);
/// Bounds of the runs at once in one container.
pub const CONCURRENCY: (i64, i64) = (1, 1);
/// Containers at once that a namespace may have, as the API shows it: no limit is set unless configured.
pub const INSTANCES_MAX: i64 = 100_000;

/// The limits that a document names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LimitsInput {
    timeout: Option<i64>,
    memory: Option<i64>,
    logs: Option<i64>,
    concurrency: Option<i64>,
    instances: Option<i64>,
}

/// Reads `limits`; unknown names and nulls are ignored.
pub fn read(limits: &Json) -> Result<LimitsInput, EntityError> {
    let fields = limits
        .as_object()
        .ok_or_else(|| EntityError::malformed("Object expected in field 'timeout'"))?
        .fields();
    let whole = |key: &str, word: &str| match fields.get(key) {
        Some(value) if value.as_str() != "null" => number(value, word).map(Some),
        _ => Ok(None),
    };
    let input = LimitsInput {
        timeout: whole("timeout", "time")?,
        memory: whole("memory", "memory")?,
        logs: whole("logs", "log")?,
        concurrency: whole("concurrency", "concurrency")?,
        instances: whole("instances", "instance concurrency")?,
    };
    if input.memory.is_some_and(|memory| memory < 0) || input.logs.is_some_and(|logs| logs < 0) {
        return Err(EntityError::malformed(
            "requirement failed: a negative size of an object is not allowed.",
        ));
    }
    if input.instances.is_some_and(|instances| instances < 0) {
        return Err(EntityError::malformed(
            "requirement failed: Action container concurrency must be greater than or equal to 0.",
        ));
    }
    Ok(input)
}

fn number(value: &Json, word: &str) -> Result<i64, EntityError> {
    if let Ok(whole) = value.read::<i64>() {
        return Ok(whole);
    }
    match value.read::<f64>() {
        Ok(number) if number.fract() == 0.0 && number.abs() < 1e15 =>
        {
            #[expect(clippy::cast_possible_truncation, reason = "whole, and far within an i64")]
            Ok(number as i64)
        }
        Ok(_) => {
            Err(EntityError::malformed(format!("requirement failed: {word} limit must be whole number")))
        }
        Err(_) => Err(EntityError::malformed(format!("{word} limit malformed"))),
    }
}

impl LimitsInput {
    /// `old` with these over it, where all are within their bounds.
    pub fn over(self, old: Limits) -> Result<Limits, EntityError> {
        let memory_mb = bounded(self.memory, old.memory_mb, MEMORY_MB, "memory size", " MB")?;
        let timeout_ms = bounded(self.timeout, old.timeout_ms, TIMEOUT_MS, "duration", " milliseconds")?;
        let logs_mb = bounded(self.logs, old.logs_mb, LOGS_MB, "log size", " MB")?;
        let concurrency = bounded(self.concurrency, old.concurrency, CONCURRENCY, "concurrency", "")?;
        let instances = match self.instances {
            None => old.instances,
            Some(wanted) => Some(u32::try_from(wanted).ok().filter(|_| wanted <= INSTANCES_MAX).ok_or_else(|| {
                EntityError::Invalid(format!(
                    "Max action instance concurrency must not exceed your namespace concurrency of {INSTANCES_MAX}."
                ))
            })?),
        };
        Ok(Limits { timeout_ms, memory_mb, logs_mb, concurrency, instances })
    }
}

fn bounded(
    given: Option<i64>,
    old: u32,
    (min, max): (i64, i64),
    what: &str,
    unit: &str,
) -> Result<u32, EntityError> {
    let Some(given) = given else { return Ok(old) };
    let (verb, bound) = if given < min { ("below", min) } else { ("exceeds", max) };
    u32::try_from(given).ok().filter(|_| (min..=max).contains(&given)).ok_or_else(|| {
        EntityError::Invalid(format!(
            "requirement failed: {what} {given}{unit} {verb} allowed threshold of {bound}{unit}"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn over_default(text: &str) -> Result<Limits, EntityError> {
        read(&Json::parse(text).unwrap())?.over(Limits::default())
    }

    #[test]
    fn limits_are_merged_field_by_field() {
        let limits = over_default(r#"{"timeout":100,"memory":null,"instances":0,"unknown":1}"#).unwrap();
        assert_eq!(limits, Limits { timeout_ms: 100, instances: Some(0), ..Limits::default() });
    }

    #[test]
    fn bad_limits_are_refused_with_the_contracts_words() {
        for (bad, why) in [
            (
                r#"{"timeout":99}"#,
                "requirement failed: duration 99 milliseconds below allowed threshold of 100 milliseconds",
            ),
            (
                r#"{"memory":513,"timeout":1}"#,
                "requirement failed: memory size 513 MB exceeds allowed threshold of 512 MB",
            ),
            (r#"{"concurrency":2}"#, "requirement failed: concurrency 2 exceeds allowed threshold of 1"),
            (r#"{"timeout":1.5}"#, "requirement failed: time limit must be whole number"),
            (r#"{"memory":"256"}"#, "memory limit malformed"),
            (r#"{"logs":-1}"#, "a negative size of an object is not allowed."),
            (r#"{"instances":-1}"#, "Action container concurrency must be greater than or equal to 0."),
            (r#"{"instances":100001}"#, "Max action instance concurrency must not exceed"),
            ("[]", "Object expected in field 'timeout'"),
        ] {
            assert!(over_default(bad).unwrap_err().to_string().contains(why), "{bad}");
        }
    }
}
