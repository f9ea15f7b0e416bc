//! Ticks: what the three alarms have in common. A tick's key is its instant, the cursor is the last tick.
//!
//! Jitter delays the fire of a tick, by as much after every restart, and never behind the next tick. What is due while the
//! hub is down, suspended or full is missed; [`Missed`] says what becomes of it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use triggerfish_model::{Clock, EventKey, FeedId, JsonObject, Timestamp};

use crate::duration;
use crate::provider::{
    AlsoDelete, FeedBatch, FeedConnection, FeedContext, FeedError, FeedEvent, ParamError, Refused,
};
use crate::schedule::Schedule;

/// How old a tick may be that fell into a restart and is still fired, where nothing else is asked for.
const LATE_MAX: Duration = Duration::from_secs(60);
/// How late a tick may come and not be missed: what a busy machine takes to wake up.
const ON_TIME: Duration = Duration::from_secs(1);
/// How many missed ticks are made up for at most: a week of minutes, about. The latest ones are.
const MADE_UP_MAX: usize = 10_000;
/// How many of them are one batch.
const BATCH_EVENTS_MAX: usize = 100;
/// The longest jitter.
const JITTER_MAX: Duration = Duration::from_secs(24 * 3600);
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
                schedule.next(moment).map(|(next, _)| Timestamp::from_millis(next.as_millisecond()))
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

/// What becomes of ticks that were missed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Missed {
    /// The last one fires where it is at most a minute old, so that a restart loses nothing.
    #[default]
    Recent,
    /// None fires.
    Skip,
    /// The last one fires, however old it is.
    Latest,
    /// All fire, ten thousand at most.
    All,
}

/// When ticks begin and end, how they come, and what goes with the end.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Bounds {
    pub(crate) start: Option<Timestamp>,
    pub(crate) stop: Option<Timestamp>,
    pub(crate) most: Option<u64>,
    pub(crate) also_delete: AlsoDelete,
    pub(crate) missed: Missed,
    pub(crate) jitter: Duration,
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
        ..Bounds::default()
    })
}

/// Reads a jitter: a text like `30s`, or a number of seconds.
pub(crate) fn jitter(given: Option<&Value>) -> Result<Duration, ParamError> {
    let read = match given {
        None | Some(Value::Null) => Some(Duration::ZERO),
        Some(Value::Number(seconds)) => {
            seconds.as_f64().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        }
        Some(Value::String(text)) => duration::read(text).ok(),
        Some(Value::Bool(_) | Value::Array(_) | Value::Object(_)) => None,
    };
    read.filter(|jitter| *jitter <= JITTER_MAX).ok_or_else(|| {
        let given = given.unwrap_or(&Value::Null);
        ParamError(format!("the jitter parameter is {given}; expected something like \"30s\", a day at most"))
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
    feed: FeedId,
    at: TickCursor,
    /// The last ticks of batches that were given and not acknowledged.
    given: VecDeque<Timestamp>,
    /// What is to be told with the next batch.
    left_out: Option<String>,
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
        let (clock, feed) = (context.clock.clone(), context.feed);
        // Without a cursor, what came before the feed was made is not due.
        let at = cursor.unwrap_or(TickCursor { last: context.created, count: 0 });
        Self { times, bounds, payload, clock, feed, at, given: VecDeque::new(), left_out: None }
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

    /// The next tick, where there is one: of those that were missed the one that is to be made up for, else the next to come.
    fn due(&mut self, now: Timestamp) -> Option<Timestamp> {
        let due = self.due_after(self.at.last)?;
        if self.fires_at(due) + ON_TIME >= now {
            return Some(due);
        }
        match self.bounds.missed {
            Missed::Recent => self.latest(self.on_time(due, now, LATE_MAX)?, now),
            Missed::Skip => self.on_time(due, now, ON_TIME),
            Missed::Latest => self.latest(self.near(due, now), now),
            Missed::All => self.all_since(due, now),
        }
    }

    /// The first tick from `due` on that is at most `late` late.
    fn on_time(&self, due: Timestamp, now: Timestamp, late: Duration) -> Option<Timestamp> {
        let mut due = if self.fires_at(due) + late >= now {
            due
        } else {
            // Jitter puts a fire behind its tick, so a tick may be older than its fire is late.
            self.due_after(before(now, late + self.bounds.jitter).max(self.at.last))?
        };
        while self.fires_at(due) + late < now {
            due = self.due_after(due)?;
        }
        Some(due)
    }

    /// The last tick from `due` on that fires by now, or `due`.
    fn latest(&self, mut due: Timestamp, now: Timestamp) -> Option<Timestamp> {
        while let Some(later) = self.due_after(due).filter(|later| self.fires_at(*later) <= now) {
            due = later;
        }
        Some(due)
    }

    /// A tick from `due` on that is not far before now: the search for the last one begins there.
    fn near(&self, due: Timestamp, now: Timestamp) -> Timestamp {
        let mut back = LATE_MAX + self.bounds.jitter;
        loop {
            let from = before(now, back);
            if from <= due {
                return due;
            }
            match self.due_after(from).filter(|tick| self.fires_at(*tick) <= now) {
                Some(tick) => return tick,
                None => back = back.saturating_mul(2),
            }
        }
    }

    /// The first of all missed ticks, or of the latest [`MADE_UP_MAX`] or half as many.
    fn all_since(&mut self, due: Timestamp, now: Timestamp) -> Option<Timestamp> {
        let is_too_much = |from: Timestamp| {
            let ticks = std::iter::successors(Some(from), |tick| self.due_after(*tick));
            ticks.take_while(|tick| *tick <= now).take(MADE_UP_MAX + 1).count() > MADE_UP_MAX
        };
        let end = self.bounds.stop.map_or(now, |stop| stop.min(now));
        let (mut from, mut span) = (due, end.since(due));
        while is_too_much(from) {
            span /= 2;
            from = self.due_after(before(end, span))?;
        }
        if from != due {
            self.left_out =
                Some(format!("the ticks from {due} to {from} were missed and are not made up for"));
        }
        Some(from)
    }

    fn due_after(&self, last: Timestamp) -> Option<Timestamp> {
        if self.bounds.most.is_some_and(|most| self.at.count >= most) {
            return None;
        }
        let start = self.bounds.start.map(|start| Timestamp::from_millis(start.as_millis() - 1));
        let next = self.times.after(start.map_or(last, |start| start.max(last)))?;
        (self.bounds.stop.is_none_or(|stop| next <= stop)).then_some(next)
    }

    /// When a tick fires: its jitter later, the same each time, and before the next tick.
    fn fires_at(&self, tick: Timestamp) -> Timestamp {
        let jitter = u64::try_from(self.bounds.jitter.as_millis()).unwrap_or(0);
        if jitter == 0 {
            return tick;
        }
        let hash =
            Sha256::new().chain_update(self.feed.0.as_bytes()).chain_update(tick.as_millis().to_le_bytes());
        let number = hash.finalize().first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        let delay = Duration::from_millis(number % jitter);
        match self.times.after(tick) {
            Some(next) => tick + delay.min(next.since(tick).saturating_sub(Duration::from_millis(1))),
            None => tick + delay,
        }
    }

    /// The ticks that are one batch: one, or where all are made up for, as many as are due.
    fn take(&mut self, due: Timestamp, now: Timestamp) -> FeedBatch<TickCursor> {
        let mut events = Vec::new();
        let mut tick = Some(due);
        while let Some(at) = tick {
            self.at = TickCursor { last: at, count: self.at.count + 1 };
            let key = Some(EventKey::new(&at.as_millis().to_string()));
            events.push(FeedEvent { key, payload: self.payload.clone() });
            let more = self.bounds.missed == Missed::All && events.len() < BATCH_EVENTS_MAX;
            tick = self.due_after(at).filter(|next| more && self.fires_at(*next) <= now);
        }
        self.given.push_back(self.at.last);
        FeedBatch {
            events,
            cursor: self.at,
            refused: self.left_out.take().into_iter().map(Refused::from).collect(),
            duplicates: 0,
        }
    }
}

/// The moment so long before another.
fn before(moment: Timestamp, by: Duration) -> Timestamp {
    Timestamp::from_millis(
        moment.as_millis().saturating_sub(i64::try_from(by.as_millis()).unwrap_or(i64::MAX)),
    )
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
        let fires_at = self.fires_at(due);
        loop {
            let now = self.clock.now();
            if now >= fires_at {
                return Ok(self.take(due, now));
            }
            tokio::time::sleep(fires_at.since(now).min(SLEEP_MAX)).await;
        }
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
