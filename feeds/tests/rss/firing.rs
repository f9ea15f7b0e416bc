//! What fires, and that a crash at any write neither loses nor doubles.

use serde_json::json;
use triggerfish_model::FeedState;

use super::life::*;
use super::web::Response;
use super::*;

#[test]
fn what_is_new_fires_once_oldest_first() {
    let (server, now) = server(Response::new(200, rss(0..3)));
    let durable = Durable::default();
    let life = begin(&durable, &params(&server, "/feed", json!({})));
    now.items(1..6);
    until_events(&durable, 3);
    now.items(5..7);
    until_events(&durable, 4);
    assert_eq!(fired(&durable), [3, 4, 5, 6]);
    assert_eq!(durable.events()[0]["title"], json!("item 3"));
    life.stop();
    // The first poll of a feed may fire the latest few; another URL is another feed.
    let other = Durable::default();
    let life = begin(&other, &params(&server, "/feed", json!({"first": 1})));
    until_events(&other, 1);
    life.set(&params(&server, "/other", json!({"first": 2})));
    until_events(&other, 3);
    assert_eq!(fired(&other), [6, 5, 6]);
    life.stop();
}

#[test]
fn edits_and_keywords_are_heeded() {
    let document = |title: &str| {
        let items = format!("<item><guid>1</guid><title>{title}</title></item>");
        Response::new(200, format!("<rss version='2.0'><channel>{items}</channel></rss>"))
    };
    let (server, now) = server(document("nothing"));
    let (edits, filtered) = (Durable::default(), Durable::default());
    let first = begin(&edits, &params(&server, "/", json!({"edits": true})));
    let second = begin(&filtered, &params(&server, "/", json!({"filter": "Rust, crab", "edits": true})));
    now.set(document("Rusty"));
    until_events(&edits, 1);
    now.set(document("Rusty crab"));
    until_events(&edits, 2);
    until_events(&filtered, 1);
    let titles =
        |durable: &Durable| durable.events().iter().map(|event| event["title"].clone()).collect::<Vec<_>>();
    assert_eq!(titles(&edits), ["Rusty", "Rusty crab"]);
    assert_eq!(titles(&filtered), ["Rusty crab"], "one of two keywords is not enough");
    assert_eq!(edits.events()[1]["edited"], json!(true));
    first.stop();
    second.stop();
}

#[test]
fn a_crash_at_any_write_neither_loses_nor_doubles() {
    // Three batches.
    const ITEMS: usize = 250;
    let (server, now) = server(Response::new(200, rss(0..ITEMS)));
    let params = params(&server, "/", json!({"first": 1000}));
    for write in 0..3 {
        for crash in [Crash::BeforeWrite(write), Crash::AfterWrite(write)] {
            now.items(0..ITEMS);
            let durable = Durable::default();
            durable.crash_at(Some(crash));
            let life = Life::begin(&durable, &params);
            eventually("the crash", || durable.has_crashed().then_some(()));
            life.crash();
            durable.crash_at(None);
            now.items(0..ITEMS + 50);
            let life = Life::begin(&durable, &params);
            until_events(&durable, ITEMS + 50);
            assert_eq!(fired(&durable), (0..ITEMS + 50).collect::<Vec<_>>(), "{crash:?}");
            assert_eq!(life.status().state, FeedState::Running);
            life.stop();
        }
    }
}
