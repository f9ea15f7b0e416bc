//! Actions that do harm end in clear records, within bounds, and what runs beside them goes on.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use triggerfish_invoker::{ContainerFactory, Invoker, Job, OciFactory, Options, Outcome, Runnable};
use triggerfish_model::{
    ActivationId, Clock, Code, Json, JsonObject, Limits, Revision, StatusCode, SystemClock, Version,
};

const ENDLESS: &str = "function main() { while (true); }";
const HUNGRY: &str = "def main(a):\n    x = []\n    while True: x.append('x' * (1 << 20))\n";
const FORKING: &str = "import os\ndef main(a):\n    while True: os.fork()\n";
const TALKATIVE: &str = "
import os
def main(a):
    lines = (b'x' * 1023 + b'\\n') * 1024
    for _ in range(1024):
        left = memoryview(lines)
        while left: left = left[os.write(1, left):]
    return {}
";
const HEALTHY: &str = "def main(a):\n    print('line', a['n'])\n    return a\n";
/// Memory that this process may grow by meanwhile; the talkative one writes a gigabyte.
const GROWTH_KB_MAX: u64 = 100 << 10;

fn invoker(directory: &std::path::Path) -> Arc<Invoker> {
    let factory = OciFactory::new(directory.to_owned(), "http://127.0.0.1:1").unwrap();
    invoker_of(Arc::new(factory), directory)
}

fn invoker_of(factory: Arc<dyn ContainerFactory>, directory: &std::path::Path) -> Arc<Invoker> {
    let options = Options {
        directory: directory.to_owned(),
        memory_mb: 4096,
        pause_after: Duration::from_secs(10),
        remove_after: Duration::from_secs(600),
        prewarm: vec![],
        result_bytes_max: 1 << 20,
        api_host: "http://127.0.0.1:1".into(),
    };
    Invoker::new(factory, options, Arc::new(SystemClock))
}

fn job(kind: &str, name: &str, code: &str, timeout_ms: u32, arguments: &str) -> Job {
    Job {
        activation: ActivationId::from_bytes([1; 16]),
        namespace: "guest".parse().unwrap(),
        action: Arc::new(Runnable {
            id: format!("guest/{name}").parse().unwrap(),
            version: Version::default(),
            revision: Revision(1),
            kind: kind.into(),
            code: Code { text: code.into(), binary: false },
            main: None,
            limits: Limits { timeout_ms, logs_mb: 1, ..Limits::default() },
        }),
        arguments: Json::parse(arguments).unwrap(),
        environment: JsonObject::empty(),
        api_key: None,
        transaction: "t".into(),
        accepted: SystemClock.now(),
    }
}

fn rss_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn error(outcome: &Outcome) -> String {
    outcome.response.result.to_value()["error"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn poison_ends_in_clear_records_beside_others() {
    let directory = tempfile::tempdir().unwrap();
    let invoker = invoker(directory.path());
    let before = rss_kb();
    let poison = tokio::spawn({
        let invoker = invoker.clone();
        async move {
            tokio::join!(
                invoker.run(job("nodejs:20", "endless", ENDLESS, 1000, "{}"), || {}),
                invoker.run(job("python:3", "hungry", HUNGRY, 60_000, "{}"), || {}),
                invoker.run(job("python:3", "forking", FORKING, 60_000, "{}"), || {}),
                invoker.run(job("python:3", "talkative", TALKATIVE, 300_000, "{}"), || {}),
            )
        }
    });
    let (mut runs, mut grown, begun) = (0, 0, Instant::now());
    while !poison.is_finished() || runs < 10 {
        let healthy = job("python:3", "healthy", HEALTHY, 60_000, &format!("{{\"n\":{runs}}}"));
        let outcome = invoker.run(healthy, || {}).await;
        assert_eq!(outcome.response.status, StatusCode::Success, "{outcome:?}");
        assert!(outcome.logs[0].ends_with(&format!("stdout: line {runs}")), "{outcome:?}");
        grown = grown.max(rss_kb().saturating_sub(before));
        runs += 1;
    }
    let (endless, hungry, forking, talkative) = poison.await.unwrap();
    println!("{runs} healthy runs beside them in {:?}; memory grew by {grown} kB", begun.elapsed());
    assert!(grown < GROWTH_KB_MAX, "{grown} kB");

    assert!(endless.timed_out);
    assert_eq!(endless.response.status, StatusCode::DeveloperError);
    assert_eq!(error(&endless), "The action exceeded its time limits of 1000 milliseconds.");
    assert_eq!(hungry.response.status, StatusCode::DeveloperError);
    assert_eq!(error(&hungry), "The action exhausted its memory and was aborted.");
    assert_eq!(forking.response.status, StatusCode::ApplicationError, "{forking:?}");
    assert!(error(&forking).contains("Resource temporarily unavailable"), "{forking:?}");
    assert_eq!(talkative.response.status, StatusCode::Success, "{:?}", talkative.response);
    assert!(talkative.logs.last().unwrap().contains("Logs were truncated"));
    assert!(talkative.logs.iter().map(String::len).sum::<usize>() <= (1 << 20) + 200);
    invoker.shutdown(Duration::from_secs(10)).await;
}

/// The status that a killed process has says nothing of memory: an action may end with any.
#[tokio::test]
async fn an_action_that_ends_itself_is_not_out_of_memory() {
    let directory = tempfile::tempdir().unwrap();
    let invoker = invoker(directory.path());
    let code = "import os\ndef main(a):\n    os._exit(137)\n";
    let outcome = invoker.run(job("python:3", "quits", code, 60_000, "{}"), || {}).await;
    assert_eq!(error(&outcome), "The action did not produce a valid response and exited unexpectedly.");
    invoker.shutdown(Duration::from_secs(10)).await;
}

/// A warm container that died while nobody used it costs its next run nothing but another start.
#[tokio::test]
async fn a_container_that_dies_idle_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let invoker = invoker(directory.path());
    let code = "
import os, threading
def main(a):
    if a['n'] == 0: threading.Timer(0.05, lambda: os._exit(1)).start()
    return {'pid': os.getpid(), 'n': a['n']}
";
    let begun = Instant::now();
    let first = invoker.run(job("python:3", "dies", code, 60_000, r#"{"n":0}"#), || {}).await;
    assert_eq!(first.response.status, StatusCode::Success, "{first:?}");
    // The OCI runtime forgets a container as soon as its process has ended.
    let state = directory.path().join("state");
    while std::fs::read_dir(&state).unwrap().next().is_some() {
        assert!(begun.elapsed() < Duration::from_secs(30), "it does not die");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let second = invoker.run(job("python:3", "dies", code, 60_000, r#"{"n":1}"#), || {}).await;
    assert_eq!(second.response.status, StatusCode::Success, "{second:?}");
    assert!(second.init_ms.is_some(), "in another container");
    invoker.shutdown(Duration::from_secs(10)).await;
}

/// Where no container can be made, nothing runs, and the reason is told.
#[tokio::test]
async fn without_containers_nothing_runs() {
    let directory = tempfile::tempdir().unwrap();
    let factory = OciFactory::new(directory.path().to_owned(), "http://127.0.0.1:1").unwrap();
    // What a runtime keeps its state in cannot be made: a file is in its place.
    factory.check().await.unwrap();
    std::fs::remove_dir(directory.path().join("state")).unwrap();
    std::fs::write(directory.path().join("state"), "").unwrap();
    let refused = factory.check().await.unwrap_err().to_string();
    assert!(refused.contains("did not start") && refused.contains("state"), "{refused}");
    let invoker = invoker_of(Arc::new(factory), directory.path());
    let outcome = invoker.run(job("python:3", "a", HEALTHY, 60_000, r#"{"n":1}"#), || {}).await;
    assert_eq!(outcome.response.status, StatusCode::SystemError);
    assert_eq!(error(&outcome), "Failed to provision resources to run the action.");
    invoker.shutdown(Duration::from_secs(10)).await;
}
