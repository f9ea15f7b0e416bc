//! Runs a [`HookKeeper`] as a feed that connects: connecting registers the hook, and reading sweeps.
//!
//! So a keeper that cannot reach its remote side shows as any such feed, and comes back as one; the hook itself is served
//! all the while.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;
use triggerfish_model::{FeedId, Timestamp};

use crate::provider::{FeedBatch, FeedConnection, FeedContext, FeedError, FeedProvider, ParamError, Refused};

use super::{HookKeeper, HookRemote, Sweep};

/// The least time between two sweeps, whatever the remote side says.
const SWEEP_MIN: Duration = Duration::from_secs(5);

/// A keeper as a provider that connects.
pub(crate) struct Kept<K>(pub(crate) Arc<K>);

type CursorOf<K> = <<K as HookKeeper>::Remote as HookRemote>::Cursor;

/// A hook that is kept, or nothing to keep.
pub(crate) struct Keeping<R: HookRemote> {
    remote: Option<R>,
    cursor: Option<R::Cursor>,
    due: Instant,
}

#[async_trait]
impl<K: HookKeeper> FeedProvider for Kept<K> {
    type Params = K::Params;
    type Cursor = CursorOf<K>;
    type Connection = Keeping<K::Remote>;

    fn action(&self) -> (&'static str, &'static str) {
        self.0.action()
    }

    fn check(
        &self,
        params: &Self::Params,
        _before: Option<&Self::Params>,
        now: Timestamp,
    ) -> Result<(), ParamError> {
        self.0.check(params, now)
    }

    async fn subscribe(&self, params: &Self::Params, context: &FeedContext) -> Result<(), FeedError> {
        match self.0.remote(params, context)? {
            Some(remote) => {
                let _turn = context.hook.turn.lock().await;
                remote.register().await
            }
            None => Ok(()),
        }
    }

    async fn connect(
        &self,
        params: &Self::Params,
        cursor: Option<Self::Cursor>,
        context: &FeedContext,
    ) -> Result<Self::Connection, FeedError> {
        let remote = self.0.remote(params, context)?;
        if let Some(remote) = &remote {
            let _turn = context.hook.turn.lock().await;
            remote.register().await?;
        }
        Ok(Keeping { remote, cursor, due: Instant::now() })
    }

    fn keeps(&self, params: &Self::Params, _feed: FeedId) -> Option<String> {
        self.0.keeps(params)
    }

    async fn forget(&self, params: &Self::Params, context: &FeedContext) -> Result<(), FeedError> {
        match self.0.remote(params, context)? {
            Some(remote) => remote.unregister().await,
            None => Ok(()),
        }
    }
}

#[async_trait]
impl<R: HookRemote> FeedConnection for Keeping<R> {
    type Cursor = R::Cursor;

    /// A sweep that is dropped on the way moved no cursor: it is made again from where the last one ended.
    async fn next(&mut self) -> Result<FeedBatch<R::Cursor>, FeedError> {
        let Some(remote) = &self.remote else { return std::future::pending().await };
        tokio::time::sleep_until(self.due).await;
        let Sweep { events, refused, cursor, again_in } = remote.sweep(self.cursor.clone()).await?;
        self.cursor = Some(cursor.clone());
        self.due = Instant::now() + again_in.max(SWEEP_MIN);
        let refused = refused.into_iter().map(Refused::from).collect();
        Ok(FeedBatch { events, cursor, refused, duplicates: 0 })
    }

    /// Nothing is acknowledged upstream: the cursor is the hub's alone.
    async fn ack(&mut self, _cursor: &R::Cursor) -> Result<(), FeedError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    /// Counts its sweeps, whose numbers are the cursor.
    struct Counting(Arc<AtomicU32>);

    #[async_trait]
    impl HookRemote for Counting {
        type Cursor = u32;

        async fn register(&self) -> Result<(), FeedError> {
            Ok(())
        }

        async fn unregister(&self) -> Result<(), FeedError> {
            Ok(())
        }

        async fn sweep(&self, cursor: Option<u32>) -> Result<Sweep<u32>, FeedError> {
            self.0.fetch_add(1, Ordering::SeqCst);
            let cursor = cursor.unwrap_or_default() + 1;
            // The second one asks for less than the least.
            let again_in = Duration::from_secs(if cursor == 2 { 0 } else { 600 });
            Ok(Sweep { events: Vec::new(), refused: Vec::new(), cursor, again_in })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_sweeps_at_once_and_then_when_the_last_sweep_said() {
        let sweeps = Arc::new(AtomicU32::new(0));
        let remote = Some(Counting(sweeps.clone()));
        let begun = Instant::now();
        let mut keeping = Keeping { remote, cursor: None, due: begun };
        for (expected, after) in [(1, 0), (2, 600), (3, 605)] {
            let batch = keeping.next().await.unwrap();
            assert_eq!((batch.cursor, begun.elapsed()), (expected, Duration::from_secs(after)));
        }
        // A call that is dropped loses nothing.
        assert!(tokio::time::timeout(Duration::from_secs(1), keeping.next()).await.is_err());
        assert_eq!(keeping.next().await.unwrap().cursor, 4);
        assert_eq!(sweeps.load(Ordering::SeqCst), 4);
        let mut nothing: Keeping<Counting> = Keeping { remote: None, cursor: None, due: begun };
        assert!(tokio::time::timeout(Duration::from_secs(86_400), nothing.next()).await.is_err());
    }
}
