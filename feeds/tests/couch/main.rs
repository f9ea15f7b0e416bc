//! `cloudant/changes` on a real pouchdb-server: what arrives, what a crash or a restart leaves, and what is refused.

#![allow(unreachable_pub, reason = "nothing outside a test can be reached")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[path = "../../../tests/support/couch.rs"]
#[allow(dead_code, missing_docs, reason = "shared with the hub's tests")]
mod couch;
#[path = "../support/life.rs"]
#[allow(dead_code, reason = "each feed's tests use their own part of it")]
mod life;
#[path = "../../../tests/support/web.rs"]
#[allow(dead_code, missing_docs, reason = "shared with the hub's tests")]
mod web;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use triggerfish_model::FeedState;

use self::couch::Couch;
use self::life::*;
use self::web::{Response, Server};

/// The feed that is tested.
const FEED: &str = "cloudant/changes";

/// A port that nothing listens on.
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn start() -> (tempfile::TempDir, Couch) {
    let directory = tempfile::tempdir().unwrap();
    let couch = Couch::start(directory.path());
    (directory, couch)
}

fn params(port: u16, dbname: &str, more: Value) -> Value {
    let mut params = json!({"host": "127.0.0.1", "port": port, "protocol": "http", "dbname": dbname});
    params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    params
}

/// The ids of the documents whose changes fired.
fn ids(durable: &Durable) -> Vec<String> {
    durable.events().iter().map(|event| event["id"].as_str().unwrap().to_owned()).collect()
}

/// The same from the `from`-th on, sorted: this server puts the documents of one request in any order.
fn sorted(durable: &Durable, from: usize) -> Vec<String> {
    let mut ids = ids(durable).split_off(from);
    ids.sort();
    ids
}

/// The ids of these numbers, sorted.
fn names(numbers: std::ops::Range<usize>) -> Vec<String> {
    let mut names: Vec<String> = numbers.map(|n| format!("n{n}")).collect();
    names.sort();
    names
}

/// A feed whose first cursor is durable.
fn begin(durable: &Durable, params: &Value) -> Life {
    let life = Life::begin(durable, params);
    life.until_running();
    eventually("the first cursor", || durable.cursor());
    life
}

#[test]
fn changes_fire_with_the_contracts_fields_from_now_or_from_a_sequence() {
    let (_directory, couch) = start();
    couch.ok("PUT", "/db", &Value::Null);
    couch.put_numbers("db", 0..3);
    let durable = Durable::default();
    let life = begin(&durable, &params(couch.port, "db", json!({})));
    let made = couch.ok("PUT", "/db/one", &json!({"n": 1.5}));
    until_events(&durable, 1);
    couch.ok("DELETE", &format!("/db/one?rev={}", made["rev"].as_str().unwrap()), &Value::Null);
    until_events(&durable, 2);
    let events = durable.events();
    assert_eq!(events[0]["id"], json!("one"));
    assert_eq!(events[0]["changes"], json!([{"rev": made["rev"]}]));
    assert_eq!((&events[0]["dbname"], events[0].get("deleted")), (&json!("db"), None));
    assert!(events[0]["seq"].is_number() || events[0]["seq"].is_string());
    assert_eq!(events[1]["deleted"], json!(true));
    life.stop();
    // What happened meanwhile comes after a restart.
    couch.put_numbers("db", 3..6);
    let life = Life::begin(&durable, &params(couch.port, "db", json!({})));
    until_events(&durable, 5);
    assert_eq!(sorted(&durable, 2), names(3..6));
    life.stop();

    let all = Durable::default();
    let more = json!({"since": 0, "include_docs": true, "maxTriggers": 5});
    let life = Life::begin(&all, &params(couch.port, "db", more));
    until_events(&all, 5);
    eventually("the end", || (life.status().state == FeedState::Ended).then_some(()));
    assert_eq!(life.last_error().unwrap(), "Automatically disabled after reaching max triggers");
    assert!(all.events()[0]["doc"]["n"].is_number());
    assert_eq!(all.events().len(), 5);
    life.stop();
}

#[test]
fn the_databases_own_filter_chooses() {
    let (_directory, couch) = start();
    couch.ok("PUT", "/db", &Value::Null);
    let even = "function (doc, req) { return doc.n % 2 == 0 && doc.n < Number(req.query.below); }";
    couch.ok("PUT", "/db/_design/pick", &json!({"filters": {"even": even}}));
    let durable = Durable::default();
    let more = json!({"filter": "pick/even", "query_params": {"below": 5}, "since": 0});
    let life = Life::begin(&durable, &params(couch.port, "db", more));
    couch.put_numbers("db", 0..9);
    until_events(&durable, 3);
    assert_eq!(sorted(&durable, 0), ["n0", "n2", "n4"]);
    life.stop();
    let missing = json!({"filter": "pick/none"});
    let life = Life::begin(&Durable::default(), &params(couch.port, "db", missing));
    let error = life.until_failed();
    assert!(error.contains(&format!("`http://127.0.0.1:{}/db`", couch.port)), "{error}");
    life.stop();
}

#[test]
fn a_crash_at_any_write_neither_loses_nor_doubles() {
    let (_directory, couch) = start();
    for write in 0..3 {
        for (name, crash) in [("before", Crash::BeforeWrite(write)), ("after", Crash::AfterWrite(write))] {
            let database = format!("{name}{write}");
            couch.ok("PUT", &format!("/{database}"), &Value::Null);
            let params = params(couch.port, &database, json!({"since": 0}));
            couch.put_numbers(&database, 0..700);
            let durable = Durable::default();
            durable.crash_at(Some(crash));
            let life = Life::begin(&durable, &params);
            // Batches are as large as what has come; there are three at least, with the first cursor's.
            eventually("the crash", || durable.has_crashed().then_some(()));
            life.crash();
            durable.crash_at(None);
            couch.put_numbers(&database, 700..800);
            let life = Life::begin(&durable, &params);
            until_events(&durable, 800);
            assert_eq!(sorted(&durable, 0), names(0..800), "{crash:?}");
            let sequences: Vec<_> =
                durable.events().iter().map(|event| event["seq"].as_u64().unwrap()).collect();
            assert!(sequences.is_sorted(), "the last sequence is the one to go on after");
            life.stop();
        }
    }
}

#[test]
fn a_server_that_restarts_and_a_database_that_is_made_anew_are_followed() {
    let (_directory, mut couch) = start();
    couch.ok("PUT", "/db", &Value::Null);
    let durable = Durable::default();
    let life = begin(&durable, &params(couch.port, "db", json!({})));
    couch.put_numbers("db", 0..20);
    until_events(&durable, 20);
    couch.stop();
    let error = eventually("the feed to notice", || {
        (life.status().state == FeedState::Failed).then(|| life.last_error().unwrap())
    });
    assert!(error.contains(&format!("127.0.0.1:{}", couch.port)), "{error}");
    couch.resume();
    couch.put_numbers("db", 20..25);
    until_events(&durable, 25);
    assert_eq!(sorted(&durable, 0), names(0..25));
    couch.ok("DELETE", "/db", &Value::Null);
    let error = eventually("the feed to notice that the database is gone", || {
        life.last_error().filter(|error| error.contains("there is no such database"))
    });
    assert!(error.contains("/db`: "), "{error}");
    life.stop();
    couch.ok("PUT", "/db", &Value::Null);
    couch.put_numbers("db", 0..3);
    let life = Life::begin(&durable, &params(couch.port, "db", json!({})));
    until_events(&durable, 28);
    assert_eq!(sorted(&durable, 25), names(0..3), "what is in the new database is new");
    // Deleted and made again while nobody looks.
    couch.ok("DELETE", "/db", &Value::Null);
    couch.ok("PUT", "/db", &Value::Null);
    couch.put_numbers("db", 0..1);
    until_events(&durable, 29);
    assert_eq!(sorted(&durable, 28), names(0..1));
    let keys: std::collections::BTreeSet<_> = durable.keys().into_iter().collect();
    assert_eq!(keys.len(), 29, "the same documents of another database have other keys");
    life.stop();
}

#[test]
fn credentials_that_are_refused_are_told_of_and_never_shown() {
    let (_directory, couch) = start();
    couch.ok("PUT", "/_config/admins/ann", &json!("geheim"));
    let ann = Some("ann:geheim");
    assert_eq!(couch.send(ann, "PUT", "/db", &Value::Null).0, 201);
    let security =
        json!({"admins": {"names": ["ann"], "roles": []}, "members": {"names": ["ann"], "roles": []}});
    assert_eq!(couch.send(ann, "PUT", "/db/_security", &security).0, 200);
    for credentials in [json!({}), json!({"username": "ann", "password": "falsch"})] {
        let life = Life::begin(&Durable::default(), &params(couch.port, "db", credentials));
        let error = life.until_failed();
        assert!(error.contains("refuses the credentials") || error.contains("gives no right"), "{error}");
        assert!(!error.contains("falsch"), "{error}");
        life.stop();
    }
    let durable = Durable::default();
    let life = begin(&durable, &params(couch.port, "db", json!({"username": "ann", "password": "geheim"})));
    couch.send(ann, "PUT", "/db/one", &json!({}));
    until_events(&durable, 1);
    life.stop();
}

#[test]
fn garbage_and_what_is_too_large_is_told_of_and_the_feed_goes_on() {
    let change = |seq: usize, more: &str| {
        format!("{{\"seq\":{seq},\"id\":\"n{seq}\",\"changes\":[{{\"rev\":\"1-a\"}}]{more}}}\n")
    };
    let huge = format!(",\"doc\":{{\"x\":\"{}\"}}", "x".repeat(EVENT_BYTES_MAX + 100_000));
    let deep = format!(",\"doc\":{}{}", "[".repeat(5000), "]".repeat(5000));
    let stages = [
        (Response::new(200, "<html>\nlog in</html>"), "a line of the changes cannot be read"),
        (Response::raw("SSH-2.0-OpenSSH_9.2\r\n"), "invalid HTTP version"),
        (Response::new(503, "busy"), "the database answered 503"),
        (Response::new(200, format!("{}no change\n", change(1, ""))), "a line of the changes cannot be read"),
        (
            Response::new(200, format!("{}{}{}", change(2, &huge), change(3, &deep), change(4, ""))),
            "ended the changes",
        ),
        (Response::new(200, format!("{}{{\"last_seq\":5}}\n", change(5, ""))), "ended the changes"),
    ];
    let answers = stages.clone().map(|(answer, _)| answer);
    let stage = Arc::<AtomicUsize>::default();
    let now = stage.clone();
    let server = Server::start(move |request| {
        if !request.path.contains("feed=continuous") {
            return Response::new(200, "{\"update_seq\":9}");
        }
        answers[now.load(Ordering::SeqCst)].clone()
    });
    let durable = Durable::default();
    let mut refused = 0;
    for (place, (_, text)) in stages.iter().enumerate() {
        stage.store(place, Ordering::SeqCst);
        // A new life each time, since the pauses between the attempts of one grow.
        let life = Life::begin(&durable, &params(server.port, "db", json!({"since": 0})));
        eventually(text, || life.last_error().filter(|error| error.contains(text)));
        refused += life.status().refused;
        life.stop();
    }
    // Each answer may have come several times, since this server keeps no account.
    let found: std::collections::BTreeSet<String> = ids(&durable).into_iter().collect();
    assert_eq!(found, ["n1", "n4", "n5"].map(str::to_owned).into());
    assert!(refused >= 2, "the one that is too large, and the one that is too deep");
}
