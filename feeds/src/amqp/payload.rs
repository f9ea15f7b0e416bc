//! A delivery as an event: `{exchange, routingKey, messageId, headers, contentType, redelivered, body, encoding}`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lapin::message::Delivery;
use lapin::types::{AMQPValue, FieldTable};
use serde_json::{Map, Value, json};
use triggerfish_model::{EventKey, Json, JsonObject};

use super::cursor::Digest;
use crate::body;
use crate::provider::FeedEvent;

/// How deep headers are followed: brokers nest a few levels, and nothing else should.
const DEPTH_MAX: u32 = 16;

/// The event of a delivery. Its key is the message's id where it has one, with the content's digest behind it: a publisher
/// that uses an id for something else again must not lose that.
pub(super) fn event(delivery: &Delivery, digest: Digest) -> FeedEvent {
    let (body, encoding) = body::decode(&delivery.data);
    let id = message_id(delivery);
    let properties = &delivery.properties;
    let headers = properties.headers().as_ref().map_or_else(Map::new, |table| table_value(table, 0));
    let text = |text: Option<&str>| text.map_or_else(Json::null, Json::from);
    let payload = JsonObject::from_fields([
        ("exchange", &Json::from(delivery.exchange.as_str())),
        ("routingKey", &Json::from(delivery.routing_key.as_str())),
        ("messageId", &text(id)),
        ("headers", &Json::from_value(&Value::Object(headers))),
        ("contentType", &text(properties.content_type().as_ref().map(lapin::types::ShortString::as_str))),
        ("redelivered", &Json::from_value(&delivery.redelivered.into())),
        ("body", &body),
        ("encoding", &Json::from(encoding)),
    ]);
    let key = id.map(|id| EventKey::new(&format!("{id}#{}", hex::encode(digest.0))));
    FeedEvent { key, payload }
}

/// The message's id, where its publisher gave one.
pub(super) fn message_id(delivery: &Delivery) -> Option<&str> {
    let id = delivery.properties.message_id().as_ref()?.as_str();
    (!id.is_empty()).then_some(id)
}

fn table_value(table: &FieldTable, depth: u32) -> Map<String, Value> {
    let fields = table.inner().iter();
    fields.map(|(key, value)| (key.to_string(), value_of(value, depth + 1))).collect()
}

fn value_of(value: &AMQPValue, depth: u32) -> Value {
    if depth > DEPTH_MAX {
        return Value::Null;
    }
    match value {
        AMQPValue::Boolean(value) => json!(value),
        AMQPValue::ShortShortInt(value) => json!(value),
        AMQPValue::ShortShortUInt(value) => json!(value),
        AMQPValue::ShortInt(value) => json!(value),
        AMQPValue::ShortUInt(value) => json!(value),
        AMQPValue::LongInt(value) => json!(value),
        AMQPValue::LongUInt(value) => json!(value),
        AMQPValue::LongLongInt(value) => json!(value),
        // Infinities and NaN are no JSON and become null.
        AMQPValue::Float(value) => json!(value),
        AMQPValue::Double(value) => json!(value),
        AMQPValue::DecimalValue(value) => {
            json!(f64::from(value.value) / 10_f64.powi(i32::from(value.scale)))
        }
        AMQPValue::ShortString(text) => json!(text.as_str()),
        AMQPValue::LongString(text) => bytes_value(text.as_bytes()),
        AMQPValue::ByteArray(bytes) => bytes_value(bytes.as_slice()),
        // Seconds since 1970.
        AMQPValue::Timestamp(seconds) => json!(seconds),
        AMQPValue::FieldArray(array) => {
            array.as_slice().iter().map(|value| value_of(value, depth + 1)).collect()
        }
        AMQPValue::FieldTable(table) => Value::Object(table_value(table, depth)),
        AMQPValue::Void => Value::Null,
    }
}

/// Text, or `{"base64": …}` where the bytes are none.
fn bytes_value(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => json!(text),
        Err(_) => json!({ "base64": STANDARD.encode(bytes) }),
    }
}

#[cfg(test)]
mod tests {
    use lapin::BasicProperties;
    use lapin::types::{FieldArray, LongString};

    use super::*;

    #[test]
    fn an_event_tells_where_the_message_came_from_and_what_it_holds() {
        let mut delivery = Delivery::mock(1, "e".into(), "a.b".into(), true, br#"{"n": 1}"#.to_vec());
        let mut headers = FieldTable::default();
        headers.insert("n".into(), AMQPValue::LongInt(-3));
        headers.insert("text".into(), AMQPValue::LongString(LongString::from("é")));
        headers.insert("raw".into(), AMQPValue::LongString(LongString::from(vec![0xff])));
        headers
            .insert("list".into(), FieldArray::from(vec![AMQPValue::Boolean(true), AMQPValue::Void]).into());
        delivery.properties = BasicProperties::default()
            .with_message_id("m1".into())
            .with_content_type("application/json".into())
            .with_headers(headers);
        let event = event(&delivery, Digest([1; 6]));
        assert_eq!(event.key, Some(EventKey::new("m1#010101010101")));
        let expected = json!({
            "exchange": "e", "routingKey": "a.b", "messageId": "m1", "contentType": "application/json",
            "redelivered": true, "body": {"n": 1}, "encoding": "json",
            "headers": {"n": -3, "text": "é", "raw": {"base64": "/w=="}, "list": [true, null]},
        });
        assert_eq!(Value::Object(event.payload.to_map()), expected);
    }

    #[test]
    fn a_message_without_an_id_has_no_key_and_headers_end_somewhere() {
        let mut inner = AMQPValue::Void;
        for _ in 0..50 {
            inner = FieldArray::from(vec![inner]).into();
        }
        let mut headers = FieldTable::default();
        headers.insert("deep".into(), inner);
        let mut delivery = Delivery::mock(1, "".into(), "q".into(), false, b"\xff".to_vec());
        delivery.properties = BasicProperties::default().with_headers(headers).with_message_id("".into());
        let event = event(&delivery, Digest::default());
        assert_eq!(event.key, None);
        let payload = event.payload.to_map();
        assert_eq!((&payload["messageId"], &payload["body"]), (&Value::Null, &json!("/w==")));
        assert!(payload["headers"].to_string().len() < 100, "{}", payload["headers"]);
    }
}
