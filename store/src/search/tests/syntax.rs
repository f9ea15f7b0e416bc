//! What the parser reads, and what it says of what it cannot read.

use super::*;

#[test]
fn trees_have_the_precedence_that_people_expect() {
    let same = [
        ("a b", "a OR b"),
        ("a b", "a || b"),
        ("a && b", "a AND b"),
        ("a OR b AND c", "a OR (b AND c)"),
        ("a AND b OR c AND d", "(a AND b) OR (c AND d)"),
        ("NOT a AND b", "(NOT a) AND b"),
        ("a AND NOT b", "a AND -b"),
        ("a AND !b", "a AND -b"),
        ("+a b -c", "a AND NOT c"),
        ("a b -c", "(a OR b) AND NOT c"),
        ("NOT NOT a", "a"),
        ("name:(a OR b)", "name:a OR name:b"),
        ("name:(a OR logs:b)", "name:a OR b"),
        ("name: a", "name:a"),
        ("logs:x", "x"),
        ("x-y", "\"x y\""),
        ("\\AND", "\"AND\""),
        ("and", "\"and\""),
        ("a\\:b", "\"a b\""),
        ("duration:>=5", "duration:[5 TO *]"),
        ("duration:<5", "duration:[* TO 5}"),
        ("duration:>1s", "duration:{1000 TO *]"),
        ("start:2026-11-24", "start:[2026-11-24 TO 2026-11-24]"),
        ("start:>=2026-11-24T10:00:00Z", "start:[\"2026-11-24T10:00:00Z\" TO *]"),
        ("name:a\\*", "name:\"a*\""),
        ("a**b", "a*b"),
    ];
    for (one, other) in same {
        assert_eq!(parse(one, NOW).unwrap(), parse(other, NOW).unwrap(), "{one} and {other}");
    }
}

#[test]
fn errors_name_the_place_and_what_was_expected() {
    let table = [
        ("(a", "column 1: a `)` is missing for this `(`"),
        ("a)", "column 2: this `)` closes nothing"),
        ("()", "column 2: expected a term"),
        ("a AND", "column 6: expected a term after `AND`"),
        ("AND a", "column 1: expected a term before an operator"),
        ("a OR OR b", "column 6: expected a term before an operator"),
        ("NOT", "column 4: expected a term"),
        ("a - b", "column 4: expected a term right after `-`"),
        ("\"a", "column 1: a `\"` is missing for this one"),
        ("name:", "column 6: expected a value after `name:`"),
        ("neme:a", "column 1: there is no field `neme`: expected `logs`, `name`"),
        ("namespace:a", "column 1: there is no field `namespace`"),
        ("result.:a", "there is no field `result.`"),
        (":a", "column 1: expected a field before `:`"),
        ("duration:abc", "column 10: `abc` is no duration: expected milliseconds"),
        ("duration:[1 5]", "column 13: expected `TO`"),
        ("duration:[1 TO 5", "column 17: expected `]` or `}`"),
        ("duration:[ TO 5]", "column 15: expected `TO`"),
        ("name:[a TO b]", "column 6: ranges are for numbers and times"),
        ("[1 TO 2]", "column 1: a range belongs after a field"),
        ("start:yesterday", "column 7: `yesterday` is no moment: expected `2026-11-24`"),
        ("status:bad", "column 8: `bad` is no status: expected `success`"),
        ("sta-b*", "column 1: a term with wildcards is one word, and `-` is part of none"),
        ("hot~2", "column 4: fuzzy terms"),
        ("\"a b\"~3", "column 6: fuzzy terms and loose phrases"),
        ("hot^2", "column 4: boosts are not supported"),
        ("---", "column 4: expected a term right after `-`"),
        ("\"...\"", "column 1: `...` holds no letter"),
        ("a\\", "column 3: expected a character after `\\`"),
        ("größe neme:x", "column 7: there is no field `neme`"),
    ];
    for (q, said) in table {
        let error = parse(q, NOW).unwrap_err().to_string();
        assert!(error.contains(said), "{q}: {error}");
    }
}

#[test]
fn what_is_sent_is_bounded() {
    let begun = Instant::now();
    for (q, said) in [
        ("(".repeat(8000), "more than 32 parentheses"),
        ("a ".repeat(4000), "more than 256 terms"),
        ("x".repeat(1 << 20), "the query has 1048576 bytes, and 8192 are read at most"),
        (format!("\"{}\"", "a ".repeat(3000)), "a phrase of 3000 words, and 64"),
        ("-".repeat(8001), "expected a term right after `-`"),
        ("NOT ".repeat(2000), "expected a term"),
    ] {
        let error = parse(&q, NOW).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    let deep = format!("{}a{}", "(".repeat(32), ")".repeat(32));
    assert_eq!(parse(&deep, NOW).unwrap(), parse("a", NOW).unwrap());
}

proptest::proptest! {
    #[test]
    fn no_text_breaks_the_parser(q in "[a-z:*?()\\[\\]{}<>=\"\\\\ +!&|~^.0-9-]{0,60}|\\PC{0,40}") {
        let _ = parse(&q, NOW);
    }
}
