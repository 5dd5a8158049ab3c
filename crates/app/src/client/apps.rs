//! `drover apps`.

use clap::{Args, Subcommand, ValueEnum};

use super::failure::{Code, Failure};
use super::output::{Column, Output};
use super::servers;
use super::service::Service;

const COLUMNS: &[Column] = &[
    ("ID", "id"),
    ("SERVER", "server_name"),
    ("NAME", "name"),
    ("TYPE", "app_type"),
    ("GROUP", "group"),
    ("STATUS", "status"),
    ("VERSION", "version"),
    ("ADDRESS", "address"),
    ("PORT", "port"),
    ("HAPROXY", "haproxy_server"),
];

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the application instances.
    List(List),
}

#[derive(Debug, Args)]
pub(crate) struct List {
    /// Only those of this group.
    #[arg(long)]
    group: Option<String>,
    /// Only those on this server, by its name or number.
    #[arg(long, value_name = "SERVER")]
    on: Option<String>,
    /// Only those of this kind.
    #[arg(long = "type", value_enum)]
    kind: Option<Kind>,
    /// Only those with this instance name.
    #[arg(long)]
    name: Option<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    Docker,
    Site,
    Service,
}

impl Kind {
    const fn word(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Site => "site",
            Self::Service => "service",
        }
    }
}

pub(crate) async fn run(
    command: Command,
    service: &Service,
    output: &Output,
) -> Result<Code, Failure> {
    let Command::List(List {
        group,
        on,
        kind,
        name,
    }) = command;
    let server = match on {
        Some(server) => Some(servers::find(&server, service).await?.to_string()),
        None => None,
    };
    let query: Vec<(&str, &str)> = [
        ("group", group.as_deref()),
        ("server_id", server.as_deref()),
        ("app_type", kind.map(Kind::word)),
        ("name", name.as_deref()),
    ]
    .into_iter()
    .filter_map(|(key, value)| Some((key, value?)))
    .collect();
    output.list(&service.all("applications", &query).await?, COLUMNS);
    Ok(Code::Success)
}
