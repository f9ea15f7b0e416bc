//! Places for connections. Where all are taken, the one that has been idle for the longest gives way to a new one: whoever
//! opens many and says nothing, or says it slowly, keeps nobody out.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

/// All places.
pub(super) struct Connections {
    places: Arc<Semaphore>,
    /// By number.
    open: Mutex<HashMap<u64, Arc<Connection>>>,
    /// Counts what happens, to tell what was earlier.
    clock: AtomicU64,
}

/// One connection.
pub(super) struct Connection {
    /// When it became idle; [`BUSY`] while a request is being answered.
    idle_since: AtomicU64,
    /// Asks it to end, once what it answers is answered.
    pub(super) end: CancellationToken,
}

/// No time.
const BUSY: u64 = u64::MAX;

/// A connection's place, given back when this is dropped.
pub(super) struct Place {
    number: u64,
    all: Arc<Connections>,
    pub(super) connection: Arc<Connection>,
    _permit: OwnedSemaphorePermit,
}

impl Connections {
    pub(super) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self {
            places: Arc::new(Semaphore::new(max)),
            open: Mutex::default(),
            clock: AtomicU64::new(0),
        })
    }

    /// A place for a connection that is about to be accepted, taken from an idle one where there is no other.
    pub(super) async fn place(self: &Arc<Self>, stopping: &CancellationToken) -> Place {
        let permit = match self.places.clone().try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                self.end_the_most_idle();
                self.places.clone().acquire_owned().await.expect("the semaphore is never closed")
            }
        };
        let number = self.now();
        let connection =
            Arc::new(Connection { idle_since: AtomicU64::new(number), end: stopping.child_token() });
        self.open.lock().insert(number, connection.clone());
        Place { number, all: self.clone(), connection, _permit: permit }
    }

    fn end_the_most_idle(&self) {
        let open = self.open.lock();
        let idle = open.values().filter(|one| !one.end.is_cancelled());
        let idle = idle.filter(|one| one.idle_since.load(Ordering::Relaxed) != BUSY);
        if let Some(one) = idle.min_by_key(|one| one.idle_since.load(Ordering::Relaxed)) {
            one.end.cancel();
        }
    }

    fn now(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::Relaxed)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.all.open.lock().remove(&self.number);
    }
}

impl Place {
    /// Marks the connection as busy until the answer's last byte is given on.
    pub(super) fn busy(&self) -> Busy {
        self.connection.idle_since.store(BUSY, Ordering::Relaxed);
        Busy { all: self.all.clone(), connection: self.connection.clone() }
    }
}

/// A request that is being answered.
pub(super) struct Busy {
    all: Arc<Connections>,
    connection: Arc<Connection>,
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.connection.idle_since.store(self.all.now(), Ordering::Relaxed);
    }
}

impl Busy {
    /// The answer, which ends this when its body ends.
    pub(super) fn until_sent(self, response: Response) -> Response {
        response.map(|body| Body::new(Held { body, _busy: self }))
    }
}

struct Held {
    body: Body,
    _busy: Busy,
}

impl HttpBody for Held {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn the_connection_that_was_idle_for_the_longest_gives_way() {
        let stopping = CancellationToken::new();
        let all = Connections::new(3);
        let take = || all.place(&stopping).now_or_never();
        let (first, second, third) = (take().unwrap(), take().unwrap(), take().unwrap());
        let answering = first.busy();
        drop(second.busy());
        assert!(take().is_none(), "it waits until a place is free");
        let ended = [&first, &second, &third].map(|place| place.connection.end.is_cancelled());
        assert_eq!(ended, [false, false, true]);
        drop(third);
        let fourth = take().unwrap();
        assert!(take().is_none());
        assert!(second.connection.end.is_cancelled(), "it was idle before the fourth came");
        drop(answering);
        assert!(take().is_none());
        let ended = [&first, &fourth].map(|place| place.connection.end.is_cancelled());
        assert_eq!(ended, [false, true], "the first was busy until now");
    }
}
