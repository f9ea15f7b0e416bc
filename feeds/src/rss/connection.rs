//! Drives a web feed: polls when it is time, and gives what is new.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use rand::Rng;
use reqwest::StatusCode;
use tokio::sync::Semaphore;
use triggerfish_model::{Clock, Timestamp};
use url::Url;

use super::cursor::{Cursor, Validators};
use super::document::{self, Document};
use super::fetch::{self, Fetched, Outcome, RETRY_AFTER_MAX};
use super::news::{Around, news};
use super::settings::Settings;
use crate::provider::{FeedBatch, FeedConnection, FeedContext, FeedError, Refused};
use crate::web::{self, Web};

/// Documents that are parsed at once, by all feeds together: parsing takes processors, of which others have their share.
static PARSING: Semaphore = Semaphore::const_new(2);
/// A poll comes later than the interval by up to this part of it, so that many feeds of one server spread out.
const JITTER_PART: f64 = 0.1;
/// A poll comes later than the interval by this at most.
const JITTER_MAX: Duration = Duration::from_secs(60);
/// How long a feed whose document is gone for good (410) is left alone at least; publishers err, so it is asked again.
const GONE_PAUSE: Duration = Duration::from_secs(3600);
/// The longest sleep: clocks are set, and a sleeper notices at its end.
const SLEEP_MAX: Duration = Duration::from_secs(30);
/// A first document that comes later than this after the feed was made was waited for.
const LATE_FIRST: Duration = Duration::from_secs(60);

/// A web feed that is being read.
pub(crate) struct Connection {
    settings: Settings,
    web: Web,
    clock: Arc<dyn Clock>,
    created: Timestamp,
    event_bytes_max: usize,
    /// After all that was given.
    cursor: Cursor,
    /// What a poll found and was not given yet.
    ready: VecDeque<FeedBatch<Cursor>>,
    /// What ends the connection after that.
    failed: Option<FeedError>,
    next_poll: Timestamp,
    /// The poll under way; kept here, so that whoever drops a call to `next` does not end it.
    polling: Option<BoxFuture<'static, Polled>>,
}

/// What a poll found.
struct Polled {
    /// Where permanent redirects led.
    moved_to: Option<Url>,
    found: Result<Found, FeedError>,
}

enum Found {
    Unchanged,
    Document(Document, Option<Validators>),
    Unreadable(String),
    Refused { at: String, status: StatusCode, retry_after: Option<Duration> },
}

impl Connection {
    /// Reads the feed for the first time, going on after `cursor`.
    pub(crate) async fn open(
        settings: Settings,
        cursor: Option<Cursor>,
        context: &FeedContext,
    ) -> Result<Self, FeedError> {
        let fresh = Cursor::new(settings.url.as_str());
        let cursor = cursor.filter(|cursor| cursor.of == fresh.of).unwrap_or(fresh);
        let now = context.clock.now();
        if let Some(until) = cursor.not_before.filter(|until| *until > now) {
            // Bounded again: the clock may have been set.
            let after = until.since(now).min(RETRY_AFTER_MAX);
            let why =
                format!("`{}`: the server asked to be left alone until {until}", web::shown(&settings.url));
            return Err(FeedError::Later { why, after });
        }
        let mut connection = Self {
            settings,
            web: context.web.clone(),
            clock: context.clock.clone(),
            created: context.created,
            event_bytes_max: context.event_bytes_max,
            cursor,
            ready: VecDeque::new(),
            failed: None,
            next_poll: now,
            polling: None,
        };
        let polled = connection.poll().await;
        connection.digest(polled);
        match connection.failed.take_if(|_| connection.ready.is_empty()) {
            Some(error) => Err(error),
            None => Ok(connection),
        }
    }

    /// Where the document is asked for.
    fn place(&self) -> Url {
        let moved = self.cursor.moved_to.as_ref().and_then(|url| url.parse().ok());
        moved.unwrap_or_else(|| self.settings.url.clone())
    }

    fn poll(&self) -> BoxFuture<'static, Polled> {
        let (web, url, now) = (self.web.clone(), self.place(), self.clock.now());
        let validators = self.cursor.validators.clone();
        Box::pin(async move {
            match fetch::fetch(&web, url, validators, now).await {
                Ok(Fetched { moved_to, from, outcome }) => {
                    Polled { moved_to, found: Ok(read(from, outcome).await) }
                }
                Err(error) => Polled { moved_to: None, found: Err(error) },
            }
        })
    }

    /// Takes in what a poll found: what is given next, and when the next poll comes.
    fn digest(&mut self, Polled { moved_to, found }: Polled) {
        let before = self.cursor.clone();
        if let Some(url) = moved_to {
            self.cursor.moved_to = Some(url.to_string());
        }
        let now = self.clock.now();
        self.next_poll = now + self.pause(rand::rng().random());
        match found {
            Ok(Found::Unchanged) => {
                self.cursor.not_before = None;
                self.note(&before, Vec::new());
            }
            Ok(Found::Document(document, validators)) => {
                let around = Around {
                    settings: &self.settings,
                    validators,
                    since: (now.since(self.created) > self.settings.interval.max(LATE_FIRST))
                        .then(|| self.created.as_millis()..=now.as_millis()),
                    event_bytes_max: self.event_bytes_max,
                };
                let batches = news(&mut self.cursor, document, around);
                // A redirect alone is worth a note too.
                if batches.is_empty() {
                    self.note(&before, Vec::new());
                }
                self.ready.extend(batches);
                self.next_poll = now + self.pause(rand::rng().random());
            }
            Ok(Found::Unreadable(why)) => {
                let text = format!("`{}`: {why}", web::shown(&self.place()));
                self.note(&before, vec![text.into()]);
            }
            Ok(Found::Refused { at, status, retry_after }) => {
                let after = self.after_refusal(status, retry_after);
                self.cursor.not_before = retry_after.map(|_| now + after);
                if !matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
                    // Perhaps it is where it was at first.
                    self.cursor.moved_to = None;
                }
                self.note(&before, Vec::new());
                let why = format!("`{at}`: the server answered {status}");
                self.failed = Some(FeedError::Later { why, after });
            }
            Err(error) => {
                self.cursor.moved_to = None;
                self.note(&before, Vec::new());
                self.failed = Some(error);
            }
        }
    }

    /// Gives the cursor where it changed, and what is to be told of.
    fn note(&mut self, before: &Cursor, refused: Vec<Refused>) {
        if self.cursor != *before || !refused.is_empty() {
            let cursor = self.cursor.clone();
            self.ready.push_back(FeedBatch { events: Vec::new(), cursor, refused, duplicates: 0 });
        }
    }

    /// How long until the next poll: the interval, or longer where the document asks for it. `jitter` is from 0 to 1.
    fn pause(&self, jitter: f64) -> Duration {
        let ttl =
            Duration::from_secs(u64::from(self.cursor.ttl_minutes.unwrap_or(0)) * 60).min(RETRY_AFTER_MAX);
        let pause = self.settings.interval.max(ttl);
        pause + pause.mul_f64(jitter * JITTER_PART).min(JITTER_MAX)
    }

    fn after_refusal(&self, status: StatusCode, retry_after: Option<Duration>) -> Duration {
        let own = match status {
            StatusCode::GONE => self.settings.interval.max(GONE_PAUSE),
            _ => self.settings.interval,
        };
        own.max(retry_after.unwrap_or(Duration::ZERO))
    }
}

/// Reads an answer, beside the threads that everything else runs on.
async fn read(from: Url, outcome: Outcome) -> Found {
    let (bytes, validators, room) = match outcome {
        Outcome::Unchanged => return Found::Unchanged,
        Outcome::Unreadable(why) => return Found::Unreadable(why),
        Outcome::Refused { status, retry_after } => {
            return Found::Refused { at: web::shown(&from), status, retry_after };
        }
        Outcome::Document { bytes, validators, room } => (bytes, validators, room),
    };
    let turn = PARSING.acquire().await.expect("nobody closes it");
    let parsing = tokio::task::spawn_blocking(move || {
        let document = document::read(&bytes, &from);
        drop((bytes, room, turn));
        document
    });
    match parsing.await {
        Ok(Ok(document)) => Found::Document(document, validators),
        Ok(Err(why)) => Found::Unreadable(why),
        Err(_) => Found::Unreadable("the document made its parser break off".into()),
    }
}

#[async_trait]
impl FeedConnection for Connection {
    type Cursor = Cursor;

    async fn next(&mut self) -> Result<FeedBatch<Cursor>, FeedError> {
        loop {
            if let Some(batch) = self.ready.pop_front() {
                return Ok(batch);
            }
            if let Some(error) = self.failed.take() {
                return Err(error);
            }
            if self.polling.is_none() {
                let now = self.clock.now();
                if now < self.next_poll {
                    tokio::time::sleep(self.next_poll.since(now).min(SLEEP_MAX)).await;
                    continue;
                }
            }
            let poll = self.poll();
            let polled = self.polling.get_or_insert(poll).await;
            self.polling = None;
            self.digest(polled);
        }
    }

    async fn ack(&mut self, _cursor: &Cursor) -> Result<(), FeedError> {
        Ok(())
    }
}
