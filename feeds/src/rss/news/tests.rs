use super::*;
use crate::rss::cursor::ContentHash;
use crate::rss::settings::Given;
use serde_json::{Map, json};

fn settings(first: u64, edits: bool, filter: &str) -> Settings {
    let given = Given {
        url: Some("http://a/"),
        polling_interval: None,
        filter: Some(filter),
        first: Some(first),
        edits,
    };
    Settings::read(&given).unwrap()
}

/// An entry whose id is `name`'s part before the colon, and whose content is all of it.
fn entry(name: &str, dated: Option<i64>) -> Entry {
    let id = name.split(':').next().unwrap();
    let payload = Map::from_iter([("title".to_owned(), json!(name))]);
    Entry { id: EntryId::of(&[id]), content: ContentHash::of(name), dated, payload }
}

/// A document of these entries, the latest first.
fn document(names: &[&str]) -> Document {
    let entries = names.iter().map(|name| entry(name, None)).collect();
    Document { ttl_minutes: None, entries, left_out: 0 }
}

fn validators(text: &str) -> Option<Validators> {
    Some(Validators { of: String::new(), etag: Some(text.into()), last_modified: None })
}

fn read(cursor: &mut Cursor, settings: &Settings, document: Document) -> Vec<FeedBatch<Cursor>> {
    let around = Around { settings, validators: validators("v"), since: None, event_bytes_max: 200 };
    news(cursor, document, around)
}

fn titles(batches: &[FeedBatch<Cursor>]) -> Vec<String> {
    let events = batches.iter().flat_map(|batch| &batch.events);
    events.map(|event| event.payload.to_map()["title"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn the_first_document_fires_nothing_or_the_last_few_and_later_ones_what_is_new() {
    for (first, expected) in [(0, vec![]), (2, vec!["b", "c"]), (9, vec!["a", "b", "c"])] {
        let (settings, mut cursor) = (settings(first, false, ""), Cursor::new("u"));
        let batches = read(&mut cursor, &settings, document(&["c", "b", "a"]));
        assert_eq!(titles(&batches), expected);
        assert_eq!(batches.last().unwrap().cursor, cursor, "that it was read has to be written down");
        assert_eq!(read(&mut cursor, &settings, document(&["c", "b", "a"])), []);
        assert_eq!(titles(&read(&mut cursor, &settings, document(&["e", "d", "c", "b"]))), ["d", "e"]);
        assert_eq!(read(&mut cursor, &settings, document(&["b", "a"])), [], "what comes back is known");
    }
    let mut empty = Cursor::new("u");
    read(&mut empty, &settings(0, false, ""), document(&[]));
    assert_eq!(titles(&read(&mut empty, &settings(0, false, ""), document(&["a"]))), ["a"]);
}

#[test]
fn dates_order_entries_where_all_have_one() {
    let mut cursor = Cursor::new("u");
    let settings = settings(9, false, "");
    let dated = vec![entry("b", Some(2)), entry("c", Some(3)), entry("a", Some(1))];
    let batches = read(&mut cursor, &settings, Document { ttl_minutes: None, entries: dated, left_out: 0 });
    assert_eq!(titles(&batches), ["a", "b", "c"]);
}

#[test]
fn what_came_while_the_feed_could_not_be_read_fires() {
    let mut cursor = Cursor::new("u");
    let settings = settings(0, false, "");
    let entries = vec![
        entry("future", Some(30)),
        entry("now", Some(20)),
        entry("old", Some(10)),
        entry("undated", None),
    ];
    let around = Around { settings: &settings, validators: None, since: Some(15..=25), event_bytes_max: 200 };
    let batches = news(&mut cursor, Document { ttl_minutes: None, entries, left_out: 0 }, around);
    assert_eq!(titles(&batches), ["now"]);
}

#[test]
fn edits_fire_where_asked_for_each_once_and_under_their_own_key() {
    let (settings, mut cursor) = (settings(1, true, ""), Cursor::new("u"));
    let mut keys = std::collections::BTreeSet::new();
    for (name, edited) in [("a:1", false), ("a:2", true), ("a:1", true), ("a:2", true)] {
        let batches = read(&mut cursor, &settings, document(&[name]));
        assert_eq!(batches[0].events[0].payload.to_map()["edited"], json!(edited));
        assert!(keys.insert(batches[0].events[0].key.clone()), "{name}");
        assert_eq!(read(&mut cursor, &settings, document(&[name])), []);
    }
    let quiet = self::settings(0, false, "");
    assert_eq!(titles(&read(&mut cursor, &quiet, document(&["a:3"]))), [] as [&str; 0]);
    assert_eq!(
        titles(&read(&mut cursor, &settings, document(&["a:3"]))),
        [] as [&str; 0],
        "what was passed over is known"
    );
}

#[test]
fn a_crash_between_two_batches_neither_loses_nor_doubles() {
    let names: Vec<String> = (0..250).rev().map(|n| format!("{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let settings = settings(1000, false, "");
    let whole = read(&mut Cursor::new("u"), &settings, document(&names));
    assert_eq!(whole.iter().map(|batch| batch.events.len()).collect::<Vec<_>>(), [100, 100, 50]);
    for cut in 0..whole.len() {
        let mut cursor =
            cut.checked_sub(1).map_or_else(|| Cursor::new("u"), |last| whole[last].cursor.clone());
        assert_eq!(cursor.validators, None, "the document comes whole again");
        let rest = read(&mut cursor, &settings, document(&names));
        let all: Vec<String> = titles(&whole[..cut]).into_iter().chain(titles(&rest)).collect();
        assert_eq!(all, (0..250).map(|n| n.to_string()).collect::<Vec<_>>(), "cut after {cut}");
        assert_eq!(cursor.validators, validators("v"));
    }
    // An edit that was not in the batch before the crash is still one.
    let edits = self::settings(1000, true, "");
    let mut cursor = Cursor::new("u");
    read(&mut cursor, &edits, document(&names));
    let edited: Vec<String> = names.iter().map(|name| format!("{name}:edited")).collect();
    let edited: Vec<&str> = edited.iter().map(String::as_str).collect();
    let whole = read(&mut cursor, &edits, document(&edited));
    let rest = read(&mut whole[0].cursor.clone(), &edits, document(&edited));
    assert_eq!((titles(&whole[..1]).len(), titles(&rest).len()), (100, 150));
}

#[test]
fn what_is_filtered_or_too_large_is_known_and_said() {
    let (settings, mut cursor) = (settings(9, false, "rust"), Cursor::new("u"));
    let large = format!("rust {}", "x".repeat(300));
    let batches = read(&mut cursor, &settings, document(&["rust 1", "go", &large]));
    assert_eq!(titles(&batches), ["rust 1"]);
    assert_eq!(batches[0].refused.len(), 1);
    assert!(batches[0].refused[0].why.contains("bytes, more than 200"), "{:?}", batches[0].refused);
    assert_eq!(read(&mut cursor, &settings, document(&["rust 1", "go", &large])), []);
}
