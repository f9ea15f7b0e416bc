//! Which deliveries to ask for again. Pure.
//!
//! GitHub sends a delivery once. What failed (the hub was down, full, or slow) stays in its list for three days, each try
//! with its outcome; a try that is asked for is a further entry of the same id. A sweep looks at the tries since the last
//! one, newest first.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};

use octocrab::models::hooks::Delivery;
use octocrab::models::webhook_events::WebhookEventType;
use serde::{Deserialize, Serialize};
use triggerfish_model::Timestamp;

/// How often a delivery is asked for again before it is given up; the list that a page shows tells why it fails.
const ASKS_MAX: u32 = 5;
/// Deliveries that are still counted from one sweep to the next; the counts are written with each.
const COUNTED_MAX: usize = 500;
/// Deliveries that one sweep asks for: at GitHub's limit of 80 writes a minute they take six minutes.
const ASKED_MAX: usize = 500;

/// How far deliveries have been swept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Swept {
    /// Tries before this were looked at, in milliseconds since 1970.
    pub(super) upto: i64,
    /// How often deliveries that still fail have been asked for.
    #[serde(default)]
    pub(super) asked: BTreeMap<String, u32>,
}

/// A delivery that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Missed {
    /// The id of the delivery, which all its tries share.
    pub(super) guid: String,
    /// The last try: what is asked for again.
    pub(super) id: u64,
    /// What came of that, for texts.
    pub(super) outcome: String,
    at: Timestamp,
}

/// Tries of deliveries as they are listed, over many pages.
#[derive(Default)]
pub(super) struct Tries(HashMap<String, Option<Missed>>);

impl Tries {
    /// Adds a try. They come newest first, so the first one of a delivery is its last try.
    pub(super) fn add(&mut self, delivery: &Delivery, at: Timestamp) {
        let missed = Missed {
            guid: delivery.guid.clone(),
            id: delivery.id.into_inner(),
            outcome: format!("{} {}", delivery.status_code, delivery.status),
            at,
        };
        let is_done =
            (200..300).contains(&delivery.status_code) || delivery.event == Some(WebhookEventType::Ping);
        let entry = self.0.entry(delivery.guid.clone()).or_insert_with(|| Some(missed));
        if is_done {
            *entry = None;
        }
    }

    /// The deliveries of which no try succeeded, oldest first.
    pub(super) fn failed(self) -> Vec<Missed> {
        let mut failed: Vec<Missed> = self.0.into_values().flatten().collect();
        failed.sort_by_key(|missed| (missed.at, missed.id));
        failed
    }
}

/// What a sweep does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asking {
    /// What to ask for, in this order.
    pub(super) ask: Vec<Missed>,
    /// What has failed too often to ask for it again, told once.
    pub(super) given_up: Vec<Missed>,
    /// How often each of these has been asked for after this, those that were given up before among them: as long as they
    /// are listed they are not asked for anew.
    pub(super) counts: BTreeMap<String, u32>,
    /// Whether there is more to ask for than one sweep does.
    pub(super) more: bool,
}

/// Decides of deliveries that failed and that the hub has not.
pub(super) fn decide(failed: Vec<Missed>, asked: &BTreeMap<String, u32>) -> Asking {
    let mut asking = Asking { ask: Vec::new(), given_up: Vec::new(), counts: BTreeMap::new(), more: false };
    for missed in failed {
        let count = asked.get(&missed.guid).copied().unwrap_or_default();
        if count < ASKS_MAX && asking.ask.len() == ASKED_MAX {
            asking.more = true;
            continue;
        }
        if asking.counts.len() < COUNTED_MAX {
            asking.counts.insert(missed.guid.clone(), count.saturating_add(1).min(ASKS_MAX + 1));
        }
        match count.cmp(&ASKS_MAX) {
            Ordering::Less => asking.ask.push(missed),
            Ordering::Equal => asking.given_up.push(missed),
            Ordering::Greater => {}
        }
    }
    asking
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn tries(list: &[(u64, &str, u16, &str)]) -> Vec<(String, u64)> {
        let mut tries = Tries::default();
        for (id, guid, status, event) in list {
            let delivery = json!({
                "id": id, "guid": guid, "delivered_at": "2026-01-01T00:00:00Z", "redelivery": false, "duration": 0.1,
                "status": "x", "status_code": status, "event": event, "action": null, "installation_id": null,
                "repository_id": 1,
            });
            // Higher ids are newer.
            let at = Timestamp::from_millis(i64::try_from(*id).unwrap());
            tries.add(&serde_json::from_value(delivery).unwrap(), at);
        }
        tries.failed().into_iter().map(|missed| (missed.guid, missed.id)).collect()
    }

    #[test]
    fn of_each_delivery_the_last_try_counts_unless_one_succeeded() {
        let listed = [
            (9, "c", 502, "push"),
            (8, "b", 202, "push"),
            (7, "a", 503, "push"),
            (6, "p", 502, "ping"),
            (5, "b", 502, "push"),
            (4, "a", 502, "push"),
            (3, "d", 500, "push"),
            (2, "e", 0, "push"),
        ];
        assert_eq!(tries(&listed), [("e".into(), 2), ("d".into(), 3), ("a".into(), 7), ("c".into(), 9)]);
        assert_eq!(tries(&[(2, "a", 502, "push"), (1, "a", 200, "push")]), [], "an older success counts too");
    }

    fn missed(guid: &str) -> Missed {
        Missed { guid: guid.into(), id: 1, outcome: "502 x".into(), at: Timestamp::from_millis(0) }
    }

    #[test]
    fn what_fails_again_and_again_is_given_up() {
        let mut asked = BTreeMap::new();
        for time in 1..=ASKS_MAX {
            let asking = decide(vec![missed("a"), missed("b")], &asked);
            assert_eq!((asking.ask.len(), asking.given_up.len()), (2, 0), "{time}");
            asked = asking.counts;
        }
        let asking = decide(vec![missed("a"), missed("n")], &asked);
        assert_eq!((asking.ask, asking.given_up), (vec![missed("n")], vec![missed("a")]));
        assert!(!asking.counts.contains_key("b"), "what came is not counted");
        let asking = decide(vec![missed("a")], &asking.counts);
        assert_eq!((asking.ask, asking.given_up), (vec![], vec![]), "it is told once");
        assert!(asking.counts.contains_key("a"), "and not asked for anew");
    }

    #[test]
    fn one_sweep_asks_for_so_many() {
        let all: Vec<Missed> = (0..ASKED_MAX + 1).map(|n| missed(&n.to_string())).collect();
        let Asking { ask, more, counts, .. } = decide(all, &BTreeMap::new());
        assert_eq!((ask.len(), more), (ASKED_MAX, true));
        assert!(counts.len() <= COUNTED_MAX);
    }
}
