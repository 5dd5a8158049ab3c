//! `drover workflows`.

use std::time::Duration;

use clap::{ArgGroup, Args, Subcommand, ValueEnum};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::document;
use super::failure::{Code, Failure};
use super::follow::follow;
use super::output::{Cell, Column, Output, cell, line, note, text};
use super::rollout_start::{fresh_key, repeatable};
use super::service::Service;
use super::show;
use super::state::symbol;
use super::times::{age, now};

/// What steering says.
const STATE: &[Column] = &[("ID", "id"), ("STATUS", "status")];

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start a workflow from a file, or from a stored definition.
    Start(Start),
    /// List workflows, newest first.
    List(List),
    /// Show a workflow with its tasks as a drawing.
    Show {
        /// The workflow.
        id: Uuid,
    },
    /// Follow a workflow to its end; the exit code is its result.
    Watch {
        /// The workflow.
        id: Uuid,
        /// The most time to watch; then exit code 7, and the workflow goes on.
        #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
        timeout: Option<u64>,
    },
    /// Cancel a workflow; its compensations run.
    Cancel {
        /// The workflow.
        id: Uuid,
        /// Why, for those who look at it later.
        #[arg(long)]
        reason: Option<String>,
    },
    /// Let no task of a workflow start; tasks that run go on.
    Pause {
        /// The workflow.
        id: Uuid,
    },
    /// Let tasks of a paused workflow start again.
    Resume {
        /// The workflow.
        id: Uuid,
    },
    /// Do a task again that failed, timed out or is unknown, with what was skipped because of it.
    Retry(OneTask),
    /// Skip a task.
    Skip(OneTask),
    /// Record how a task ended whose outcome is unknown.
    Resolve(Resolve),
    /// Send a signal to a workflow.
    Signal {
        /// The workflow.
        id: Uuid,
        /// What a task of it waits for.
        name: String,
        /// What it brings, JSON; without it nothing.
        payload: Option<String>,
        /// Makes a repeated command safe: the same key sends one signal. Made up when not given.
        #[arg(long, value_name = "KEY")]
        idempotency_key: Option<String>,
    },
}

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("source").required(true).args(["file", "definition"])))]
pub(crate) struct Start {
    /// What the API takes for `POST /workflows`, as JSON or YAML; - is standard input.
    file: Option<String>,
    /// A stored definition instead of a file; without a version its newest.
    #[arg(long, value_name = "NAME[@VERSION]", value_parser = definition)]
    definition: Option<Definition>,
    /// What it is called, whatever the file says.
    #[arg(long)]
    name: Option<String>,
    /// A word to find it by, besides those of the file.
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    /// What it is given, JSON, whatever the file says.
    #[arg(long, value_name = "JSON")]
    input: Option<String>,
    /// Follow it to its end; the exit code is its result.
    #[arg(long)]
    watch: bool,
    /// The most time to watch; then exit code 7, and the workflow goes on.
    #[arg(long, value_name = "SECONDS", requires = "watch", value_parser = clap::value_parser!(u64).range(1..))]
    timeout: Option<u64>,
    /// Makes a repeated command safe: the same key starts one workflow. Made up when not given.
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct List {
    /// Only those that stand there.
    #[arg(long, value_enum)]
    status: Option<Status>,
    /// Only those that are called so.
    #[arg(long)]
    name: Option<String>,
    /// Only those with this word; several times, with all of them.
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    /// How many.
    #[arg(long, value_name = "COUNT", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=200_000))]
    limit: u32,
}

#[derive(Debug, Args)]
pub(crate) struct OneTask {
    /// The workflow.
    id: Uuid,
    /// The task, by its key or its identifier.
    task: String,
}

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("outcome").required(true).args(["succeeded", "failed"])))]
pub(crate) struct Resolve {
    #[command(flatten)]
    task: OneTask,
    /// The task succeeded.
    #[arg(long)]
    succeeded: bool,
    /// Its result, JSON; without it none.
    #[arg(long, value_name = "JSON", conflicts_with = "failed")]
    result: Option<String>,
    /// The task failed.
    #[arg(long)]
    failed: bool,
    /// The code of its error.
    #[arg(
        long,
        default_value = "resolved_as_failed",
        conflicts_with = "succeeded"
    )]
    code: String,
    /// Why it failed, a sentence.
    #[arg(long, value_name = "TEXT", conflicts_with = "succeeded")]
    message: Option<String>,
}

impl Resolve {
    fn body(&self) -> Result<Value, Failure> {
        if self.failed {
            return Ok(json!({
                "outcome": "failed", "error": {"code": self.code, "message": self.message},
            }));
        }
        let mut body = json!({"outcome": "succeeded"});
        if let (Some(result), Some(members)) = (&self.result, body.as_object_mut()) {
            members.insert("result".to_owned(), document::typed("--result", result)?);
        }
        Ok(body)
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Status {
    Draft,
    Pending,
    Running,
    Paused,
    Succeeded,
    Failed,
    Cancelling,
    Cancelled,
    Compensating,
    Compensated,
    NeedsHuman,
}

#[derive(Debug, Clone)]
pub(crate) struct Definition {
    pub(crate) name: String,
    pub(crate) version: Option<u32>,
}

pub(crate) async fn run(
    command: Command,
    service: &Service,
    output: &Output,
) -> Result<Code, Failure> {
    match command {
        Command::Start(start) => run_start(start, service, output).await,
        Command::List(list) => run_list(&list, service, output).await,
        Command::Show { id } => {
            show::read(&id.to_string(), service).await?.print(output);
            Ok(Code::Success)
        }
        Command::Watch { id, timeout } => {
            follow(
                &id.to_string(),
                timeout.map(Duration::from_secs),
                service,
                output,
            )
            .await
        }
        Command::Cancel { id, reason } => {
            let body = reason.map_or_else(|| json!({}), |reason| json!({"reason": reason}));
            steer(&format!("{id}/cancel"), &body, service, output).await
        }
        Command::Pause { id } => steer(&format!("{id}/pause"), &json!({}), service, output).await,
        Command::Resume { id } => steer(&format!("{id}/resume"), &json!({}), service, output).await,
        Command::Retry(task) => decide("retry", &task, &json!({}), service, output).await,
        Command::Skip(task) => decide("skip", &task, &json!({}), service, output).await,
        Command::Resolve(resolve) => {
            let body = resolve.body()?;
            decide("resolve", &resolve.task, &body, service, output).await
        }
        Command::Signal {
            id,
            name,
            payload,
            idempotency_key,
        } => {
            let payload = match payload {
                Some(payload) => document::typed("the payload", &payload)?,
                None => Value::Null,
            };
            let key = idempotency_key.map_or_else(fresh_key, Ok)?;
            let path = format!("workflows/{id}/signals/{}", segment(&name));
            let body = json!({"payload": payload});
            let state = service.post_once(&path, &body, &key).await;
            output.one(&state.map_err(|failure| repeatable(failure, &key))?, STATE);
            Ok(Code::Success)
        }
    }
}

async fn run_start(start: Start, service: &Service, output: &Output) -> Result<Code, Failure> {
    let body = Value::Object(start.body()?);
    let key = start.idempotency_key.map_or_else(fresh_key, Ok)?;
    let accepted = service
        .post_once("workflows", &body, &key)
        .await
        .map_err(|failure| repeatable(failure, &key))?;
    let id = text(&accepted, "id");
    if id.parse::<Uuid>().is_err() {
        return Err(Failure::new(
            Code::Failed,
            "the service does not answer as agreed: a workflow that was accepted has no identifier",
        ));
    }
    if start.watch {
        note(&format!("accepted as {id}"));
        return follow(id, start.timeout.map(Duration::from_secs), service, output).await;
    }
    output.document(&accepted, || {
        line(id);
        note(&format!(
            "accepted; follow it with `drover workflows watch {id}`"
        ));
    });
    Ok(Code::Success)
}

impl Start {
    /// What is sent: the file, with what was typed in its place.
    fn body(&self) -> Result<Map<String, Value>, Failure> {
        let mut body = match &self.file {
            Some(file) => document::read(file)?,
            None => Map::new(),
        };
        if let Some(definition) = &self.definition {
            let mut chosen = json!({"name": definition.name});
            if let (Some(version), Some(chosen)) = (definition.version, chosen.as_object_mut()) {
                chosen.insert("version".to_owned(), version.into());
            }
            body.insert("definition".to_owned(), chosen);
        }
        if let Some(name) = &self.name {
            body.insert("name".to_owned(), name.as_str().into());
        }
        if let Some(input) = &self.input {
            body.insert("input".to_owned(), document::typed("--input", input)?);
        }
        if !self.labels.is_empty() {
            let labels = body.entry("labels").or_insert_with(|| json!({}));
            // Labels of another shape are the service's to refuse.
            if let Some(labels) = labels.as_object_mut() {
                for (name, value) in &self.labels {
                    labels.insert(name.clone(), value.as_str().into());
                }
            }
        }
        Ok(body)
    }
}

async fn run_list(list: &List, service: &Service, output: &Output) -> Result<Code, Failure> {
    let status = list.status.and_then(|status| {
        let value = status.to_possible_value()?;
        Some(value.get_name().to_owned())
    });
    let labels: Vec<String> = list
        .labels
        .iter()
        .map(|(name, value)| format!("{name}:{value}"))
        .collect();
    let labels = (!labels.is_empty()).then(|| labels.join(","));
    let query: Vec<(&str, &str)> = [
        ("status", status.as_deref()),
        ("name", list.name.as_deref()),
        ("labels", labels.as_deref()),
    ]
    .into_iter()
    .filter_map(|(key, value)| Some((key, value?)))
    .collect();
    let most = usize::try_from(list.limit).unwrap_or(usize::MAX);
    let workflows = service.some("workflows", &query, most).await?;
    if output.is_without_rows(&workflows, "no workflow fits") {
        return Ok(Code::Success);
    }
    let now = now();
    output.fitted_list(
        &workflows,
        &["ID", "STATUS", "DONE", "AGE", "NAME"],
        |workflow| {
            let status = cell(workflow, "status");
            let (symbol, colour) = symbol(&status);
            vec![
                Cell::plain(cell(workflow, "id")),
                Cell::coloured(format!("{symbol} {status}"), colour),
                Cell::plain(format!("{:>3}%", cell(workflow, "progress"))),
                Cell::plain(age(workflow, "created_at", now)),
                Cell::plain(cell(workflow, "name")),
            ]
        },
    );
    Ok(Code::Success)
}

async fn steer(
    path: &str,
    body: &Value,
    service: &Service,
    output: &Output,
) -> Result<Code, Failure> {
    let state = service.post(&format!("workflows/{path}"), body).await?;
    output.one(&state, STATE);
    Ok(Code::Success)
}

async fn decide(
    verb: &str,
    OneTask { id, task }: &OneTask,
    body: &Value,
    service: &Service,
    output: &Output,
) -> Result<Code, Failure> {
    let tasks = service.all(&format!("workflows/{id}/tasks"), &[]).await?;
    // A key may look like an identifier; then it wins, because a person chose it.
    let found = ["key", "id"]
        .into_iter()
        .find_map(|member| tasks.iter().find(|found| text(found, member) == task));
    let Some(found) = found else {
        let message = format!(
            "the workflow has no task `{}`; `drover workflows show {id}` shows what there is",
            task.escape_debug()
        );
        return Err(Failure::new(Code::NotFound, message));
    };
    let path = format!("{id}/tasks/{}/{verb}", text(found, "id"));
    steer(&path, body, service, output).await
}

/// A name as a segment of a path: what is not plain is escaped, so that it stays one segment.
pub(crate) fn segment(name: &str) -> String {
    name.bytes()
        .map(|byte| match byte {
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'-' | b'_' | b'.' | b':' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        Some(_) | None => Err("NAME=VALUE is expected".to_owned()),
    }
}

/// Reads `NAME` or `NAME@VERSION`.
pub(crate) fn definition(text: &str) -> Result<Definition, String> {
    let (name, version) = match text.rsplit_once('@') {
        None => (text, None),
        Some((name, version)) => match version.parse() {
            Ok(version) => (name, Some(version)),
            Err(_) => {
                return Err("NAME or NAME@VERSION is expected, the version a number".to_owned());
            }
        },
    };
    if name.is_empty() {
        return Err("the name is missing".to_owned());
    }
    Ok(Definition {
        name: name.to_owned(),
        version,
    })
}

#[cfg(test)]
mod tests {
    use drover_domain::workflow::WorkflowStatus;

    use super::*;

    #[test]
    fn the_statuses_are_those_of_the_domain() {
        let words: Vec<String> = Status::value_variants()
            .iter()
            .map(|status| status.to_possible_value().unwrap().get_name().to_owned())
            .collect();
        assert_eq!(words, WorkflowStatus::ALL.map(WorkflowStatus::as_str));
    }

    #[test]
    fn a_name_stays_one_segment() {
        assert_eq!(segment("approve.v1:x"), "approve.v1:x");
        assert_eq!(segment("../a b?#й"), "..%2Fa%20b%3F%23%D0%B9");
    }

    #[test]
    fn a_definition_may_have_a_version() {
        let read = |text: &str| definition(text).map(|found| (found.name, found.version));
        assert_eq!(read("nightly"), Ok(("nightly".to_owned(), None)));
        assert_eq!(read("nightly@3"), Ok(("nightly".to_owned(), Some(3))));
        assert!(read("nightly@new").is_err() && read("@3").is_err());
    }
}
