//! Speaking to a running service: the verbs of the command line.
//!
//! What was asked for goes to standard output, everything else to standard error; the exit codes
//! are those of `docs/reference/cli.md`. Start reading at [`run`], then `rollout` and `watch`; for workflows,
//! `workflows`, `show` and `follow`; for HAProxy, `haproxy`.

mod apps;
mod catalog;
mod dead_letters;
mod definitions;
mod document;
mod events;
mod failure;
mod follow;
mod graph;
mod groups;
mod haproxy;
mod haproxy_follow;
mod haproxy_mapping;
mod keys;
mod names;
mod natural;
mod orchestrators;
mod output;
mod queues;
mod rollout;
mod rollout_plan;
mod rollout_start;
mod schedules;
mod screen;
mod servers;
mod service;
mod settings;
mod show;
mod sse;
mod state;
mod times;
mod watch;
mod webhooks;
mod workflows;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};

use output::Output;
use service::Service;

/// Where the groups are.
const GROUPS: &str = "application-groups";

/// Where the catalog is.
const CATALOG: &str = "application-catalog";

/// What can be asked of a running service.
#[derive(Debug, Subcommand)]
pub(crate) enum ClientCommand {
    /// Servers: list, show, add, change, refresh, remove.
    #[command(subcommand)]
    Servers(servers::Command),
    /// Applications: list, show, change, history, events.
    #[command(subcommand)]
    Apps(apps::Command),
    /// Groups of applications: list, show, add, change, remove.
    #[command(subcommand)]
    Groups(groups::Command),
    /// The catalog of applications: list, show, add, change, remove.
    #[command(subcommand)]
    Catalog(catalog::Command),
    /// Rollouts bring a new version to applications without dropping a request: start, list, show, cancel.
    #[command(subcommand)]
    Rollout(rollout::Command),
    /// HAProxy: look at it, drain servers, give them requests again, map them to applications.
    #[command(subcommand)]
    Haproxy(haproxy::Command),
    /// Webhooks: list, show, add, change, test; list their deliveries.
    #[command(subcommand)]
    Webhooks(webhooks::Command),
    /// API keys: list, add, revoke.
    #[command(subcommand)]
    Keys(keys::Command),
    /// Orchestrator playbooks: list, scan.
    #[command(subcommand)]
    Orchestrators(orchestrators::Command),
    /// Workflows: start, list, show, watch, steer, decide.
    #[command(subcommand)]
    Workflows(workflows::Command),
    /// Stored definitions of workflows: list, show, put.
    #[command(subcommand)]
    Definitions(definitions::Command),
    /// Schedules that start workflows: list, show, put, pause, resume, remove.
    #[command(subcommand)]
    Schedules(schedules::Command),
    /// List what happened in the fleet, newest first.
    Events(events::Events),
    /// Queues of tasks: list, pause, resume, limit.
    Queues(queues::Queues),
    /// Tasks that failed, timed out or are unknown: list, do again.
    #[command(subcommand)]
    DeadLetters(dead_letters::Command),
}

/// Where the service is, and how answers are printed.
#[derive(Debug, Args)]
pub(crate) struct ClientOptions {
    /// The service to speak to; without it, the variable `DROVER_URL` counts, and then `http://127.0.0.1:8080`.
    #[arg(long, global = true, value_name = "URL", help_heading = "Client")]
    server: Option<String>,
    /// A file with the API key, readable by its owner only; without it, the variable `DROVER_API_KEY` counts.
    #[arg(long, global = true, value_name = "FILE", help_heading = "Client")]
    key_file: Option<PathBuf>,
    /// How answers are printed; JSON has the shapes of the API.
    #[arg(
        short,
        long,
        global = true,
        value_name = "FORMAT",
        value_enum,
        default_value = "table",
        help_heading = "Client"
    )]
    output: Format,
}

/// How answers are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// Refuses words that have another meaning than they seem to have.
///
/// `--wait` takes its time behind `=`, so the number in `drain 1 --wait 5` would be one more server to drain.
pub(crate) fn check_words(arguments: &[OsString]) -> Result<(), String> {
    let words = arguments.iter().map(|word| word.to_string_lossy());
    let words: Vec<_> = words.take_while(|word| word != "--").collect();
    let ambiguous = words.windows(2).find_map(|pair| match pair {
        [flag, next]
            if flag == "--wait" && next.starts_with(|first: char| first.is_ascii_digit()) =>
        {
            Some(next)
        }
        _ => None,
    });
    match ambiguous {
        Some(next) => Err(format!(
            "`--wait {next}` has two meanings, and nothing was done: write `--wait={next}` for seconds, or name the server \
             `{next}` before `--wait`"
        )),
        None => Ok(()),
    }
}

/// Does what `command` says. `variables` are those of the process; `DROVER_API_KEY` is among them.
pub(crate) async fn run(
    command: ClientCommand,
    options: &ClientOptions,
    variables: &[(String, String)],
) -> ExitCode {
    let wants_json = matches!(&command, ClientCommand::Rollout(rollout::Command::Start(start)) if start.wants_json());
    let output = Output::new(options.output == Format::Json || wants_json, variables);
    let done = async {
        let service = Service::new(
            options.server.as_deref(),
            options.key_file.as_deref(),
            variables,
        )?;
        match command {
            ClientCommand::Servers(command) => servers::run(command, &service, &output).await,
            ClientCommand::Apps(command) => apps::run(command, &service, &output).await,
            ClientCommand::Groups(command) => groups::run(command, &service, &output).await,
            ClientCommand::Catalog(command) => catalog::run(command, &service, &output).await,
            ClientCommand::Rollout(command) => rollout::run(command, &service, &output).await,
            ClientCommand::Haproxy(command) => haproxy::run(command, &service, &output).await,
            ClientCommand::Orchestrators(command) => {
                orchestrators::run(command, &service, &output).await
            }
            ClientCommand::Workflows(command) => workflows::run(command, &service, &output).await,
            ClientCommand::Definitions(command) => {
                definitions::run(command, &service, &output).await
            }
            ClientCommand::Schedules(command) => schedules::run(command, &service, &output).await,
            ClientCommand::Events(events) => events::run(events, &service, &output).await,
            ClientCommand::Webhooks(command) => webhooks::run(command, &service, &output).await,
            ClientCommand::Keys(command) => keys::run(command, &service, &output).await,
            ClientCommand::Queues(queues) => queues::run(queues, &service, &output).await,
            ClientCommand::DeadLetters(command) => {
                dead_letters::run(command, &service, &output).await
            }
        }
    };
    match done.await {
        Ok(code) => code.into(),
        Err(failure) => {
            output.fail(&failure);
            failure.code.into()
        }
    }
}
