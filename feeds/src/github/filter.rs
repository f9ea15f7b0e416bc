//! Which deliveries fire: by the branch that they are about, and by the files that a push changes.
//!
//! In doubt a delivery fires: an event that is about no branch, a push whose files are not told.

use serde_json::Value;

/// Patterns of one filter.
const PATTERNS_MAX: usize = 50;
/// The longest pattern, in bytes.
const PATTERN_BYTES_MAX: usize = 256;
/// Files of a push that are looked at; GitHub lists those of 2048 commits at most.
const FILES_MAX: usize = 20_000;

/// What fires.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Filter {
    /// Branches; all where there are no patterns.
    pub(crate) branches: Option<Globs>,
    /// Files of a push; all where there are no patterns.
    pub(crate) paths: Option<Globs>,
}

impl Filter {
    /// Whether it looks at payloads at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.branches.is_none() && self.paths.is_none()
    }

    /// Why a delivery of `event` does not fire; `None` where it does.
    pub(crate) fn leaves_out(&self, event: &str, payload: &Value) -> Option<&'static str> {
        if let Some(globs) = &self.branches
            && let Some(branches) = branches(event, payload)
            && !branches.iter().any(|branch| globs.takes(branch))
        {
            return Some("none of its branches is asked for");
        }
        if let Some(globs) = &self.paths
            && event == "push"
            && let Some(files) = files(payload)
            && !files.iter().any(|file| globs.takes(file))
        {
            return Some("none of the files that it changes is asked for");
        }
        None
    }
}

/// The branches that an event is about: none of them for a tag, `None` for an event that is about no branch or tag.
fn branches<'a>(event: &str, payload: &'a Value) -> Option<Vec<&'a str>> {
    let text = |pointer: &str| payload.pointer(pointer).and_then(Value::as_str);
    let one =
        |pointer: &str| text(pointer).map(|name| vec![name.strip_prefix("refs/heads/").unwrap_or(name)]);
    match event {
        "push" => Some(text("/ref")?.strip_prefix("refs/heads/").into_iter().collect()),
        "create" | "delete" => match text("/ref_type") {
            Some("branch") => one("/ref"),
            _ => Some(Vec::new()),
        },
        "pull_request"
        | "pull_request_review"
        | "pull_request_review_comment"
        | "pull_request_review_thread" => one("/pull_request/base/ref"),
        "workflow_run" => one("/workflow_run/head_branch"),
        "workflow_job" => one("/workflow_job/head_branch"),
        "workflow_dispatch" | "code_scanning_alert" => one("/ref"),
        "check_suite" => one("/check_suite/head_branch"),
        "check_run" => one("/check_run/check_suite/head_branch"),
        "deployment" | "deployment_status" => one("/deployment/ref"),
        "merge_group" => one("/merge_group/base_ref"),
        "status" => {
            let branches = payload.get("branches")?.as_array()?;
            Some(branches.iter().filter_map(|branch| branch.get("name")?.as_str()).collect())
        }
        _ => None,
    }
}

/// The files that a push changes, where it tells them: a push that makes a branch or moves it by force may list no commits.
fn files(payload: &Value) -> Option<Vec<&str>> {
    if payload.get("deleted").and_then(Value::as_bool) == Some(true) {
        return Some(Vec::new());
    }
    let commits = payload.get("commits")?.as_array().filter(|commits| !commits.is_empty())?;
    let files: Vec<&str> = commits
        .iter()
        .flat_map(|commit| ["added", "modified", "removed"].map(|kind| commit.get(kind)))
        .flatten()
        .filter_map(Value::as_array)
        .flatten()
        .filter_map(Value::as_str)
        .take(FILES_MAX + 1)
        .collect();
    (files.len() <= FILES_MAX).then_some(files)
}

/// Patterns in order, the last one that matches decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Globs(Vec<(bool, String)>);

impl Globs {
    /// Reads patterns; the text says what is wrong with them.
    pub(crate) fn read(patterns: &[String]) -> Result<Self, String> {
        if patterns.is_empty() || patterns.len() > PATTERNS_MAX {
            return Err(format!("has {} patterns; expected 1 to {PATTERNS_MAX}", patterns.len()));
        }
        if let Some(long) = patterns.iter().find(|pattern| pattern.len() > PATTERN_BYTES_MAX) {
            return Err(format!("has a pattern of {} bytes, more than {PATTERN_BYTES_MAX}", long.len()));
        }
        let read = |pattern: &String| match pattern.strip_prefix('!') {
            Some(pattern) => (false, pattern.to_owned()),
            None => (true, pattern.clone()),
        };
        let patterns: Vec<_> = patterns.iter().map(read).collect();
        if !patterns.iter().any(|(takes, _)| *takes) {
            return Err("takes nothing: every pattern begins with `!`; put `**` before them".into());
        }
        Ok(Self(patterns))
    }

    /// Whether `name` is taken.
    fn takes(&self, name: &str) -> bool {
        self.0.iter().rev().find(|(_, pattern)| matches(pattern, name)).is_some_and(|(takes, _)| *takes)
    }
}

/// Whether `name` matches: `*` is anything without `/`, `**` anything. Where a part does not fit, the last `*` takes one more
/// character, or the last `**` where that may not: so no pattern costs more than the product of the lengths.
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let (mut p, mut n) = (0, 0);
    // Where to go on in the pattern, and from where in the name, when the star takes one more.
    let (mut star, mut stars) = (None::<(usize, usize)>, None::<(usize, usize)>);
    loop {
        if pattern.get(p) == Some(&b'*') {
            let run = pattern.iter().skip(p).take_while(|byte| **byte == b'*').count();
            p += run;
            if run > 1 {
                (stars, star) = (Some((p, n)), None);
            } else {
                star = Some((p, n));
            }
            continue;
        }
        match (pattern.get(p), name.get(n)) {
            (None, None) => return true,
            (Some(wanted), Some(found)) if wanted == found => (p, n) = (p + 1, n + 1),
            _ => match (star, stars) {
                (Some((after, from)), _) if name.get(from).is_some_and(|byte| *byte != b'/') => {
                    (p, n) = (after, from + 1);
                    star = Some((after, from + 1));
                }
                (_, Some((after, from))) if from < name.len() => {
                    (p, n) = (after, from + 1);
                    (star, stars) = (None, Some((after, from + 1)));
                }
                _ => return false,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn filter(branches: &[&str], paths: &[&str]) -> Filter {
        let globs = |patterns: &[&str]| {
            let patterns: Vec<String> = patterns.iter().map(|pattern| (*pattern).to_owned()).collect();
            (!patterns.is_empty()).then(|| Globs::read(&patterns).unwrap())
        };
        Filter { branches: globs(branches), paths: globs(paths) }
    }

    #[test]
    fn stars_stay_within_a_part_and_double_stars_do_not() {
        for (pattern, name, expected) in [
            ("main", "main", true),
            ("main", "mainz", false),
            ("release/*", "release/1.0", true),
            ("release/*", "release/1.0/fix", false),
            ("release/**", "release/1.0/fix", true),
            ("**", "", true),
            ("*", "a/b", false),
            ("**/*.rs", "src/hub/feeds.rs", true),
            ("**.rs", "src/hub/feeds.rs", true),
            ("src/**/*.rs", "src/a/b.rsx", false),
            ("*a*b*c", "xaybzc", true),
            ("*a*b*c", "xaybzcd", false),
            ("a/*/c/**/e", "a/b/c/d/d/e", true),
            ("docs/**", "doc/x", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    /// The same by trying everything.
    fn slowly(pattern: &[u8], name: &[u8]) -> bool {
        match pattern {
            [] => name.is_empty(),
            [b'*', b'*', rest @ ..] => (0..=name.len()).any(|at| slowly(rest, &name[at..])),
            [b'*', rest @ ..] => {
                let most = name.iter().position(|byte| *byte == b'/').unwrap_or(name.len());
                (0..=most).any(|at| slowly(rest, &name[at..]))
            }
            [first, rest @ ..] => name.first() == Some(first) && slowly(rest, &name[1..]),
        }
    }

    proptest! {
        #[test]
        fn it_matches_as_trying_everything_does(pattern in "[ab/*]{0,8}", name in "[ab/]{0,8}") {
            // Three stars are two.
            let mut pattern = pattern;
            while pattern.contains("***") {
                pattern = pattern.replace("***", "**");
            }
            prop_assert_eq!(matches(&pattern, &name), slowly(pattern.as_bytes(), name.as_bytes()), "{} {}", pattern, name);
        }
    }

    #[test]
    fn branches_are_those_that_events_are_about() {
        let filter = filter(&["main", "release/**", "!release/old"], &[]);
        let takes = |event: &str, payload: Value| filter.leaves_out(event, &payload).is_none();
        assert!(takes("push", json!({"ref": "refs/heads/main"})));
        assert!(takes("push", json!({"ref": "refs/heads/release/2/x"})));
        assert!(!takes("push", json!({"ref": "refs/heads/release/old"})));
        assert!(!takes("push", json!({"ref": "refs/heads/topic"})));
        assert!(!takes("push", json!({"ref": "refs/tags/main"})), "a tag is no branch");
        assert!(takes(
            "pull_request",
            json!({"pull_request": {"base": {"ref": "main"}, "head": {"ref": "topic"}}})
        ));
        assert!(!takes("pull_request", json!({"pull_request": {"base": {"ref": "topic"}}})));
        assert!(takes("create", json!({"ref": "main", "ref_type": "branch"})));
        assert!(!takes("create", json!({"ref": "main", "ref_type": "tag"})));
        assert!(takes("status", json!({"branches": [{"name": "x"}, {"name": "main"}]})));
        assert!(!takes("check_run", json!({"check_run": {"check_suite": {"head_branch": "x"}}})));
        assert!(takes("issues", json!({"action": "opened"})), "no branch is named");
    }

    #[test]
    fn a_push_fires_for_its_files() {
        let filter = filter(&[], &["src/**", "!src/generated/**"]);
        let takes = |payload: Value| filter.leaves_out("push", &payload).is_none();
        let commit = |file: &str| json!({"added": [], "removed": [file], "modified": []});
        assert!(takes(json!({"commits": [commit("README.md"), commit("src/a.rs")]})));
        assert!(!takes(json!({"commits": [commit("README.md"), commit("src/generated/a.rs")]})));
        assert!(!takes(json!({"commits": [], "deleted": true})), "a branch that goes changes no file");
        assert!(takes(json!({"commits": [], "created": true})), "in doubt it fires");
        assert!(filter.leaves_out("issues", &json!({})).is_none());
    }
}
