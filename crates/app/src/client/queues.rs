//! `drover queues`.

use clap::{ArgGroup, Args, Subcommand};
use serde_json::{Value, json};

use super::failure::{Code, Failure};
use super::output::{Cell, Column, NOTHING, Output, cell};
use super::service::Service;
use super::times::{age, now};
use super::workflows::segment;

const LIMITS: &[Column] = &[
    ("QUEUE", "name"),
    ("PAUSED", "paused"),
    ("AT ONCE", "concurrency"),
    ("RATE", "rate.count"),
    ("PER S", "rate.per_s"),
];

#[derive(Debug, Args)]
pub(crate) struct Queues {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the queues that have tasks or limits; the same as no verb.
    List,
    /// Let no task of a queue start; tasks that run go on.
    Pause {
        /// The queue.
        name: String,
    },
    /// Let tasks of a paused queue start again.
    Resume {
        /// The queue.
        name: String,
    },
    /// Set how many tasks of a queue run at once, on all nodes together, and how often they start.
    Limit(Limit),
}

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("limits").required(true).multiple(true).args(["at_once", "rate", "none"])))]
struct Limit {
    /// The queue.
    name: String,
    /// The most tasks that run at once; without it there is no such limit.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(i32).range(1..))]
    at_once: Option<i32>,
    /// At most this many starts per this many seconds; without it there is no limit.
    #[arg(long, value_name = "COUNT/SECONDS", value_parser = rate)]
    rate: Option<(u32, f64)>,
    /// No limit at all.
    #[arg(long, conflicts_with_all = ["at_once", "rate"])]
    none: bool,
}

pub(crate) async fn run(
    Queues { command }: Queues,
    service: &Service,
    output: &Output,
) -> Result<Code, Failure> {
    let limits = match command.unwrap_or(Command::List) {
        Command::List => {
            list(service, output).await?;
            return Ok(Code::Success);
        }
        Command::Pause { name } => pause("pause", &name, service).await?,
        Command::Resume { name } => pause("resume", &name, service).await?,
        Command::Limit(limit) => {
            let rate = limit
                .rate
                .map(|(count, per)| json!({"count": count, "per_s": per}));
            let body = json!({"concurrency": limit.at_once, "rate": rate});
            let path = format!("queues/{}", segment(&limit.name));
            service.put(&path, &body).await?
        }
    };
    output.one(&limits, LIMITS);
    Ok(Code::Success)
}

async fn pause(verb: &str, name: &str, service: &Service) -> Result<Value, Failure> {
    let path = format!("queues/{}/{verb}", segment(name));
    service.post(&path, &json!({})).await
}

async fn list(service: &Service, output: &Output) -> Result<(), Failure> {
    let queues = service.all("queues", &[]).await?;
    let now = now();
    output.fitted_list(
        &queues,
        &[
            "WAITING", "PARKED", "RUNNING", "OLDEST", "AT ONCE", "RATE", "PAUSED", "QUEUE",
        ],
        |queue| {
            let rate = match cell(queue, "rate.count") {
                none if none == NOTHING => none,
                count => format!("{count}/{}s", cell(queue, "rate.per_s")),
            };
            [
                cell(queue, "waiting"),
                cell(queue, "parked"),
                cell(queue, "running"),
                age(queue, "oldest", now),
                cell(queue, "concurrency"),
                rate,
                cell(queue, "paused"),
                cell(queue, "name"),
            ]
            .map(Cell::plain)
            .to_vec()
        },
    );
    Ok(())
}

fn rate(text: &str) -> Result<(u32, f64), String> {
    let read = || {
        let (count, per) = text.split_once('/')?;
        Some((
            count.parse().ok()?,
            per.parse().ok().filter(|per: &f64| per.is_finite())?,
        ))
    };
    read().ok_or_else(|| "COUNT/SECONDS is expected, such as 10/60".to_owned())
}
