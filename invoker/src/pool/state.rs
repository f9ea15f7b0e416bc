//! The pool's state, and what each input does to it.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use triggerfish_model::Timestamp;

use super::{
    CREATIONS_FAILED_MAX, Census, ContainerId, Demand, Effect, HELD_MIN, Input, JobId, Key, RETRY_AFTER,
    Refusal, STOCK_RETRY_AFTER, Settings, Start,
};

/// Where a container is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Starting,
    /// Made, not initialised, no run: stock.
    Started,
    Running,
    Ready,
    Pausing,
    Paused,
    Removing,
}

#[derive(Debug)]
pub(super) struct Slot {
    pub(super) owner: Option<Arc<Key>>,
    pub(super) kind: Arc<str>,
    pub(super) memory_mb: u32,
    pub(super) phase: Phase,
    pub(super) in_flight: u32,
    pub(super) initialised: bool,
    /// Of no more use; ended once its last run is.
    pub(super) doomed: bool,
    /// When the present phase began.
    pub(super) since: Timestamp,
    /// When its owner got it.
    pub(super) held_since: Timestamp,
}

/// An action's containers and waiting jobs.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) demand: Demand,
    pub(super) waiting: VecDeque<JobId>,
    /// Its containers, except those being removed.
    pub(super) containers: Vec<ContainerId>,
    /// Makings that failed in a row.
    failures: u32,
    /// No making before this.
    pub(super) retry_at: Option<Timestamp>,
    /// Whether it stands in [`Pool::queue`].
    pub(super) queued: bool,
}

/// The machine; see the module's text.
#[derive(Debug)]
pub struct Pool {
    pub(super) settings: Settings,
    pub(super) slots: HashMap<ContainerId, Slot>,
    pub(super) groups: HashMap<Arc<Key>, Group>,
    /// Actions with waiting jobs, in the order of their turns; an entry may be outdated.
    pub(super) queue: VecDeque<Arc<Key>>,
    pub(super) memory_used_mb: u32,
    pub(super) starting: usize,
    pub(super) waiting: usize,
    /// An action with no container waits for memory that nothing on its way out will free.
    pub(super) short: bool,
    pub(super) stock_retry_at: Option<Timestamp>,
    pub(super) closed: bool,
    next_container: u64,
    refused_full: bool,
}

impl Pool {
    /// An empty pool.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            slots: HashMap::new(),
            groups: HashMap::new(),
            queue: VecDeque::new(),
            memory_used_mb: 0,
            starting: 0,
            waiting: 0,
            short: false,
            stock_retry_at: None,
            closed: false,
            next_container: 0,
            refused_full: false,
        }
    }

    /// Takes in what happened at `now`, and answers what is to be done, in this order.
    pub fn step(&mut self, input: Input, now: Timestamp) -> Vec<Effect> {
        let mut effects = Vec::new();
        match input {
            Input::Submit(job, demand) => self.submit(job, demand, now, &mut effects),
            Input::Created(container) => self.created(container, now, &mut effects),
            Input::CreateFailed { container, permanent } => {
                self.create_failed(container, permanent, now, &mut effects);
            }
            Input::Initialised(container) => {
                if let Some(slot) = self.slots.get_mut(&container) {
                    slot.initialised = true;
                }
                self.serve_owner(container, now, &mut effects);
            }
            Input::Finished { container, reuse } => self.released(container, reuse, now, &mut effects),
            Input::Bounced { container, job, demand } => {
                self.released(container, false, now, &mut effects);
                self.requeue(job, demand, &mut effects);
            }
            Input::Paused { container, ok } => self.paused(container, ok, now, &mut effects),
            Input::Destroyed(container) => {
                if let Some(slot) = self.slots.remove(&container) {
                    self.memory_used_mb -= slot.memory_mb;
                }
            }
            Input::Tick => self.tick(now, &mut effects),
            Input::Close => self.close(now, &mut effects),
        }
        self.place(now, &mut effects);
        effects
    }

    fn submit(&mut self, job: JobId, demand: Demand, now: Timestamp, effects: &mut Vec<Effect>) {
        if self.closed {
            return effects.push(Effect::Refuse(job, Refusal::Closed));
        }
        if demand.memory_mb > self.settings.memory_mb {
            return effects.push(Effect::Refuse(job, Refusal::TooLarge));
        }
        let key = Arc::clone(&demand.key);
        let own = self.groups.get(&key).map_or(0, |group| group.waiting.len());
        if self.waiting >= self.settings.waiting_max || own >= self.settings.waiting_max.div_ceil(4) {
            self.refused_full = true;
            return effects.push(Effect::Refuse(job, Refusal::Full));
        }
        self.enter(job, demand, false);
        self.serve(&key, now, effects);
    }

    fn requeue(&mut self, job: JobId, demand: Demand, effects: &mut Vec<Effect>) {
        if self.closed {
            effects.push(Effect::Refuse(job, Refusal::Closed));
        } else {
            let key = Arc::clone(&demand.key);
            self.enter(job, demand, true);
            self.enqueue(&key);
        }
    }

    fn enter(&mut self, job: JobId, demand: Demand, first: bool) {
        let key = Arc::clone(&demand.key);
        let group = self.groups.entry(Arc::clone(&key)).or_insert_with(|| Group {
            demand,
            waiting: VecDeque::new(),
            containers: Vec::new(),
            failures: 0,
            retry_at: None,
            queued: false,
        });
        if first {
            group.waiting.push_front(job);
        } else {
            group.waiting.push_back(job);
        }
        self.waiting += 1;
    }

    /// Gives waiting jobs of `key` to its own containers.
    fn serve(&mut self, key: &Arc<Key>, now: Timestamp, effects: &mut Vec<Effect>) {
        while let Some(container) = self.open_container(key, now) {
            let Some(job) = self.next_job(key, effects) else { break };
            let Some(slot) = self.slots.get_mut(&container) else { break };
            let resume = slot.phase == Phase::Paused;
            slot.phase = Phase::Running;
            slot.in_flight += 1;
            effects.push(Effect::Run { job, container, start: Start::Warm, resume });
        }
        self.enqueue(key);
    }

    fn serve_owner(&mut self, container: ContainerId, now: Timestamp, effects: &mut Vec<Effect>) {
        if let Some(owner) = self.slots.get(&container).and_then(|slot| slot.owner.clone()) {
            self.serve(&owner, now, effects);
        }
    }

    /// The best warm container of `key` for one more job: one that works, else the last used, else a paused one.
    fn open_container(&self, key: &Key, now: Timestamp) -> Option<ContainerId> {
        let group = self.groups.get(key).filter(|group| !group.waiting.is_empty())?;
        let rank = |id: &ContainerId| {
            let slot = self.slots.get(id)?;
            let open = slot.initialised && !slot.doomed && slot.in_flight < group.demand.concurrency;
            match slot.phase {
                Phase::Running if open && !self.yields(slot, now) => Some((2, slot.since, *id)),
                Phase::Ready if open => Some((1, slot.since, *id)),
                Phase::Paused => Some((0, slot.since, *id)),
                _ => None,
            }
        };
        group.containers.iter().filter_map(rank).max().map(|(_, _, id)| id)
    }

    /// Whether a container is to be given up for an action that has none, rather than take its own action's next job.
    fn yields(&self, slot: &Slot, now: Timestamp) -> bool {
        let others =
            slot.owner.as_ref().and_then(|key| self.groups.get(key)).map_or(0, |g| g.containers.len());
        self.short && (others > 1 || now.since(slot.held_since) >= HELD_MIN)
    }

    /// Takes the first waiting job of `key`.
    pub(super) fn next_job(&mut self, key: &Key, effects: &mut Vec<Effect>) -> Option<JobId> {
        let job = self.groups.get_mut(key)?.waiting.pop_front()?;
        self.waiting -= 1;
        if std::mem::take(&mut self.refused_full) {
            effects.push(Effect::Room);
        }
        Some(job)
    }

    fn created(&mut self, container: ContainerId, now: Timestamp, effects: &mut Vec<Effect>) {
        let Some(slot) = self.slots.get_mut(&container) else { return };
        self.starting -= 1;
        slot.phase = Phase::Started;
        slot.since = now;
        let owner = slot.owner.clone();
        if self.closed {
            return self.remove(container, now, effects);
        }
        let Some(key) = owner else { return };
        if let Some(group) = self.groups.get_mut(&key) {
            group.failures = 0;
            group.retry_at = None;
        }
        match self.next_job(&key, effects) {
            Some(job) => self.start(container, job, Start::Cold, now, effects),
            // Its job went to a container that came free meanwhile: this one is stock for whoever comes.
            None => self.disown(container),
        }
        self.enqueue(&key);
    }

    /// Puts the first run into a container that is not initialised.
    pub(super) fn start(
        &mut self,
        container: ContainerId,
        job: JobId,
        start: Start,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        if let Some(slot) = self.slots.get_mut(&container) {
            slot.phase = Phase::Running;
            slot.in_flight = 1;
            slot.since = now;
            slot.held_since = now;
            effects.push(Effect::Run { job, container, start, resume: false });
        }
    }

    fn create_failed(
        &mut self,
        container: ContainerId,
        permanent: bool,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        self.disown_quietly(container);
        let Some(slot) = self.slots.remove(&container) else { return };
        self.starting -= 1;
        self.memory_used_mb -= slot.memory_mb;
        let Some(key) = slot.owner else {
            self.stock_retry_at = Some(now + STOCK_RETRY_AFTER);
            return;
        };
        let Some(group) = self.groups.get_mut(&key) else { return };
        group.failures += 1;
        // Doubling stops where it would pass some seconds: an engine that came back is found soon.
        group.retry_at = Some(now + RETRY_AFTER * (1 << group.failures.min(6)));
        if (permanent || group.failures >= CREATIONS_FAILED_MAX) && group.containers.is_empty() {
            group.failures = 0;
            group.retry_at = None;
            self.refuse_waiting(&key, Refusal::NotProvisioned, effects);
        }
        self.enqueue(&key);
    }

    fn refuse_waiting(&mut self, key: &Key, reason: Refusal, effects: &mut Vec<Effect>) {
        while let Some(job) = self.next_job(key, effects) {
            effects.push(Effect::Refuse(job, reason));
        }
    }

    fn released(&mut self, container: ContainerId, reuse: bool, now: Timestamp, effects: &mut Vec<Effect>) {
        let Some(slot) = self.slots.get_mut(&container) else { return };
        slot.in_flight -= 1;
        slot.initialised = true;
        slot.doomed |= !reuse;
        let idle = slot.in_flight == 0;
        if idle && !slot.doomed {
            slot.phase = Phase::Ready;
            slot.since = now;
        }
        let ends = slot.doomed || self.closed;
        let slot = self.slots.get(&container).filter(|slot| !ends && self.yields(slot, now));
        if idle && (ends || slot.is_some()) {
            let owner = self.slots.get(&container).and_then(|slot| slot.owner.clone());
            self.remove(container, now, effects);
            if let Some(key) = owner {
                self.enqueue(&key);
            }
        } else {
            self.serve_owner(container, now, effects);
        }
    }

    fn paused(&mut self, container: ContainerId, ok: bool, now: Timestamp, effects: &mut Vec<Effect>) {
        let Some(slot) = self.slots.get_mut(&container) else { return };
        slot.phase = Phase::Paused;
        slot.since = now;
        let owner = slot.owner.clone();
        if !ok || self.closed {
            self.remove(container, now, effects);
        }
        if let Some(key) = owner {
            self.serve(&key, now, effects);
        }
    }

    fn tick(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        // A moment that has come is forgotten: `next_tick` would name it for ever, and the driver never sleep.
        let passed = |at: &mut Timestamp| *at <= now;
        self.stock_retry_at.take_if(passed);
        for group in self.groups.values_mut() {
            group.retry_at.take_if(passed);
        }
        let mut due: Vec<_> =
            self.slots.iter().filter(|(_, slot)| self.is_due(slot, now)).map(|(id, _)| *id).collect();
        due.sort_unstable();
        for container in due {
            match self.slots.get_mut(&container) {
                Some(slot) if slot.phase == Phase::Ready => {
                    slot.phase = Phase::Pausing;
                    slot.since = now;
                    effects.push(Effect::Pause(container));
                }
                _ => self.remove(container, now, effects),
            }
        }
    }

    fn is_due(&self, slot: &Slot, now: Timestamp) -> bool {
        self.rest_of(slot).is_some_and(|rest| now.since(slot.since) >= rest)
    }

    /// How long a container may stay as it is.
    fn rest_of(&self, slot: &Slot) -> Option<Duration> {
        match slot.phase {
            Phase::Ready => Some(self.settings.pause_after),
            Phase::Paused => Some(self.settings.remove_after),
            Phase::Started if !self.is_ordered_stock(slot) => Some(self.settings.remove_after),
            _ => None,
        }
    }

    /// When [`Input::Tick`] has something to do next.
    pub fn next_tick(&self) -> Option<Timestamp> {
        let rests = self.slots.values().filter_map(|slot| Some(slot.since + self.rest_of(slot)?));
        let retries = self.groups.values().filter_map(|group| group.retry_at);
        rests.chain(retries).chain(self.stock_retry_at).min()
    }

    fn close(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        self.closed = true;
        let mut keys: Vec<_> = self.groups.keys().cloned().collect();
        keys.sort_unstable_by(|a, b| (&a.action, a.revision.0).cmp(&(&b.action, b.revision.0)));
        for key in keys {
            self.refuse_waiting(&key, Refusal::Closed, effects);
        }
        let idle = |phase| matches!(phase, Phase::Started | Phase::Ready | Phase::Paused);
        let mut ended: Vec<_> =
            self.slots.iter().filter(|(_, slot)| idle(slot.phase)).map(|(id, _)| *id).collect();
        ended.sort_unstable();
        for container in ended {
            self.remove(container, now, effects);
        }
    }

    /// Orders a container's end. Its memory counts until it is gone.
    pub(super) fn remove(&mut self, container: ContainerId, now: Timestamp, effects: &mut Vec<Effect>) {
        self.disown(container);
        if let Some(slot) = self.slots.get_mut(&container) {
            slot.phase = Phase::Removing;
            slot.since = now;
            effects.push(Effect::Destroy(container));
        }
    }

    fn disown(&mut self, container: ContainerId) {
        self.disown_quietly(container);
        if let Some(slot) = self.slots.get_mut(&container) {
            slot.owner = None;
        }
    }

    fn disown_quietly(&mut self, container: ContainerId) {
        let Some(key) = self.slots.get(&container).and_then(|slot| slot.owner.clone()) else { return };
        if let Some(group) = self.groups.get_mut(&key) {
            group.containers.retain(|id| *id != container);
            if group.containers.is_empty() && group.waiting.is_empty() && !group.queued {
                self.groups.remove(&key);
            }
        }
    }

    /// Orders a container for `owner`, or for stock.
    pub(super) fn create(
        &mut self,
        owner: Option<Arc<Key>>,
        kind: Arc<str>,
        memory_mb: u32,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        let container = ContainerId(self.next_container);
        self.next_container += 1;
        self.starting += 1;
        self.memory_used_mb += memory_mb;
        if let Some(group) = owner.as_ref().and_then(|key| self.groups.get_mut(key)) {
            group.containers.push(container);
        }
        let slot = Slot {
            owner: owner.clone(),
            kind: Arc::clone(&kind),
            memory_mb,
            phase: Phase::Starting,
            in_flight: 0,
            initialised: false,
            doomed: false,
            since: now,
            held_since: now,
        };
        self.slots.insert(container, slot);
        effects.push(Effect::Create { container, kind, memory_mb, owner });
    }

    /// What the pool holds.
    pub fn census(&self) -> Census {
        let mut census =
            Census { memory_used_mb: self.memory_used_mb, jobs_waiting: self.waiting, ..Census::default() };
        for slot in self.slots.values() {
            census.jobs_running += slot.in_flight as usize;
            *match slot.phase {
                Phase::Starting => &mut census.starting,
                Phase::Started => &mut census.prewarmed,
                Phase::Running => &mut census.running,
                Phase::Ready => &mut census.ready,
                Phase::Pausing | Phase::Paused => &mut census.paused,
                Phase::Removing => &mut census.removing,
            } += 1;
        }
        census
    }
}
