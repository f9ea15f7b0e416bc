//! The index and the filter give the same answer, whatever the records and the query.

use proptest::prelude::*;
use proptest::sample::select;

use super::*;

fn word() -> impl Strategy<Value = String> {
    select(vec!["hot", "cold", "sensor_1", "Größe", "a", "17", "true"]).prop_map(str::to_owned)
}

fn text() -> impl Strategy<Value = String> {
    proptest::collection::vec((word(), select(vec![" ", "-", ": ", "/"])), 0..5)
        .prop_map(|parts| parts.into_iter().map(|(word, gap)| word + gap).collect())
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        text().prop_map(Value::from),
        (-2..20_i32).prop_map(Value::from),
        select(vec![0.5, 17.0, -1.5]).prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        Just(Value::Null),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            proptest::collection::btree_map(select(vec!["a", "b", "a.b", "x y"]), inner, 0..3)
                .prop_map(|map| Value::Object(map.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())),
        ]
    })
}

fn activation() -> impl Strategy<Value = Activation> {
    let object = proptest::collection::btree_map(select(vec!["a", "b", "a.b"]), value(), 0..3)
        .prop_map(|map| Value::Object(map.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()));
    let some = (
        proptest::option::of(0..30_u64),
        proptest::option::of(0..30_i64),
        proptest::option::of(select(vec!["guest/hot", "guest/p/cold"])),
    );
    (
        object,
        proptest::collection::vec(text(), 0..3),
        some,
        0..4_usize,
        0..30_i64,
        select(vec!["guest/judge", "guest/pack/judge", "x"]),
    )
        .prop_map(|(result, logs, (duration, end, rule), status, start, path)| {
            let lines: Vec<&str> = logs.iter().map(String::as_str).collect();
            let mut made = record(0, &lines, result);
            made.duration_ms = duration;
            made.end = end.map(Timestamp::from_millis);
            made.start = Timestamp::from_millis(start);
            made.origin.rule = rule.map(|rule| rule.parse().unwrap());
            made.response.status = [
                StatusCode::Success,
                StatusCode::ApplicationError,
                StatusCode::DeveloperError,
                StatusCode::SystemError,
            ][status];
            made.annotations = Parameters::new().with("path", path).with("n", Json::from(json!(start % 3)));
            made
        })
}

fn term() -> impl Strategy<Value = String> {
    let range = (select(vec!["[", "{"]), -1..20_i32, -1..20_i32, select(vec!["]", "}"]), 0..4).prop_map(
        |(open, a, b, close, ends)| {
            let a = if ends == 1 { "*".to_owned() } else { a.to_string() };
            let b = if ends == 2 { "*".to_owned() } else { b.to_string() };
            format!("{open}{a} TO {b}{close}")
        },
    );
    let textual = prop_oneof![
        word(),
        (word(), word()).prop_map(|(a, b)| format!("\"{a} {b}\"")),
        select(vec!["h*", "*o*", "s?nsor_1", "*", "1?", "g*e"]).prop_map(str::to_owned),
    ];
    let path = || {
        select(vec![
            "result.a",
            "result.b",
            "result.a.b",
            "result.a.a",
            "result.x y",
            "annotations.n",
            "annotations.path",
        ])
        .prop_map(|path| path.replace(' ', "\\ "))
    };
    prop_oneof![
        textual.clone(),
        (path(), textual).prop_map(|(path, text)| format!("{path}:{text}")),
        (path(), select(vec!["17", "0.5", "-1.5", "true", "false", "*", ">1", "<=0.5"]))
            .prop_map(|(path, value)| format!("{path}:{value}")),
        (path(), range.clone()).prop_map(|(path, range)| format!("{path}:{range}")),
        (select(vec!["duration", "start", "end"]), range)
            .prop_map(|(field, range)| format!("{field}:{range}")),
        select(vec![
            "duration:*",
            "end:*",
            "logs:*",
            "rule:*",
            "rule:hot",
            "rule:p/*",
            "rule:c*",
            "name:judge",
            "name:pack/judge",
            "name:p*k/*",
            "status:success",
            "status:*error",
            "statusCode:>1",
            "kind:*",
            "result.a:*",
            "_exists_:result.a.b",
            "version:0.0.?",
            "duration:17",
            "start:<17",
        ])
        .prop_map(str::to_owned),
    ]
}

fn query() -> impl Strategy<Value = String> {
    term().prop_recursive(3, 10, 3, |inner| {
        prop_oneof![
            (inner.clone(), select(vec![" AND ", " OR ", " ", " AND NOT ", " -", " +"]), inner.clone())
                .prop_map(|(a, by, b)| format!("{a}{by}{b}")),
            inner.clone().prop_map(|a| format!("NOT ({a})")),
            (inner.clone(), inner).prop_map(|(a, b)| format!("({a}) ({b})")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_index_finds_what_the_filter_keeps(
        records in proptest::collection::vec(activation(), 1..12),
        queries in proptest::collection::vec(query(), 1..24),
        segment in 1..6_usize,
    ) {
        let mut records = records;
        for (n, record) in (0_u64..).zip(&mut records) {
            record.id = ActivationId::derive(&[&n.to_le_bytes()]);
        }
        let store = Store::new(records, segment);
        for q in queries {
            let ast = parse(&q, NOW).unwrap();
            let filter = filter::Filter(ast);
            let mut kept: Vec<_> = store.records.iter().filter(|record| filter.matches(record)).map(|record| record.id).collect();
            kept.sort();
            let page = store.search(&SearchQuery { q: Some(q.clone()), limit: 100, ..Default::default() }).unwrap();
            let mut found: Vec<_> = page.hits.iter().map(|hit| hit.activation.id).collect();
            found.sort();
            prop_assert_eq!(found, kept, "{}", q);
        }
    }
}
