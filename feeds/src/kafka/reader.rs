//! The thread that reads: librdkafka's queue is asked from a thread of its own, since asking blocks.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::Message;
use rdkafka::Offset;
use rdkafka::consumer::{CommitMode, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::BorrowedMessage;
use rdkafka::types::RDKafkaErrorCode;

use super::assembly::{Assembly, Bounds, Read, Then};
use super::client;
use super::cursor::Cursor;
use super::payload::{self, Content};
use super::rebalance::{ASK_MAX, Consuming, Member, commit};
use super::settings::Settings;
use super::shared::Shared;
use crate::provider::FeedError;

/// How long reaching the brokers may take, all tries together; the runtime's limit is above it.
const REACH_MAX: Duration = Duration::from_secs(8);
/// One try of it.
const TRY_MAX: Duration = Duration::from_secs(1);
/// How long to listen for what a failed try was about.
const TELL_MAX: Duration = Duration::from_millis(100);
/// No message for so long ends the events that are open.
const QUIET: Duration = Duration::from_millis(10);
/// How long the thread sleeps where nothing waits: the end of the connection is noticed after so long.
const IDLE: Duration = Duration::from_millis(200);
/// The same while a batch is being written, whose offset is to be committed soon after.
const BUSY: Duration = Duration::from_millis(20);
/// Commits are sent at most so often.
const COMMIT_EVERY: Duration = Duration::from_millis(50);
/// A broker that is out of reach for so long makes the feed ask whether the cluster is: where no broker is left, librdkafka
/// would wait for one in silence.
const DOUBT: Duration = Duration::from_millis(500);
/// A hub without room for so long stops the fetching; asking goes on, or the group would take the feed for dead.
const STALL: Duration = Duration::from_secs(1);

/// Starts the thread.
pub(super) fn start(
    settings: Settings,
    cursor: Option<Cursor>,
    event_bytes_max: usize,
) -> Result<Arc<Shared>, FeedError> {
    let shared = Arc::new(Shared::new());
    let mut reader = Reader {
        settings: Arc::new(settings),
        shared: shared.clone(),
        event_bytes_max,
        committed_at: Instant::now(),
        doubt: None,
    };
    std::thread::Builder::new()
        .name("kafka-feed".into())
        .spawn(move || {
            let run = std::panic::AssertUnwindSafe(|| reader.run(cursor.unwrap_or_default()));
            let error = match std::panic::catch_unwind(run) {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(error),
                Err(_) => Some(FeedError::Unavailable(
                    "the feed's reader broke off: this is a fault of the hub".into(),
                )),
            };
            if let Some(error) = error {
                reader.shared.fail(error);
            }
            reader.shared.lock().is_closed = true;
            reader.shared.tell_all();
        })
        .map_err(|error| FeedError::Unavailable(format!("no thread can be started: {error}")))?;
    Ok(shared)
}

struct Reader {
    settings: Arc<Settings>,
    shared: Arc<Shared>,
    event_bytes_max: usize,
    committed_at: Instant,
    /// Since when a broker is out of reach, as long as nobody asked whether others are there.
    doubt: Option<Instant>,
}

impl Reader {
    fn run(&mut self, cursor: Cursor) -> Result<(), FeedError> {
        let member = Member { shared: self.shared.clone(), settings: self.settings.clone() };
        let consumer: Consuming =
            client::config(&self.settings).create_with_context(member).map_err(|error| {
                FeedError::Invalid(format!("librdkafka does not take the parameters: {error}"))
            })?;
        let done = self.drive(&consumer, cursor);
        // Told before the consumer is closed, which may take its time.
        if let Err(error) = &done {
            self.shared.fail(error.clone());
        }
        done
    }

    fn drive(&mut self, consumer: &Consuming, cursor: Cursor) -> Result<(), FeedError> {
        self.reach(consumer, cursor)?;
        let wanted: Vec<&str> =
            self.settings.topics.iter().chain(&self.settings.patterns).map(String::as_str).collect();
        consumer.subscribe(&wanted).map_err(|error| {
            FeedError::Invalid(format!("the parameter `topic` cannot be subscribed to: {error}"))
        })?;
        while !self.is_over() {
            let patience = self.patience();
            self.ask(consumer, patience)?;
            self.commit_soon(consumer);
            self.ask_whether_there(consumer)?;
            self.hold(consumer)?;
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        let state = self.shared.lock();
        state.stop || state.over.is_some()
    }

    /// Reaches the brokers, looks for the topics, and finds out which cluster this is.
    fn reach(&self, consumer: &Consuming, cursor: Cursor) -> Result<(), FeedError> {
        let begun = Instant::now();
        let mut missing = Vec::new();
        for topic in &self.settings.topics {
            if !self.try_until(consumer, begun, || {
                let metadata = consumer.fetch_metadata(Some(topic), TRY_MAX)?;
                let found = metadata.topics().first();
                match found.and_then(rdkafka::metadata::MetadataTopic::error).map(RDKafkaErrorCode::from) {
                    None => Ok(found.is_some()),
                    Some(RDKafkaErrorCode::UnknownTopicOrPartition) => Ok(false),
                    Some(code) => Err(KafkaError::MetadataFetch(code)),
                }
            })? {
                missing.push(topic.clone());
            }
        }
        let mut there = None;
        if !self.settings.patterns.is_empty() {
            let all = self.try_until(consumer, begun, || consumer.fetch_metadata(None, TRY_MAX))?;
            let names = all.topics().iter().filter(|topic| topic.error().is_none());
            there = Some(names.map(|topic| topic.name().to_owned()).collect::<Vec<_>>());
        }
        let cluster = self.try_until(consumer, begun, || {
            consumer
                .client()
                .fetch_cluster_id(TRY_MAX)
                .ok_or(KafkaError::MetadataFetch(RDKafkaErrorCode::OperationTimedOut))
        })?;
        let mut cursor = cursor.at(&format!("{cluster}/{}", self.settings.group));
        cursor.keep(|topic| match &there {
            _ if missing.iter().any(|name| name == topic) => false,
            Some(there) => there.iter().any(|name| name == topic),
            None => true,
        });
        let bounds = Bounds {
            messages_max: self.settings.batch_messages_max,
            time: self.settings.batch_time,
            event_bytes_max: self.event_bytes_max,
            form: self.settings.form,
        };
        let mut assembly = Assembly::new(bounds, cursor);
        // Whatever comes to a topic that is not there yet comes after the feed was made.
        missing.iter().for_each(|topic| assembly.knows(topic));
        self.shared.lock().assembly = Some(assembly);
        if missing.is_empty() {
            return Ok(());
        }
        let names: Vec<String> = missing.iter().map(|topic| format!("`{topic}`")).collect();
        Err(FeedError::Unavailable(format!(
            "Kafka at {} has no topic {}",
            self.settings.peer(),
            names.join(", ")
        )))
    }

    /// Asks until there is an answer, or an error that waiting does not heal.
    fn try_until<T>(
        &self,
        consumer: &Consuming,
        begun: Instant,
        ask: impl Fn() -> Result<T, KafkaError>,
    ) -> Result<T, FeedError> {
        loop {
            let failed = match ask() {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            // What went wrong is told a moment later, between other news.
            let asked = Instant::now();
            while asked.elapsed() < TELL_MAX {
                if let Some(Err(error)) = consumer.poll(QUIET) {
                    self.judge(&error)?;
                }
            }
            self.judge_code(failed.rdkafka_error_code())?;
            if begun.elapsed() > REACH_MAX || self.is_over() {
                return Err(self.unreachable(&failed));
            }
        }
    }

    /// Asks whether the cluster can be reached, where a broker could not.
    fn ask_whether_there(&mut self, consumer: &Consuming) -> Result<(), FeedError> {
        if self.doubt.is_none_or(|since| since.elapsed() < DOUBT) {
            return Ok(());
        }
        self.doubt = None;
        let topic = self.settings.topics.first().map(String::as_str);
        match consumer.fetch_metadata(topic, TRY_MAX) {
            Ok(_) => Ok(()),
            Err(error) => Err(self.unreachable(&error)),
        }
    }

    fn unreachable(&self, error: &KafkaError) -> FeedError {
        let said = self.shared.lock().trouble.take().unwrap_or_else(|| error.to_string());
        let said = client::without_duration(&said);
        FeedError::Unavailable(format!("cannot reach Kafka at {}: {said}", self.settings.peer()))
    }

    /// The error where it ends the connection.
    fn judge(&self, error: &KafkaError) -> Result<(), FeedError> {
        if let KafkaError::MessageConsumptionFatal(_) = error {
            let said = self.shared.lock().trouble.take().unwrap_or_else(|| error.to_string());
            return Err(FeedError::Unavailable(format!("Kafka at {}: {said}", self.settings.peer())));
        }
        self.judge_code(error.rdkafka_error_code())
    }

    fn judge_code(&self, code: Option<RDKafkaErrorCode>) -> Result<(), FeedError> {
        let Some(code) = code else { return Ok(()) };
        let trouble = self.shared.lock().trouble.clone();
        match client::classify(&self.settings.peer(), code, trouble.as_deref()) {
            None => Ok(()),
            Some(error) => Err(error),
        }
    }

    /// How long to wait for a message.
    fn patience(&self) -> Duration {
        let state = self.shared.lock();
        let Some(assembly) = &state.assembly else { return IDLE };
        match assembly.due() {
            Some(due) => due.saturating_duration_since(Instant::now()).min(QUIET),
            None if assembly.awaits_commit() => BUSY,
            None => IDLE,
        }
    }

    /// Asks for one message, and takes it.
    fn ask(&mut self, consumer: &Consuming, patience: Duration) -> Result<(), FeedError> {
        match consumer.poll(patience) {
            None => {
                self.shared.assemble(|assembly| assembly.close(None));
                Ok(())
            }
            Some(Err(error)) => {
                self.judge(&error)?;
                self.doubt.get_or_insert_with(Instant::now);
                Ok(())
            }
            Some(Ok(message)) => self.take(consumer, &message),
        }
    }

    fn take(&self, consumer: &Consuming, message: &BorrowedMessage<'_>) -> Result<(), FeedError> {
        let content = Content {
            key: message.key(),
            value: message.payload(),
            timestamp: message.timestamp().to_millis(),
            headers: payload::headers(message.headers()),
        };
        let (topic, partition) = (message.topic(), message.partition());
        let read = Read { topic, partition, offset: message.offset(), content };
        let now = Instant::now();
        let then = self.shared.assemble(|assembly| {
            let then = assembly.take(&read, now);
            assembly.close(Some(now));
            then
        });
        if then == Some(Then::BeginAnew) {
            tracing::warn!(
                topic,
                partition,
                "the topic is another one of the same name: it is read from its beginning"
            );
            consumer.seek(topic, partition, Offset::Beginning, ASK_MAX).map_err(|error| {
                FeedError::Unavailable(format!("Kafka at {}: {error}", self.settings.peer()))
            })?;
        }
        Ok(())
    }

    fn commit_soon(&mut self, consumer: &Consuming) {
        if self.committed_at.elapsed() >= COMMIT_EVERY {
            self.committed_at = Instant::now();
            commit(consumer, &self.shared, CommitMode::Async);
        }
    }

    /// Waits while there is no room.
    fn hold(&mut self, consumer: &Consuming) -> Result<(), FeedError> {
        let has_room =
            |state: &super::shared::State| state.assembly.as_ref().is_none_or(|assembly| !assembly.is_full());
        if self.shared.wait(STALL, has_room) || self.is_over() {
            return Ok(());
        }
        let peer = self.settings.peer();
        let failed = |error: KafkaError| FeedError::Unavailable(format!("Kafka at {peer}: {error}"));
        while !has_room(&self.shared.lock()) && !self.is_over() {
            // Again and again: a rebalance may have brought partitions that are not paused.
            consumer.assignment().and_then(|all| consumer.pause(&all)).map_err(failed)?;
            self.ask(consumer, IDLE)?;
            commit(consumer, &self.shared, CommitMode::Async);
        }
        consumer.assignment().and_then(|all| consumer.resume(&all)).map_err(failed)
    }
}
