//! The house rules that no compiler checks: crate edges, the catalogue's completeness, links, the length of files, what
//! invariants name, what a build takes in.

#![allow(clippy::indexing_slicing, reason = "a test fails by panicking")]

mod dependencies;
mod invariants;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
/// Lines of a source file; more has more than one reason to change.
const LINES_MAX: usize = 500;

/// All files that git knows, below `ROOT`.
fn files() -> Vec<PathBuf> {
    let output = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(ROOT)
        .output()
        .expect("readable");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let files: Vec<_> = String::from_utf8(output.stdout)
        .expect("readable")
        .lines()
        .map(|line| Path::new(ROOT).join(line))
        .filter(|path| path.is_file())
        .collect();
    assert!(files.len() > 50, "only {} files were found", files.len());
    files
}

fn with_extension(extension: &str) -> Vec<PathBuf> {
    files().into_iter().filter(|path| path.extension().is_some_and(|e| e == extension)).collect()
}

#[test]
fn the_crates_in_the_middle_depend_on_the_model_alone() {
    let allowed: BTreeMap<&str, &[&str]> = BTreeMap::from([
        ("model", &[] as &[&str]),
        ("rules-engine", &["triggerfish-model"]),
        ("feeds", &["triggerfish-model"]),
        ("invoker", &["triggerfish-model"]),
        ("store", &["triggerfish-model"]),
    ]);
    for (folder, allowed) in allowed {
        let text =
            std::fs::read_to_string(Path::new(ROOT).join(folder).join("Cargo.toml")).expect("readable");
        let manifest: toml::Table = text.parse().expect("readable");
        for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let Some(section) = manifest.get(section).and_then(toml::Value::as_table) else { continue };
            for name in section.keys().filter(|name| name.starts_with("triggerfish")) {
                assert!(allowed.contains(&name.as_str()), "{folder} must not depend on {name}");
            }
        }
    }
}

#[test]
fn model_and_rules_engine_do_no_io_and_know_no_async() {
    for path in with_extension("rs") {
        let relative = path.strip_prefix(ROOT).expect("readable");
        if !relative.starts_with("model/src") && !relative.starts_with("rules-engine/src") {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("readable");
        for word in ["async fn", "tokio::", "std::fs", "std::net::Tcp", "Instant::now", "SystemTime::now"] {
            assert!(!text.contains(word), "{} has `{word}`", relative.display());
        }
    }
}

#[test]
fn every_feed_in_the_folder_is_in_the_catalogue() {
    let folder = Path::new(ROOT).join("feeds/src/catalogue");
    let listed = std::fs::read_to_string(folder.join("mod.rs")).expect("readable");
    let list = listed
        .split("catalogue!")
        .skip(1)
        .map(|rest| rest.split(';').next().unwrap_or_default())
        .collect::<String>();
    for entry in std::fs::read_dir(&folder).expect("readable") {
        let path = entry.expect("readable").path();
        let name = path.file_stem().expect("readable").to_str().expect("readable").to_owned();
        if name != "mod" && name != "tests" {
            assert!(list.contains(&name), "{} is not in the catalogue", path.display());
        }
    }
}

#[test]
fn links_in_documents_resolve() {
    let mut checked = 0;
    for path in with_extension("md") {
        let text = std::fs::read_to_string(&path).expect("readable");
        let mut fenced = false;
        for line in text.lines() {
            fenced ^= line.trim_start().starts_with("```");
            if fenced {
                continue;
            }
            for target in line.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
                let file = target.split('#').next().unwrap_or_default();
                if file.is_empty() || file.contains("://") {
                    continue;
                }
                checked += 1;
                let at = path.parent().expect("readable").join(file);
                assert!(at.exists(), "{}: the link to {target} leads nowhere", path.display());
            }
        }
    }
    assert!(checked > 5, "only {checked} links were found");
}

#[test]
fn source_files_have_one_reason_to_change() {
    for path in with_extension("rs") {
        let lines = std::fs::read_to_string(&path).expect("readable").lines().count();
        assert!(lines <= LINES_MAX, "{} has {lines} lines, more than {LINES_MAX}", path.display());
    }
}

#[test]
fn nothing_is_hidden_or_left_for_later() {
    // Written in two parts so that this file does not find itself.
    let signs = [
        concat!("#[ig", "nore"),
        concat!("to", "do!("),
        concat!("FIX", "ME"),
        concat!("unimple", "mented!("),
    ];
    for path in with_extension("rs") {
        let text = std::fs::read_to_string(&path).expect("readable");
        for sign in signs {
            assert!(!text.contains(sign), "{} has `{sign}`", path.display());
        }
    }
}
