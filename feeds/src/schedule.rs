//! When a cron expression fires: pure, over time zones.
//!
//! The syntax is the `cron` crate's (5 fields, or 6 with seconds first), its meaning Vixie's: Sunday is 0 or 7, and where
//! both day fields are restricted either suffices. The crate itself counts Sunday as 1, asks for both day fields, skips a
//! day whose time falls into a daylight-saving gap and fires twice in a fold; so only its field parsing is used. Here a
//! fixed time in a gap fires at the end of the gap, and one in a fold fires once, at its first occurrence; with every
//! hour (`*`) each hour that really passes counts.

use std::collections::BTreeSet;
use std::str::FromStr;

use cron::TimeUnitSpec;
use jiff::civil::{Date, DateTime, Weekday};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{Timestamp as Instant, ToSpan};

/// Days that are looked at for the next time: February 29th comes within eight years of any day.
const DAYS_MAX: usize = 366 * 9;

/// A cron expression in a time zone.
#[derive(Clone, Debug)]
pub(crate) struct Schedule {
    fields: cron::Schedule,
    zone: TimeZone,
    /// Whether the day of the month, or of the week, is restricted.
    by_month_day: bool,
    by_week_day: bool,
    every_hour: bool,
}

/// The expression is no cron pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BadPattern;

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
        let every_hour = hours == "*";
        let week_days = week_days_of(week_days)?;
        if let Some(last) = fields.last_mut() {
            *last = week_days;
        }
        let fields = cron::Schedule::from_str(&fields.join(" ")).map_err(|_| BadPattern)?;
        Ok(Self { fields, zone, by_month_day, by_week_day, every_hour })
    }

    /// The first time after `after`; `None` where there is none (February 30th).
    pub(crate) fn next(&self, after: Instant) -> Option<Instant> {
        let local = after.to_zoned(self.zone.clone()).datetime();
        // A day earlier, since a fold or a zone that skipped a day can put earlier local times after `after`.
        let mut date = local.date().checked_sub(1.day()).ok()?;
        for _ in 0..DAYS_MAX {
            if self.is_day(date)
                && let Some(found) = self.next_on(date, after)
            {
                return Some(found);
            }
            date = date.tomorrow().ok()?;
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

    fn next_on(&self, date: Date, after: Instant) -> Option<Instant> {
        for hour in self.fields.hours().iter() {
            let last = date.at(narrow(hour), 59, 59, 0);
            if self.instants(last).into_iter().flatten().all(|instant| instant <= after) {
                continue;
            }
            let mut found: Option<Instant> = None;
            for minute in self.fields.minutes().iter() {
                for second in self.fields.seconds().iter() {
                    let local = date.at(narrow(hour), narrow(minute), narrow(second), 0);
                    let later = self.instants(local).into_iter().flatten().filter(|instant| *instant > after);
                    found = found.into_iter().chain(later).min();
                }
                // Minutes ascend, and only a fold puts a later one's second turn behind: the first minute that gives
                // an unambiguous time ends the search.
                if let Some(found) = found
                    && !self.every_hour
                {
                    return Some(found);
                }
            }
            if found.is_some() {
                return found;
            }
        }
        None
    }

    /// The moments that a local time stands for: one, none or two.
    fn instants(&self, local: DateTime) -> [Option<Instant>; 2] {
        let ambiguous = self.zone.to_ambiguous_zoned(local);
        let moment = |offset: jiff::tz::Offset| offset.to_timestamp(local).ok();
        match ambiguous.offset() {
            AmbiguousOffset::Unambiguous { offset } => [moment(offset), None],
            AmbiguousOffset::Fold { before, after } => {
                [moment(before), if self.every_hour { moment(after) } else { None }]
            }
            AmbiguousOffset::Gap { before, .. } => {
                if self.every_hour {
                    return [None, None];
                }
                // Read with the offset before the gap the time lies behind the gap's beginning, by less than a day.
                let inside = moment(before);
                let end = inside.and_then(|inside| {
                    let from = inside.checked_sub(26.hours()).ok()?;
                    self.zone
                        .following(from)
                        .find(|transition| transition.timestamp() <= inside)
                        .map(|t| t.timestamp())
                });
                [end, None]
            }
        }
    }
}

fn narrow(value: u32) -> i8 {
    i8::try_from(value).expect("hours, minutes and seconds are below 60")
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
mod tests {
    use super::*;

    fn next(pattern: &str, zone: &str, after: &str, count: usize) -> Vec<String> {
        let schedule = Schedule::parse(pattern, TimeZone::get(zone).unwrap()).unwrap();
        let mut at: Instant = after.parse().unwrap();
        let mut found = Vec::new();
        for _ in 0..count {
            at = schedule.next(at).unwrap();
            found.push(at.to_zoned(schedule.zone.clone()).strftime("%Y-%m-%d %H:%M:%S %z").to_string());
        }
        found
    }

    #[test]
    fn fields_mean_what_vixie_means() {
        let utc = |pattern, after| next(pattern, "UTC", after, 1).remove(0);
        assert_eq!(utc("*/15 * * * *", "2026-01-01T00:00:00Z"), "2026-01-01 00:15:00 +0000");
        assert_eq!(utc("*/10 * * * * *", "2026-01-01T00:00:05Z"), "2026-01-01 00:00:10 +0000");
        assert_eq!(utc("0 9 * * 0", "2026-01-01T00:00:00Z"), "2026-01-04 09:00:00 +0000");
        assert_eq!(utc("0 9 * * 7", "2026-01-01T00:00:00Z"), "2026-01-04 09:00:00 +0000");
        assert_eq!(utc("0 9 * * fri-sun", "2026-01-04T10:00:00Z"), "2026-01-09 09:00:00 +0000");
        assert_eq!(utc("0 0 13 * 5", "2026-01-01T00:00:00Z"), "2026-01-02 00:00:00 +0000", "13th or Friday");
        assert_eq!(utc("0 0 29 2 *", "2026-01-01T00:00:00Z"), "2028-02-29 00:00:00 +0000");
        let never = Schedule::parse("0 0 30 2 *", TimeZone::UTC).unwrap();
        assert_eq!(never.next("2026-01-01T00:00:00Z".parse().unwrap()), None);
        for bad in ["", "* * * *", "61 * * * *", "* * * * 8", "x * * * *", "* * * * fri-tue"] {
            assert_eq!(Schedule::parse(bad, TimeZone::UTC).err(), Some(BadPattern), "{bad}");
        }
    }

    #[test]
    fn a_fixed_time_in_a_gap_fires_at_its_end() {
        assert_eq!(
            next("30 2 * * *", "America/New_York", "2026-03-07T12:00:00Z", 2),
            ["2026-03-08 03:00:00 -0400", "2026-03-09 02:30:00 -0400"]
        );
    }

    #[test]
    fn a_fixed_time_in_a_fold_fires_once() {
        assert_eq!(
            next("30 1 * * *", "America/New_York", "2026-10-31T12:00:00Z", 2),
            ["2026-11-01 01:30:00 -0400", "2026-11-02 01:30:00 -0500"]
        );
    }

    #[test]
    fn every_hour_counts_each_hour_that_passes() {
        assert_eq!(
            next("0 * * * *", "America/New_York", "2026-11-01T04:30:00Z", 3),
            ["2026-11-01 01:00:00 -0400", "2026-11-01 01:00:00 -0500", "2026-11-01 02:00:00 -0500"]
        );
        assert_eq!(
            next("0 * * * *", "America/New_York", "2026-03-08T06:30:00Z", 1),
            ["2026-03-08 03:00:00 -0400"]
        );
        assert_eq!(
            next("*/30 * * * *", "Australia/Lord_Howe", "2026-04-04T14:00:00Z", 3),
            ["2026-04-05 01:30:00 +1100", "2026-04-05 01:30:00 +1030", "2026-04-05 02:00:00 +1030"]
        );
    }
}
