//! The entities of a namespace: packages, actions, triggers and rules (contract §1.3 to §1.7).

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::{Json, Name, Namespace, Parameters, QualifiedName, Timestamp, Version};

/// One stored entity. Names are unique over all collections of a namespace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Entity {
    /// A package, or a binding to one.
    Package(Package),
    /// An action or a sequence.
    Action(Action),
    /// A trigger.
    Trigger(Trigger),
    /// A rule.
    Rule(Rule),
}

/// The kinds of entity, as the API's paths name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Collection {
    /// Packages and bindings.
    Packages,
    /// Actions and sequences.
    Actions,
    /// Triggers.
    Triggers,
    /// Rules.
    Rules,
}

impl Collection {
    /// The name in a path: `packages`, `actions`, `triggers`, `rules`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Packages => "packages",
            Self::Actions => "actions",
            Self::Triggers => "triggers",
            Self::Rules => "rules",
        }
    }
}

impl Entity {
    /// The whole name. A package's own name stands as `name`, without a `package`.
    pub fn id(&self) -> &QualifiedName {
        match self {
            Self::Package(package) => &package.id,
            Self::Action(action) => &action.id,
            Self::Trigger(trigger) => &trigger.id,
            Self::Rule(rule) => &rule.id,
        }
    }

    /// Which collection it is in.
    pub fn collection(&self) -> Collection {
        match self {
            Self::Package(_) => Collection::Packages,
            Self::Action(_) => Collection::Actions,
            Self::Trigger(_) => Collection::Triggers,
            Self::Rule(_) => Collection::Rules,
        }
    }

    /// When it was last written.
    pub fn updated(&self) -> Timestamp {
        match self {
            Self::Package(package) => package.updated,
            Self::Action(action) => action.updated,
            Self::Trigger(trigger) => trigger.updated,
            Self::Rule(rule) => rule.updated,
        }
    }
}

/// The provider that a binding refers to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackageRef {
    /// The provider's namespace.
    pub namespace: Namespace,
    /// The provider's name.
    pub name: Name,
}

impl PackageRef {
    /// The provider's whole name.
    pub fn id(&self) -> QualifiedName {
        self.namespace.with(self.name.clone())
    }
}

/// A package: a folder of actions with parameters of their own, or a binding to one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Package {
    /// `namespace/name`.
    pub id: QualifiedName,
    /// The provider, where this is a binding.
    pub binding: Option<PackageRef>,
    /// Parameters that its actions inherit.
    pub parameters: Parameters,
    /// Annotations.
    pub annotations: Parameters,
    /// Whether other namespaces may read and bind it.
    pub publish: bool,
    /// The version.
    pub version: Version,
    /// When it was last written.
    pub updated: Timestamp,
}

/// An action: code for a container, or a sequence of other actions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Action {
    /// `namespace/[package/]name`.
    pub id: QualifiedName,
    /// What runs.
    pub exec: Exec,
    /// Its own parameters, without those that it inherits from its package.
    pub parameters: Parameters,
    /// Annotations.
    pub annotations: Parameters,
    /// What a run may use.
    pub limits: Limits,
    /// Stored and shown; only a package's `publish` means anything.
    pub publish: bool,
    /// The version.
    pub version: Version,
    /// When it was last written.
    pub updated: Timestamp,
}

/// What an action runs (contract §1.4.2).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Exec {
    /// Code for one of the hub's runtimes.
    Code {
        /// The resolved kind: `python:3`, `nodejs:20`, …
        kind: String,
        /// The code.
        code: Code,
        /// The function to call; the runtime's own default where absent.
        main: Option<String>,
    },
    /// A container image of the user's.
    Blackbox {
        /// The image's name.
        image: String,
        /// Code for the image's own runtime, if any.
        code: Option<Code>,
        /// The function to call.
        main: Option<String>,
    },
    /// Other actions, one after the other.
    Sequence {
        /// The actions, in order.
        components: Vec<QualifiedName>,
    },
}

impl Exec {
    /// The kind as the API shows it: a runtime's name, `blackbox` or `sequence`.
    pub fn kind(&self) -> &str {
        match self {
            Self::Code { kind, .. } => kind,
            Self::Blackbox { .. } => "blackbox",
            Self::Sequence { .. } => "sequence",
        }
    }
}

/// An action's code as it was sent.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Code {
    /// Source text, or base64 of an archive or executable.
    pub text: std::sync::Arc<str>,
    /// Whether `text` is base64 of bytes.
    pub binary: bool,
}

impl std::fmt::Debug for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Code({} bytes, binary: {})", self.text.len(), self.binary)
    }
}

/// What a run of an action may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Time for `/init`, and again for `/run`, in milliseconds; 100 to 300,000.
    pub timeout_ms: u32,
    /// Memory of the container in MB (2^20 bytes); 128 to 512.
    pub memory_mb: u32,
    /// Bytes of log kept, in MB (2^20 bytes); 0 to 10.
    pub logs_mb: u32,
    /// Runs at once in one container.
    pub concurrency: u32,
    /// Containers at once; the namespace's limit where absent.
    pub instances: Option<u32>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { timeout_ms: 60_000, memory_mb: 256, logs_mb: 10, concurrency: 1, instances: None }
    }
}

/// A trigger: a named channel that events are fired on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trigger {
    /// `namespace/name`.
    pub id: QualifiedName,
    /// Parameters that every event on it gets.
    pub parameters: Parameters,
    /// Annotations; `feed` names the feed action that it was made from.
    pub annotations: Parameters,
    /// The rules that listen to it, by their whole names. A rule's status lives here (contract §1.6).
    pub rules: IndexMap<QualifiedName, RuleLink>,
    /// Stored and shown.
    pub publish: bool,
    /// The version.
    pub version: Version,
    /// When it was last written.
    pub updated: Timestamp,
}

/// A rule as its trigger knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleLink {
    /// The action that it starts.
    pub action: QualifiedName,
    /// Whether it is active.
    pub active: bool,
}

/// A rule: which action an event on a trigger starts, and when.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    /// `namespace/name`.
    pub id: QualifiedName,
    /// The trigger that it listens to.
    pub trigger: QualifiedName,
    /// The action that it starts.
    pub action: QualifiedName,
    /// Which events it matches, and what the action gets.
    pub conditions: Conditions,
    /// Annotations.
    pub annotations: Parameters,
    /// Stored and shown.
    pub publish: bool,
    /// The version.
    pub version: Version,
    /// When it was last written.
    pub updated: Timestamp,
}

/// The optional conditions of a rule (design.md, "Rules"); without any, every event matches and is passed on whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conditions {
    /// An event pattern of Amazon EventBridge's form.
    pub pattern: Option<Json>,
    /// A CEL expression over `event` and `trigger` that must be true.
    pub when: Option<String>,
    /// A CEL expression that gives the payload that the action gets.
    pub with: Option<String>,
    /// How often, and after what, the action is tried again: an object (`rules-engine`'s `retry` says of what).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<Json>,
}

impl Conditions {
    /// Whether every event matches, unchanged.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entity_is_stored_and_read_again_as_it_was() {
        let id: QualifiedName = "guest/p/a".parse().unwrap();
        let action = Entity::Action(Action {
            id: id.clone(),
            exec: Exec::Code {
                kind: "python:3".into(),
                code: Code { text: "def main(a): return a".into(), binary: false },
                main: None,
            },
            parameters: Parameters::new().with("n", Json::parse("1.0").unwrap()),
            annotations: Parameters::new(),
            limits: Limits::default(),
            publish: false,
            version: Version::default(),
            updated: Timestamp::from_millis(1),
        });
        let text = serde_json::to_string(&action).unwrap();
        assert_eq!(serde_json::from_str::<Entity>(&text).unwrap(), action);
        assert_eq!(action.id(), &id);
    }
}
