//! How a server is asked: conditionally, where redirects led, not before it wants to be; and what it cannot do to the hub.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;
use triggerfish_model::FeedState;

use super::life::*;
use super::web::{Request, Response, Server};
use super::*;

/// The requests that came for `path`.
fn asked(server: &Server, path: &str) -> Vec<Request> {
    server.requests().into_iter().filter(|request| request.path == path).collect()
}

/// Waits until `path` was asked for so many times.
fn until_asked(server: &Server, path: &str, times: usize) -> Vec<Request> {
    eventually(&format!("{times} requests for {path}"), || {
        let asked = asked(server, path);
        (asked.len() >= times).then_some(asked)
    })
}

/// A document with an entity tag, told apart from what it was before.
fn tagged(request: &Request, items: std::ops::Range<usize>) -> Response {
    let tag = format!("\"{}\"", items.end);
    let date = "Sun, 06 Nov 1994 08:49:37 GMT";
    if request.header("if-none-match") == Some(&tag) && request.header("if-modified-since") == Some(date) {
        return Response::new(304, "");
    }
    Response::new(200, rss(items)).header("ETag", &tag).header("Last-Modified", date)
}

#[test]
fn an_unchanged_document_costs_an_empty_answer_also_after_a_restart() {
    static ITEMS: AtomicUsize = AtomicUsize::new(3);
    let server = Server::start(|request| tagged(request, 0..ITEMS.load(Ordering::SeqCst)));
    let durable = Durable::default();
    let life = begin(&durable, &params(&server, "/", json!({})));
    let asked = until_asked(&server, "/", 3);
    assert_eq!(asked[0].header("if-none-match"), None);
    assert!(asked[0].header("accept").unwrap().contains("application/atom+xml"));
    assert!(asked[0].header("accept-encoding").unwrap().contains("gzip"));
    assert!(asked[0].header("user-agent").unwrap().starts_with("triggerfish/"));
    for request in &asked[1..] {
        assert_eq!(request.header("if-none-match"), Some("\"3\""));
        assert_eq!(request.header("if-modified-since"), Some("Sun, 06 Nov 1994 08:49:37 GMT"));
    }
    for pair in asked.windows(2) {
        let apart = pair[1].at.duration_since(pair[0].at);
        assert!(apart >= Duration::from_millis(990), "polls {apart:?} apart");
    }
    life.crash();
    let before = server.requests().len();
    let life = Life::begin(&durable, &params(&server, "/", json!({})));
    let asked = until_asked(&server, "/", before + 1);
    assert_eq!(asked[before].header("if-none-match"), Some("\"3\""), "the cursor holds the validators");
    ITEMS.store(5, Ordering::SeqCst);
    until_events(&durable, 2);
    assert_eq!(fired(&durable), [3, 4]);
    assert_eq!(life.status().state, FeedState::Running);
    life.stop();
}

#[test]
fn permanent_redirects_are_remembered_and_others_are_not() {
    static GONE: AtomicUsize = AtomicUsize::new(0);
    let server = Server::start(|request| match request.path.as_str() {
        "/c" if GONE.load(Ordering::SeqCst) > 0 => Response::new(404, ""),
        "/t" => Response::new(302, "").header("Location", "/c"),
        "/loop" => Response::new(307, "").header("Location", "/loop"),
        "/out" => Response::new(302, "").header("Location", "file:///etc/passwd"),
        "/inside" => Response::new(301, "").header("Location", "http://10.0.0.1:1/?key=geheim"),
        "/local" => Response::new(302, "").header("Location", "http://[::1]:1/"),
        _ => Response::new(200, rss(0..1)),
    });
    let port = server.port;
    let proxy = Server::start(move |request| match request.path.as_str() {
        "/b" => Response::new(308, "").header("Location", &format!("http://127.0.0.1:{port}/c")),
        _ => Response::new(301, "").header("Location", "/b"),
    });
    let durable = Durable::default();
    let life = begin(&durable, &params(&proxy, "/a", json!({})));
    until_asked(&server, "/c", 3);
    assert_eq!(
        (proxy.requests().len(), durable.cursor().unwrap()["moved_to"].clone()),
        (2, json!(server.url("/c")))
    );
    life.stop();
    // The new place is gone: the first one is asked again.
    GONE.store(1, Ordering::SeqCst);
    let life = Life::begin(&durable, &params(&proxy, "/a", json!({})));
    let error = life.until_failed();
    assert!(error.contains(&format!("`{}`: the server answered 404", server.url("/c"))), "{error}");
    until_asked(&proxy, "/a", 2);
    GONE.store(0, Ordering::SeqCst);
    life.until_running();
    life.stop();

    let temporary = Durable::default();
    let life = begin(&temporary, &params(&server, "/t", json!({})));
    until_asked(&server, "/t", 2);
    assert_eq!(temporary.cursor().unwrap().get("moved_to"), None);
    life.stop();

    for (path, text) in [
        ("/loop", "more than 5 redirects"),
        ("/out", "a redirect out of the web"),
        ("/inside", "10.0.0.1 is a private address"),
        ("/local", "::1 is a private address"),
    ] {
        let life = Life::begin(&Durable::default(), &params(&server, path, json!({})));
        let error = life.until_failed();
        assert!(error.contains(text) && !error.contains("geheim"), "{error}");
        life.stop();
    }
}

#[test]
fn a_server_that_asks_to_be_left_alone_is_also_after_a_restart() {
    let (server, now) = server(Response::new(200, rss(0..1)));
    let durable = Durable::default();
    let life = begin(&durable, &params(&server, "/", json!({})));
    let begun = std::time::Instant::now();
    now.set(Response::new(429, "").header("Retry-After", "4"));
    let error = life.until_failed();
    assert!(error.contains("the server answered 429"), "{error}");
    let asked = server.requests().len();
    let refused_at = server.requests()[asked - 1].at;
    now.items(0..2);
    life.crash();
    let life = Life::begin(&durable, &params(&server, "/", json!({})));
    let error = life.until_failed();
    assert!(error.contains("asked to be left alone until"), "{error}");
    assert!(life.status().retry_at.is_some());
    until_events(&durable, 1);
    let next = server.requests()[asked].at;
    assert!(
        next.duration_since(refused_at) >= Duration::from_millis(3990),
        "{:?}",
        next.duration_since(begun)
    );
    life.stop();
}

#[test]
fn the_documents_own_pace_is_kept() {
    let document = rss(0..1).replace("<title>T</title>", "<title>T</title><ttl>1</ttl>");
    let (server, _now) = server(Response::new(200, document));
    let durable = Durable::default();
    let life = begin(&durable, &params(&server, "/", json!({})));
    assert_eq!(durable.cursor().unwrap()["ttl_minutes"], json!(1));
    // Another feed of the same server polls three times meanwhile; this one waits for its minute.
    let (other, _) = super::server(Response::new(200, rss(0..1)));
    let beside = begin(&Durable::default(), &params(&other, "/", json!({})));
    until_asked(&other, "/", 3);
    assert_eq!(server.requests().len(), 1);
    beside.stop();
    life.stop();
}

#[test]
fn garbage_is_reported_and_the_feed_goes_on() {
    let (mut server, now) = server(Response::new(200, rss(0..1)));
    let durable = Durable::default();
    let life = begin(&durable, &params(&server, "/?key=geheim", json!({})));
    let mut items = 1;
    let huge = || vec![b' '; 9 << 20];
    let cases: [(&str, Response, &str); 9] = [
        ("a page", Response::new(200, "<html><body>log in</body></html>"), "cannot be read as RSS"),
        ("half a document", Response::new(200, &rss(0..3)[..90]), "cannot be read as RSS"),
        ("noise", Response::new(200, vec![0xff_u8; 5000]), "neither XML nor JSON"),
        ("nothing", Response::new(200, ""), "neither XML nor JSON"),
        ("too much", Response::new(200, huge()), "more than 8388608 bytes"),
        (
            "too much, packed",
            Response::new(200, zipped(&huge())).header("Content-Encoding", "gzip"),
            "more than 8388608",
        ),
        ("no HTTP", Response::raw("SSH-2.0-OpenSSH_9.2\r\n"), "127.0.0.1"),
        ("half an answer", Response::raw("HTTP/1.1 200 OK\r\ncontent-length: 999\r\n\r\n<rss"), "127.0.0.1"),
        ("a fault", Response::new(500, "oops"), "the server answered 500"),
    ];
    for (what, response, text) in cases {
        now.set(response);
        eventually(&format!("{what} to be reported"), || {
            life.last_error().filter(|error| error.contains(text))
        });
        assert!(!life.last_error().unwrap().contains("geheim"));
        items += 1;
        now.items(0..items);
        until_events(&durable, items - 1);
        life.until_running();
    }
    // It is restarted, and what it has meanwhile comes.
    server.stop();
    life.until_failed();
    items += 1;
    now.items(0..items);
    server.resume();
    until_events(&durable, items - 1);
    assert_eq!(fired(&durable), (1..items).collect::<Vec<_>>());
    life.stop();
}

#[test]
fn a_packed_document_is_read() {
    let document = zipped(rss(0..2).as_bytes());
    let (server, _now) = server(Response::new(200, document).header("Content-Encoding", "gzip"));
    let durable = Durable::default();
    let life = Life::begin(&durable, &params(&server, "/", json!({"first": 2})));
    until_events(&durable, 2);
    life.stop();
}

/// gzip (RFC 1952) of these bytes, packed by the machine's own program.
fn zipped(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    use std::process::{Command, Stdio};
    let mut gzip =
        Command::new("gzip").arg("-c").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut stdin, bytes) = (gzip.stdin.take().unwrap(), bytes.to_vec());
    let writer = std::thread::spawn(move || stdin.write_all(&bytes).unwrap());
    let packed = gzip.wait_with_output().unwrap().stdout;
    writer.join().unwrap();
    packed
}
