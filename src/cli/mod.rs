//! The command line beside `serve`: clients of the REST API, which they alone use; `feeds preview` alone asks nobody.
//! Nothing here touches the hub's data.
//!
//! A command that is cut off leaves what it did so far; `apply` says so, and applying again goes on from there.

mod api;
mod apply;
mod connect;
mod explain;
mod feeds;
mod fire;
mod output;
mod payload;
mod preview;
mod record;
mod replay;
mod search;
mod tail;

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};

use self::connect::Connection;
use self::output::{Output, Paint};

/// The commands of a client.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Create or update what a manifest describes: packages, actions, sequences, triggers with feeds, rules
    Apply(apply::Apply),
    /// Fire a trigger
    Fire(fire::Fire),
    /// Print activation records as they are written
    Tail(tail::Tail),
    /// Search the activation records and their logs
    Search(search::Search),
    /// Say which rules match a sample event, and why
    Explain(explain::Explain),
    /// List the feeds with their state
    Feeds(feeds::Feeds),
    /// List, show, replay or discard what could not be processed
    Replay(replay::Replay),
}

/// What every command of a client takes.
#[derive(Args, Debug)]
struct Common {
    /// Print JSON, for scripts
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

impl Common {
    fn output(&self) -> Output {
        Output::stdout(self.json)
    }
}

impl Command {
    /// Runs the command: 0 where it did what was asked, 1 where it failed. (2, wrong usage, is clap's.)
    pub fn run(self) -> ExitCode {
        let result = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("the async runtime")
            .and_then(|runtime| {
                runtime.block_on(async {
                    match self {
                        Self::Apply(apply) => apply.run().await,
                        Self::Fire(fire) => fire.run().await,
                        Self::Tail(tail) => tail.run().await,
                        Self::Search(search) => search.run().await,
                        Self::Explain(explain) => explain.run().await,
                        Self::Feeds(feeds) => feeds.run().await,
                        Self::Replay(replay) => replay.run().await,
                    }
                })
            });
        match result {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
            Err(error) => {
                print_error(&error);
                ExitCode::FAILURE
            }
        }
    }
}

/// Whether the reader of the output has gone, as `head` does: nobody is left to be told.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

/// Prints an error with its causes, for the person who called.
pub fn print_error(error: &anyhow::Error) {
    let head = Paint::stderr().red("error:");
    // Nobody can be told where stderr is closed.
    let _ = writeln!(std::io::stderr(), "{head} {error:#}");
}

/// Prints a remark beside the output.
fn note(text: &str) {
    let head = Paint::stderr().yellow("note:");
    // As above.
    let _ = writeln!(std::io::stderr(), "{head} {text}");
}
