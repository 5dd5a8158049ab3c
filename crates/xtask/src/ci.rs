//! `cargo xtask ci`: everything a change must pass, the fastest refusal first.

use anyhow::Result;

use crate::steps::{Steps, succeed};
use crate::workspace::{self, cargo};
use crate::{battery, openapi, test};

/// Crates that must build without the features that others switch on for them: built together
/// with the rest, a forbidden `Utc::now()` or a missing feature would go unnoticed.
const PURE: [&str; 3] = ["drover-domain", "drover-ports", "drover-usecases"];

/// Runs all steps until one fails, and prints the table either way.
pub(crate) fn run(arguments: &test::Arguments) -> Result<()> {
    let mut steps = Steps::default();
    let result = all(&mut steps, arguments);
    println!("\n{}", steps.table());
    result
}

fn all(steps: &mut Steps, arguments: &test::Arguments) -> Result<()> {
    steps.run("formatting", || succeed(&mut cargo("fmt --all -- --check")))?;
    steps.run("architecture", || {
        succeed(&mut cargo("test --quiet --package drover-architecture"))
    })?;
    if workspace::has_program("cargo-deny") {
        // Duplicate versions of dependencies are reported on demand, not in every log.
        let line = "deny --log-level error check bans licenses sources";
        steps.run("dependencies", || succeed(&mut cargo(line)))?;
    } else {
        steps.skip("dependencies", "cargo-deny is not installed");
    }
    let lints = "clippy --workspace --all-targets -- -D warnings";
    steps.run("lints", || succeed(&mut cargo(lints)))?;
    steps.run("pure crates alone", || {
        PURE.iter()
            .try_for_each(|package| succeed(cargo("check --package").arg(package)))
    })?;
    steps.run("docs", || {
        succeed(cargo("doc --workspace --no-deps").env("RUSTDOCFLAGS", "-D warnings"))
    })?;
    steps.run("generated files", openapi::check)?;
    steps.run("mutants", battery::mutants)?;
    steps.run("tests", || test::run(arguments))
}
