//! `cargo xtask`: the errands of people who work on Drover, the same on a laptop and in CI.
//!
//! Every errand is a list of other programs run in the workspace's folder; this crate starts them,
//! says what it starts, and hands on their verdict. Exit codes: 0 done, 1 a step failed, 2 usage,
//! 69 a program is missing and may not be installed.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line tool talks to its user there"
)]

mod battery;
mod bench;
mod ci;
mod demo;
mod openapi;
mod peers;
mod steps;
mod test;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::peers::Missing;

/// A program that a step needs is not there (`EX_UNAVAILABLE`).
const EXIT_UNAVAILABLE: u8 = 69;

/// Errands around the Drover workspace.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    errand: Errand,
}

#[derive(Debug, Subcommand)]
enum Errand {
    /// Updates a real little fleet behind a real HAProxy under load, and shows what happened
    Demo(demo::Arguments),
    /// Runs every test; installs what they need, or names it
    Test(test::Arguments),
    /// Runs what CI runs: formatting, lints, architecture, docs, generated files, every test
    Ci(test::Arguments),
    /// Measures
    Bench(bench::Arguments),
    /// Lets faults strike the engine
    Battery(battery::Arguments),
    /// Writes docs/reference/openapi.json from the routes
    Openapi,
}

fn main() -> ExitCode {
    let done = match Arguments::parse().errand {
        Errand::Demo(arguments) => demo::run(&arguments),
        Errand::Test(arguments) => test::run(&arguments),
        Errand::Ci(arguments) => ci::run(&arguments),
        Errand::Bench(arguments) => bench::run(&arguments),
        Errand::Battery(arguments) => battery::run(&arguments),
        Errand::Openapi => openapi::write(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::from(if error.is::<Missing>() {
                EXIT_UNAVAILABLE
            } else {
                1
            })
        }
    }
}
