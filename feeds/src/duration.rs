//! Lengths of time as people write them: `2h`, `1m`, `5s`, `2 days`, `2.5hrs` (contract §3.6).

use std::time::Duration;

/// Reads a number and a unit; an error says what is wrong.
pub(crate) fn read(text: &str) -> Result<Duration, &'static str> {
    let text = text.trim();
    let unit_at = text.find(|c: char| c.is_ascii_alphabetic()).ok_or("it names no unit")?;
    let (number, unit) = text.split_at(unit_at);
    let number: f64 = number.trim().parse().map_err(|_| "it begins with no number")?;
    let seconds = match unit.to_ascii_lowercase().as_str() {
        "ms" | "millisecond" | "milliseconds" => 0.001,
        "s" | "sec" | "secs" | "second" | "seconds" => 1.0,
        "m" | "min" | "mins" | "minute" | "minutes" => 60.0,
        "h" | "hr" | "hrs" | "hour" | "hours" => 3600.0,
        "d" | "day" | "days" => 86_400.0,
        "w" | "week" | "weeks" => 604_800.0,
        _ => return Err("its unit is not known"),
    };
    Duration::try_from_secs_f64(number * seconds).map_err(|_| "it is no length of time")
}
