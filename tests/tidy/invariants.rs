//! Each invariant of ARCHITECTURE.md names the tests that break it on purpose, and each failpoint is one that a test
//! kills the hub at.

use std::collections::BTreeSet;
use std::path::Path;

use super::{ROOT, with_extension};

#[test]
fn every_invariant_names_tests_that_exist() {
    let text = std::fs::read_to_string(Path::new(ROOT).join("ARCHITECTURE.md")).expect("readable");
    let section = text.split("\n## ").find(|part| part.starts_with("Invariants")).expect("the invariants");
    let mut numbers = Vec::new();
    for item in section
        .split("\n\n")
        .flat_map(|part| part.split_inclusive("]\n"))
        .filter(|item| !item.trim().is_empty())
    {
        let Some((number, rest)) = item.trim_start().split_once(". ") else { continue };
        let Ok(number) = number.parse::<u32>() else { continue };
        numbers.push(number);
        let named =
            rest.rsplit_once("[test: ").unwrap_or_else(|| panic!("invariant {number} names no test")).1;
        let named = named.trim().strip_suffix(']').expect("the bracket is closed");
        for test in named.split(',').map(str::trim) {
            let (path, name) = test
                .split_once("::")
                .unwrap_or_else(|| panic!("invariant {number}: `{test}` is not path::name"));
            let source = std::fs::read_to_string(Path::new(ROOT).join(path))
                .unwrap_or_else(|error| panic!("invariant {number}: {path}: {error}"));
            let found = source.contains(&format!("fn {name}("));
            assert!(found, "invariant {number}: {path} has no test `{name}`");
        }
    }
    assert_eq!(numbers, (1..=9).collect::<Vec<_>>());
}

#[test]
fn a_test_kills_the_hub_at_every_failpoint() {
    let (mut failpoints, mut tests) = (BTreeSet::new(), String::new());
    for path in with_extension("rs") {
        let source = std::fs::read_to_string(&path).expect("readable");
        if path.starts_with(Path::new(ROOT).join("tests/e2e")) {
            tests += &source;
        } else {
            let named = source.split("fail_point!(\"").skip(1);
            failpoints.extend(named.filter_map(|rest| rest.split('"').next()).map(str::to_owned));
        }
    }
    assert!(failpoints.len() >= 11, "one at each step of the way: {failpoints:?}");
    for name in failpoints {
        assert!(tests.contains(&format!("\"{name}")), "no test in tests/e2e kills the hub at `{name}`");
    }
}
