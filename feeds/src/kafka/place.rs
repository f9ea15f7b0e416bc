//! Where a partition is begun. Pure.

use super::cursor::{Mark, Print};

/// What is known of a partition when it is assigned.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    /// How far it is durable here.
    pub(crate) mark: Option<Mark>,
    /// What is committed for the group.
    pub(crate) committed: Option<i64>,
    /// The oldest offset that is there.
    pub(crate) low: i64,
    /// The offset that the next message will get.
    pub(crate) high: i64,
    /// Where the user wants an unknown partition begun.
    pub(crate) start: i64,
    /// The generation of an unknown one.
    pub(crate) generation: u32,
}

/// Where it is begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Begin {
    /// The offset that is read first.
    pub(crate) at: i64,
    /// What must be in that place where the topic is still the same one.
    pub(crate) expects: Option<Print>,
    /// Below this everything is done.
    pub(crate) mark: Mark,
    /// Messages that expired before they were read.
    pub(crate) expired: i64,
}

/// Decides: at the later of the mark and the committed offset, unless the partition is another one now.
pub(crate) fn begin(known: Known) -> Begin {
    let Known { mark, committed, low, high, start, generation } = known;
    // Beyond the end it was committed for a topic that is gone.
    let committed = committed.filter(|offset| (0..=high).contains(offset));
    let at = |next: i64, generation: u32| Begin {
        at: next.clamp(low, high),
        expects: None,
        mark: Mark { next: next.clamp(low, high), print: None, generation },
        expired: (low - next).max(0),
    };
    match mark {
        // Offsets never go back but in a new topic, of which nothing was read.
        Some(mark) if mark.next > high => at(low, mark.generation + 1),
        Some(mark) => match committed {
            // Another member of the group went on.
            Some(committed) if committed > mark.next => at(committed, mark.generation),
            _ if mark.next > low && mark.print.is_some() => {
                Begin { at: mark.next - 1, expects: mark.print.clone(), mark, expired: 0 }
            }
            _ => at(mark.next, mark.generation),
        },
        None => match committed {
            Some(committed) => at(committed, generation),
            None => at(start.max(low), generation),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::super::cursor::Trace;
    use super::*;

    fn print() -> Print {
        Trace::default().print()
    }

    fn mark(next: i64) -> Option<Mark> {
        Some(Mark { next, print: Some(print()), generation: 2 })
    }

    fn known(mark: Option<Mark>, committed: Option<i64>) -> Known {
        Known { mark, committed, low: 10, high: 100, start: 100, generation: 0 }
    }

    fn placed(known: Known) -> (i64, bool, i64, u32, i64) {
        let Begin { at, expects, mark, expired } = begin(known);
        (at, expects.is_some(), mark.next, mark.generation, expired)
    }

    #[test]
    fn the_later_of_mark_and_commit_counts() {
        assert_eq!(placed(known(mark(50), None)), (49, true, 50, 2, 0));
        assert_eq!(placed(known(mark(50), Some(40))), (49, true, 50, 2, 0));
        assert_eq!(placed(known(mark(50), Some(60))), (60, false, 60, 2, 0));
        assert_eq!(placed(known(None, Some(60))), (60, false, 60, 0, 0));
        assert_eq!(placed(known(mark(100), None)), (99, true, 100, 2, 0));
    }

    #[test]
    fn an_unknown_partition_begins_where_the_user_says() {
        assert_eq!(placed(known(None, None)), (100, false, 100, 0, 0));
        assert_eq!(placed(Known { start: 0, ..known(None, None) }), (10, false, 10, 0, 0));
        assert_eq!(placed(Known { start: 30, ..known(None, None) }), (30, false, 30, 0, 0));
    }

    #[test]
    fn what_expired_is_counted() {
        assert_eq!(placed(known(mark(4), None)), (10, false, 10, 2, 6));
        assert_eq!(placed(known(None, Some(4))), (10, false, 10, 0, 6));
        assert_eq!(placed(known(mark(10), None)), (10, false, 10, 2, 0));
    }

    #[test]
    fn a_partition_that_became_shorter_is_a_new_one() {
        assert_eq!(placed(known(mark(101), Some(101))), (10, false, 10, 3, 0));
        assert_eq!(placed(known(None, Some(101))), (100, false, 100, 0, 0));
        assert_eq!(placed(known(mark(101), Some(30))), (10, false, 10, 3, 0));
    }
}
