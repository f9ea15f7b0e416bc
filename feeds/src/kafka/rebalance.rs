//! How a feed follows its consumer group: where it begins what it is given, and how it leaves what it has to give away.
//!
//! Before a partition is given away, what was read of it is either durable and committed, or forgotten: so the next
//! member begins exactly where this one ends.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientContext, Offset, Statistics, TopicPartitionList};

use super::client;
use super::place::{self, Begin, Known};
use super::settings::{Settings, StartFrom};
use super::shared::Shared;
use crate::provider::FeedError;

/// How long one question to the brokers may take.
pub(super) const ASK_MAX: Duration = Duration::from_secs(10);
/// How long a partition is kept for the batches that are being written. A hub that has no room for so long gives it away
/// all the same: then what it has in hand may come to the next member too.
const LEAVE_MAX: Duration = Duration::from_secs(10);
/// Partitions of one feed. Their marks are written with each batch, some 40 bytes each.
const PARTITIONS_MAX: usize = 5_000;

/// The consumer of a feed.
pub(super) type Consuming = BaseConsumer<Member>;

/// This feed as a member of its group.
pub(super) struct Member {
    pub(super) shared: Arc<Shared>,
    pub(super) settings: Arc<Settings>,
}

impl ClientContext for Member {
    fn log(&self, _: rdkafka::config::RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(target: "librdkafka", facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code().is_none_or(client::is_telling) {
            self.shared.lock().trouble = Some(reason.to_owned());
        }
    }

    fn stats(&self, statistics: Statistics) {
        let mut state = self.shared.lock();
        for topic in statistics.topics.into_values() {
            for part in topic.partitions.into_values().filter(|part| part.hi_offset >= 0) {
                let end = if self.settings.committed_only { part.ls_offset } else { part.hi_offset };
                state.ends.insert((topic.topic.clone(), part.partition), end);
            }
        }
    }
}

impl ConsumerContext for Member {
    fn rebalance(&self, consumer: &Consuming, event: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let parts: Vec<(String, i32)> =
            list.elements().iter().map(|part| (part.topic().to_owned(), part.partition())).collect();
        let done = if event == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            self.assign(consumer, &parts)
        } else {
            self.leave(consumer, &parts);
            consumer.incremental_unassign(list)
        };
        if let Err(error) = done {
            let text = format!("Kafka at {}: {error}", self.settings.peer());
            self.shared.fail(FeedError::Unavailable(text));
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, _: &TopicPartitionList) {
        if let Err(error) = result {
            // The next commit tells the same and more; and where there is none, the cursor knows.
            tracing::debug!(group = self.settings.group, %error, "offsets were not committed");
        }
    }
}

impl Member {
    fn assign(&self, consumer: &Consuming, parts: &[(String, i32)]) -> KafkaResult<()> {
        let mut list = TopicPartitionList::with_capacity(parts.len());
        match self.begins(consumer, parts) {
            Ok(begins) => {
                for ((topic, partition), begin) in parts.iter().zip(&begins) {
                    list.add_partition_offset(topic, *partition, Offset::Offset(begin.at))?;
                }
                // The list may be read from as soon as it is assigned, so that it is known before.
                self.shared.assemble(|assembly| {
                    for ((topic, partition), begin) in parts.iter().zip(begins) {
                        assembly.assign(topic, *partition, begin);
                    }
                    assembly.knows_patterns(&self.settings.patterns);
                });
                self.shared.lock().is_placed = true;
                self.shared.tell_all();
            }
            // The answer that librdkafka waits for, before the consumer is closed.
            Err(error) => self.shared.fail(error),
        }
        consumer.incremental_assign(&list)
    }

    /// Where each of these partitions is begun.
    fn begins(&self, consumer: &Consuming, parts: &[(String, i32)]) -> Result<Vec<Begin>, FeedError> {
        let failed = |what: &str, error: &KafkaError| {
            FeedError::Unavailable(format!("Kafka at {} does not tell {what}: {error}", self.settings.peer()))
        };
        let cursor = match &self.shared.lock().assembly {
            Some(assembly) if assembly.assigned().len() + parts.len() > PARTITIONS_MAX => {
                return Err(FeedError::Invalid(format!(
                    "the topics have more than {PARTITIONS_MAX} partitions: share them between several triggers, or let other hubs join the group"
                )));
            }
            Some(assembly) => assembly.cursor().clone(),
            None => return Ok(Vec::new()),
        };
        let committed = self
            .committed(consumer, parts, |topic| cursor.topics.contains_key(topic))
            .map_err(|error| failed("the group's offsets", &error))?;
        let is_known = |topic: &str| {
            cursor.topics.contains_key(topic)
                || committed.elements_for_topic(topic).iter().any(|part| offset(part.offset()).is_some())
                || (!self.settings.topics.iter().any(|named| named == topic)
                    && !cursor.patterns.is_empty()
                    && cursor.patterns == self.settings.patterns)
        };
        let mut begins = Vec::with_capacity(parts.len());
        for (topic, partition) in parts {
            let (low, high) = consumer
                .fetch_watermarks(topic, *partition, ASK_MAX)
                .map_err(|error| failed(&format!("the offsets of `{topic}/{partition}`"), &error))?;
            let mark = cursor.mark(topic, *partition).cloned();
            let committed = committed.find_partition(topic, *partition);
            let committed = committed.and_then(|part| offset(part.offset()));
            let start = match self.settings.start_from {
                _ if mark.is_some() || committed.is_some() => high,
                StartFrom::Earliest => low,
                StartFrom::Time(time) => self
                    .at_time(consumer, topic, *partition, time.as_millis())
                    .map_err(|error| failed("the offset of a time", &error))?
                    .unwrap_or(high),
                StartFrom::Latest if is_known(topic) => low,
                StartFrom::Latest => high,
            };
            let generation = cursor.generation;
            let before = mark.as_ref().map(|mark| mark.generation);
            let begin = place::begin(Known { mark, committed, low, high, start, generation });
            if before.is_some_and(|before| before != begin.mark.generation) {
                tracing::warn!(
                    topic,
                    partition,
                    "the topic is another one of the same name: it is read from its beginning"
                );
            }
            begins.push(begin);
        }
        Ok(begins)
    }

    /// What is committed for the partitions, and for all others of topics that are not known.
    fn committed(
        &self,
        consumer: &Consuming,
        parts: &[(String, i32)],
        is_known: impl Fn(&str) -> bool,
    ) -> KafkaResult<TopicPartitionList> {
        let mut wanted: BTreeSet<(String, i32)> = parts.iter().cloned().collect();
        let topics: BTreeSet<&str> = parts.iter().map(|(topic, _)| topic.as_str()).collect();
        for topic in topics.into_iter().filter(|topic| !is_known(topic)) {
            let metadata = consumer.fetch_metadata(Some(topic), ASK_MAX)?;
            let ids = metadata.topics().iter().flat_map(|topic| topic.partitions()).map(|part| part.id());
            wanted.extend(ids.map(|id| (topic.to_owned(), id)));
        }
        let mut list = TopicPartitionList::with_capacity(wanted.len());
        for (topic, partition) in &wanted {
            list.add_partition(topic, *partition);
        }
        if list.count() == 0 {
            return Ok(list);
        }
        let list = consumer.committed_offsets(list, ASK_MAX)?;
        for part in list.elements() {
            part.error()?;
        }
        Ok(list)
    }

    fn at_time(
        &self,
        consumer: &Consuming,
        topic: &str,
        partition: i32,
        millis: i64,
    ) -> KafkaResult<Option<i64>> {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, Offset::Offset(millis))?;
        let found = consumer.offsets_for_times(list, ASK_MAX)?;
        Ok(found.elements().first().and_then(|part| offset(part.offset())))
    }

    /// Finishes what is under way of partitions that are to be given away.
    fn leave(&self, consumer: &Consuming, parts: &[(String, i32)]) {
        let each = |change: &dyn Fn(&mut super::assembly::Assembly, &str, i32)| {
            self.shared.assemble(|assembly| {
                parts.iter().for_each(|(topic, partition)| change(assembly, topic, *partition));
            });
        };
        each(&|assembly, topic, partition| assembly.forget(topic, partition));
        // What is lost belongs to another member already.
        if !consumer.assignment_lost() {
            let is_written = self.shared.wait(LEAVE_MAX, |state| {
                let assembly = state.assembly.as_ref();
                assembly.is_none_or(|it| !parts.iter().any(|(topic, part)| it.is_given(topic, *part)))
            });
            if !is_written && !self.shared.lock().stop {
                tracing::warn!(
                    group = self.settings.group,
                    "partitions were given away before their last messages were durable: these may come to two hubs"
                );
            }
            // Where the brokers cannot be reached there is no use in waiting for them.
            let mode = match self.shared.lock().over {
                None => CommitMode::Sync,
                Some(_) => CommitMode::Async,
            };
            commit(consumer, &self.shared, mode);
        }
        each(&|assembly, topic, partition| assembly.revoke(topic, partition));
    }
}

/// Commits what is acknowledged.
pub(super) fn commit(consumer: &Consuming, shared: &Shared, mode: CommitMode) {
    let acked = shared.lock().assembly.as_mut().map(super::assembly::Assembly::commit).unwrap_or_default();
    let mut list = TopicPartitionList::with_capacity(acked.len());
    for ((topic, partition), next) in acked {
        if list.add_partition_offset(&topic, partition, Offset::Offset(next)).is_err() {
            return;
        }
    }
    if list.count() > 0
        && let Err(error) = consumer.commit(&list, mode)
    {
        tracing::debug!(%error, "offsets were not committed");
    }
}

fn offset(offset: Offset) -> Option<i64> {
    match offset {
        Offset::Offset(offset) => Some(offset),
        Offset::Beginning | Offset::End | Offset::Stored | Offset::Invalid | Offset::OffsetTail(_) => None,
    }
}
