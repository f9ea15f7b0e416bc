//! The embedded event log: what is answered is on disk, once, also after the store was opened again.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::path::Path;
use std::sync::Arc;

use triggerfish_model::{
    Activation, ActivationId, Event, EventKey, FeedId, Invocation, Invoker, Json, JsonObject, Origin,
    Parameters, Progress, Response, Source, StatusCode, Timestamp, Version,
};
use triggerfish_store::embedded::{Embedded, OpenError, Options};
use triggerfish_store::{
    ActivationQuery, ActivationStore, Appended, Batch, Completion, Decided, EventLog, FeedStore, Haste,
    Identity, StoreError, SubjectStore,
};

const FEED: FeedId = FeedId(ActivationId::from_bytes([9; 16]));

fn completion(records: Vec<Arc<Activation>>) -> Completion {
    Completion { records, dead_letter: None, haste: Haste::Now }
}

fn open(directory: &Path) -> Embedded {
    Embedded::open(directory, Options { disk_reserve_bytes: 0, namespace_events: 100, ..Options::default() })
        .unwrap()
}

fn invocation(n: u32) -> Invocation {
    Invocation {
        id: ActivationId::derive(&[b"run", &n.to_le_bytes()]),
        namespace: "guest".parse().unwrap(),
        subject: "guest".parse().unwrap(),
        action: "guest/a".parse().unwrap(),
        invoker: Invoker::Api,
        payload: Json::parse(format!("{{\"n\":{n}}}")).unwrap(),
        accepted: Timestamp::from_millis(i64::from(n)),
        transaction: "t".into(),
        progress: Progress::default(),
        retry: None,
    }
}

fn event(n: u32) -> Decided {
    let event = Event {
        id: ActivationId::derive(&[b"event", &n.to_le_bytes()]),
        trigger: "guest/t".parse().unwrap(),
        subject: "guest".parse().unwrap(),
        source: Source::Feed(FEED),
        key: Some(EventKey::new(&n.to_string())),
        payload: JsonObject::empty(),
        received: Timestamp::from_millis(0),
    };
    Decided { event, record: None, invocations: vec![invocation(n)] }
}

fn record(n: u32, path: &str) -> Arc<Activation> {
    Arc::new(Activation {
        namespace: "guest".parse().unwrap(),
        name: "a".parse().unwrap(),
        version: Version::default(),
        subject: "guest".parse().unwrap(),
        id: ActivationId::derive(&[b"run", &n.to_le_bytes()]),
        cause: None,
        start: Timestamp::from_millis(i64::from(n)),
        end: None,
        duration_ms: None,
        response: Response { status: StatusCode::Success, result: Json::null(), size: None },
        logs: vec![],
        annotations: Parameters::new().with("path", path),
        origin: Origin::default(),
    })
}

#[tokio::test]
async fn events_cursor_and_pending_work_survive_and_repeated_keys_are_dropped() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let cursor = Json::parse("{\"at\":2}").unwrap();
    let batch = Batch {
        events: vec![event(1), event(2), event(1)],
        cursor: Some((FEED, cursor.clone())),
        ..Batch::default()
    };
    let appended = store.append(batch).await.unwrap();
    assert!(matches!(
        appended.as_slice(),
        [Appended::Accepted { .. }, Appended::Accepted { .. }, Appended::Duplicate]
    ));
    drop(store);

    let store = open(directory.path());
    assert_eq!(store.cursor(FEED).await.unwrap(), Some(cursor));
    let again =
        store.append(Batch { events: vec![event(2)], cursor: None, ..Batch::default() }).await.unwrap();
    assert_eq!(again, [Appended::Duplicate]);
    let action = "guest/a".parse().unwrap();
    let pending = store.pending(&action, None, 10).await.unwrap();
    assert_eq!(pending.iter().map(|(_, i)| i.id).collect::<Vec<_>>(), [invocation(1).id, invocation(2).id]);
    assert_eq!(store.pending_actions().await.unwrap(), [(action.clone(), 2)]);

    for (place, invocation) in &pending {
        let n = if invocation.id == pending[0].1.id { 1 } else { 2 };
        store.complete(place, completion(vec![record(n, "guest/a")])).await.unwrap();
        store.complete(place, completion(vec![record(n, "guest/a")])).await.unwrap();
    }
    assert!(store.pending(&action, None, 10).await.unwrap().is_empty());
    assert_eq!(store.status().await.unwrap().pending, 0);
    let query = ActivationQuery {
        namespace: "guest".parse().unwrap(),
        name: Some("a".into()),
        since: None,
        upto: None,
        skip: 0,
        limit: 10,
    };
    let listed: Vec<_> =
        ActivationStore::list(&store, &query).await.unwrap().iter().map(|r| r.start.as_millis()).collect();
    assert_eq!(listed, [2, 1], "latest first, each once");
}

#[tokio::test]
async fn only_runs_that_were_started_before_a_restart_count_as_interrupted() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let first = store.invoke(invocation(1)).await.unwrap();
    store.started(&first, 1);
    // The note needs no sync of its own, but goes with the next write.
    store.invoke(invocation(2)).await.unwrap();
    let action = "guest/a".parse().unwrap();
    let now = store.pending(&action, None, 10).await.unwrap();
    assert_eq!(now[0].1.progress.interrupted, 0, "this hub runs it");
    drop(store);
    let store = open(directory.path());
    let after = store.pending(&action, None, 10).await.unwrap();
    assert_eq!((after[0].1.progress.interrupted, after[1].1.progress.interrupted), (1, 0));
    let progress = Progress { interrupted: 0, sequence: Some(Json::parse("{\"step\":1}").unwrap()) };
    store.advance(&after[0].0, progress.clone(), vec![record(7, "guest/b")]).await.unwrap();
    drop(store);
    let store = open(directory.path());
    assert_eq!(store.pending(&action, None, 10).await.unwrap()[0].1.progress, progress);
}

#[tokio::test]
async fn the_note_of_a_started_run_costs_no_sync() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let pending = store.invoke(invocation(1)).await.unwrap();
    let before = store.status().await.unwrap();
    store.started(&pending, 1);
    let written = tokio::time::timeout(std::time::Duration::from_secs(60), async {
        loop {
            let now = store.status().await.unwrap();
            if now.commits > before.commits {
                return now;
            }
            tokio::task::yield_now().await;
        }
    });
    assert_eq!(written.await.unwrap().syncs, before.syncs);
}

#[tokio::test]
async fn a_namespace_has_a_share_of_the_log() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    for n in 0..100 {
        store.invoke(invocation(n)).await.unwrap();
    }
    let refused = store.invoke(invocation(100)).await.unwrap_err();
    assert!(matches!(refused, StoreError::OverShare { pending: 100, share: 100, .. }), "{refused}");
    let (place, _) = store.pending(&"guest/a".parse().unwrap(), None, 1).await.unwrap().remove(0);
    store.complete(&place, completion(vec![])).await.unwrap();
    store.invoke(invocation(100)).await.unwrap();
}

#[tokio::test]
async fn a_second_hub_is_refused_and_told_who_has_it() {
    let directory = tempfile::tempdir().unwrap();
    let _store = open(directory.path());
    let Err(OpenError::InUse { pid }) = Embedded::open(directory.path(), Options::default()) else {
        panic!()
    };
    assert_eq!(pid, std::process::id().to_string());
}

#[tokio::test]
async fn no_secret_is_readable_on_disk() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let key = "k".repeat(30) + "geheim" + &"k".repeat(28);
    let identity = Identity {
        subject: "guest".parse().unwrap(),
        namespace: "guest".parse().unwrap(),
        uuid: "u-1".into(),
    };
    SubjectStore::put(&store, identity.clone(), &key).await.unwrap();
    let subscription = triggerfish_model::Subscription {
        id: FEED,
        trigger: "guest/t".parse().unwrap(),
        feed: "whisk.system/messaging/mqttFeed".parse().unwrap(),
        params: JsonObject::parse("{\"password\":\"geheim\"}").unwrap(),
        subject: "guest".parse().unwrap(),
        record: triggerfish_model::RecordPolicy::Matched,
        paused: false,
        ended: None,
        created: Timestamp::from_millis(0),
        updated: Timestamp::from_millis(0),
    };
    FeedStore::put(&store, subscription.clone()).await.unwrap();
    assert_eq!(store.authenticate("u-1", &key).await.unwrap(), Some(identity));
    assert_eq!(store.authenticate("u-1", &"x".repeat(64)).await.unwrap(), None);
    drop(store);
    let mut files = 0;
    let mut open_directories = vec![directory.path().to_owned()];
    while let Some(at) = open_directories.pop() {
        for entry in std::fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open_directories.push(path);
            } else {
                files += 1;
                let bytes = std::fs::read(&path).unwrap();
                assert!(!bytes.windows(6).any(|window| window == b"geheim"), "{}", path.display());
            }
        }
    }
    assert!(files > 3, "{files} files");
    assert_eq!(FeedStore::all(&open(directory.path())).await.unwrap(), [subscription]);
}

#[tokio::test]
async fn a_record_never_changes_once_it_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let first = record(1, "guest/a");
    let second = Arc::new(Activation { logs: vec!["another".into()], ..(*record(1, "guest/b")).clone() });
    // In one write, in two, and as the end of a run.
    ActivationStore::put(&store, vec![first.clone(), second.clone()]).await.unwrap();
    ActivationStore::put(&store, vec![second.clone()]).await.unwrap();
    let place = store.invoke(invocation(1)).await.unwrap();
    store.complete(&place, completion(vec![second])).await.unwrap();
    let guest = "guest".parse().unwrap();
    assert_eq!(*store.get(&guest, first.id).await.unwrap().unwrap(), *first);
    drop(store);
    let store = open(directory.path());
    assert_eq!(*store.get(&guest, first.id).await.unwrap().unwrap(), *first);
    let query = ActivationQuery { namespace: guest, name: None, since: None, upto: None, skip: 0, limit: 10 };
    assert_eq!(ActivationStore::count(&store, &query).await.unwrap(), 1);
}
