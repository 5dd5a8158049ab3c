//! `drover schedules`.

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::document;
use super::failure::{Code, Failure};
use super::output::{Cell, Column, Output, cell, note};
use super::service::Service;
use super::workflows::{Definition, definition, segment};

const DETAILS: &[Column] = &[
    ("schedule", "name"),
    ("definition", "definition"),
    ("version", "version"),
    ("cron", "cron"),
    ("time zone", "time_zone"),
    ("paused", "paused"),
    ("missed runs", "missed_runs"),
    ("next", "next_at"),
    ("input", "input"),
    ("broken", "broken"),
];

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the schedules.
    List,
    /// Show a schedule with its next moments.
    Show {
        /// The schedule's name.
        name: String,
    },
    /// Store a schedule, in place of the one with its name.
    Put(Put),
    /// Pause a schedule: it starts nothing until it is resumed.
    Pause {
        /// The schedule's name.
        name: String,
    },
    /// Let a paused schedule go on with its next moment.
    Resume {
        /// The schedule's name.
        name: String,
    },
    /// Remove a schedule; workflows that it started go on.
    Remove {
        /// The schedule's name.
        name: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Put {
    /// The schedule's name.
    name: String,
    /// The definition that is started; without a version the newest one at each moment.
    #[arg(long, value_name = "NAME[@VERSION]", value_parser = definition)]
    definition: Definition,
    /// Crontab expression with five fields: minute, hour, day of month, month, day of week.
    #[arg(long, value_name = "EXPRESSION")]
    cron: String,
    /// The time zone of the expression, a name of the IANA database such as Europe/Berlin; the default is UTC.
    #[arg(long, value_name = "ZONE")]
    time_zone: Option<String>,
    /// The input of each workflow, JSON.
    #[arg(long, value_name = "JSON")]
    input: Option<String>,
    /// What happens to moments that pass while no node runs: nothing, or one run for all of them.
    #[arg(long, value_name = "WHAT", value_parser = ["skip", "run_once"])]
    missed_runs: Option<String>,
    /// Store it paused.
    #[arg(long)]
    paused: bool,
}

impl Put {
    fn body(&self) -> Result<Value, Failure> {
        let input = match &self.input {
            Some(input) => Some(document::typed("--input", input)?),
            None => None,
        };
        let members = [
            (
                "definition",
                Some(Value::from(self.definition.name.as_str())),
            ),
            ("version", self.definition.version.map(Value::from)),
            ("cron", Some(Value::from(self.cron.as_str()))),
            ("time_zone", self.time_zone.as_deref().map(Value::from)),
            ("input", input),
            ("missed_runs", self.missed_runs.as_deref().map(Value::from)),
            ("paused", self.paused.then_some(Value::Bool(true))),
        ];
        let given = members
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?)));
        Ok(Value::Object(given.collect::<Map<_, _>>()))
    }
}

pub(crate) async fn run(
    command: Command,
    service: &Service,
    output: &Output,
) -> Result<Code, Failure> {
    match command {
        Command::List => {
            let schedules = service.all("schedules", &[]).await?;
            let nothing = "no schedules yet; `drover schedules put NAME --definition NAME --cron EXPRESSION` stores one";
            if !output.is_without_rows(&schedules, nothing) {
                print_list(&schedules, output);
            }
        }
        Command::Show { name } => {
            output.details(&service.get(&path(&name), &[]).await?, DETAILS);
        }
        Command::Put(put) => {
            let kept = service.put(&path(&put.name), &put.body()?).await?;
            output.details(&kept, DETAILS);
        }
        Command::Pause { name } => {
            let path = format!("{}/pause", path(&name));
            output.details(&service.post(&path, &json!({})).await?, DETAILS);
        }
        Command::Resume { name } => {
            let path = format!("{}/resume", path(&name));
            output.details(&service.post(&path, &json!({})).await?, DETAILS);
        }
        Command::Remove { name } => {
            service.delete(&path(&name)).await?;
            note(&format!("schedule {} is removed", name.escape_debug()));
        }
    }
    Ok(Code::Success)
}

fn path(name: &str) -> String {
    format!("schedules/{}", segment(name))
}

fn print_list(schedules: &[Value], output: &Output) {
    output.fitted_list(
        schedules,
        &["CRON", "TIME ZONE", "PAUSED", "DEFINITION", "NEXT", "NAME"],
        |schedule| {
            let definition = match schedule.get("version").and_then(Value::as_u64) {
                Some(version) => format!("{}@{version}", cell(schedule, "definition")),
                None => cell(schedule, "definition"),
            };
            let next = schedule.pointer("/next_at/0").cloned().unwrap_or_default();
            [
                cell(schedule, "cron"),
                cell(schedule, "time_zone"),
                cell(schedule, "paused"),
                definition,
                match schedule.get("broken") {
                    Some(Value::String(_)) => "broken".to_owned(),
                    Some(_) | None => cell(&json!({ "at": next }), "at"),
                },
                cell(schedule, "name"),
            ]
            .map(Cell::plain)
            .to_vec()
        },
    );
}
