//! A Kafka message as the JSON that a trigger gets (contract §3.3). Pure.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rdkafka::message::Headers;
use serde_json::Value;
use triggerfish_model::Json;

/// How deep a value may nest that comes as JSON: the event around it adds to that, and the hub reads 120 levels.
const DEPTH_MAX: usize = 100;

/// How keys and values are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Form {
    /// Values are JSON (`isJSONData`).
    pub(crate) json_value: bool,
    /// Keys are bytes (`isBinaryKey`).
    pub(crate) binary_key: bool,
    /// Values are bytes (`isBinaryValue`).
    pub(crate) binary_value: bool,
}

/// What is told of a message beside its place.
pub(crate) struct Content<'a> {
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    /// Milliseconds since 1970, where the topic has times.
    pub(crate) timestamp: Option<i64>,
    /// The headers as JSON.
    pub(crate) headers: Value,
}

/// Writes a message's JSON object to the end of `out`.
pub(crate) fn write(
    out: &mut String,
    form: Form,
    (topic, partition, offset): (&str, i32, i64),
    content: &Content<'_>,
) {
    // A topic's name needs no escapes.
    out.push_str("{\"topic\":\"");
    out.push_str(topic);
    out.push_str("\",\"partition\":");
    out.push_str(&partition.to_string());
    out.push_str(",\"offset\":");
    out.push_str(&offset.to_string());
    out.push_str(",\"key\":");
    match content.key {
        None => out.push_str("null"),
        Some(bytes) if form.binary_key => base64(out, bytes),
        Some(bytes) => text(out, bytes),
    }
    out.push_str(",\"value\":");
    match content.value {
        None => out.push_str("null"),
        Some(bytes) if form.binary_value => base64(out, bytes),
        Some(bytes) if form.json_value => match Json::parse(bytes) {
            Ok(json) if depth(json.as_str()) <= DEPTH_MAX => out.push_str(json.as_str()),
            // What is no JSON comes between literal quotes, as with the feed of old.
            Ok(_) | Err(_) => text(out, format!("\"{}\"", String::from_utf8_lossy(bytes)).as_bytes()),
        },
        Some(bytes) => text(out, bytes),
    }
    out.push_str(",\"timestamp\":");
    match content.timestamp {
        None => out.push_str("null"),
        Some(millis) => out.push_str(&millis.to_string()),
    }
    out.push_str(",\"headers\":");
    out.push_str(&content.headers.to_string());
    out.push('}');
}

/// The headers as an object: a value is text, or `{"base64": …}` where it is none; a name given more than once has an array.
pub(crate) fn headers(headers: Option<&impl Headers>) -> Value {
    let mut all = serde_json::Map::new();
    for header in headers.into_iter().flat_map(Headers::iter) {
        let value = match header.value.map(|bytes| (bytes, std::str::from_utf8(bytes))) {
            None => Value::Null,
            Some((_, Ok(text))) => Value::from(text),
            Some((bytes, Err(_))) => serde_json::json!({ "base64": STANDARD.encode(bytes) }),
        };
        match all.get_mut(header.key) {
            None => drop(all.insert(header.key.to_owned(), value)),
            Some(Value::Array(several)) => several.push(value),
            Some(first) => *first = Value::Array(vec![first.take(), value]),
        }
    }
    Value::Object(all)
}

/// How deep arrays and objects nest in a JSON text.
fn depth(text: &str) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0_usize, 0, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

fn base64(out: &mut String, bytes: &[u8]) {
    out.push('"');
    STANDARD.encode_string(bytes, out);
    out.push('"');
}

/// Text with what is no UTF-8 replaced.
fn text(out: &mut String, bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let plain = |byte: &u8| !matches!(byte, b'"' | b'\\' | 0..0x20);
    if text.as_bytes().iter().all(plain) {
        out.push('"');
        out.push_str(&text);
        out.push('"');
    } else {
        out.push_str(&Value::from(text.as_ref()).to_string());
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::message::{Header, OwnedHeaders};

    use super::*;

    fn written(form: Form, key: Option<&[u8]>, value: Option<&[u8]>) -> (String, String) {
        let mut out = String::new();
        let content = Content { key, value, timestamp: None, headers: headers(None::<&OwnedHeaders>) };
        write(&mut out, form, ("t", 3, 42), &content);
        let read: Value = serde_json::from_str(&out).unwrap();
        assert_eq!(
            (&read["topic"], &read["partition"], &read["offset"]),
            (&"t".into(), &3.into(), &42.into())
        );
        assert_eq!((&read["timestamp"], &read["headers"]), (&Value::Null, &serde_json::json!({})));
        (read["key"].to_string(), read["value"].to_string())
    }

    #[test]
    fn keys_and_values_are_text_json_or_base64() {
        let plain = Form::default();
        let owned = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(written(plain, None, None), owned("null", "null"));
        assert_eq!(written(plain, Some(b"k"), Some(b"a\"b\n")), owned(r#""k""#, r#""a\"b\n""#));
        assert_eq!(written(plain, Some(b"\xff"), Some(b"{}")), owned("\"\u{fffd}\"", r#""{}""#));
        let json = Form { json_value: true, ..plain };
        assert_eq!(written(json, None, Some(br#"{"n": 1.5}"#)).1, r#"{"n":1.5}"#);
        let deep = "[".repeat(101) + &"]".repeat(101);
        for broken in ["nope", "NaN", "{\"a\":Infinity}", "", &deep] {
            let expected = Value::from(format!("\"{broken}\"")).to_string();
            assert_eq!(written(json, None, Some(broken.as_bytes())).1, expected);
        }
        let deep = deep[1..201].to_owned();
        assert_eq!(written(json, None, Some(deep.as_bytes())).1, deep);
        assert_eq!(depth(r#"{"a":"[[\"[","b":[{}]}"#), 3);
        let binary = Form { binary_key: true, binary_value: true, ..plain };
        assert_eq!(written(binary, Some(b"\xff"), Some(b"")), owned(r#""/w==""#, r#""""#));
    }

    #[test]
    fn headers_are_text_or_base64_and_may_repeat() {
        let given = OwnedHeaders::new()
            .insert(Header { key: "a", value: Some("1") })
            .insert(Header { key: "b", value: Some(&b"\xff"[..]) })
            .insert(Header { key: "a", value: Some("2") })
            .insert(Header { key: "c", value: None::<&str> });
        let expected = serde_json::json!({"a": ["1", "2"], "b": {"base64": "/w=="}, "c": null});
        assert_eq!(headers(Some(&given)), expected);
    }
}
