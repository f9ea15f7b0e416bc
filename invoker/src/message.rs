//! The bodies of `/init` and `/run` (contract §4.1). Arguments are spliced in as text, not parsed.

use bytes::Bytes;
use serde_json::{Map, Value, json};
use triggerfish_model::{Json, Timestamp};

use crate::Job;

/// The body of `/init`: the code, and the environment that a container keeps.
pub(crate) fn init(job: &Job, deadline: Timestamp) -> Bytes {
    let action = &job.action;
    let mut env = Map::new();
    for (key, value) in job.environment.fields() {
        env.insert(key, Value::String(text_of(&value)));
    }
    env.insert("__OW_NAMESPACE".into(), json!(job.namespace));
    env.insert("__OW_ACTION_NAME".into(), json!(format!("/{}", action.id)));
    env.insert("__OW_ACTION_VERSION".into(), json!(action.version));
    env.insert("__OW_ACTIVATION_ID".into(), json!(job.activation));
    env.insert("__OW_TRANSACTION_ID".into(), json!(&*job.transaction));
    env.insert("__OW_DEADLINE".into(), json!(deadline.as_millis().to_string()));
    if let Some(key) = &job.api_key {
        env.insert("__OW_API_KEY".into(), json!(key));
    }
    let body = json!({"value": {
        "name": action.id.name,
        "main": action.main.as_deref().unwrap_or("main"),
        "code": &*action.code.text,
        "binary": action.code.binary,
        "env": env,
    }});
    Bytes::from(body.to_string())
}

/// The body of `/run`.
pub(crate) fn run(job: &Job, deadline: Timestamp) -> Bytes {
    let arguments = job.arguments.as_str();
    let mut body = String::with_capacity(arguments.len() + 320);
    body.push_str("{\"value\":");
    body.push_str(arguments);
    // Names, versions and ids hold nothing that JSON escapes; a transaction id may.
    body.push_str(&format!(
        ",\"namespace\":\"{}\",\"action_name\":\"/{}\",\"action_version\":\"{}\",\"activation_id\":\"{}\",\
         \"transaction_id\":{},\"deadline\":\"{}\"",
        job.namespace,
        job.action.id,
        job.action.version,
        job.activation,
        Json::from(&*job.transaction),
        deadline.as_millis()
    ));
    if let Some(key) = &job.api_key {
        body.push_str(&format!(",\"api_key\":{}", Json::from(key.as_str())));
    }
    body.push('}');
    Bytes::from(body)
}

/// A value as an environment variable (contract §2.1): a text as it is, null as "", everything else as its JSON.
fn text_of(value: &Json) -> String {
    match value.to_value() {
        Value::String(text) => text,
        Value::Null => String::new(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use triggerfish_model::{ActivationId, Code, JsonObject, Limits, Revision, Version};

    use super::*;
    use crate::Runnable;

    fn job() -> Job {
        Job {
            activation: ActivationId::from_bytes([1; 16]),
            namespace: "guest".parse().unwrap(),
            action: Arc::new(Runnable {
                id: "guest/p/a".parse().unwrap(),
                version: Version::default(),
                revision: Revision(1),
                kind: "python:3".into(),
                code: Code { text: "x".into(), binary: false },
                main: None,
                limits: Limits::default(),
            }),
            arguments: Json::parse(r#"{"n":1.0}"#).unwrap(),
            environment: JsonObject::parse(r#"{"A":"b","N":null,"O":{"x":1}}"#).unwrap(),
            api_key: None,
            transaction: "t\"1".into(),
            accepted: Timestamp::from_millis(0),
        }
    }

    #[test]
    fn run_carries_the_arguments_as_they_are() {
        let body = run(&job(), Timestamp::from_millis(5));
        let text = std::str::from_utf8(&body).unwrap();
        assert!(
            text.starts_with(r#"{"value":{"n":1.0},"namespace":"guest","action_name":"/guest/p/a""#),
            "{text}"
        );
        let value: Value = serde_json::from_str(text).unwrap();
        assert_eq!((&value["transaction_id"], &value["deadline"]), (&json!("t\"1"), &json!("5")));
        assert!(value.get("api_key").is_none());
    }

    #[test]
    fn init_parameters_become_texts() {
        let body: Value = serde_json::from_slice(&init(&job(), Timestamp::from_millis(5))).unwrap();
        let env = &body["value"]["env"];
        assert_eq!((&env["A"], &env["N"], &env["O"]), (&json!("b"), &json!(""), &json!(r#"{"x":1}"#)));
        assert_eq!(env["__OW_ACTION_NAME"], json!("/guest/p/a"));
        assert_eq!(body["value"]["main"], json!("main"));
    }
}
