//! The index on disk: opening it, or building it anew where it is of no use.

use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use serde::{Deserialize, Serialize};
use tantivy::indexer::{IndexWriterOptions, LogMergePolicy};
use tantivy::query::TermQuery;
use tantivy::schema::IndexRecordOption;
use tantivy::tokenizer::TextAnalyzer;
use tantivy::{Index, IndexReader, IndexSettings, IndexWriter, ReloadPolicy, Term};
use triggerfish_model::ActivationId;

use super::directory::Unsynced;
use super::schema::{self, Fields};
use super::words::Words;

/// Memory of documents that are not written out yet; the engine's least. It is used while records come, and given
/// back with each commit.
const HEAP_BYTES: usize = 15_000_000;
/// Segments of about one size that are merged into one.
const MERGED_AT_ONCE: usize = 8;
/// A larger segment is merged no more: it would take long, and be in memory as a whole.
const MERGED_DOCS_MAX: usize = 2_000_000;
/// The part of a segment's documents that may be deleted ones, before it is written anew without them.
const DELETED_MAX: f32 = 0.3;
/// The boot of the machine that last wrote to the index.
const BOOT_FILE: &str = "boot";

/// What each commit says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Payload {
    /// The schema's version.
    version: u32,
    /// The number of the last record that is in the index.
    pub(super) last: u64,
}

impl Payload {
    /// What the last commit says.
    pub(super) fn of(index: &Index) -> tantivy::Result<Self> {
        match index.load_metas()?.payload {
            Some(payload) => Ok(serde_json::from_str(&payload)?),
            // Nothing was committed yet.
            None => Ok(Self { version: schema::VERSION, last: 0 }),
        }
    }

    pub(super) fn text(last: u64) -> String {
        serde_json::to_string(&Self { version: schema::VERSION, last }).expect("two numbers are JSON")
    }
}

/// An open index.
pub(super) struct Opened {
    pub(super) index: Index,
    pub(super) reader: IndexReader,
    pub(super) fields: Fields,
}

/// What the index is compared with when it is opened.
pub(super) struct Expected {
    /// The number of the last record.
    pub(super) last: u64,
    /// The id of a record; `None` where it is gone.
    pub(super) id_of: Box<dyn Fn(u64) -> Option<ActivationId>>,
}

/// Opens the index; one that cannot be used is removed and begun anew, and the log says why.
pub(super) fn open(path: &Path, expected: &Expected) -> Result<Opened, String> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let opened = if path.exists() {
        match usable(path, &boot, expected) {
            Ok(opened) => opened,
            Err(why) => {
                tracing::warn!(path = %path.display(), %why, "the search index is built anew from the records");
                std::fs::remove_dir_all(path)
                    .map_err(|error| format!("{} cannot be removed: {error}", path.display()))?;
                create(path)?
            }
        }
    } else {
        create(path)?
    };
    std::fs::write(path.join(BOOT_FILE), &boot).map_err(|error| error.to_string())?;
    Ok(opened)
}

fn create(path: &Path) -> Result<Opened, String> {
    let text = |error: &dyn std::fmt::Display| format!("{} cannot be made: {error}", path.display());
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|error| text(&error))?;
    let directory = Unsynced::open(path).map_err(|error| text(&error))?;
    // Nothing is stored, so there is nothing to compress.
    let settings = IndexSettings { docstore_compress_dedicated_thread: false, ..IndexSettings::default() };
    let index = Index::create(directory, schema::schema().0, settings).map_err(|error| text(&error))?;
    finish(index).map_err(|error| text(&error))
}

/// Opens an index that is there, or says why it is of no use.
fn usable(path: &Path, boot: &str, expected: &Expected) -> Result<Opened, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let directory = Unsynced::open(path).map_err(|error| text(&error))?;
    let index = Index::open(directory).map_err(|error| text(&error))?;
    let payload = Payload::of(&index).map_err(|error| text(&error))?;
    if payload.version != schema::VERSION || index.schema() != schema::schema().0 {
        return Err(format!(
            "it is of version {}, and this hub writes version {}",
            payload.version,
            schema::VERSION
        ));
    }
    if payload.last > expected.last {
        return Err(format!(
            "it knows record {}, and the last one there is is {}",
            payload.last, expected.last
        ));
    }
    let same_boot =
        std::fs::read_to_string(path.join(BOOT_FILE)).is_ok_and(|last| last == boot && !boot.is_empty());
    if !same_boot {
        let damaged = index.validate_checksum().map_err(|error| text(&error))?;
        if let Some(file) = damaged.iter().next() {
            return Err(format!("its file {} is damaged", file.display()));
        }
    }
    let opened = finish(index).map_err(|error| text(&error))?;
    if let Some(id) = (expected.id_of)(payload.last) {
        let term = Term::from_field_text(opened.fields.id, &id.to_string());
        let found = opened
            .reader
            .searcher()
            .search(&TermQuery::new(term, IndexRecordOption::Basic), &tantivy::collector::Count);
        if found.map_err(|error| text(&error))? == 0 {
            return Err(format!("record {} is another one than it knows", payload.last));
        }
    }
    Ok(opened)
}

pub(super) fn finish(index: Index) -> tantivy::Result<Opened> {
    index.tokenizers().register(schema::WORDS, TextAnalyzer::builder(Words).build());
    // The follower tells the reader of each commit.
    let reader = index.reader_builder().reload_policy(ReloadPolicy::Manual).try_into()?;
    Ok(Opened { index, reader, fields: schema::schema().1 })
}

/// The index's writer: one thread that indexes and one that merges.
pub(super) fn writer(index: &Index) -> tantivy::Result<IndexWriter> {
    let options = IndexWriterOptions::builder()
        .memory_budget_per_thread(HEAP_BYTES)
        .num_worker_threads(1)
        .num_merge_threads(1)
        .build();
    let writer = index.writer_with_options(options)?;
    let mut policy = LogMergePolicy::default();
    policy.set_min_num_segments(MERGED_AT_ONCE);
    policy.set_max_docs_before_merge(MERGED_DOCS_MAX);
    policy.set_del_docs_ratio_before_merge(DELETED_MAX);
    writer.set_merge_policy(Box::new(policy));
    Ok(writer)
}
