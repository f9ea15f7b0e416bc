//! From a document's bytes to entries: what an event of each carries, and what tells it from others. Pure, and slow for
//! large documents: it runs where it holds nobody up.

use std::collections::HashMap;
use std::io::Read;
use std::time::{Duration, Instant};

use feed_rs::model::{Entry as Parsed, Feed, FeedType, LinkTarget};
use serde_json::{Map, Value, json};
use url::Url;

use super::cursor::{ContentHash, EntryId};
use super::guard;

/// The most entries of a document that are looked at, the first ones, which are the latest as a rule. All of them are part of
/// the cursor.
pub(super) const ENTRIES_MAX: usize = 2000;
/// The longest text of the feed itself (title, description…), since each entry's event carries it, in characters.
const META_CHARS_MAX: usize = 1000;
/// The most categories of the feed itself.
const META_CATEGORIES_MAX: usize = 20;
/// How long parsing may take; a document that takes longer is made to.
const PARSE_MAX: Duration = Duration::from_secs(10);
/// What the parser gets at once, so that the time is looked at often.
const READ_BYTES: usize = 4096;

/// A document, read.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Document {
    pub(super) ttl_minutes: Option<u32>,
    /// In the document's order.
    pub(super) entries: Vec<Entry>,
    /// How many entries were left out.
    pub(super) left_out: usize,
}

/// An entry of a document.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) id: EntryId,
    pub(super) content: ContentHash,
    /// When it was published, or else changed, in milliseconds since 1970.
    pub(super) dated: Option<i64>,
    pub(super) payload: Map<String, Value>,
}

impl Entry {
    /// The texts that a filter looks at: title, description.
    pub(super) fn texts(&self) -> [&str; 3] {
        ["title", "description", "summary"]
            .map(|key| self.payload.get(key).and_then(Value::as_str).unwrap_or_default())
    }
}

/// Reads a document that came from `url`; an error says what is wrong with it.
pub(super) fn read(bytes: &[u8], url: &Url) -> Result<Document, String> {
    let bytes = guard::prepare(bytes)?;
    let parser = feed_rs::parser::Builder::new()
        .base_uri(Some(url.as_str()))
        // An empty id tells that there is none; ours is made of the content then.
        .id_generator(|_, _, _| String::new())
        .build();
    let feed = parser.parse(Timed { bytes: &bytes, until: Instant::now() + PARSE_MAX }).map_err(|error| {
        let text = error.to_string();
        format!("the document cannot be read as RSS, Atom or JSON Feed: {}", short(&text))
    })?;
    Ok(convert(feed))
}

/// Gives bytes until its time is up.
struct Timed<'a> {
    bytes: &'a [u8],
    until: Instant,
}

impl Read for Timed<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        if Instant::now() > self.until {
            return Err(std::io::Error::new(
                std::io::ErrorKind::TimedOut,
                format!("it took more than {PARSE_MAX:?}"),
            ));
        }
        let most = into.len().min(READ_BYTES);
        self.bytes.read(into.get_mut(..most).unwrap_or_default())
    }
}

fn convert(mut feed: Feed) -> Document {
    let left_out = feed.entries.len().saturating_sub(ENTRIES_MAX);
    let mut parsed = std::mem::take(&mut feed.entries);
    parsed.truncate(ENTRIES_MAX);
    let mut uses = HashMap::<String, usize>::new();
    for entry in &parsed {
        *uses.entry(entry.id.clone()).or_default() += 1;
    }
    let meta = meta(&feed);
    let entries = parsed
        .into_iter()
        .map(|parsed| {
            let mut payload = payload(&parsed);
            let text = Value::Object(payload.clone()).to_string();
            let content = ContentHash::of(&text);
            // An id that several entries share tells none of them from the others.
            let id = match (parsed.id.as_str(), uses.get(&parsed.id)) {
                ("", _) => EntryId::of(&["content", &identity(&payload)]),
                (id, Some(1)) => EntryId::of(&["id", id]),
                (id, _) => EntryId::of(&["shared", id, &identity(&payload)]),
            };
            payload.insert("meta".into(), meta.clone());
            let dated = parsed.published.or(parsed.updated).map(|date| date.timestamp_millis());
            Entry { id, content, dated, payload }
        })
        .collect();
    Document { ttl_minutes: feed.ttl, entries, left_out }
}

/// What tells an entry without an id of its own from others: all that it says.
fn identity(payload: &Map<String, Value>) -> String {
    let parts = ["title", "link", "description", "summary", "pubdate", "enclosures"];
    Value::Array(parts.iter().filter_map(|key| payload.get(*key)).cloned().collect()).to_string()
}

/// What an event carries (contract §3.6, whose fields are those of Node's `feedparser`), but for `meta`. What a document does
/// not say, or feed-rs does not tell, is null.
fn payload(entry: &Parsed) -> Map<String, Value> {
    let text = |text: &Option<feed_rs::model::Text>| text.as_ref().map(|text| text.content.clone());
    let summary = text(&entry.summary);
    let content = entry.content.as_ref().and_then(|content| content.body.clone());
    let has_rel = |rels: &[&str], rel: &Option<String>| rel.as_deref().is_none_or(|rel| rels.contains(&rel));
    let link = entry
        .links
        .iter()
        .find(|link| link.target.is_none() && has_rel(&["alternate"], &link.rel))
        .or_else(|| entry.links.iter().find(|link| link.target.is_none()))
        .map(|link| link.href.clone());
    let comments = entry.links.iter().find(|link| link.target == Some(LinkTarget::Comments));
    // RSS and Media RSS, then Atom, then JSON Feed, whose attachments are links with a type.
    let media = entry.media.iter().flat_map(|media| &media.content).filter_map(|content| {
        let url = content.url.as_ref()?;
        let kind = content.content_type.as_ref().map(ToString::to_string);
        Some(json!({"url": url.as_str(), "type": kind, "length": content.size}))
    });
    let links = entry.links.iter().filter(|link| match &link.rel {
        Some(rel) => rel == "enclosure",
        None => link.media_type.is_some() && link.target.is_none(),
    });
    let links = links.map(|link| json!({"url": link.href, "type": link.media_type, "length": link.length}));
    let image = entry.media.iter().flat_map(|media| &media.thumbnails).next();
    let author = entry.authors.first().and_then(|person| person.name.as_ref().or(person.email.as_ref()));
    // In RSS it is an address, and the name in parentheses.
    let author = author.map(|author| author.trim_matches(['(', ')', ' ']));
    let permalink = Url::parse(&entry.id).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    let categories: Vec<&str> =
        entry.categories.iter().map(|category| category.label.as_deref().unwrap_or(&category.term)).collect();
    let fields = json!({
        "title": text(&entry.title),
        "description": content.or_else(|| summary.clone()),
        "summary": summary,
        "date": entry.updated.or(entry.published).and_then(|date| iso(date.timestamp_millis())),
        "link": link,
        "origlink": null,
        "permalink": permalink.map(|_| entry.id.clone()).or_else(|| link.clone()),
        "pubdate": entry.published.and_then(|date| iso(date.timestamp_millis())),
        "author": author,
        "guid": (!entry.id.is_empty()).then(|| entry.id.clone()),
        "comments": comments.map(|link| link.href.clone()),
        "image": image.map(|thumbnail| json!({"url": thumbnail.image.uri, "title": thumbnail.image.title})),
        "categories": categories,
        "source": entry.source.as_ref().map(|source| json!({"url": null, "title": source})),
        "enclosures": media.chain(links).collect::<Vec<_>>(),
    });
    match fields {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

/// What is said of the feed itself, cut short.
fn meta(feed: &Feed) -> Value {
    let text = |text: &Option<feed_rs::model::Text>| text.as_ref().map(|text| short(&text.content));
    let kind = match feed.feed_type {
        FeedType::Atom => "atom",
        FeedType::JSON => "json",
        FeedType::RSS0 | FeedType::RSS1 | FeedType::RSS2 => "rss",
    };
    let author = feed.authors.first().and_then(|person| person.name.as_deref()).map(short);
    let categories: Vec<String> =
        feed.categories.iter().take(META_CATEGORIES_MAX).map(|category| short(&category.term)).collect();
    json!({
        "type": kind,
        "title": text(&feed.title),
        "description": text(&feed.description),
        "link": feed.links.iter().find(|link| link.rel.as_deref() != Some("self")).map(|link| short(&link.href)),
        "date": feed.updated.or(feed.published).and_then(|date| iso(date.timestamp_millis())),
        "pubdate": feed.published.and_then(|date| iso(date.timestamp_millis())),
        "author": author,
        "language": feed.language.as_deref().map(short),
        "image": feed.logo.as_ref().map(|image| short(&image.uri)),
        "copyright": text(&feed.rights),
        "generator": feed.generator.as_ref().map(|generator| short(&generator.content)),
        "categories": categories,
    })
}

fn short(text: &str) -> String {
    text.chars().take(META_CHARS_MAX).collect()
}

/// A date as JavaScript writes it.
fn iso(millis: i64) -> Option<String> {
    let date = jiff::Timestamp::from_millisecond(millis).ok()?;
    Some(date.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string())
}

#[cfg(test)]
mod tests;
