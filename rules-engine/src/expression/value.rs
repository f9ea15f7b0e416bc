//! Between JSON and CEL's values.

use std::collections::HashMap;

use cel::common::types::{
    CelBool, CelBytes, CelDouble, CelDuration, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString,
    CelTimestamp, CelUInt,
};
use cel::common::value::Val;
use triggerfish_model::{Event, Source, Trigger};

use super::OUTPUT_BYTES_MAX;
use crate::document::{Kind, Node};

/// The payload as a CEL value that borrows its strings from the payload's text.
pub(crate) fn event_value<'a>(node: &Node<'a>) -> Box<dyn Val + 'a> {
    match &node.kind {
        Kind::Null => Box::new(CelNull),
        Kind::Bool(flag) => Box::new(CelBool::from(*flag)),
        Kind::Number => number(node.raw),
        Kind::Text(text) => Box::new(string(text)),
        Kind::Array(elements) => {
            Box::new(CelList::from(elements.iter().map(event_value).collect::<Vec<_>>()))
        }
        Kind::Object(members) => {
            let entry = |(key, node): &(std::borrow::Cow<'a, str>, Node<'a>)| {
                (CelMapKey::String(string(key)), event_value(node))
            };
            Box::new(CelMap::from(members.iter().map(entry).collect::<HashMap<_, _>>()))
        }
    }
}

fn string<'a>(text: &std::borrow::Cow<'a, str>) -> CelString<'a> {
    match text {
        std::borrow::Cow::Borrowed(text) => CelString::from(*text),
        std::borrow::Cow::Owned(text) => CelString::from(text.clone()),
    }
}

/// A whole number that fits is an `int` or `uint`; every other one is a `double`.
fn number<'a>(text: &str) -> Box<dyn Val + 'a> {
    if let Ok(int) = text.parse::<i64>() {
        return Box::new(CelInt::from(int));
    }
    if let Ok(uint) = text.parse::<u64>() {
        return Box::new(CelUInt::from(uint));
    }
    Box::new(CelDouble::from(text.parse::<f64>().unwrap_or(f64::NAN)))
}

/// `trigger`: `name`, `namespace`, `version`, `source` (`api` or `feed`), `activationId`, `key` (null where the source
/// gives none), and `received`, a timestamp. All of it belongs to the event, so a replay sees the same.
pub(crate) fn trigger_value<'a>(event: &'a Event, trigger: &'a Trigger) -> Box<dyn Val + 'a> {
    let text = |text: &'a str| Box::new(CelString::from(text)) as Box<dyn Val + 'a>;
    let owned = |text: String| Box::new(CelString::from(text)) as Box<dyn Val + 'a>;
    let received: Box<dyn Val + 'a> = match cel_timestamp(event.received.as_millis()) {
        Some(time) => Box::new(time),
        None => Box::new(CelNull),
    };
    let source = match event.source {
        Source::Api => "api",
        Source::Feed(_) => "feed",
    };
    let members: [(&str, Box<dyn Val + 'a>); 7] = [
        ("name", text(trigger.id.name.as_str())),
        ("namespace", text(trigger.id.namespace.as_str())),
        ("version", owned(trigger.version.to_string())),
        ("source", text(source)),
        ("activationId", owned(event.id.to_string())),
        (
            "key",
            event
                .key
                .as_ref()
                .map_or_else(|| Box::new(CelNull) as Box<dyn Val + 'a>, |key| text(key.as_str())),
        ),
        ("received", received),
    ];
    let members = members.into_iter().map(|(key, value)| (CelMapKey::from(key), value));
    Box::new(CelMap::from(members.collect::<HashMap<_, _>>()))
}

fn cel_timestamp(millis: i64) -> Option<CelTimestamp> {
    let time = chrono::DateTime::from_timestamp_millis(millis)?;
    Some(CelTimestamp::from(time.fixed_offset()))
}

/// The JSON text of a value, keys in order (so that a replay gives the same bytes); or why there is none.
pub(crate) fn output_text(value: &dyn Val) -> Result<String, String> {
    let mut text = String::new();
    write(value, &mut text)?;
    Ok(text)
}

fn write(value: &dyn Val, out: &mut String) -> Result<(), String> {
    if let Some(text) = value.downcast_ref::<CelString<'_>>() {
        quote(text.inner(), out);
    } else if let Some(list) = value.downcast_ref::<CelList<'_>>() {
        out.push('[');
        for (index, element) in list.inner().iter().enumerate() {
            if index > 0 {
                out.push(',');
            }
            write(&**element, out)?;
        }
        out.push(']');
    } else if let Some(map) = value.downcast_ref::<CelMap<'_>>() {
        let mut members: Vec<_> = map.inner().iter().map(|(key, value)| (key_text(key), value)).collect();
        members.sort_by(|a, b| a.0.cmp(&b.0));
        out.push('{');
        for (index, (key, value)) in members.iter().enumerate() {
            if index > 0 {
                out.push(',');
            }
            quote(key, out);
            out.push(':');
            write(&***value, out)?;
        }
        out.push('}');
    } else {
        write_scalar(value, out)?;
    }
    if out.len() > OUTPUT_BYTES_MAX {
        return Err(format!("the result is larger than {OUTPUT_BYTES_MAX} bytes"));
    }
    Ok(())
}

fn write_scalar(value: &dyn Val, out: &mut String) -> Result<(), String> {
    if let Some(flag) = value.downcast_ref::<CelBool>() {
        out.push_str(if *flag.inner() { "true" } else { "false" });
    } else if let Some(int) = value.downcast_ref::<CelInt>() {
        out.push_str(&int.inner().to_string());
    } else if let Some(uint) = value.downcast_ref::<CelUInt>() {
        out.push_str(&uint.inner().to_string());
    } else if let Some(double) = value.downcast_ref::<CelDouble>() {
        let number = serde_json::Number::from_f64(*double.inner());
        let number = number.ok_or("the result holds a number that JSON does not have (not finite)")?;
        out.push_str(&number.to_string());
    } else if value.downcast_ref::<CelNull>().is_some() {
        out.push_str("null");
    } else if let Some(time) = value.downcast_ref::<CelTimestamp>() {
        quote(&time.inner().to_rfc3339(), out);
    } else if let Some(duration) = value.downcast_ref::<CelDuration>() {
        quote(&format!("{}ms", duration.inner().num_milliseconds()), out);
    } else if value.downcast_ref::<CelBytes<'_>>().is_some() {
        return Err("the result holds bytes: expected text, as `string(…)` gives it".into());
    } else {
        return Err(format!("the result holds a {}, which JSON does not have", value.get_type().name()));
    }
    Ok(())
}

fn key_text(key: &CelMapKey<'_>) -> String {
    match key {
        CelMapKey::Bool(flag) => flag.inner().to_string(),
        CelMapKey::Int(int) => int.inner().to_string(),
        CelMapKey::String(text) => text.inner().to_owned(),
        CelMapKey::UInt(uint) => uint.inner().to_string(),
    }
}

fn quote(text: &str, out: &mut String) {
    out.push_str(&serde_json::Value::from(text).to_string());
}
