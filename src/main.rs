//! The `triggerfish` command.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use triggerfish::cli;
use triggerfish::serve::Serve;

/// An event-trigger and feed integration hub that speaks the Apache OpenWhisk REST API.
#[derive(Parser)]
#[command(
    version,
    propagate_version = true,
    after_help = "Begin with `triggerfish serve --dev`; `triggerfish COMMAND --help` has examples.\n\
    Exit status: 0 done, 1 failed, 2 wrong usage."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the hub
    Serve(Box<Serve>),
    #[command(flatten)]
    Client(Box<cli::Command>),
}

fn main() -> ExitCode {
    #[cfg(feature = "failpoints")]
    triggerfish::crash_points::arm();
    match Cli::parse().command {
        Command::Client(client) => client.run(),
        Command::Serve(serve) => match serve.run() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                cli::print_error(&error);
                ExitCode::FAILURE
            }
        },
    }
}
