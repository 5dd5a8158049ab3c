//! `cargo xtask battery`: the engine under faults, each part a JSON document per line on standard output.

use anyhow::Result;
use clap::Subcommand;

use crate::peers::{self, Consent};
use crate::steps::succeed;
use crate::workspace::cargo;

/// What strikes the engine.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    part: Part,
    /// The build profile; `release` is slow to build and lives many more lives in a minute
    #[arg(long, global = true, default_value = "dev", value_name = "NAME")]
    profile: String,
}

#[derive(Debug, Subcommand)]
enum Part {
    /// Simulated lives of the engine's core: crashes, duplicates, delays, reordering, people
    Model {
        /// How many seeds
        #[arg(long, default_value_t = 20_000, value_name = "N")]
        seeds: u64,
        /// The first of them
        #[arg(long, default_value_t = 0, value_name = "SEED")]
        first: u64,
        /// Only this seed, and everything that happens in it
        #[arg(long, value_name = "SEED", conflicts_with_all = ["seeds", "first"])]
        seed: Option<u64>,
    },
    /// Deliberate defects of the engine, each of which the model must find
    Mutants,
    /// Workers killed with `kill -9` on a real PostgreSQL, at every commit and effect and at random; then
    /// PostgreSQL itself
    Crash {
        /// How many kills at random moments, besides one at every point
        #[arg(long, default_value_t = 200, value_name = "N")]
        kills: u32,
        /// How many tasks at least
        #[arg(long, default_value_t = 10_000, value_name = "N")]
        tasks: u32,
        /// How often PostgreSQL breaks off
        #[arg(long, default_value_t = 10, value_name = "N")]
        restarts: u32,
        /// Of the workflows and of what strikes when
        #[arg(long, value_name = "SEED")]
        seed: Option<u64>,
    },
    /// A disk that fills up under SQLite and PostgreSQL and is emptied again; takes root, for a small file system
    Disk {
        /// How often, on each database
        #[arg(long, default_value_t = 20, value_name = "N")]
        runs: u32,
    },
}

/// Builds and runs a part of the battery.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    match arguments.part {
        Part::Model {
            seeds,
            first,
            seed: None,
        } => model(
            &arguments.profile,
            &format!("--seeds {seeds} --first {first}"),
        ),
        Part::Model {
            seed: Some(seed), ..
        } => model(&arguments.profile, &format!("--seed {seed}")),
        Part::Mutants => mutants(),
        Part::Disk { runs } => disk(runs),
        Part::Crash {
            kills,
            tasks,
            restarts,
            seed,
        } => {
            let seed = seed
                .map(|seed| format!(" --seed {seed}"))
                .unwrap_or_default();
            crash(&format!(
                "--kills {kills} --tasks {tasks} --restarts {restarts}{seed}"
            ))
        }
    }
}

fn disk(runs: u32) -> Result<()> {
    peers::require(&[peers::POSTGRESQL], Consent::of_root_or(false))?;
    let line = format!("run --quiet --package drover-battery -- disk --runs {runs}");
    succeed(&mut cargo(&line))
}

fn crash(options: &str) -> Result<()> {
    peers::require(&[peers::POSTGRESQL], Consent::of_root_or(false))?;
    let line = format!("run --quiet --package drover-battery -- crash {options}");
    succeed(&mut cargo(&line))
}

fn model(profile: &str, options: &str) -> Result<()> {
    let line =
        format!("run --quiet --package drover-battery --profile {profile} -- model {options}");
    succeed(&mut cargo(&line))
}

/// The test that every deliberate defect is found, built with those of the core.
pub(crate) fn mutants() -> Result<()> {
    let line =
        "test --quiet --package drover-battery --features mutants --test mutants -- --show-output";
    succeed(&mut cargo(line))
}
