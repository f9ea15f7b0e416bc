//! Drives the changes of a database: one long answer, cut into batches.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use reqwest::Response;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::Instant;
use triggerfish_model::{EventKey, Json, JsonObject};

use super::database::Database;
use super::lines::{self, Line, Lines, Said};
use super::settings::{HEARTBEAT_MS, Settings};
use crate::provider::{AlsoDelete, FeedBatch, FeedConnection, FeedContext, FeedError, FeedEvent, Refused};
use crate::web;

/// The most events of a batch.
const BATCH_EVENTS_MAX: usize = 500;
/// A batch that has so many bytes takes no further event.
const BATCH_BYTES_MAX: usize = 4 << 20;
/// How long the database may be silent: three of its heartbeats.
const SILENCE_MAX: Duration = Duration::from_millis(3 * HEARTBEAT_MS);
/// What a line has beside the document.
const LINE_SLACK_BYTES: usize = 64 << 10;
/// How often the database is looked for: not every server ends the changes of one that is deleted.
const LOOK_EVERY: Duration = Duration::from_millis(HEARTBEAT_MS);

/// Where the changes go on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Cursor {
    /// Which database it is about, as a hash.
    of: String,
    /// The sequence behind what was given; a number or a text, as the database has it.
    seq: Value,
    /// How often the database was made anew; what has the same ids and revisions in it is something else.
    generation: u64,
    /// How many changes were given.
    count: u64,
}

/// A database whose changes are being read.
pub(crate) struct Connection {
    settings: Arc<Settings>,
    database: Database,
    /// The long answer; none once it is over.
    answer: Option<Response>,
    /// The next look at the database: whether it is another than that of the changes.
    looking: BoxFuture<'static, Result<bool, FeedError>>,
    lines: Lines,
    event_bytes_max: usize,
    cursor: Cursor,
    ready: VecDeque<FeedBatch<Cursor>>,
    /// What ends the connection after what was given.
    failed: Option<FeedError>,
    /// Of the changes that were given, how many are durable.
    durable: u64,
}

impl Connection {
    /// Asks for the changes after `cursor`, or after where the parameters say.
    pub(crate) async fn open(
        settings: Settings,
        cursor: Option<Cursor>,
        context: &FeedContext,
    ) -> Result<Self, FeedError> {
        let settings = Arc::new(settings);
        let database = Database::new(settings.clone(), context.web.anywhere().clone());
        let of = settings.database_hash();
        let mut ready = VecDeque::new();
        let cursor = match cursor.filter(|cursor| cursor.of == of) {
            Some(cursor) if settings.most.is_some_and(|most| cursor.count >= most) => return Err(ended()),
            Some(cursor) if database.is_younger_than(&cursor.seq).await? => {
                let database = web::shown(&settings.database);
                tracing::warn!(
                    database,
                    "the database was made anew: its changes are read from the beginning"
                );
                Cursor { seq: json!(0), generation: cursor.generation + 1, ..cursor }
            }
            Some(cursor) => cursor,
            None => {
                let seq = match &settings.since {
                    Some(since) => since.clone(),
                    None => database.latest().await?,
                };
                let cursor = Cursor { of, seq, generation: 0, count: 0 };
                // Durable before the first change: "now" stays the same over a restart.
                ready.push_back(batch(Vec::new(), Vec::new(), cursor.clone()));
                cursor
            }
        };
        let answer = database.get(&settings.changes(&cursor.seq)).await?;
        let (durable, event_bytes_max) = (cursor.count, context.event_bytes_max);
        let lines = Lines::new(event_bytes_max + LINE_SLACK_BYTES);
        let looking = look(database.clone(), cursor.seq.clone());
        Ok(Self {
            settings,
            database,
            answer: Some(answer),
            looking,
            lines,
            event_bytes_max,
            cursor,
            ready,
            failed: None,
            durable,
        })
    }

    /// A batch of the lines that are there; `None` where there are none.
    fn collect(&mut self) -> Option<FeedBatch<Cursor>> {
        let (mut events, mut refused, mut bytes) = (Vec::new(), Vec::new(), 0);
        while events.len() < BATCH_EVENTS_MAX
            && bytes < BATCH_BYTES_MAX
            && !self.is_full()
            && self.failed.is_none()
        {
            let Some(line) = self.lines.next() else { break };
            match line {
                Line::TooLong(bytes) => {
                    let context =
                        json!({"dbname": self.settings.dbname, "after": self.cursor.seq, "bytes": bytes});
                    refused.push(Refused::message(self.too_large("a change", bytes), &context));
                }
                Line::Text(line) => match lines::read(&line) {
                    Ok(Said::Change(change)) => {
                        self.cursor.seq = change.seq;
                        match event(
                            &line,
                            &change.id,
                            &change.changes,
                            &self.settings.dbname,
                            self.cursor.generation,
                        ) {
                            Ok(event) if event.payload.as_str().len() > self.event_bytes_max => {
                                let what = format!("the change of `{}`", change.id);
                                let why = self.too_large(&what, event.payload.as_str().len());
                                refused.push(Refused::message(why, &self.context(&change.id)));
                            }
                            Ok(event) => {
                                bytes += event.payload.as_str().len();
                                self.cursor.count += 1;
                                events.push(event);
                            }
                            Err(why) => {
                                let why = format!("the change of `{}`: {why}", change.id);
                                refused.push(Refused::message(why, &self.context(&change.id)));
                            }
                        }
                    }
                    Ok(Said::Last) => self.answer = None,
                    Err(why) => self.failed = Some(self.unavailable(&why)),
                },
            }
        }
        let is_something = !events.is_empty() || !refused.is_empty();
        is_something.then(|| batch(events, refused, self.cursor.clone()))
    }

    /// Where a change is to be found.
    fn context(&self, id: &str) -> Value {
        json!({"dbname": self.settings.dbname, "id": id, "seq": self.cursor.seq})
    }

    fn is_full(&self) -> bool {
        self.settings.most.is_some_and(|most| self.cursor.count >= most)
    }

    fn too_large(&self, what: &str, bytes: usize) -> String {
        format!("{what} has {bytes} bytes, more than {}", self.event_bytes_max)
    }

    fn unavailable(&self, what: &str) -> FeedError {
        FeedError::Unavailable(format!("`{}`: {what}", web::shown(&self.settings.database)))
    }
}

fn batch(events: Vec<FeedEvent>, refused: Vec<Refused>, cursor: Cursor) -> FeedBatch<Cursor> {
    FeedBatch { events, cursor, refused, duplicates: 0 }
}

/// Looks at the database after a while: whether it is younger than `seq`, which is from before.
fn look(database: Database, seq: Value) -> BoxFuture<'static, Result<bool, FeedError>> {
    Box::pin(async move {
        tokio::time::sleep(LOOK_EVERY).await;
        let looked = tokio::time::timeout(SILENCE_MAX, database.is_younger_than(&seq)).await;
        looked.unwrap_or_else(|_| {
            Err(FeedError::Unavailable(format!("the database does not answer within {SILENCE_MAX:?}")))
        })
    })
}

fn ended() -> FeedError {
    let why = "Automatically disabled after reaching max triggers".to_owned();
    FeedError::Ended { why, also_delete: AlsoDelete::Nothing }
}

/// What a change fires: what the database said, and the database's name (contract §3.5). Its key is the document with its
/// revision: a change that the database tells again, under another sequence, is the same.
fn event(
    line: &[u8],
    id: &str,
    revisions: &[lines::Revision<'_>],
    dbname: &str,
    generation: u64,
) -> Result<FeedEvent, String> {
    let said = JsonObject::parse(line).map_err(|error| error.to_string())?;
    let payload = said.overlaid_with(&JsonObject::from_fields([("dbname", &Json::from(dbname))]));
    let revisions: Vec<&str> = revisions.iter().map(|revision| &*revision.rev).collect();
    let key = EventKey::new(&format!("{generation}/{}/{id}", revisions.join(",")));
    Ok(FeedEvent { key: Some(key), payload })
}

#[async_trait]
impl FeedConnection for Connection {
    type Cursor = Cursor;

    async fn next(&mut self) -> Result<FeedBatch<Cursor>, FeedError> {
        let mut heard = Instant::now();
        loop {
            if let Some(batch) = self.ready.pop_front() {
                return Ok(batch);
            }
            if let Some(batch) = self.collect() {
                return Ok(batch);
            }
            if let Some(error) = self.failed.take() {
                return Err(error);
            }
            if self.is_full() {
                if self.durable < self.cursor.count {
                    // The end comes after the last change is durable, and that is told by `ack`; then this is called again.
                    std::future::pending::<()>().await;
                }
                return Err(ended());
            }
            let Some(answer) = &mut self.answer else {
                return Err(self.unavailable("the database ended the changes"));
            };
            let piece = tokio::select! {
                biased;
                piece = tokio::time::timeout_at(heard + SILENCE_MAX, answer.chunk()) => piece,
                is_another = &mut self.looking => {
                    if is_another? {
                        return Err(self.unavailable("the database was made anew"));
                    }
                    self.looking = look(self.database.clone(), self.cursor.seq.clone());
                    continue;
                }
            };
            match piece {
                Ok(Ok(Some(piece))) => {
                    heard = Instant::now();
                    self.lines.push(&piece);
                }
                Ok(Ok(None)) => self.answer = None,
                Ok(Err(error)) => return Err(web::failure(&self.settings.database, &error)),
                Err(_) => return Err(self.unavailable(&format!("no sign of life within {SILENCE_MAX:?}"))),
            }
        }
    }

    async fn ack(&mut self, cursor: &Cursor) -> Result<(), FeedError> {
        self.durable = cursor.count;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_what_the_database_said_with_its_name() {
        let line = br#"{"seq":3,"id":"a","changes":[{"rev":"1-b"}],"doc":{"n":1.50}}"#;
        let Ok(Said::Change(change)) = lines::read(line) else { panic!() };
        let event = event(line, &change.id, &change.changes, "db", 2).unwrap();
        let expected = r#"{"seq":3,"id":"a","changes":[{"rev":"1-b"}],"doc":{"n":1.50},"dbname":"db"}"#;
        assert_eq!(event.payload.as_str(), expected);
        assert_eq!(event.key.unwrap().as_str(), "2/1-b/a");
    }
}
