use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use triggerfish_model::{ActivationId, EventKey, Json, JsonObject, SystemClock};

use super::*;
use crate::catalogue::{DynBatch, DynConnection};
use crate::provider::{FeedEvent, ParamError, Refused};
use crate::runner::IntakeError;

/// Gives the numbers after its cursor, up to `last`; fails or panics where the script says so.
struct Numbers {
    last: u32,
    connects: AtomicU32,
    /// What the connect of this number does, instead of connecting.
    refuse: fn(u32) -> Option<FeedError>,
}

struct From {
    at: u32,
    last: u32,
}

#[async_trait]
impl DynProvider for Arc<Numbers> {
    fn check(&self, _: &JsonObject, _: Option<&JsonObject>, _: Timestamp) -> Result<(), ParamError> {
        Ok(())
    }

    async fn connect(
        &self,
        _: &JsonObject,
        cursor: Option<Json>,
        _: &FeedContext,
    ) -> Result<Box<dyn DynConnection>, FeedError> {
        let number = self.connects.fetch_add(1, Ordering::SeqCst);
        if let Some(error) = (self.refuse)(number) {
            return Err(error);
        }
        let at = cursor.map_or(0, |cursor| cursor.read().unwrap());
        Ok(Box::new(From { at, last: self.last }))
    }
}

#[async_trait]
impl DynConnection for From {
    async fn next(&mut self) -> Result<DynBatch, FeedError> {
        if self.at == self.last {
            return Err(FeedError::Ended { why: "done".into(), also_delete: crate::AlsoDelete::Nothing });
        }
        self.at += 1;
        let event =
            FeedEvent { key: Some(EventKey::new(&self.at.to_string())), payload: JsonObject::empty() };
        Ok(DynBatch {
            events: vec![event],
            cursor: Json::of(&self.at).unwrap(),
            refused: Vec::new(),
            duplicates: 0,
        })
    }

    async fn ack(&mut self, _: &Json) -> Result<(), FeedError> {
        Ok(())
    }

    fn lag(&self) -> Option<u64> {
        None
    }

    async fn close(&mut self) {}
}

/// Takes what it is given, but for the first offers of each third number.
#[derive(Default)]
struct Sink {
    taken: Mutex<Vec<String>>,
    cursor: Mutex<Option<Json>>,
    offers: AtomicU32,
    ended: Mutex<Option<String>>,
}

#[async_trait]
impl Intake for Sink {
    async fn deliver(
        &self,
        _: &Subscription,
        events: Vec<FeedEvent>,
        _refused: Vec<Refused>,
        cursor: Option<Json>,
    ) -> Result<Delivered, IntakeError> {
        match self.offers.fetch_add(1, Ordering::SeqCst) % 3 {
            1 => return Err(IntakeError::Busy { retry_after: Duration::from_secs(1), why: "full".into() }),
            2 if self.taken.lock().len() == 3 => return Err(IntakeError::Failed("broken".into())),
            _ => {}
        }
        self.taken.lock().extend(events.iter().map(|event| event.key.as_ref().unwrap().as_str().to_owned()));
        *self.cursor.lock() = cursor;
        Ok(Delivered { accepted: events.len() as u64, duplicates: 0 })
    }

    async fn cursor(&self, _: FeedId) -> Result<Option<Json>, IntakeError> {
        Ok(self.cursor.lock().clone())
    }

    async fn ended(&self, _: &Subscription, why: &str, _: crate::AlsoDelete) {
        *self.ended.lock() = Some(why.to_owned());
    }
}

fn task(provider: &Arc<Numbers>, sink: &Arc<Sink>) -> Task {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let subscription = Subscription {
        id: FeedId(ActivationId::from_bytes([1; 16])),
        trigger: "guest/t".parse().unwrap(),
        feed: "whisk.system/x/y".parse().unwrap(),
        params: JsonObject::empty(),
        subject: "guest".parse().unwrap(),
        record: triggerfish_model::RecordPolicy::Matched,
        paused: false,
        ended: None,
        created: clock.now(),
        updated: clock.now(),
    };
    let context = FeedContext {
        feed: subscription.id,
        trigger: subscription.trigger.clone(),
        created: subscription.created,
        clock: clock.clone(),
        event_bytes_max: 1000,
        connect_timeout: Duration::from_secs(5),
        hook: HookContext::default(),
        web: crate::Web::default(),
    };
    Task {
        provider: Arc::new(provider.clone()),
        subscription: Arc::new(subscription),
        context,
        intake: sink.clone(),
        status: Arc::new(Status::new(clock, FeedState::Connecting)),
        stop: CancellationToken::new(),
    }
}

#[tokio::test(start_paused = true)]
async fn everything_arrives_once_and_in_order_through_failures_of_both_sides() {
    let refuse = |connect| match connect {
        0 => Some(FeedError::Unavailable("away".into())),
        1 => panic!("a fault of the provider"),
        _ => None,
    };
    let provider = Arc::new(Numbers { last: 20, connects: AtomicU32::new(0), refuse });
    let sink = Arc::new(Sink::default());
    task(&provider, &sink).run().await;
    let expected: Vec<String> = (1..=20).map(|number: u32| number.to_string()).collect();
    assert_eq!(*sink.taken.lock(), expected);
    assert_eq!(sink.ended.lock().as_deref(), Some("done"));
    assert!(provider.connects.load(Ordering::SeqCst) >= 4, "two bad starts, and one after the intake failed");
}

#[test]
fn pauses_grow_are_jittered_and_are_bounded() {
    let away = FeedError::Unavailable(String::new());
    assert_eq!(pause(&away, 1, u32::MAX), Duration::from_secs(1));
    assert_eq!(pause(&away, 1, 0), Duration::from_millis(500));
    assert_eq!(pause(&away, 3, u32::MAX), Duration::from_secs(4));
    assert_eq!(pause(&away, 1000, u32::MAX), PAUSE_MAX);
    assert_eq!(pause(&FeedError::Refused(String::new()), 1, u32::MAX), PAUSE_REFUSED);
    let later = FeedError::Later { why: String::new(), after: Duration::from_secs(600) };
    assert_eq!(pause(&later, 9, 0), Duration::from_secs(600), "when it was asked for, never before");
    assert_eq!(pause(&later, 9, u32::MAX), Duration::from_secs(630));
}
