//! `cargo xtask demo`: builds the programs of the demo and becomes it.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::ValueEnum;

use crate::peers::{self, Consent};
use crate::workspace;

/// What the demo is asked to do; all but `--yes` is handed on to `drover-demo`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Install what is missing with apt-get (as root, or through sudo without a password)
    #[arg(long, short)]
    yes: bool,
    /// Also write the report as JSON to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// The database of `drover serve`
    #[arg(long, value_enum, default_value_t = Database::Sqlite)]
    database: Database,
    /// Break the artifact of one instance, to see what a failed update looks like
    #[arg(long)]
    fail_update: bool,
    /// Leave everything running at the end and print the addresses and a key
    #[arg(long)]
    keep: bool,
    /// Instances of the application on each server
    #[arg(long, value_name = "N")]
    instances: Option<u32>,
    /// Handed on to drover-demo as they are
    #[arg(last = true)]
    more: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Database {
    Sqlite,
    Postgres,
}

impl Arguments {
    /// The command line of `drover-demo`.
    fn handed_on(&self) -> Vec<std::ffi::OsString> {
        let mut arguments: Vec<std::ffi::OsString> = vec![
            "--playbooks".into(),
            workspace::root().join("deploy/ansible").into(),
        ];
        if let Some(file) = &self.json {
            arguments.extend(["--json".into(), file.into()]);
        }
        if self.database == Database::Postgres {
            arguments.extend(["--database".into(), "postgres".into()]);
        }
        if self.fail_update {
            arguments.push("--fail-update".into());
        }
        if self.keep {
            arguments.push("--keep".into());
        }
        if let Some(instances) = self.instances {
            arguments.extend(["--instances".into(), instances.to_string().into()]);
        }
        arguments.extend(self.more.iter().map(Into::into));
        arguments
    }
}

/// Checks, builds and becomes the demo: this process is replaced, so that Ctrl-C and the exit code
/// are the demo's own.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let mut needed = vec![peers::HAPROXY, peers::ANSIBLE, peers::PYTHON];
    if arguments.database == Database::Postgres {
        needed.push(peers::POSTGRESQL);
    }
    peers::require(&needed, Consent::of(arguments.yes))?;
    let programs = workspace::build_programs(&["drover", "drover-agent", "drover-demo"])?;
    let demo = programs
        .get("drover-demo")
        .context("cargo built no program drover-demo")?;
    let mut command = workspace::command(demo);
    // The user's own folder: --json is relative to it.
    if let Ok(here) = std::env::current_dir() {
        command.current_dir(here);
    }
    let error = command.args(arguments.handed_on()).exec();
    Err(error).with_context(|| format!("{} cannot be started", demo.display()))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        demo: Arguments,
    }

    fn handed_on(line: &[&str]) -> Vec<String> {
        let parsed = Line::try_parse_from(std::iter::once(&"demo").chain(line)).unwrap();
        parsed
            .demo
            .handed_on()
            .into_iter()
            .skip(2)
            .map(|text| text.into_string().unwrap())
            .collect()
    }

    #[test]
    fn everything_but_yes_is_handed_on() {
        let line = [
            "--yes",
            "--json",
            "r.json",
            "--database",
            "postgres",
            "--fail-update",
            "--keep",
            "--instances",
            "3",
        ];
        assert_eq!(handed_on(&line), line[1..]);
    }

    #[test]
    fn nothing_asked_is_nothing_handed_on() {
        assert!(handed_on(&[]).is_empty());
        assert_eq!(handed_on(&["--", "--verbose"]), ["--verbose"]);
    }
}
