//! How bytes from outside become JSON: `body` and `encoding` (design.md, "What an event carries").

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use triggerfish_model::Json;

/// `body`, and the `encoding` that tells what it is: the parsed JSON where the bytes are JSON (`json`), else text
/// (`utf8`), else base64 (`base64`).
pub(crate) fn decode(bytes: &[u8]) -> (Json, &'static str) {
    if let Ok(json) = Json::parse(bytes) {
        return (json, "json");
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => (Json::from(text), "utf8"),
        Err(_) => (Json::from(STANDARD.encode(bytes).as_str()), "base64"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_json_or_text_or_base64() {
        let read = |bytes: &[u8]| {
            let (json, encoding) = decode(bytes);
            (json.to_string(), encoding)
        };
        assert_eq!(read(br#"{"t": 21.50}"#), (r#"{"t":21.50}"#.into(), "json"));
        assert_eq!(read(b"21.5"), ("21.5".into(), "json"));
        assert_eq!(read(b"hot"), (r#""hot""#.into(), "utf8"));
        assert_eq!(read(br#"{"a":"\ud800"}"#), (r#""{\"a\":\"\\ud800\"}""#.into(), "utf8"));
        assert_eq!(read(&b"[".repeat(200)).1, "utf8");
        assert_eq!(read(b""), (r#""""#.into(), "utf8"));
        assert_eq!(read(b"\xff\x00"), (r#""/wA=""#.into(), "base64"));
    }
}
