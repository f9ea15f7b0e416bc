//! Blocking callers, and the records that they wait for.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use triggerfish_model::{Activation, ActivationId};

/// Who waits for which record. Each blocking request is one entry, so the API's limit on connections bounds it.
#[derive(Default)]
pub(super) struct Waiters {
    waiting: Mutex<HashMap<ActivationId, oneshot::Sender<Arc<Activation>>>>,
}

/// A caller that waits; it stops waiting when this is dropped.
pub(super) struct Waiter<'a> {
    waiters: &'a Waiters,
    id: ActivationId,
    record: oneshot::Receiver<Arc<Activation>>,
}

impl Waiters {
    /// Begins to wait for the record of `id`; to be called before the invocation can complete.
    pub(super) fn wait_for(&self, id: ActivationId) -> Waiter<'_> {
        let (sender, record) = oneshot::channel();
        self.waiting.lock().insert(id, sender);
        Waiter { waiters: self, id, record }
    }

    /// Whether somebody waits for the record of `id`.
    pub(super) fn is_awaited(&self, id: ActivationId) -> bool {
        self.waiting.lock().contains_key(&id)
    }

    /// Hands a durable record to whoever waits for it.
    pub(super) fn resolve(&self, record: &Arc<Activation>) {
        let sender = self.waiting.lock().remove(&record.id);
        if let Some(sender) = sender {
            // The caller may have gone meanwhile; the record is stored all the same.
            let _ = sender.send(record.clone());
        }
    }
}

impl Waiter<'_> {
    /// The record, once it is durable; `None` where the hub stops before.
    pub(super) async fn record(&mut self) -> Option<Arc<Activation>> {
        (&mut self.record).await.ok()
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.waiters.waiting.lock().remove(&self.id);
    }
}
