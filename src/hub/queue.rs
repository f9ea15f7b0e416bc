//! Which pending invocations of one action run, which wait in memory, and which wait on disk: a pure machine.
//!
//! The log is the truth; this holds a bounded window of it. Work that does not fit the window stays on disk and is read
//! when there is room, so that memory is bounded and an action that is stuck holds up only itself (invariant 6).

use std::collections::{HashSet, VecDeque};

use triggerfish_model::{Invocation, SeqNum, Timestamp};
use triggerfish_store::Pending;

/// Runs of one action that the invoker is asked for at once. More than its containers can be busy with, so that none
/// waits for the hub, and few enough that one action cannot fill the invoker's own queue.
pub(super) const RUNS_MAX: usize = 64;
/// Invocations of one action that wait in memory.
const READY_MAX: usize = 256;
/// Bytes of payload of one action that wait in memory; one invocation may exceed it alone.
const READY_BYTES_MAX: usize = 4 << 20;
/// Invocations of one action that wait for the time of their next attempt without holding a run's place, so that what
/// fails does not hold up what would not. Those beyond it hold their places.
const PARKED_MAX: usize = 1024;
/// How many are read from disk at once.
pub(super) const READ_MAX: usize = 64;

/// An invocation with its place in the log.
pub(super) type Item = (Pending, Invocation);

/// The window of one action.
#[derive(Default)]
pub(super) struct Queue {
    ready: VecDeque<Item>,
    ready_bytes: usize,
    running: usize,
    parked: usize,
    parked_bytes: usize,
    /// Places of all that is ready, running or parked.
    known: HashSet<SeqNum>,
    /// Places after this one may be on disk without being known here.
    unseen_after: Option<SeqNum>,
    /// While a read is under way: what finished since it began, and so must not be started by what it finds.
    reading: Option<HashSet<SeqNum>>,
}

/// What is to be done with an invocation that was offered.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Offer {
    /// Run it now.
    Run(Box<Item>),
    /// It waits, here or on disk.
    Waits,
}

impl Queue {
    /// Takes an invocation that was just written to the log.
    pub(super) fn offer(&mut self, item: Item) -> Offer {
        let seq = item.0.seq;
        if self.known.contains(&seq) {
            return Offer::Waits;
        }
        if self.running < RUNS_MAX && self.ready.is_empty() {
            self.known.insert(seq);
            self.running += 1;
            return Offer::Run(Box::new(item));
        }
        if self.has_room() {
            self.keep(item);
        } else {
            let before = SeqNum(seq.0.saturating_sub(1));
            self.unseen_after = Some(self.unseen_after.map_or(before, |after| after.min(before)));
        }
        Offer::Waits
    }

    /// Notes that everything on disk is unseen: the state of a hub that has just started.
    pub(super) fn all_unseen(&mut self) {
        self.unseen_after = Some(SeqNum(0));
    }

    /// Begins a run that is not in the log, unless others wait for their turn.
    pub(super) fn begin_direct(&mut self) -> bool {
        let begins = self.running < RUNS_MAX && self.ready.is_empty();
        self.running += usize::from(begins);
        begins
    }

    /// Notes that a run that was begun directly is in the log now.
    pub(super) fn logged(&mut self, seq: SeqNum) {
        self.known.insert(seq);
    }

    /// Notes that a run is over, with its place where it is in the log, and answers what to run instead.
    pub(super) fn finished(&mut self, seq: Option<SeqNum>) -> Option<Item> {
        if let Some(seq) = seq {
            self.known.remove(&seq);
            if let Some(finished) = &mut self.reading {
                finished.insert(seq);
            }
        }
        self.running -= 1;
        self.next()
    }

    /// Lets an invocation that runs, or was just read, wait for its time elsewhere. `false` where too many do.
    fn parks(&mut self, item: &Item) -> bool {
        let fits = self.parked < PARKED_MAX && self.parked_bytes < READY_BYTES_MAX;
        if fits {
            self.parked += 1;
            self.parked_bytes += bytes(item);
        }
        fits
    }

    /// Takes back a run's place for as long as its invocation waits for its time; [`Queue::unpark`] comes then. `false`
    /// where too many wait like that: it keeps its place.
    pub(super) fn park(&mut self, item: &Item) -> bool {
        let parks = self.parks(item);
        self.running -= usize::from(parks);
        parks
    }

    /// Takes an invocation whose time has come.
    pub(super) fn unpark(&mut self, item: Item) -> Offer {
        self.parked -= 1;
        self.parked_bytes -= bytes(&item);
        if self.running < RUNS_MAX && self.ready.is_empty() {
            self.running += 1;
            return Offer::Run(Box::new(item));
        }
        self.ready_bytes += bytes(&item);
        self.ready.push_back(item);
        Offer::Waits
    }

    /// The next one to run, where there is room to run it.
    pub(super) fn next(&mut self) -> Option<Item> {
        if self.running >= RUNS_MAX {
            return None;
        }
        let item = self.ready.pop_front()?;
        self.ready_bytes -= bytes(&item);
        self.running += 1;
        Some(item)
    }

    /// Whether a read from disk is due, and after which place; the caller reads at most [`READ_MAX`] and calls
    /// [`Queue::read`] with what it found.
    pub(super) fn begin_read(&mut self) -> Option<SeqNum> {
        if self.reading.is_some() || self.ready.len() > READY_MAX / 2 || !self.has_room() {
            return None;
        }
        let after = self.unseen_after.take()?;
        self.reading = Some(HashSet::new());
        Some(after)
    }

    /// Takes what a read found. Answers those whose time has not come: each is to be given to [`Queue::unpark`] then.
    pub(super) fn read(&mut self, found: Vec<Item>, now: Timestamp) -> Vec<Item> {
        let mut parked = Vec::new();
        let finished = self.reading.take().unwrap_or_default();
        let full = found.len() >= READ_MAX;
        let last = found.last().map(|(pending, _)| pending.seq);
        for item in found {
            if self.known.contains(&item.0.seq) || finished.contains(&item.0.seq) {
                continue;
            }
            if item.1.due().is_some_and(|due| due > now) && self.parks(&item) {
                self.known.insert(item.0.seq);
                parked.push(item);
            } else {
                self.keep(item);
            }
        }
        if let (true, Some(last)) = (full, last) {
            self.unseen_after = Some(self.unseen_after.map_or(last, |after| after.min(last)));
        }
        parked
    }

    /// Whether nothing is known or suspected, so that the queue can be forgotten.
    pub(super) fn is_idle(&self) -> bool {
        self.running == 0 && self.known.is_empty() && self.unseen_after.is_none() && self.reading.is_none()
    }

    /// How many run, and how many wait in memory.
    pub(super) fn load(&self) -> (usize, usize) {
        (self.running, self.ready.len())
    }

    fn has_room(&self) -> bool {
        self.ready.len() < READY_MAX && self.ready_bytes < READY_BYTES_MAX
    }

    fn keep(&mut self, item: Item) {
        self.known.insert(item.0.seq);
        self.ready_bytes += bytes(&item);
        self.ready.push_back(item);
    }
}

fn bytes(item: &Item) -> usize {
    item.1.payload.as_str().len()
}

#[cfg(test)]
mod tests;
