//! A hub in miniature around a feed: a durable side that outlives the feed's crashes, and lives that end when told. Whoever
//! includes this has a `FEED`, the feed's action in `/whisk.system`.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde_json::{Value, json};
use triggerfish_feeds::{
    AlsoDelete, Delivered, FeedEvent, Intake, IntakeError, Options, PrivateAllowed, Refused, Supervisor, Web,
};
use triggerfish_model::{
    ActivationId, Clock, FeedId, FeedState, FeedStatus, Json, JsonObject, RecordPolicy, Subscription,
    SystemClock, Timestamp,
};

/// How long a condition may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// The largest payload in these tests.
pub const EVENT_BYTES_MAX: usize = 25_000_000;

/// At which write a life ends, and whether that write is still made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    BeforeWrite(usize),
    AfterWrite(usize),
}

#[derive(Default)]
struct Kept {
    events: Vec<Value>,
    keys: Vec<Option<String>>,
    cursor: Option<Json>,
    /// Writes that were made, in this life.
    writes: usize,
    crash: Option<Crash>,
    crashed: bool,
    /// Whether the hub has no room.
    full: bool,
    ended: Option<String>,
}

/// What is durable: it outlives the lives.
#[derive(Clone, Default)]
pub struct Durable(Arc<Mutex<Kept>>);

impl Durable {
    pub fn events(&self) -> Vec<Value> {
        self.0.lock().unwrap().events.clone()
    }

    /// The keys of the events, in the same order.
    pub fn keys(&self) -> Vec<Option<String>> {
        self.0.lock().unwrap().keys.clone()
    }

    /// The bodies, in the order of their arrival.
    pub fn bodies(&self) -> Vec<Value> {
        self.events().into_iter().map(|event| event["body"].clone()).collect()
    }

    pub fn cursor(&self) -> Option<Value> {
        self.0.lock().unwrap().cursor.as_ref().map(Json::to_value)
    }

    pub fn set_full(&self, full: bool) {
        self.0.lock().unwrap().full = full;
    }

    /// Ends the next life at this write.
    pub fn crash_at(&self, crash: Option<Crash>) {
        let mut kept = self.0.lock().unwrap();
        (kept.crash, kept.crashed, kept.writes) = (crash, false, 0);
    }

    pub fn has_crashed(&self) -> bool {
        self.0.lock().unwrap().crashed
    }
}

#[async_trait]
impl Intake for Durable {
    async fn deliver(
        &self,
        _: &Subscription,
        events: Vec<FeedEvent>,
        _refused: Vec<Refused>,
        cursor: Option<Json>,
    ) -> Result<Delivered, IntakeError> {
        let accepted = events.len() as u64;
        {
            let mut kept = self.0.lock().unwrap();
            if kept.full {
                return Err(IntakeError::Busy { retry_after: Duration::from_millis(50), why: "full".into() });
            }
            let number = kept.writes;
            kept.writes += 1;
            kept.crashed |= kept.crash == Some(Crash::BeforeWrite(number));
            if !kept.crashed {
                let key = |event: &FeedEvent| event.key.as_ref().map(|key| key.as_str().to_owned());
                kept.keys.extend(events.iter().map(key));
                kept.events.extend(events.iter().map(|event| Value::Object(event.payload.to_map())));
                kept.cursor = cursor;
                kept.crashed |= kept.crash == Some(Crash::AfterWrite(number));
            }
        }
        if self.has_crashed() {
            // The life is over; whoever waits for this answer goes with it.
            std::future::pending::<()>().await;
        }
        Ok(Delivered { accepted, duplicates: 0 })
    }

    async fn cursor(&self, _: FeedId) -> Result<Option<Json>, IntakeError> {
        Ok(self.0.lock().unwrap().cursor.clone())
    }

    async fn ended(&self, _: &Subscription, why: &str, _: AlsoDelete) {
        self.0.lock().unwrap().ended = Some(why.to_owned());
    }
}

fn subscription(id: FeedId, params: &Value) -> Subscription {
    Subscription {
        id,
        trigger: "guest/t".parse().unwrap(),
        feed: format!("whisk.system/{}", super::FEED).parse().unwrap(),
        params: JsonObject::from_map(params.as_object().unwrap()),
        subject: "guest".parse().unwrap(),
        record: RecordPolicy::Matched,
        paused: false,
        ended: None,
        created: SystemClock.now(),
        updated: Timestamp::from_millis(0),
    }
}

/// A running supervisor with the feed; [`Life::crash`] ends it as SIGKILL would.
pub struct Life {
    runtime: Option<tokio::runtime::Runtime>,
    supervisor: Arc<Supervisor>,
    /// The same in all lives of a feed.
    id: FeedId,
}

impl Life {
    pub fn begin(durable: &Durable, params: &Value) -> Self {
        Self::of(7, durable, params)
    }

    /// A life of feed number `feed`.
    pub fn of(feed: u8, durable: &Durable, params: &Value) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        // The servers of these tests are on this machine.
        let web = Web::new(PrivateAllowed::parse(&["127.0.0.0/8"]).unwrap());
        let options = Options { event_bytes_max: EVENT_BYTES_MAX, web, ..Options::default() };
        let supervisor = Arc::new(Supervisor::new(Arc::new(durable.clone()), Arc::new(SystemClock), options));
        let id = FeedId(ActivationId::from_bytes([feed; 16]));
        let life = Self { runtime: Some(runtime), supervisor, id };
        life.set(params);
        life
    }

    /// The feed with these parameters from now on.
    pub fn set(&self, params: &Value) {
        let _inside = self.runtime.as_ref().unwrap().enter();
        self.supervisor.set(subscription(self.id, params));
    }

    pub fn status(&self) -> FeedStatus {
        self.supervisor.status(self.id).unwrap()
    }

    pub fn last_error(&self) -> Option<String> {
        self.status().last_error.map(|(_, text)| text)
    }

    pub fn until_running(&self) {
        eventually("the feed to run", || (self.status().state == FeedState::Running).then_some(()));
    }

    /// The error of a feed that cannot run.
    pub fn until_failed(&self) -> String {
        eventually("the feed to fail", || {
            let status = self.status();
            (status.state == FeedState::Failed).then(|| status.last_error.unwrap().1)
        })
    }

    /// Deletes the feed.
    pub fn remove(&self) {
        self.runtime.as_ref().unwrap().block_on(self.supervisor.remove(self.id)).unwrap();
    }

    /// An orderly end: the feed says goodbye.
    pub fn stop(self) {
        self.runtime.as_ref().unwrap().block_on(self.supervisor.shutdown(Duration::from_secs(10)));
    }

    /// Every task and socket is gone at once, without a goodbye.
    pub fn crash(mut self) {
        self.runtime.take().unwrap().shutdown_timeout(Duration::from_secs(10));
    }
}

/// Waits for a condition.
pub fn eventually<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(begun.elapsed() < PATIENCE, "waited {PATIENCE:?} in vain for: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Waits until so many events are durable.
pub fn until_events(durable: &Durable, count: usize) {
    let mut last = 0;
    let begun = Instant::now();
    while last < count {
        assert!(begun.elapsed() < PATIENCE, "{last} of {count} events after {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(10));
        last = durable.events().len();
    }
}

/// Lines `{"n":0}` to `{"n":count-1}`, from `from`.
pub fn lines(from: usize, count: usize) -> Vec<String> {
    (from..from + count).map(|n| json!({ "n": n }).to_string()).collect()
}

/// The numbers in bodies `{"n":…}`.
pub fn numbers(durable: &Durable) -> Vec<u64> {
    durable.bodies().iter().map(|body| body["n"].as_u64().unwrap_or_else(|| panic!("{body}"))).collect()
}
