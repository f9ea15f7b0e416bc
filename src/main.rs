//! The `triggerfish` command.
fn main() {}
