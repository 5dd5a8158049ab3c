//! `drover dead-letters`.

use clap::{ArgGroup, Args, Subcommand};
use serde_json::{Value, json};
use uuid::Uuid;

use super::failure::{Code, Failure};
use super::output::{Cell, NOTHING, Output, TEXT_MAX, cell, fitted, line, note, sentence};
use super::service::Service;
use super::state::symbol;
use super::times::{age, now};

/// The most characters of a key in the list.
const KEY_MAX: usize = 16;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List tasks that failed, timed out or are unknown, newest first.
    List {
        #[command(flatten)]
        filter: Filter,
        /// How many.
        #[arg(long, value_name = "COUNT", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=200_000))]
        limit: u32,
    },
    /// Queue dead letters again: one, or all that match every condition, oldest first.
    Redrive(Redrive),
}

#[derive(Debug, Args)]
pub(crate) struct Filter {
    /// Only tasks of this workflow.
    #[arg(long, value_name = "ID")]
    workflow: Option<Uuid>,
    /// Only tasks of this queue.
    #[arg(long)]
    queue: Option<String>,
    /// Only tasks of this kind.
    #[arg(long)]
    kind: Option<String>,
    /// Only tasks whose last error has this code.
    #[arg(long)]
    code: Option<String>,
}

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("which").required(true).multiple(true).args(["task", "workflow", "queue", "kind", "code", "all"])))]
pub(crate) struct Redrive {
    /// This task only.
    task: Option<Uuid>,
    #[command(flatten)]
    filter: Filter,
    /// All of them.
    #[arg(long, conflicts_with = "task")]
    all: bool,
    /// The most tasks.
    #[arg(long, value_name = "COUNT", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    limit: u32,
}

pub(crate) async fn run(
    command: Command,
    service: &Service,
    output: &Output,
) -> Result<Code, Failure> {
    match command {
        Command::List { filter, limit } => list(&filter, limit, service, output).await?,
        Command::Redrive(redrive) => again(&redrive, service, output).await?,
    }
    Ok(Code::Success)
}

impl Filter {
    /// What was given, under the names of the API.
    fn given(&self) -> Vec<(&'static str, String)> {
        [
            ("workflow_id", self.workflow.map(|id| id.to_string())),
            ("queue", self.queue.clone()),
            ("kind", self.kind.clone()),
            ("code", self.code.clone()),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect()
    }
}

async fn list(
    filter: &Filter,
    limit: u32,
    service: &Service,
    output: &Output,
) -> Result<(), Failure> {
    let given = filter.given();
    let query: Vec<(&str, &str)> = given
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let most = usize::try_from(limit).unwrap_or(usize::MAX);
    let letters = service.some("dead-letters", &query, most).await?;
    if output.is_without_rows(&letters, "no dead letters") {
        return Ok(());
    }
    let now = now();
    output.fitted_list(&letters, &["TASK", "AGE", "KEY", "ERROR"], |letter| {
        let status = cell(letter, "task.status");
        let (symbol, colour) = symbol(&status);
        let task = letter.get("task").unwrap_or(&Value::Null);
        let error = match cell(task, "error.code") {
            none if none == NOTHING => status,
            code => format!("{code}: {}", sentence(task, "error.message")),
        };
        vec![
            Cell::plain(cell(task, "id")),
            Cell::plain(age(task, "finished_at", now)),
            Cell::plain(fitted(&cell(task, "key"), KEY_MAX)),
            Cell::coloured(format!("{symbol} {error}"), colour).wrapped(),
        ]
    });
    Ok(())
}

async fn again(redrive: &Redrive, service: &Service, output: &Output) -> Result<(), Failure> {
    let mut body = json!({"limit": redrive.limit});
    if let Some(body) = body.as_object_mut() {
        for (name, value) in redrive.filter.given() {
            body.insert(name.to_owned(), value.into());
        }
        if let Some(task) = redrive.task {
            body.insert("task_id".to_owned(), task.to_string().into());
        }
    }
    let done = service.post("dead-letters/redrive", &body).await?;
    let tasks: Vec<&str> = done
        .get("task_ids")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    output.document(&done, || {
        for task in &tasks {
            line(&fitted(task, TEXT_MAX));
        }
        note(&match tasks.len() {
            0 => "no task is queued again: none fits, or its workflow does not allow it".to_owned(),
            1 => "1 task is queued again".to_owned(),
            count => format!("{count} tasks are queued again"),
        });
    });
    Ok(())
}
