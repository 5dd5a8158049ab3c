//! `drover tasks`.

use std::time::Duration;

use clap::{Subcommand, ValueEnum};
use serde_json::{Value, json};
use uuid::Uuid;

use super::failure::{Code, Failure};
use super::output::{
    Cell, Column, DETAIL_MAX, NOTHING, Output, cell, line, note, sentence, shortened, table, text,
    wrapped,
};
use super::service::Service;
use super::times::{age, now};
use super::{natural, screen, watch};

/// The most characters of a label.
const LABEL: usize = 13;

/// The narrowest column a value is wrapped in.
const ROOM_MIN: usize = 40;

/// The most characters of a name on a terminal.
const NAME_MAX: usize = 24;

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
        /// The task, by its identifier (`drover tasks list`).
        #[arg(value_parser = identifier)]
        id: Uuid,
        /// Follow it to its end; the exit code says how it ended.
        #[arg(long)]
        watch: bool,
        /// The most time to watch; then exit code 7, and the update goes on.
        #[arg(long, value_name = "SECONDS", requires = "watch", value_parser = clap::value_parser!(u64).range(1..))]
        timeout: Option<u64>,
    },
    /// Cancel an update. A play that runs is stopped, and instances in hand may stay drained; `drover tasks show` names
    /// them.
    Cancel {
        /// The task, by its identifier (`drover tasks list`).
        #[arg(value_parser = identifier)]
        id: Uuid,
        /// The reason, for the history.
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
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
            let tasks = service.all("tasks", &query).await?;
            let nothing = match status {
                Some(_) => "no update has this status",
                None => "no updates yet; `drover update --group GROUP --distr-url URL` starts one",
            };
            if !output.is_without_rows(&tasks, nothing) {
                print_list(&tasks, output);
            }
            Ok(Code::Success)
        }
        Command::Show {
            id,
            watch: true,
            timeout,
        } => {
            let timeout = timeout.map(Duration::from_secs);
            watch::watch(vec![id.to_string()], timeout, service, output).await
        }
        Command::Show {
            id,
            watch: false,
            timeout: _,
        } => {
            let task = service.get(&format!("tasks/{id}"), &[]).await?;
            output.document(&task, || show(&task, output));
            Ok(Code::Success)
        }
        Command::Cancel { id, reason } => {
            let body = reason.map_or_else(|| json!({}), |reason| json!({"reason": reason}));
            let state = service.post(&format!("tasks/{id}/cancel"), &body).await?;
            output.document(&state, || {
                line(&cell(&state, "status"));
                note(&format!(
                    "the update ends; follow it with `drover tasks show {id} --watch`"
                ));
            });
            Ok(Code::Success)
        }
    }
}

/// The identifier of an update.
fn identifier(text: &str) -> Result<Uuid, String> {
    let hint = "the identifier of an update is expected, such as 01a21549-4eb1-7132-9922-4428a6f0a001 \
                (`drover tasks list`)";
    text.parse().map_err(|_| hint.to_owned())
}

/// A task for people: what, how far, and what became of every instance.
pub(crate) fn show(task: &Value, output: &Output) {
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
        let value = sentence(task, member);
        if value == NOTHING {
            continue;
        }
        let room = output.width().map_or(DETAIL_MAX, |width| {
            width.saturating_sub(LABEL + 1).max(ROOM_MIN)
        });
        for (at, text) in wrapped(&value, room, usize::MAX).iter().enumerate() {
            let label = if at == 0 { label } else { "" };
            line(&format!("{label:<LABEL$} {text}"));
        }
    }
    let mut instances = screen::instances(task).to_vec();
    if !instances.is_empty() {
        instances.sort_by(|one, other| {
            let key = |it: &Value| format!("{} {}", cell(it, "name"), cell(it, "server"));
            natural::compare(&key(one), &key(other))
        });
        line("");
        print_instances(&instances, output);
    }
    let runs = task.get("runs").and_then(Value::as_array);
    let runs = runs.map(Vec::as_slice).unwrap_or_default();
    if !runs.is_empty() {
        line("");
        table(runs, RUNS);
    }
}

fn print_instances(instances: &[Value], output: &Output) {
    let headings = [
        "INSTANCE", "SERVER", "BATCH", "HAPROXY", "OUTCOME", "BEFORE", "AFTER", "DETAIL",
    ];
    let members = [
        "name",
        "server",
        "batch",
        "haproxy_server",
        "outcome",
        "version_before",
        "version_after",
    ];
    output.table(instances, &headings, |instance| {
        let mut cells: Vec<Cell> = members
            .map(|member| {
                let most = output.width().map_or(DETAIL_MAX, |_| NAME_MAX);
                Cell::plain(shortened(&cell(instance, member), most))
            })
            .to_vec();
        cells.push(Cell::plain(sentence(instance, "detail")).wrapped());
        cells
    });
}

fn print_list(tasks: &[Value], output: &Output) {
    let now = now();
    let headings = ["ID", "STATUS", "DONE", "AGE", "APPS", "ARTIFACT"];
    output.fitted_list(tasks, &headings, |task| {
        let applications = task.pointer("/params/app_ids").and_then(Value::as_array);
        vec![
            Cell::plain(cell(task, "id")),
            Cell::plain(cell(task, "status")),
            Cell::plain(format!("{:>3}%", cell(task, "progress"))),
            Cell::plain(age(task, "created_at", now)),
            Cell::plain(applications.map_or(0, Vec::len).to_string()),
            Cell::plain(sentence(task, "params.distr_url")),
        ]
    });
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
