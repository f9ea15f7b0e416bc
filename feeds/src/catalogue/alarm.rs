//! `alarms/alarm`: fires by a cron pattern (contract §3.2).
//!
//! ```yaml
//! feed: /whisk.system/alarms/alarm
//! inputs: { cron: "0 9 * * 1-5", timezone: Europe/Berlin, trigger_payload: { report: daily } }
//! ```
//!
//! What fell into a time when the hub was down is not made up for, except the last tick of a short restart: a tick that
//! is at most a minute old fires when the hub is back. `missed` asks for something else.

use async_trait::async_trait;
use jiff::tz::TimeZone;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use triggerfish_model::Timestamp;

use crate::provider::{FeedContext, FeedError, FeedProvider, ParamError};
use crate::schedule::Schedule;
use crate::tick::{Bounds, Missed, TickCursor, Ticker, Times, bounds, jitter, payload};

use super::Feed;

/// The parameters of `alarms/alarm`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Params {
    /// The cron pattern: five fields, or six with seconds first.
    cron: Option<String>,
    /// The time zone, an IANA name; UTC where absent.
    timezone: Option<String>,
    /// What the trigger is fired with: an object, or a text that becomes `{"payload": text}`.
    trigger_payload: Option<Value>,
    /// Not before this time: milliseconds since 1970 or ISO 8601.
    #[serde(rename = "startDate")]
    start_date: Option<Value>,
    /// Not after this time; the feed then ends.
    #[serde(rename = "stopDate")]
    stop_date: Option<Value>,
    /// Ends the feed after so many fires; -1 is unlimited.
    #[serde(rename = "maxTriggers")]
    max_triggers: Option<i64>,
    /// What becomes of ticks that come while the hub is down: `skip`, `latest`, `all` (ten thousand at most), or `recent`, the
    /// last one where it is at most a minute old [default: recent].
    #[serde(default)]
    missed: Missed,
    /// Delays each fire by up to so long (`30s`, or a number of seconds), so that not all come at the same moment.
    jitter: Option<Value>,
    /// `true` or `false`, taken for compatibility: this hub fires at the exact second in either case, but for `jitter`.
    strict: Option<Value>,
}

struct Alarm;

pub(super) fn feed() -> Feed {
    let example = json!({"cron": "0 9 * * 1-5", "timezone": "Europe/Berlin", "trigger_payload": {"report": "daily"}});
    Feed::reading(Alarm, "Fires by a cron pattern, in a time zone", example)
}

impl Params {
    fn schedule(&self) -> Result<Schedule, ParamError> {
        let Some(pattern) = &self.cron else {
            return Err(ParamError("alarms trigger feed is missing the cron parameter".into()));
        };
        let zone = match &self.timezone {
            Some(name) => TimeZone::get(name).map_err(|_| ParamError("Invalid timezone.".into()))?,
            None => TimeZone::UTC,
        };
        Schedule::parse(pattern, zone).map_err(|_| ParamError(format!("cron pattern '{pattern}' is not valid")))
    }

    fn strict(&self) -> Result<(), ParamError> {
        match &self.strict {
            None | Some(Value::Null | Value::Bool(_)) => Ok(()),
            Some(Value::String(text)) if text == "true" || text == "false" => Ok(()),
            Some(other) => Err(ParamError(format!("the strict parameter is {other}; expected true or false"))),
        }
    }

    fn bounds(&self) -> Result<Bounds, ParamError> {
        if self.max_triggers.is_some_and(|most| most >= 0) && self.stop_date.is_some() {
            return Err(ParamError("maxTriggers is not allowed when the stopDate parameter is specified".into()));
        }
        let bounds = bounds(self.start_date.as_ref(), self.stop_date.as_ref(), self.max_triggers)?;
        Ok(Bounds { missed: self.missed, jitter: jitter(self.jitter.as_ref())?, ..bounds })
    }
}

#[async_trait]
impl FeedProvider for Alarm {
    type Params = Params;
    type Cursor = TickCursor;
    type Connection = Ticker;

    fn action(&self) -> (&'static str, &'static str) {
        ("alarms", "alarm")
    }

    fn check(&self, params: &Params, before: Option<&Params>, now: Timestamp) -> Result<(), ParamError> {
        let times = Times::Cron(Box::new(params.schedule()?));
        let bounds = params.bounds()?;
        bounds.check(before.and_then(|before| before.bounds().ok()), now)?;
        payload(params.trigger_payload.as_ref())?;
        params.strict()?;
        let first = times.after(bounds.start.map_or(now, |start| start.max(now)));
        let Some(first) = first else {
            let pattern = params.cron.as_deref().unwrap_or_default();
            return Err(ParamError(format!("cron pattern '{pattern}' is not valid: no such day ever comes")));
        };
        if bounds.stop.is_some_and(|stop| first > stop) {
            return Err(ParamError("the first scheduled trigger fire is not until after the stop date".into()));
        }
        Ok(())
    }

    async fn connect(
        &self,
        params: &Params,
        cursor: Option<TickCursor>,
        context: &FeedContext,
    ) -> Result<Ticker, FeedError> {
        let times = params.schedule().map(|schedule| Times::Cron(Box::new(schedule)));
        Ticker::open(times, params.bounds(), params.trigger_payload.as_ref(), cursor, context)
    }
}
