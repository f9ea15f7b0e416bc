//! One request on its way through the API: who calls, what with, and its body.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio::time::error::Elapsed;
use triggerfish_model::{JsonError, JsonObject, Namespace};
use triggerfish_store::Identity;

use super::backend::Backend;
use super::problem::Problem;
use super::query::Query;
use super::reply::Result;
use crate::entities::EntityError;
use crate::entities::input::unreadable;

/// The largest body of an invocation or a fire, in bytes (contract §1.9).
pub(super) const PAYLOAD_BYTES_MAX: usize = 1 << 20;
/// The largest body of all: an action's code, in bytes (contract §1.1).
pub(super) const BODY_BYTES_MAX: usize = 50 << 20;
/// How long a client may send nothing of a body that it owes; a network that loses packets takes a few seconds.
const BODY_PAUSE_MAX: Duration = Duration::from_secs(30);
/// How long a whole body may take: the largest one at 2 Mbit/s.
const BODY_TIME_MAX: Duration = Duration::from_secs(240);
/// Memory for the bodies of all requests together, in KiB. A body above [`SMALL_BODY_BYTES`] takes its whole length of it
/// before it is read, and the request is refused for now where there is not that much.
const BODIES_KIB_MAX: usize = 256 << 10;
/// Bodies up to this size are bounded by the number of connections alone.
const SMALL_BODY_BYTES: usize = 64 << 10;
/// When a request whose body found no room may come again.
const BODIES_RETRY: Duration = Duration::from_secs(1);
/// The same for the bodies of webhooks: whoever sends them is not known, and shall not take the room of callers who are.
const HOOK_BODIES_KIB_MAX: usize = 128 << 10;
/// How long a sender to a webhook may send nothing, and how long it may take for all: the senders that we know give up
/// within 10 to 30 s themselves, so whoever takes longer only holds the room of others.
const HOOK_BODY_PAUSE_MAX: Duration = Duration::from_secs(10);
const HOOK_BODY_TIME_MAX: Duration = Duration::from_secs(30);

/// What is read and thrown away of a body that a rejected request still sends, so that its sender sees the answer:
/// whoever still writes when the connection is closed sees that alone. Somewhat more than any body may have.
const DRAINED_BYTES_MAX: usize = 64 << 20;

/// A request of a caller who is known.
pub(super) struct Call<'a> {
    pub(super) backend: &'a dyn Backend,
    pub(super) parts: &'a Parts,
    pub(super) query: Query<'a>,
    pub(super) caller: Identity,
    pub(super) transaction: Arc<str>,
    pub(super) body: &'a mut Incoming,
    pub(super) room: &'a Room,
}

/// What bodies of one kind of sender may take together.
pub(super) struct Room {
    /// Memory, in KiB.
    kib_max: usize,
    left: Arc<Semaphore>,
    /// How long a sender may send nothing.
    pause_max: Duration,
    /// How long a whole body may take.
    time_max: Duration,
}

/// Who waits for how much memory: callers of the API, and senders to webhooks.
pub(super) struct Rooms {
    pub(super) callers: Room,
    pub(super) hooks: Room,
}

impl Default for Rooms {
    fn default() -> Self {
        let room = |kib_max: usize, pause_max: Duration, time_max: Duration| Room {
            kib_max,
            left: Arc::new(Semaphore::new(kib_max)),
            pause_max,
            time_max,
        };
        Self {
            callers: room(BODIES_KIB_MAX, BODY_PAUSE_MAX, BODY_TIME_MAX),
            hooks: room(HOOK_BODIES_KIB_MAX, HOOK_BODY_PAUSE_MAX, HOOK_BODY_TIME_MAX),
        }
    }
}

/// A body that was perhaps read, and the memory that it may take. The mutex is never locked: it makes a body, which is not
/// `Sync`, part of calls that are shared across awaits.
pub(super) struct Incoming {
    body: Mutex<Option<Body>>,
    /// Its share of a [`Room`], held until the request is answered.
    room: Option<OwnedSemaphorePermit>,
}

impl Incoming {
    pub(super) fn new(body: Body) -> Self {
        Self { body: Mutex::new(Some(body)), room: None }
    }

    /// The whole body, where it has `max` bytes at most and `room` has so much left.
    pub(super) async fn read(&mut self, parts: &Parts, max: usize, room: &Room) -> Result<Bytes> {
        let too_large = |is| Problem::from(EntityError::TooLarge { what: "Request", is, max });
        if let Some(length) = content_length(parts)
            && length > max
        {
            return Err(too_large(length));
        }
        self.take_room(content_length(parts).unwrap_or(max), room)?;
        let Some(body) = self.body.get_mut().take() else { return Ok(Bytes::new()) };
        let mut stream = body.into_data_stream();
        let mut whole = BytesMut::new();
        let mut first = None;
        let deadline = Instant::now() + room.time_max;
        while let Some(chunk) =
            next_chunk(&mut stream, deadline, room.pause_max).await.map_err(|_| too_slow(room))?
        {
            let chunk = chunk.map_err(|error| {
                Problem::rejection(
                    StatusCode::BAD_REQUEST,
                    format!("The request's body cannot be read: {error}"),
                )
            })?;
            let length = chunk.len() + whole.len() + first.as_ref().map_or(0, Bytes::len);
            if length > max {
                throw_away(&mut stream).await;
                return Err(too_large(length));
            }
            // Most bodies come in one piece, which is not copied.
            match (first.take(), whole.is_empty()) {
                (None, true) => first = Some(chunk),
                (Some(before), _) => {
                    whole.reserve(content_length(parts).unwrap_or(length).min(max));
                    whole.extend_from_slice(&before);
                    whole.extend_from_slice(&chunk);
                }
                (None, false) => whole.extend_from_slice(&chunk),
            }
        }
        let whole = first.unwrap_or_else(|| whole.freeze());
        if whole.len() <= SMALL_BODY_BYTES {
            self.room = None;
        }
        Ok(whole)
    }

    /// Takes room for a body of `length` bytes, where it is not small.
    fn take_room(&mut self, length: usize, room: &Room) -> Result<()> {
        if length <= SMALL_BODY_BYTES {
            return Ok(());
        }
        let kib = u32::try_from(length.div_ceil(1024)).unwrap_or(u32::MAX);
        let taken = room.left.clone().try_acquire_many_owned(kib).map_err(|_| {
            // Nor is it read and thrown away: it is answered at once, and the connection closed.
            self.body.get_mut().take();
            let text = format!(
                "The bodies of other requests fill the {} MB that the hub has for them.",
                room.kib_max >> 10
            );
            Problem::retry(StatusCode::SERVICE_UNAVAILABLE, text, BODIES_RETRY)
        })?;
        self.room = Some(taken);
        Ok(())
    }

    /// Throws a body away that nobody read.
    pub(super) async fn drain(&mut self) {
        let Some(body) = self.body.get_mut().take() else { return };
        throw_away(&mut body.into_data_stream()).await;
    }
}

/// Reads on for a while, so that a client that still sends sees the answer before its connection is closed.
async fn throw_away(stream: &mut BodyDataStream) {
    let mut left = DRAINED_BYTES_MAX;
    let deadline = Instant::now() + BODY_PAUSE_MAX;
    while let Ok(Some(Ok(chunk))) = next_chunk(stream, deadline, BODY_PAUSE_MAX).await {
        left = left.saturating_sub(chunk.len());
        if left == 0 {
            return;
        }
    }
}

/// The next piece of a body, where it comes in time.
async fn next_chunk(
    stream: &mut BodyDataStream,
    deadline: Instant,
    pause_max: Duration,
) -> std::result::Result<Option<std::result::Result<Bytes, axum::Error>>, Elapsed> {
    tokio::time::timeout_at(deadline.min(Instant::now() + pause_max), stream.next()).await
}

/// A client that keeps others waiting is told so, and its connection is closed.
fn too_slow(room: &Room) -> Problem {
    let text = format!(
        "The request's body did not come in time: expected a part of it every {} s, and all of it within {} s.",
        room.pause_max.as_secs(),
        room.time_max.as_secs()
    );
    Problem::rejection(StatusCode::REQUEST_TIMEOUT, text)
}

fn content_length(parts: &Parts) -> Option<usize> {
    parts.headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

impl Call<'_> {
    pub(super) fn method(&self) -> &Method {
        &self.parts.method
    }

    /// The caller's own namespace.
    pub(super) fn own(&self) -> &Namespace {
        &self.caller.namespace
    }

    /// The body of a PUT or a rule's POST: JSON, and there has to be one.
    pub(super) async fn document(&mut self) -> Result<Bytes> {
        let body = self.body.read(self.parts, BODY_BYTES_MAX, self.room).await?;
        if !body.is_empty() {
            self.require_json()?;
        }
        Ok(body)
    }

    /// The payload of an invocation or a fire: an object; nothing is `{}`.
    pub(super) async fn payload(&mut self) -> Result<JsonObject> {
        let body = self.body.read(self.parts, PAYLOAD_BYTES_MAX, self.room).await?;
        if body.is_empty() {
            return Ok(JsonObject::empty());
        }
        self.require_json()?;
        JsonObject::parse(&body).map_err(|error| match error {
            JsonError::NotAnObject(_) => Problem::malformed("JSON object expected"),
            other => unreadable(other).into(),
        })
    }

    fn require_json(&self) -> Result<()> {
        let given =
            self.parts.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let media_type = given.split(';').next().unwrap_or_default().trim();
        if media_type.eq_ignore_ascii_case("application/json") {
            return Ok(());
        }
        let shown = if media_type.contains('/') { media_type } else { "application/octet-stream" };
        Err(Problem::rejection(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            format!("The request's Content-Type [{shown}] is not supported. Expected:\napplication/json"),
        ))
    }
}
