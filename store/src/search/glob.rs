//! Terms with wildcards: the index's words are gone through from the part before the first wildcard on.

use tantivy::query::{BitSetDocSet, ConstScorer, EnableScoring, Explanation, Query, Scorer, Weight};
use tantivy::schema::{Field, IndexRecordOption};
use tantivy::{BitSet, DocId, DocSet, Score, SegmentReader, TantivyError};

use super::ast::Glob;
use super::deadline::Deadline;

/// Records with a word of a form.
#[derive(Clone, Debug)]
pub(super) struct GlobQuery {
    pub(super) field: Field,
    /// What the words of a path within a JSON field begin with; empty for other fields.
    pub(super) path: Vec<u8>,
    pub(super) glob: Glob,
    pub(super) deadline: Deadline,
}

impl Query for GlobQuery {
    fn weight(&self, _: EnableScoring<'_>) -> tantivy::Result<Box<dyn Weight>> {
        Ok(Box::new(GlobWeight(self.clone())))
    }
}

struct GlobWeight(GlobQuery);

impl Weight for GlobWeight {
    fn scorer(&self, reader: &SegmentReader, boost: Score) -> tantivy::Result<Box<dyn Scorer>> {
        /// Words between two looks at the clock.
        const WORDS: u32 = 256;
        let GlobQuery { field, path, glob, deadline } = &self.0;
        let mut found = BitSet::with_max_value(reader.max_doc());
        let index = reader.inverted_index(*field)?;
        let begin = [path.as_slice(), glob.prefix().as_bytes()].concat();
        let mut words = index.terms().range().ge(&begin).into_stream()?;
        let mut seen = 0_u32;
        while words.advance() {
            let key = words.key();
            if !key.starts_with(&begin) || (seen.is_multiple_of(WORDS) && deadline.is_over()) {
                break;
            }
            seen = seen.wrapping_add(1);
            let word = key.get(path.len()..).and_then(|word| std::str::from_utf8(word).ok());
            if !word.is_some_and(|word| glob.matches(word)) {
                continue;
            }
            let mut postings =
                index.read_block_postings_from_terminfo(words.value(), IndexRecordOption::Basic)?;
            while !postings.docs().is_empty() {
                for &doc in postings.docs() {
                    found.insert(doc);
                }
                postings.advance();
            }
        }
        Ok(Box::new(ConstScorer::new(BitSetDocSet::from(found), boost)))
    }

    fn explain(&self, reader: &SegmentReader, doc: DocId) -> tantivy::Result<Explanation> {
        let mut scorer = self.scorer(reader, 1.0)?;
        if scorer.doc() <= doc && scorer.seek(doc) == doc {
            return Ok(Explanation::new("glob", 1.0));
        }
        Err(TantivyError::InvalidArgument(format!("document {doc} does not match")))
    }
}
