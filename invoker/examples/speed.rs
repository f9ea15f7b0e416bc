//! Measures real containers: cold, prewarmed and warm runs, for Python and Node.js.
//!
//! `cargo run --release -p triggerfish-invoker --example speed [seconds] [rounds]`: `seconds` of load per warm figure
//! (default 3), `rounds` of each start (default 10). Figures are of the invoker alone: no log, no REST API. As root.
#![allow(clippy::print_stdout, reason = "a harness prints its figures")]

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use triggerfish_invoker::{ContainerFactory, Invoker, Job, OciFactory, Options, Runnable};
use triggerfish_model::{
    ActivationId, Clock, Code, Json, JsonObject, Limits, Revision, StatusCode, SystemClock, Version,
};

const KINDS: [(&str, &str); 2] = [
    ("nodejs:20", "function main(args) { return args; }"),
    ("python:3", "def main(args):\n    return args\n"),
];

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1).map(|arg| arg.parse::<u64>());
    let seconds = args.next().transpose().context("seconds")?.unwrap_or(3);
    let rounds = args.next().transpose().context("rounds")?.unwrap_or(10);
    conditions();
    for (kind, code) in KINDS {
        let bench = Bench::new(kind, code)?;
        starts("cold", &bench, 0, rounds).await?;
        starts("prewarmed", &bench, 1, rounds).await?;
        resumed(&bench, rounds).await?;
        for concurrency in [1, 8] {
            warm(&bench, concurrency, Duration::from_secs(seconds)).await?;
        }
    }
    Ok(())
}

fn conditions() {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    println!(
        "cores {cores}, kernel {}, load before {}",
        read("/proc/sys/kernel/osrelease"),
        read("/proc/loadavg").split(' ').take(3).collect::<Vec<_>>().join(" ")
    );
    if cfg!(debug_assertions) {
        println!("DEBUG BUILD: these are no figures to quote");
    }
}

struct Bench {
    kind: &'static str,
    code: &'static str,
    directory: tempfile::TempDir,
    actions: AtomicU64,
}

impl Bench {
    fn new(kind: &'static str, code: &'static str) -> anyhow::Result<Self> {
        Ok(Self { kind, code, directory: tempfile::tempdir()?, actions: AtomicU64::new(0) })
    }

    async fn invoker(&self, prewarm: usize, pause_after: Duration) -> anyhow::Result<Arc<Invoker>> {
        let options = Options {
            directory: self.directory.path().to_owned(),
            memory_mb: 4096,
            pause_after,
            remove_after: Duration::from_secs(600),
            prewarm: vec![(self.kind.into(), 256, prewarm)],
            result_bytes_max: 1 << 20,
            api_host: "http://127.0.0.1:3233".into(),
        };
        let factory = OciFactory::new(options.directory.clone(), &options.api_host)?;
        factory.check().await?;
        factory.sweep().await?;
        Ok(Invoker::new(Arc::new(factory), options, Arc::new(SystemClock)))
    }

    /// An action that no container has seen.
    fn action(&self) -> anyhow::Result<Arc<Runnable>> {
        let number = self.actions.fetch_add(1, Ordering::Relaxed);
        Ok(Arc::new(Runnable {
            id: format!("guest/a{number}").parse()?,
            version: Version::default(),
            revision: Revision(number),
            kind: self.kind.into(),
            code: Code { text: self.code.into(), binary: false },
            main: None,
            limits: Limits::default(),
        }))
    }
}

async fn once(invoker: &Arc<Invoker>, action: &Arc<Runnable>) -> anyhow::Result<Duration> {
    let job = Job {
        activation: ActivationId::from_bytes([1; 16]),
        namespace: "guest".parse()?,
        action: action.clone(),
        arguments: Json::parse(r#"{"n":1}"#)?,
        environment: JsonObject::empty(),
        api_key: None,
        transaction: "t".into(),
        accepted: SystemClock.now(),
    };
    let begun = Instant::now();
    let outcome = invoker.run(job, || {}).await;
    let taken = begun.elapsed();
    ensure!(
        outcome.response.status == StatusCode::Success && outcome.response.result.as_str() == r#"{"n":1}"#,
        "the action answered {outcome:?}"
    );
    Ok(taken)
}

/// First results of new actions.
async fn starts(what: &str, bench: &Bench, prewarm: usize, rounds: u64) -> anyhow::Result<()> {
    let mut taken = Vec::new();
    for _ in 0..rounds {
        let invoker = bench.invoker(prewarm, Duration::from_secs(10)).await?;
        until(|| invoker.census().prewarmed == prewarm).await?;
        // Stock that has just been made is still loading what it can before its first request.
        tokio::time::sleep(Duration::from_millis(if prewarm > 0 { 300 } else { 0 })).await;
        taken.push(once(&invoker, &bench.action()?).await?);
        invoker.shutdown(Duration::from_secs(10)).await;
    }
    report(bench.kind, what, &mut taken);
    Ok(())
}

/// Runs of containers that were paused.
async fn resumed(bench: &Bench, rounds: u64) -> anyhow::Result<()> {
    let invoker = bench.invoker(0, Duration::from_millis(20)).await?;
    let action = bench.action()?;
    once(&invoker, &action).await?;
    let mut taken = Vec::new();
    for _ in 0..rounds {
        until(|| invoker.census().paused == 1).await?;
        tokio::time::sleep(Duration::from_millis(20)).await;
        taken.push(once(&invoker, &action).await?);
    }
    report(bench.kind, "resumed", &mut taken);
    invoker.shutdown(Duration::from_secs(10)).await;
    Ok(())
}

async fn warm(bench: &Bench, concurrency: usize, time: Duration) -> anyhow::Result<()> {
    let invoker = bench.invoker(0, Duration::from_secs(10)).await?;
    let action = bench.action()?;
    load(&invoker, &action, concurrency, Duration::from_secs(1)).await?;
    let (hub, children) = (cpu(), children_cpu());
    let begun = Instant::now();
    let mut taken = load(&invoker, &action, concurrency, time).await?;
    let elapsed = begun.elapsed();
    let runs = taken.len() as f64;
    let (hub, children) = (cpu() - hub, children_cpu().saturating_sub(children));
    report(bench.kind, &format!("warm, concurrency {concurrency}"), &mut taken);
    println!(
        "{:>10}  {:<22} {:>8.0} runs/s; CPU per run: hub {:.0} us, containers {:.0} us; containers {}",
        bench.kind,
        "",
        runs / elapsed.as_secs_f64(),
        hub.as_secs_f64() * 1e6 / runs,
        children.as_secs_f64() * 1e6 / runs,
        invoker.census().ready + invoker.census().running,
    );
    invoker.shutdown(Duration::from_secs(10)).await;
    Ok(())
}

async fn load(
    invoker: &Arc<Invoker>,
    action: &Arc<Runnable>,
    concurrency: usize,
    time: Duration,
) -> anyhow::Result<Vec<Duration>> {
    let end = Instant::now() + time;
    let workers = (0..concurrency).map(|_| {
        let (invoker, action) = (invoker.clone(), action.clone());
        tokio::spawn(async move {
            let mut taken = Vec::new();
            while Instant::now() < end {
                taken.push(once(&invoker, &action).await?);
            }
            Ok::<_, anyhow::Error>(taken)
        })
    });
    let mut taken = Vec::new();
    for worker in futures::future::join_all(workers).await {
        taken.extend(worker??);
    }
    Ok(taken)
}

async fn until(condition: impl Fn() -> bool) -> anyhow::Result<()> {
    let end = Instant::now() + Duration::from_secs(30);
    while !condition() {
        ensure!(Instant::now() < end, "waited too long");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}

fn report(kind: &str, what: &str, taken: &mut [Duration]) {
    taken.sort_unstable();
    let at = |permille: usize| {
        let index = taken.len().saturating_sub(1) * permille / 1000;
        taken.get(index).map_or(0.0, |taken| taken.as_secs_f64() * 1e3)
    };
    println!(
        "{kind:>10}  {what:<22} min {:>7.3}  p50 {:>7.3}  p99 {:>7.3} ms  ({} runs)",
        at(0),
        at(500),
        at(990),
        taken.len()
    );
}

/// Processor time of this process.
fn cpu() -> Duration {
    let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) else { return Duration::ZERO };
    let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Duration::from_micros(u64::try_from(micros).unwrap_or(0))
}

/// Processor time of all processes in containers' control groups, whatever hub they belong to.
fn children_cpu() -> Duration {
    let mut total = Duration::ZERO;
    for root in ["/sys/fs/cgroup/cpuacct", "/sys/fs/cgroup"] {
        for group in fs::read_dir(root).into_iter().flatten().flatten() {
            if !group.file_name().to_string_lossy().starts_with("triggerfish-") {
                continue;
            }
            let version_1 = fs::read_to_string(group.path().join("cpuacct.usage"))
                .ok()
                .and_then(|text| text.trim().parse().ok())
                .map(Duration::from_nanos);
            let version_2 = fs::read_to_string(group.path().join("cpu.stat"))
                .ok()
                .and_then(|text| text.lines().find_map(|line| line.strip_prefix("usage_usec ")?.parse().ok()))
                .map(Duration::from_micros);
            total += version_1.or(version_2).unwrap_or_default();
        }
    }
    total
}
