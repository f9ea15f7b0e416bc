//! Who gets the next container: stock, memory and the room of idle ones, shared out between actions.

use std::sync::Arc;

use triggerfish_model::Timestamp;

use super::state::{Group, Phase, Pool, Slot};
use super::{ContainerId, Effect, Key, Start};

/// Actions looked at for a further container in one step; those behind them have their turn in the next ones.
const TURNS_MAX: usize = 64;

/// What came of an attempt to give an action another container.
enum Growth {
    /// It got one, or one is being made for it.
    Grown,
    /// It needs none now.
    Content,
    /// It must wait, for memory or for another making to end.
    Blocked,
}

impl Pool {
    /// Puts an action with waiting jobs into the queue of turns; forgets one that has nothing.
    pub(super) fn enqueue(&mut self, key: &Arc<Key>) {
        let Some(group) = self.groups.get_mut(key) else { return };
        if !group.waiting.is_empty() {
            if !group.queued {
                group.queued = true;
                self.queue.push_back(Arc::clone(key));
            }
        } else if group.containers.is_empty() && !group.queued {
            self.groups.remove(key);
        }
    }

    /// Shares out what is free: first to actions that have nothing, then, if none of those is left, to others.
    pub(super) fn place(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        self.short = false;
        if self.closed {
            return;
        }
        if self.waiting > 0 && self.place_owed(now, effects) {
            self.place_more(now, effects);
        }
        if self.waiting == 0 {
            self.refill(now, effects);
        }
        self.drop_outdated_turns();
    }

    /// Serves the actions with no container; false if one of them must wait.
    fn place_owed(&mut self, now: Timestamp, effects: &mut Vec<Effect>) -> bool {
        let owed =
            |group: &Group| group.containers.is_empty() && !group.waiting.is_empty() && !group.rests(now);
        let keys: Vec<_> =
            self.queue.iter().filter(|key| self.groups.get(*key).is_some_and(owed)).cloned().collect();
        for key in keys {
            if matches!(self.grow(&key, now, effects), Growth::Blocked) {
                let need = self.groups.get(&key).map_or(0, |group| group.demand.memory_mb);
                self.short = self.free_mb() + self.sum_mb(|slot| slot.phase == Phase::Removing) < need;
                return false;
            }
        }
        true
    }

    fn place_more(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        for _ in 0..self.queue.len().min(TURNS_MAX) {
            let Some(key) = self.queue.pop_front() else { return };
            if self.groups.get(&key).is_some_and(|group| !group.rests(now)) {
                self.grow(&key, now, effects);
            }
            self.queue.push_back(key);
        }
    }

    fn drop_outdated_turns(&mut self) {
        let groups = &mut self.groups;
        // Only the front is looked at: an outdated entry in the middle costs nothing and comes to the front in time.
        while let Some(key) = self.queue.front() {
            let Some(group) = groups.get_mut(key) else { return };
            if !group.waiting.is_empty() {
                return;
            }
            group.queued = false;
            if group.containers.is_empty() {
                groups.remove(key);
            }
            self.queue.pop_front();
        }
    }

    fn grow(&mut self, key: &Arc<Key>, now: Timestamp, effects: &mut Vec<Effect>) -> Growth {
        let Some(group) = self.groups.get(key).filter(|group| self.wants_more(group)) else {
            return Growth::Content;
        };
        let demand = group.demand.clone();
        let first = group.containers.is_empty();
        let reserve_mb = if first { 0 } else { self.settings.memory_mb / 4 };
        let idle = |slot: &Slot| matches!(slot.phase, Phase::Ready | Phase::Paused | Phase::Started);
        let busy_mb = self.memory_used_mb - self.sum_mb(idle);
        if busy_mb + demand.memory_mb + reserve_mb > self.settings.memory_mb && !first {
            return Growth::Blocked;
        }
        if let Some(container) = self.stock(&demand.kind, demand.memory_mb) {
            let Some(job) = self.next_job(key, effects) else { return Growth::Content };
            self.adopt(container, key);
            self.start(container, job, Start::Prewarmed, now, effects);
            return Growth::Grown;
        }
        if self.starting >= self.settings.starting_max {
            return Growth::Blocked;
        }
        if demand.memory_mb <= self.free_mb() {
            self.create(Some(Arc::clone(key)), demand.kind, demand.memory_mb, now, effects);
            return Growth::Grown;
        }
        self.evict_for(demand.memory_mb, first, now, effects);
        Growth::Blocked
    }

    /// Whether more of its jobs wait than the containers on their way can take.
    fn wants_more(&self, group: &Group) -> bool {
        let coming: u32 = group
            .containers
            .iter()
            .filter_map(|id| self.slots.get(id))
            .map(|slot| match slot.phase {
                Phase::Starting | Phase::Pausing => group.demand.concurrency,
                Phase::Running if !slot.initialised => group.demand.concurrency - 1,
                _ => 0,
            })
            .sum();
        let instances_left =
            group.demand.instances.is_none_or(|max| group.containers.len() < max.max(1) as usize);
        group.waiting.len() > coming as usize && instances_left
    }

    fn stock(&self, kind: &str, memory_mb: u32) -> Option<ContainerId> {
        let fits =
            |slot: &Slot| slot.phase == Phase::Started && &*slot.kind == kind && slot.memory_mb == memory_mb;
        self.slots.iter().filter(|(_, slot)| fits(slot)).map(|(id, _)| *id).min()
    }

    fn adopt(&mut self, container: ContainerId, key: &Arc<Key>) {
        if let (Some(slot), Some(group)) = (self.slots.get_mut(&container), self.groups.get_mut(key)) {
            slot.owner = Some(Arc::clone(key));
            group.containers.push(container);
        }
    }

    /// Ends idle containers, the longest idle first, until `need_mb` are or will be free; none if that cannot be
    /// reached. Stock goes last, and only for an action that has no container: it is there to be taken.
    fn evict_for(&mut self, need_mb: u32, and_stock: bool, now: Timestamp, effects: &mut Vec<Effect>) {
        let mut coming_mb = self.free_mb() + self.sum_mb(|slot| slot.phase == Phase::Removing);
        let mut idle: Vec<_> = self
            .slots
            .iter()
            .filter_map(|(id, slot)| match slot.phase {
                Phase::Ready | Phase::Paused => Some((false, slot.since, *id, slot.memory_mb)),
                Phase::Started if and_stock => Some((true, slot.since, *id, slot.memory_mb)),
                _ => None,
            })
            .collect();
        if coming_mb + idle.iter().map(|(.., memory_mb)| memory_mb).sum::<u32>() < need_mb {
            return;
        }
        idle.sort_unstable();
        for (_, _, container, memory_mb) in idle {
            if coming_mb >= need_mb {
                return;
            }
            self.remove(container, now, effects);
            coming_mb += memory_mb;
        }
    }

    /// Orders stock that is missing, while nobody waits and there is memory for it.
    fn refill(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        if self.settings.prewarm.is_empty() || self.stock_retry_at.is_some_and(|at| now < at) {
            return;
        }
        self.stock_retry_at = None;
        for (kind, memory_mb, count) in self.settings.prewarm.clone() {
            let is_stock =
                |slot: &&Slot| matches!(slot.phase, Phase::Started | Phase::Starting) && slot.owner.is_none();
            let fits = |slot: &&Slot| slot.kind == kind && slot.memory_mb == memory_mb;
            let have = self.slots.values().filter(is_stock).filter(fits).count();
            for _ in have..count {
                if self.starting < self.settings.starting_max && memory_mb <= self.free_mb() {
                    self.create(None, Arc::clone(&kind), memory_mb, now, effects);
                }
            }
        }
    }

    /// Whether the settings ask for stock like this.
    pub(super) fn is_ordered_stock(&self, slot: &Slot) -> bool {
        self.settings
            .prewarm
            .iter()
            .any(|(kind, memory_mb, _)| *kind == slot.kind && *memory_mb == slot.memory_mb)
    }

    fn free_mb(&self) -> u32 {
        self.settings.memory_mb - self.memory_used_mb
    }

    fn sum_mb(&self, which: impl Fn(&Slot) -> bool) -> u32 {
        self.slots.values().filter(|slot| which(slot)).map(|slot| slot.memory_mb).sum()
    }
}

impl Group {
    /// Whether it waits for its next attempt at a making.
    fn rests(&self, now: Timestamp) -> bool {
        self.retry_at.is_some_and(|at| now < at)
    }
}
