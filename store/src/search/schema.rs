//! The index's fields, and a record as a document of them. Nothing is stored: hits are read from the record store.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use tantivy::DateTime;
use tantivy::schema::{
    DateOptions, DateTimePrecision, FAST, Field, INDEXED, IndexRecordOption, JsonObjectOptions, OwnedValue,
    STRING, Schema, TantivyDocument, TextFieldIndexing, TextOptions,
};
use triggerfish_model::{Activation, ActivationId, Timestamp};

use super::view::{self, Leaf};

/// Changes with the schema or with how text is cut: an index of another version is built anew.
pub(super) const VERSION: u32 = 1;
/// The name that the tokenizer is registered by.
pub(super) const WORDS: &str = "words";
/// The column of the record's number, by which a hit is read from the record store.
pub(super) const NUMBER: &str = "number";
/// The column of the first half of the record's id.
pub(super) const ID_HIGH: &str = "id_high";
/// Bytes of a text within a result that can be aggregated: longer ones are no labels.
const LABEL_BYTES_MAX: usize = 256;

/// The fields by their handles.
#[derive(Clone, Copy)]
pub(super) struct Fields {
    pub(super) namespace: Field,
    pub(super) id: Field,
    pub(super) number: Field,
    id_high: Field,
    pub(super) logs: Field,
    pub(super) name: Field,
    pub(super) packaged: Field,
    pub(super) kind: Field,
    pub(super) trigger: Field,
    pub(super) rule: Field,
    pub(super) cause: Field,
    pub(super) version: Field,
    status: Field,
    pub(super) status_code: Field,
    pub(super) duration: Field,
    pub(super) start: Field,
    pub(super) end: Field,
    pub(super) present: Field,
    pub(super) annotations: Field,
    pub(super) result: Field,
    pub(super) annotations_fast: Field,
    pub(super) result_fast: Field,
}

/// The schema and its fields.
pub(super) fn schema() -> (Schema, Fields) {
    let mut schema = Schema::builder();
    let words = TextFieldIndexing::default()
        .set_tokenizer(WORDS)
        .set_fieldnorms(false)
        .set_index_option(IndexRecordOption::WithFreqsAndPositions);
    let label = STRING.set_fast("raw");
    let time = DateOptions::default().set_fast().set_precision(DateTimePrecision::Milliseconds);
    let searched = JsonObjectOptions::default().set_indexing_options(words.clone()).set_expand_dots_enabled();
    let columns = JsonObjectOptions::default().set_fast("raw").set_expand_dots_enabled();
    let fields = Fields {
        namespace: schema.add_text_field("namespace", STRING),
        id: schema.add_text_field("id", STRING),
        number: schema.add_u64_field(NUMBER, FAST),
        id_high: schema.add_u64_field(ID_HIGH, FAST),
        logs: schema.add_text_field("logs", TextOptions::default().set_indexing_options(words)),
        name: schema.add_text_field("name", label.clone()),
        packaged: schema.add_text_field("packaged", STRING),
        kind: schema.add_text_field("kind", label.clone()),
        trigger: schema.add_text_field("trigger", label.clone()),
        rule: schema.add_text_field("rule", label.clone()),
        cause: schema.add_text_field("cause", label.clone()),
        version: schema.add_text_field("version", label.clone()),
        status: schema.add_text_field("status", label),
        status_code: schema.add_u64_field("statusCode", INDEXED | FAST),
        duration: schema.add_u64_field("duration", FAST),
        start: schema.add_date_field("start", time.clone()),
        end: schema.add_date_field("end", time),
        present: schema.add_text_field("present", STRING),
        annotations: schema.add_json_field("annotations", searched.clone()),
        result: schema.add_json_field("result", searched),
        annotations_fast: schema.add_json_field("annotations_fast", columns.clone()),
        result_fast: schema.add_json_field("result_fast", columns),
    };
    (schema.build(), fields)
}

/// The first half of an id: what hits of equal sort values are ordered by.
fn high(id: ActivationId) -> u64 {
    id.as_bytes().first_chunk().map_or(0, |half| u64::from_be_bytes(*half))
}

/// A moment as the index counts it; those beyond the years that nanoseconds can count are moved to the nearest.
pub(super) fn date(time: Timestamp) -> DateTime {
    const MILLIS_MAX: i64 = i64::MAX / 1_000_000;
    DateTime::from_timestamp_millis(time.as_millis().clamp(-MILLIS_MAX, MILLIS_MAX))
}

/// A record and its number as a document.
pub(super) fn document(fields: &Fields, number: u64, record: &Activation) -> TantivyDocument {
    let mut doc = TantivyDocument::new();
    let mut present = BTreeSet::new();
    doc.add_text(fields.namespace, record.namespace.as_str());
    doc.add_text(fields.id, record.id.to_string());
    doc.add_u64(fields.number, number);
    doc.add_u64(fields.id_high, high(record.id));
    for line in view::log_lines(record) {
        doc.add_text(fields.logs, line);
    }
    doc.add_text(fields.name, record.name.as_str());
    doc.add_text(fields.version, record.version.to_string());
    doc.add_text(fields.status, record.response.status.as_str());
    doc.add_u64(fields.status_code, u64::from(record.response.status.as_u8()));
    doc.add_date(fields.start, date(record.start));
    if let Some(packaged) = view::packaged_name(record) {
        doc.add_text(fields.packaged, packaged);
    }
    if let Some(end) = record.end {
        doc.add_date(fields.end, date(end));
        present.insert("end".to_owned());
    }
    if let Some(duration) = record.duration_ms {
        doc.add_u64(fields.duration, duration);
        present.insert("duration".to_owned());
    }
    if !record.logs.is_empty() {
        present.insert("logs".to_owned());
    }
    let labels = [
        (fields.kind, "kind", record.kind()),
        (fields.trigger, "trigger", record.origin.trigger.as_ref().map(|trigger| trigger.local())),
        (fields.rule, "rule", record.origin.rule.as_ref().map(|rule| rule.local())),
        (fields.cause, "cause", record.cause.map(|cause| cause.to_string())),
    ];
    for (field, name, value) in labels {
        if let Some(value) = value {
            doc.add_text(field, value);
            present.insert(name.to_owned());
        }
    }
    let (searched, fast) = (fields.annotations, fields.annotations_fast);
    add_json(&mut doc, searched, fast, "annotations", view::annotations(record), &mut present);
    add_json(&mut doc, fields.result, fields.result_fast, "result", view::result(record), &mut present);
    for path in present {
        doc.add_text(fields.present, path);
    }
    doc
}

/// Adds the values of a JSON document: as words, and short ones as columns too.
fn add_json(
    doc: &mut TantivyDocument,
    searched: Field,
    fast: Field,
    root: &str,
    leaves: Vec<(String, Leaf)>,
    present: &mut BTreeSet<String>,
) {
    let mut words: BTreeMap<String, Vec<OwnedValue>> = BTreeMap::new();
    let mut columns = words.clone();
    for (path, leaf) in leaves {
        for (dot, _) in path.match_indices('.') {
            present.extend(path.get(..dot).map(|above| format!("{root}.{above}")));
        }
        present.insert(format!("{root}.{path}"));
        let (value, is_label) = match leaf {
            Leaf::Text(text) => {
                let short = text.len() <= LABEL_BYTES_MAX;
                (OwnedValue::Str(text), short)
            }
            Leaf::Number(number) => (OwnedValue::F64(number), true),
            Leaf::Flag(flag) => (OwnedValue::Bool(flag), true),
        };
        if is_label {
            columns.entry(path.clone()).or_default().push(value.clone());
        }
        if !matches!(value, OwnedValue::F64(_)) {
            words.entry(path).or_default().push(value);
        }
    }
    for (field, values) in [(searched, words), (fast, columns)] {
        if !values.is_empty() {
            let object = values.into_iter().map(|(path, items)| (path, OwnedValue::Array(items))).collect();
            doc.add_field_value(field, &OwnedValue::Object(object));
        }
    }
}
