//! Which deliveries are new and which may be acknowledged, as a pure machine: no socket, no clock.
//!
//! After a crash a new machine starts from the last durable [`Cursor`]. What was delivered and not acknowledged comes again
//! first, flagged as redelivered and in its order; and batches are acknowledged whole. So a redelivered message whose digest
//! begins one of the cursor's batches begins what was durable before: that batch and those behind it are not emitted again,
//! only acknowledged. One that begins no batch was under way and not durable: it is new, even where an equal one was durable.
//! Where equal messages begin a batch and follow it as well, as many are left out as the batch had: that is as close as
//! can be come without message ids. In doubt (other consumers of the queue may mix theirs in) a message is emitted.

use std::collections::VecDeque;

use super::cursor::{Cursor, Digest, Group};

/// New deliveries after which what an earlier connection left open is forgotten. Brokers put back what was not acknowledged
/// to the front of the queue, so it comes first; priorities and other consumers may change that somewhat.
const RECOVERED_FOR: u32 = 10_000;
/// Digests of earlier connections kept at once, the youngest: the cursor is written with each batch.
const RECOVERED_MAX: usize = 10_000;

/// A delivery as it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arrival {
    /// Its number on the channel.
    pub(crate) tag: u64,
    /// Whether the broker says that it may have sent it before.
    pub(crate) redelivered: bool,
    /// What it holds; absent where the message's own id tells.
    pub(crate) digest: Option<Digest>,
}

/// What is sent to the broker once a batch is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// All up to this tag are taken.
    Ack(u64),
    /// This one cannot be read: it goes to the dead letters of the queue.
    Reject(u64),
}

/// What one sealed batch allows to be answered.
#[derive(Debug)]
struct Sealed {
    number: u64,
    last: u64,
    rejected: Vec<u64>,
}

/// The machine.
#[derive(Debug)]
pub(crate) struct Session {
    number: u64,
    /// Durable before this connection; whether it was acknowledged is unknown.
    recovered: VecDeque<Group>,
    /// How many of these were acknowledged before the cursor was written.
    recovered_answered: usize,
    /// Whether the first of them has begun to come again.
    has_begun: bool,
    new_since: u32,
    /// Of this connection, not yet known to be acknowledged, with the last tag of each batch.
    open: VecDeque<(u64, Group)>,
    making: Group,
    /// Of the batch in the making: the last tag, and those to reject.
    last: u64,
    rejected: Vec<u64>,
    sealed: VecDeque<Sealed>,
    sealed_last: u64,
    /// Digests in the last cursor.
    sealed_open: usize,
    /// Answered up to this tag.
    answered: u64,
    duplicates: u64,
}

impl Session {
    /// A session on a new channel, after `cursor`.
    pub(crate) fn new(cursor: &Cursor) -> Self {
        let mut kept = 0;
        let young = cursor.open.iter().rev().take_while(|group| {
            kept += group.0.len();
            kept <= RECOVERED_MAX
        });
        let mut recovered: VecDeque<Group> = young.cloned().collect();
        recovered.make_contiguous().reverse();
        Self {
            number: cursor.number,
            recovered_answered: cursor.answered.saturating_sub(cursor.open.len() - recovered.len()),
            recovered,
            has_begun: false,
            new_since: 0,
            open: VecDeque::new(),
            making: Group::default(),
            last: 0,
            rejected: Vec::new(),
            sealed: VecDeque::new(),
            sealed_last: 0,
            sealed_open: count(&cursor.open),
            answered: 0,
            duplicates: 0,
        }
    }

    /// Takes a delivery; whether it is new.
    pub(crate) fn receive(&mut self, arrival: Arrival) -> bool {
        let Arrival { tag, redelivered, digest } = arrival;
        self.last = tag;
        if !redelivered && !self.recovered.is_empty() {
            self.new_since += 1;
            if self.new_since >= RECOVERED_FOR {
                self.recovered.clear();
            }
        }
        let Some(digest) = digest else { return true };
        self.making.0.push(digest);
        let is_known = redelivered && self.recover(digest);
        self.duplicates += u64::from(is_known);
        !is_known
    }

    /// Whether this was durable before.
    fn recover(&mut self, digest: Digest) -> bool {
        // The batch that has begun goes on; of that, other consumers may have had some.
        let goes_on = self.has_begun.then(|| self.recovered.front()).flatten();
        let at = goes_on.and_then(|group| group.0.iter().position(|known| *known == digest));
        let (group, at) = match at {
            Some(at) => (0, at),
            None => match self.begins(digest) {
                Some(group) => (group, 0),
                None => {
                    // What was durable came first; what comes now was not.
                    self.recovered.clear();
                    return false;
                }
            },
        };
        // What comes before it was acknowledged.
        self.recovered.drain(..group);
        self.recovered_answered = self.recovered_answered.saturating_sub(group);
        self.has_begun = true;
        if let Some(group) = self.recovered.front_mut() {
            group.0.drain(..=at);
            if group.0.is_empty() {
                self.recovered.pop_front();
                self.recovered_answered = self.recovered_answered.saturating_sub(1);
                self.has_begun = false;
            }
        }
        true
    }

    /// The batch that this begins: rather one that was not acknowledged than one that was.
    fn begins(&self, digest: Digest) -> Option<usize> {
        let begins = |at: &usize| self.recovered.get(*at).and_then(|group| group.0.first()) == Some(&digest);
        let answered = self.recovered_answered.min(self.recovered.len());
        (answered..self.recovered.len()).find(begins).or_else(|| (0..answered).find(begins))
    }

    /// The delivery that was taken last cannot be read.
    pub(crate) fn reject(&mut self) {
        self.rejected.push(self.last);
    }

    /// Whether something was received since the last batch.
    pub(crate) fn has_news(&self) -> bool {
        self.last > self.sealed_last
    }

    /// Ends a batch: the cursor behind it.
    pub(crate) fn seal(&mut self, queue: &str) -> Cursor {
        self.number += 1;
        self.sealed_last = self.last;
        let rejected = std::mem::take(&mut self.rejected);
        self.sealed.push_back(Sealed { number: self.number, last: self.last, rejected });
        let made = std::mem::take(&mut self.making);
        if !made.0.is_empty() {
            self.open.push_back((self.last, made));
        }
        let mine = self.open.iter().map(|(_, group)| group);
        let open: Vec<Group> = self.recovered.iter().chain(mine).cloned().collect();
        self.sealed_open = count(&open);
        let mine = self.open.iter().filter(|(tag, _)| *tag <= self.answered).count();
        let answered = self.recovered.len() + mine;
        Cursor { queue: queue.to_owned(), number: self.number, open, answered }
    }

    /// The batch of this number, and those before it, are durable: what the broker is told.
    pub(crate) fn durable(&mut self, number: u64) -> Vec<Answer> {
        let mut answers = Vec::new();
        while self.sealed.front().is_some_and(|sealed| sealed.number <= number) {
            let Some(Sealed { last, rejected, .. }) = self.sealed.pop_front() else { break };
            for tag in rejected {
                // Acknowledging nothing is an error to the broker, so each answer has something to answer.
                if tag > self.answered + 1 {
                    answers.push(Answer::Ack(tag - 1));
                }
                answers.push(Answer::Reject(tag));
                self.answered = tag;
            }
            if last > self.answered {
                answers.push(Answer::Ack(last));
                self.answered = last;
            }
        }
        answers
    }

    /// Up to which tag the broker was answered.
    pub(crate) fn answered(&self) -> u64 {
        self.answered
    }

    /// The broker has had the answers up to this tag.
    pub(crate) fn proven(&mut self, tag: u64) {
        while self.open.front().is_some_and(|(open, _)| *open <= tag) {
            self.open.pop_front();
        }
    }

    /// Whether answers were sent that are not proven to have arrived.
    pub(crate) fn is_unproven(&self) -> bool {
        self.open.front().is_some_and(|(tag, _)| *tag <= self.answered)
    }

    /// Whether the last cursor holds what is proven since: what is needless may hit a message that is only equal.
    pub(crate) fn wants_trim(&self) -> bool {
        count(&self.recovered) + count(self.open.iter().map(|(_, group)| group)) < self.sealed_open
    }

    /// Redelivered messages that were left out since this was asked last.
    pub(crate) fn take_duplicates(&mut self) -> u64 {
        std::mem::take(&mut self.duplicates)
    }
}

fn count<'a>(groups: impl IntoIterator<Item = &'a Group>) -> usize {
    groups.into_iter().map(|group| group.0.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(n: u8) -> Digest {
        Digest([n; 6])
    }

    fn arrival(tag: u64, redelivered: bool, n: u8) -> Arrival {
        Arrival { tag, redelivered, digest: Some(digest(n)) }
    }

    fn open(cursor: &Cursor) -> Vec<u8> {
        cursor.open.iter().flat_map(|group| &group.0).map(|digest| digest.0[0]).collect()
    }

    fn durable_before(groups: &[&[u8]]) -> Session {
        let group = |group: &&[u8]| Group(group.iter().map(|n| digest(*n)).collect());
        Session::new(&Cursor { open: groups.iter().map(group).collect(), ..Cursor::default() })
    }

    /// Which of these redelivered messages are new.
    fn new_of(session: &mut Session, redelivered: &[u8]) -> Vec<u8> {
        let new = |(tag, n): &(u64, u8)| session.receive(arrival(*tag, true, *n));
        (1..).zip(redelivered.iter().copied()).filter(new).map(|(_, n)| n).collect()
    }

    #[test]
    fn nothing_is_answered_before_it_is_durable_nor_forgotten_before_that_is_proven() {
        let mut session = Session::new(&Cursor::default());
        assert!(session.receive(arrival(1, false, 1)) && session.receive(arrival(2, false, 2)));
        let one = session.seal("q");
        assert!(session.receive(arrival(3, false, 3)));
        let two = session.seal("q");
        assert_eq!((open(&one), open(&two)), (vec![1, 2], vec![1, 2, 3]));
        assert!(!session.is_unproven());
        assert_eq!(session.durable(one.number), [Answer::Ack(2)]);
        assert!(session.is_unproven());
        assert!(!session.wants_trim());
        session.proven(2);
        assert!(!session.is_unproven() && session.wants_trim());
        assert_eq!(session.durable(two.number), [Answer::Ack(3)]);
        let three = session.seal("q");
        assert_eq!(open(&three), [3]);
        assert!(!session.wants_trim() && session.durable(three.number).is_empty());
    }

    #[test]
    fn what_cannot_be_read_is_rejected_alone() {
        let mut session = Session::new(&Cursor::default());
        for tag in 1..=6 {
            session.receive(arrival(tag, false, 1));
            if [1, 4, 5].contains(&tag) {
                session.reject();
            }
        }
        let cursor = session.seal("q");
        use Answer::{Ack, Reject};
        assert_eq!(session.durable(cursor.number), [Reject(1), Ack(3), Reject(4), Reject(5), Ack(6)]);
        assert_eq!(session.durable(cursor.number), []);
    }

    #[test]
    fn redelivered_messages_are_told_by_flag_and_content_and_equal_ones_are_counted() {
        // Nothing of it was acknowledged; the first batch was; both were.
        let before: [&[u8]; 2] = [&[1, 2, 1], &[3, 1]];
        assert_eq!(new_of(&mut durable_before(&before), &[1, 2, 1, 3, 1, 1, 4]), [1, 4]);
        assert_eq!(new_of(&mut durable_before(&before), &[3, 1, 1, 4]), [1, 4]);
        assert_eq!(new_of(&mut durable_before(&before), &[2, 4]), [2, 4]);
        // Without the flag it is another one.
        assert!(durable_before(&before).receive(arrival(1, false, 1)));
        let mut equal = durable_before(&[&[7, 7, 7], &[7, 7]]);
        assert_eq!(new_of(&mut equal, &[7; 8]), [7; 3]);
        assert_eq!((equal.take_duplicates(), equal.take_duplicates()), (5, 0));
        // All of them are open again until their acknowledgement is proven.
        assert_eq!(open(&equal.seal("q")), [7; 8]);
    }

    #[test]
    fn a_message_that_is_equal_to_the_last_durable_one_is_new() {
        assert_eq!(new_of(&mut durable_before(&[&[1, 1, 2]]), &[2, 3, 3]), [2, 3, 3]);
        assert_eq!(new_of(&mut durable_before(&[&[1, 1, 2]]), &[1, 1, 2, 2]), [2]);
    }

    #[test]
    fn of_equal_batches_the_one_that_was_not_acknowledged_comes_again() {
        let mut session = Session::new(&Cursor::default());
        session.receive(arrival(1, false, 7));
        let one = session.seal("q");
        session.durable(one.number);
        (2..5).for_each(|tag| assert!(session.receive(arrival(tag, false, 7))));
        let two = session.seal("q");
        assert_eq!(two.answered, 1);
        assert_eq!(new_of(&mut Session::new(&two), &[7; 5]), [7; 2]);
    }

    #[test]
    fn what_another_consumer_had_in_between_is_left_out() {
        assert_eq!(new_of(&mut durable_before(&[&[1, 2, 3], &[4, 5]]), &[1, 3, 4, 5, 9]), [9]);
        assert_eq!(new_of(&mut durable_before(&[&[1, 2, 3], &[4, 5]]), &[9, 1]), [9, 1]);
    }

    #[test]
    fn what_has_an_id_of_its_own_is_not_kept() {
        let mut session = Session::new(&Cursor::default());
        assert!(session.receive(Arrival { tag: 1, redelivered: true, digest: None }));
        let cursor = session.seal("q");
        assert!(cursor.open.is_empty());
        assert_eq!(session.durable(cursor.number), [Answer::Ack(1)]);
        assert!(!session.is_unproven());
    }

    #[test]
    fn what_an_earlier_connection_left_is_forgotten_after_a_while() {
        let mut session = durable_before(&[&[1]]);
        for tag in 1..=u64::from(RECOVERED_FOR) {
            assert_eq!(session.recovered.len(), 1);
            session.receive(Arrival { tag, redelivered: false, digest: None });
        }
        assert!(session.recovered.is_empty());
        assert!(session.receive(arrival(20_000, true, 1)));
    }

    /// Every step of a crash: durable or not, answered or not, proven or not. What was durable never comes twice, and what
    /// was not durable is new.
    #[test]
    fn whatever_the_broker_sends_again_is_taken_once() {
        for durable in 0..=4_u64 {
            for answered in 0..=durable {
                let mut session = Session::new(&Cursor::default());
                let (mut cursor, mut taken) = (Cursor::default(), 0);
                for tag in 1..=4 {
                    assert!(session.receive(arrival(tag, false, u8::try_from(tag).unwrap())));
                    let sealed = session.seal("q");
                    if tag <= durable {
                        cursor = sealed;
                        taken += 1;
                    }
                }
                let mut session = Session::new(&cursor);
                for (tag, n) in (answered + 1..=4).zip(1..) {
                    taken += u32::from(session.receive(arrival(n, true, u8::try_from(tag).unwrap())));
                }
                assert_eq!(taken, 4, "durable {durable}, answered {answered}");
            }
        }
    }
}
