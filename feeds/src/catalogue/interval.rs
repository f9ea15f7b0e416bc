//! `alarms/interval`: fires every so many minutes (contract §3.2).
//!
//! ```yaml
//! feed: /whisk.system/alarms/interval
//! inputs: { minutes: 5 }
//! ```
//!
//! The fires lie on a grid that begins at `startDate`, or 30 seconds after the feed was made. Slots that fell into a time
//! when the hub was down are not made up for, except the last one where it is at most a minute old; `missed` asks for
//! something else.

use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use triggerfish_model::Timestamp;

use crate::provider::{FeedContext, FeedError, FeedProvider, ParamError};
use crate::tick::{Bounds, Missed, TickCursor, Ticker, Times, bounds, jitter, payload};

use super::Feed;

/// When the first fire comes where no start date is given (contract §3.2).
const FIRST_AFTER: Duration = Duration::from_secs(30);

/// The parameters of `alarms/interval`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Params {
    /// Minutes between fires: a whole number greater than zero.
    minutes: Option<Value>,
    /// What the trigger is fired with: an object, or a text that becomes `{"payload": text}`.
    trigger_payload: Option<Value>,
    /// The first fire: milliseconds since 1970 or ISO 8601.
    #[serde(rename = "startDate")]
    start_date: Option<Value>,
    /// Not after this time; the feed then ends.
    #[serde(rename = "stopDate")]
    stop_date: Option<Value>,
    /// Not supported with intervals, except -1.
    #[serde(rename = "maxTriggers")]
    max_triggers: Option<i64>,
    /// What becomes of ticks that come while the hub is down: `skip`, `latest`, `all` (ten thousand at most), or `recent`, the
    /// last one where it is at most a minute old [default: recent].
    #[serde(default)]
    missed: Missed,
    /// Delays each fire by up to so long (`30s`, or a number of seconds), so that not all come at the same moment.
    jitter: Option<Value>,
}

struct Interval;

pub(super) fn feed() -> Feed {
    Feed::reading(Interval, "Fires every so many minutes", json!({"minutes": 5}))
}

impl Params {
    fn period(&self) -> Result<Duration, ParamError> {
        let refused = |text: &str| ParamError(text.to_owned());
        let minutes = match &self.minutes {
            None | Some(Value::Null) => return Err(refused("interval trigger feed is missing the minutes parameter")),
            Some(Value::String(text)) => text.trim().parse::<i64>().ok(),
            Some(value) => value.as_i64(),
        };
        let minutes = minutes.ok_or_else(|| refused("the minutes parameter must be an integer"))?;
        // A century bounds what the arithmetic below has to bear.
        match u64::try_from(minutes) {
            Ok(minutes @ 1..=52_560_000) => Ok(Duration::from_secs(minutes * 60)),
            Ok(0) | Err(_) => Err(refused("the minutes parameter must be an integer greater than zero")),
            Ok(_) => Err(refused("the minutes parameter must be less than 52560000, which is a century")),
        }
    }

    fn bounds(&self) -> Result<Bounds, ParamError> {
        if self.max_triggers.is_some_and(|most| most >= 0) {
            return Err(ParamError("maxTriggers is not supported for the interval trigger feed".into()));
        }
        let bounds = bounds(self.start_date.as_ref(), self.stop_date.as_ref(), None)?;
        Ok(Bounds { missed: self.missed, jitter: jitter(self.jitter.as_ref())?, ..bounds })
    }
}

#[async_trait]
impl FeedProvider for Interval {
    type Params = Params;
    type Cursor = TickCursor;
    type Connection = Ticker;

    fn action(&self) -> (&'static str, &'static str) {
        ("alarms", "interval")
    }

    fn check(&self, params: &Params, before: Option<&Params>, now: Timestamp) -> Result<(), ParamError> {
        params.period()?;
        params.bounds()?.check(before.and_then(|before| before.bounds().ok()), now)?;
        payload(params.trigger_payload.as_ref()).map(drop)
    }

    async fn connect(
        &self,
        params: &Params,
        cursor: Option<TickCursor>,
        context: &FeedContext,
    ) -> Result<Ticker, FeedError> {
        let bounds = params.bounds();
        let start = bounds.as_ref().ok().and_then(|bounds| bounds.start);
        let first = start.unwrap_or(context.created + FIRST_AFTER);
        let times = params.period().map(|period| Times::Every { first, period });
        Ticker::open(times, bounds, params.trigger_payload.as_ref(), cursor, context)
    }
}
