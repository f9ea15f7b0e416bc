//! The nouns of Triggerfish: names, ids, entities, events, invocations and activation records.
//!
//! Everything here is plain data that was parsed once: a value of one of these types is valid. Nothing here does
//! I/O, reads a clock or draws a random number; time and identity are passed in through [`Clock`] and [`IdGen`].

mod activation;
mod dead_letter;
mod entity;
mod event;
mod ids;
mod json;
mod names;
mod parameters;
mod subscription;
mod time;
mod version;

pub use activation::{Activation, Origin, Response, StatusCode};
pub use dead_letter::{DeadContent, DeadLetter};
pub use entity::{
    Action, Code, Collection, Conditions, Entity, Exec, Limits, Package, PackageRef, Rule, RuleLink, Trigger,
};
pub use event::{Event, EventKey, Invocation, Invoker, Progress, RecordPolicy, Retry, Retrying, Source};
pub use ids::{ActivationId, IdGen, ParseIdError, RandomIds, Revision, SeqNum};
pub use json::{Json, JsonError, JsonObject};
pub use names::{Name, NameError, Namespace, QualifiedName, Subject};
pub use parameters::{Parameter, Parameters};
pub use subscription::{FeedId, FeedState, FeedStatus, Subscription};
pub use time::{Clock, SystemClock, Timestamp};
pub use version::{Version, VersionError};
