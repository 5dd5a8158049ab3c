//! `drover webhooks`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{ArgGroup, Args, Subcommand, ValueEnum};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::failure::{Code, Failure};
use super::output::{Cell, Column, NOTHING, Output, cell, line, note, table};
use super::service::{Service, read_secret};
use super::state::Colour;
use super::times::{self, age, now};

/// How often a test is looked at.
const PAUSE: Duration = Duration::from_millis(500);
/// How long the first answer to a test is waited for: longer than a receiver may take, and its wait in the queue.
const PATIENCE: Duration = Duration::from_mins(1);

const COLUMNS: &[Column] = &[
    ("ID", "id"),
    ("ACTIVE", "active"),
    ("EVENTS", "events"),
    ("URL", "url"),
    ("DESCRIPTION", "description"),
    ("SWITCHED OFF", "disabled"),
];

const DELIVERY: &[Column] = &[
    ("ID", "id"),
    ("WEBHOOK", "webhook_id"),
    ("EVENT", "event"),
    ("STATUS", "status"),
    ("MADE", "created_at"),
    ("MESSAGE", "message_id"),
];

const TRIES: &[Column] = &[
    ("TRY", "number"),
    ("AT", "at"),
    ("SECONDS", "took_s"),
    ("ANSWER", "status"),
    ("FAILURE", "failure"),
];

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the webhooks.
    List,
    /// Show a webhook.
    Show {
        /// The webhook.
        #[arg(value_name = "WEBHOOK_ID")]
        id: i64,
    },
    /// Add a webhook; prints the secret that messages are signed with, this once.
    Add(Add),
    /// Change a webhook, or switch it on or off.
    Set(Set),
    /// Remove a webhook with its deliveries.
    Remove {
        /// The webhook.
        #[arg(value_name = "WEBHOOK_ID")]
        id: i64,
    },
    /// Give a webhook another secret and print it, this once; the one before signs along for a day.
    RotateSecret {
        /// The webhook.
        #[arg(value_name = "WEBHOOK_ID")]
        id: i64,
        #[command(flatten)]
        secret: Secret,
    },
    /// Send a test message and show the answer of the receiver; exit code 1 if it refuses.
    Test {
        /// The webhook.
        #[arg(value_name = "WEBHOOK_ID")]
        id: i64,
    },
    /// List deliveries, newest first.
    Log(Log),
    /// Show a delivery with its tries.
    Delivery {
        /// The delivery.
        #[arg(value_name = "DELIVERY_ID")]
        id: Uuid,
    },
    /// Send the message of a delivery again, under the same identifier.
    Redeliver {
        /// The delivery.
        #[arg(value_name = "DELIVERY_ID")]
        id: Uuid,
    },
}

/// Where a secret comes from.
#[derive(Debug, Args)]
pub(crate) struct Secret {
    /// A file with the secret, readable by its owner only; without it one is made up.
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Add {
    /// Where messages go.
    url: String,
    /// An event to send; may be given several times. Without it, all events.
    #[arg(long = "event", value_name = "EVENT")]
    events: Vec<String>,
    /// What it is for.
    #[arg(long)]
    description: Option<String>,
    #[command(flatten)]
    secret: Secret,
}

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("what").required(true).multiple(true).args(["url", "events", "all_events", "description", "on", "off"])))]
pub(crate) struct Set {
    /// The webhook.
    #[arg(value_name = "WEBHOOK_ID")]
    id: i64,
    /// Where messages go.
    #[arg(long)]
    url: Option<String>,
    /// An event to send, in place of the present ones; may be given several times.
    #[arg(long = "event", value_name = "EVENT")]
    events: Vec<String>,
    /// Send all events.
    #[arg(long, conflicts_with = "events")]
    all_events: bool,
    /// What it is for.
    #[arg(long)]
    description: Option<String>,
    /// Enable deliveries.
    #[arg(long, conflicts_with = "off")]
    on: bool,
    /// Disable deliveries, except tests.
    #[arg(long)]
    off: bool,
}

/// Where a delivery stands.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Status {
    Pending,
    Delivered,
    Failed,
}

#[derive(Debug, Args)]
pub(crate) struct Log {
    /// Only to this webhook.
    #[arg(value_name = "WEBHOOK_ID")]
    id: Option<i64>,
    /// Only about this.
    #[arg(long)]
    event: Option<String>,
    /// Only those that stand there.
    #[arg(long, value_enum)]
    status: Option<Status>,
    /// Only those made since then: an age such as 30m, 1h or 2d, or a moment such as 2026-11-26T08:00:00Z.
    #[arg(long, value_name = "TIME", value_parser = times::typed)]
    since: Option<String>,
    /// How many.
    #[arg(long, value_name = "COUNT", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=200_000))]
    limit: u32,
}

pub(crate) async fn run(
    command: Command,
    service: &Service,
    output: &Output,
) -> Result<Code, Failure> {
    match command {
        Command::List => {
            let webhooks = service.get("webhooks", &[]).await?;
            let items = webhooks.get("items").and_then(Value::as_array);
            let items = items.map(Vec::as_slice).unwrap_or_default();
            let nothing = "no webhooks yet; `drover webhooks add URL` adds one";
            if !output.is_without_rows(items, nothing) {
                output.document(&webhooks, || table(items, COLUMNS));
            }
        }
        Command::Show { id } => output.one(&service.get(&path(id), &[]).await?, COLUMNS),
        Command::Add(add) => {
            let secret = add.secret.read()?;
            let body = json!({
                "url": add.url, "events": add.events, "description": add.description, "secret": secret,
            });
            let made = service.post("webhooks", &body).await?;
            output.document(&made, || {
                let webhook = made.get("webhook").unwrap_or(&Value::Null);
                table(std::slice::from_ref(webhook), COLUMNS);
                tell_secret(&made);
            });
        }
        Command::Set(set) => output.one(&change(set, service).await?, COLUMNS),
        Command::Remove { id } => {
            service.delete(&path(id)).await?;
            note(&format!("webhook {id} is removed"));
        }
        Command::RotateSecret { id, secret } => {
            let body = json!({"secret": secret.read()?});
            let path = format!("{}/rotate-secret", path(id));
            let made = service.post(&path, &body).await?;
            output.document(&made, || tell_secret(&made));
        }
        Command::Test { id } => return test(id, service, output).await,
        Command::Log(log) => list(log, service, output).await?,
        Command::Delivery { id } => {
            let delivery = service.get(&delivery(&id.to_string()), &[]).await?;
            show(&delivery, output);
        }
        Command::Redeliver { id } => {
            let path = format!("{}/redeliver", delivery(&id.to_string()));
            let started = service.post(&path, &json!({})).await?;
            output.document(&started, || {
                note(&format!(
                    "sent again as delivery {}; `drover webhooks delivery` shows it",
                    cell(&started, "id")
                ));
            });
        }
    }
    Ok(Code::Success)
}

impl Secret {
    fn read(&self) -> Result<Option<String>, Failure> {
        let file = self.secret_file.as_deref();
        file.map(|file: &Path| read_secret("secret", file))
            .transpose()
    }
}

fn path(webhook: i64) -> String {
    format!("webhooks/{webhook}")
}

fn delivery(id: &str) -> String {
    format!("webhook-deliveries/{id}")
}

fn tell_secret(made: &Value) {
    line(&cell(made, "secret"));
    note("this is the secret; it is not shown again, give it to the receiver");
}

/// What is not said stays as it is.
async fn change(set: Set, service: &Service) -> Result<Value, Failure> {
    let path = path(set.id);
    let known = service.get(&path, &[]).await?;
    let kept = |member: &str| known.get(member).cloned().unwrap_or_default();
    let events = match (set.all_events, set.events) {
        (true, _) => json!([]),
        (false, events) if events.is_empty() => kept("events"),
        (false, events) => json!(events),
    };
    let active = match (set.on, set.off) {
        (true, _) => json!(true),
        (_, true) => json!(false),
        _ => kept("active"),
    };
    let body = json!({
        "url": set.url.map_or_else(|| kept("url"), Value::from),
        "description": set.description.map_or_else(|| kept("description"), Value::from),
        "events": events,
        "active": active,
    });
    service.put(&path, &body).await
}

/// Sends a test and waits until the receiver has answered, or has not, once.
async fn test(id: i64, service: &Service, output: &Output) -> Result<Code, Failure> {
    let path = format!("{}/test", path(id));
    let started = service.post(&path, &json!({})).await?;
    let path = delivery(&cell(&started, "id"));
    let begun = Instant::now();
    let delivery = loop {
        let seen = service.get(&path, &[]).await?;
        // What was taken is about to be `delivered`.
        let tries = seen.get("attempts").and_then(Value::as_array);
        let is_refused = tries
            .and_then(|tries| tries.last())
            .is_some_and(|last| cell(last, "failure") != NOTHING);
        if is_refused || cell(&seen, "status") != "pending" || begun.elapsed() > PATIENCE {
            break seen;
        }
        sleep(PAUSE).await;
    };
    show(&delivery, output);
    match cell(&delivery, "status").as_str() {
        "delivered" => Ok(Code::Success),
        "pending" if cell(&delivery, "attempts") == NOTHING => {
            let message = format!(
                "the test was not sent within {} s; is a node running that has the queue `webhooks`?",
                PATIENCE.as_secs()
            );
            Err(Failure::new(Code::Unavailable, message))
        }
        _ => Ok(Code::Failed),
    }
}

fn show(delivery: &Value, output: &Output) {
    output.document(delivery, || {
        table(std::slice::from_ref(delivery), DELIVERY);
        let tries = delivery.get("attempts").and_then(Value::as_array);
        let tries = tries.map(Vec::as_slice).unwrap_or_default();
        if !tries.is_empty() {
            line("");
            table(tries, TRIES);
        }
    });
}

async fn list(log: Log, service: &Service, output: &Output) -> Result<(), Failure> {
    let status = log.status.and_then(|status| status.to_possible_value());
    let given: Vec<(&str, String)> = [
        ("webhook_id", log.id.map(|id| id.to_string())),
        ("event", log.event),
        ("status", status.map(|status| status.get_name().to_owned())),
        ("since", log.since),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name, value?)))
    .collect();
    let query: Vec<(&str, &str)> = given
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let most = usize::try_from(log.limit).unwrap_or(usize::MAX);
    let deliveries = service.some("webhook-deliveries", &query, most).await?;
    let now = now();
    let headings = ["DELIVERY", "AGE", "WEBHOOK", "STATUS", "EVENT"];
    output.fitted_list(&deliveries, &headings, |delivery| {
        let status = cell(delivery, "status");
        let colour = match status.as_str() {
            "delivered" => Colour::Green,
            "failed" => Colour::Red,
            _ => Colour::Yellow,
        };
        vec![
            Cell::plain(cell(delivery, "id")),
            Cell::plain(age(delivery, "created_at", now)),
            Cell::plain(cell(delivery, "webhook_id")),
            Cell::coloured(status, colour),
            Cell::plain(cell(delivery, "event")),
        ]
    });
    Ok(())
}
