//! `cargo xtask bench`: measurements, each a JSON document on standard output.

use anyhow::Result;
use clap::Subcommand;

use crate::peers::{self, Consent};
use crate::steps::succeed;
use crate::workspace::cargo;

/// What to measure.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    subject: Subject,
    /// Install what is missing with apt-get through sudo; root and CI=true need not say it
    #[arg(long, short, global = true)]
    yes: bool,
    /// The build profile to measure; `release` is slow to build and a little faster to run
    #[arg(long, global = true, default_value = "dev", value_name = "NAME")]
    profile: String,
}

#[derive(Debug, Subcommand)]
enum Subject {
    /// Loading the fleet and preparing an update, against PostgreSQL 5 ms away
    Prepare,
}

/// Builds and runs the measurement.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let Subject::Prepare = arguments.subject;
    peers::require(&[peers::POSTGRESQL], Consent::of_root_or(arguments.yes))?;
    let mut measurement = cargo("run --quiet --package drover-bench --profile");
    succeed(measurement.args([&arguments.profile, "--", "prepare"]))
}
