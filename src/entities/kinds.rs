//! The manifest: which runtimes there are (contract §1.4.2).
//!
//! The stock kinds of OpenWhisk are all stored and shown; whether one can run is the invoker's to say, at the run.

/// One runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuntimeKind {
    /// `nodejs:20`.
    pub kind: &'static str,
    /// The image that the API's documents name.
    pub image: &'static str,
    /// Whether `<family>:default` means this one.
    pub default: bool,
    /// Whether actions of it can only be read and deleted.
    pub deprecated: bool,
    /// Whether `main` must be given.
    pub require_main: bool,
}

/// The runtimes of one language.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Family {
    /// `nodejs`.
    pub name: &'static str,
    /// Its runtimes.
    pub kinds: &'static [RuntimeKind],
}

const fn kind(kind: &'static str, image: &'static str) -> RuntimeKind {
    RuntimeKind { kind, image, default: false, deprecated: false, require_main: false }
}

const fn default(of: RuntimeKind) -> RuntimeKind {
    RuntimeKind { default: true, ..of }
}

const fn with_main(of: RuntimeKind) -> RuntimeKind {
    RuntimeKind { require_main: true, ..of }
}

/// All of them. `python:3` is the host's own Python 3, and what `python:default` means here, because it can run.
pub const FAMILIES: &[Family] = &[
    Family {
        name: "nodejs",
        kinds: &[
            kind("nodejs:18", "openwhisk/action-nodejs-v18:nightly"),
            default(kind("nodejs:20", "openwhisk/action-nodejs-v20:nightly")),
            RuntimeKind { deprecated: true, ..kind("nodejs:8", "openwhisk/action-nodejs-v18:nightly") },
        ],
    },
    Family {
        name: "python",
        kinds: &[
            default(kind("python:3", "openwhisk/action-python-v3.11:nightly")),
            kind("python:3.10", "openwhisk/action-python-v3.10:nightly"),
            kind("python:3.11", "openwhisk/action-python-v3.11:nightly"),
        ],
    },
    Family { name: "go", kinds: &[default(kind("go:1.20", "openwhisk/action-golang-v1.20:nightly"))] },
    Family { name: "java", kinds: &[default(with_main(kind("java:8", "openwhisk/java8action:nightly")))] },
    Family { name: "php", kinds: &[default(kind("php:8.1", "openwhisk/action-php-v8.1:nightly"))] },
    Family { name: "ruby", kinds: &[default(kind("ruby:2.5", "openwhisk/action-ruby-v2.5:nightly"))] },
    Family { name: "rust", kinds: &[default(kind("rust:1.34", "openwhisk/action-rust-v1.34:nightly"))] },
    Family {
        name: "swift",
        kinds: &[
            default(kind("swift:5.3", "openwhisk/action-swift-v5.3:nightly")),
            kind("swift:5.7", "openwhisk/action-swift-v5.7:nightly"),
        ],
    },
    Family {
        name: "dotnet",
        kinds: &[
            default(with_main(kind("dotnet:3.1", "openwhisk/action-dotnet-v3.1:nightly"))),
            with_main(kind("dotnet:6.0", "openwhisk/action-dotnet-v6.0:nightly")),
        ],
    },
];

/// The runtime that `name` means: a kind, or `<family>:default`.
pub fn resolve(name: &str) -> Option<&'static RuntimeKind> {
    let family = name.strip_suffix(":default");
    FAMILIES.iter().flat_map(|of| of.kinds.iter().map(move |kind| (of, kind))).find_map(|(of, kind)| {
        match family {
            Some(family) => (of.name == family && kind.default).then_some(kind),
            None => (kind.kind == name).then_some(kind),
        }
    })
}

/// The contract's text for a kind that there is not.
pub fn unknown(kind: &str) -> String {
    let all: Vec<String> = FAMILIES
        .iter()
        .flat_map(|family| family.kinds.iter().map(|kind| kind.kind))
        .chain(["blackbox", "sequence"])
        .map(|kind| format!("'{kind}'"))
        .collect();
    format!(
        "The specified runtime '{kind}' is not supported by this platform. Valid values are: {}.",
        all.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_family_has_one_default() {
        for family in FAMILIES {
            assert_eq!(family.kinds.iter().filter(|kind| kind.default).count(), 1, "{}", family.name);
            assert!(family.kinds.iter().all(|kind| kind.kind.starts_with(family.name)));
        }
        assert_eq!(resolve("nodejs:default").map(|kind| kind.kind), Some("nodejs:20"));
        assert_eq!(resolve("python:3.11").map(|kind| kind.kind), Some("python:3.11"));
        assert!(resolve("nodejs").is_none() && resolve("cobol:default").is_none());
        assert!(unknown("x").ends_with("'blackbox', 'sequence'."));
    }
}
