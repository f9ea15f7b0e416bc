//! The feeds of Triggerfish: providers of outside events and the runtime that drives them.
