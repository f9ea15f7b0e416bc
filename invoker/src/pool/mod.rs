//! The container pool as a pure machine: which job runs in which container, and what is made, paused and ended.
//!
//! [`Pool::step`] takes one [`Input`] and the time and answers [`Effect`]s for a driver to carry out; it does no I/O,
//! never waits and knows no async. Whatever is in memory here is lost in a crash, on purpose: jobs are durable in
//! the hub's log and come again, and containers of a dead hub are swept when the next one starts.
//!
//! A container goes from starting to started (prewarmed stock, not yet initialised), running, ready (idle), pausing,
//! paused and removing; its memory counts from the moment that its making is ordered until it is gone.
//!
//! A job takes, in this order (contract §4.4): a warm container of its [`Key`]; stock of its kind and memory; a new
//! container, if there is memory; the room of the longest idle ones; else it waits with its action.
//!
//! Fairness between actions (invariant 6):
//! - Jobs wait per action. An action that waits and has no container is *owed* one; those come first, in the order in
//!   which they began to wait, and while one is owed nobody else gets another container.
//! - An action that has a container already does not grow into the last quarter of the memory, so one whose runs hang
//!   leaves room for others.
//! - While memory for an owed action is short, a container whose run ends is given up for it instead of taking its own
//!   action's next job: at once if the action has others, else after it was held for [`HELD_MIN`].

mod place;
mod state;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use triggerfish_model::{Namespace, QualifiedName, Revision};

pub use state::Pool;

/// How long an action may keep its only container busy while another action waits with none: long against a cold
/// start, so that many actions on little memory do not spend their time on starting containers.
pub const HELD_MIN: Duration = Duration::from_secs(2);

/// Makings in a row that may fail before the jobs that wait for them are refused.
pub const CREATIONS_FAILED_MAX: u32 = 3;

/// The wait before the second making, doubled for each further one; a busy engine gets time to recover.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// The wait after stock could not be made: nobody waits for it.
const STOCK_RETRY_AFTER: Duration = Duration::from_secs(10);

/// One container within one pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContainerId(pub u64);

/// One job within one pool; the driver chooses it and uses it once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(pub u64);

/// Whom a container serves from its `/init` on: one revision of one action, for one namespace.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// The namespace that the action runs for.
    pub namespace: Namespace,
    /// The action.
    pub action: QualifiedName,
    /// The action's revision.
    pub revision: Revision,
}

/// What a job needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Demand {
    /// Whose containers can run it.
    pub key: Arc<Key>,
    /// The runtime's kind.
    pub kind: Arc<str>,
    /// The container's memory, MB.
    pub memory_mb: u32,
    /// Runs at once in one container; at least 1.
    pub concurrency: u32,
    /// Containers at once; 0 is refused before this.
    pub instances: Option<u32>,
}

/// How a pool is set up.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Memory of all containers, MB.
    pub memory_mb: u32,
    /// An idle container is paused after this time.
    pub pause_after: Duration,
    /// A paused one, and stock that nobody ordered, is ended after this time.
    pub remove_after: Duration,
    /// Stock to keep: kind, memory in MB, how many.
    pub prewarm: Vec<(Arc<str>, u32, usize)>,
    /// Containers being made at once.
    pub starting_max: usize,
    /// Jobs that may wait; one action may use a quarter of this.
    pub waiting_max: usize,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// A job came.
    Submit(JobId, Demand),
    /// A container that was ordered is there.
    Created(ContainerId),
    /// A container that was ordered could not be made; `permanent` if it never can.
    CreateFailed {
        /// The container.
        container: ContainerId,
        /// Whether another try is pointless.
        permanent: bool,
    },
    /// `/init` succeeded while its job goes on: the container can take more at once.
    Initialised(ContainerId),
    /// A job ended; the container may be used again if `reuse`.
    Finished {
        /// The container.
        container: ContainerId,
        /// Whether it is fit for another job.
        reuse: bool,
    },
    /// A job did not reach its container, or was sent away by it; it has not run and waits again, first in line.
    Bounced {
        /// The container, which is of no more use.
        container: ContainerId,
        /// The job.
        job: JobId,
        /// What it needs.
        demand: Demand,
    },
    /// A pause ended.
    Paused {
        /// The container.
        container: ContainerId,
        /// Whether it is paused; else it is of no more use.
        ok: bool,
    },
    /// A container is gone, its memory free.
    Destroyed(ContainerId),
    /// Time passed.
    Tick,
    /// No more jobs: those that wait are sent away, idle containers end now and busy ones after their runs.
    Close,
}

/// What kind of container a job got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Start {
    /// One that ran this action before.
    Warm,
    /// Stock, to be initialised.
    Prewarmed,
    /// One made for this action, to be initialised.
    Cold,
}

/// Why a job is sent away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// As many wait as may; it can be submitted again after [`Effect::Room`].
    Full,
    /// It needs more memory than there is in all.
    TooLarge,
    /// No container could be made for it.
    NotProvisioned,
    /// The pool is closed.
    Closed,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Run a job in a container: resume it first if `resume`, `/init` it unless `start` is warm.
    Run {
        /// The job.
        job: JobId,
        /// The container.
        container: ContainerId,
        /// What kind of start this is.
        start: Start,
        /// Whether it is paused.
        resume: bool,
    },
    /// Make a container.
    Create {
        /// Its id.
        container: ContainerId,
        /// The runtime's kind.
        kind: Arc<str>,
        /// Its memory, MB.
        memory_mb: u32,
        /// Whom it is meant for; stock if nobody.
        owner: Option<Arc<Key>>,
    },
    /// Pause a container.
    Pause(ContainerId),
    /// End a container.
    Destroy(ContainerId),
    /// Send a job away.
    Refuse(JobId, Refusal),
    /// Jobs that were refused as [`Refusal::Full`] may try again.
    Room,
}

/// What a pool holds at the moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Memory of all containers, MB.
    pub memory_used_mb: u32,
    /// Containers being made.
    pub starting: usize,
    /// Stock.
    pub prewarmed: usize,
    /// Containers with a run in them.
    pub running: usize,
    /// Idle ones, ready at once.
    pub ready: usize,
    /// Paused ones, and those on the way there.
    pub paused: usize,
    /// Those on their way out.
    pub removing: usize,
    /// Jobs in containers.
    pub jobs_running: usize,
    /// Jobs that wait for one.
    pub jobs_waiting: usize,
}
