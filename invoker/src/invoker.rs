//! The driver of the pool: carries out what the machine decides, and runs jobs in the containers that they get.
//!
//! Nothing here survives a crash: jobs are durable in the hub's log, and containers of a dead hub are swept.

mod run;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use triggerfish_model::Clock;

use crate::pool::{Census, ContainerId, Demand, Effect, Input, JobId, Key, Pool, Refusal, Settings, Start};
use crate::{Container, ContainerError, ContainerFactory, ContainerSpec, Job, Options, Outcome};

/// Containers made at once; more would only slow each other down.
const STARTING_MAX: usize = 4;
/// Jobs that wait in the pool; the hub keeps the rest.
const WAITING_MAX: usize = 1024;
/// How often a run that its container did not begin goes to another one: often enough for all idle ones to have died,
/// and an end for a runtime that sends every run away.
const MOVES_MAX: u32 = 16;
/// The longest wait for the next tick; clocks are set.
const TICK_MAX: Duration = Duration::from_secs(5);

/// Runs jobs in containers.
pub struct Invoker {
    factory: Arc<dyn ContainerFactory>,
    options: Options,
    clock: Arc<dyn Clock>,
    core: Mutex<Core>,
    /// A job that was refused as one too many may try again.
    room: Notify,
    /// The pool's next tick may have moved.
    ticks: Notify,
    /// The last container is on its way out.
    emptied: Notify,
    tasks: TaskTracker,
    stopping: CancellationToken,
}

struct Core {
    pool: Pool,
    containers: HashMap<ContainerId, Arc<dyn Container>>,
    /// Jobs that have no container yet.
    jobs: HashMap<JobId, (oneshot::Sender<Grant>, Demand)>,
    next_job: u64,
    next_name: u64,
    /// Why the last container of a kind could not be made.
    failures: HashMap<Arc<str>, ContainerError>,
}

/// What a waiting job gets.
enum Grant {
    Run { id: ContainerId, container: Arc<dyn Container>, start: Start },
    Refused(Refusal, Option<ContainerError>),
}

impl Invoker {
    /// An invoker over `factory`. It makes its prewarmed containers at once; the caller has swept.
    pub fn new(factory: Arc<dyn ContainerFactory>, options: Options, clock: Arc<dyn Clock>) -> Arc<Self> {
        let settings = Settings {
            memory_mb: options.memory_mb,
            pause_after: options.pause_after,
            remove_after: options.remove_after,
            prewarm: options
                .prewarm
                .iter()
                .map(|(kind, mb, count)| (kind.as_str().into(), *mb, *count))
                .collect(),
            starting_max: STARTING_MAX,
            waiting_max: WAITING_MAX,
        };
        let core = Core {
            pool: Pool::new(settings),
            containers: HashMap::new(),
            jobs: HashMap::new(),
            next_job: 0,
            next_name: 0,
            failures: HashMap::new(),
        };
        let invoker = Arc::new(Self {
            factory,
            options,
            clock,
            core: Mutex::new(core),
            room: Notify::new(),
            ticks: Notify::new(),
            emptied: Notify::new(),
            tasks: TaskTracker::new(),
            stopping: CancellationToken::new(),
        });
        let ticker = invoker.clone();
        invoker.tasks.spawn(async move { ticker.tick().await });
        invoker.step(Input::Tick);
        invoker
    }

    /// Runs a job to its end, and calls `started` when it has its container, before anything of it runs; failures of
    /// the action are outcomes. To be polled to its end: a run that is dropped keeps its container busy for ever.
    pub async fn run(self: &Arc<Self>, job: Job, started: impl FnOnce() + Send) -> Outcome {
        let demand = Demand {
            key: Arc::new(Key {
                namespace: job.namespace.clone(),
                action: job.action.id.clone(),
                revision: job.action.revision,
            }),
            kind: job.action.kind.as_str().into(),
            memory_mb: job.action.limits.memory_mb,
            concurrency: job.action.limits.concurrency.max(1),
            instances: job.action.limits.instances,
        };
        let mut started = Some(started);
        let mut left = None;
        let mut moves_left = MOVES_MAX;
        loop {
            let room = self.room.notified();
            match self.ask(demand.clone(), left.take()).await {
                Ok(Grant::Run { id, container, start }) => {
                    if let Some(started) = started.take() {
                        started();
                    }
                    match self.execute(&job, id, &*container, start, moves_left > 0).await {
                        Some(outcome) => return outcome,
                        None => left = Some(id),
                    }
                    moves_left -= 1;
                }
                Ok(Grant::Refused(Refusal::Full, _)) => room.await,
                Ok(Grant::Refused(reason, error)) => return self.refused(&job, reason, error.as_ref()),
                Err(_) => return self.refused(&job, Refusal::Closed, None),
            }
        }
    }

    /// What the pool holds.
    pub fn census(&self) -> Census {
        self.core.lock().pool.census()
    }

    /// Ends all containers: idle ones now, busy ones after their runs or when `deadline` has passed.
    pub async fn shutdown(self: &Arc<Self>, deadline: Duration) {
        self.stopping.cancel();
        self.step(Input::Close);
        self.tasks.close();
        let ended = async {
            loop {
                let emptied = self.emptied.notified();
                if self.core.lock().containers.is_empty() {
                    break;
                }
                emptied.await;
            }
            // Those that are still being made are ended by the tasks that make them.
            self.tasks.wait().await;
        };
        if tokio::time::timeout(deadline, ended).await.is_err() {
            let left: Vec<_> = self.core.lock().containers.drain().map(|(_, container)| container).collect();
            tracing::warn!(
                containers = left.len(),
                "busy containers were ended: their runs go on after the restart"
            );
            futures::future::join_all(left.iter().map(|container| container.destroy())).await;
        }
    }

    /// Submits a job, or puts one first in line that `left` a container, which is of no more use. Its grant comes
    /// through the receiver.
    fn ask(self: &Arc<Self>, demand: Demand, left: Option<ContainerId>) -> oneshot::Receiver<Grant> {
        let (sender, receiver) = oneshot::channel();
        let mut core = self.core.lock();
        let id = JobId(core.next_job);
        core.next_job += 1;
        core.jobs.insert(id, (sender, demand.clone()));
        let input = match left {
            Some(container) => Input::Bounced { container, job: id, demand },
            None => Input::Submit(id, demand),
        };
        let effects = core.pool.step(input, self.clock.now());
        self.perform(&mut core, effects);
        receiver
    }

    /// Tells the machine what happened, and carries out what it answers.
    fn step(self: &Arc<Self>, input: Input) {
        let mut core = self.core.lock();
        let effects = core.pool.step(input, self.clock.now());
        self.perform(&mut core, effects);
    }

    fn perform(self: &Arc<Self>, core: &mut Core, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Run { job, container, start, resume } => {
                    self.grant(core, job, container, start, resume)
                }
                Effect::Create { container, kind, memory_mb, .. } => {
                    self.create(core, container, kind, memory_mb)
                }
                Effect::Pause(id) => {
                    let Some(container) = core.containers.get(&id).cloned() else { continue };
                    let invoker = self.clone();
                    self.tasks.spawn(async move {
                        let ok = container.pause().await.is_ok();
                        invoker.step(Input::Paused { container: id, ok });
                    });
                }
                Effect::Destroy(id) => {
                    let Some(container) = core.containers.remove(&id) else { continue };
                    if core.containers.is_empty() {
                        self.emptied.notify_waiters();
                    }
                    let invoker = self.clone();
                    self.tasks.spawn(async move {
                        container.destroy().await;
                        invoker.step(Input::Destroyed(id));
                    });
                }
                Effect::Refuse(job, reason) => {
                    if let Some((sender, demand)) = core.jobs.remove(&job) {
                        let error = core.failures.get(&demand.kind).cloned();
                        // The job's future may have been dropped.
                        let _ = sender.send(Grant::Refused(reason, error));
                    }
                }
                Effect::Room => self.room.notify_waiters(),
            }
        }
        self.ticks.notify_one();
    }

    /// Gives a job its container, resumed where it was paused.
    fn grant(self: &Arc<Self>, core: &mut Core, job: JobId, id: ContainerId, start: Start, resume: bool) {
        let Some(container) = core.containers.get(&id).cloned() else { return };
        if resume {
            let invoker = self.clone();
            self.tasks.spawn(async move {
                let resumed = container.resume().await.is_ok();
                let mut core = invoker.core.lock();
                if resumed {
                    deliver(&mut core, job, Grant::Run { id, container, start });
                } else if let Some((_, demand)) = core.jobs.get(&job) {
                    let input = Input::Bounced { container: id, job, demand: demand.clone() };
                    let effects = core.pool.step(input, invoker.clock.now());
                    invoker.perform(&mut core, effects);
                }
            });
        } else {
            deliver(core, job, Grant::Run { id, container, start });
        }
    }

    fn create(self: &Arc<Self>, core: &mut Core, id: ContainerId, kind: Arc<str>, memory_mb: u32) {
        core.next_name += 1;
        let share = u64::from(memory_mb) * 1000 / u64::from(self.options.memory_mb.max(1));
        let spec = ContainerSpec {
            name: format!("c{}", core.next_name),
            kind: kind.to_string(),
            memory_mb,
            cpu_permille: u32::try_from(share).unwrap_or(1000).clamp(1, 1000),
        };
        let invoker = self.clone();
        self.tasks.spawn(async move {
            let made = invoker.factory.create(&spec).await;
            let mut core = invoker.core.lock();
            let input = match made {
                Ok(container) => {
                    core.failures.remove(&kind);
                    core.containers.insert(id, container);
                    Input::Created(id)
                }
                Err(error) => {
                    tracing::warn!(kind = &*kind, %error, "a container cannot be made");
                    let permanent = matches!(error, ContainerError::Unsupported(_));
                    core.failures.insert(kind, error);
                    Input::CreateFailed { container: id, permanent }
                }
            };
            let effects = core.pool.step(input, invoker.clock.now());
            invoker.perform(&mut core, effects);
        });
    }

    /// Wakes the machine when something of it is due.
    async fn tick(self: Arc<Self>) {
        loop {
            let next = self.core.lock().pool.next_tick();
            let wait = next.map_or(TICK_MAX, |at| at.since(self.clock.now()).min(TICK_MAX));
            tokio::select! {
                () = tokio::time::sleep(wait) => self.step(Input::Tick),
                () = self.ticks.notified() => {}
                () = self.stopping.cancelled() => return,
            }
        }
    }
}

fn deliver(core: &mut Core, job: JobId, grant: Grant) {
    if let Some((sender, _)) = core.jobs.remove(&job) {
        // The job's future may have been dropped; its container then stays busy (see `Invoker::run`).
        let _ = sender.send(grant);
    }
}
