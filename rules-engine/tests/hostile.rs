//! Hostile conditions: each is refused when its rule is made, with where and why, or fails on its event alone; none
//! takes the stack, the memory or the time of what runs beside it (invariants 6 and 8).
#![allow(missing_docs, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::{Duration, Instant};

use triggerfish_model::*;
use triggerfish_rules_engine::*;

/// Three quarters of what a worker thread has, so that whatever calls the rules has its share.
const STACK_BYTES: usize = (2 << 20) / 4 * 3;
/// How long one condition may take in an unoptimised build on a machine that does other work as well. The bound of an
/// optimised one is 50 ms of its own time.
const DEADLINE: Duration = Duration::from_secs(10);

/// The text of a condition that is so many levels deep.
type Deeper = Box<dyn Fn(usize) -> String>;

fn rule(conditions: Conditions) -> Rule {
    Rule {
        id: "guest/r".parse().unwrap(),
        trigger: "guest/t".parse().unwrap(),
        action: "guest/a".parse().unwrap(),
        conditions,
        annotations: Parameters::new(),
        publish: false,
        version: Version::default(),
        updated: Timestamp::from_millis(0),
    }
}

fn compile(when: &str) -> Result<CompiledRule, ConditionError> {
    CompiledRule::compile(&rule(Conditions { when: Some(when.into()), ..Conditions::default() }))
}

fn compile_with(with: &str) -> Result<CompiledRule, ConditionError> {
    CompiledRule::compile(&rule(Conditions { with: Some(with.into()), ..Conditions::default() }))
}

/// What `rule` decides about `payload`, on a thread with no more stack than a worker's, within the deadline. A stack
/// that does not suffice ends the whole test program.
fn decide(rule: &CompiledRule, payload: &str) -> Decision {
    let event = Event {
        id: ActivationId::derive(&[b"event"]),
        trigger: "guest/t".parse().unwrap(),
        subject: "guest".parse().unwrap(),
        source: Source::Api,
        key: None,
        payload: JsonObject::parse(payload).unwrap(),
        received: Timestamp::from_millis(0),
    };
    let trigger = Trigger {
        id: "guest/t".parse().unwrap(),
        parameters: Parameters::new(),
        annotations: Parameters::new(),
        rules: Default::default(),
        publish: false,
        version: Version::default(),
        updated: Timestamp::from_millis(0),
    };
    let begun = Instant::now();
    let decision = std::thread::scope(|scope| {
        let run = || rule.decide(&EventView::new(&event, &trigger, &event.payload));
        let thread = std::thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, run).unwrap();
        thread.join().unwrap()
    });
    assert!(begun.elapsed() < DEADLINE, "{:?}", begun.elapsed());
    decision
}

/// The deepest of these texts, up to 200 levels, that is taken as a condition; deeper ones are refused for their depth.
fn deepest(what: &str, text: impl Fn(usize) -> String) -> CompiledRule {
    let (mut taken, mut refused) = (1, 200);
    if let Ok(rule) = compile(&text(refused)) {
        return rule;
    }
    while refused - taken > 1 {
        let middle = usize::midpoint(taken, refused);
        match compile(&text(middle)) {
            Ok(_) => taken = middle,
            Err(_) => refused = middle,
        }
    }
    let message = compile(&text(refused)).unwrap_err().to_string();
    let expected = ["nest deeper than", "within one another"];
    assert!(expected.iter().any(|part| message.contains(part)), "{what}, {refused}: {message}");
    compile(&text(taken)).unwrap()
}

#[test]
fn the_deepest_conditions_that_are_taken_fit_a_workers_stack() {
    let wrap = |open: &'static str, inner: &'static str, close: &'static str| {
        move |depth: usize| format!("{}{inner}{}", open.repeat(depth), close.repeat(depth))
    };
    let cases: Vec<(&str, Deeper)> = vec![
        ("parentheses", Box::new(wrap("(", "event.n == 1", ")"))),
        ("not", Box::new(move |n| format!("{}(event.n == 1)", "!".repeat(n)))),
        ("terms of a sum", Box::new(|n| format!("event.n{} > 0", " + event.n".repeat(n)))),
        ("terms of a difference", Box::new(|n| format!("event.n{} > 0", " - 1".repeat(n)))),
        ("a sum to the right", Box::new(|n| format!("{}1{} > 0", "1 + (".repeat(n), ")".repeat(n)))),
        ("and", Box::new(|n| format!("event.n == 1{}", " && event.n == 1".repeat(n)))),
        ("or", Box::new(|n| format!("event.n == 2{}", " || event.n == 2".repeat(n)))),
        ("and, to the right", Box::new(wrap("event.n == 1 && (", "true", ")"))),
        ("alternating", Box::new(wrap("event.n == 2 || event.n == 1 && (", "true", ")"))),
        ("conditional", Box::new(|n| format!("{}true", "event.n == 2 ? false : ".repeat(n)))),
        ("conditional, inside", Box::new(wrap("(event.n == 1 ? ", "true", " : false)"))),
        ("conditional, in front", Box::new(wrap("(", "true", " ? true : false)"))),
        ("lists", Box::new(|n| format!("{}1{} != [0]", "[".repeat(n), "]".repeat(n)))),
        ("maps", Box::new(|n| format!("{}1{} != {{'b': 0}}", "{'a': ".repeat(n), "}".repeat(n)))),
        ("members", Box::new(|n| format!("has(event{}.x)", ".a".repeat(n)))),
        ("indexes", Box::new(|n| format!("event.l{} == 1", "[0]".repeat(n)))),
        ("indexes within", Box::new(|n| format!("{}0{} == 0", "event.z[".repeat(n), "]".repeat(n)))),
        ("functions", Box::new(|n| format!("{}event.n{} != ''", "string(".repeat(n), ")".repeat(n)))),
        ("methods", Box::new(|n| format!("event.s{}.contains('x')", ".orValue('x')".repeat(n)))),
        ("sizes", Box::new(|n| format!("{}'a'{} == 1", "size(string(".repeat(n), "))".repeat(n)))),
        ("comparisons", Box::new(wrap("(1 == 1) == (", "true", ")"))),
        ("in", Box::new(wrap("true in [", "true", "]"))),
        ("macros", Box::new(wrap("[1].exists(x, ", "true", ")"))),
        ("macros' ranges", Box::new(|n| format!("event.l{}.size() == 1", ".map(x, x)".repeat(n)))),
        (
            "depth within macros",
            Box::new(|n| {
                let inner = format!("{}x == y{}", "(x == y) == (".repeat(n), ")".repeat(n));
                format!("[1].exists(x, [1].exists(y, {inner}))")
            }),
        ),
    ];
    let payload = r#"{"n":1,"s":"s","l":[1],"z":[0],"a":{"x":1}}"#;
    for (what, text) in cases {
        let rule = deepest(what, text);
        // What it decides is another test's matter: here it has to come back.
        decide(&rule, payload);
    }
}

#[test]
fn values_as_deep_as_an_event_may_be_fit_a_workers_stack() {
    let deep = format!("{{\"a\":{}1{},\"n\":1}}", "[".repeat(118), "]".repeat(118));
    for when in
        ["event == event", "event.a == [event.a]", "event.a != event.n", "event.a in [event.a, event]"]
    {
        let decision = decide(&compile(when).unwrap(), &deep);
        assert!(!matches!(decision, Decision::Failed(_)), "{when}: {decision:?}");
    }
    let wrapped = compile_with(&format!("{{'a': {}event.a{}}}", "[".repeat(25), "]".repeat(25))).unwrap();
    let Decision::Failed(failure) = decide(&wrapped, &deep) else { panic!("deeper than JSON may be here") };
    assert!(failure.to_string().contains("deep"), "{failure}");
}

#[test]
fn what_is_too_costly_whatever_the_event_is_refused_at_creation() {
    let refused = |when: String, expected: &str| {
        let begun = Instant::now();
        let text = compile(&when).unwrap_err().to_string();
        assert!(begun.elapsed() < DEADLINE, "{:?} for {when:.60}", begun.elapsed());
        assert!(text.contains(expected), "{when:.60}: {text}");
        assert!(text.starts_with("`when` is wrong at line 1, column "), "{text}");
    };
    refused(format!("event.n == '{}'", "x".repeat(5000)), "bytes are more than the 4096 allowed");
    refused("event.s.matches('((a{200}){200}){200}')".into(), "this regular expression is too large");
    refused("event.s.matches('(a|')".into(), "is no regular expression");
    refused("event.s.matches(event.s)".into(), "takes a literal regular expression");
    let nested = "event.l.all(a, event.l.all(b, event.l.all(c, a == b || b == c)))";
    refused(nested.into(), "more than 2 macros");
    refused(
        "event.l.map(a, event.l.map(b, event.l.filter(c, true))).size() > 0".into(),
        "more than 2 macros",
    );
    refused("fetch('http://localhost')".into(), "unknown function `fetch`");
    refused("now() > 0".into(), "unknown function `now`");
    refused("(".repeat(4000), "parser");
    refused("[".repeat(4000), "parser");
    refused("!".repeat(4000), "expression ends");
    refused("{'a':".repeat(800), "parser");
    refused("-".repeat(4000), "expected a value");
}

#[test]
fn what_is_too_costly_for_one_event_fails_on_that_event_and_on_no_other() {
    let numbers = |count: usize| {
        let list: Vec<String> = (0..count).map(|n| n.to_string()).collect();
        format!("{{\"l\":[{}]}}", list.join(","))
    };
    let failed = |rule: &CompiledRule, payload: &str, expected: &str| {
        let Decision::Failed(failure) = decide(rule, payload) else { panic!("it must fail") };
        assert!(failure.to_string().contains(expected), "{failure}");
    };
    let squared = compile("event.l.all(x, event.l.exists(y, x == y))").unwrap();
    assert_eq!(decide(&squared, &numbers(50)), Decision::Matched(None));
    failed(&squared, &numbers(20_000), "steps, more than the 1000000 allowed: expected shorter lists");
    assert_eq!(decide(&squared, &numbers(50)), Decision::Matched(None), "the next event is no worse off");

    // A list that is large, but gone through once, is within the bounds.
    let once = compile("event.l.exists(x, x == 29999)").unwrap();
    assert_eq!(decide(&once, &numbers(30_000)), Decision::Matched(None));
    let regexes = compile("event.l.all(x, string(x).matches('[0-9]+'))").unwrap();
    failed(&regexes, &numbers(20_000), "steps");

    // Text that a back-tracking engine would take for ever over.
    let backtracking = compile("event.s.matches('^(a+)+$')").unwrap();
    let text = format!("{{\"s\":\"{}b\"}}", "a".repeat(50_000));
    assert_eq!(decide(&backtracking, &text), Decision::NotMatched);

    // Values that grow on the way.
    let grown = format!("event.s{} == ''", " + event.s".repeat(30));
    let text = format!("{{\"s\":\"{}\"}}", "a".repeat(1 << 20));
    failed(&compile(&grown).unwrap(), &text, "more than the");
    let copies = compile_with("{'all': event.l.map(x, event.s)}").unwrap();
    let many = format!("{{\"s\":\"{}\",{}", "a".repeat(1000), &numbers(3000)[1..]);
    failed(&copies, &many, "`with`");
    let few = format!("{{\"s\":\"{}\",{}", "a".repeat(1000), &numbers(30)[1..]);
    assert!(matches!(decide(&copies, &few), Decision::Matched(Some(_))));
    let large = format!("{{\"s\":\"{}\"}}", "a".repeat(9 << 20));
    failed(&compile("event.s == 'a'").unwrap(), &large, "larger than the 8388608");
}
