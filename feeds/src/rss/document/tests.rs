use super::*;

fn document(text: &str) -> Document {
    read(text.as_bytes(), &"http://a.example/feed".parse().unwrap()).unwrap()
}

#[test]
fn an_rss_item_has_the_contracts_fields() {
    let text = r#"<?xml version="1.0" encoding="iso-8859-1"?>
      <rss version="2.0" xmlns:content="http://purl.org/rss/1.0/modules/content/"><channel>
      <title>News</title><link>http://a.example/</link><ttl>15</ttl><language>de</language>
      <item><title>One &amp; two</title><link>http://a.example/1</link><guid isPermaLink="false">g1</guid>
        <description>short</description><content:encoded><![CDATA[<p>long</p>]]></content:encoded>
        <pubDate>Sun, 06 Nov 1994 08:49:37 GMT</pubDate><author>ann@a.example (Ann)</author>
        <category>c1</category><category>c2</category><comments>http://a.example/1#c</comments>
        <enclosure url="http://a.example/1.mp3" length="12" type="audio/mpeg"/></item></channel></rss>"#;
    let document = document(text);
    assert_eq!(document.ttl_minutes, Some(15));
    let entry = &document.entries[0];
    let expected = json!({
        "title": "One & two", "description": "<p>long</p>", "summary": "short",
        "date": "1994-11-06T08:49:37.000Z", "link": "http://a.example/1", "origlink": null,
        "permalink": "http://a.example/1", "pubdate": "1994-11-06T08:49:37.000Z", "author": "Ann",
        "guid": "g1", "comments": "http://a.example/1#c", "image": null, "categories": ["c1", "c2"], "source": null,
        "enclosures": [{"url": "http://a.example/1.mp3", "type": "audio/mpeg", "length": 12}],
        "meta": {"type": "rss", "title": "News", "description": null, "link": "http://a.example/", "date": null,
            "pubdate": null, "author": null, "language": "de", "image": null, "copyright": null, "generator": null,
            "categories": []},
    });
    assert_eq!(Value::Object(entry.payload.clone()), expected);
    assert_eq!(entry.dated, Some(784_111_777_000));
    assert_eq!(entry.texts(), ["One & two", "<p>long</p>", "short"]);
}

#[test]
fn atom_json_feed_and_old_rss_are_read() {
    let atom = document(
        r#"<feed xmlns="http://www.w3.org/2005/Atom"><title>T</title><entry><id>urn:1</id><title>A</title>
           <link href="/1"/><link rel="enclosure" href="/1.mp3" type="audio/mpeg" length="3"/><updated>2026-01-02T03:04:05Z</updated>
           <summary>s</summary><author><name>Ann</name></author></entry></feed>"#,
    );
    let payload = &atom.entries[0].payload;
    assert_eq!(
        (&payload["title"], &payload["link"], &payload["guid"], &payload["author"]),
        (&json!("A"), &json!("http://a.example/1"), &json!("urn:1"), &json!("Ann"))
    );
    assert_eq!(payload["date"], json!("2026-01-02T03:04:05.000Z"));
    assert_eq!(payload["enclosures"][0]["url"], json!("http://a.example/1.mp3"));
    let feed = document(
        r#"{"version": "https://jsonfeed.org/version/1.1", "title": "T", "items": [
           {"id": "1", "url": "http://a.example/1", "content_text": "hello", "date_published": "2026-01-02T03:04:05+01:00",
            "attachments": [{"url": "http://a.example/1.mp3", "mime_type": "audio/mpeg"}]}]}"#,
    );
    let payload = &feed.entries[0].payload;
    assert_eq!((&payload["description"], &payload["guid"]), (&json!("hello"), &json!("1")));
    assert_eq!(payload["enclosures"].as_array().unwrap().len(), 1, "{payload:?}");
    let rdf = document(
        r#"<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns="http://my.netscape.com/rdf/simple/0.9/">
           <channel><title>T</title></channel><item><title>A</title><link>http://a.example/1</link></item></rdf:RDF>"#,
    );
    assert_eq!((rdf.entries.len(), &rdf.entries[0].payload["title"]), (1, &json!("A")));
    let old = document(
        r#"<rss version="0.91"><channel><title>T</title><item><title>A</title></item></channel></rss>"#,
    );
    assert_eq!(old.entries.len(), 1);
}

fn items(items: &str) -> Document {
    document(&format!(r#"<rss version="2.0"><channel><title>T</title>{items}</channel></rss>"#))
}

#[test]
fn entries_are_told_apart_by_id_or_else_by_what_they_say() {
    let ids = |text: &str| items(text).entries.iter().map(|entry| entry.id).collect::<Vec<_>>();
    let content = |text: &str| items(text).entries.iter().map(|entry| entry.content).collect::<Vec<_>>();
    let first = "<item><guid>1</guid><title>a</title></item>";
    let edited = "<item><guid>1</guid><title>b</title></item>";
    assert_eq!(ids(first), ids(edited));
    assert_ne!(content(first), content(edited));
    let without = "<item><title>a</title></item>";
    assert_eq!(ids(without), ids(&without.repeat(2))[..1], "the same without an id is the same");
    assert_ne!(ids(without), ids("<item><title>b</title></item>"));
    let shared =
        ids("<item><guid>1</guid><title>a</title></item><item><guid>1</guid><title>b</title></item>");
    assert_ne!(shared[0], shared[1], "an id that is shared tells nothing");
    // What the feed says of itself is no part of an entry.
    let other = document(
        r#"<rss version="2.0"><channel><title>U</title><item><guid>1</guid><title>a</title></item></channel></rss>"#,
    );
    assert_eq!(other.entries[0].content, content(first)[0]);
}

#[test]
fn what_is_no_feed_is_refused_and_what_is_long_is_cut() {
    let refused = |bytes: &[u8]| read(bytes, &"http://a.example/feed".parse().unwrap()).unwrap_err();
    for wrong in
        ["<html><body>login</body></html>", "<rss version='2.0'><channel><item>", "{\"version\":\"9\"}", "{}"]
    {
        let text = refused(wrong.as_bytes());
        assert!(text.starts_with("the document cannot be read as RSS, Atom or JSON Feed: "), "{text}");
    }
    assert!(refused(&[0xff; 100]).contains("neither XML nor JSON"));
    let many = items(&"<item><title>a</title></item>".repeat(ENTRIES_MAX + 7));
    assert_eq!((many.entries.len(), many.left_out), (ENTRIES_MAX, 7));
    let long = document(&format!(
        "<rss version='2.0'><channel><title>{}</title><item/></channel></rss>",
        "x".repeat(5000)
    ));
    assert_eq!(long.entries[0].payload["meta"]["title"].as_str().unwrap().len(), META_CHARS_MAX);
}
