//! Ticks: what the three alarms have in common. A tick's key is its instant, the cursor is the last tick.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use triggerfish_model::{Clock, EventKey, JsonObject, Timestamp};

use crate::provider::{AlsoDelete, FeedBatch, FeedConnection, FeedContext, FeedError, FeedEvent, ParamError};
use crate::schedule::Schedule;

/// How old a tick may be that fell into a restart and is still fired.
const LATE_MAX: Duration = Duration::from_secs(60);
/// The longest sleep: clocks are set, and a sleeper notices at its end.
const SLEEP_MAX: Duration = Duration::from_secs(30);

/// When ticks come.
#[derive(Clone, Debug)]
pub(crate) enum Times {
    /// By a cron pattern.
    Cron(Box<Schedule>),
    /// On a grid.
    Every {
        /// The first tick.
        first: Timestamp,
        /// Between ticks.
        period: Duration,
    },
    /// At one time.
    Once(Timestamp),
}

impl Times {
    /// The first tick after a moment.
    pub(crate) fn after(&self, moment: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Cron(schedule) => {
                let moment = jiff::Timestamp::from_millisecond(moment.as_millis()).ok()?;
                schedule.next(moment).map(|next| Timestamp::from_millis(next.as_millisecond()))
            }
            Self::Every { first, period } => {
                if moment < *first {
                    return Some(*first);
                }
                let passed = moment.since(*first).as_millis() / period.as_millis() + 1;
                let behind = passed.checked_mul(period.as_millis())?;
                Some(*first + Duration::from_millis(u64::try_from(behind).ok()?))
            }
            Self::Once(at) => (*at > moment).then_some(*at),
        }
    }
}

/// When ticks begin and end, and what goes with the end.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Bounds {
    pub(crate) start: Option<Timestamp>,
    pub(crate) stop: Option<Timestamp>,
    pub(crate) most: Option<u64>,
    pub(crate) also_delete: AlsoDelete,
}

impl Bounds {
    /// Refuses bounds that make no sense at `now` (contract §3.2). A start that has passed since it was given, as one of
    /// `before`, makes sense.
    pub(crate) fn check(&self, before: Option<Self>, now: Timestamp) -> Result<(), ParamError> {
        let start = self.start.filter(|_| before.is_none_or(|before| before.start != self.start));
        for (name, date) in [("startDate", start), ("stopDate", self.stop)] {
            if date.is_some_and(|date| date <= now) {
                return Err(ParamError(format!("{name} parameter must be in the future")));
            }
        }
        match (self.start, self.stop) {
            (Some(start), Some(stop)) if stop <= start => Err(ParamError(format!(
                "stopDate parameter '{stop}' must be greater than the startDate parameter '{start}'"
            ))),
            _ => Ok(()),
        }
    }
}

/// Reads the bounds of a repeated alarm.
pub(crate) fn bounds(
    start: Option<&Value>,
    stop: Option<&Value>,
    most: Option<i64>,
) -> Result<Bounds, ParamError> {
    Ok(Bounds {
        start: start.map(|value| date("startDate", value)).transpose()?,
        stop: stop.map(|value| date("stopDate", value)).transpose()?,
        most: most.and_then(|most| u64::try_from(most).ok()),
        also_delete: AlsoDelete::Nothing,
    })
}

/// Reads a date: milliseconds, or ISO 8601.
pub(crate) fn date(name: &str, value: &Value) -> Result<Timestamp, ParamError> {
    let read = match value {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.trim().parse::<i64>().ok().or_else(|| iso(text.trim())),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    let shown = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    read.map(Timestamp::from_millis)
        .ok_or_else(|| ParamError(format!("{name} parameter '{shown}' is not a valid Date")))
}

fn iso(text: &str) -> Option<i64> {
    if let Ok(instant) = text.parse::<jiff::Timestamp>() {
        return Some(instant.as_millisecond());
    }
    let local = text.parse::<jiff::civil::DateTime>().ok()?;
    local.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|zoned| zoned.timestamp().as_millisecond())
}

/// What a tick fires the trigger with.
pub(crate) fn payload(given: Option<&Value>) -> Result<JsonObject, ParamError> {
    match given {
        None | Some(Value::Null) => Ok(JsonObject::empty()),
        Some(Value::Object(map)) => Ok(JsonObject::from_map(map)),
        Some(Value::String(text)) if text.is_empty() => Ok(JsonObject::empty()),
        Some(Value::String(text)) => {
            Ok(json!({ "payload": text }).as_object().map(JsonObject::from_map).unwrap_or_default())
        }
        Some(other) => {
            Err(ParamError(format!("the trigger_payload parameter is {other}; expected an object or a text")))
        }
    }
}

/// Where an alarm goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TickCursor {
    /// The last tick, in milliseconds since 1970.
    last: Timestamp,
    /// How many ticks there were.
    count: u64,
}

/// A running alarm.
pub(crate) struct Ticker {
    times: Times,
    bounds: Bounds,
    payload: JsonObject,
    clock: Arc<dyn Clock>,
    at: TickCursor,
    /// Ticks given and not acknowledged.
    given: VecDeque<Timestamp>,
}

impl Ticker {
    /// The alarm of these parameters, going on after `cursor`.
    pub(crate) fn open(
        times: Result<Times, ParamError>,
        bounds: Result<Bounds, ParamError>,
        given: Option<&Value>,
        cursor: Option<TickCursor>,
        context: &FeedContext,
    ) -> Result<Self, FeedError> {
        let read = || Ok((times?, bounds?, payload(given)?));
        let (times, bounds, payload) = read().map_err(|error: ParamError| FeedError::Invalid(error.0))?;
        Ok(Self::new(times, bounds, payload, cursor, context))
    }

    fn new(
        times: Times,
        bounds: Bounds,
        payload: JsonObject,
        cursor: Option<TickCursor>,
        context: &FeedContext,
    ) -> Self {
        let clock = context.clock.clone();
        let oldest = Timestamp::from_millis(
            clock.now().as_millis() - i64::try_from(LATE_MAX.as_millis()).unwrap_or(0),
        );
        // Without a cursor, what came before the feed was made is not due; with one, what came before a long time down.
        let from = cursor.map_or(context.created, |cursor| cursor.last).max(oldest);
        let count = cursor.map_or(0, |cursor| cursor.count);
        Self { times, bounds, payload, clock, at: TickCursor { last: from, count }, given: VecDeque::new() }
    }

    fn end(&self) -> FeedError {
        let why = match self.times {
            Times::Once(_) if self.at.count > 0 => "Automatically disabled after firing once",
            Times::Once(_) => "the date passed while the hub was down, so it was not fired",
            Times::Cron(_) | Times::Every { .. }
                if self.bounds.most.is_some_and(|most| self.at.count >= most) =>
            {
                "Automatically disabled after reaching max triggers"
            }
            Times::Cron(_) | Times::Every { .. } => "Automatically disabled after reaching the stop date",
        };
        FeedError::Ended { why: why.to_owned(), also_delete: self.bounds.also_delete }
    }

    /// The next tick, where there is one. Of ticks that were missed (the hub was down or suspended, or had no room) only
    /// the last counts, and only if it is at most [`LATE_MAX`] old.
    fn due(&self, now: Timestamp) -> Option<Timestamp> {
        let mut due = self.due_after(self.at.last)?;
        let oldest =
            Timestamp::from_millis(now.as_millis() - i64::try_from(LATE_MAX.as_millis()).unwrap_or(0));
        if due < oldest {
            due = self.due_after(oldest)?;
        }
        while let Some(later) = self.due_after(due).filter(|later| *later <= now) {
            due = later;
        }
        Some(due)
    }

    fn due_after(&self, last: Timestamp) -> Option<Timestamp> {
        if self.bounds.most.is_some_and(|most| self.at.count >= most) {
            return None;
        }
        let start = self.bounds.start.map(|start| Timestamp::from_millis(start.as_millis() - 1));
        let next = self.times.after(start.map_or(last, |start| start.max(last)))?;
        (self.bounds.stop.is_none_or(|stop| next <= stop)).then_some(next)
    }
}

#[async_trait]
impl FeedConnection for Ticker {
    type Cursor = TickCursor;

    async fn next(&mut self) -> Result<FeedBatch<TickCursor>, FeedError> {
        let Some(due) = self.due(self.clock.now()) else {
            if self.given.is_empty() {
                return Err(self.end());
            }
            // The end comes after the last tick is durable, and that is told by `ack`; then this is called again.
            std::future::pending::<()>().await;
            return Err(self.end());
        };
        loop {
            let now = self.clock.now();
            if now >= due {
                break;
            }
            tokio::time::sleep(due.since(now).min(SLEEP_MAX)).await;
        }
        self.at = TickCursor { last: due, count: self.at.count + 1 };
        self.given.push_back(due);
        let key = Some(EventKey::new(&due.as_millis().to_string()));
        let events = vec![FeedEvent { key, payload: self.payload.clone() }];
        Ok(FeedBatch { events, cursor: self.at, refused: Vec::new(), duplicates: 0 })
    }

    async fn ack(&mut self, cursor: &TickCursor) -> Result<(), FeedError> {
        while self.given.front().is_some_and(|tick| *tick <= cursor.last) {
            self.given.pop_front();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
