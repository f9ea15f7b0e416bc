//! What a manifest asks for: a list of entities in the order in which they are made.

use serde_json::{Map, Value};
use triggerfish_model::QualifiedName;

use super::yaml::Position;

/// What kind of entity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Package,
    /// A package that stands for another one.
    Binding,
    Action,
    Sequence,
    Trigger,
    Rule,
}

impl Kind {
    /// What it is called.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Package => "package",
            Self::Binding => "binding",
            Self::Action => "action",
            Self::Sequence => "sequence",
            Self::Trigger => "trigger",
            Self::Rule => "rule",
        }
    }

    /// Its collection in the API.
    pub(super) fn collection(self) -> &'static str {
        match self {
            Self::Package | Self::Binding => "packages",
            Self::Action | Self::Sequence => "actions",
            Self::Trigger => "triggers",
            Self::Rule => "rules",
        }
    }
}

/// One entity that a manifest asks for.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) kind: Kind,
    pub(super) at: Position,
    pub(super) id: QualifiedName,
    /// The body of its PUT.
    pub(super) document: Map<String, Value>,
    /// Where it says which runtime it needs.
    pub(super) runtime_at: Option<Position>,
    /// What it refers to, and where.
    pub(super) uses: Vec<Use>,
    /// A trigger's feed.
    pub(super) feed: Option<WantedFeed>,
    /// Where a rule's conditions stand.
    pub(super) conditions_at: Vec<(&'static str, Position)>,
    /// Whether a rule is active.
    pub(super) active: bool,
}

/// A reference to another entity, which must be in the manifest or on the hub.
#[derive(Clone, Debug)]
pub(super) struct Use {
    pub(super) at: Position,
    pub(super) kind: Kind,
    pub(super) id: QualifiedName,
}

/// The feed of a trigger.
#[derive(Clone, Debug)]
pub(super) struct WantedFeed {
    pub(super) at: Position,
    /// The feed's action.
    pub(super) action: QualifiedName,
    pub(super) params: Map<String, Value>,
    /// Where each parameter stands.
    pub(super) params_at: Vec<(String, Position)>,
}
