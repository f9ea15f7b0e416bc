//! What could not be processed, kept with why and with all that it takes to try again (design.md, invariant 8).

use serde::{Deserialize, Serialize};

use crate::{
    ActivationId, FeedId, Invocation, JsonObject, Namespace, QualifiedName, Retry, Subject, Timestamp,
};

/// A dead letter. It is kept until it is replayed, discarded, or too old.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// Its id: that of the last attempt's activation, or derived from the message's place at its source.
    pub id: ActivationId,
    /// Whose it is.
    pub namespace: Namespace,
    /// When it was given up.
    pub at: Timestamp,
    /// Why.
    pub reason: String,
    /// How often it was replayed before.
    pub replays: u32,
    /// What it is.
    pub content: DeadContent,
}

/// What a dead letter holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum DeadContent {
    /// A run that failed as often as its rule lets it.
    Run {
        /// What was to run.
        invocation: Box<Invocation>,
        /// How it was tried, and is tried again when it is replayed.
        retry: Retry,
    },
    /// A message that its feed could make no event of.
    #[serde(rename_all = "camelCase")]
    Message {
        /// The feed.
        feed: FeedId,
        /// The trigger.
        trigger: QualifiedName,
        /// Whose rights the event would act with.
        subject: Subject,
        /// Where the message came from, and what it says of itself.
        context: JsonObject,
        /// The event that it would have been; absent where it is too large to be kept, or cannot be one.
        payload: Option<JsonObject>,
    },
}

impl DeadLetter {
    /// What failed: the trigger of a message, the action of a run.
    pub fn of(&self) -> &QualifiedName {
        match &self.content {
            DeadContent::Run { invocation, .. } => &invocation.action,
            DeadContent::Message { trigger, .. } => trigger,
        }
    }
}
