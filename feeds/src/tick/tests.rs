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
        web: crate::Web::default(),
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

/// The ticks that fire until the next one lies ahead, in minutes; and what else was told.
async fn made_up(missed: Missed, now_minutes: i64) -> (Vec<i64>, Vec<String>) {
    let clock = Arc::new(At(parking_lot::Mutex::new(now_minutes * 60_000 + 30_000)));
    let cursor = TickCursor { last: Timestamp::from_millis(60_000), count: 1 };
    let bounds = Bounds { missed, ..Bounds::default() };
    let mut ticker = Ticker::new(every_minute(), bounds, JsonObject::empty(), Some(cursor), &context(&clock));
    let (mut fired, mut told) = (Vec::new(), Vec::new());
    // Time stands still here, so waiting for the next tick does not end.
    while let Ok(batch) = tokio::time::timeout(Duration::from_secs(5), ticker.next()).await {
        let batch = batch.unwrap();
        let minute =
            |event: &FeedEvent| event.key.as_ref().unwrap().as_str().parse::<i64>().unwrap() / 60_000;
        fired.extend(batch.events.iter().map(minute));
        told.extend(batch.refused.into_iter().map(|refused| refused.why));
        assert_eq!(batch.cursor.last.as_millis() / 60_000, *fired.last().unwrap());
    }
    (fired, told)
}

#[tokio::test(start_paused = true)]
async fn missed_ticks_are_made_up_for_as_asked() {
    assert_eq!(made_up(Missed::Recent, 100).await.0, [100]);
    assert_eq!(made_up(Missed::Skip, 100).await.0, [] as [i64; 0]);
    assert_eq!(made_up(Missed::Latest, 100).await.0, [100]);
    assert_eq!(made_up(Missed::All, 100).await, ((2..=100).collect(), vec![]));
    assert_eq!(made_up(Missed::Latest, 1_000_000).await.0, [1_000_000]);
    let (fired, told) = made_up(Missed::All, 1_000_000).await;
    assert!((MADE_UP_MAX / 2..=MADE_UP_MAX).contains(&fired.len()), "{}", fired.len());
    assert_eq!(fired.last(), Some(&1_000_000));
    assert!(told.len() == 1 && told[0].contains("are not made up for"), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn a_date_that_passed_fires_late_where_asked() {
    let clock = Arc::new(At(parking_lot::Mutex::new(1_000_000_000)));
    for (missed, fires) in
        [(Missed::Recent, false), (Missed::Skip, false), (Missed::Latest, true), (Missed::All, true)]
    {
        let bounds = Bounds { missed, ..Bounds::default() };
        let times = Times::Once(Timestamp::from_millis(5_000));
        let mut ticker = Ticker::new(times, bounds, JsonObject::empty(), None, &context(&clock));
        assert_eq!(ticker.next().await.is_ok(), fires, "{missed:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn jitter_delays_each_tick_the_same_each_time_and_keys_stay() {
    let clock = Arc::new(At(parking_lot::Mutex::new(0)));
    let bounds = Bounds { jitter: Duration::from_secs(600), ..Bounds::default() };
    let ticker = || Ticker::new(every_minute(), bounds, JsonObject::empty(), None, &context(&clock));
    let minutes = (1..200).map(|n| Timestamp::from_millis(n * 60_000));
    let delays: Vec<_> = minutes.clone().map(|tick| ticker().fires_at(tick).since(tick)).collect();
    assert_eq!(delays, minutes.map(|tick| ticker().fires_at(tick).since(tick)).collect::<Vec<_>>());
    assert!(delays.iter().all(|delay| *delay < Duration::from_secs(60)), "never behind the next tick");
    assert!(delays.iter().any(|delay| *delay != delays[0]));
    let at = ticker().fires_at(Timestamp::from_millis(60_000)).as_millis();
    *clock.0.lock() = at - 1;
    let mut waits = ticker();
    assert!(
        tokio::time::timeout(Duration::from_secs(5), waits.next()).await.is_err(),
        "not before its delay is over"
    );
    *clock.0.lock() = at;
    assert_eq!(ticker().next().await.unwrap().events[0].key.as_ref().unwrap().as_str(), "60000");
}

#[test]
fn jitter_is_a_length_of_time() {
    let read = |value: Value| jitter(Some(&value)).map_err(|error| error.0);
    assert_eq!(read(json!("90s")), Ok(Duration::from_secs(90)));
    assert_eq!(read(json!(2.5)), Ok(Duration::from_millis(2500)));
    for wrong in [json!("soon"), json!(-1), json!("2 days"), json!(true), json!([])] {
        assert!(read(wrong.clone()).unwrap_err().contains("the jitter parameter"), "{wrong}");
    }
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
