//! Each rule of the pool on its own.

use std::sync::Arc;
use std::time::Duration;

use triggerfish_model::{Revision, Timestamp};

use super::*;

fn settings(memory_mb: u32) -> Settings {
    Settings {
        memory_mb,
        pause_after: Duration::from_secs(10),
        remove_after: Duration::from_secs(600),
        prewarm: Vec::new(),
        starting_max: 4,
        waiting_max: 64,
    }
}

fn demand(action: &str) -> Demand {
    let namespace: Namespace = "guest".parse().unwrap();
    let key = Key { action: namespace.with(action.parse().unwrap()), namespace, revision: Revision(1) };
    Demand { key: Arc::new(key), kind: "python:3".into(), memory_mb: 256, concurrency: 1, instances: None }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(seconds * 1000)
}

fn run(job: u64, container: u64, start: Start, resume: bool) -> Effect {
    Effect::Run { job: JobId(job), container: ContainerId(container), start, resume }
}

/// Submits and follows through the making, where one is ordered.
fn submit(pool: &mut Pool, job: u64, action: &str, now: Timestamp) -> Vec<Effect> {
    let effects = pool.step(Input::Submit(JobId(job), demand(action)), now);
    match effects.as_slice() {
        [Effect::Create { container, .. }] => pool.step(Input::Created(*container), now),
        _ => effects,
    }
}

fn finish(pool: &mut Pool, container: u64, now: Timestamp) -> Vec<Effect> {
    pool.step(Input::Finished { container: ContainerId(container), reuse: true }, now)
}

#[test]
fn a_warm_container_is_used_again_paused_resumed_and_removed() {
    let mut pool = Pool::new(settings(1024));
    assert_eq!(submit(&mut pool, 1, "a", at(0)), [run(1, 0, Start::Cold, false)]);
    assert_eq!(finish(&mut pool, 0, at(1)), []);
    assert_eq!(submit(&mut pool, 2, "a", at(2)), [run(2, 0, Start::Warm, false)]);
    finish(&mut pool, 0, at(3));
    assert_eq!(pool.next_tick(), Some(at(13)));
    assert_eq!(pool.step(Input::Tick, at(13)), [Effect::Pause(ContainerId(0))]);
    pool.step(Input::Paused { container: ContainerId(0), ok: true }, at(13));
    assert_eq!(submit(&mut pool, 3, "a", at(14)), [run(3, 0, Start::Warm, true)]);
    finish(&mut pool, 0, at(15));
    pool.step(Input::Tick, at(25));
    pool.step(Input::Paused { container: ContainerId(0), ok: true }, at(25));
    assert_eq!(pool.step(Input::Tick, at(625)), [Effect::Destroy(ContainerId(0))]);
    assert_eq!(pool.census().memory_used_mb, 256);
    pool.step(Input::Destroyed(ContainerId(0)), at(626));
    assert_eq!(pool.census(), Census::default());
}

#[test]
fn a_container_is_never_shared_between_actions_and_an_idle_one_makes_room() {
    let mut pool = Pool::new(settings(256));
    submit(&mut pool, 1, "a", at(0));
    finish(&mut pool, 0, at(1));
    assert_eq!(submit(&mut pool, 2, "b", at(2)), [Effect::Destroy(ContainerId(0))]);
    let effects = pool.step(Input::Destroyed(ContainerId(0)), at(2));
    assert!(matches!(effects.as_slice(), [Effect::Create { container: ContainerId(1), .. }]), "{effects:?}");
    assert_eq!(pool.step(Input::Created(ContainerId(1)), at(3)), [run(2, 1, Start::Cold, false)]);
}

#[test]
fn an_action_leaves_the_last_quarter_to_others() {
    let mut pool = Pool::new(settings(1024));
    for job in 0..3 {
        assert_eq!(submit(&mut pool, job, "a", at(0)), [run(job, job, Start::Cold, false)]);
    }
    assert_eq!(submit(&mut pool, 3, "a", at(0)), []);
    assert_eq!(submit(&mut pool, 4, "b", at(0)), [run(4, 3, Start::Cold, false)]);
}

#[test]
fn a_busy_action_gives_a_container_up_for_one_that_has_none() {
    let mut pool = Pool::new(settings(512));
    submit(&mut pool, 1, "a", at(0));
    submit(&mut pool, 2, "b", at(0));
    submit(&mut pool, 3, "a", at(0));
    submit(&mut pool, 4, "c", at(0));
    assert_eq!(finish(&mut pool, 0, at(1)), [run(3, 0, Start::Warm, false)], "held for less than HELD_MIN");
    submit(&mut pool, 5, "a", at(1));
    assert_eq!(finish(&mut pool, 0, at(3)), [Effect::Destroy(ContainerId(0))]);
    let effects = pool.step(Input::Destroyed(ContainerId(0)), at(3));
    assert!(matches!(effects.as_slice(), [Effect::Create { .. }]), "{effects:?}");
    assert_eq!(pool.step(Input::Created(ContainerId(2)), at(3)), [run(4, 2, Start::Cold, false)]);
}

#[test]
fn a_factory_that_fails_three_times_refuses_those_who_wait() {
    let mut pool = Pool::new(settings(512));
    pool.step(Input::Submit(JobId(1), demand("a")), at(0));
    let failed = |container| Input::CreateFailed { container: ContainerId(container), permanent: false };
    assert_eq!(pool.step(failed(0), at(0)), []);
    assert!(matches!(pool.step(Input::Tick, at(1)).as_slice(), [Effect::Create { .. }]));
    assert_eq!(pool.next_tick(), None, "a retry that has begun is not due again");
    pool.step(failed(1), at(1));
    assert!(matches!(pool.step(Input::Tick, at(2)).as_slice(), [Effect::Create { .. }]));
    assert_eq!(pool.step(failed(2), at(2)), [Effect::Refuse(JobId(1), Refusal::NotProvisioned)]);
    assert_eq!(pool.census(), Census::default());
}

#[test]
fn a_bounced_job_runs_elsewhere_and_closing_ends_all() {
    let mut pool = Pool::new(settings(512));
    submit(&mut pool, 1, "a", at(0));
    let bounced = Input::Bounced { container: ContainerId(0), job: JobId(1), demand: demand("a") };
    let effects = pool.step(bounced, at(1));
    assert!(matches!(effects.as_slice(), [Effect::Destroy(_), Effect::Create { .. }]), "{effects:?}");
    assert_eq!(pool.step(Input::Created(ContainerId(1)), at(1)), [run(1, 1, Start::Cold, false)]);
    assert_eq!(pool.step(Input::Close, at(2)), []);
    assert_eq!(submit(&mut pool, 2, "a", at(2)), [Effect::Refuse(JobId(2), Refusal::Closed)]);
    assert_eq!(finish(&mut pool, 1, at(3)), [Effect::Destroy(ContainerId(1))]);
}
