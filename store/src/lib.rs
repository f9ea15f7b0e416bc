//! The stores of Triggerfish: the event log, entities, subscriptions, subjects, activation records and their search.
//!
//! [`traits`] holds the seams; each backend is one module. Only this crate touches disks and databases.

pub mod embedded;
pub mod seal;
mod search;
pub mod traits;

pub use traits::*;
