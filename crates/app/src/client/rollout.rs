//! `drover rollout`.

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
use super::{natural, rollout_plan, rollout_start, screen, watch};

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
    /// Show what a start would do: batches, targets, what HAProxy keeps meanwhile. Nothing is started.
    Plan(rollout_plan::Plan),
    /// Bring an artifact to applications, without dropping a request.
    Start(rollout_start::Start),
    /// List the rollouts, newest first.
    List {
        /// Only those that stand there.
        #[arg(long, value_enum)]
        status: Option<Status>,
    },
    /// Show a rollout with its targets and runs.
    Show {
        /// The rollout, by its identifier (`drover rollout list`).
        #[arg(value_parser = identifier)]
        id: Uuid,
        /// Follow it to its end; the exit code says how it ended.
        #[arg(long)]
        watch: bool,
        /// The most time to watch; then exit code 7, and the rollout goes on.
        #[arg(long, value_name = "SECONDS", requires = "watch", value_parser = clap::value_parser!(u64).range(1..))]
        timeout: Option<u64>,
    },
    /// Cancel a rollout. A play that runs is stopped, and targets in progress may stay drained; `drover rollout show` names
    /// them.
    Cancel {
        /// The rollout, by its identifier (`drover rollout list`).
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
        Command::Plan(plan) => rollout_plan::run(plan, service, output).await,
        Command::Start(start) => rollout_start::run(start, service, output).await,
        Command::List { status } => {
            let query: Vec<(&str, &str)> = status
                .map(|status| ("status", status.word()))
                .into_iter()
                .collect();
            let rollouts = service.all("rollouts", &query).await?;
            let nothing = match status {
                Some(_) => "no rollout has this status",
                None => {
                    "no rollouts yet; `drover rollout start --group GROUP --distr-url URL` starts one"
                }
            };
            if !output.is_without_rows(&rollouts, nothing) {
                print_list(&rollouts, output);
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
            let rollout = service.get(&format!("rollouts/{id}"), &[]).await?;
            output.document(&rollout, || show(&rollout, output));
            Ok(Code::Success)
        }
        Command::Cancel { id, reason } => {
            let body = reason.map_or_else(|| json!({}), |reason| json!({"reason": reason}));
            let state = service
                .post(&format!("rollouts/{id}/cancel"), &body)
                .await?;
            output.document(&state, || {
                line(&cell(&state, "status"));
                note(&format!(
                    "the rollout ends; follow it with `drover rollout show {id} --watch`"
                ));
            });
            Ok(Code::Success)
        }
    }
}

/// The identifier of a rollout.
fn identifier(text: &str) -> Result<Uuid, String> {
    let hint = "the identifier of a rollout is expected, such as 01a21549-4eb1-7132-9922-4428a6f0a001 \
                (`drover rollout list`)";
    text.parse().map_err(|_| hint.to_owned())
}

/// A rollout for people: what, how far, and what became of every target.
pub(crate) fn show(rollout: &Value, output: &Output) {
    for (label, member) in [
        ("rollout", "id"),
        ("status", "status"),
        ("progress", "progress"),
        ("now", "current_step"),
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
        let value = sentence(rollout, member);
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
    let mut targets = screen::targets(rollout).to_vec();
    if !targets.is_empty() {
        targets.sort_by(|one, other| {
            let key = |it: &Value| format!("{} {}", cell(it, "name"), cell(it, "server"));
            natural::compare(&key(one), &key(other))
        });
        line("");
        print_targets(&targets, output);
    }
    let runs = rollout.get("runs").and_then(Value::as_array);
    let runs = runs.map(Vec::as_slice).unwrap_or_default();
    if !runs.is_empty() {
        line("");
        table(runs, RUNS);
    }
}

fn print_targets(targets: &[Value], output: &Output) {
    let headings = [
        "TARGET", "SERVER", "BATCH", "HAPROXY", "OUTCOME", "BEFORE", "AFTER", "DETAIL",
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
    output.table(targets, &headings, |target| {
        let mut cells: Vec<Cell> = members
            .map(|member| {
                let most = output.width().map_or(DETAIL_MAX, |_| NAME_MAX);
                Cell::plain(shortened(&cell(target, member), most))
            })
            .to_vec();
        cells.push(Cell::plain(sentence(target, "detail")).wrapped());
        cells
    });
}

fn print_list(rollouts: &[Value], output: &Output) {
    let now = now();
    let headings = ["ID", "STATUS", "DONE", "AGE", "APPS", "ARTIFACT"];
    output.fitted_list(rollouts, &headings, |rollout| {
        let applications = rollout.pointer("/params/app_ids").and_then(Value::as_array);
        vec![
            Cell::plain(cell(rollout, "id")),
            Cell::plain(cell(rollout, "status")),
            Cell::plain(format!("{:>3}%", cell(rollout, "progress"))),
            Cell::plain(age(rollout, "created_at", now)),
            Cell::plain(applications.map_or(0, Vec::len).to_string()),
            Cell::plain(sentence(rollout, "params.distr_url")),
        ]
    });
}

/// How a watched rollout ended, as an exit code; `None` while it goes on.
pub(crate) fn ending(rollout: &Value) -> Option<Code> {
    match text(rollout, "status") {
        "completed" => Some(Code::Success),
        "failed" => Some(Code::Failed),
        "cancelled" => Some(Code::Cancelled),
        "unknown" => Some(Code::Unknown),
        _ => None,
    }
}
