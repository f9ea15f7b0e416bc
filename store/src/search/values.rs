//! Values in a query: moments, numbers, durations, status codes.

use triggerfish_model::{StatusCode, Timestamp};

/// A span of time, in milliseconds: its first, and the first after it.
pub(super) type Span = (f64, f64);

const STATUSES: [StatusCode; 4] =
    [StatusCode::Success, StatusCode::ApplicationError, StatusCode::DeveloperError, StatusCode::SystemError];

/// What a moment may look like; for error messages.
pub(super) const MOMENTS: &str = "`2026-11-24`, `2026-11-24T10:00:00Z`, `now-15m` or milliseconds since 1970";
/// What a status may look like; for error messages.
pub(super) const STATUS_WORDS: &str =
    "`success`, `application_error`, `action_developer_error`, `whisk_internal_error` or a code from 0 to 3";

/// A moment, or a day as a span.
pub(super) fn moment(text: &str, now: Timestamp) -> Option<Span> {
    let at = |millis: f64| (millis, millis + 1.0);
    if let Some(offset) = text.strip_prefix("now") {
        let now = now.as_millis() as f64;
        return match (offset.strip_prefix('-'), offset.strip_prefix('+')) {
            _ if offset.is_empty() => Some(at(now)),
            (Some(back), _) => Some(at((now - span(back)?).floor())),
            (_, Some(ahead)) => Some(at((now + span(ahead)?).floor())),
            _ => None,
        };
    }
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return Some(at(time.as_millisecond() as f64));
    }
    if !text.contains('T')
        && let Ok(day) = text.parse::<jiff::civil::Date>()
    {
        let begin = day.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_millisecond() as f64;
        return Some((begin, begin + 86_400_000.0));
    }
    text.parse::<i64>().ok().map(|millis| at(millis as f64))
}

/// A length of time with its unit, in milliseconds.
fn span(text: &str) -> Option<f64> {
    const UNITS: [(&str, f64); 6] =
        [("ms", 1.0), ("s", 1e3), ("m", 6e4), ("h", 3.6e6), ("d", 8.64e7), ("w", 6.048e8)];
    UNITS.iter().find_map(|(unit, millis)| {
        let amount = text.strip_suffix(unit)?.parse::<f64>().ok()?;
        let length = amount * millis;
        (amount >= 0.0 && length.is_finite()).then_some(length)
    })
}

/// A duration in milliseconds, or with a unit.
pub(super) fn duration(text: &str) -> Option<f64> {
    number(text).or_else(|| span(text))
}

/// A finite number.
pub(super) fn number(text: &str) -> Option<f64> {
    let numeric = text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.'));
    text.parse::<f64>().ok().filter(|number| numeric && number.is_finite())
}

/// The codes that a text names.
pub(super) fn codes(text: &str) -> Option<[bool; 4]> {
    codes_where(|status| {
        let same = |name: &str| text.eq_ignore_ascii_case(name);
        same(status.as_str()) || same(status.label()) || text == status.as_u8().to_string()
    })
}

/// The codes for which `wanted` holds; none where it holds for none.
pub(super) fn codes_where(wanted: impl Fn(StatusCode) -> bool) -> Option<[bool; 4]> {
    let codes = STATUSES.map(wanted);
    codes.contains(&true).then_some(codes)
}
