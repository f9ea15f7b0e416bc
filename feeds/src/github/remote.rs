//! The hook at GitHub: made, mended and removed, and its missed deliveries asked for.

use std::time::Duration;

use async_trait::async_trait;
use octocrab::models::hooks::Hook;
use parking_lot::Mutex;
use reqwest::StatusCode;
use serde_json::{Value, json};
use triggerfish_model::{EventKey, Timestamp};

use crate::hook::{HookRemote, Known, Sweep};
use crate::provider::{FeedContext, FeedError};

use super::api::{Api, ApiError, delivered_at};
use super::settings::{Place, Settings};
use super::sweep::{Asking, Missed, Swept, Tries, decide};

/// Time between two sweeps: six requests an hour of the 5000 that GitHub allows.
const SWEEP_EVERY: Duration = Duration::from_secs(600);
/// Time until it is looked whether what was asked for has come.
const SWEEP_SOON: Duration = Duration::from_secs(60);
/// A try is listed once it has ended, and GitHub waits 10 s for an answer; clocks may differ, too.
const OVERLAP: Duration = Duration::from_secs(120);
/// Pages of 100 that one sweep reads; whoever has more failed deliveries in three days has another problem.
const PAGES_MAX: usize = 1000;

/// A repository's hook, as the parameters want it.
pub(crate) struct Remote {
    api: Api,
    /// The address that GitHub is to call: by it the hook is recognised.
    url: String,
    wanted: Value,
    since: Timestamp,
    known: Known,
    /// The hook's id, once it is known.
    hook: Mutex<Option<u64>>,
}

impl Remote {
    /// The hook of `settings` at `place`.
    pub(crate) fn new(place: &Place, settings: &Settings, context: &FeedContext) -> Result<Self, FeedError> {
        let Some(url) = context.hook.url.clone() else {
            return Err(FeedError::Invalid(
                "the hub does not know where GitHub reaches it: set `public_url` in its configuration \
                 (TRIGGERFISH_PUBLIC_URL), or leave out `accessToken` and make the hook by hand"
                    .into(),
            ));
        };
        let wanted = json!({
            "name": "web",
            "active": true,
            "events": settings.events,
            "config": { "url": url, "content_type": "json", "insecure_ssl": "0", "secret": settings.secret },
        });
        Ok(Self {
            api: Api::new(place, context.clock.clone())?,
            url,
            wanted,
            since: context.created,
            known: context.hook.known.clone(),
            hook: Mutex::new(None),
        })
    }

    /// The hooks there that call this feed.
    async fn ours(&self) -> Result<Vec<Hook>, ApiError> {
        let mut hooks = self.api.hooks().await?;
        hooks.retain(|hook| hook.config.url == self.url);
        Ok(hooks)
    }

    /// Makes `hook` as it is wanted. Its secret cannot be read, so it is set whatever the rest looks like. Others that call
    /// the same address would fire twice.
    async fn mend(&self, hooks: &[Hook]) -> Result<Option<u64>, ApiError> {
        let Some((first, others)) = hooks.split_first() else { return Ok(None) };
        self.api.update(first.id, &self.wanted).await?;
        for other in others {
            self.api.delete(other.id).await?;
        }
        Ok(Some(first.id))
    }

    async fn made(&self) -> Result<u64, ApiError> {
        if let Some(id) = self.mend(&self.ours().await?).await? {
            return Ok(id);
        }
        match self.api.create(&self.wanted).await {
            Ok(hook) => Ok(hook.id),
            // Somebody made it meanwhile; or GitHub refuses it, and says so again.
            Err(error @ ApiError::Refused(StatusCode::UNPROCESSABLE_ENTITY, _)) => {
                self.mend(&self.ours().await?).await?.ok_or(error)
            }
            Err(error) => Err(error),
        }
    }

    /// The tries since `from`.
    async fn tries(&self, hook: u64, from: Timestamp) -> Result<(Tries, Option<Timestamp>), ApiError> {
        let mut tries = Tries::default();
        let mut newest = None;
        let mut page = self.api.deliveries(hook).await?;
        for _ in 0..PAGES_MAX {
            for delivery in &page.deliveries {
                let at = delivered_at(delivery);
                newest = newest.max(Some(at));
                if at >= from {
                    tries.add(delivery, at);
                }
            }
            let is_over = page.deliveries.last().is_none_or(|oldest| delivered_at(oldest) < from);
            match page.next.filter(|_| !is_over) {
                Some(next) => page = self.api.page(next).await?,
                None => break,
            }
        }
        Ok((tries, newest))
    }

    /// Those that the hub has not.
    async fn unknown(&self, failed: Vec<Missed>) -> Result<Vec<Missed>, FeedError> {
        let keys: Vec<EventKey> = failed.iter().map(|missed| EventKey::new(&missed.guid)).collect();
        let known = self.known.stored(&keys).await?;
        Ok(failed.into_iter().zip(known).filter(|(_, known)| !known).map(|(missed, _)| missed).collect())
    }
}

#[async_trait]
impl HookRemote for Remote {
    type Cursor = Swept;

    async fn register(&self) -> Result<(), FeedError> {
        let id = self.made().await?;
        *self.hook.lock() = Some(id);
        Ok(())
    }

    async fn unregister(&self) -> Result<(), FeedError> {
        let hooks = match self.ours().await {
            // The repository itself is gone, and the hook with it.
            Err(ApiError::NotFound(_)) => return Ok(()),
            hooks => hooks?,
        };
        for hook in hooks {
            self.api.delete(hook.id).await?;
        }
        Ok(())
    }

    async fn sweep(&self, cursor: Option<Swept>) -> Result<Sweep<Swept>, FeedError> {
        let before = cursor.unwrap_or_default();
        let known_hook = *self.hook.lock();
        let Some(hook) = known_hook else {
            return Err(FeedError::Unavailable("the hook at GitHub is not registered yet".into()));
        };
        let from = Timestamp::from_millis(before.upto).max(self.since);
        let from = Timestamp::from_millis(from.as_millis() - millis(OVERLAP));
        let (tries, newest) = match self.tries(hook, from).await {
            Ok(found) => found,
            Err(ApiError::Limited(wait)) => return Ok(again(before, wait)),
            // Somebody removed it there: connecting again makes it anew.
            Err(ApiError::NotFound(_)) => {
                return Err(FeedError::Unavailable("the hook is gone at GitHub; it is made anew".into()));
            }
            Err(error) => return Err(error.into()),
        };
        let Asking { ask, given_up, counts, more } =
            decide(self.unknown(tries.failed()).await?, &before.asked);
        let refused: Vec<String> = given_up
            .iter()
            .map(|missed| {
                format!("the delivery {} fails whenever it is asked for: {}", missed.guid, missed.outcome)
            })
            .collect();
        if !ask.is_empty() {
            tracing::info!(
                deliveries = ask.len(),
                hook,
                "GitHub is asked for deliveries that the hub has missed"
            );
        }
        for missed in &ask {
            match self.api.redeliver(hook, missed.id).await {
                // One that is too old to be sent again says so at each try; it is counted like one that fails.
                Ok(()) | Err(ApiError::NotFound(_) | ApiError::Refused(..)) => {}
                // What was asked for comes, and is known then.
                Err(ApiError::Limited(wait)) => return Ok(again(before, wait)),
                Err(error @ ApiError::Unavailable(_)) => return Err(error.into()),
            }
        }
        // Where there is more, the same stretch is looked at again.
        let upto = newest.map_or(before.upto, Timestamp::as_millis).max(before.upto);
        let upto = if more { before.upto } else { upto };
        let again_in = if ask.is_empty() { SWEEP_EVERY } else { SWEEP_SOON };
        Ok(Sweep { events: Vec::new(), refused, cursor: Swept { upto, asked: counts }, again_in })
    }
}

fn again(cursor: Swept, again_in: Duration) -> Sweep<Swept> {
    Sweep { events: Vec::new(), refused: Vec::new(), cursor, again_in }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
