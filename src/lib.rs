//! The hub of Triggerfish: intake and dispatch, REST API, command line. It wires the other crates and drives them.

pub mod entities;
