//! `drover events`.

use clap::{Args, ValueEnum};
use serde_json::Value;

use super::failure::{Code, Failure};
use super::names::{self, Reference, reference};
use super::output::{Cell, Output, cell, sentence};
use super::servers;
use super::service::Service;
use super::times;

#[derive(Debug, Args)]
pub(crate) struct Events {
    /// Only those of this server, by its name or number.
    #[arg(long = "on", value_name = "SERVER")]
    on: Option<String>,
    /// Only those of this application, by its name, `NAME@SERVER` or number.
    #[arg(long, value_name = "APPLICATION", value_parser = reference)]
    app: Option<Reference>,
    /// Only those about this.
    #[arg(long = "type", value_enum, value_name = "TYPE")]
    kind: Option<Kind>,
    /// Only those with this status.
    #[arg(long, value_name = "STATUS", value_parser = ["pending", "success", "failed"])]
    status: Option<String>,
    /// Only those since then: an age such as 30m, 1h or 2d, or a moment such as 2026-11-26T08:00:00Z.
    #[arg(long, value_name = "TIME", value_parser = times::typed)]
    since: Option<String>,
    /// Only those until then, written like `--since`.
    #[arg(long, value_name = "TIME", value_parser = times::typed)]
    until: Option<String>,
    /// How many.
    #[arg(long, value_name = "COUNT", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=200_000))]
    limit: u32,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    Start,
    Stop,
    Restart,
    Update,
    Connect,
    Disconnect,
}

impl Kind {
    const fn word(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Restart => "restart",
            Self::Update => "update",
            Self::Connect => "connect",
            Self::Disconnect => "disconnect",
        }
    }
}

pub(crate) async fn run(
    events: Events,
    service: &Service,
    output: &Output,
) -> Result<Code, Failure> {
    let server = match &events.on {
        Some(server) => Some(servers::find(server, service).await?.to_string()),
        None => None,
    };
    let application = match &events.app {
        Some(application) => Some(names::application(application, service).await?.to_string()),
        None => None,
    };
    let query: Vec<(&str, &str)> = [
        ("server_id", server.as_deref()),
        ("application_id", application.as_deref()),
        ("event_type", events.kind.map(Kind::word)),
        ("status", events.status.as_deref()),
        ("since", events.since.as_deref()),
        ("until", events.until.as_deref()),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name, value?)))
    .collect();
    let most = usize::try_from(events.limit).unwrap_or(usize::MAX);
    let items = service.some("events", &query, most).await?;
    if !output.is_without_rows(&items, "no events") {
        print_list(&items, output);
    }
    Ok(Code::Success)
}

fn print_list(events: &[Value], output: &Output) {
    output.fitted_list(
        events,
        &["AT", "EVENT", "STATUS", "SERVER", "APP", "WHAT"],
        |event| {
            let mut cells = ["at", "event_type", "status", "server_id", "application_id"]
                .map(|member| Cell::plain(cell(event, member)))
                .to_vec();
            cells.push(Cell::plain(sentence(event, "description")).wrapped());
            cells
        },
    );
}
