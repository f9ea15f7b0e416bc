//! Gathers one page of hits in their order, and counts all of them.
//!
//! Hits are ordered by the value they are sorted by, those without one last; then by id. A page is asked for as "after
//! this hit", so that records which come meanwhile shift nothing.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use tantivy::collector::{Collector, SegmentCollector};
use tantivy::columnar::{Column, ColumnType, StrColumn};
use tantivy::{COLLECT_BLOCK_BUFFER_LEN, DocId, Score, SegmentOrdinal, SegmentReader};

use super::schema::{ID_HIGH, NUMBER};
use super::sort::{Key, Sort, Value};

/// Gathers a page.
pub(super) struct Page {
    pub(super) sort: Sort,
    /// Where the page before ended.
    pub(super) after: Option<Key>,
    /// How many hits at most.
    pub(super) limit: usize,
}

/// A page's hits and how many there are in all.
#[derive(Default)]
pub(super) struct Gathered {
    pub(super) total: u64,
    pub(super) keys: Vec<Key>,
}

impl Collector for Page {
    type Fruit = Gathered;
    type Child = Segment;

    fn for_segment(&self, _: SegmentOrdinal, reader: &SegmentReader) -> tantivy::Result<Segment> {
        let columns = reader.fast_fields();
        let types: &[ColumnType] = match self.sort.is_text() {
            true => &[ColumnType::Str],
            false => &[ColumnType::U64, ColumnType::F64, ColumnType::DateTime],
        };
        let column = &self.sort.column;
        let values = columns.u64_lenient_for_type(Some(types), column)?.map(|(column, _)| column);
        let texts = if self.sort.is_text() { columns.str(column)? } else { None };
        let after = match &self.after {
            Some(key) => Some(self.rank_of(key, texts.as_ref())?),
            None => None,
        };
        Ok(Segment {
            values,
            texts,
            ids: columns.u64(ID_HIGH)?,
            numbers: columns.u64(NUMBER)?,
            descending: self.sort.descending,
            text: self.sort.is_text(),
            after,
            limit: self.limit,
            total: 0,
            best: BinaryHeap::new(),
            found: vec![None; COLLECT_BLOCK_BUFFER_LEN],
        })
    }

    fn requires_scoring(&self) -> bool {
        false
    }

    fn merge_fruits(&self, parts: Vec<tantivy::Result<Gathered>>) -> tantivy::Result<Gathered> {
        let mut all = Gathered::default();
        for part in parts {
            let part = part?;
            all.total += part.total;
            all.keys.extend(part.keys);
        }
        all.keys.sort_by(|a, b| self.sort.compare(a, b));
        all.keys.truncate(self.limit);
        Ok(all)
    }
}

impl Page {
    /// The place of a key among the ranks of a segment.
    fn rank_of(&self, key: &Key, texts: Option<&StrColumn>) -> tantivy::Result<After> {
        use tantivy::columnar::TermOrdHit;
        let (value, between) = match (&key.value, texts) {
            (Value::None, _) => (None, false),
            (Value::Number(number), _) => (Some(*number), false),
            (Value::Text(text), Some(texts)) => match texts.dictionary().term_ord_or_next(text)? {
                TermOrdHit::Exact(ord) => (Some(ord), false),
                TermOrdHit::Next(ord) => (Some(ord), true),
            },
            // No record of this segment has a text, so all of them come after it.
            (Value::Text(_), None) => (Some(0), true),
        };
        let rank = Rank::new(value, self.sort.descending, key.id_high, key.number);
        Ok(After { rank, between })
    }
}

/// Where a page begins within a segment.
struct After {
    rank: Rank,
    /// The value lies before the rank's own, and no record of the segment has it.
    between: bool,
}

/// A hit's place in the order; the smallest comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    missing: bool,
    value: u64,
    id_high: u64,
    number: u64,
}

impl Rank {
    fn new(value: Option<u64>, descending: bool, id_high: u64, number: u64) -> Self {
        let up = |value: u64| if descending { !value } else { value };
        Self { missing: value.is_none(), value: value.map_or(0, up), id_high, number }
    }
}

/// Gathers the hits of one segment.
pub(super) struct Segment {
    values: Option<Column<u64>>,
    texts: Option<StrColumn>,
    ids: Column<u64>,
    numbers: Column<u64>,
    descending: bool,
    text: bool,
    after: Option<After>,
    limit: usize,
    total: u64,
    /// The best so far, the worst of them on top.
    best: BinaryHeap<Rank>,
    found: Vec<Option<u64>>,
}

impl Segment {
    fn offer(&mut self, doc: DocId, value: Option<u64>) {
        let first = Rank::new(value, self.descending, 0, 0);
        let full = self.best.len() >= self.limit;
        // Most hits are told apart by their value, without reading the other columns.
        if full
            && self
                .best
                .peek()
                .is_none_or(|worst| (worst.missing, worst.value) < (first.missing, first.value))
        {
            return;
        }
        let rank = Rank {
            id_high: self.ids.first(doc).unwrap_or_default(),
            number: self.numbers.first(doc).unwrap_or_default(),
            ..first
        };
        if self.after.as_ref().is_some_and(|after| !after.precedes(&rank, self.descending)) {
            return;
        }
        if full {
            match self.best.peek_mut() {
                Some(mut worst) if rank < *worst => *worst = rank,
                _ => {}
            }
        } else {
            self.best.push(rank);
        }
    }

    fn key(&self, rank: &Rank) -> tantivy::Result<Key> {
        let value = if self.descending { !rank.value } else { rank.value };
        let value = match (&self.texts, rank.missing) {
            (_, true) => Value::None,
            (Some(texts), false) if self.text => {
                let mut text = String::new();
                texts.ord_to_str(value, &mut text)?;
                Value::Text(text)
            }
            _ => Value::Number(value),
        };
        Ok(Key { value, id_high: rank.id_high, number: rank.number })
    }
}

impl After {
    fn precedes(&self, rank: &Rank, descending: bool) -> bool {
        let at = &self.rank;
        if !self.between {
            return rank > at;
        }
        match (rank.missing, rank.value.cmp(&at.value)) {
            (true, _) => true,
            // The first value at or after the missing text comes later going up, and came before going down.
            (false, Ordering::Equal) => !descending,
            (false, order) => order == Ordering::Greater,
        }
    }
}

impl SegmentCollector for Segment {
    type Fruit = tantivy::Result<Gathered>;

    fn collect(&mut self, doc: DocId, _: Score) {
        self.total += 1;
        if self.limit > 0 {
            let value = self.values.as_ref().and_then(|column| column.first(doc));
            self.offer(doc, value);
        }
    }

    fn collect_block(&mut self, docs: &[DocId]) {
        self.total += docs.len() as u64;
        if self.limit == 0 {
            return;
        }
        let mut found = std::mem::take(&mut self.found);
        found.clear();
        found.resize(docs.len(), None);
        if let Some(column) = &self.values {
            column.first_vals(docs, &mut found);
        }
        for (doc, value) in docs.iter().zip(&found) {
            self.offer(*doc, *value);
        }
        self.found = found;
    }

    fn harvest(self) -> Self::Fruit {
        let keys = self.best.iter().map(|rank| self.key(rank)).collect::<tantivy::Result<_>>()?;
        Ok(Gathered { total: self.total, keys })
    }
}
