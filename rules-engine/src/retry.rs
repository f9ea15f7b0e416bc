//! When to try again: exponential back-off with jitter.
//!
//! Chance is passed in, so that a test or a simulation owns it.

use std::time::Duration;

/// How the waits between attempts grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The upper bound of the first wait.
    pub first: Duration,
    /// The upper bound of every wait.
    pub max: Duration,
}

impl Backoff {
    /// The wait before the next attempt, after `failures` failures in a row (from 1): between half of and the whole
    /// of `first * 2^(failures - 1)`, never more than `max`. `random` is drawn evenly from all of `u64`.
    pub fn delay(&self, failures: u32, random: u64) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        let whole = self.first.saturating_mul(1 << doublings).min(self.max);
        let half = whole / 2;
        let span = u64::try_from((whole - half).as_nanos()).unwrap_or(u64::MAX);
        // The high half of the product is an even draw from 0..=span.
        let jitter = (u128::from(random) * (u128::from(span) + 1)) >> 64;
        half + Duration::from_nanos(u64::try_from(jitter).unwrap_or(span))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINUTE: Backoff = Backoff { first: Duration::from_millis(500), max: Duration::from_secs(60) };

    #[test]
    fn waits_double_up_to_the_bound() {
        let most: Vec<u64> =
            [1, 2, 3, 8, 9, u32::MAX].iter().map(|&n| MINUTE.delay(n, u64::MAX).as_millis() as u64).collect();
        assert_eq!(most, [500, 1000, 2000, 60_000, 60_000, 60_000]);
        assert_eq!(MINUTE.delay(1, 0), Duration::from_millis(250));
        assert_eq!(MINUTE.delay(0, 0), Duration::from_millis(250));
    }

    proptest! {
        #[test]
        fn a_wait_is_within_its_bounds(failures in any::<u32>(), random in any::<u64>()) {
            let wait = MINUTE.delay(failures, random);
            prop_assert!(wait >= MINUTE.first / 2 && wait <= MINUTE.max);
        }
    }
}
