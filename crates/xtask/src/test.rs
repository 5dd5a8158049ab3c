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

/// Installs what is missing, builds the programs that the end-to-end tests start, runs all tests
/// and then the examples in the docs.
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
    // Tests find programs of other packages beside their own; cargo builds those only when asked.
    workspace::build_programs(&["drover-app", "drover-agent", "drover-demo"])?;
    let runner = if workspace::has_program("cargo-nextest") {
        succeed(&mut cargo("nextest run --workspace"))?;
        "nextest"
    } else {
        eprintln!("xtask: cargo-nextest is not installed; using cargo test");
        succeed(&mut cargo("test --workspace --all-targets"))?;
        "cargo test"
    };
    succeed(&mut cargo("test --workspace --doc --quiet"))?;
    println!(
        "xtask test: all tests passed ({runner}, then the examples in the docs) in {:.0} s",
        start.elapsed().as_secs_f64()
    );
    Ok(())
}
