//! Speaking to a running service.

use std::process::ExitCode;

use clap::{Args, Subcommand};

/// Placeholder until the verbs land.
#[derive(Debug, Subcommand)]
pub(crate) enum ClientCommand {}

/// Where the service is.
#[derive(Debug, Args)]
pub(crate) struct ClientOptions {}

pub(crate) async fn run(
    command: ClientCommand,
    _options: &ClientOptions,
    _variables: &[(String, String)],
) -> ExitCode {
    match command {}
}
