//! What rules decide, by table: patterns, expressions, plans and their records.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "a test has no readers of its documentation, and its helpers may panic"
)]

use std::sync::Arc;

use triggerfish_model::*;
use triggerfish_rules_engine::*;

fn rule(name: &str, conditions: Conditions) -> Rule {
    Rule {
        id: format!("guest/{name}").parse().unwrap(),
        trigger: "guest/t".parse().unwrap(),
        action: "guest/p/a".parse().unwrap(),
        conditions,
        annotations: Parameters::new(),
        publish: false,
        version: Version::default(),
        updated: Timestamp::from_millis(0),
    }
}

fn trigger(parameters: Parameters) -> Trigger {
    Trigger {
        id: "guest/t".parse().unwrap(),
        parameters,
        annotations: Parameters::new(),
        rules: Default::default(),
        publish: false,
        version: Version::default(),
        updated: Timestamp::from_millis(0),
    }
}

fn event(payload: &str, source: Source) -> Event {
    Event {
        id: ActivationId::derive(&[b"event"]),
        trigger: "guest/t".parse().unwrap(),
        subject: "guest".parse().unwrap(),
        source,
        key: None,
        payload: JsonObject::parse(payload).unwrap(),
        received: Timestamp::from_millis(1_700_000_000_000),
    }
}

fn feed() -> Source {
    Source::Feed(FeedId(ActivationId::derive(&[b"feed"])))
}

fn conditions(pattern: Option<&str>, when: Option<&str>, with: Option<&str>) -> Conditions {
    Conditions {
        pattern: pattern.map(|text| Json::parse(text).unwrap()),
        when: when.map(Into::into),
        with: with.map(Into::into),
        ..Conditions::default()
    }
}

fn set(of: Vec<Conditions>) -> RuleSet {
    let compiled =
        of.into_iter().enumerate().map(|(n, c)| CompiledRule::compile(&rule(&format!("r{n}"), c)).unwrap());
    RuleSet::new(compiled.map(Arc::new).collect())
}

fn planned(of: Vec<Conditions>, payload: &str) -> Plan {
    plan(&event(payload, feed()), &trigger(Parameters::new()), &set(of), &[], RecordPolicy::Matched)
}

#[test]
fn patterns_match_as_eventbridge_matches_them() {
    for (pattern, payload, expected) in [
        (r#"{"a":["x","y"]}"#, r#"{"a":"y"}"#, true),
        (r#"{"a":["x"]}"#, r#"{"a":["w","x"]}"#, true),
        (r#"{"a":[1]}"#, r#"{"a":1.0}"#, true),
        (r#"{"a":[12345678901234567890123]}"#, r#"{"a":12345678901234567890124}"#, false),
        (r#"{"a":[null]}"#, r#"{}"#, false),
        (r#"{"a":{"b":[{"prefix":"ab"}]}}"#, r#"{"a":[{"b":"z"},{"b":"abc"}]}"#, true),
        (r#"{"a":[{"suffix":{"equals-ignore-case":".PNG"}}]}"#, r#"{"a":"x.png"}"#, true),
        (r#"{"a":[{"wildcard":"a*b*c"}]}"#, r#"{"a":"a-b-b-c"}"#, true),
        (r#"{"a":[{"wildcard":"ab*ba"}]}"#, r#"{"a":"aba"}"#, false),
        (r#"{"a":[{"anything-but":["x",1]}]}"#, r#"{"a":1.0}"#, false),
        (r#"{"a":[{"anything-but":{"prefix":"x"}}]}"#, r#"{"a":5}"#, true),
        (r#"{"a":[{"anything-but":"x"}]}"#, r#"{}"#, false),
        (r#"{"a":[{"numeric":[">",0,"<=",5]}]}"#, r#"{"a":5.0}"#, true),
        (r#"{"a":[{"numeric":[">",0,"<=",5]}]}"#, r#"{"a":0}"#, false),
        (r#"{"a":[{"cidr":"10.0.0.0/8"}]}"#, r#"{"a":"10.9.9.9"}"#, true),
        (r#"{"a":[{"cidr":"2001:db8::/32"}]}"#, r#"{"a":"2001:db9::1"}"#, false),
        (r#"{"a":[{"cidr":"0.0.0.0/0"}]}"#, r#"{"a":"1.2.3.4"}"#, true),
        (r#"{"a":{"b":[{"exists":false}]}}"#, r#"{}"#, true),
        (r#"{"a":[{"exists":true}]}"#, r#"{"a":null}"#, true),
        (r#"{"$or":[{"a":[1]},{"b":[2]}]}"#, r#"{"b":2}"#, true),
    ] {
        let matched = planned(vec![conditions(Some(pattern), None, None)], payload).matched == 1;
        assert_eq!(matched, expected, "{pattern} on {payload}");
    }
}

#[test]
fn expressions_decide_and_transform() {
    for (when, payload, expected) in [
        ("event.t > 20", r#"{"t":20.5}"#, true),
        ("event.t * 1.8 + 32 > 69.7", r#"{"t":21}"#, true),
        ("event.n == 1.0 && trigger.name == 't'", r#"{"n":1}"#, true),
        ("event.l.exists(x, x.k == 'b')", r#"{"l":[{"k":"a"},{"k":"b"}]}"#, true),
        ("has(event.x)", "{}", false),
        ("event.s.matches('^a.c$')", r#"{"s":"abc"}"#, true),
        ("trigger.received < timestamp('2024-01-01T00:00:00Z')", "{}", true),
    ] {
        let plan = planned(vec![conditions(None, Some(when), None)], payload);
        assert_eq!((plan.matched == 1, &plan.failures[..]), (expected, &[][..]), "{when} on {payload}");
    }
    let with = "{'f': event.t * 2, 'all': event.l.map(x, x + 1)}";
    let plan = planned(vec![conditions(None, None, Some(with))], r#"{"t":1.5,"l":[1,2]}"#);
    assert_eq!(plan.invocations[0].payload.as_str(), r#"{"all":[2,3],"f":3.0}"#);
}

#[test]
fn one_rules_failure_concerns_no_other() {
    let long = format!(r#"{{"l":[{}0]}}"#, "0,".repeat(2000));
    let costly = "event.l.all(x, event.l.all(y, x == y))";
    let all = vec![
        conditions(None, Some("event.missing > 1"), None),
        conditions(None, Some(costly), None),
        conditions(None, None, Some("event.l")),
        Conditions::default(),
    ];
    let plan = planned(all, &long);
    assert_eq!((plan.matched, plan.failures.len()), (1, 3));
    assert!(plan.failures[0].failure.message.contains("there is no `missing`"), "{:?}", plan.failures[0]);
    assert!(plan.failures[1].failure.message.contains("steps"), "{:?}", plan.failures[1]);
    assert!(plan.failures[2].failure.message.contains("expected an object"), "{:?}", plan.failures[2]);
}

#[test]
fn bad_conditions_are_refused_with_their_place() {
    let refused = |c| CompiledRule::compile(&rule("r", c)).unwrap_err();
    let error = refused(conditions(Some(r#"{"a":{"b":["x",{"prefx":"y"}]}}"#), None, None));
    assert_eq!((error.clause, error.offset), (Clause::Pattern, 24));
    assert!(error.message.contains("at `$.a.b[1].prefx`: unknown operator `prefx`"), "{error}");
    for (when, message) in [
        ("1 +", "line 1, column 4"),
        ("evnt.a > 1", "did you mean `event`?"),
        ("event.a.startWith('x')", "did you mean `startsWith`?"),
        ("event.a + 1 > now()", "unknown function `now`"),
        ("event.l", ""),
        ("{'a': 1}", "expected true or false"),
        ("event.s.matches(event.p)", "literal regular expression"),
        ("event.l.all(a, event.l.all(b, event.l.all(c, true)))", "more than 2 macros"),
    ] {
        match CompiledRule::compile(&rule("r", conditions(None, Some(when), None))) {
            Ok(_) => assert_eq!(message, "", "{when}"),
            Err(error) => {
                assert!(error.to_string().contains(message) && !message.is_empty(), "{when}: {error}")
            }
        }
    }
    for hostile in ["(".repeat(4000), "!".repeat(4000), vec!["event.a"; 400].join("+"), "[".repeat(2000)] {
        refused(conditions(None, Some(&hostile), None));
    }
}

#[test]
fn a_triggers_record_has_the_references_lines_and_payload() {
    let mut t = trigger(Parameters::new().with("p", Json::from("own")));
    for name in ["guest/off", "guest/r0"] {
        let link = RuleLink { action: "guest/p/a".parse().unwrap(), active: name != "guest/off" };
        t.rules.insert(name.parse().unwrap(), link);
    }
    let skipped = SkippedRule {
        rule: "guest/off".parse().unwrap(),
        action: "guest/p/a".parse().unwrap(),
        reason: SkipReason::Inactive,
    };
    let e = event(r#"{"x":1}"#, Source::Api);
    let plan = plan(&e, &t, &set(vec![Conditions::default()]), &[skipped], RecordPolicy::Matched);
    let id = e.id.child(b"guest/r0");
    assert_eq!((plan.invocations[0].id, plan.invocations[0].payload.as_str()), (id, r#"{"p":"own","x":1}"#));
    let record = plan.record.unwrap();
    assert_eq!(record.logs, [
        r#"{"statusCode":1,"success":false,"rule":"guest/off","error":"Rule 'guest/off' is inactive, action 'guest/p/a' was not activated.","action":"guest/p/a"}"#.to_owned(),
        format!(r#"{{"statusCode":0,"success":true,"activationId":"{id}","rule":"guest/r0","action":"guest/p/a"}}"#),
    ]);
    assert_eq!(record.response.result.as_str(), r#"{"x":1}"#);
    assert!(record.end.is_none() && record.annotations.is_empty());
}

#[test]
fn records_are_kept_by_policy_and_large_payloads_are_cut() {
    let never = || vec![conditions(None, Some("false"), None)];
    let kept = |source, policy, of| {
        plan(&event("{}", source), &trigger(Parameters::new()), &set(of), &[], policy).record.is_some()
    };
    assert!(!kept(feed(), RecordPolicy::Matched, never()));
    assert!(kept(feed(), RecordPolicy::All, never()));
    assert!(kept(Source::Api, RecordPolicy::Matched, never()));
    assert!(!kept(Source::Api, RecordPolicy::Matched, vec![]));
    let large = planned(vec![Conditions::default()], &format!(r#"{{"x":"{}"}}"#, "é".repeat(600_000)));
    let record = large.record.unwrap();
    assert!(record.annotations.is_truthy("truncated") && record.response.result.as_str().len() < 1_200_000);
    assert!(large.invocations[0].payload.as_str().len() > 1_200_000);
}

#[test]
fn explanations_name_what_decided() {
    let rules = set(vec![
        conditions(Some(r#"{"a":{"b":[{"prefix":"x"}]}}"#), None, None),
        conditions(None, Some("event.t > 1 && event.t < 3"), None),
        conditions(None, Some("event.t > 1"), Some("{'t': event.t}")),
    ]);
    let told = explain(&event(r#"{"a":{"b":"y"},"t":5}"#, Source::Api), &trigger(Parameters::new()), &rules);
    assert_eq!(told.rules[0].reason, r#"`a.b` is "y", but the pattern wants {"prefix":"x"}"#);
    assert_eq!(
        (told.rules[1].decided_by, told.rules[1].reason.as_str()),
        (Some(Clause::When), "`event.t < 3` is false")
    );
    assert!(told.rules[1].when.iter().any(|term| term.text == "event.t" && term.value == "5"));
    assert_eq!(told.rules[2].payload.as_ref().unwrap().as_str(), r#"{"t":5}"#);
    assert_eq!(told.matched, 1);
}
