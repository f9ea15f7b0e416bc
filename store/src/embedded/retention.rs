//! Dropping what is older, or more, than the options keep: in bounded steps, oldest first.

use triggerfish_model::{Event, FeedId, Timestamp};

use crate::{Result, StoreError};

use super::Embedded;
use super::tables::{decode, engine, event_key, name_key, number, time_key};

/// Rows that one step drops; between steps others write.
const STEP: usize = 1000;
/// Steps of one call; what is left goes with the next.
const STEPS_MAX: usize = 200;

/// Why rows go.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Why {
    /// They are too old.
    Age,
    /// They are too many. The engine counts a dropped row's bytes until it compacts, so one step a call must do.
    Crowd,
}

impl Embedded {
    /// Drops old events, keys and records. Answers how many rows went.
    pub(super) async fn drop_old(&self, now: Timestamp) -> Result<u64> {
        let mut dropped = 0;
        for step in 0..STEPS_MAX {
            let why = if step == 0 { Why::Crowd } else { Why::Age };
            let gone = self.drop_events(now, why).await?
                + self.drop_keys(now).await?
                + self.drop_records(now, why).await?
                + self.drop_dead_letters(now, why).await?;
            dropped += gone;
            if gone == 0 {
                break;
            }
        }
        Ok(dropped)
    }

    async fn drop_events(&self, now: Timestamp, why: Why) -> Result<u64> {
        let (age, bytes) = (self.options.events_age, self.options.events_bytes_max);
        let old: Vec<u64> = self
            .read(move |tables| {
                let crowded = why == Why::Crowd && tables.events.disk_space() > bytes;
                let mut old = Vec::new();
                for row in tables.events.iter().take(STEP) {
                    let (key, value) = row.into_inner().map_err(engine)?;
                    let event: Event = decode(&value)?;
                    if !crowded && now.since(event.received) <= age {
                        break;
                    }
                    old.push(number(&key));
                }
                Ok(old)
            })
            .await?;
        let count = old.len() as u64;
        if count > 0 {
            self.write(move |transaction| {
                for seq in old {
                    transaction.remove(&transaction.tables.events, seq.to_be_bytes());
                }
                Ok(())
            })
            .await?;
        }
        Ok(count)
    }

    async fn drop_keys(&self, now: Timestamp) -> Result<u64> {
        let counts = self.shared.state.lock().keys.clone();
        let (age, most) = (self.options.keys_age, self.options.keys_per_feed);
        let mut dropped = 0;
        for (feed, count) in counts {
            dropped += self
                .drop_keys_of(feed, move |index, millis| {
                    index < count.saturating_sub(most) || now.since(Timestamp::from_millis(millis)) > age
                })
                .await?;
        }
        Ok(dropped)
    }

    /// Drops up to [`STEP`] of a feed's keys, oldest first, while `goes` says so of their index and time.
    async fn drop_keys_of(
        &self,
        feed: FeedId,
        goes: impl Fn(u64, i64) -> bool + Send + 'static,
    ) -> Result<u64> {
        let old = self
            .read(move |tables| {
                let mut old = Vec::new();
                for (index, row) in (0_u64..).zip(tables.key_order.prefix(feed.0.as_bytes()).take(STEP)) {
                    let (order, value) = row.into_inner().map_err(engine)?;
                    let corrupt = || StoreError::Corrupt("an event's key".into());
                    let (millis, key) = value.split_first_chunk::<8>().ok_or_else(corrupt)?;
                    if !goes(index, i64::from_be_bytes(*millis)) {
                        break;
                    }
                    let key = std::str::from_utf8(key).map_err(|_| corrupt())?;
                    old.push((order.to_vec(), event_key(feed, key)));
                }
                Ok(old)
            })
            .await?;
        let count = old.len() as u64;
        if count > 0 {
            self.write(move |transaction| {
                for (order, key) in old {
                    transaction.remove(&transaction.tables.key_order, order);
                    transaction.remove(&transaction.tables.keys, key);
                }
                if let Some(kept) = transaction.state.keys.get_mut(&feed) {
                    *kept = kept.saturating_sub(count);
                }
                Ok(())
            })
            .await?;
        }
        Ok(count)
    }

    /// Drops all keys of a feed that is gone.
    pub(super) async fn forget_keys(&self, feed: FeedId) -> Result<()> {
        while self.drop_keys_of(feed, |_, _| true).await? > 0 {}
        Ok(())
    }

    async fn drop_dead_letters(&self, now: Timestamp, why: Why) -> Result<u64> {
        let (age, bytes) = (self.options.dead_letters_age, self.options.dead_letters_bytes_max);
        let old: Vec<_> = self
            .read(move |tables| {
                let crowded = why == Why::Crowd && tables.dead_letters.disk_space() > bytes;
                let mut old = Vec::new();
                for row in tables.dead_letters.iter().take(STEP) {
                    let (_, value) = row.into_inner().map_err(engine)?;
                    let letter = super::dead_letters::read(&value)?;
                    if !crowded && now.since(letter.at) <= age {
                        break;
                    }
                    old.push((letter.namespace, letter.id));
                }
                Ok(old)
            })
            .await?;
        let count = old.len() as u64;
        if count > 0 {
            self.write(move |transaction| {
                for (namespace, id) in old {
                    transaction.remove_dead_letter(&namespace, id)?;
                }
                Ok(())
            })
            .await?;
        }
        Ok(count)
    }

    async fn drop_records(&self, now: Timestamp, why: Why) -> Result<u64> {
        let (age, bytes) = (self.options.records_age, self.options.records_bytes_max);
        let old = self
            .read(move |tables| {
                let crowded = why == Why::Crowd && tables.records.disk_space() > bytes;
                // Always the first ones, so that the search index can tell by the first that is left.
                let mut old = super::records::after(tables, 0, STEP)?;
                let goes =
                    old.iter().take_while(|(_, record)| crowded || now.since(record.start) > age).count();
                old.truncate(goes);
                Ok(old)
            })
            .await?;
        if old.is_empty() {
            return Ok(0);
        }
        let count = old.len() as u64;
        self.write(move |transaction| {
            let tables = transaction.tables;
            for (number, record) in old {
                transaction.remove(&tables.records, number.to_be_bytes().to_vec());
                transaction.remove(&tables.record_ids, record.id.as_bytes().to_vec());
                transaction.remove(&tables.record_times, time_key(&record));
                transaction.remove(&tables.record_names, name_key(&record));
            }
            Ok(())
        })
        .await?;
        Ok(count)
    }
}
