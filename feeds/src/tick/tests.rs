use super::*;

struct At(parking_lot::Mutex<i64>);

impl Clock for At {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(*self.0.lock())
    }
}

fn context(clock: &Arc<At>) -> FeedContext {
    FeedContext {
        feed: triggerfish_model::FeedId(triggerfish_model::ActivationId::from_bytes([1; 16])),
        trigger: "guest/t".parse().unwrap(),
        created: Timestamp::from_millis(0),
        clock: clock.clone(),
        event_bytes_max: 1000,
        connect_timeout: Duration::from_secs(1),
        hook: crate::hook::HookContext::default(),
    }
}

fn every_minute() -> Times {
    Times::Every { first: Timestamp::from_millis(60_000), period: Duration::from_secs(60) }
}

#[tokio::test(start_paused = true)]
async fn ticks_lie_on_the_grid_and_their_keys_are_their_instants() {
    let clock = Arc::new(At(parking_lot::Mutex::new(30_000)));
    let mut ticker =
        Ticker::new(every_minute(), Bounds::default(), JsonObject::empty(), None, &context(&clock));
    *clock.0.lock() = 60_000;
    let batch = ticker.next().await.unwrap();
    assert_eq!(batch.events[0].key.as_ref().unwrap().as_str(), "60000");
    *clock.0.lock() = 121_000;
    assert_eq!(ticker.next().await.unwrap().events[0].key.as_ref().unwrap().as_str(), "120000");
}

#[tokio::test(start_paused = true)]
async fn a_long_time_down_fires_the_last_slot_at_most() {
    let clock = Arc::new(At(parking_lot::Mutex::new(10_000_500)));
    let cursor = TickCursor { last: Timestamp::from_millis(60_000), count: 1 };
    let mut ticker =
        Ticker::new(every_minute(), Bounds::default(), JsonObject::empty(), Some(cursor), &context(&clock));
    let batch = ticker.next().await.unwrap();
    assert_eq!(batch.events[0].key.as_ref().unwrap().as_str(), "9960000");
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_jumps_while_it_runs_fires_the_last_slot_alone() {
    let clock = Arc::new(At(parking_lot::Mutex::new(60_000)));
    let mut ticker =
        Ticker::new(every_minute(), Bounds::default(), JsonObject::empty(), None, &context(&clock));
    ticker.next().await.unwrap();
    *clock.0.lock() = 8 * 3_600_000 + 100;
    assert_eq!(ticker.next().await.unwrap().events[0].key.as_ref().unwrap().as_str(), "28800000");
    assert!(tokio::time::timeout(Duration::from_secs(20), ticker.next()).await.is_err(), "no others");
}

#[tokio::test(start_paused = true)]
async fn an_alarm_ends_after_its_last_tick_is_durable() {
    let clock = Arc::new(At(parking_lot::Mutex::new(5_000)));
    let bounds = Bounds { also_delete: AlsoDelete::Trigger, ..Bounds::default() };
    let times = Times::Once(Timestamp::from_millis(5_000));
    let mut ticker = Ticker::new(times.clone(), bounds, JsonObject::empty(), None, &context(&clock));
    let batch = ticker.next().await.unwrap();
    assert!(
        tokio::time::timeout(Duration::from_secs(5), ticker.next()).await.is_err(),
        "not acknowledged yet"
    );
    ticker.ack(&batch.cursor).await.unwrap();
    let Err(FeedError::Ended { why, also_delete }) = ticker.next().await else { panic!() };
    assert_eq!(
        (why.as_str(), also_delete),
        ("Automatically disabled after firing once", AlsoDelete::Trigger)
    );
    // Down while the date passed.
    *clock.0.lock() = 500_000;
    let mut late = Ticker::new(times, bounds, JsonObject::empty(), None, &context(&clock));
    let Err(FeedError::Ended { why, .. }) = late.next().await else { panic!() };
    assert!(why.contains("not fired"), "{why}");
}

#[test]
fn dates_are_milliseconds_or_iso() {
    let read = |value: Value| date("date", &value).map(Timestamp::as_millis).map_err(|error| error.0);
    assert_eq!(read(json!(1000)), Ok(1000));
    assert_eq!(read(json!("1000")), Ok(1000));
    assert_eq!(read(json!("1970-01-01T00:00:01Z")), Ok(1000));
    assert_eq!(read(json!("1970-01-01T00:00:01.000+01:00")), Ok(1000 - 3_600_000));
    assert_eq!(read(json!("soon")), Err("date parameter 'soon' is not a valid Date".into()));
    assert!(read(json!([1])).is_err());
}
