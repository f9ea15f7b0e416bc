//! The search index of the embedded store: it follows the records, and what becomes of it does not matter to them.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use triggerfish_model::{
    Activation, ActivationId, Json, Namespace, Origin, Parameters, Response, StatusCode, Timestamp, Version,
};
use triggerfish_store::embedded::{Embedded, Options};
use triggerfish_store::{ActivationStore, EventLog, SearchPage, SearchQuery};

fn open(directory: &Path) -> Embedded {
    Embedded::open(directory, Options { disk_reserve_bytes: 0, ..Options::default() }).unwrap()
}

fn record(namespace: &str, n: u64) -> Arc<Activation> {
    Arc::new(Activation {
        namespace: namespace.parse().unwrap(),
        name: "judge".parse().unwrap(),
        version: Version::default(),
        subject: "guest".parse().unwrap(),
        id: ActivationId::derive(&[namespace.as_bytes(), &n.to_le_bytes()]),
        cause: None,
        start: Timestamp::from_millis(i64::try_from(n).unwrap()),
        end: None,
        duration_ms: Some(n),
        response: Response {
            status: StatusCode::Success,
            result: Json::parse(format!("{{\"n\":{n}}}")).unwrap(),
            size: None,
        },
        logs: vec![format!("2026-11-24T10:00:00.000000000Z stdout: reading{n} of {namespace}")],
        annotations: Parameters::new().with("path", "guest/judge"),
        origin: Origin::default(),
    })
}

async fn search(store: &Embedded, namespace: &str, q: &str) -> SearchPage {
    let namespace: Namespace = namespace.parse().unwrap();
    store
        .search(&namespace, &SearchQuery { q: Some(q.into()), limit: 10, ..Default::default() })
        .await
        .unwrap()
}

/// Searches until there are so many.
async fn until(store: &Embedded, q: &str, total: u64, within: Duration) {
    let begun = Instant::now();
    loop {
        let found = search(store, "guest", q).await.total;
        if found == total {
            return;
        }
        assert!(begun.elapsed() < within, "{q}: {found} of {total} after {within:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Long enough for a machine that does other things as well.
const SLOW: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_record_is_found_within_a_second_by_its_own_namespace_alone() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    store.put((1..=5).map(|n| record("guest", n)).collect()).await.unwrap();
    until(&store, "reading3", 1, SLOW).await;
    // The first write made the index; from now on the time is the follower's own.
    store.put(vec![record("guest", 6), record("other", 6)]).await.unwrap();
    until(&store, "reading6", 1, Duration::from_secs(1)).await;
    let page = search(&store, "guest", "reading6").await;
    assert_eq!(page.hits[0].activation.id, record("guest", 6).id);
    assert!(page.hits[0].highlight[0].contains("<em>reading6</em> of guest"), "{:?}", page.hits[0].highlight);
    assert_eq!(search(&store, "other", "reading6").await.hits[0].activation.id, record("other", 6).id);
    assert_eq!(search(&store, "third", "").await.total, 0);
    for q in ["namespace:other", "other OR _exists_:namespace"] {
        let query = SearchQuery { q: Some(q.into()), limit: 10, ..Default::default() };
        let error = store.search(&"guest".parse().unwrap(), &query).await.unwrap_err().to_string();
        assert!(error.contains("there is no field `namespace`"), "{error}");
    }
    assert_eq!(search(&store, "guest", "other").await.total, 0);
}

#[tokio::test]
async fn what_a_crash_kept_from_the_index_is_indexed_once_after_it() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    store.put((1..=50).map(|n| record("guest", n)).collect()).await.unwrap();
    until(&store, "", 50, SLOW).await;
    let index = directory.path().join("index");
    let before = tempfile::tempdir().unwrap();
    copy(&index, before.path());
    store.put((51..=90).map(|n| record("guest", n)).collect()).await.unwrap();
    // Closed before the next commit, which is like being killed there: nothing is committed on the way out.
    drop(store);
    let store = open(directory.path());
    until(&store, "", 90, SLOW).await;
    drop(store);
    // An index that lags, as one that another process left.
    std::fs::remove_dir_all(&index).unwrap();
    std::fs::rename(before.path(), &index).unwrap();
    let store = open(directory.path());
    until(&store, "", 90, SLOW).await;
    until(&store, "reading70", 1, SLOW).await;
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_is_gone_damaged_or_of_another_version_is_built_anew() {
    let directory = tempfile::tempdir().unwrap();
    let index = directory.path().join("index");
    let store = open(directory.path());
    store.put((1..=20).map(|n| record("guest", n)).collect()).await.unwrap();
    until(&store, "", 20, SLOW).await;
    drop(store);
    let damage: [(&str, &dyn Fn()); 5] = [
        ("removed", &|| std::fs::remove_dir_all(&index).unwrap()),
        ("cut short", &|| std::fs::write(index.join("meta.json"), "{\"seg").unwrap()),
        ("of another version", &|| {
            let path = index.join("meta.json");
            let meta = std::fs::read_to_string(&path).unwrap();
            let other = meta.replace("\\\"version\\\":1", "\\\"version\\\":0");
            assert_ne!(meta, other);
            std::fs::write(&path, other).unwrap();
        }),
        ("damaged before the machine was started", &|| {
            std::fs::write(index.join("boot"), "another").unwrap();
            let is_column = |path: &std::path::PathBuf| path.extension().is_some_and(|e| e == "fast");
            let file = std::fs::read_dir(&index)
                .unwrap()
                .map(|entry| entry.unwrap().path())
                .find(is_column)
                .unwrap();
            let mut bytes = std::fs::read(&file).unwrap();
            bytes[3] ^= 0xff;
            std::fs::write(&file, bytes).unwrap();
        }),
        ("of other records", &|| {
            let other = tempfile::tempdir().unwrap();
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.block_on(async {
                let store = open(other.path());
                store.put((1..=20).map(|n| record("other", n)).collect()).await.unwrap();
                let begun = Instant::now();
                while search(&store, "other", "").await.total < 20 {
                    assert!(begun.elapsed() < SLOW);
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            });
            std::fs::remove_dir_all(&index).unwrap();
            std::fs::create_dir(&index).unwrap();
            copy(&other.path().join("index"), &index);
        }),
    ];
    for (what, damage) in damage {
        tokio::task::block_in_place(damage);
        let store = open(directory.path());
        until(&store, "", 20, SLOW).await;
        until(&store, "reading7 AND guest", 1, SLOW).await;
        eprintln!("{what}: built anew");
    }
}

#[tokio::test]
async fn an_index_that_is_removed_under_the_hub_comes_back() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    store.put((1..=20).map(|n| record("guest", n)).collect()).await.unwrap();
    until(&store, "", 20, SLOW).await;
    std::fs::remove_dir_all(directory.path().join("index")).unwrap();
    store.put((21..=30).map(|n| record("guest", n)).collect()).await.unwrap();
    until(&store, "", 30, SLOW).await;
}

#[tokio::test]
async fn records_that_retention_dropped_are_not_counted() {
    let directory = tempfile::tempdir().unwrap();
    let options =
        Options { disk_reserve_bytes: 0, records_age: Duration::from_millis(500), ..Options::default() };
    let store = Embedded::open(directory.path(), options.clone()).unwrap();
    store.put((1..=1000).map(|n| record("guest", n)).collect()).await.unwrap();
    until(&store, "", 1000, SLOW).await;
    assert_eq!(store.truncate(Timestamp::from_millis(901)).await.unwrap(), 400);
    // Gone from the answers at once, and from the count when the follower looks.
    assert!(search(&store, "guest", "duration:<=10").await.hits.is_empty());
    drop(store);
    let store = Embedded::open(directory.path(), options).unwrap();
    until(&store, "", 600, SLOW).await;
}
