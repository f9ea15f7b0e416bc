//! Payloads as they are given on the command line: from a file, standard input, or `key=value` pairs.

use std::io::Read;
use std::path::Path;

use anyhow::{Context, bail};
use serde_json::{Map, Value};

/// The largest file read as an event, in bytes: what the hub takes of a feed's event (`events.bytes_max`).
const BYTES_MAX: u64 = 25_000_000;

/// One `--param key=value`.
#[derive(Clone, Debug)]
pub(super) struct Pair {
    pub(super) key: String,
    pub(super) text: String,
}

/// Reads `key=value`.
pub(super) fn pair(text: &str) -> Result<Pair, String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok(Pair { key: key.to_owned(), text: value.to_owned() }),
        _ => Err("expected KEY=VALUE, like room=7".to_owned()),
    }
}

/// The object in `file` (`-` is standard input), overlaid with `pairs`; a pair's value is JSON where it can be read as
/// that, and text elsewhere, as `wsk` does it.
pub(super) fn object(file: Option<&Path>, pairs: &[Pair]) -> anyhow::Result<Map<String, Value>> {
    let mut object = match file {
        None => Map::new(),
        Some(path) => {
            let (text, name) = read(path)?;
            match serde_json::from_str(&text) {
                Ok(Value::Object(object)) => object,
                Ok(other) => bail!("{name}: {}, but a JSON object was expected", kind_of(&other)),
                Err(error) => {
                    return Err(anyhow::Error::new(error))
                        .with_context(|| format!("{name} is no JSON; a JSON object was expected"));
                }
            }
        }
    };
    for pair in pairs {
        let value = serde_json::from_str(&pair.text).unwrap_or_else(|_| Value::String(pair.text.clone()));
        object.insert(pair.key.clone(), value);
    }
    Ok(object)
}

/// The text of `path` (`-` is standard input), with what to call it.
pub(super) fn read(path: &Path) -> anyhow::Result<(String, String)> {
    let mut bytes = Vec::new();
    let name = if path == Path::new("-") {
        std::io::stdin().take(BYTES_MAX + 1).read_to_end(&mut bytes).context("reading standard input")?;
        "standard input".to_owned()
    } else {
        let name = path.display().to_string();
        let file = std::fs::File::open(path).with_context(|| format!("cannot read {name}"))?;
        file.take(BYTES_MAX + 1).read_to_end(&mut bytes).with_context(|| format!("cannot read {name}"))?;
        name
    };
    if bytes.len() as u64 > BYTES_MAX {
        bail!("{name} is larger than the {BYTES_MAX} bytes that are read");
    }
    let text = String::from_utf8(bytes).ok().with_context(|| format!("{name} is no UTF-8 text"))?;
    Ok((text, name))
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_json_where_they_can_be() {
        let pairs: Vec<Pair> =
            ["a=1", "b=x=y", "c={\"d\":null}", "e="].iter().map(|text| pair(text).unwrap()).collect();
        let object = object(None, &pairs).unwrap();
        assert_eq!(Value::Object(object).to_string(), r#"{"a":1,"b":"x=y","c":{"d":null},"e":""}"#);
        assert!(pair("room").is_err() && pair("=7").is_err());
    }

    #[test]
    fn files_hold_objects() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("event.json");
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            object(Some(&path), &[]).map_err(|error| format!("{error:#}"))
        };
        assert_eq!(read("{\"a\":1}").unwrap().len(), 1);
        assert!(read("[1]").unwrap_err().contains("event.json: an array, but a JSON object was expected"));
        let error = read("{\"a\":\n  oops}").unwrap_err();
        assert!(error.contains("event.json is no JSON") && error.contains("line 2 column 3"), "{error}");
    }
}
