//! Stored rows of today, kept as files: what a later version must still read, and what tells that an encoding changed.
//! `store/tests/golden/README.md` says what to do then.

use std::path::PathBuf;

use triggerfish_model::{
    Action, Activation, ActivationId, Code, Conditions, Entity, Event, EventKey, Exec, FeedId, Invocation,
    Invoker, Json, JsonObject, Limits, Origin, Package, PackageRef, Parameters, Progress, RecordPolicy,
    Response, Rule, RuleLink, SeqNum, Source, StatusCode, Subscription, Timestamp, Trigger, Version,
};

use super::subjects;
use super::tables::{PendingRow, decode, encode, event_key, name_key, pending_key, pending_of, time_key};
use crate::seal::Seal;
use crate::{Identity, Pending};

const ID: ActivationId = ActivationId::from_bytes([0x1d; 16]);
const FEED: FeedId = FeedId(ActivationId::from_bytes([0xfe; 16]));
const AT: Timestamp = Timestamp::from_millis(1_700_000_000_123);

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/1")
}

fn event(source: Source) -> Event {
    Event {
        id: ID,
        trigger: "guest/t".parse().unwrap(),
        subject: "guest".parse().unwrap(),
        key: (source != Source::Api).then(|| EventKey::new("topic/0/17")),
        source,
        payload: JsonObject::parse("{\"temperature\":21.0,\"room\":\"ü\"}").unwrap(),
        received: AT,
    }
}

fn pending_row() -> PendingRow {
    let invoker =
        Invoker::Rule { trigger: "guest/t".parse().unwrap(), rule: "guest/r".parse().unwrap(), event: ID };
    let invocation = Invocation {
        id: ID,
        namespace: "guest".parse().unwrap(),
        subject: "guest".parse().unwrap(),
        action: "guest/p/a".parse().unwrap(),
        invoker,
        payload: Json::parse("{\"n\":1}").unwrap(),
        accepted: AT,
        transaction: "tid".into(),
        progress: Progress { interrupted: 2, sequence: Some(Json::parse("{\"step\":1}").unwrap()) },
        retry: None,
    };
    PendingRow { feed: Some(FEED), invocation }
}

fn record() -> Activation {
    Activation {
        namespace: "guest".parse().unwrap(),
        name: "a".parse().unwrap(),
        version: Version::default(),
        subject: "guest".parse().unwrap(),
        id: ID,
        cause: Some(ActivationId::from_bytes([0xca; 16])),
        start: AT,
        end: Some(Timestamp::from_millis(1_700_000_000_456)),
        duration_ms: Some(333),
        response: Response {
            status: StatusCode::ApplicationError,
            result: Json::parse("{\"error\":\"x\"}").unwrap(),
            size: Some(13),
        },
        logs: vec!["2023-11-14T22:13:20.123Z stdout: a line".into()],
        annotations: Parameters::new().with("path", "guest/p/a").with("kind", "python:3"),
        origin: Origin { trigger: Some("guest/t".parse().unwrap()), rule: Some("guest/r".parse().unwrap()) },
    }
}

fn entities() -> [(&'static str, Entity); 4] {
    let (annotations, version) = (Parameters::new().with("note", "ü"), Version::default());
    let package = Package {
        id: "guest/p".parse().unwrap(),
        binding: Some(PackageRef { namespace: "other".parse().unwrap(), name: "q".parse().unwrap() }),
        parameters: Parameters::new().with("a", Json::parse("1.0").unwrap()),
        annotations: annotations.clone(),
        publish: true,
        version,
        updated: AT,
    };
    let action = Action {
        id: "guest/p/a".parse().unwrap(),
        exec: Exec::Code {
            kind: "python:3".into(),
            code: Code { text: "def main(a): return a".into(), binary: false },
            main: Some("main".into()),
        },
        parameters: Parameters::new().with("a", "b"),
        annotations: annotations.clone(),
        limits: Limits { instances: Some(2), ..Limits::default() },
        publish: false,
        version,
        updated: AT,
    };
    let link = RuleLink { action: "guest/p/a".parse().unwrap(), active: true };
    let trigger = Trigger {
        id: "guest/t".parse().unwrap(),
        parameters: Parameters::new(),
        annotations: annotations.clone(),
        rules: [("guest/r".parse().unwrap(), link)].into_iter().collect(),
        publish: false,
        version,
        updated: AT,
    };
    let rule = Rule {
        id: "guest/r".parse().unwrap(),
        trigger: "guest/t".parse().unwrap(),
        action: "guest/p/a".parse().unwrap(),
        conditions: Conditions {
            pattern: Some(Json::parse("{\"room\":[\"ü\"]}").unwrap()),
            when: Some("event.n > 1".into()),
            with: Some("{'n': event.n}".into()),
            retry: None,
        },
        annotations,
        publish: false,
        version,
        updated: AT,
    };
    [
        ("package.json", Entity::Package(package)),
        ("action.json", Entity::Action(action)),
        ("trigger.json", Entity::Trigger(trigger)),
        ("rule.json", Entity::Rule(rule)),
    ]
}

fn subscription() -> Subscription {
    Subscription {
        id: FEED,
        trigger: "guest/t".parse().unwrap(),
        feed: "whisk.system/messaging/mqttFeed".parse().unwrap(),
        params: JsonObject::parse("{\"url\":\"mqtt://h\",\"topic\":\"a\"}").unwrap(),
        subject: "guest".parse().unwrap(),
        record: RecordPolicy::All,
        paused: true,
        ended: Some("maxTriggers".into()),
        created: AT,
        updated: AT,
    }
}

fn subject() -> subjects::Row {
    let identity = Identity {
        subject: "guest".parse().unwrap(),
        namespace: "guest".parse().unwrap(),
        uuid: "uuid".into(),
    };
    subjects::Row { identity, key: "key".into() }
}

fn place() -> Pending {
    Pending { action: "guest/p/a".parse().unwrap(), seq: SeqNum(258) }
}

/// What is written today, by the file that it is kept in.
fn rows() -> Vec<(&'static str, Vec<u8>)> {
    let mut rows = vec![
        ("event-of-api", encode(&event(Source::Api)).unwrap()),
        ("event-of-feed", encode(&event(Source::Feed(FEED))).unwrap()),
        ("pending", pending_row().encode().unwrap()),
        ("record", encode(&record()).unwrap()),
        ("subscription.json", serde_json::to_vec(&subscription()).unwrap()),
        ("subject.json", serde_json::to_vec(&subject()).unwrap()),
        ("key-of-pending", pending_key(&place())),
        ("key-of-event", event_key(FEED, "topic/0/17")),
        ("key-of-record-by-time", time_key(&record())),
        ("key-of-record-by-name", name_key(&record())),
    ];
    rows.extend(entities().map(|(name, entity)| (name, serde_json::to_vec(&entity).unwrap())));
    rows
}

fn kept(name: &str) -> Vec<u8> {
    let path = directory().join(name);
    std::fs::read(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; see tests/golden/README.md", path.display()))
}

#[test]
fn what_is_written_is_what_was_written() {
    for (name, bytes) in rows() {
        let path = directory().join(name);
        if std::env::var_os("TRIGGERFISH_WRITE_GOLDEN").is_some() && !path.exists() {
            std::fs::create_dir_all(directory()).unwrap();
            std::fs::write(&path, &bytes).unwrap();
        }
        assert!(
            kept(name) == bytes,
            "the stored form of `{name}` changed, and hubs have rows of the old one: see tests/golden/README.md"
        );
    }
}

#[test]
fn rows_of_format_1_are_still_read() {
    assert_eq!(decode::<Event>(&kept("event-of-api")).unwrap(), event(Source::Api));
    assert_eq!(decode::<Event>(&kept("event-of-feed")).unwrap(), event(Source::Feed(FEED)));
    let row = PendingRow::decode(&kept("pending")).unwrap();
    assert_eq!((row.feed, row.invocation), (Some(FEED), pending_row().invocation));
    assert_eq!(decode::<Activation>(&kept("record")).unwrap(), record());
    assert_eq!(pending_of(&kept("key-of-pending")).unwrap(), place());
    for (name, entity) in entities() {
        assert_eq!(serde_json::from_slice::<Entity>(&kept(name)).unwrap(), entity);
    }
    assert_eq!(serde_json::from_slice::<Subscription>(&kept("subscription.json")).unwrap(), subscription());
    let row: subjects::Row = serde_json::from_slice(&kept("subject.json")).unwrap();
    assert_eq!((row.identity, row.key), (subject().identity, subject().key));
}

#[test]
fn what_was_sealed_still_opens() {
    let key = directory().join("master.key");
    if std::env::var_os("TRIGGERFISH_WRITE_GOLDEN").is_some() && !key.exists() {
        let sealed = Seal::open(&key).unwrap().seal(b"context", b"secret").unwrap();
        std::fs::write(directory().join("sealed"), sealed).unwrap();
        let lookup = Seal::open(&key).unwrap().lookup(b"secret");
        std::fs::write(directory().join("lookup"), lookup).unwrap();
    }
    assert!(key.exists(), "Seal::open would make a new one");
    let seal = Seal::open(&key).unwrap();
    assert_eq!(seal.open_sealed(b"context", &kept("sealed")).unwrap(), b"secret");
    assert_eq!(seal.lookup(b"secret").as_slice(), kept("lookup"));
}

#[test]
fn rows_of_a_newer_hub_are_refused_with_what_they_are() {
    let mut newer = kept("event-of-api");
    newer[0] += 1;
    let text = decode::<Event>(&newer).unwrap_err().to_string();
    assert!(text.contains("format 2") && text.contains("written by a newer hub"), "{text}");
    assert!(decode::<Event>(&newer[..1]).is_err() && decode::<Event>(&[]).is_err());
}
