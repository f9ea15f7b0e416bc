//! `alarms/once`: fires once, at a date (contract §3.2).
//!
//! ```yaml
//! feed: /whisk.system/alarms/once
//! inputs: { date: "2030-01-01T00:00:00Z", deleteAfterFire: rules }
//! ```
//!
//! A date that passed while the hub was down by more than a minute is not fired; the feed ends and says so. `missed` asks for
//! something else.

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use triggerfish_model::Timestamp;

use crate::provider::{AlsoDelete, FeedContext, FeedError, FeedProvider, ParamError};
use crate::tick::{Bounds, Missed, TickCursor, Ticker, Times, date, jitter, payload};

use super::Feed;

/// The parameters of `alarms/once`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Params {
    /// When: milliseconds since 1970 or ISO 8601, in the future.
    date: Option<Value>,
    /// What goes after the fire: `false` nothing, `true` the trigger, `rules` the trigger and its rules.
    #[serde(rename = "deleteAfterFire")]
    delete_after_fire: Option<Value>,
    /// What the trigger is fired with: an object, or a text that becomes `{"payload": text}`.
    trigger_payload: Option<Value>,
    /// What becomes of a date that passes while the hub is down: `skip`, `latest` and `all` (it fires late), or `recent`, which
    /// fires it where it is at most a minute old [default: recent].
    #[serde(default)]
    missed: Missed,
    /// Delays the fire by up to so long (`30s`, or a number of seconds).
    jitter: Option<Value>,
}

struct Once;

pub(super) fn feed() -> Feed {
    Feed::reading(Once, "Fires once, at a date", json!({"date": "2130-01-01T00:00:00Z", "deleteAfterFire": "rules"}))
}

impl Params {
    fn date(&self) -> Result<Timestamp, ParamError> {
        let value = self.date.as_ref();
        let value = value.ok_or_else(|| ParamError("alarms once trigger feed is missing the date parameter".into()))?;
        date("date", value)
    }

    fn bounds(&self) -> Result<Bounds, ParamError> {
        let (also_delete, jitter) = (self.also_delete()?, jitter(self.jitter.as_ref())?);
        Ok(Bounds { also_delete, missed: self.missed, jitter, ..Bounds::default() })
    }

    fn also_delete(&self) -> Result<AlsoDelete, ParamError> {
        match &self.delete_after_fire {
            None | Some(Value::Null | Value::Bool(false)) => Ok(AlsoDelete::Nothing),
            Some(Value::Bool(true)) => Ok(AlsoDelete::Trigger),
            Some(Value::String(text)) if text == "false" => Ok(AlsoDelete::Nothing),
            Some(Value::String(text)) if text == "true" => Ok(AlsoDelete::Trigger),
            Some(Value::String(text)) if text == "rules" => Ok(AlsoDelete::TriggerAndRules),
            Some(_) => Err(ParamError("deleteAfterFire parameter must be one of [false, true, rules].".into())),
        }
    }
}

#[async_trait]
impl FeedProvider for Once {
    type Params = Params;
    type Cursor = TickCursor;
    type Connection = Ticker;

    fn action(&self) -> (&'static str, &'static str) {
        ("alarms", "once")
    }

    fn check(&self, params: &Params, _before: Option<&Params>, now: Timestamp) -> Result<(), ParamError> {
        if params.date()? <= now {
            return Err(ParamError("date parameter must be in the future".into()));
        }
        params.bounds()?;
        payload(params.trigger_payload.as_ref()).map(drop)
    }

    async fn connect(
        &self,
        params: &Params,
        cursor: Option<TickCursor>,
        context: &FeedContext,
    ) -> Result<Ticker, FeedError> {
        let times = params.date().map(Times::Once);
        Ticker::open(times, params.bounds(), params.trigger_payload.as_ref(), cursor, context)
    }
}
