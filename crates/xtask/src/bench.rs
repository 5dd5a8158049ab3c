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
    /// The build profile to measure; preparing is measured in `dev`, everything else in `release`
    #[arg(long, global = true, value_name = "NAME")]
    profile: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Subject {
    /// Loading the fleet and preparing an update, against PostgreSQL 5 ms away
    Prepare,
    /// The durable engine against PostgreSQL: draining, enqueueing, chains, latency, beside PostgreSQL's own floor
    Engine {
        /// Also install and drive graphile-worker, pg-boss, Procrastinate and DBOS against the same server
        #[arg(long)]
        peers: bool,
        /// Leave out the million finished tasks
        #[arg(long)]
        no_growth: bool,
    },
    /// Polling 1,000 agents, some of which hang or refuse, and 10,000; beside Prometheus, where it is installed
    Fleet,
    /// Syncing 10 HAProxy instances of 10 backends of 100 servers
    Sync,
}

/// Builds and runs the measurement.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    peers::require(&[peers::POSTGRESQL], Consent::of_root_or(arguments.yes))?;
    let (usual, words) = match arguments.subject {
        Subject::Prepare => ("dev", vec!["prepare"]),
        Subject::Fleet => ("release", vec!["polling"]),
        Subject::Sync => ("release", vec!["sync"]),
        Subject::Engine { peers, no_growth } => {
            let mut words = vec!["engine"];
            words.extend(peers.then_some("--peers"));
            words.extend(no_growth.then_some("--no-growth"));
            ("release", words)
        }
    };
    let profile = arguments.profile.as_deref().unwrap_or(usual);
    let mut measurement = cargo("run --quiet --package drover-bench --profile");
    succeed(measurement.args([profile, "--"]).args(words))
}
