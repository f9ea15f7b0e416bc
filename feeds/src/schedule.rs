//! When a cron expression fires: pure, over time zones.
//!
//! The syntax is the `cron` crate's (5 fields, or 6 with seconds first), its meaning Vixie's: Sunday is 0 or 7, and where
//! both day fields are restricted either suffices. The crate itself counts Sunday as 1, asks for both day fields, skips a
//! day whose time falls into a daylight-saving gap and fires twice in a fold; so only its field parsing is used.
//!
//! Two kinds of expressions part where clocks are set, as in Vixie's cron. One whose hours are a wildcard or a step (`*`,
//! `*/2`, `8-18/2`) follows elapsed time: it fires at each moment whose local time matches, so twice in a fold and never in a
//! gap. One whose hours are fixed names times of a day: a time in a gap fires at the gap's end, one in a fold at its first
//! occurrence.

use std::collections::BTreeSet;
use std::str::FromStr;

use cron::TimeUnitSpec;
use jiff::civil::{Date, DateTime, Time, Weekday};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp as Instant, ToSpan};
use serde::Serialize;

/// Days that are looked at for the next time: February 29th comes within eight years of any day.
const DAYS_MAX: usize = 366 * 9;
/// The most fires that a preview shows.
const PREVIEW_MAX: usize = 10_000;

/// A cron expression in a time zone.
#[derive(Clone, Debug)]
pub(crate) struct Schedule {
    fields: cron::Schedule,
    zone: TimeZone,
    seconds: Vec<i8>,
    minutes: Vec<i8>,
    hours: Vec<i8>,
    /// Whether the day of the month, or of the week, is restricted.
    by_month_day: bool,
    by_week_day: bool,
    /// Whether the hours are a wildcard or a step, so that elapsed time counts.
    is_elapsed: bool,
}

/// The expression is no cron pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BadPattern;

/// What is special about a fire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mark {
    /// Its local time does not exist on that day: it fires at the end of the gap.
    Gap,
    /// Its local time comes twice on that day.
    Fold,
}

/// A fire of a preview.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fire {
    /// When, in RFC 3339 and UTC.
    pub at: String,
    /// The local time then, with its offset.
    pub local: String,
    /// What is special about it.
    pub mark: Option<Mark>,
}

/// The fires of a cron expression after a moment, at most `count`; fewer where there are no more.
///
/// # Errors
/// An expression or a zone that makes no sense, or a count of more than ten thousand.
pub fn preview(pattern: &str, zone: &str, from: Instant, count: usize) -> Result<Vec<Fire>, String> {
    if count > PREVIEW_MAX {
        return Err(format!("{count} fires are more than the {PREVIEW_MAX} that are shown"));
    }
    let time_zone = TimeZone::get(zone)
        .map_err(|_| format!("`{zone}` is no time zone; expected an IANA name like Europe/Berlin"))?;
    let schedule = Schedule::parse(pattern, time_zone).map_err(|BadPattern| {
        format!("`{pattern}` is no cron pattern; expected 5 fields, or 6 with seconds first")
    })?;
    let after = |(at, _): &(Instant, Option<Mark>)| schedule.next(*at);
    let fires = std::iter::successors(schedule.next(from), after).take(count);
    let shown = |(at, mark): (Instant, Option<Mark>)| Fire {
        at: at.to_string(),
        local: at.to_zoned(schedule.zone.clone()).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string(),
        mark,
    };
    Ok(fires.map(shown).collect())
}

impl Schedule {
    /// Reads an expression of 5 or 6 fields.
    pub(crate) fn parse(pattern: &str, zone: TimeZone) -> Result<Self, BadPattern> {
        let mut fields: Vec<String> = pattern.split_whitespace().map(str::to_owned).collect();
        if fields.len() == 5 {
            fields.insert(0, "0".into());
        }
        let [_, _, hours, month_days, _, week_days] = fields.as_slice() else { return Err(BadPattern) };
        let restricted = |field: &str| !field.starts_with('*') && field != "?";
        let (by_month_day, by_week_day) = (restricted(month_days), restricted(week_days));
        let is_elapsed = hours.contains(['*', '/']);
        let week_days = week_days_of(week_days)?;
        if let Some(last) = fields.last_mut() {
            *last = week_days;
        }
        let fields = cron::Schedule::from_str(&fields.join(" ")).map_err(|_| BadPattern)?;
        let (seconds, minutes, hours) =
            (narrow(fields.seconds()), narrow(fields.minutes()), narrow(fields.hours()));
        Ok(Self { fields, zone, seconds, minutes, hours, by_month_day, by_week_day, is_elapsed })
    }

    /// The first fire after `after`; `None` where there is none (February 30th).
    pub(crate) fn next(&self, after: Instant) -> Option<(Instant, Option<Mark>)> {
        if self.is_elapsed { self.next_elapsed(after) } else { self.next_fixed(after) }
    }

    /// Each moment whose local time matches: searched in one stretch of unchanged offset after the other.
    fn next_elapsed(&self, after: Instant) -> Option<(Instant, Option<Mark>)> {
        let mut from = next_second(after)?;
        // A year has few transitions; the days that are looked at bound the search.
        let last = after.checked_add(SignedDuration::from_hours(24 * i64::try_from(DAYS_MAX).ok()?)).ok()?;
        while from <= last {
            let offset = self.zone.to_offset(from);
            let end = self.zone.following(from).next().map(|transition| transition.timestamp());
            let found = self.next_local(offset.to_datetime(from))?;
            let found = offset.to_timestamp(found).ok()?;
            match end {
                Some(end) if found >= end => from = end,
                _ => {
                    let local = offset.to_datetime(found);
                    let is_fold =
                        matches!(self.zone.to_ambiguous_zoned(local).offset(), AmbiguousOffset::Fold { .. });
                    return Some((found, is_fold.then_some(Mark::Fold)));
                }
            }
        }
        None
    }

    /// Each local time that matches, at the moment that stands for it. Later local times never stand for earlier moments.
    fn next_fixed(&self, after: Instant) -> Option<(Instant, Option<Mark>)> {
        let mut local = self.zone.to_datetime(after).with().subsec_nanosecond(0).build().ok()?;
        loop {
            local = self.next_local(local.checked_add(1.second()).ok()?)?;
            let (moment, mark) = self.moment(local)?;
            if moment > after {
                return Some((moment, mark));
            }
        }
    }

    /// The moment that a local time of a fixed hour stands for.
    fn moment(&self, local: DateTime) -> Option<(Instant, Option<Mark>)> {
        match self.zone.to_ambiguous_zoned(local).offset() {
            AmbiguousOffset::Unambiguous { offset } => Some((offset.to_timestamp(local).ok()?, None)),
            AmbiguousOffset::Fold { before, .. } => {
                Some((before.to_timestamp(local).ok()?, Some(Mark::Fold)))
            }
            AmbiguousOffset::Gap { before, .. } => {
                // Read with the offset before the gap the time lies at or behind the gap's end, by less than the gap's length.
                let inside = next_second(before.to_timestamp(local).ok()?)?;
                let changes = |at: &Instant| {
                    let earlier = at.checked_sub(1.second()).ok();
                    earlier.is_some_and(|earlier| self.zone.to_offset(earlier) != self.zone.to_offset(*at))
                };
                let end =
                    self.zone.preceding(inside).map(|transition| transition.timestamp()).find(changes)?;
                Some((end, Some(Mark::Gap)))
            }
        }
    }

    /// The first local time at or after `from` that matches.
    fn next_local(&self, from: DateTime) -> Option<DateTime> {
        let (mut date, mut earliest) = (from.date(), from.time());
        for _ in 0..DAYS_MAX {
            if self.is_day(date)
                && let Some(time) = self.next_time(earliest)
            {
                return Some(date.to_datetime(time));
            }
            (date, earliest) = (date.tomorrow().ok()?, Time::midnight());
        }
        None
    }

    fn next_time(&self, earliest: Time) -> Option<Time> {
        let (h, m, s) = (earliest.hour(), earliest.minute(), earliest.second());
        for hour in self.hours.iter().filter(|hour| **hour >= h) {
            for minute in self.minutes.iter().filter(|minute| *hour > h || **minute >= m) {
                let is_later = (*hour, *minute) > (h, m);
                if let Some(second) = self.seconds.iter().find(|second| is_later || **second >= s) {
                    return Time::new(*hour, *minute, *second, 0).ok();
                }
            }
        }
        None
    }

    fn is_day(&self, date: Date) -> bool {
        let month = u32::from(date.month().unsigned_abs());
        let month_day = self.fields.days_of_month().includes(u32::from(date.day().unsigned_abs()));
        let week_day = self.fields.days_of_week().includes(crate_week_day(date.weekday()));
        let day = match (self.by_month_day, self.by_week_day) {
            (true, true) => month_day || week_day,
            _ => month_day && week_day,
        };
        day && self.fields.months().includes(month)
    }
}

/// The first whole second after a moment.
fn next_second(after: Instant) -> Option<Instant> {
    Instant::from_second(after.as_millisecond().div_euclid(1000) + 1).ok()
}

fn narrow(unit: &impl TimeUnitSpec) -> Vec<i8> {
    unit.iter().map(|value| i8::try_from(value).expect("hours, minutes and seconds are below 60")).collect()
}

/// The `cron` crate's number of a day: Sunday is 1.
fn crate_week_day(day: Weekday) -> u32 {
    u32::from(day.to_sunday_zero_offset().unsigned_abs()) + 1
}

/// Vixie's week days as the crate counts them.
fn week_days_of(field: &str) -> Result<String, BadPattern> {
    if field == "*" || field == "?" {
        return Ok("*".into());
    }
    let mut days = BTreeSet::new();
    for part in field.split(',') {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => {
                (range, step.parse::<usize>().ok().filter(|step| *step > 0).ok_or(BadPattern)?)
            }
            None => (part, 1),
        };
        let (from, to) = match range.split_once('-') {
            _ if range == "*" => (0, 6),
            Some((from, to)) => (week_day(from)?, week_day(to)?),
            None if step > 1 => (week_day(range)?, 6),
            None => (week_day(range)?, week_day(range)?),
        };
        // "fri-sun" ends with Sunday as 7.
        let to = if to < from && to == 0 { 7 } else { to };
        if to < from {
            return Err(BadPattern);
        }
        days.extend((from..=to).step_by(step).map(|day| day % 7 + 1));
    }
    Ok(days.iter().map(u32::to_string).collect::<Vec<_>>().join(","))
}

/// A day's number as Vixie counts it: 0 to 7, or its name.
fn week_day(text: &str) -> Result<u32, BadPattern> {
    const NAMES: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
    if let Ok(number) = text.parse::<u32>() {
        return if number <= 7 { Ok(number) } else { Err(BadPattern) };
    }
    let lower = text.to_ascii_lowercase();
    let named = (0..).zip(NAMES).find(|(_, name)| lower == *name);
    named.map(|(number, _)| number).ok_or(BadPattern)
}

#[cfg(test)]
mod tests;
