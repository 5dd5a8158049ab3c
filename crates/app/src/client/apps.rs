//! `drover apps`.

use clap::{Args, Subcommand, ValueEnum};

use super::failure::{Code, Failure};
use super::output::{Column, NOTHING, Output, cell, line};
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

const HISTORY: &[Column] = &[
    ("AT", "changed_at"),
    ("FROM", "old_version"),
    ("TO", "new_version"),
    ("OLD TAG", "old_tag"),
    ("NEW TAG", "new_tag"),
    ("BY", "change_source"),
    ("TASK", "task_id"),
];

/// What is shown of one application, where it is known.
const DETAILS: &[Column] = &[
    ("application", "id"),
    ("name", "name"),
    ("type", "app_type"),
    ("server", "server_name"),
    ("status", "status"),
    ("version", "version"),
    ("image", "image"),
    ("tag", "tag"),
    ("address", "address"),
    ("port", "port"),
    ("group", "group"),
    ("number", "instance_number"),
    ("HAProxy", "haproxy_server"),
    ("playbook", "effective_playbook"),
    ("path", "path"),
    ("log", "log_path"),
    ("artifact", "distr_path"),
    ("last seen", "last_seen"),
];

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the application instances.
    List(List),
    /// Show one of them with all that holds for it.
    Show {
        /// The application, by its number.
        #[arg(value_name = "APPLICATION_ID", value_parser = clap::value_parser!(i64).range(1..))]
        id: i64,
    },
    /// Show how the version of one of them changed, newest first.
    History {
        /// The application, by its number.
        #[arg(value_name = "APPLICATION_ID", value_parser = clap::value_parser!(i64).range(1..))]
        id: i64,
        /// How many.
        #[arg(long, value_name = "COUNT", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=200_000))]
        limit: u32,
    },
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
    match command {
        Command::List(list) => list_all(list, service, output).await?,
        Command::Show { id } => {
            let application = service.get(&format!("applications/{id}"), &[]).await?;
            output.document(&application, || {
                for (label, member) in DETAILS {
                    let value = cell(&application, member);
                    if value != NOTHING {
                        line(&format!("{label:<12} {value}"));
                    }
                }
            });
        }
        Command::History { id, limit } => {
            let most = usize::try_from(limit).unwrap_or(usize::MAX);
            let path = format!("applications/{id}/versions");
            output.list(&service.some(&path, &[], most).await?, HISTORY);
        }
    }
    Ok(Code::Success)
}

async fn list_all(list: List, service: &Service, output: &Output) -> Result<(), Failure> {
    let List {
        group,
        on,
        kind,
        name,
    } = list;
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
    Ok(())
}
