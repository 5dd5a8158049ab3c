//! `drover tasks`.

use clap::{Subcommand, ValueEnum};
use serde_json::Value;
use uuid::Uuid;

use super::failure::{Code, Failure};
use super::output::{Column, NOTHING, Output, cell, line, table, text};
use super::service::Service;
use super::watch;

const COLUMNS: &[Column] = &[
    ("ID", "id"),
    ("STATUS", "status"),
    ("PROGRESS", "progress"),
    ("APPLICATIONS", "params.app_ids"),
    ("ARTIFACT", "params.distr_url"),
    ("CREATED", "created_at"),
    ("REQUESTED BY", "requested_by"),
];

const INSTANCES: &[Column] = &[
    ("INSTANCE", "name"),
    ("SERVER", "server"),
    ("BATCH", "batch"),
    ("HAPROXY", "haproxy_server"),
    ("OUTCOME", "outcome"),
    ("BEFORE", "version_before"),
    ("AFTER", "version_after"),
    ("DETAIL", "detail"),
];

const RUNS: &[Column] = &[
    ("RUN", "job_id"),
    ("BACKEND", "backend"),
    ("STATUS", "status"),
    ("EXIT", "exit_code"),
    ("STARTED", "started_at"),
    ("FINISHED", "finished_at"),
];

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the update tasks, newest first.
    List {
        /// Only those that stand there.
        #[arg(long, value_enum)]
        status: Option<Status>,
    },
    /// Show a task with its instances and runs.
    Show {
        /// The task.
        id: Uuid,
        /// Follow it to its end; the exit code tells how it ended.
        #[arg(long)]
        watch: bool,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Status {
    Pending,
    Processing,
    Completed,
    Failed,
    Cancelled,
    Unknown,
}

impl Status {
    const fn word(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Processing => "processing",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Unknown => "unknown",
        }
    }
}

pub(crate) async fn run(
    command: Command,
    service: &Service,
    output: &Output,
) -> Result<Code, Failure> {
    match command {
        Command::List { status } => {
            let query: Vec<(&str, &str)> = status
                .map(|status| ("status", status.word()))
                .into_iter()
                .collect();
            output.list(&service.all("tasks", &query).await?, COLUMNS);
            Ok(Code::Success)
        }
        Command::Show { id, watch: true } => {
            watch::watch(vec![id.to_string()], None, service, output).await
        }
        Command::Show { id, watch: false } => {
            let task = service.get(&format!("tasks/{id}"), &[]).await?;
            output.document(&task, || show(&task));
            Ok(Code::Success)
        }
    }
}

/// A task for people: what, how far, and what became of every instance.
pub(crate) fn show(task: &Value) {
    for (label, member) in [
        ("task", "id"),
        ("status", "status"),
        ("progress", "progress"),
        ("now", "current_task"),
        ("artifact", "params.distr_url"),
        ("mode", "params.mode"),
        ("orchestrator", "params.orchestrator_playbook"),
        ("requested by", "requested_by"),
        ("created", "created_at"),
        ("started", "started_at"),
        ("completed", "completed_at"),
        ("result", "result"),
        ("error", "error"),
        ("left drained", "left_drained"),
    ] {
        let value = cell(task, member);
        if value != NOTHING {
            line(&format!("{label:<13} {value}"));
        }
    }
    for (member, columns) in [("instances", INSTANCES), ("runs", RUNS)] {
        let items = task
            .get(member)
            .and_then(Value::as_array)
            .map(Vec::as_slice)
            .unwrap_or_default();
        if !items.is_empty() {
            line("");
            table(items, columns);
        }
    }
}

/// How a watched task ended, as an exit code; `None` while it goes on.
pub(crate) fn ending(task: &Value) -> Option<Code> {
    match text(task, "status") {
        "completed" => Some(Code::Success),
        "failed" => Some(Code::Failed),
        "cancelled" => Some(Code::Cancelled),
        "unknown" => Some(Code::Unknown),
        _ => None,
    }
}
