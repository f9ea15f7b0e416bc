use std::collections::BTreeMap;

use proptest::prelude::*;
use triggerfish_model::{ActivationId, Invoker, Json, Progress, Retry, Retrying, Timestamp};

use super::*;

fn item(seq: u64) -> Item {
    let action: triggerfish_model::QualifiedName = "guest/a".parse().unwrap();
    let invocation = Invocation {
        id: ActivationId::derive(&[&seq.to_le_bytes()]),
        namespace: "guest".parse().unwrap(),
        subject: "guest".parse().unwrap(),
        action: action.clone(),
        invoker: Invoker::Api,
        payload: Json::parse("{}").unwrap(),
        accepted: Timestamp::from_millis(0),
        transaction: "t".into(),
        progress: Progress::default(),
        retry: None,
    };
    (Pending { action, seq: SeqNum(seq) }, invocation)
}

/// The disk beside the queue: what is pending, and how often each was run.
#[derive(Default)]
struct World {
    queue: Queue,
    disk: BTreeMap<u64, Item>,
    running: Vec<u64>,
    runs: BTreeMap<u64, u32>,
    snapshot: Option<Vec<Item>>,
    /// Written, but not offered yet: answers of the log race each other.
    late: Vec<u64>,
    /// Runs that are not in the log.
    direct: usize,
    /// Waiting for the time of their next attempt.
    parked: Vec<Item>,
}

/// The time of every read.
const NOW: Timestamp = Timestamp::from_millis(1000);

/// An item whose next attempt is due after [`NOW`].
fn failed(seq: u64) -> Item {
    let (pending, mut invocation) = item(seq);
    let policy = Retry { attempts: 2, backoff_ms: 1, max_ms: 1, on: Vec::new() };
    let due = Some(Timestamp::from_millis(2000));
    invocation.retry = Some(Retrying { policy, attempt: 1, due, replays: 0 });
    (pending, invocation)
}

impl World {
    fn start(&mut self, item: Item) {
        *self.runs.entry(item.0.seq.0).or_default() += 1;
        self.running.push(item.0.seq.0);
    }

    fn offer(&mut self, seq: u64) {
        if let Offer::Run(item) = self.queue.offer(item(seq)) {
            self.start(*item);
        }
    }

    fn finish(&mut self, which: usize) {
        if self.running.is_empty() {
            return;
        }
        let seq = self.running.swap_remove(which % self.running.len());
        self.disk.remove(&seq);
        if let Some(next) = self.queue.finished(Some(SeqNum(seq))) {
            self.start(next);
        }
    }

    /// A run fails, and is to be tried again later; its first attempt counts no more.
    fn fail(&mut self, which: usize) {
        if self.running.is_empty() {
            return;
        }
        let which = which % self.running.len();
        let seq = self.running[which];
        let item = failed(seq);
        self.disk.insert(seq, item.clone());
        if self.queue.park(&item) {
            self.running.swap_remove(which);
            *self.runs.get_mut(&seq).unwrap() -= 1;
            self.parked.push(item);
            if let Some(next) = self.queue.next() {
                self.start(next);
            }
        }
    }

    /// The time of one comes.
    fn wake(&mut self, which: usize) {
        if self.parked.is_empty() {
            return;
        }
        let item = self.parked.swap_remove(which % self.parked.len());
        if let Offer::Run(item) = self.queue.unpark(item) {
            self.start(*item);
        }
    }

    fn finish_direct(&mut self) {
        if self.direct > 0 {
            self.direct -= 1;
            if let Some(next) = self.queue.finished(None) {
                self.start(next);
            }
        }
    }

    /// A direct run is put in the log.
    fn log_direct(&mut self, seq: u64) {
        self.direct -= 1;
        self.disk.insert(seq, item(seq));
        self.queue.logged(SeqNum(seq));
        self.start(item(seq));
    }

    fn begin_read(&mut self) {
        if self.snapshot.is_none()
            && let Some(after) = self.queue.begin_read()
        {
            let found = self.disk.range(after.0 + 1..).take(READ_MAX).map(|(_, item)| item.clone()).collect();
            self.snapshot = Some(found);
        }
    }

    fn end_read(&mut self) {
        if let Some(found) = self.snapshot.take() {
            // The hub waits for the offers of all that was written before the read (`offers::Offers`).
            for seq in std::mem::take(&mut self.late) {
                self.offer(seq);
            }
            let parked = self.queue.read(found, NOW);
            self.parked.extend(parked);
            while let Some(next) = self.queue.next() {
                self.start(next);
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// Written and offered at once.
    Arrive(u8),
    /// Written, but offered later.
    Late,
    OfferLate(usize),
    Finish(usize),
    Fail(usize),
    Wake(usize),
    BeginDirect,
    LogDirect,
    FinishDirect,
    BeginRead,
    EndRead,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1..60_u8).prop_map(Step::Arrive),
        1 => Just(Step::Late),
        1 => any::<usize>().prop_map(Step::OfferLate),
        4 => any::<usize>().prop_map(Step::Finish),
        1 => any::<usize>().prop_map(Step::Fail),
        2 => any::<usize>().prop_map(Step::Wake),
        2 => Just(Step::BeginDirect),
        1 => Just(Step::LogDirect),
        2 => Just(Step::FinishDirect),
        2 => Just(Step::BeginRead),
        2 => Just(Step::EndRead),
    ]
}

proptest! {
    #[test]
    fn everything_runs_once_whatever_the_order(steps in prop::collection::vec(step(), 1..200)) {
        let mut world = World::default();
        let mut next = 1_u64;
        for step in steps {
            match step {
                Step::Arrive(count) => for _ in 0..count {
                    world.disk.insert(next, item(next));
                    world.offer(next);
                    next += 1;
                },
                Step::Late => {
                    world.disk.insert(next, item(next));
                    world.late.push(next);
                    next += 1;
                }
                Step::OfferLate(which) => if !world.late.is_empty() {
                    let which = which % world.late.len();
                    let seq = world.late.swap_remove(which);
                    world.offer(seq);
                },
                Step::Finish(which) => world.finish(which),
                Step::Fail(which) => world.fail(which),
                Step::Wake(which) => world.wake(which),
                Step::BeginDirect => world.direct += usize::from(world.queue.begin_direct()),
                Step::LogDirect => if world.direct > 0 {
                    world.log_direct(next);
                    next += 1;
                },
                Step::FinishDirect => world.finish_direct(),
                Step::BeginRead => world.begin_read(),
                Step::EndRead => world.end_read(),
            }
            prop_assert!(world.running.len() + world.direct <= RUNS_MAX);
            prop_assert!(world.parked.len() <= PARKED_MAX);
            prop_assert!(world.queue.load().1 <= READY_MAX + READ_MAX + PARKED_MAX);
        }
        for seq in std::mem::take(&mut world.late) {
            world.offer(seq);
        }
        while world.direct > 0 {
            world.finish_direct();
        }
        for _ in 0..100_000 {
            if world.disk.is_empty() {
                break;
            }
            world.end_read();
            world.begin_read();
            world.end_read();
            world.wake(0);
            world.finish(0);
        }
        prop_assert!(world.disk.is_empty());
        prop_assert!(world.queue.is_idle());
        prop_assert!(world.runs.values().all(|runs| *runs == 1), "{:?}", world.runs);
        prop_assert_eq!(world.runs.len() as u64, next - 1);
    }
}
