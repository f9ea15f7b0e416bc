//! What a build takes in: licences, sources, banned and doubled crates, and nothing that is not used
//! (docs/decisions/0005-dependency-checks.md says why this is no tool).

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::{ROOT, with_extension};

/// Licences that may be linked into a program under Apache-2.0. None of them asks for the source of what is linked.
const LICENCES: [&str; 13] = [
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    // Of webpki-roots: data, the certificates of authorities.
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
    "zlib-acknowledgement",
];

/// Crates that may not come in, with what is used instead.
///
/// `openssl-sys` is not among them: librdkafka has no other TLS, nor SCRAM without it. `openssl` itself is, so that nothing
/// else begins to use it.
const BANNED: [(&str, &str); 7] = [
    ("openssl", "rustls, with ring"),
    ("native-tls", "rustls, with ring"),
    ("aws-lc-sys", "ring: one implementation of cryptography, and no cmake"),
    ("serde_yaml", "saphyr-parser: serde_yaml is no longer maintained"),
    ("atty", "std::io::IsTerminal"),
    ("failure", "thiserror and anyhow"),
    ("rustls-pemfile", "rustls' own pki-types, which reads PEM"),
];

/// Crates whose second version would double a good part of the build, or split what has to be one.
const ONCE: [&str; 12] = [
    "axum",
    "fjall",
    "hyper",
    "reqwest",
    "ring",
    "rustls",
    "rustls-webpki",
    "serde",
    "serde_json",
    "tantivy",
    "tokio",
    "tracing",
];

/// All packages that a build on this machine takes in.
fn packages() -> Vec<Value> {
    let rustc = Command::new("rustc").arg("-vV").output().expect("rustc runs");
    let version = String::from_utf8(rustc.stdout).expect("text");
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).expect("rustc tells its host");
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--filter-platform", host])
        .current_dir(ROOT)
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let packages = metadata["packages"].as_array().expect("packages").clone();
    assert!(packages.len() > 100, "only {} packages were found", packages.len());
    packages
}

fn text<'a>(package: &'a Value, key: &str) -> &'a str {
    package[key].as_str().unwrap_or_default()
}

/// Whether an SPDX expression (with `/` for `OR`, as it once was) is fulfilled by what is allowed. `AND` binds tighter
/// than `OR`; parentheses are taken off from within.
fn is_allowed(expression: &str) -> bool {
    let expression = expression.replace('/', " OR ");
    if let Some(close) = expression.find(')') {
        let open = expression[..close].rfind('(').expect("parentheses come in pairs");
        let inner = if is_allowed(&expression[open + 1..close]) { "MIT" } else { "refused" };
        return is_allowed(&format!("{}{inner}{}", &expression[..open], &expression[close + 1..]));
    }
    expression
        .split(" OR ")
        .any(|option| option.split(" AND ").all(|licence| LICENCES.contains(&licence.trim())))
}

#[test]
fn licences_are_read_as_spdx_says() {
    for allowed in
        ["MIT", "GPL-3.0 OR MIT", "MIT/Apache-2.0", "(MIT OR GPL-2.0) AND ISC", "MIT AND (ISC OR X)"]
    {
        assert!(is_allowed(allowed), "{allowed}");
    }
    for refused in ["", "GPL-3.0", "MIT AND GPL-3.0", "(MIT OR ISC) AND GPL-2.0", "Apache-2.0 WITH X"] {
        assert!(!is_allowed(refused), "{refused}");
    }
}

#[test]
fn every_crate_has_a_licence_that_is_allowed_and_comes_from_the_registry() {
    for package in packages() {
        let (name, licence, source) =
            (text(&package, "name"), text(&package, "license"), text(&package, "source"));
        assert!(is_allowed(licence), "{name} has the licence `{licence}`");
        let is_ours = source.is_empty() && text(&package, "manifest_path").starts_with(ROOT);
        let is_published = source == "registry+https://github.com/rust-lang/crates.io-index";
        assert!(is_ours || is_published, "{name} comes from `{source}`");
    }
}

#[test]
fn the_tools_file_says_the_same() {
    let text = std::fs::read_to_string(Path::new(ROOT).join("deny.toml")).expect("readable");
    let file: toml::Table = text.parse().expect("TOML");
    let list = |section: &str, key: &str| -> Vec<String> {
        let list = file[section][key].as_array().expect("a list");
        list.iter().filter_map(toml::Value::as_str).map(str::to_owned).collect()
    };
    assert_eq!(list("licenses", "allow"), LICENCES);
    assert_eq!(list("bans", "deny"), BANNED.map(|(name, _)| name));
}

#[test]
fn no_banned_crate_comes_in_and_what_has_to_be_one_is_one() {
    let mut versions: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for package in packages() {
        versions.entry(text(&package, "name").into()).or_default().insert(text(&package, "version").into());
    }
    for (name, instead) in BANNED {
        assert!(!versions.contains_key(name), "{name} came in; there is {instead}");
    }
    for name in ONCE {
        let found =
            versions.get(name).unwrap_or_else(|| panic!("{name} is not used any more: take it out of ONCE"));
        assert_eq!(found.len(), 1, "{name} comes in {found:?}");
    }
}

/// The manifests of the workspace with their folders: the root's first.
fn manifests() -> Vec<(&'static str, toml::Table)> {
    ["", "feeds", "invoker", "model", "rules-engine", "store"]
        .into_iter()
        .map(|folder| {
            let path = Path::new(ROOT).join(folder).join("Cargo.toml");
            (folder, std::fs::read_to_string(path).expect("readable").parse().expect("TOML"))
        })
        .collect()
}

#[test]
fn versions_are_said_once_in_the_workspace() {
    for (folder, manifest) in manifests() {
        for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let Some(section) = manifest.get(section).and_then(toml::Value::as_table) else { continue };
            for (name, dependency) in section {
                let is_inherited = dependency.get("workspace").and_then(toml::Value::as_bool) == Some(true);
                assert!(is_inherited, "{folder}/Cargo.toml: `{name}` must be `{name}.workspace = true`");
            }
        }
    }
}

#[test]
fn nothing_is_depended_on_that_is_not_used() {
    let mut used: BTreeSet<String> = BTreeSet::new();
    for (folder, manifest) in manifests() {
        let sources: String = with_extension("rs")
            .iter()
            .filter_map(|path| path.strip_prefix(ROOT).ok())
            .filter(|path| {
                let first = path.iter().next().and_then(|part| part.to_str()).unwrap_or_default();
                if folder.is_empty() {
                    return ["src", "tests", "benches"].contains(&first);
                }
                // What all tests share is part of those that include it.
                first == folder || path.starts_with("tests/support")
            })
            .map(|path| std::fs::read_to_string(Path::new(ROOT).join(path)).expect("readable"))
            .collect();
        let words: BTreeSet<&str> = sources
            .split(|c: char| !c.is_alphanumeric() && c != '_')
            .filter(|word| !word.is_empty())
            .collect();
        for section in ["dependencies", "dev-dependencies"] {
            let Some(section) = manifest.get(section).and_then(toml::Value::as_table) else { continue };
            for name in section.keys() {
                used.insert(name.clone());
                let word = name.replace('-', "_");
                assert!(words.contains(word.as_str()), "{folder}/Cargo.toml: nothing uses `{name}`");
            }
        }
    }
    let (_, root) = manifests().swap_remove(0);
    let listed = root["workspace"]["dependencies"].as_table().expect("a table");
    for name in listed.keys() {
        assert!(used.contains(name), "[workspace.dependencies]: no crate uses `{name}`");
    }
}

#[test]
fn disks_brokers_and_containers_are_touched_by_one_crate_each() {
    let engines: [(&str, &[&str]); 3] = [
        ("store", &["fjall", "tantivy", "aes-gcm", "postcard"]),
        ("feeds", &["rumqttc", "rdkafka", "lapin", "tokio-rustls", "cron", "octocrab"]),
        ("rules-engine", &["cel", "regex"]),
    ];
    for (owner, crates) in engines {
        for (folder, manifest) in manifests() {
            let has =
                |name: &&&str| manifest.get("dependencies").is_some_and(|all| all.get(**name).is_some());
            let found: Vec<_> = crates.iter().filter(has).collect();
            assert!(folder == owner || found.is_empty(), "{folder} has {found:?}, which are {owner}'s");
        }
    }
}
