//! `rss/feed` on a real HTTP server: what is asked for and when, what fires, what a crash leaves, and what is refused.

#![allow(unreachable_pub, missing_docs, reason = "nothing outside a test can be reached")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod asking;
mod firing;
#[path = "../support/life.rs"]
#[allow(dead_code, reason = "each feed's tests use their own part of it")]
mod life;
#[path = "../../../tests/support/web.rs"]
#[allow(dead_code, missing_docs, reason = "shared with the hub's tests")]
mod web;

use std::ops::Range;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use self::life::{Durable, Life};
use self::web::{Request, Response, Server};

/// The feed that is tested.
const FEED: &str = "rss/feed";

/// A document with these items, the latest first.
pub fn rss(items: Range<usize>) -> String {
    let items: String = items
        .rev()
        .map(|n| {
            format!(
                "<item><guid>{n}</guid><title>item {n}</title><description>{{\"n\":{n}}}</description></item>"
            )
        })
        .collect();
    format!("<rss version=\"2.0\"><channel><title>T</title>{items}</channel></rss>")
}

/// What a server answers now; tests change it.
#[derive(Clone)]
pub struct Now(Arc<Mutex<Response>>);

impl Now {
    pub fn set(&self, response: Response) {
        *self.0.lock().unwrap() = response;
    }

    /// The document with these items.
    pub fn items(&self, items: Range<usize>) {
        self.set(Response::new(200, rss(items)));
    }
}

/// A server that answers the same everywhere, until told otherwise.
pub fn server(response: Response) -> (Server, Now) {
    let now = Now(Arc::new(Mutex::new(response)));
    let answer = now.clone();
    (Server::start(move |_: &Request| answer.0.lock().unwrap().clone()), now)
}

/// The parameters of a feed that polls each second.
pub fn params(server: &Server, path: &str, more: Value) -> Value {
    let mut params = json!({"url": server.url(path), "pollingInterval": "1s"});
    params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    params
}

/// The numbers of the items that fired.
pub fn fired(durable: &Durable) -> Vec<usize> {
    let guids = durable.events().into_iter().map(|event| event["guid"].as_str().unwrap().parse().unwrap());
    guids.collect()
}

/// A feed that has read its first document.
pub fn begin(durable: &Durable, params: &Value) -> Life {
    let life = Life::begin(durable, params);
    life.until_running();
    life::eventually("the first cursor", || durable.cursor());
    life
}
