//! What is not seen through the seams: a request's rows are all there or none, and reads cost no sync.

use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::Ordering;

use triggerfish_model::{
    Activation, ActivationId, FeedId, Invocation, Invoker, Json, Origin, Parameters, Progress, Response,
    SeqNum, StatusCode, Timestamp, Version,
};

use super::*;
use crate::embedded::tables::PendingRow;
use crate::{ActivationStore, EventLog, Identity, Pending, SubjectStore};

const FEED: FeedId = FeedId(ActivationId::from_bytes([9; 16]));

fn open(directory: &Path) -> Embedded {
    Embedded::open(directory, Options { disk_reserve_bytes: 0, ..Options::default() }).unwrap()
}

fn invocation(n: u8) -> Invocation {
    Invocation {
        id: ActivationId::from_bytes([n; 16]),
        namespace: "guest".parse().unwrap(),
        subject: "guest".parse().unwrap(),
        action: "guest/a".parse().unwrap(),
        invoker: Invoker::Api,
        payload: Json::parse("{}").unwrap(),
        accepted: Timestamp::from_millis(0),
        transaction: "t".into(),
        progress: Progress::default(),
        retry: None,
    }
}

fn record(n: u8) -> Arc<Activation> {
    Arc::new(Activation {
        namespace: "guest".parse().unwrap(),
        name: "a".parse().unwrap(),
        version: Version::default(),
        subject: "guest".parse().unwrap(),
        id: ActivationId::from_bytes([n; 16]),
        cause: None,
        start: Timestamp::from_millis(0),
        end: None,
        duration_ms: None,
        response: Response { status: StatusCode::Success, result: Json::null(), size: None },
        logs: vec![],
        annotations: Parameters::new(),
        origin: Origin::default(),
    })
}

/// All that a request can add before it fails.
fn half(transaction: &mut Transaction<'_>, n: u8) -> Result<()> {
    assert!(!transaction.is_duplicate(FEED, "k")?);
    let seq = transaction.state.take_seq();
    transaction.put_key(FEED, "k", seq, 0);
    transaction.put_record(&record(n))?;
    let place = Pending { action: "guest/a".parse().unwrap(), seq: SeqNum(seq) };
    transaction.add_pending(&place, &PendingRow { feed: Some(FEED), invocation: invocation(n) })
}

#[tokio::test]
async fn of_a_request_that_fails_in_the_middle_nothing_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    // One batch: the writer is held by the first request until the others wait behind it.
    let (release, held) = std::sync::mpsc::channel::<()>();
    let hold = store.write(move |_| {
        held.recv().unwrap();
        Ok(())
    });
    let broken = store.write(|transaction| {
        half(transaction, 1)?;
        Err::<(), _>(StoreError::Unavailable("broken in the middle".into()))
    });
    // Afterwards the same key and record are new.
    let whole = store.write(|transaction| {
        half(transaction, 1)?;
        transaction.set_cursor(FEED, Some(Json::parse("7").unwrap()));
        Ok(())
    });
    let let_go = async { release.send(()).unwrap() };
    let (held, broken, whole, ()) = tokio::join!(hold, broken, whole, let_go);
    held.unwrap();
    assert!(broken.unwrap_err().to_string().contains("broken in the middle"));
    whole.unwrap();
    assert_eq!(store.shared.counts.syncs.load(Ordering::Relaxed), 1, "it was one batch");
    let alone = store.write(|transaction| {
        transaction.put_record(&record(2))?;
        transaction.add_pending(
            &Pending { action: "guest/b".parse().unwrap(), seq: SeqNum(99) },
            &PendingRow { feed: None, invocation: invocation(2) },
        )?;
        Err::<(), _>(StoreError::Unavailable("broken alone".into()))
    });
    assert!(alone.await.is_err());
    assert_eq!(store.shared.counts.syncs.load(Ordering::Relaxed), 1, "nothing was to be written");

    let check = async |store: &Embedded| {
        let action = "guest/a".parse().unwrap();
        assert_eq!(store.pending_actions().await.unwrap(), [(action, 1)]);
        let status = store.status().await.unwrap();
        assert_eq!(status.pending, 1);
        assert!(status.pending_bytes > 0);
        assert_eq!(store.pending(&"guest/a".parse().unwrap(), None, 9).await.unwrap().len(), 1);
        assert_eq!(store.cursor(FEED).await.unwrap(), Some(Json::parse("7").unwrap()));
        let state = store.shared.state.lock();
        assert_eq!((state.keys.get(&FEED), state.feeds.get(&FEED).unwrap().events), (Some(&1), 1));
        drop(state);
        let tables = store.shared.tables().unwrap();
        let count = |table: &fjall::Keyspace| table.iter().count();
        let counts =
            [&tables.records, &tables.record_ids, &tables.record_times, &tables.record_names].map(count);
        assert_eq!(counts, [1; 4]);
        assert_eq!((count(&tables.keys), count(&tables.key_order), count(&tables.pending)), (1, 1, 1));
    };
    check(&store).await;
    drop(store);
    check(&open(directory.path())).await;
}

#[tokio::test]
async fn reading_how_full_the_log_is_costs_no_sync() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    ActivationStore::put(&store, vec![record(1)]).await.unwrap();
    for _ in 0..10 {
        store.status().await.unwrap();
        store.pending_actions().await.unwrap();
        store.truncate(Timestamp::from_millis(0)).await.unwrap();
    }
    assert_eq!(store.status().await.unwrap().syncs, 1);
}

#[tokio::test]
async fn of_keys_that_are_put_at_the_same_time_one_stays() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let identity = |namespace: &str| Identity {
        subject: "guest".parse().unwrap(),
        namespace: namespace.parse().unwrap(),
        uuid: "u".into(),
    };
    for round in 0..3 {
        let keys: Vec<String> = (0..8).map(|n| format!("key-{round}-{n}")).collect();
        let puts = keys.iter().map(|key| SubjectStore::put(&store, identity("guest"), key));
        for answer in futures::future::join_all(puts).await {
            answer.unwrap();
        }
        SubjectStore::put(&store, identity("other"), "another").await.unwrap();
        let mut valid = 0;
        for key in &keys {
            valid += usize::from(store.authenticate("u", key).await.unwrap().is_some());
        }
        assert_eq!(valid, 1);
        assert_eq!(store.identities().await.unwrap().len(), 2);
        assert!(store.authenticate("u", "another").await.unwrap().is_some());
    }
}

#[tokio::test]
async fn only_the_hubs_user_gets_at_the_data_whatever_the_umask() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("data");
    // A directory of the user's own, open to all, as a mount point may be.
    std::fs::create_dir(&directory).unwrap();
    std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o755)).unwrap();
    let store = open(&directory);
    ActivationStore::put(&store, vec![record(1)]).await.unwrap();
    let mut checked = 0;
    for entry in std::fs::read_dir(&directory).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        let wanted = if entry.file_type().unwrap().is_dir() { 0o700 } else { 0o600 };
        assert_eq!(mode, wanted, "{} has {mode:o}", entry.path().display());
        checked += 1;
    }
    assert!(checked >= 3, "only {checked} entries");
    drop(store);
    let fresh = parent.path().join("fresh");
    drop(open(&fresh));
    assert_eq!(std::fs::metadata(&fresh).unwrap().permissions().mode() & 0o777, 0o700);
}
