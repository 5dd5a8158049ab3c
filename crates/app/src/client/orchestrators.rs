//! `drover orchestrators`.

use clap::Subcommand;
use serde_json::{Value, json};

use super::failure::{Code, Failure};
use super::output::{Column, Output, cell, note, table};
use super::service::Service;

const COLUMNS: &[Column] = &[
    ("ID", "id"),
    ("FILE", "file_path"),
    ("NAME", "name"),
    ("VERSION", "version"),
    ("ACTIVE", "is_active"),
    ("LAST SCANNED", "last_scanned"),
];

const SCAN: &[Column] = &[
    ("SCANNED", "scanned"),
    ("NEW", "new"),
    ("UPDATED", "updated"),
];

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the orchestrator playbooks.
    List,
    /// Read the playbook folder again.
    Scan,
}

pub(crate) async fn run(
    command: Command,
    service: &Service,
    output: &Output,
) -> Result<Code, Failure> {
    match command {
        Command::List => {
            let playbooks = service.all("orchestrators", &[]).await?;
            let nothing = "no orchestrator playbooks yet; `drover orchestrators scan` reads the playbook folder";
            if !output.is_without_rows(&playbooks, nothing) {
                output.list(&playbooks, COLUMNS);
            }
            Ok(Code::Success)
        }
        Command::Scan => {
            let scan = service.post("orchestrators/scan", &json!({})).await?;
            let errors = scan
                .get("errors")
                .and_then(Value::as_array)
                .cloned()
                .unwrap_or_default();
            output.document(&scan, || {
                table(std::slice::from_ref(&scan), SCAN);
                for error in &errors {
                    note(&format!(
                        "{}: {}",
                        cell(error, "file"),
                        cell(error, "error")
                    ));
                }
            });
            Ok(if errors.is_empty() {
                Code::Success
            } else {
                Code::Failed
            })
        }
    }
}
