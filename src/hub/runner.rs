//! Drives pending invocations to their records: queue → invoker → durable completion → whoever waits.
//!
//! What is on disk is the truth. A crash at any point leaves an invocation pending, and the next hub starts it again
//! under the same id; an invocation that was started [`INTERRUPTIONS_MAX`] times without completing becomes a record of a
//! system error (invariant 5). The completion is durable before anybody hears of it, a blocking caller too.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use triggerfish_invoker::Invoker;
use triggerfish_model::{
    Activation, Clock, DeadLetter, Invocation, Progress, QualifiedName, Response, SeqNum, StatusCode,
};
use triggerfish_rules_engine::retry::Backoff;
use triggerfish_store::{
    ActivationStore, Completion, EntityStore, EventLog, Haste, Pending, StoreError, SubjectStore,
};

use super::attempts;
use super::metrics::Metrics;
use super::offers::{Offering, Offers};
use super::queue::{Item, Offer, Queue, READ_MAX};
use super::record::{self, Account};
use super::waiters::Waiters;

/// How often a run may be started without completing.
const INTERRUPTIONS_MAX: u32 = 3;
/// Pauses before a read or write that failed is tried again; a full disk is looked at every two seconds at least.
const AGAIN: Backoff = Backoff { first: Duration::from_millis(50), max: Duration::from_secs(2) };
/// Records that a slow `_tail` may be behind before it loses some, and is told so.
const TAIL_BACKLOG_MAX: usize = 512;

/// What the runner works with.
pub(super) struct Parts {
    pub(super) log: Arc<dyn EventLog>,
    pub(super) activations: Arc<dyn ActivationStore>,
    pub(super) entities: Arc<dyn EntityStore>,
    pub(super) subjects: Arc<dyn SubjectStore>,
    pub(super) invoker: Arc<Invoker>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) metrics: Arc<Metrics>,
}

/// The driver of all pending invocations. Cheap to clone the `Arc` of.
pub(super) struct Runner {
    pub(super) parts: Parts,
    pub(super) waiters: Waiters,
    queues: Mutex<HashMap<QualifiedName, Queue>>,
    offers: Offers,
    tail: broadcast::Sender<Arc<Activation>>,
    pub(super) tasks: TaskTracker,
    stopping: CancellationToken,
    /// Runs that still go on are given up: what they end with is not written, and they start again after the restart.
    abandoned: CancellationToken,
    /// Nothing runs any more.
    stopped: CancellationToken,
}

impl Runner {
    pub(super) fn new(parts: Parts) -> Arc<Self> {
        Arc::new(Self {
            parts,
            waiters: Waiters::default(),
            queues: Mutex::default(),
            offers: Offers::new(),
            tail: broadcast::channel(TAIL_BACKLOG_MAX).0,
            tasks: TaskTracker::new(),
            stopping: CancellationToken::new(),
            abandoned: CancellationToken::new(),
            stopped: CancellationToken::new(),
        })
    }

    /// Announces a write of invocations; to be held until [`Runner::offer`] was called for them.
    pub(super) fn begin_offering(&self) -> Offering {
        self.offers.begin()
    }

    /// Takes invocations that were just written to the log.
    pub(super) fn offer(self: &Arc<Self>, items: impl IntoIterator<Item = Item>) {
        for item in items {
            let action = item.0.action.clone();
            if let Offer::Run(item) = self.with_queue(&action, |queue| queue.offer(item)) {
                self.spawn(*item);
            }
        }
    }

    /// Starts what a hub before this one left pending. Answers how many that are.
    pub(super) async fn recover(self: &Arc<Self>) -> Result<u64, StoreError> {
        let actions = self.parts.log.pending_actions().await?;
        let mut total = 0;
        for (action, count) in actions {
            total += count;
            self.queues.lock().entry(action.clone()).or_default().all_unseen();
            self.read_more(&action);
        }
        Ok(total)
    }

    /// New records, as they become durable.
    pub(super) fn tail(&self) -> broadcast::Receiver<Arc<Activation>> {
        self.tail.subscribe()
    }

    /// Tells the world of a durable record.
    pub(super) fn announce(&self, record: &Arc<Activation>) {
        self.parts.metrics.recorded(record);
        self.waiters.resolve(record);
        if self.tail.receiver_count() > 0 {
            // Without receivers there is nothing to send to; one may just have gone.
            let _ = self.tail.send(record.clone());
        }
    }

    /// How many run, and how many wait in memory.
    pub(super) fn load(&self) -> (usize, usize) {
        let queues = self.queues.lock();
        queues.values().map(Queue::load).fold((0, 0), |(a, b), (running, ready)| (a + running, b + ready))
    }

    /// Starts nothing new, and waits for what runs until `deadline` has passed; the rest stays pending on disk.
    pub(super) async fn stop(&self, deadline: Duration) {
        self.stopping.cancel();
        self.tasks.close();
        if tokio::time::timeout(deadline, self.tasks.wait()).await.is_err() {
            self.abandoned.cancel();
            tracing::warn!(
                running = self.tasks.len(),
                "runs go on after the restart: they did not end in time"
            );
        }
        self.stopped.cancel();
    }

    /// Whether nothing new is started any more.
    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.is_cancelled()
    }

    /// Waits until nothing runs any more: what has no record yet gets it after the restart.
    pub(super) async fn stopped(&self) {
        self.stopped.cancelled().await;
    }

    /// Asks the queue of an action, which is made where there is none.
    pub(super) fn with_queue<T>(&self, action: &QualifiedName, ask: impl FnOnce(&mut Queue) -> T) -> T {
        let mut queues = self.queues.lock();
        match queues.get_mut(action) {
            Some(queue) => ask(queue),
            None => ask(queues.entry(action.clone()).or_default()),
        }
    }

    fn spawn(self: &Arc<Self>, item: Item) {
        let runner = self.clone();
        self.tasks.spawn(async move { runner.work(Some(item)).await });
    }

    /// Runs an invocation, and what follows it in its queue.
    pub(super) async fn work(self: &Arc<Self>, mut next: Option<Item>) {
        while let Some((pending, invocation)) = next {
            if !self.is_due(&invocation).await {
                return;
            }
            next = match self.run(&pending, invocation).await {
                None => self.after(&pending.action, Some(pending.seq)),
                Some(again) => self.park((pending, again)),
            };
        }
    }

    /// Waits for the time of an invocation's present attempt; `false` where the hub stops before.
    pub(super) async fn is_due(&self, invocation: &Invocation) -> bool {
        if let Some(due) = invocation.due() {
            tokio::select! {
                () = tokio::time::sleep(due.since(self.parts.clock.now())) => {}
                () = self.stopping.cancelled() => {}
            }
        }
        !self.is_stopping()
    }

    /// What to run after a run ended, which was at `seq` of the log if it was in it.
    pub(super) fn after(self: &Arc<Self>, action: &QualifiedName, seq: Option<SeqNum>) -> Option<Item> {
        let (next, idle) = {
            let mut queues = self.queues.lock();
            let queue = queues.get_mut(action)?;
            let next = queue.finished(seq);
            let idle = queue.is_idle();
            if idle {
                queues.remove(action);
            }
            (next, idle)
        };
        if !idle {
            self.read_more(action);
        }
        next
    }

    /// Reads more of an action's invocations from disk, where the queue wants some.
    pub(super) fn read_more(self: &Arc<Self>, action: &QualifiedName) {
        let Some(after) = self.queues.lock().get_mut(action).and_then(Queue::begin_read) else { return };
        let (runner, action) = (self.clone(), action.clone());
        self.tasks.spawn(async move {
            let mut failures = 0;
            let found = loop {
                match runner.parts.log.pending(&action, Some(after), READ_MAX).await {
                    Ok(found) => break found,
                    Err(error) => {
                        tracing::error!(%action, %error, "pending invocations cannot be read; trying again");
                        if !runner.pause(&mut failures).await {
                            return;
                        }
                    }
                }
            };
            runner.offers.settled().await;
            let mut to_run = Vec::new();
            let parked = {
                let mut queues = runner.queues.lock();
                let Some(queue) = queues.get_mut(&action) else { return };
                let parked = queue.read(found, runner.parts.clock.now());
                while let Some(item) = queue.next() {
                    to_run.push(item);
                }
                if queue.is_idle() {
                    queues.remove(&action);
                }
                parked
            };
            for item in to_run {
                runner.spawn(item);
            }
            for item in parked {
                runner.wait_for_turn(item);
            }
            runner.read_more(&action);
        });
    }

    /// Runs an attempt of an invocation; the invocation where there is to be another one.
    async fn run(self: &Arc<Self>, pending: &Pending, invocation: Invocation) -> Option<Invocation> {
        fail::fail_point!("run::before_start");
        let interrupted = invocation.progress.interrupted;
        if interrupted >= INTERRUPTIONS_MAX {
            let account = Account { invocation: &invocation, id: invocation.attempt_id(), cause: None };
            let text = format!(
                "The run was interrupted {interrupted} times by a crash of the hub and is not started again."
            );
            let response = Response::error(StatusCode::SystemError, text.clone());
            let record = record::of_failure(&account, None, response, self.parts.clock.now());
            let dead_letter = attempts::dead_letter(&invocation, text, self.parts.clock.now());
            self.complete(Some(pending), vec![Arc::new(record)], dead_letter).await;
            return None;
        }
        let records = self.execute(pending, &invocation).await?;
        fail::fail_point!("run::ended");
        self.conclude(pending, invocation, records).await
    }

    /// Writes what ends an invocation, and its `pending` row where it has one, and then tells of its records.
    pub(super) async fn complete(
        &self,
        pending: Option<&Pending>,
        records: Vec<Arc<Activation>>,
        dead_letter: Option<DeadLetter>,
    ) {
        let awaited = records.iter().any(|record| self.waiters.is_awaited(record.id));
        let haste = if awaited { Haste::Now } else { Haste::Gathered };
        let completion = Completion { records: records.clone(), dead_letter, haste };
        let write = || match pending {
            Some(pending) => self.parts.log.complete(pending, completion.clone()),
            None => self.parts.activations.put(records.clone()),
        };
        if self.durably("a completion", write).await {
            fail::fail_point!("run::completed");
            self.announce_all(&records);
        }
    }

    /// Writes how far a sequence has come, with its components' records. Answers whether it is written.
    pub(super) async fn advance(
        &self,
        pending: &Pending,
        progress: Progress,
        records: Vec<Arc<Activation>>,
    ) -> bool {
        let write = || self.parts.log.advance(pending, progress.clone(), records.clone());
        let written = self.durably("a step", write).await;
        if written {
            fail::fail_point!("run::advanced");
            self.announce_all(&records);
        }
        written
    }

    /// Tells the world of durable records.
    pub(super) fn announce_all(&self, records: &[Arc<Activation>]) {
        for record in records {
            self.announce(record);
        }
    }

    /// Writes until it is written; `false` where the hub stops before.
    pub(super) async fn durably<F>(&self, what: &str, write: impl Fn() -> F + Send) -> bool
    where
        F: Future<Output = Result<(), StoreError>> + Send,
    {
        let mut failures = 0;
        loop {
            if self.abandoned.is_cancelled() {
                return false;
            }
            let Err(error) = write().await else { return true };
            tracing::error!(%error, "{what} cannot be written; trying again");
            if !self.pause(&mut failures).await {
                return false;
            }
        }
    }

    /// Waits before another try; `false` where the hub stops instead.
    async fn pause(&self, failures: &mut u32) -> bool {
        *failures += 1;
        tokio::select! {
            () = tokio::time::sleep(AGAIN.delay(*failures, rand::random())) => true,
            () = self.stopping.cancelled() => false,
        }
    }
}
