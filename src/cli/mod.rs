//! The command line's own words.

use std::io::Write;

/// Prints an error with its causes, for the person who called.
pub fn print_error(error: &anyhow::Error) {
    // Nobody can be told where stderr is closed.
    let _ = writeln!(std::io::stderr(), "triggerfish: {error:#}");
}
