//! The store on a disk that fills up: refusals are clear, nothing that was answered is lost, and it resumes by itself.

#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[path = "../../tests/support/small_disk.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with the hub's own tests")]
mod small_disk;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use small_disk::SmallDisk;
use triggerfish_model::{
    ActivationId, Event, EventKey, FeedId, Invocation, Invoker, Json, JsonObject, Progress, SeqNum, Source,
    Timestamp,
};
use triggerfish_store::embedded::{Embedded, Options};
use triggerfish_store::{Appended, Batch, Completion, Decided, EventLog, Haste, Pending, StoreError};

const FEED: FeedId = FeedId(ActivationId::from_bytes([9; 16]));
const MB: u64 = 1 << 20;

fn open(directory: &Path, reserve: u64) -> Embedded {
    Embedded::open(directory, Options { disk_reserve_bytes: reserve, ..Options::default() }).unwrap()
}

fn invocation(n: u32, payload: &Json) -> Invocation {
    Invocation {
        id: ActivationId::derive(&[b"run", &n.to_le_bytes()]),
        namespace: "guest".parse().unwrap(),
        subject: "guest".parse().unwrap(),
        action: "guest/a".parse().unwrap(),
        invoker: Invoker::Api,
        payload: payload.clone(),
        accepted: Timestamp::from_millis(0),
        transaction: "t".into(),
        progress: Progress::default(),
        retry: None,
    }
}

/// A feed's event number `n` of about `bytes`, with the cursor after it.
fn batch(n: u32, bytes: usize) -> Batch {
    // Not compressible, so that it takes its room.
    let mut state = u64::from(n) + 1;
    let noise: String = (0..bytes)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            char::from(b'a' + u8::try_from((state >> 33) % 26).unwrap())
        })
        .collect();
    let payload = Json::parse(format!("{{\"noise\":\"{noise}\"}}")).unwrap();
    let event = Event {
        id: ActivationId::derive(&[b"event", &n.to_le_bytes()]),
        trigger: "guest/t".parse().unwrap(),
        subject: "guest".parse().unwrap(),
        source: Source::Feed(FEED),
        key: Some(EventKey::new(&n.to_string())),
        payload: JsonObject::empty(),
        received: Timestamp::from_millis(0),
    };
    let events = vec![Decided { event, record: None, invocations: vec![invocation(n, &payload)] }];
    Batch { events, cursor: Some((FEED, Json::parse(n.to_string()).unwrap())), ..Batch::default() }
}

async fn pending(store: &Embedded) -> Vec<Pending> {
    let action = "guest/a".parse().unwrap();
    let (mut all, mut after) = (Vec::new(), None::<SeqNum>);
    loop {
        let page = store.pending(&action, after, 1000).await.unwrap();
        let Some((last, _)) = page.last() else { return all };
        after = Some(last.seq);
        all.extend(page.into_iter().map(|(place, _)| place));
    }
}

/// Waits until an append is taken.
async fn resumed(store: &Embedded, n: u32) {
    let begun = Instant::now();
    loop {
        match store.append(batch(n, 10)).await {
            Ok(_) => return,
            Err(error) => assert!(begun.elapsed() < Duration::from_secs(60), "it does not resume: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn below_the_reserve_new_work_is_refused_and_accepted_work_is_completed() {
    let disk = SmallDisk::new(128);
    let directory = disk.path().join("data");
    let store = open(&directory, 32 * MB);
    let mut accepted = Vec::new();
    for n in 0..50 {
        let appended = store.append(batch(n, 1000)).await.unwrap();
        let [Appended::Accepted { pending, .. }] = appended.as_slice() else { panic!() };
        accepted.extend(pending.clone());
    }
    disk.fill(31 * MB);
    // The free space is read ten times a second.
    while store.status().await.unwrap().disk_free_bytes >= 32 * MB {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let refused = store.append(batch(50, 1000)).await.unwrap_err();
    let StoreError::DiskFull { path, free_mb, reserve_mb } = &refused else { panic!("{refused}") };
    assert_eq!((path.as_str(), *reserve_mb), (directory.to_str().unwrap(), 32));
    assert!(*free_mb <= 31);
    let payload = Json::parse("{}").unwrap();
    assert!(matches!(store.invoke(invocation(50, &payload)).await, Err(StoreError::DiskFull { .. })));
    assert_eq!(store.cursor(FEED).await.unwrap(), Some(Json::parse("49").unwrap()), "the cursor stays");
    for place in &accepted {
        store
            .complete(place, Completion { records: vec![], dead_letter: None, haste: Haste::Now })
            .await
            .unwrap();
    }
    assert_eq!(store.status().await.unwrap().pending, 0);
    disk.make_room();
    resumed(&store, 50).await;
    assert_eq!(store.cursor(FEED).await.unwrap(), Some(Json::parse("50").unwrap()));
}

#[tokio::test]
async fn a_write_that_finds_no_room_fails_whole_and_what_was_answered_stays() {
    let disk = SmallDisk::new(128);
    let directory = disk.path().join("data");
    let mut store = open(&directory, 0);
    let (mut answered, mut next) = (BTreeSet::new(), 0);
    for round in 0..4 {
        disk.fill(MB);
        // Bytes of events until nothing fits any more.
        let error = loop {
            let n = next;
            next += 1;
            match store.append(batch(n, 100_000)).await {
                Ok(_) => {
                    answered.insert(n);
                }
                Err(error) => break error,
            }
        };
        assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
        eprintln!("round {round}: {} answered, then: {error}", answered.len());
        assert!(error.to_string().contains("No space left"), "{error}");
        if round % 2 == 1 {
            // As after a crash with a full disk, and a start when there is room again.
            drop(store);
            // The full disk does not keep a hub from starting either.
            disk.fill(0);
            drop(open(&directory, 0));
            disk.make_room();
            store = open(&directory, 0);
        } else {
            disk.make_room();
        }
        let n = next;
        next += 1;
        resumed(&store, n).await;
        answered.insert(n);
        let found = pending(&store).await.len();
        assert_eq!(found, answered.len(), "no more and no less than what was answered");
        assert_eq!(store.status().await.unwrap().pending, found as u64);
    }
    drop(store);
    let store = open(&directory, 0);
    assert_eq!(pending(&store).await.len(), answered.len());
    for n in 0..next {
        let again = store.append(batch(n, 10)).await.unwrap();
        assert_eq!(again == [Appended::Duplicate], answered.contains(&n), "the key of event {n}");
    }
}
