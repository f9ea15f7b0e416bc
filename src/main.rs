//! The `triggerfish` command.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use triggerfish::cli;
use triggerfish::serve::Serve;

/// An event-trigger and feed integration hub that speaks the Apache OpenWhisk REST API.
#[derive(Parser)]
#[command(version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the hub
    Serve(Box<Serve>),
}

fn main() -> ExitCode {
    #[cfg(feature = "failpoints")]
    triggerfish::crash_points::arm();
    match Cli::parse().command {
        Command::Serve(serve) => match serve.run() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                cli::print_error(&error);
                ExitCode::FAILURE
            }
        },
    }
}
