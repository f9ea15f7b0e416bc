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

use crate::catalogue::{self, DynProvider, Engine};
use crate::hook::{HookContext, Known};
use crate::provider::{FeedContext, FeedError};
use crate::runner::{self, Delivered, Intake, Over};
use crate::web::Web;

mod hooks;

use hooks::Hooks;

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
/// How long the remote side may take to do what a feed needs when it is made; whoever makes it waits for that.
const SUBSCRIBE_MAX: Duration = Duration::from_secs(20);

/// Limits of all feeds, and what they share.
#[derive(Clone)]
pub struct Options {
    /// The largest payload of an event, in bytes.
    pub event_bytes_max: usize,
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// Where the hub is reached from outside, `https://hub.example`; where that is not known, no remote side is told to call.
    pub public_url: Option<String>,
    /// Where the hub listens, for people who ask what to call.
    pub listen_url: String,
    /// Asks the servers that feeds fetch from.
    pub web: Web,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            event_bytes_max: 25_000_000,
            connect_timeout: Duration::from_secs(20),
            public_url: None,
            listen_url: "http://127.0.0.1:3233".into(),
            web: Web::default(),
        }
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

    /// Takes over what was counted before the feed was changed.
    fn goes_on_from(&self, before: &Self) {
        let before = before.now.lock().clone();
        let mut now = self.now.lock();
        (now.events, now.duplicates, now.refused) = (before.events, before.duplicates, before.refused);
        now.last_event = before.last_event;
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

    pub(crate) fn refused<'a>(&self, reasons: impl IntoIterator<Item = &'a String>) {
        for why in reasons {
            let mut now = self.now.lock();
            now.refused += 1;
            now.last_error = Some((self.clock.now(), why.clone()));
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
    hooks: Hooks,
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
            hooks: Hooks::default(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        }
    }

    /// Makes a feed run as `subscription` says, whatever it did before. What ran before ends first.
    pub fn set(&self, subscription: Subscription) {
        let engine = catalogue::feed(&subscription.feed).map(|feed| &feed.engine);
        let state = match (&subscription.ended, subscription.paused, engine) {
            (Some(_), ..) => FeedState::Ended,
            (None, true, _) => FeedState::Paused,
            (None, false, None) => FeedState::Failed,
            (None, false, Some(engine)) if engine.reader().is_some() => FeedState::Connecting,
            (None, false, Some(_)) => FeedState::Running,
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
            status.goes_on_from(&before.status);
        }
        let before = before.map(|before| {
            let context = self.context(&before.subscription);
            farewell(before, context, subscription.clone())
        });
        self.hooks.set(&subscription, &status);
        let provider = match engine.and_then(Engine::reader) {
            Some(provider) if state == FeedState::Connecting => provider.clone(),
            _ => {
                if state == FeedState::Failed {
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
        let context = self.context(&subscription);
        let task = Task { provider, subscription, context, intake: self.intake.clone(), status, stop };
        self.tasks.spawn(async move {
            let _over = over.drop_guard();
            if let Some(before) = before {
                before.await;
            }
            task.run().await;
        });
    }

    /// Whether another feed of this hub has what `subscription` would have the remote side keep for it alone (a session under
    /// the same client id): the two would throw each other out for ever.
    pub fn is_taken(&self, subscription: &Subscription) -> bool {
        let Some(kept) = keeps(subscription) else { return false };
        self.feeds.lock().values().any(|running| {
            let other = &running.subscription;
            let rivals =
                other.id != subscription.id && other.feed == subscription.feed && other.ended.is_none();
            rivals && keeps(other).as_ref() == Some(&kept)
        })
    }

    /// What a provider may know of a feed.
    fn context(&self, subscription: &Subscription) -> FeedContext {
        FeedContext {
            feed: subscription.id,
            trigger: subscription.trigger.clone(),
            created: subscription.created,
            clock: self.clock.clone(),
            event_bytes_max: self.options.event_bytes_max,
            connect_timeout: self.options.connect_timeout,
            web: self.options.web.clone(),
            hook: HookContext {
                url: self.options.public_url.as_deref().and_then(|base| hooks::url(base, subscription)),
                known: Known::of(self.intake.clone(), subscription.id),
                turn: self.hooks.turn(subscription.id),
            },
        }
    }

    /// Has the remote side do what a feed needs that is about to be made or changed; its refusal is the caller's answer.
    pub async fn subscribe(&self, subscription: &Subscription) -> Result<(), FeedError> {
        let Some(provider) = provider(subscription) else { return Ok(()) };
        let context = self.context(subscription);
        let subscribing = provider.subscribe(&subscription.params, &context);
        match tokio::time::timeout(SUBSCRIBE_MAX, subscribing).await {
            Ok(result) => result,
            Err(_) => {
                Err(FeedError::Unavailable(format!("the remote side did not do it within {SUBSCRIBE_MAX:?}")))
            }
        }
    }

    /// The address that a feed's requests have to be sent to, where it is a webhook.
    pub fn hook_url(&self, subscription: &Subscription) -> Option<String> {
        hooks::url(self.options.public_url.as_ref().unwrap_or(&self.options.listen_url), subscription)
    }

    /// Ends a feed and forgets it, and lets its remote side forget it where that can be done at once; tells why where it
    /// could not.
    pub async fn remove(&self, id: FeedId) -> Result<(), String> {
        let running = self.feeds.lock().remove(&id);
        let Some(running) = running else { return Ok(()) };
        self.hooks.remove(&running.subscription);
        running.stop.cancel();
        running.over.cancelled().await;
        forget(&running.subscription, &self.context(&running.subscription)).await
    }

    /// What a feed is doing.
    pub fn status(&self, id: FeedId) -> Option<FeedStatus> {
        self.feeds.lock().get(&id).map(|running| running.status.now.lock().clone())
    }

    /// What all feeds are doing.
    pub fn statuses(&self) -> Vec<(FeedId, FeedStatus)> {
        self.feeds.lock().iter().map(|(id, running)| (*id, running.status.now.lock().clone())).collect()
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

fn provider(subscription: &Subscription) -> Option<&'static Arc<dyn DynProvider>> {
    catalogue::feed(&subscription.feed).and_then(|feed| feed.engine.reader())
}

/// What the remote side keeps for a feed alone.
fn keeps(subscription: &Subscription) -> Option<String> {
    provider(subscription)?.keeps(&subscription.params, subscription.id)
}

/// Waits for the end of what ran before `after`. What its remote side keeps and `after` does not go on with is forgotten.
async fn farewell(before: Running, context: FeedContext, after: Arc<Subscription>) {
    before.over.cancelled().await;
    if keeps(&before.subscription) != keeps(&after) {
        // Told in the log; nobody waits for it.
        let _ = forget(&before.subscription, &context).await;
    }
}

/// Lets the remote side forget a feed. Where it cannot be told, what it keeps stays until it expires there.
async fn forget(subscription: &Subscription, context: &FeedContext) -> Result<(), String> {
    let Some(provider) = provider(subscription) else { return Ok(()) };
    let forgetting = provider.forget(&subscription.params, context);
    let error = match tokio::time::timeout(FORGET_MAX, forgetting).await {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer within {FORGET_MAX:?}"),
    };
    tracing::warn!(trigger = %subscription.trigger, error, "the remote side of a feed that is gone was not told");
    Err(error)
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
    let part = f64::from(jitter) / f64::from(u32::MAX);
    let whole = match error {
        // Not before it was asked for, and a little later, so that not all come back at the same moment.
        FeedError::Later { after, .. } => return after.mul_f64(1.0 + part / 20.0),
        FeedError::Unavailable(_) | FeedError::Ended { .. } => {
            PAUSE.saturating_mul(1 << failures.saturating_sub(1).min(10)).min(PAUSE_MAX)
        }
        FeedError::Refused(_) | FeedError::Invalid(_) => PAUSE_REFUSED,
    };
    // Between half and all of it, so that many feeds of one broker do not come back at the same moment.
    whole.mul_f64(0.5 + part / 2.0)
}

#[cfg(test)]
mod tests;
