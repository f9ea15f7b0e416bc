use super::super::payload::headers;
use super::*;

fn bounds() -> Bounds {
    Bounds {
        messages_max: 3,
        time: Duration::from_millis(200),
        event_bytes_max: 2_000_000,
        form: Form::default(),
    }
}

fn begin(next: i64) -> Begin {
    Begin { at: next, expects: None, mark: Mark { next, print: None, generation: 0 }, expired: 0 }
}

fn assembly(bounds: Bounds) -> Assembly {
    let mut assembly = Assembly::new(bounds, Cursor::default());
    for partition in 0..2 {
        assembly.assign("t", partition, begin(10));
    }
    // The marks of the beginning.
    let first = assembly.batch().unwrap();
    assembly.ack(first.cursor.number);
    assembly.commit();
    assembly
}

fn take(assembly: &mut Assembly, partition: i32, offset: i64, value: &str, now: Instant) -> Then {
    let content = Content {
        key: None,
        value: Some(value.as_bytes()),
        timestamp: Some(offset),
        headers: headers(None::<&rdkafka::message::OwnedHeaders>),
    };
    assembly.take(&Read { topic: "t", partition, offset, content }, now)
}

fn keys(batch: &FeedBatch<Cursor>) -> Vec<&str> {
    batch.events.iter().map(|event| event.key.as_ref().unwrap().as_str()).collect()
}

#[test]
fn an_event_is_full_or_old_or_the_last_for_now() {
    let (mut it, now) = (assembly(bounds()), Instant::now());
    for offset in 10..14 {
        take(&mut it, 0, offset, "x", now);
    }
    assert_eq!(keys(&it.batch().unwrap()), ["t/0/10-12"]);
    assert!(it.batch().is_none() && it.has_open());
    let later = now + Duration::from_millis(100);
    take(&mut it, 1, 10, "x", later);
    assert_eq!(it.due(), Some(now + Duration::from_millis(200)));
    it.close(Some(now + Duration::from_millis(200)));
    assert_eq!(keys(&it.batch().unwrap()), ["t/0/13"]);
    it.close(None);
    let batch = it.batch().unwrap();
    assert_eq!(keys(&batch), ["t/1/10"]);
    let marks: Vec<i64> = (0..2).map(|p| batch.cursor.mark("t", p).unwrap().next).collect();
    assert_eq!(marks, [14, 11]);
    assert!(!it.has_open());
}

#[test]
fn what_would_make_an_event_too_large_begins_the_next_one() {
    let (mut it, now) = (assembly(bounds()), Instant::now());
    let half = "x".repeat(500_000);
    for (offset, value) in [(10, half.as_str()), (11, &half), (12, &"y".repeat(950_000)), (13, "z")] {
        take(&mut it, 0, offset, value, now);
    }
    it.close(None);
    let batch = it.batch().unwrap();
    assert_eq!(keys(&batch), ["t/0/10", "t/0/11", "t/0/12", "t/0/13"]);
    assert!(batch.events[2].payload.as_str().len() > EVENT_BYTES);
}

#[test]
fn a_message_above_the_limit_is_told_and_passed() {
    let (mut it, now) = (assembly(Bounds { event_bytes_max: 1000, ..bounds() }), Instant::now());
    for (offset, value) in [(10, "a"), (11, "x".repeat(1000).as_str()), (12, "b")] {
        take(&mut it, 0, offset, value, now);
    }
    it.close(None);
    let batch = it.batch().unwrap();
    assert_eq!(keys(&batch), ["t/0/10", "t/0/12"]);
    assert!(batch.refused[0].why.contains("`t/0/11` was left out"), "{:?}", batch.refused);
    assert_eq!(batch.cursor.mark("t", 0).unwrap().next, 13);
}

#[test]
fn nothing_is_committed_before_its_batch_is_acknowledged() {
    let (mut it, now) = (assembly(bounds()), Instant::now());
    take(&mut it, 0, 10, "x", now);
    it.close(None);
    let one = it.batch().unwrap();
    take(&mut it, 0, 11, "x", now);
    it.close(None);
    let two = it.batch().unwrap();
    assert!(it.commit().is_empty() && it.is_given("t", 0) && !it.is_given("t", 1));
    it.ack(one.cursor.number);
    assert_eq!(it.commit(), [(("t".to_owned(), 0), 11)]);
    it.ack(two.cursor.number);
    assert_eq!(it.commit(), [(("t".to_owned(), 0), 12)]);
    assert!(!it.is_given("t", 0) && !it.awaits_commit());
}

#[test]
fn of_a_partition_that_is_taken_away_only_what_was_given_counts() {
    let (mut it, now) = (assembly(bounds()), Instant::now());
    take(&mut it, 0, 10, "x", now);
    it.close(None);
    let given = it.batch().unwrap();
    for offset in 11..15 {
        take(&mut it, 0, offset, "x", now);
    }
    take(&mut it, 1, 10, "x", now);
    it.revoke("t", 0);
    it.close(None);
    let batch = it.batch().unwrap();
    assert_eq!(keys(&batch), ["t/1/10"]);
    assert_eq!(batch.cursor.mark("t", 0).unwrap().next, 11);
    assert!(it.is_given("t", 0));
    it.ack(given.cursor.number);
    assert!(it.commit().is_empty(), "another member may be further already");
    assert_eq!(it.assigned(), [("t".to_owned(), 1)]);
    take(&mut it, 0, 11, "x", now);
    assert!(!it.has_open(), "a late message of a partition that is gone is left out");
}

#[test]
fn the_first_message_tells_whether_the_topic_is_the_same() {
    let now = Instant::now();
    let mut trace = Trace::default();
    trace.take(Some(9), None, Some(b"x"));
    let print = Some(trace.print());
    let begin = || Begin {
        at: 9,
        expects: print.clone(),
        mark: Mark { next: 10, print: print.clone(), generation: 0 },
        expired: 0,
    };
    let mut it = Assembly::new(bounds(), Cursor::default());
    (0..3).for_each(|partition| it.assign("t", partition, begin()));
    assert_eq!(take(&mut it, 0, 9, "x", now), Then::Go);
    assert_eq!(take(&mut it, 0, 10, "x", now), Then::Go);
    // Compacted away or expired: there is nothing to compare.
    assert_eq!(take(&mut it, 1, 12, "x", now), Then::Go);
    assert_eq!(take(&mut it, 2, 9, "other", now), Then::BeginAnew);
    assert_eq!(take(&mut it, 2, 0, "other", now), Then::Go);
    it.close(None);
    let batch = it.batch().unwrap();
    assert_eq!(keys(&batch), ["t/0/10", "t/1/12", "t~1/2/0"]);
    assert_eq!(batch.duplicates, 0);
}

#[test]
fn a_full_machine_says_so_until_a_batch_is_fetched() {
    let (mut it, now) = (assembly(Bounds { messages_max: 1, ..bounds() }), Instant::now());
    let value = "x".repeat(1 << 20);
    for offset in 10..14 {
        assert!(!it.is_full());
        take(&mut it, 0, offset, &value, now);
    }
    assert!(it.is_full());
    it.batch();
    assert!(!it.is_full());
}

#[test]
fn what_waits_at_the_broker_is_what_was_not_given() {
    let (mut it, now) = (assembly(bounds()), Instant::now());
    take(&mut it, 0, 10, "x", now);
    it.close(None);
    it.batch();
    let end =
        |_: &str, partition| [Some(100), None].into_iter().nth(usize::try_from(partition).unwrap()).flatten();
    assert_eq!(it.lag(end), 89);
}
