use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use triggerfish_model::{
    ActivationId, Code, Json, JsonObject, Limits, Revision, StatusCode, SystemClock, Version,
};

use super::*;
use crate::{Answer, Call, CapturedLogs, Runnable};

/// Makes containers that answer as the script says, and counts them.
#[derive(Default)]
struct Fake {
    made: AtomicU32,
    alive: Arc<AtomicU32>,
    /// Fails to make the first so many.
    failures: u32,
    resume_fails: bool,
}

struct FakeContainer {
    alive: Arc<AtomicU32>,
    runs: AtomicU32,
    resume_fails: bool,
}

#[async_trait]
impl ContainerFactory for Fake {
    async fn create(&self, spec: &ContainerSpec) -> Result<Arc<dyn Container>, ContainerError> {
        if spec.kind == "blackbox" {
            return Err(ContainerError::Unsupported("blackbox needs Docker".into()));
        }
        if self.made.fetch_add(1, Ordering::SeqCst) < self.failures {
            return Err(ContainerError::Engine("no".into()));
        }
        self.alive.fetch_add(1, Ordering::SeqCst);
        Ok(Arc::new(FakeContainer {
            alive: self.alive.clone(),
            runs: AtomicU32::new(0),
            resume_fails: self.resume_fails,
        }))
    }

    async fn sweep(&self) -> Result<u32, ContainerError> {
        Ok(0)
    }

    async fn check(&self) -> Result<(), ContainerError> {
        Ok(())
    }
}

#[async_trait]
impl Container for FakeContainer {
    async fn call(&self, call: Call, body: Bytes, _: Duration, _: usize) -> Result<Answer, ContainerError> {
        let text = String::from_utf8_lossy(&body).into_owned();
        let body = match call {
            Call::Init => "{\"ok\":true}",
            Call::Run if text.contains("crash") => {
                return Err(ContainerError::Gone { out_of_memory: false, unheard: false });
            }
            Call::Run if text.contains("dead when idle") && self.runs.fetch_add(1, Ordering::SeqCst) > 0 => {
                return Err(ContainerError::Gone { out_of_memory: false, unheard: true });
            }
            Call::Run if text.contains("leaves") => {
                return Ok(Answer { status: 503, body: b"{}".to_vec(), body_bytes: 2 });
            }
            Call::Run => "{\"done\":1}",
        };
        Ok(Answer { status: 200, body: body.into(), body_bytes: body.len() as u64 })
    }

    async fn logs(&self, _: u64, _: Duration) -> CapturedLogs {
        CapturedLogs { lines: vec!["line".into()], truncated: false, complete: true }
    }

    async fn pause(&self) -> Result<(), ContainerError> {
        Ok(())
    }

    async fn resume(&self) -> Result<(), ContainerError> {
        if self.resume_fails { Err(ContainerError::Engine("no".into())) } else { Ok(()) }
    }

    async fn destroy(&self) {
        self.alive.fetch_sub(1, Ordering::SeqCst);
    }
}

fn invoker(factory: Fake) -> Arc<Invoker> {
    let options = Options {
        directory: "/nonexistent".into(),
        memory_mb: 1024,
        pause_after: Duration::from_millis(5),
        remove_after: Duration::from_secs(600),
        prewarm: vec![],
        result_bytes_max: 1000,
        api_host: "http://127.0.0.1".into(),
    };
    Invoker::new(Arc::new(factory), options, Arc::new(SystemClock))
}

fn job(kind: &str, arguments: &str) -> Job {
    Job {
        activation: ActivationId::from_bytes([1; 16]),
        namespace: "guest".parse().unwrap(),
        action: Arc::new(Runnable {
            id: "guest/a".parse().unwrap(),
            version: Version::default(),
            revision: Revision(1),
            kind: kind.into(),
            code: Code { text: "x".into(), binary: false },
            main: None,
            limits: Limits::default(),
        }),
        arguments: Json::parse(arguments).unwrap(),
        environment: JsonObject::empty(),
        api_key: None,
        transaction: "t".into(),
        accepted: SystemClock.now(),
    }
}

#[tokio::test]
async fn a_container_is_made_once_and_used_again() {
    let invoker = invoker(Fake::default());
    let first = invoker.run(job("python:3", "{}"), || {}).await;
    assert_eq!(
        (first.response.status, first.response.result.as_str()),
        (StatusCode::Success, "{\"done\":1}")
    );
    assert!(first.init_ms.is_some());
    let second = invoker.run(job("python:3", "{}"), || {}).await;
    assert!(second.init_ms.is_none(), "warm");
    assert_eq!(second.logs, ["line"]);
    invoker.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_crash_ends_the_container_and_the_next_run_gets_another() {
    let factory = Fake::default();
    let alive = factory.alive.clone();
    let invoker = invoker(factory);
    let crashed = invoker.run(job("python:3", "{\"crash\":1}"), || {}).await;
    assert_eq!(crashed.response.status, StatusCode::DeveloperError);
    assert!(crashed.logs.last().unwrap().contains("did not initialize or run as expected"));
    assert!(invoker.run(job("python:3", "{}"), || {}).await.init_ms.is_some(), "a new one");
    invoker.shutdown(Duration::from_secs(5)).await;
    assert_eq!(alive.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_run_that_its_container_did_not_begin_goes_to_another() {
    let invoker = invoker(Fake::default());
    for _ in 0..3 {
        let mut started = 0;
        let outcome = invoker.run(job("python:3", "{\"x\":\"dead when idle\"}"), || started += 1).await;
        assert_eq!(outcome.response.status, StatusCode::Success);
        assert!(outcome.init_ms.is_some(), "in a new container each time");
        assert_eq!(started, 1);
    }
    let sent_away = invoker.run(job("python:3", "{\"x\":\"leaves\"}"), || {}).await;
    assert_eq!(sent_away.response.status, StatusCode::DeveloperError, "it does not go on for ever");
    invoker.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn what_cannot_be_made_is_told() {
    let invoker = invoker(Fake { failures: 2, ..Fake::default() });
    let blackbox = invoker.run(job("blackbox", "{}"), || {}).await;
    assert_eq!(blackbox.response.result.as_str(), "{\"error\":\"blackbox needs Docker\"}");
    let after_two_failures = invoker.run(job("python:3", "{}"), || {}).await;
    assert_eq!(after_two_failures.response.status, StatusCode::Success);
    invoker.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn many_jobs_share_the_memory_there_is() {
    let invoker = invoker(Fake::default());
    let outcomes =
        futures::future::join_all((0..3000).map(|_| invoker.run(job("python:3", "{}"), || {}))).await;
    assert!(outcomes.iter().all(|outcome| outcome.response.status == StatusCode::Success));
    invoker.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_container_that_does_not_resume_is_replaced() {
    let invoker = invoker(Fake { resume_fails: true, ..Fake::default() });
    invoker.run(job("python:3", "{}"), || {}).await;
    while invoker.census().paused == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let outcome = invoker.run(job("python:3", "{}"), || {}).await;
    assert_eq!(outcome.response.status, StatusCode::Success);
    assert!(outcome.init_ms.is_some());
    invoker.shutdown(Duration::from_secs(5)).await;
}
