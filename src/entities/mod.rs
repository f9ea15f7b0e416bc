//! What the API does with entities: validation, merging, compare-and-set writes, resolution.
//!
//! Nothing here knows of HTTP. Every write is one compare-and-set of one entity; a rule and its trigger's link to it are
//! two, in an order that a crash in between does no harm to ([`rules`]).

pub mod access;
pub mod actions;
pub mod error;
pub mod exec;
pub mod input;
pub mod kinds;
pub mod limits;
pub mod packages;
pub mod resolve;
pub mod rules;
pub mod sequence;
pub mod triggers;

pub use error::EntityError;
