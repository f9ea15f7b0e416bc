//! `/namespaces/{ns}/activations/_tail`: new records as server-sent events (design.md, "Search").
//!
//! A reader that falls behind loses records, and is told how many; it never holds up the hub. The search finds what
//! was lost.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, StatusCode};
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::mpsc;
use triggerfish_model::{Activation, Namespace};
use triggerfish_store::RecordFilter;

use super::call::Call;
use super::collections::own_namespace;
use super::problem::Problem;
use super::render;
use super::reply::{Reply, Result};

/// Readers at once in one namespace.
const READERS_OF_NAMESPACE_MAX: usize = 64;
/// Readers at once in all; each keeps a connection and a task.
const READERS_MAX: usize = 256;
/// A comment is sent when nothing else was for this long, so that proxies keep the connection.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// A reader that takes nothing for this long is cut off.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// Events ready for a reader that has not taken them yet: each may hold a record's 10 MB of logs.
const READY_MAX: usize = 1;

/// The readers there are.
#[derive(Clone, Default)]
pub(super) struct Tails(Arc<Mutex<HashMap<Namespace, usize>>>);

/// One reader's place; given back when it goes.
struct Place {
    tails: Tails,
    namespace: Namespace,
}

impl Tails {
    fn place(&self, namespace: &Namespace) -> Option<Place> {
        let mut readers = self.0.lock();
        let all: usize = readers.values().sum();
        let here = readers.get(namespace).copied().unwrap_or(0);
        if all >= READERS_MAX || here >= READERS_OF_NAMESPACE_MAX {
            return None;
        }
        readers.insert(namespace.clone(), here + 1);
        Some(Place { tails: self.clone(), namespace: namespace.clone() })
    }

    /// Answers with the stream of new records.
    pub(super) fn stream(&self, call: Call<'_>, namespace: &Namespace) -> Result {
        own_namespace(&call, namespace)?;
        if call.method() != Method::GET {
            return Err(Problem::no_route());
        }
        let filter = match call.query.get("q").filter(|q| !q.trim().is_empty()) {
            Some(q) => Some(call.backend.activations().filter(q)?),
            None => None,
        };
        let place = self.place(namespace).ok_or_else(|| {
            let text = format!(
                "Too many readers of new activations: at most {READERS_OF_NAMESPACE_MAX} a namespace and {READERS_MAX} in all."
            );
            Problem::of(StatusCode::TOO_MANY_REQUESTS, text)
        })?;
        let (sender, receiver) = mpsc::channel(READY_MAX);
        tokio::spawn(feed(call.backend.tail(), sender, place, filter));
        let events = futures::stream::unfold(receiver, async |mut receiver| {
            receiver.recv().await.map(|event| (Ok::<Bytes, Infallible>(event), receiver))
        });
        let reply = Reply::json_text(StatusCode::OK, Bytes::new());
        Ok(Reply { body: Body::from_stream(events), content_type: Some("text/event-stream"), ..reply })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut readers = self.tails.0.lock();
        if let Some(here) = readers.get_mut(&self.namespace) {
            *here -= 1;
            if *here == 0 {
                readers.remove(&self.namespace);
            }
        }
    }
}

/// Hands a reader its events until it goes, or takes none for too long.
async fn feed(
    mut records: broadcast::Receiver<Arc<Activation>>,
    sender: mpsc::Sender<Bytes>,
    place: Place,
    filter: Option<Box<dyn RecordFilter>>,
) {
    // The first comment tells the reader that it hears of everything from here on.
    let mut event = Some(Bytes::from_static(b": listening\n\n"));
    loop {
        if let Some(event) = event.take() {
            match tokio::time::timeout(WRITE_TIMEOUT, sender.send(event)).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return,
            }
        }
        event = tokio::select! {
            record = records.recv() => match record {
                Ok(record) if wanted(&record, &place.namespace, filter.as_deref()) => Some(event_of(&record)),
                Ok(_) => None,
                Err(RecvError::Lagged(lost)) => Some(format!("event: lost\ndata: {{\"records\":{lost}}}\n\n").into()),
                Err(RecvError::Closed) => return,
            },
            () = tokio::time::sleep(KEEP_ALIVE) => Some(Bytes::from_static(b":\n\n")),
            () = sender.closed() => return,
        };
    }
}

fn wanted(record: &Activation, namespace: &Namespace, filter: Option<&dyn RecordFilter>) -> bool {
    record.namespace == *namespace && filter.is_none_or(|filter| filter.matches(record))
}

fn event_of(record: &Activation) -> Bytes {
    let text = serde_json::to_string(&render::activation(record, true))
        .expect("the API's documents have text keys and JSON values");
    format!("id: {}\nevent: activation\ndata: {text}\n\n", record.id).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_and_given_back() {
        let tails = Tails::default();
        let here: Namespace = "guest".parse().unwrap();
        let places: Vec<_> = (0..READERS_OF_NAMESPACE_MAX).map(|_| tails.place(&here).unwrap()).collect();
        assert!(tails.place(&here).is_none());
        assert!(tails.place(&"other".parse().unwrap()).is_some());
        drop(places);
        assert!(tails.place(&here).is_some() && tails.0.lock().is_empty());
    }
}
