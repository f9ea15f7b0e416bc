//! What the thread that reads and the connection share.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};
use tokio::sync::Notify;

use super::assembly::Assembly;
use crate::provider::FeedError;

/// The state, behind its lock.
pub(super) struct State {
    /// Absent until the brokers were reached.
    pub(super) assembly: Option<Assembly>,
    /// Whether the group has given the feed its partitions, be they none.
    pub(super) is_placed: bool,
    /// Why nothing more comes.
    pub(super) over: Option<FeedError>,
    /// The connection is wanted no longer.
    pub(super) stop: bool,
    /// The thread is over.
    pub(super) is_closed: bool,
    /// The ends of partitions, as the brokers told last.
    pub(super) ends: HashMap<(String, i32), i64>,
    /// What librdkafka said last of a broker that it cannot talk to.
    pub(super) trouble: Option<String>,
}

/// The state, and how its two sides wake each other.
pub(super) struct Shared {
    state: Mutex<State>,
    /// For the thread: a batch was fetched or acknowledged, or the end is near.
    changed: Condvar,
    /// For the connection.
    news: Notify,
}

impl Shared {
    pub(super) fn new() -> Self {
        let state = State {
            assembly: None,
            is_placed: false,
            over: None,
            stop: false,
            is_closed: false,
            ends: HashMap::new(),
            trouble: None,
        };
        Self { state: Mutex::new(state), changed: Condvar::new(), news: Notify::new() }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Does something to the assembly, and tells the connection where that has a batch now.
    pub(super) fn assemble<T>(&self, change: impl FnOnce(&mut Assembly) -> T) -> Option<T> {
        let mut state = self.state.lock();
        let done = state.assembly.as_mut().map(change);
        drop(state);
        self.news.notify_one();
        done
    }

    /// Ends it with an error, of which the first counts.
    pub(super) fn fail(&self, error: FeedError) {
        self.state.lock().over.get_or_insert(error);
        self.tell_all();
    }

    pub(super) fn tell_all(&self) {
        self.changed.notify_all();
        self.news.notify_one();
    }

    /// Waits in the thread until `done`, the end, or `time` has passed; whether it is done.
    pub(super) fn wait(&self, time: Duration, done: impl Fn(&State) -> bool) -> bool {
        let mut state = self.state.lock();
        let over = |state: &mut State| !done(state) && !state.stop && state.over.is_none();
        self.changed.wait_while_for(&mut state, over, time);
        done(&state)
    }

    /// Waits in the connection until `look` finds something.
    pub(super) async fn until<T>(&self, look: impl Fn(&mut State) -> Option<T>) -> T {
        loop {
            if let Some(found) = look(&mut self.state.lock()) {
                return found;
            }
            self.news.notified().await;
        }
    }
}
