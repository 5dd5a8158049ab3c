//! `cargo xtask test`: every test of the workspace, with the programs they drive.

use std::time::Instant;

use anyhow::Result;

use crate::peers::{self, Consent};
use crate::steps::succeed;
use crate::workspace::{self, cargo};

/// How tests are run.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Install what is missing with apt-get through sudo; root and CI=true need not say it
    #[arg(long, short)]
    yes: bool,
}

/// Installs what is missing, runs all tests and then the examples in the docs. A test program that starts a program of
/// another package finds it beside its own: a build of the whole workspace builds them all.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let start = Instant::now();
    let needed = [
        peers::HAPROXY,
        peers::ANSIBLE,
        peers::PYTHON,
        peers::SSH_SERVER,
        peers::DBUS,
        peers::POSTGRESQL,
        peers::PGBOUNCER,
    ];
    peers::require(&needed, Consent::of_root_or(arguments.yes))?;
    let runner = if workspace::has_program("cargo-nextest") {
        succeed(&mut cargo("nextest run --workspace"))?;
        "nextest"
    } else {
        eprintln!(
            "xtask: cargo-nextest is not installed; using cargo test, which passes as well, but runs one test program \
             after the other. `cargo install cargo-nextest --locked` brings it, in about ten minutes"
        );
        succeed(&mut cargo("test --workspace --all-targets --no-fail-fast"))?;
        "cargo test"
    };
    succeed(&mut cargo("test --workspace --doc --quiet"))?;
    println!(
        "xtask test: all tests passed ({runner}, then the examples in the docs) in {:.0} s",
        start.elapsed().as_secs_f64()
    );
    Ok(())
}
