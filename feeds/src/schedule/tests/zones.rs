//! Around every transition of every zone from 1900 to 2038, against a scan of each minute that knows nothing of gaps and
//! folds. The patterns come from a seed that is printed; `ZONES_SEED` repeats them.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp as Instant, ToSpan};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::super::Schedule;

/// What is compared before and after a transition, beside its own length; that is a day where a zone changed its date.
const COMPARED: SignedDuration = SignedDuration::from_hours(2);
/// What is scanned beyond that: what lies at the edges needs what lies behind them.
const BEYOND: SignedDuration = SignedDuration::from_hours(3);
/// Patterns at each transition.
const PATTERNS: usize = 3;

/// A pattern, and what it means.
struct Pattern {
    text: String,
    minutes: BTreeSet<i8>,
    hours: BTreeSet<i8>,
    is_elapsed: bool,
}

impl Pattern {
    /// One that has something to do around `hour`, where the clocks are set.
    fn random(random: &mut StdRng, hour: i8) -> Self {
        let (minutes, minute_text): (BTreeSet<i8>, String) = match random.random_range(0..3) {
            0 => {
                let minute = random.random_range(0..60);
                (BTreeSet::from([minute]), minute.to_string())
            }
            1 => {
                let step = random.random_range(7..31);
                ((0..60).step_by(step).collect(), format!("*/{step}"))
            }
            _ => (BTreeSet::from([0, 59]), "0,59".into()),
        };
        let near = |by: i8| (hour + by).rem_euclid(24);
        let (hours, hour_text, is_elapsed): (BTreeSet<i8>, String, bool) = match random.random_range(0..4) {
            0 => ((0..24).collect(), "*".into(), true),
            1 => {
                let step = random.random_range(2..6);
                ((0..24).step_by(step).collect(), format!("*/{step}"), true)
            }
            2 => {
                let hour = near(random.random_range(-2..2));
                (BTreeSet::from([hour]), hour.to_string(), false)
            }
            _ => {
                let (a, b) = (near(-1), near(random.random_range(0..2)));
                (BTreeSet::from([a, b]), format!("{a},{b}"), false)
            }
        };
        Self { text: format!("{minute_text} {hour_text} * * *"), minutes, hours, is_elapsed }
    }

    fn matches(&self, local: DateTime) -> bool {
        local.second() == 0 && self.minutes.contains(&local.minute()) && self.hours.contains(&local.hour())
    }
}

/// Each whole minute that a clock on the wall shows within a time, in order, and what it shows after each transition.
fn scan(zone: &TimeZone, from: Instant, to: Instant) -> Vec<(Instant, DateTime)> {
    let inside = zone.following(from).map(|transition| transition.timestamp()).take_while(|at| *at < to);
    let mut starts: Vec<Instant> = std::iter::once(from).chain(inside).collect();
    starts.push(to);
    let mut shown = Vec::new();
    for stretch in starts.windows(2) {
        let mut at = stretch[0];
        while at < stretch[1] {
            let local = zone.to_datetime(at);
            shown.push((at, local));
            // Offsets of old have seconds: after a transition whole minutes lie elsewhere.
            at += SignedDuration::from_secs(60 - i64::from(local.second()));
        }
    }
    shown
}

/// When the pattern fires, by looking at each minute.
fn naive(pattern: &Pattern, shown: &[(Instant, DateTime)]) -> BTreeSet<Instant> {
    if pattern.is_elapsed {
        return shown.iter().filter(|(_, local)| pattern.matches(*local)).map(|(at, _)| *at).collect();
    }
    let mut first = BTreeMap::<DateTime, Instant>::new();
    for (at, local) in shown {
        first.entry(*local).or_insert(*at);
    }
    let mut fires = BTreeSet::new();
    // Each minute that the clock could show, whether it ever does; where it does not, the moment that it is past it.
    let (mut local, last) = (*first.keys().next().unwrap(), *first.keys().next_back().unwrap());
    local = local.with().second(0).build().unwrap();
    while local < last {
        if pattern.matches(local) {
            let past = || shown.iter().find(|(_, later)| *later > local).unwrap().0;
            fires.insert(first.get(&local).copied().unwrap_or_else(past));
        }
        local = local.checked_add(1.minute()).unwrap();
    }
    fires
}

#[test]
fn every_transition_of_every_zone_is_as_a_scan_of_each_minute_says() {
    let seed =
        std::env::var("ZONES_SEED").map_or_else(|_| rand::rng().random(), |text| text.parse().unwrap());
    eprintln!("ZONES_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let names: Vec<String> = jiff::tz::db().available().map(|name| name.to_string()).collect();
    assert!(names.len() > 500, "{} zones", names.len());
    // Zones that share a transition share what follows from it here, where it is the only one.
    let mut seen = HashSet::<(Instant, Offset, Offset)>::new();
    let (mut gaps, mut folds, mut patterns) = (0, 0, 0);
    let from: Instant = "1900-01-01T00:00:00Z".parse().unwrap();
    let to: Instant = "2039-01-01T00:00:00Z".parse().unwrap();
    for name in &names {
        let zone = TimeZone::get(name).unwrap();
        let all: Vec<Instant> =
            zone.following(from).map(|transition| transition.timestamp()).take_while(|at| *at < to).collect();
        for at in all {
            let (before, after) = (zone.to_offset(at - SignedDuration::from_secs(1)), zone.to_offset(at));
            let shift = SignedDuration::from_secs(i64::from(after.seconds() - before.seconds())).abs();
            let compared = COMPARED + shift;
            let (begin, end) = (at - compared - BEYOND - shift, at + compared + BEYOND + shift);
            let others = zone.following(begin).take_while(|other| other.timestamp() < end).count() - 1;
            if before == after || (!seen.insert((at, before, after)) && others == 0) {
                continue;
            }
            if after > before {
                gaps += 1
            } else {
                folds += 1
            }
            let shown = scan(&zone, begin, end);
            for _ in 0..PATTERNS {
                let pattern = Pattern::random(&mut random, before.to_datetime(at).hour());
                let schedule = Schedule::parse(&pattern.text, zone.clone()).unwrap();
                let (first, last) = (at - compared, at + compared);
                let expected: Vec<Instant> =
                    naive(&pattern, &shown).into_iter().filter(|at| *at > first && *at < last).collect();
                let fires = std::iter::successors(schedule.next(first), |(at, _)| schedule.next(*at));
                let found: Vec<Instant> = fires.map(|(at, _)| at).take_while(|at| *at < last).collect();
                assert_eq!(found, expected, "`{}` in {name} around {at}", pattern.text);
                patterns += 1;
            }
        }
    }
    eprintln!("{} zones: {gaps} gaps and {folds} folds of their own, {patterns} patterns", names.len());
    assert!(gaps > 2000 && folds > 2000);
}
