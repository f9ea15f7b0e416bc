//! A barrier between what the log has written and what its writers have offered to the queues.
//!
//! An invocation is on disk a moment before the task that wrote it offers it to its queue. A read from disk that falls
//! into this moment finds it, and could run and finish it before the offer comes: it would run twice. So a reader waits,
//! between reading and using what it read, until everybody who was writing at that time has offered.

use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use tokio::sync::oneshot;

/// Held from before a write to the log until its invocations are offered.
pub(super) type Offering = Arc<Epoch>;

/// A span of time; ends when the last write that began in it, or before it, has been offered.
pub(super) struct Epoch {
    ended: Mutex<Option<oneshot::Sender<()>>>,
    /// Keeps the next epoch from ending before this one.
    next: OnceLock<Arc<Epoch>>,
}

impl Drop for Epoch {
    fn drop(&mut self) {
        if let Some(ended) = self.ended.get_mut().take() {
            // Nobody waits where the reader gave up.
            let _ = ended.send(());
        }
    }
}

/// Where writers announce themselves and readers wait for them.
pub(super) struct Offers {
    current: Mutex<Arc<Epoch>>,
}

impl Offers {
    pub(super) fn new() -> Self {
        Self { current: Mutex::new(Arc::new(Epoch { ended: Mutex::new(None), next: OnceLock::new() })) }
    }

    /// Announces a write.
    pub(super) fn begin(&self) -> Offering {
        self.current.lock().clone()
    }

    /// Waits until every write that was announced before this call has been offered.
    pub(super) async fn settled(&self) {
        let (sender, receiver) = oneshot::channel();
        let next = Arc::new(Epoch { ended: Mutex::new(None), next: OnceLock::new() });
        let old = std::mem::replace(&mut *self.current.lock(), next.clone());
        *old.ended.lock() = Some(sender);
        if old.next.set(next).is_err() {
            unreachable!("an epoch is replaced once");
        }
        drop(old);
        // The sender is never dropped unsent.
        let _ = receiver.await;
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn a_reader_waits_for_all_earlier_writers_and_for_no_later_one() {
        let offers = Offers::new();
        let first = offers.begin();
        let mut one = Box::pin(offers.settled());
        assert!((&mut one).now_or_never().is_none());
        let second = offers.begin();
        let mut two = Box::pin(offers.settled());
        assert!((&mut two).now_or_never().is_none());
        let third = offers.begin();
        drop(second);
        assert!((&mut two).now_or_never().is_none(), "the first is still under way");
        drop(first);
        assert!((&mut one).now_or_never().is_some());
        assert!((&mut two).now_or_never().is_some(), "the third came later");
        drop(third);
        assert!(offers.settled().now_or_never().is_some());
    }
}
