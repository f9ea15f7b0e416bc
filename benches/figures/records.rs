//! Records as a hub with sensors has them: what the search is measured on, and whatever else wants many records.

use std::sync::Arc;

use triggerfish_model::{
    Activation, ActivationId, Json, Origin, Parameters, Response, StatusCode, Timestamp, Version,
};

/// The records from one number to another (not included), all of namespace `guest`, one every 80 ms up to `now`.
/// The same number always gives the same record.
pub fn records(numbers: std::ops::Range<u64>, count: u64, now: Timestamp) -> Vec<Arc<Activation>> {
    numbers.map(|n| Arc::new(record(n, count, now))).collect()
}

fn record(n: u64, count: u64, now: Timestamp) -> Activation {
    // Spread as if by chance, and the same each time.
    let mix = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 16;
    let (room, celsius) = (mix % 500, (mix / 500) % 600);
    let hot = celsius > 400;
    let action = ["judge", "word-alert", "store-reading", "notify"][usize::try_from(mix % 4).unwrap_or(0)];
    let start = Timestamp::from_millis(now.as_millis() - i64::try_from((count - n) * 80).unwrap_or(0));
    let verdict = if hot { "too hot, raising an alert" } else { "within limits" };
    let failed = mix.is_multiple_of(97);
    let mut logs = vec![
        format!("2026-11-24T10:00:00.000000000Z stdout: reading {n} of sensor-{room} in room {room}"),
        format!("2026-11-24T10:00:00.000000001Z stdout: {}.{} C is {verdict}", celsius / 10, celsius % 10),
    ];
    if failed {
        logs.push("2026-11-24T10:00:00.000000002Z stderr: ConnectionError: timeout after 5000 ms".to_owned());
    }
    let result = format!(
        r#"{{"sensor":"sensor-{room}","room":{room},"celsius":{}.{},"alert":{hot}}}"#,
        celsius / 10,
        celsius % 10
    );
    let status = if failed { StatusCode::ApplicationError } else { StatusCode::Success };
    Activation {
        namespace: "guest".parse().expect("a legal name"),
        name: action.parse().expect("a legal name"),
        version: Version::default(),
        subject: "guest".parse().expect("a legal subject"),
        id: ActivationId::derive(&[b"bench", &n.to_le_bytes()]),
        cause: None,
        start,
        end: Some(Timestamp::from_millis(start.as_millis() + 3)),
        duration_ms: Some(mix % 900),
        response: Response {
            status,
            size: Some(result.len() as u64),
            result: Json::parse(result).expect("JSON"),
        },
        logs,
        annotations: Parameters::new()
            .with("path", format!("guest/{action}").as_str())
            .with("kind", if mix.is_multiple_of(2) { "python:3" } else { "nodejs:20" })
            .with("timeout", Json::parse("false").expect("JSON"))
            .with(
                "limits",
                Json::parse(r#"{"timeout":60000,"memory":256,"logs":10,"concurrency":1}"#).expect("JSON"),
            )
            .with("waitTime", Json::parse((mix % 50).to_string()).expect("JSON")),
        origin: Origin {
            trigger: Some("guest/reading".parse().expect("a legal name")),
            rule: Some(
                if hot { "guest/too-hot" } else { "guest/all-readings" }.parse().expect("a legal name"),
            ),
        },
    }
}

/// What is searched for, each with what it is an example of.
pub const QUERIES: [(&str, &str); 10] = [
    ("everything, latest first", r#"{"q":""}"#),
    ("a rare word", r#"{"q":"ConnectionError"}"#),
    ("a word of half of them", r#"{"q":"limits"}"#),
    ("a phrase", r#"{"q":"\"raising an alert\""}"#),
    ("a word and a field", r#"{"q":"timeout AND name:judge AND status:\"application error\""}"#),
    ("a number in the result", r#"{"q":"result.celsius:[55 TO 56}"}"#),
    ("one record by its text", r#"{"q":"\"reading 777777\""}"#),
    ("a wildcard", r#"{"q":"connect* OR alert*"}"#),
    ("sorted by duration", r#"{"q":"rule:too-hot","sort":"duration:desc"}"#),
    (
        "errors per action and hour",
        r#"{"q":"-status:success","limit":0,"aggs":{"a":{"terms":{"field":"name"},"aggs":{"t":{"date_histogram":{"field":"start","fixed_interval":"1h"}}}}}}"#,
    ),
];
