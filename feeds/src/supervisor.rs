//! The supervisor: runs the feeds that are wanted, restarts those that fail, and knows what each is doing.
//!
//! One feed is one task. A feed that fails is tried again after a jittered, exponential pause; a provider that panics
//! has failed like any other. Nothing here is durable: the hub tells at its start which feeds are wanted.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use parking_lot::Mutex;
use rand::Rng;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use triggerfish_model::{Clock, FeedId, FeedState, FeedStatus, Subscription, Timestamp};

use crate::catalogue::{self, DynHook, DynProvider, Engine};
use crate::provider::{FeedContext, FeedError, FeedEvent, HookError, HookRequest};
use crate::runner::{self, Delivered, Intake, IntakeError, Over};

/// The first pause after a failure.
const PAUSE: Duration = Duration::from_secs(1);
/// The longest pause after failures of a remote side that may be back any moment.
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// The pause after a refusal (credentials, rights): somebody has to change something first.
const PAUSE_REFUSED: Duration = Duration::from_secs(60);
/// A feed that ran this long starts again with the first pause.
const STABLE: Duration = Duration::from_secs(60);

/// How long the remote side of a feed that is gone may take to forget it; whoever deletes the feed waits for that.
const FORGET_MAX: Duration = Duration::from_secs(5);

/// Limits of all feeds.
#[derive(Clone, Debug)]
pub struct Options {
    /// The largest payload of an event, in bytes.
    pub event_bytes_max: usize,
    /// How long connecting may take.
    pub connect_timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { event_bytes_max: 25_000_000, connect_timeout: Duration::from_secs(20) }
    }
}

/// What a feed is doing, written by its task and read by anybody.
pub(crate) struct Status {
    clock: Arc<dyn Clock>,
    now: Mutex<FeedStatus>,
}

impl Status {
    fn new(clock: Arc<dyn Clock>, state: FeedState) -> Self {
        let now = FeedStatus {
            state,
            since: clock.now(),
            events: 0,
            duplicates: 0,
            refused: 0,
            lag: None,
            last_event: None,
            last_error: None,
            retry_at: None,
        };
        Self { clock, now: Mutex::new(now) }
    }

    pub(crate) fn set(&self, state: FeedState) {
        let mut now = self.now.lock();
        if now.state != state {
            (now.state, now.since) = (state, self.clock.now());
        }
        now.retry_at = None;
    }

    pub(crate) fn delivered(&self, delivered: Delivered) {
        let mut now = self.now.lock();
        now.events += delivered.accepted;
        now.duplicates += delivered.duplicates;
        if delivered.accepted > 0 {
            now.last_event = Some(self.clock.now());
        }
    }

    pub(crate) fn refused(&self, refused: &[String]) {
        if let Some(last) = refused.last() {
            let mut now = self.now.lock();
            now.refused += refused.len() as u64;
            now.last_error = Some((self.clock.now(), last.clone()));
        }
    }

    pub(crate) fn busy(&self, why: &str) {
        self.now.lock().last_error = Some((self.clock.now(), why.to_owned()));
    }

    pub(crate) fn lag(&self, lag: Option<u64>) {
        self.now.lock().lag = lag;
    }

    fn failed(&self, error: &str, retry_at: Timestamp) {
        let mut now = self.now.lock();
        let at = self.clock.now();
        if now.state != FeedState::Failed {
            (now.state, now.since) = (FeedState::Failed, at);
        }
        now.last_error = Some((at, error.to_owned()));
        now.retry_at = Some(retry_at);
    }
}

struct Running {
    subscription: Arc<Subscription>,
    status: Arc<Status>,
    stop: CancellationToken,
    /// Cancelled when the task is over.
    over: CancellationToken,
}

/// Runs the wanted feeds.
pub struct Supervisor {
    intake: Arc<dyn Intake>,
    clock: Arc<dyn Clock>,
    options: Options,
    feeds: Mutex<HashMap<FeedId, Running>>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Supervisor {
    /// A supervisor that runs nothing yet.
    pub fn new(intake: Arc<dyn Intake>, clock: Arc<dyn Clock>, options: Options) -> Self {
        Self {
            intake,
            clock,
            options,
            feeds: Mutex::default(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        }
    }

    /// Makes a feed run as `subscription` says, whatever it did before. What ran before ends first.
    pub fn set(&self, subscription: Subscription) {
        let state = match (&subscription.ended, subscription.paused, catalogue::feed(&subscription.feed)) {
            (Some(_), ..) => FeedState::Ended,
            (None, true, _) => FeedState::Paused,
            (None, false, None) => FeedState::Failed,
            (None, false, Some(feed)) => match feed.engine {
                Engine::Read(_) => FeedState::Connecting,
                Engine::Hook(_) => FeedState::Running,
            },
        };
        let id = subscription.id;
        let running = Running {
            subscription: Arc::new(subscription),
            status: Arc::new(Status::new(self.clock.clone(), state)),
            stop: self.stop.child_token(),
            over: CancellationToken::new(),
        };
        let (subscription, status) = (running.subscription.clone(), running.status.clone());
        let (stop, over) = (running.stop.clone(), running.over.clone());
        let before = self.feeds.lock().insert(id, running);
        if let Some(before) = &before {
            before.stop.cancel();
        }
        let before = before.map(|before| farewell(before, subscription.clone()));
        let provider = match catalogue::feed(&subscription.feed).map(|feed| feed.engine.clone()) {
            Some(Engine::Read(provider)) if state == FeedState::Connecting => provider,
            provider => {
                if provider.is_none() && state == FeedState::Failed {
                    status.failed(&format!("there is no feed `{}`", subscription.feed), self.clock.now());
                }
                // Nothing runs, but what ran before may still be saying goodbye, and whoever comes next waits for it.
                match before {
                    Some(before) => drop(self.tasks.spawn(async move {
                        before.await;
                        over.cancel();
                    })),
                    None => over.cancel(),
                }
                return;
            }
        };
        let context = FeedContext {
            feed: id,
            trigger: subscription.trigger.clone(),
            created: subscription.created,
            clock: self.clock.clone(),
            event_bytes_max: self.options.event_bytes_max,
            connect_timeout: self.options.connect_timeout,
        };
        let task = Task { provider, subscription, context, intake: self.intake.clone(), status, stop };
        self.tasks.spawn(async move {
            let _over = over.drop_guard();
            if let Some(before) = before {
                before.await;
            }
            task.run().await;
        });
    }

    /// Ends a feed and forgets it, and lets its remote side forget it where that can be done at once.
    pub async fn remove(&self, id: FeedId) {
        let running = self.feeds.lock().remove(&id);
        if let Some(running) = running {
            running.stop.cancel();
            running.over.cancelled().await;
            forget(&running.subscription).await;
        }
    }

    /// What a feed is doing.
    pub fn status(&self, id: FeedId) -> Option<FeedStatus> {
        self.feeds.lock().get(&id).map(|running| running.status.now.lock().clone())
    }

    /// What all feeds are doing.
    pub fn statuses(&self) -> Vec<(FeedId, FeedStatus)> {
        self.feeds.lock().iter().map(|(id, running)| (*id, running.status.now.lock().clone())).collect()
    }

    /// Takes a webhook's request for a feed: verified, mapped and durable when this returns.
    pub async fn hook(&self, id: FeedId, request: &HookRequest) -> Result<Delivered, HookError> {
        let found =
            self.feeds.lock().get(&id).map(|running| (running.subscription.clone(), running.status.clone()));
        let Some((subscription, status)) = found else {
            return Err(HookError::NotServed("the trigger has no webhook".into()));
        };
        let state = status.now.lock().state;
        if state != FeedState::Running {
            return Err(HookError::NotServed("the webhook is paused or has ended".into()));
        }
        let Some(Engine::Hook(hook)) = catalogue::feed(&subscription.feed).map(|feed| feed.engine.clone())
        else {
            return Err(HookError::NotServed("the trigger's feed is no webhook".into()));
        };
        let mapped = map_hook(&*hook, &subscription, request, self.options.event_bytes_max);
        let events = mapped.inspect_err(|error| status.refused(&[error.to_string()]))?;
        match self.intake.deliver(&subscription, events, None).await {
            Ok(delivered) => {
                status.delivered(delivered);
                Ok(delivered)
            }
            Err(IntakeError::Busy { retry_after, why }) => {
                status.busy(&why);
                Err(HookError::Busy { retry_after, why })
            }
            Err(IntakeError::Gone(why)) => Err(HookError::NotServed(why)),
            Err(IntakeError::Failed(why)) => Err(HookError::Busy { retry_after: PAUSE, why }),
        }
    }

    /// Ends all feeds, waiting for their goodbyes until `deadline` has passed.
    pub async fn shutdown(&self, deadline: Duration) {
        self.stop.cancel();
        self.tasks.close();
        if tokio::time::timeout(deadline, self.tasks.wait()).await.is_err() {
            tracing::warn!(feeds = self.tasks.len(), "feeds were cut off: they did not end in time");
        }
    }
}

/// The events of a webhook's request. A mapping that panics has failed, and takes nothing with it.
fn map_hook(
    hook: &dyn DynHook,
    subscription: &Subscription,
    request: &HookRequest,
    event_bytes_max: usize,
) -> Result<Vec<FeedEvent>, HookError> {
    let map = || hook.on_hook(&subscription.params, request, event_bytes_max);
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(map)).unwrap_or_else(|_| {
        Err(HookError::Broken("the webhook's mapping broke off: this is a fault of the hub".into()))
    })
}

fn provider(subscription: &Subscription) -> Option<Arc<dyn DynProvider>> {
    match catalogue::feed(&subscription.feed).map(|feed| feed.engine.clone()) {
        Some(Engine::Read(provider)) => Some(provider),
        Some(Engine::Hook(_)) | None => None,
    }
}

/// Waits for the end of what ran before `after`. What its remote side keeps and `after` does not go on with is forgotten.
async fn farewell(before: Running, after: Arc<Subscription>) {
    before.over.cancelled().await;
    let keeps = |it: &Subscription| provider(it).and_then(|provider| provider.keeps(&it.params, it.id));
    if keeps(&before.subscription) != keeps(&after) {
        forget(&before.subscription).await;
    }
}

/// Lets the remote side forget a feed. Where it cannot be told, what it keeps stays until it expires there.
async fn forget(subscription: &Subscription) {
    let Some(provider) = provider(subscription) else { return };
    let forgetting = provider.forget(&subscription.params, subscription.id);
    let error = match tokio::time::timeout(FORGET_MAX, forgetting).await {
        Ok(Ok(())) => return,
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer within {FORGET_MAX:?}"),
    };
    tracing::warn!(trigger = %subscription.trigger, error, "the remote side of a feed that is gone was not told");
}

/// One feed's task.
struct Task {
    provider: Arc<dyn DynProvider>,
    subscription: Arc<Subscription>,
    context: FeedContext,
    intake: Arc<dyn Intake>,
    status: Arc<Status>,
    stop: CancellationToken,
}

impl Task {
    async fn run(self) {
        let mut failures = 0_u32;
        loop {
            self.status.set(FeedState::Connecting);
            let begun = self.context.clock.now();
            let error = match self.once().await {
                Over::Stopped => return,
                Over::Failed(error) => error,
                Over::Ended(FeedError::Ended { why, also_delete }) => {
                    return self.end(&why, also_delete).await;
                }
                Over::Ended(error) => error,
            };
            failures =
                if self.context.clock.now().since(begun) > STABLE { 1 } else { failures.saturating_add(1) };
            let pause = pause(&error, failures, rand::rng().random());
            let retry_at = self.context.clock.now() + pause;
            if failures == 1 {
                tracing::warn!(trigger = %self.subscription.trigger, %error, "a feed failed; it is tried again");
            }
            self.status.failed(&error.to_string(), retry_at);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.stop.cancelled() => return,
            }
        }
    }

    /// One run; a panic is a failure.
    async fn once(&self) -> Over {
        let run = runner::run(
            &*self.provider,
            &self.subscription,
            &self.context,
            &self.intake,
            &self.status,
            &self.stop,
        );
        match std::panic::AssertUnwindSafe(run).catch_unwind().await {
            Ok(over) => over,
            Err(_) => Over::Failed(FeedError::Unavailable(
                "the feed's provider broke off: this is a fault of the hub".into(),
            )),
        }
    }

    async fn end(&self, why: &str, also_delete: crate::AlsoDelete) {
        tracing::info!(trigger = %self.subscription.trigger, why, "a feed has ended");
        self.status.set(FeedState::Ended);
        self.status.now.lock().last_error = Some((self.context.clock.now(), why.to_owned()));
        self.intake.ended(&self.subscription, why, also_delete).await;
    }
}

/// How long to wait after the `failures`-th failure in a row; `jitter` is any number.
fn pause(error: &FeedError, failures: u32, jitter: u32) -> Duration {
    let whole = match error {
        FeedError::Unavailable(_) | FeedError::Ended { .. } => {
            PAUSE.saturating_mul(1 << failures.saturating_sub(1).min(10)).min(PAUSE_MAX)
        }
        FeedError::Refused(_) | FeedError::Invalid(_) => PAUSE_REFUSED,
    };
    // Between half and all of it, so that many feeds of one broker do not come back at the same moment.
    let part = f64::from(jitter) / f64::from(u32::MAX);
    whole.mul_f64(0.5 + part / 2.0)
}

#[cfg(test)]
mod tests;
