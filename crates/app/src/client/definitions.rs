//! `drover definitions`.

use clap::Subcommand;
use serde_json::Value;

use super::document;
use super::failure::{Code, Failure};
use super::output::{Cell, Column, Output, cell, line, table};
use super::service::Service;
use super::times::{age, now};
use super::workflows::{Definition, definition, segment};

const KEPT: &[Column] = &[("NAME", "name"), ("VERSION", "version")];

const TASKS: &[Column] = &[
    ("TASK", "key"),
    ("KIND", "kind"),
    ("QUEUE", "queue"),
    ("AFTER", "depends_on"),
];

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the stored definitions of workflows, every version.
    List,
    /// Show a definition with its tasks.
    Show {
        /// The definition; without a version its newest.
        #[arg(value_name = "NAME[@VERSION]", value_parser = definition)]
        wanted: Definition,
    },
    /// Store a definition as the next version of its name.
    Put {
        /// What the API takes for `POST /workflow-definitions`, as JSON or YAML; - is standard input.
        file: String,
        /// The name of the definition, whatever the file says.
        #[arg(long)]
        name: Option<String>,
    },
}

pub(crate) async fn run(
    command: Command,
    service: &Service,
    output: &Output,
) -> Result<Code, Failure> {
    match command {
        Command::List => {
            let definitions = service.all("workflow-definitions", &[]).await?;
            let nothing = "no definitions yet; `drover definitions put FILE` stores one";
            if !output.is_without_rows(&definitions, nothing) {
                print_list(&definitions, output);
            }
        }
        Command::Show { wanted } => {
            let path = format!("workflow-definitions/{}", segment(&wanted.name));
            let version = wanted.version.map(|version| version.to_string());
            let query: Vec<(&str, &str)> = version
                .as_deref()
                .map(|version| ("version", version))
                .into_iter()
                .collect();
            let found = service.get(&path, &query).await?;
            output.document(&found, || print_one(&found));
        }
        Command::Put { file, name } => {
            let mut body = document::read(&file)?;
            if let Some(name) = name {
                body.insert("name".to_owned(), name.into());
            }
            let kept = service.post("workflow-definitions", &body.into()).await?;
            output.one(&kept, KEPT);
        }
    }
    Ok(Code::Success)
}

fn print_list(definitions: &[Value], output: &Output) {
    let now = now();
    output.fitted_list(
        definitions,
        &["VERSION", "TASKS", "ORDER", "AGE", "NAME"],
        |found| {
            [
                cell(found, "version"),
                cell(found, "task_count"),
                cell(found, "execution_mode"),
                age(found, "created_at", now),
                cell(found, "name"),
            ]
            .map(Cell::plain)
            .to_vec()
        },
    );
}

fn print_one(found: &Value) {
    for (label, member) in [
        ("definition", "name"),
        ("version", "version"),
        ("order", "execution_mode"),
        ("stored", "created_at"),
    ] {
        line(&format!("{label:<12} {}", cell(found, member)));
    }
    let tasks = found.get("tasks").and_then(Value::as_array);
    let tasks = tasks.map(Vec::as_slice).unwrap_or_default();
    if !tasks.is_empty() {
        line("");
        table(tasks, TASKS);
    }
}
