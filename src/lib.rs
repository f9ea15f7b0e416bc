//! The hub of Triggerfish: intake and dispatch, REST API, command line. It wires the other crates and drives them.

pub mod api;
pub mod cli;
pub mod config;
#[cfg(feature = "failpoints")]
pub mod crash_points;
pub mod entities;
pub mod hub;
pub mod serve;
