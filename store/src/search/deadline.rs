//! A search's time limit: looked at while terms are gathered and while records are matched.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tantivy::query::{EnableScoring, Explanation, Query, Scorer, Weight};
use tantivy::{COLLECT_BLOCK_BUFFER_LEN, DocId, DocSet, Score, SegmentReader, TERMINATED};

/// When a search must end.
#[derive(Clone, Debug)]
pub(super) struct Deadline {
    at: Instant,
    passed: Arc<AtomicBool>,
}

impl Deadline {
    pub(super) fn after(time: Duration) -> Self {
        Self { at: Instant::now() + time, passed: Arc::default() }
    }

    /// Whether the time is up; remembers that it was.
    pub(super) fn is_over(&self) -> bool {
        let over = Instant::now() >= self.at;
        if over {
            self.passed.store(true, Ordering::Relaxed);
        }
        over
    }

    /// Whether something was left out because the time was up.
    pub(super) fn was_over(&self) -> bool {
        self.passed.load(Ordering::Relaxed)
    }
}

/// A query that finds nothing more once the time is up.
#[derive(Debug)]
pub(super) struct Bounded {
    pub(super) inner: Box<dyn Query>,
    pub(super) deadline: Deadline,
}

impl Clone for Bounded {
    fn clone(&self) -> Self {
        Self { inner: self.inner.box_clone(), deadline: self.deadline.clone() }
    }
}

impl Query for Bounded {
    fn weight(&self, scoring: EnableScoring<'_>) -> tantivy::Result<Box<dyn Weight>> {
        Ok(Box::new(BoundedWeight { inner: self.inner.weight(scoring)?, deadline: self.deadline.clone() }))
    }
}

struct BoundedWeight {
    inner: Box<dyn Weight>,
    deadline: Deadline,
}

impl Weight for BoundedWeight {
    fn scorer(&self, reader: &SegmentReader, boost: Score) -> tantivy::Result<Box<dyn Scorer>> {
        let inner = self.inner.scorer(reader, boost)?;
        Ok(Box::new(BoundedScorer { inner, deadline: self.deadline.clone(), steps: 0, over: false }))
    }

    fn explain(&self, reader: &SegmentReader, doc: DocId) -> tantivy::Result<Explanation> {
        self.inner.explain(reader, doc)
    }
}

struct BoundedScorer {
    inner: Box<dyn Scorer>,
    deadline: Deadline,
    steps: u32,
    over: bool,
}

impl BoundedScorer {
    /// Looks at the clock from time to time.
    fn look(&mut self) {
        /// Steps between two looks: some microseconds.
        const STEPS: u32 = 16;
        self.steps = self.steps.wrapping_add(1);
        if self.steps.is_multiple_of(STEPS) {
            self.over |= self.deadline.is_over();
        }
    }
}

impl DocSet for BoundedScorer {
    fn advance(&mut self) -> DocId {
        self.look();
        if self.over { TERMINATED } else { self.inner.advance() }
    }

    fn seek(&mut self, target: DocId) -> DocId {
        self.look();
        match self.doc() {
            doc if doc < target => self.inner.seek(target),
            doc => doc,
        }
    }

    fn doc(&self) -> DocId {
        if self.over { TERMINATED } else { self.inner.doc() }
    }

    fn fill_buffer(&mut self, buffer: &mut [DocId; COLLECT_BLOCK_BUFFER_LEN]) -> usize {
        self.look();
        if self.over { 0 } else { self.inner.fill_buffer(buffer) }
    }

    fn size_hint(&self) -> u32 {
        self.inner.size_hint()
    }
}

impl Scorer for BoundedScorer {
    fn score(&mut self) -> Score {
        self.inner.score()
    }
}
