//! The binary `drover-demo`: the demo, and the application that it runs many times.

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use drover_demo::application;

/// Updates a real little fleet behind a real HAProxy under load, and tells what happened to the requests.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Be one instance of the demo application
    #[command(hide = true)]
    App(application::Options),
}

#[tokio::main]
async fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Some(Command::App(options)) => application::run(options).await,
        None => Ok(()),
    };
    let Err(error) = outcome else {
        return ExitCode::SUCCESS;
    };
    // Nothing more can be done if not even standard error takes the reason.
    writeln!(std::io::stderr(), "drover-demo: {error:#}").ok();
    ExitCode::FAILURE
}
