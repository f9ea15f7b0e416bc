//! The seams: what the hub asks of the invoker, and what the invoker asks of a container engine.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use triggerfish_model::{
    ActivationId, Code, Json, JsonObject, Limits, Namespace, QualifiedName, Response, Revision, Timestamp,
    Version,
};

/// An action's code as it is to be run; equal ones (by `id`, `revision` and namespace) share warm containers.
#[derive(Clone, Debug, PartialEq)]
pub struct Runnable {
    /// The real action's name (not a binding's).
    pub id: QualifiedName,
    /// Its version, for the container.
    pub version: Version,
    /// Its revision: a container serves one revision of one action for one namespace.
    pub revision: Revision,
    /// The runtime's kind.
    pub kind: String,
    /// The code.
    pub code: Code,
    /// The function to call.
    pub main: Option<String>,
    /// What a run may use.
    pub limits: Limits,
}

/// One run that the hub wants.
#[derive(Clone, Debug)]
pub struct Job {
    /// The activation.
    pub activation: ActivationId,
    /// The namespace that it runs for.
    pub namespace: Namespace,
    /// What to run.
    pub action: Arc<Runnable>,
    /// The arguments: an object, or within sequences an array.
    pub arguments: Json,
    /// Init parameters: fields that go to the container's environment at `/init`.
    pub environment: JsonObject,
    /// The key that an action with `provide-api-key` gets.
    pub api_key: Option<String>,
    /// The request's transaction id.
    pub transaction: Arc<str>,
    /// When the work was accepted; `waitTime` counts from here.
    pub accepted: Timestamp,
}

/// What became of a [`Job`]; failures of user code are data.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What it answered.
    pub response: Response,
    /// Its log lines, in the record's form (contract §4.3).
    pub logs: Vec<String>,
    /// When `/init` began, or `/run` in a warm container.
    pub start: Timestamp,
    /// When `/run` ended.
    pub end: Timestamp,
    /// Time from acceptance to `start`, in milliseconds.
    pub wait_ms: u64,
    /// Time of `/init`, in milliseconds; absent in a warm container.
    pub init_ms: Option<u64>,
    /// Whether it ran into its time limit.
    pub timed_out: bool,
}

/// What a container must be able to do and may use.
#[derive(Clone, Debug, PartialEq)]
pub struct ContainerSpec {
    /// A name unique to this hub; letters, digits, `_` and `-`.
    pub name: String,
    /// The runtime's kind.
    pub kind: String,
    /// Memory in MB (2^20 bytes).
    pub memory_mb: u32,
    /// CPU weight relative to other containers: its share of the pool's memory, in thousandths.
    pub cpu_permille: u32,
}

/// Why a container could not be made or used.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ContainerError {
    /// The kind can't run with this engine (`blackbox` without Docker); the text says what to do.
    #[error("{0}")]
    Unsupported(String),
    /// The engine failed; what was tried, and its own words.
    #[error("{0}")]
    Engine(String),
    /// The container is gone: its process ended, or its connection broke.
    #[error("the container's process ended{}", if *.out_of_memory { ", out of memory" } else { "" })]
    Gone {
        /// Whether the kernel killed it for its memory.
        out_of_memory: bool,
        /// Whether it was gone before it had read the call, which so was never begun.
        unheard: bool,
    },
    /// It did not answer in time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
}

/// What a container's runtime answered to `/init` or `/run`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body, cut to `body_bytes_max`.
    pub body: Vec<u8>,
    /// How long the whole body was.
    pub body_bytes: u64,
}

/// Which call of the action protocol (contract §4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// `/init`, once per container.
    Init,
    /// `/run`, per activation.
    Run,
}

/// One container: an isolated process that speaks the action protocol.
#[async_trait]
pub trait Container: Send + Sync {
    /// POSTs `body` to `/init` or `/run` and reads the answer, keeping at most `body_bytes_max` of it. After an error
    /// the container is of no more use.
    async fn call(
        &self,
        call: Call,
        body: bytes::Bytes,
        timeout: Duration,
        body_bytes_max: usize,
    ) -> Result<Answer, ContainerError>;

    /// The log lines written since the last call of this: up to the sentinel on both streams, or what is there once
    /// `wait` has passed or the process is gone; at most `bytes_max` of them. Lines come in the record's form.
    async fn logs(&self, bytes_max: u64, wait: Duration) -> CapturedLogs;

    /// Freezes it: it uses no processor until it is resumed.
    async fn pause(&self) -> Result<(), ContainerError>;

    /// Thaws it.
    async fn resume(&self) -> Result<(), ContainerError>;

    /// Ends it and removes all that it left. Also when dropped, but then nobody can wait for it.
    async fn destroy(&self);
}

/// What [`Container::logs`] read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CapturedLogs {
    /// The lines, in the record's form.
    pub lines: Vec<String>,
    /// Lines were left out since `bytes_max` was reached.
    pub truncated: bool,
    /// The sentinel came on both streams.
    pub complete: bool,
}

/// A container engine.
#[async_trait]
pub trait ContainerFactory: Send + Sync + 'static {
    /// Makes a container that waits for its `/init`.
    async fn create(&self, spec: &ContainerSpec) -> Result<Arc<dyn Container>, ContainerError>;

    /// Ends what a dead hub on the same data directory left: containers, cgroups, mounts. Answers how many.
    async fn sweep(&self) -> Result<u32, ContainerError>;

    /// Whether containers can be made here, which is tried; else what is missing and how to get it.
    async fn check(&self) -> Result<(), ContainerError>;
}

/// How the invoker is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where containers' files lie; the hub's alone.
    pub directory: PathBuf,
    /// Memory for all containers, MB; busy, idle and prewarmed ones together.
    pub memory_mb: u32,
    /// An idle container is paused after this time.
    pub pause_after: Duration,
    /// A paused one is ended after this time.
    pub remove_after: Duration,
    /// Prewarmed containers: kind, memory in MB, how many.
    pub prewarm: Vec<(String, u32, usize)>,
    /// The longest result, in bytes; a longer one is cut and reported (contract §4.2).
    pub result_bytes_max: usize,
    /// The API's address, as containers see it (`__OW_API_HOST`).
    pub api_host: String,
}
