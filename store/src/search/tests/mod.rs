//! What the index and the filter answer, and that they answer alike.

mod alike;
mod syntax;

use std::sync::Arc;

use serde_json::{Value, json};
use tantivy::Index;
use triggerfish_model::{
    Activation, ActivationId, Json, Namespace, Origin, Parameters, Response, StatusCode, Timestamp, Version,
};

use super::*;

/// A record of `guest`.
fn record(n: u64, logs: &[&str], result: Value) -> Activation {
    Activation {
        namespace: "guest".parse().unwrap(),
        name: "judge".parse().unwrap(),
        version: Version::default(),
        subject: "guest".parse().unwrap(),
        id: ActivationId::derive(&[&n.to_le_bytes()]),
        cause: None,
        start: Timestamp::from_millis(1_000 + i64::try_from(n).unwrap()),
        end: None,
        duration_ms: Some(n),
        response: Response { status: StatusCode::Success, result: Json::from(result), size: None },
        logs: logs.iter().map(|line| format!("2026-11-24T10:00:00.000000000Z stdout: {line}")).collect(),
        annotations: Parameters::new().with("path", "guest/pack/judge").with("kind", "python:3"),
        origin: Origin::default(),
    }
}

/// Records in an index in memory; a record's number is its place, from 1.
struct Store {
    opened: Opened,
    records: Vec<Activation>,
}

impl Store {
    /// In segments of `segment` records.
    fn new(records: Vec<Activation>, segment: usize) -> Self {
        let opened = index::finish(Index::create_in_ram(schema::schema().0)).unwrap();
        let mut writer = index::writer(&opened.index).unwrap();
        writer.set_merge_policy(Box::new(tantivy::indexer::NoMergePolicy));
        for (number, record) in (1..).zip(&records) {
            writer.add_document(schema::document(&opened.fields, number, record)).unwrap();
            if number % segment as u64 == 0 {
                writer.commit().unwrap();
            }
        }
        writer.commit().unwrap();
        opened.reader.reload().unwrap();
        Self { opened, records }
    }

    fn search(&self, query: &SearchQuery) -> Result<SearchPage> {
        let namespace: Namespace = "guest".parse().unwrap();
        Plan::of(&namespace, query, NOW)?.run(&self.opened, self, SEARCH_TIME)
    }

    /// The durations of the hits, which number the records.
    fn found(&self, q: &str) -> Vec<u64> {
        let query = SearchQuery {
            q: Some(q.into()),
            sort: Some("duration:asc".into()),
            limit: 1000,
            ..Default::default()
        };
        let page = self.search(&query).unwrap_or_else(|error| panic!("{q}: {error}"));
        assert_eq!(page.total, page.hits.len() as u64, "{q}");
        page.hits.iter().filter_map(|hit| hit.activation.duration_ms).collect()
    }
}

impl Records for Store {
    fn last(&self) -> watch::Receiver<u64> {
        watch::Sender::new(self.records.len() as u64).subscribe()
    }

    fn first(&self) -> Result<Option<u64>> {
        Ok(Some(1))
    }

    fn record(&self, number: u64) -> Result<Option<Activation>> {
        Ok(self.records.get(usize::try_from(number).unwrap() - 1).cloned())
    }

    fn after(&self, _: u64, _: &mut dyn FnMut(u64, usize, Activation) -> bool) -> Result<()> {
        Ok(())
    }

    fn has_room(&self) -> bool {
        true
    }
}

const NOW: Timestamp = Timestamp::from_millis(10_000);

#[test]
fn each_field_finds_what_it_is_asked_for() {
    let mut second = record(
        2,
        &["sensor-17 is too hot: 41.5 C", "<b>&</b>"],
        json!({"celsius": 41.5, "room": "Attic 7", "ok": false}),
    );
    second.response.status = StatusCode::ApplicationError;
    second.origin.rule = Some("guest/too-hot".parse().unwrap());
    second.origin.trigger = Some("guest/reading".parse().unwrap());
    second.cause = Some(record(1, &[], json!({})).id);
    second.end = Some(Timestamp::from_millis(86_400_000));
    let third = record(3, &["Sensor_17 cold"], json!({"list": [{"a": 1}, {"a": 2}], "text": "21"}));
    let store = Store::new(vec![record(1, &[], json!({"celsius": 20, "ok": true})), second, third], 2);
    let table: &[(&str, &[u64])] = &[
        ("", &[1, 2, 3]),
        ("*", &[1, 2, 3]),
        ("*:*", &[1, 2, 3]),
        ("HOT", &[2]),
        ("sensor", &[2]),
        ("sensor*", &[2, 3]),
        ("sens?r_17", &[3]),
        ("hot cold", &[2, 3]),
        ("hot AND cold", &[]),
        ("\"too hot\"", &[2]),
        ("\"hot too\"", &[]),
        ("\"sensor 17\" is", &[2]),
        ("\"hot 41\"", &[2]),
        ("\"c stdout\"", &[]),
        ("-hot", &[1, 3]),
        ("NOT (hot OR cold)", &[1]),
        ("logs:*", &[2, 3]),
        ("_exists_:logs -cold", &[2]),
        ("name:judge", &[1, 2, 3]),
        ("name:pack/judge", &[1, 2, 3]),
        ("name:pack/*", &[1, 2, 3]),
        ("name:Judge", &[]),
        ("kind:python:3", &[1, 2, 3]),
        ("kind:nodejs*", &[]),
        ("rule:too-hot AND trigger:reading", &[2]),
        ("rule:*", &[2]),
        ("status:\"application error\"", &[2]),
        ("status:app*", &[2]),
        ("status:(success OR whisk_internal_error)", &[1, 3]),
        ("statusCode:>=1", &[2]),
        ("statusCode:[0 TO 1}", &[1, 3]),
        ("cause:*", &[2]),
        ("version:0.0.1", &[1, 2, 3]),
        ("duration:>1", &[2, 3]),
        ("duration:[1 TO 3}", &[1, 2]),
        ("duration:{1 TO *]", &[2, 3]),
        ("duration:2ms", &[2]),
        ("start:<=1002", &[1, 2]),
        ("start:[1970-01-01 TO 1970-01-01]", &[1, 2, 3]),
        ("start:{1970-01-01 TO *]", &[]),
        ("start:>=now-9s", &[1, 2, 3]),
        ("start:<now-9s", &[]),
        ("end:1970-01-02", &[2]),
        ("end:*", &[2]),
        ("result.celsius:>20", &[2]),
        ("result.celsius:20", &[1]),
        ("result.celsius:41.5", &[2]),
        ("result.celsius:*", &[1, 2]),
        ("result.room:attic", &[2]),
        ("result.room:\"attic 7\"", &[2]),
        ("result.room:att*", &[2]),
        ("result.ok:true", &[1]),
        ("result.ok:false", &[2]),
        ("result.list.a:2", &[3]),
        ("result.list:*", &[3]),
        ("result.text:21", &[3]),
        ("annotations.kind:python", &[1, 2, 3]),
        ("+hot cold", &[2]),
        ("hot OR cold AND sensor*", &[2, 3]),
    ];
    for (q, found) in table {
        assert_eq!(store.found(q), *found, "{q}");
        let filter = filter::Filter(parse(q, NOW).unwrap());
        let kept: Vec<_> =
            store.records.iter().filter(|r| filter.matches(r)).filter_map(|r| r.duration_ms).collect();
        assert_eq!(kept, *found, "the filter of {q}");
    }
    let page = store
        .search(&SearchQuery { q: Some("hot b -nothing".into()), limit: 10, ..Default::default() })
        .unwrap();
    assert_eq!(
        page.hits[0].highlight,
        [
            "2026-11-24T10:00:00.000000000Z stdout: sensor-17 is too <em>hot</em>: 41.5 C",
            "2026-11-24T10:00:00.000000000Z stdout: &lt;<em>b</em>&gt;&amp;&lt;/<em>b</em>&gt;"
        ]
    );
    let elsewhere =
        Plan::of(&"other".parse().unwrap(), &SearchQuery { limit: 10, ..Default::default() }, NOW).unwrap();
    assert_eq!(elsewhere.run(&store.opened, &store, SEARCH_TIME).unwrap().total, 0, "of another namespace");
}

#[test]
fn pages_follow_one_another_in_every_order_though_many_are_equal() {
    let records: Vec<_> = (1..=97)
        .map(|n| {
            let result = if n % 5 == 0 { json!({}) } else { json!({ "x": n % 4 }) };
            let mut record = record(n, &["x"], result);
            record.start = Timestamp::from_millis(5);
            record.name = format!("n{}", n % 3).parse().unwrap();
            if n % 7 == 0 {
                record.origin.rule = Some(format!("guest/r{}", n % 2).parse().unwrap());
            }
            record
        })
        .collect();
    let store = Store::new(records, 13);
    for sort in [
        "start:desc",
        "start:asc",
        "name:asc",
        "name:desc",
        "rule:asc",
        "rule:desc",
        "result.x:desc",
        "result.x:asc",
        "end:asc",
    ] {
        let query =
            |limit, cursor| SearchQuery { sort: Some(sort.into()), limit, cursor, ..Default::default() };
        let whole = store.search(&query(1000, None)).unwrap();
        assert_eq!((whole.hits.len(), whole.cursor), (97, None), "{sort}");
        let (mut paged, mut cursor) = (Vec::new(), None);
        loop {
            let page = store.search(&query(10, cursor)).unwrap();
            assert_eq!(page.total, 97);
            paged.extend(page.hits);
            cursor = page.cursor;
            if cursor.is_none() {
                break;
            }
        }
        let ids = |hits: &[Hit]| hits.iter().map(|hit| hit.activation.id).collect::<Vec<_>>();
        assert_eq!(ids(&paged), ids(&whole.hits), "{sort}");
        if sort == "start:desc" {
            assert!(whole.hits.is_sorted_by_key(|hit| hit.activation.id), "equal ones by id");
        }
        if sort == "rule:desc" {
            let rules: Vec<_> =
                whole.hits.iter().map(|hit| hit.activation.origin.rule.as_ref().map(|r| r.local())).collect();
            assert!(
                rules
                    .windows(2)
                    .all(|w| w[0].is_some() >= w[1].is_some() && (w[1].is_none() || w[0] >= w[1])),
                "{rules:?}"
            );
        }
    }
    let refused = |query: SearchQuery| store.search(&query).unwrap_err().to_string();
    let page = store.search(&SearchQuery { limit: 1, ..Default::default() }).unwrap();
    let of_another = refused(SearchQuery {
        limit: 1,
        sort: Some("name:asc".into()),
        cursor: page.cursor,
        ..Default::default()
    });
    assert_eq!(
        of_another,
        "`cursor` belongs to a search with `sort=start:desc`, and this one has `name:asc`"
    );
    assert!(
        refused(SearchQuery { cursor: Some("x".into()), ..Default::default() })
            .contains("not one that a search")
    );
    assert!(
        refused(SearchQuery { sort: Some("namespace:asc".into()), ..Default::default() })
            .contains("expected `start`")
    );
    assert!(
        refused(SearchQuery { sort: Some("start".into()), ..Default::default() }).contains("a direction")
    );
    let none = store.search(&SearchQuery { q: Some("x".into()), ..Default::default() }).unwrap();
    assert_eq!((none.total, none.hits.len(), none.cursor), (97, 0, None), "a limit of 0 counts");
}

#[test]
fn aggregations_are_elasticsearchs_and_bounded() {
    let records: Vec<_> = (1..=40)
        .map(|n| {
            let mut record = record(n, &[], json!({ "room": format!("r{}", n % 2), "x": n }));
            record.start = Timestamp::from_millis(i64::try_from(n).unwrap() * 1000);
            record
        })
        .collect();
    let store = Store::new(records, 7);
    let ask = |aggs: Value| {
        let query = SearchQuery {
            q: Some("duration:>20".into()),
            aggs: Some(Json::from(aggs)),
            ..Default::default()
        };
        store
            .search(&query)
            .map(|page| page.aggregations.unwrap().to_value())
            .map_err(|error| error.to_string())
    };
    let answer = ask(json!({
        "rooms": { "terms": { "field": "result.room", "size": 5 }, "aggs": { "mean": { "avg": { "field": "duration" } } } },
        "over_time": { "date_histogram": { "field": "start", "fixed_interval": "10s" } },
        "fine": { "histogram": { "field": "result.x", "interval": 10 } },
        "d": { "percentiles": { "field": "duration", "percents": [50] } },
        "s": { "stats": { "field": "duration" } },
        "names": { "terms": { "field": "name" } }
    }))
    .unwrap();
    let buckets: Vec<_> = answer["rooms"]["buckets"]
        .as_array()
        .unwrap()
        .iter()
        .map(|b| (b["key"].clone(), b["doc_count"].clone(), b["mean"]["value"].clone()))
        .collect();
    assert_eq!(buckets.len(), 2);
    assert!(buckets.contains(&(json!("r0"), json!(10), json!(31.0))), "{buckets:?}");
    assert!(buckets.contains(&(json!("r1"), json!(10), json!(30.0))), "{buckets:?}");
    let counts: Vec<_> =
        answer["over_time"]["buckets"].as_array().unwrap().iter().map(|b| b["doc_count"].clone()).collect();
    assert_eq!(counts, [9, 10, 1], "{answer}");
    assert_eq!(answer["over_time"]["buckets"][0]["key_as_string"], "1970-01-01T00:00:20Z");
    assert_eq!(
        (&answer["s"]["min"], &answer["s"]["max"], &answer["s"]["count"]),
        (&json!(21.0), &json!(40.0), &json!(20))
    );
    assert_eq!(answer["names"]["buckets"][0], json!({ "key": "judge", "doc_count": 20 }));
    let mut nested = json!({ "a": { "min": { "field": "start" } } });
    for _ in 0..10 {
        nested = json!({ "a": { "terms": { "field": "name" }, "aggs": nested } });
    }
    for (aggs, said) in [
        (json!([]), "`aggs`: expected an object of named"),
        (json!({ "a": { "avg": { "field": "name" } } }), "`aggs.a.avg.field`: `name` cannot be used here"),
        (json!({ "a": { "terms": { "field": "namespace" } } }), "`namespace` cannot be used here"),
        (json!({ "a": { "terms": { "field": "name", "include": ".*" } } }), "no parameter `include`"),
        (
            json!({ "a": { "terms": { "field": "name", "size": 100_000 } } }),
            "`aggs.a.terms.size`: expected a number from 1 to 1000",
        ),
        (json!({ "a": { "filter": "namespace:other" } }), "no aggregation `filter`"),
        (json!({ "a": { "top_hits": {} } }), "no aggregation `top_hits`"),
        (json!({ "a": {} }), "and it has 0"),
        (json!({ "a": { "histogram": { "field": "duration", "interval": 0 } } }), "a number above 0"),
        (
            json!({ "a": { "histogram": { "field": "duration", "interval": 1e-300, "min_doc_count": 0 } } }),
            "expected 1 or more",
        ),
        (
            json!({ "a": { "date_histogram": { "field": "start", "fixed_interval": "1ms" } } }),
            "a number with its unit",
        ),
        (
            json!({ "a": { "date_histogram": { "field": "start", "calendar_interval": "month" } } }),
            "no parameter `calendar_interval`",
        ),
        (nested, "more than 4 aggregations within one another"),
    ] {
        let error = ask(aggs.clone()).unwrap_err();
        assert!(error.contains(said), "{aggs}: {error}");
    }
    let tiny = json!({ "a": { "histogram": { "field": "duration", "interval": 1e-300 } } });
    assert!(ask(tiny).is_ok(), "buckets without a record are left out");
}

#[test]
fn hostile_queries_end_at_their_deadline() {
    let line = (0..2000).map(|n| format!("w{n}x{}", n * 7)).collect::<Vec<_>>().join(" ");
    let records: Vec<_> = (1..200).map(|n| record(n, &[&line], json!({}))).collect();
    let store = Store::new(records, 10);
    let query = SearchQuery { q: Some(vec!["*a*b*"; 250].join(" ")), limit: 1, ..Default::default() };
    let plan = Plan::of(&"guest".parse().unwrap(), &query, NOW).unwrap();
    let begun = Instant::now();
    let error = plan.run(&store.opened, &store, Duration::from_millis(50)).unwrap_err().to_string();
    assert!(error.contains("took more than"), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    drop(Arc::new(store));
}
