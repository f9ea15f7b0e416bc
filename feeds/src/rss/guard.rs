//! Keeps from the parser what would make it work or grow out of all measure. Pure.
//!
//! feed-rs reads whatever it is given: it compares each attribute of a tag with each other one, joins every relative link to
//! its base, and copies a JSON Feed's authors to each item. A few megabytes of a hostile document would so become
//! gigabytes, or hours. The bounds here lie far beyond any real feed. Versions of RSS that it does not know by name, and reads
//! like their neighbours, are given a neighbour's name.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

/// The longest tag, in bytes.
const TAG_BYTES_MAX: usize = 16 * 1024;
/// The most tags outside of CDATA sections: a thousand entries of a hundred each.
const TAGS_MAX: usize = 100_000;
/// The longest `xml:base`, in bytes.
const BASE_BYTES_MAX: usize = 512;
/// The most bytes that a JSON Feed's authors become once each item has them.
const AUTHORS_BYTES_MAX: usize = 16 << 20;

/// The document as the parser may have it, or why it may not.
pub(super) fn prepare(document: &[u8]) -> Result<Cow<'_, [u8]>, String> {
    let text = from_utf16(document).map_or(Cow::Borrowed(document), |text| Cow::Owned(text.into_bytes()));
    match text.iter().find(|byte| matches!(byte, b'<' | b'{')) {
        Some(b'<') => xml(known_version(text)),
        Some(_) => json(&text).map(|()| text),
        None => Err("the answer is neither XML nor JSON".into()),
    }
}

/// A document in UTF-16 as UTF-8, without the declaration that says otherwise.
fn from_utf16(document: &[u8]) -> Option<String> {
    let (units, []) = document.as_chunks::<2>() else { return None };
    let read: fn([u8; 2]) -> u16 = match units.first()? {
        [0xff, 0xfe] | [_, 0] => u16::from_le_bytes,
        [0xfe, 0xff] | [0, _] => u16::from_be_bytes,
        _ => return None,
    };
    let text: String = char::decode_utf16(units.iter().map(|unit| read(*unit)))
        .map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER))
        .filter(|c| *c != '\u{feff}')
        .collect();
    match (text.starts_with("<?xml"), text.split_once("?>")) {
        (true, Some((_, rest))) => Some(rest.to_owned()),
        _ => Some(text),
    }
}

/// RSS 0.90's name in RDF, and that of RSS 1.0, which has all of it.
const RSS_090: [&[u8]; 2] =
    [b"http://my.netscape.com/rdf/simple/0.9/", b"http://channel.netscape.com/rdf/simple/0.9/"];
const RSS_1: &[u8] = b"http://purl.org/rss/1.0/";
/// Versions in an `<rss>` tag that the parser knows.
const KNOWN: [&[u8]; 4] = [b"2.0", b"0.91", b"0.92", b""];

/// The document with a version of RSS that the parser knows.
fn known_version(mut document: Cow<'_, [u8]>) -> Cow<'_, [u8]> {
    for old in RSS_090 {
        if let Some(at) = find(&document, old, 0) {
            document.to_mut().splice(at..at + old.len(), RSS_1.iter().copied());
            return document;
        }
    }
    let Some(start) = find(&document, b"<rss", 0) else { return document };
    let end = find(&document, b">", start).unwrap_or(document.len());
    let tag = document.get(start..end).unwrap_or_default();
    let value = find(tag, b"version=", 0).map(|at| at + b"version=".len());
    match value.and_then(|at| Some((at, *tag.get(at)?))) {
        Some((at, quote)) => {
            let from = at + 1;
            let length = tag.get(from..).and_then(|rest| memchr::memchr(quote, rest)).unwrap_or(0);
            if tag.get(from..from + length).is_some_and(|version| !KNOWN.contains(&version)) {
                document.to_mut().splice(start + from..start + from + length, *b"2.0");
            }
        }
        None => drop(document.to_mut().splice(start + 4..start + 4, *b" version='2.0'")),
    }
    document
}

/// Looks at each tag. All but the first `xml:base` are renamed away: links in feeds are absolute as a rule, and bases in
/// bases grow with each level.
fn xml(mut document: Cow<'_, [u8]>) -> Result<Cow<'_, [u8]>, String> {
    let (mut at, mut tags, mut bases) = (0, 0, Vec::new());
    while let Some(start) = find(&document, b"<", at) {
        let rest = document.get(start..).unwrap_or_default();
        let (end, is_tag) = if rest.starts_with(b"<![CDATA[") {
            (find(&document, b"]]>", start), false)
        } else if rest.starts_with(b"<!--") {
            (find(&document, b"-->", start), false)
        } else {
            (find(&document, b">", start), true)
        };
        // What is not closed is the parser's to complain of, but not before its length is looked at.
        let end = end.unwrap_or(document.len());
        at = end.max(start + 1);
        if !is_tag {
            continue;
        }
        tags += 1;
        if end - start > TAG_BYTES_MAX {
            return Err(format!(
                "the document has a tag of {} bytes, more than {TAG_BYTES_MAX}",
                end - start
            ));
        }
        if tags > TAGS_MAX {
            return Err(format!("the document has more than {TAGS_MAX} tags"));
        }
        let tag = document.get(start..end).unwrap_or_default();
        let mut within = 0;
        while let Some(found) = find(tag, b"xml:base", within) {
            bases.push((start + found, end - start - found));
            within = found + 1;
        }
    }
    let excess = bases.iter().enumerate().filter(|(place, (_, bytes))| *place > 0 || *bytes > BASE_BYTES_MAX);
    for (_, (place, _)) in excess {
        if let Some(colon) = document.to_mut().get_mut(place + 3) {
            *colon = b'_';
        }
    }
    Ok(document)
}

fn find(within: &[u8], what: &[u8], from: usize) -> Option<usize> {
    memchr::memmem::find(within.get(from..)?, what).map(|at| at + from)
}

#[derive(Deserialize)]
struct JsonFeed<'a> {
    #[serde(borrow)]
    author: Option<&'a RawValue>,
    #[serde(borrow)]
    authors: Option<&'a RawValue>,
    #[serde(default)]
    items: Vec<serde::de::IgnoredAny>,
}

fn json(document: &[u8]) -> Result<(), String> {
    // What cannot be read is the parser's to complain of.
    let Ok(feed) = serde_json::from_slice::<JsonFeed<'_>>(document) else { return Ok(()) };
    let authors: usize = [feed.author, feed.authors].into_iter().flatten().map(|raw| raw.get().len()).sum();
    if authors.saturating_mul(feed.items.len()) > AUTHORS_BYTES_MAX {
        return Err(format!(
            "the feed's authors take {authors} bytes, and each of its {} items has them",
            feed.items.len()
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn real_documents_pass_as_they_are() {
        for text in [
            r#"<?xml version="1.0"?><feed xml:base="http://a/"><title>t</title></feed>"#,
            r#"<rss version="2.0"><![CDATA[ a < b <<<< ]]><!-- <<< --></rss>"#,
            r#"{"version":"https://jsonfeed.org/version/1","authors":[{"name":"Ann"}],"items":[{},{}]}"#,
            "{ broken",
        ] {
            assert_eq!(&*prepare(text.as_bytes()).unwrap(), text.as_bytes());
        }
        assert_eq!(prepare(b"nothing").unwrap_err(), "the answer is neither XML nor JSON");
        assert!(prepare(b"").is_err());
    }

    #[test]
    fn what_would_grow_is_refused_or_renamed() {
        let attributes = format!("<rss {}>", "a='' ".repeat(10_000));
        assert!(prepare(attributes.as_bytes()).unwrap_err().contains("a tag of"));
        let unclosed = format!("<rss><a {}", "b".repeat(20_000));
        assert!(prepare(unclosed.as_bytes()).unwrap_err().contains("a tag of"));
        assert!(prepare("<a/>".repeat(100_001).as_bytes()).unwrap_err().contains("more than 100000 tags"));
        let bases = prepare(br#"<a xml:base="x"><b xml:base="y"/></a>"#).unwrap();
        assert_eq!(&*bases, br#"<a xml:base="x"><b xml_base="y"/></a>"#);
        let long = prepare(format!("<a xml:base='{}'>", "x".repeat(600)).as_bytes()).unwrap().into_owned();
        assert!(long.starts_with(b"<a xml_base"));
        let authors = format!(
            r#"{{"author":{{"name":"{}"}},"items":[{}{{}}]}}"#,
            "x".repeat(100_000),
            "{},".repeat(1000)
        );
        assert!(prepare(authors.as_bytes()).unwrap_err().contains("each of its 1001 items"));
    }

    #[test]
    fn versions_that_the_parser_does_not_know_get_the_name_of_a_neighbour() {
        for (given, expected) in [
            ("<rss>x", "<rss version='2.0'>x"),
            ("<?xml?><rss a='b' version='0.93'>", "<?xml?><rss a='b' version='2.0'>"),
            ("<rss version=\"2.0\">", "<rss version=\"2.0\">"),
            ("<rss version=\"0.91\">", "<rss version=\"0.91\">"),
            ("<rss version=", "<rss version='2.0' version="),
            (
                "<rdf xmlns='http://my.netscape.com/rdf/simple/0.9/'>",
                "<rdf xmlns='http://purl.org/rss/1.0/'>",
            ),
        ] {
            assert_eq!(String::from_utf8_lossy(&prepare(given.as_bytes()).unwrap()), expected);
        }
    }

    #[test]
    fn utf_16_is_read() {
        let text = "<?xml version='1.0' encoding='utf-16'?><rss>ä</rss>";
        let with_mark: Vec<u8> = text.encode_utf16().fold(vec![0xff, 0xfe], |mut all, unit| {
            all.extend(unit.to_le_bytes());
            all
        });
        let big: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
        for document in [with_mark, big] {
            assert_eq!(&*prepare(&document).unwrap(), "<rss version='2.0'>ä</rss>".as_bytes());
        }
    }
}
