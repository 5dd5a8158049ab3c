//! The binary `drover-demo`: the demo, and the application that it runs many times.

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use drover_demo::application;
use drover_demo::demo::{self, Ending, Surroundings};
use drover_demo::screen::Screen;
use drover_demo::tools::Missing;

/// Updates a small real fleet behind a real HAProxy under load, and reports what happened to the requests.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    demo: demo::Options,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Be one instance of the demo application
    #[command(hide = true)]
    App(application::Options),
}

/// `EX_UNAVAILABLE` of sysexits: something the demo needs is not on this machine.
const UNAVAILABLE: u8 = 69;

/// What shells make of an end by SIGINT.
const INTERRUPTED: u8 = 130;

/// Variables with these beginnings would change how the demo's programs work.
const FORGOTTEN: [&str; 3] = ["DROVER_", "ANSIBLE_", "PG"];

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match arguments.command {
        Some(Command::App(options)) => application::run(options).await.map(|()| Ending::Flawless),
        None => run(arguments.demo).await,
    };
    match outcome {
        Ok(Ending::Flawless) => ExitCode::SUCCESS,
        Ok(Ending::Flawed) => ExitCode::FAILURE,
        Ok(Ending::Interrupted) => ExitCode::from(INTERRUPTED),
        Err(error) => {
            // Nothing more can be done if not even standard error takes the reason.
            writeln!(std::io::stderr(), "drover-demo: {error:#}").ok();
            if error.is::<Missing>() {
                ExitCode::from(UNAVAILABLE)
            } else {
                ExitCode::FAILURE
            }
        }
    }
}

async fn run(options: demo::Options) -> anyhow::Result<Ending> {
    let mut search = OsString::new();
    let mut forgotten = Vec::new();
    for (name, value) in std::env::vars_os() {
        if name == "PATH" {
            search = value;
        } else if FORGOTTEN
            .iter()
            .any(|beginning| name.to_string_lossy().starts_with(beginning))
        {
            forgotten.push(name);
        }
    }
    let surroundings = Surroundings {
        program: std::env::current_exe().context("this program does not know where it is")?,
        search,
        forgotten,
    };
    demo::run(options, surroundings, Screen::new()).await
}
