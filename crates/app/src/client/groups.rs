//! `drover groups`.

use clap::Subcommand;

use super::failure::{Code, Failure};
use super::output::{Column, Output};
use super::service::Service;

const COLUMNS: &[Column] = &[
    ("ID", "id"),
    ("NAME", "name"),
    ("APPLICATIONS", "applications"),
    ("ONLINE", "online"),
    ("CATALOG", "catalog"),
    ("BATCHES", "batch_grouping_strategy"),
];

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the groups of applications that are updated together.
    List,
}

pub(crate) async fn run(
    command: &Command,
    service: &Service,
    output: &Output,
) -> Result<Code, Failure> {
    match command {
        Command::List => {
            let groups = service.all("application-groups", &[]).await?;
            output.list(&groups, COLUMNS);
        }
    }
    Ok(Code::Success)
}
