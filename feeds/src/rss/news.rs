//! Which entries of a document fire, against what is known. Pure.

use triggerfish_model::{EventKey, JsonObject};

use super::cursor::{Cursor, EntryId, Validators};
use super::document::{Document, ENTRIES_MAX, Entry};
use super::settings::Settings;
use crate::provider::{FeedBatch, FeedEvent, Refused};
use serde_json::json;

/// The most events of a batch.
const BATCH_EVENTS_MAX: usize = 100;
/// A batch that has so many bytes takes no further event.
const BATCH_BYTES_MAX: usize = 4 << 20;

/// What is known around a document.
pub(super) struct Around<'a> {
    pub(super) settings: &'a Settings,
    /// What the server said of the document.
    pub(super) validators: Option<Validators>,
    /// On the first document, entries dated in this time (milliseconds since 1970) fire too: they came after the feed was
    /// made, while it could not be read.
    pub(super) since: Option<std::ops::RangeInclusive<i64>>,
    pub(super) event_bytes_max: usize,
}

/// The batches that a document gives, and in `cursor` what is known after them. None where nothing is new.
///
/// Oldest first. An entry becomes known with the batch that it is part of, and the validators with the last one: whoever is
/// cut off in between asks for the whole document again and finds what is missing.
pub(super) fn news(cursor: &mut Cursor, document: Document, around: Around<'_>) -> Vec<FeedBatch<Cursor>> {
    let before = cursor.clone();
    let settings = around.settings;
    let present: Vec<EntryId> = document.entries.iter().map(|entry| entry.id).collect();
    let is_first = cursor.revision == 0;
    cursor.ttl_minutes = document.ttl_minutes;
    cursor.not_before = None;
    cursor.validators = None;

    let mut fresh = fresh(cursor, document.entries, settings);
    if is_first {
        let passed_over = fresh.len().saturating_sub(settings.first);
        let mut place = 0;
        fresh.retain(|(entry, _)| {
            place += 1;
            let came_meanwhile = entry
                .dated
                .is_some_and(|dated| around.since.as_ref().is_some_and(|since| since.contains(&dated)));
            let fires = place > passed_over || came_meanwhile;
            if !fires {
                cursor.known.put(entry.id, entry.content);
            }
            fires
        });
    }
    if is_first || !fresh.is_empty() {
        cursor.revision += 1;
    }

    let mut refused = Vec::new();
    if document.left_out > 0 && !fresh.is_empty() {
        let all = document.left_out + ENTRIES_MAX;
        refused.push(Refused::from(format!(
            "the document has {all} entries; only the first {ENTRIES_MAX} are looked at"
        )));
    }
    let mut batches = Vec::new();
    let (mut events, mut bytes) = (Vec::new(), 0);
    for (entry, is_edit) in fresh {
        cursor.known.put(entry.id, entry.content);
        if !settings.passes(&entry.texts()) {
            continue;
        }
        let event = event(&entry, is_edit, cursor.revision, settings);
        let size = event.payload.as_str().len();
        if size > around.event_bytes_max {
            let title: String = entry.texts()[0].chars().take(100).collect();
            let why = format!("the entry `{title}` has {size} bytes, more than {}", around.event_bytes_max);
            let context = json!({"title": title, "bytes": size});
            refused.push(Refused::message(why, &context));
            continue;
        }
        if events.len() >= BATCH_EVENTS_MAX || bytes >= BATCH_BYTES_MAX {
            let refused = std::mem::take(&mut refused);
            batches.push(FeedBatch {
                events: std::mem::take(&mut events),
                cursor: cursor.clone(),
                refused,
                duplicates: 0,
            });
            // This entry is part of the next batch, so it is not known with this one.
            if let Some(batch) = batches.last_mut() {
                batch.cursor.known.restore(entry.id, before.known.get(entry.id));
            }
            bytes = 0;
        }
        bytes += size;
        events.push(event);
    }
    cursor.known.forget_departed(&present);
    cursor.validators = around.validators;
    if !events.is_empty() || !refused.is_empty() || *cursor != before {
        batches.push(FeedBatch { events, cursor: cursor.clone(), refused, duplicates: 0 });
    }
    batches
}

/// The entries that are new or edited, oldest first, each once; which of them are edits.
fn fresh(cursor: &mut Cursor, entries: Vec<Entry>, settings: &Settings) -> Vec<(Entry, bool)> {
    let mut taken = std::collections::HashSet::new();
    let mut fresh = Vec::new();
    for entry in entries {
        match cursor.known.get(entry.id) {
            _ if !taken.insert(entry.id) => {}
            None => fresh.push((entry, false)),
            Some(content) if content == entry.content => {}
            Some(_) if settings.edits => fresh.push((entry, true)),
            Some(_) => cursor.known.put(entry.id, entry.content),
        }
    }
    // Documents begin with the latest.
    fresh.reverse();
    if fresh.iter().all(|(entry, _)| entry.dated.is_some()) {
        fresh.sort_by_key(|(entry, _)| entry.dated);
    }
    fresh
}

fn event(entry: &Entry, is_edit: bool, revision: u64, settings: &Settings) -> FeedEvent {
    let id = entry.id.to_hex();
    let key = if is_edit { format!("{id}/{revision}") } else { id };
    let mut payload = entry.payload.clone();
    if settings.edits {
        payload.insert("edited".into(), is_edit.into());
    }
    FeedEvent { key: Some(EventKey::new(&key)), payload: JsonObject::from_map(&payload) }
}

#[cfg(test)]
mod tests;
