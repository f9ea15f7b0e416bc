//! The webhooks among the feeds: found by their trigger, verified, and delivered.
//!
//! A request touches neither the feeds' table nor a store before its events are written: whoever sends is not known, and
//! may send much.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use triggerfish_model::{FeedId, FeedState, QualifiedName, Subscription};
use url::Url;

use crate::catalogue;
use crate::hook::erased::OpenHook;
use crate::hook::{HookError, HookPath, HookReason, HookRequest, HookTaken, HookTarget, Turn};
use crate::runner::{Delivered, IntakeError};

use super::{Status, Supervisor};

/// When a sender to a paused feed may come again.
const PAUSED_RETRY: Duration = Duration::from_secs(60);
/// When a sender may come again whose event could not be stored.
const FAILED_RETRY: Duration = Duration::from_secs(1);

/// A feed that is called.
struct Served {
    subscription: Arc<Subscription>,
    status: Arc<Status>,
    path: HookPath,
    hook: Box<dyn OpenHook>,
}

/// The feeds that are called.
#[derive(Default)]
pub(super) struct Hooks {
    /// By their trigger.
    served: RwLock<HashMap<QualifiedName, Arc<Served>>>,
    /// Whose turn it is to register a feed's hook.
    turns: RwLock<HashMap<FeedId, Turn>>,
}

impl Hooks {
    /// What is held while a feed's hook is being registered.
    pub(super) fn turn(&self, feed: FeedId) -> Turn {
        let mut turns = self.turns.write();
        turns.retain(|id, turn| *id == feed || Arc::strong_count(turn) > 1);
        turns.entry(feed).or_default().clone()
    }

    /// Serves `subscription` from now on, where it is a webhook.
    pub(super) fn set(&self, subscription: &Arc<Subscription>, status: &Arc<Status>) {
        let hook = catalogue::feed(&subscription.feed).and_then(|feed| feed.engine.hook());
        let served = hook.and_then(|hook| match hook.open(&subscription.params) {
            Ok(open) => Some(Served {
                subscription: subscription.clone(),
                status: status.clone(),
                path: hook.path(),
                hook: open,
            }),
            Err(error) => {
                status.refused([&error.0]);
                None
            }
        });
        let mut hooks = self.served.write();
        match served {
            Some(served) => drop(hooks.insert(subscription.trigger.clone(), Arc::new(served))),
            None => drop(hooks.remove(&subscription.trigger)),
        }
    }

    /// Serves `subscription` no more.
    pub(super) fn remove(&self, subscription: &Subscription) {
        self.served.write().remove(&subscription.trigger);
    }

    /// The hook of a trigger, where it takes requests now.
    fn find(&self, trigger: &QualifiedName, path: HookPath) -> Result<Arc<Served>, HookError> {
        let none =
            || HookError::new(HookReason::NotFound, format!("the trigger `/{trigger}` has no webhook here"));
        let served =
            self.served.read().get(trigger).cloned().filter(|served| served.path == path).ok_or_else(none)?;
        match served.status.now.lock().state {
            FeedState::Ended => return Err(none()),
            FeedState::Paused => {
                let paused = HookError::new(HookReason::Paused, "the webhook is paused");
                return Err(paused.after(PAUSED_RETRY));
            }
            // A keeper that cannot reach its remote side is no reason to refuse what that side sends.
            FeedState::Connecting | FeedState::Running | FeedState::Failed => {}
        }
        Ok(served)
    }
}

impl Supervisor {
    /// What has to be known of a trigger's webhook before its request's body is read.
    pub fn hook_target(&self, trigger: &QualifiedName, path: HookPath) -> Result<HookTarget, HookError> {
        let served = self.hooks.find(trigger, path)?;
        let feed = &served.subscription.feed;
        let package = feed.package.as_ref().map(|package| package.as_str()).unwrap_or_default();
        Ok(HookTarget {
            trigger: trigger.clone(),
            feed: format!("{package}/{}", feed.name),
            methods: served.hook.methods(),
            body_bytes_max: self.options.event_bytes_max,
        })
    }

    /// Takes a webhook's request: verified, mapped and durable when this returns.
    pub async fn hook(
        &self,
        trigger: &QualifiedName,
        path: HookPath,
        request: &HookRequest,
    ) -> Result<HookTaken, HookError> {
        let served = self.hooks.find(trigger, path)?;
        let outcome = served.hook.on_hook(request, self.options.event_bytes_max)?;
        if outcome.events.is_empty() {
            return Ok(HookTaken { accepted: 0, duplicates: 0, answer: outcome.answer });
        }
        match self.intake.deliver(&served.subscription, outcome.events, Vec::new(), None).await {
            Ok(delivered) => {
                served.status.delivered(delivered);
                let Delivered { accepted, duplicates } = delivered;
                fail::fail_point!("hook::before_answer");
                Ok(HookTaken { accepted, duplicates, answer: outcome.answer })
            }
            Err(IntakeError::Busy { retry_after, why }) => {
                Err(HookError::new(HookReason::Busy, why).after(retry_after))
            }
            Err(IntakeError::Gone(why)) => Err(HookError::new(HookReason::NotFound, why)),
            Err(IntakeError::Failed(why)) => Err(HookError::new(HookReason::Busy, why).after(FAILED_RETRY)),
        }
    }

    /// Notes a refusal in the status of the feed that it was meant for.
    pub fn hook_refused(&self, trigger: &QualifiedName, error: &HookError) {
        let Some(served) = self.hooks.served.read().get(trigger).cloned() else { return };
        match error.reason {
            HookReason::Busy => served.status.busy(&error.text),
            _ => served.status.refused([&error.text]),
        }
    }
}

/// The address of a feed's hook below `base`, where it is a webhook.
pub(super) fn url(base: &str, subscription: &Subscription) -> Option<String> {
    let path = catalogue::feed(&subscription.feed)?.hook_path()?;
    let mut url = Url::parse(base).ok()?;
    let QualifiedName { namespace, name, .. } = &subscription.trigger;
    let segments = path.base().trim_start_matches('/').split('/');
    url.path_segments_mut()
        .ok()?
        .pop_if_empty()
        .extend(segments)
        .push(namespace.as_str())
        .push(name.as_str());
    Some(url.into())
}
