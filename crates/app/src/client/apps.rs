//! `drover apps`.

use clap::{Args, Subcommand, ValueEnum};

use super::failure::{Code, Failure};
use super::output::{Column, Output};
use super::servers;
use super::service::Service;
use super::settings::{Layer, given, kept, tell};

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

const EVENTS: &[Column] = &[
    ("AT", "at"),
    ("EVENT", "event_type"),
    ("STATUS", "status"),
    ("WHAT", "description"),
];

/// What people say about an application.
const SETTINGS: &[Column] = &[
    ("group", "group"),
    ("own playbook", "custom_playbook_path"),
    ("artifacts", "custom_artifact_url"),
    ("extension", "custom_artifact_extension"),
    ("playbook", "effective_playbook"),
];

const LAYER: [&str; 3] = [
    "custom_playbook_path",
    "custom_artifact_url",
    "custom_artifact_extension",
];

const STATUSES: [&str; 6] = [
    "online", "offline", "unknown", "starting", "stopping", "no_data",
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
    /// Say which group one of them is in, and its own settings.
    Set(Set),
    /// Show what happened to one of them, newest first.
    Events {
        /// The application, by its number.
        #[arg(value_name = "APPLICATION_ID", value_parser = clap::value_parser!(i64).range(1..))]
        id: i64,
        /// How many.
        #[arg(long, value_name = "COUNT", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=200_000))]
        limit: u32,
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
pub(crate) struct Set {
    /// The application, by its number.
    #[arg(value_name = "APPLICATION_ID", value_parser = clap::value_parser!(i64).range(1..))]
    id: i64,
    /// Put it into the group with this name.
    #[arg(long)]
    group: Option<String>,
    /// Take it out of its group; when it is polled, it is put into that of its base name.
    #[arg(long, conflicts_with = "group")]
    no_group: bool,
    #[command(flatten)]
    layer: Layer,
}

#[derive(Debug, Args)]
#[command(disable_version_flag = true)]
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
    /// Only those with this status.
    #[arg(long, value_name = "STATUS", value_parser = STATUSES)]
    status: Option<String>,
    /// Only those with this version.
    #[arg(long)]
    version: Option<String>,
    /// Only those of catalog entries with this name.
    #[arg(long, value_name = "NAME")]
    catalog: Option<String>,
    /// Only those with this in their instance name.
    #[arg(long, value_name = "TEXT")]
    query: Option<String>,
    /// What the list goes by: `id`, `name`, `server`, `status`, `version` or `last_seen`, with `-` before it for the
    /// greatest first.
    #[arg(long, value_name = "COLUMN", allow_hyphen_values = true)]
    sort: Option<String>,
}

/// What kind of thing an application is.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Kind {
    Docker,
    Site,
    Service,
}

impl Kind {
    /// The word for it.
    pub(crate) const fn word(self) -> &'static str {
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
            output.details(&application, DETAILS);
        }
        Command::Set(set) => change(set, service, output).await?,
        Command::Events { id, limit } => {
            let most = usize::try_from(limit).unwrap_or(usize::MAX);
            let path = format!("applications/{id}/events");
            output.list(&service.some(&path, &[], most).await?, EVENTS);
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
    let server = match &list.on {
        Some(server) => Some(servers::find(server, service).await?.to_string()),
        None => None,
    };
    let query = given([
        ("group", list.group.as_deref()),
        ("server_id", server.as_deref()),
        ("app_type", list.kind.map(Kind::word)),
        ("name", list.name.as_deref()),
        ("status", list.status.as_deref()),
        ("version", list.version.as_deref()),
        ("catalog", list.catalog.as_deref()),
        ("q", list.query.as_deref()),
        ("sort", list.sort.as_deref()),
    ]);
    output.list(&service.all("applications", &query).await?, COLUMNS);
    Ok(())
}

async fn change(set: Set, service: &Service, output: &Output) -> Result<(), Failure> {
    let path = format!("applications/{}/settings", set.id);
    let changed = service.amend(&path, |known| {
        let mut body = kept(known, &["group"]);
        body.extend(kept(known, &LAYER));
        tell(&mut body, "group", set.group, set.no_group);
        set.layer.tell(&mut body, LAYER);
        body
    });
    output.details(&changed.await?, SETTINGS);
    Ok(())
}
