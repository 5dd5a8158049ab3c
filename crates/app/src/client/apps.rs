//! `drover apps`.

use clap::{Args, Subcommand, ValueEnum};
use serde_json::Value;

use super::failure::{Code, Failure};
use super::names::{self, Reference, reference};
use super::output::{Cell, Column, Output, cell, sentence, shortened};
use super::service::Service;
use super::settings::{Layer, given, kept, tell};
use super::{GROUPS, servers};

/// The most characters of a name on a terminal.
const NAME_MAX: usize = 20;

/// The most characters of a group and of a version there.
const GROUP_MAX: usize = 12;

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
    ("ROLLOUT", "rollout_id"),
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
    /// Show one application with its effective settings.
    Show {
        /// The application, by its name, `NAME@SERVER` or number.
        #[arg(value_name = "APPLICATION", value_parser = reference)]
        wanted: Reference,
    },
    /// Say which group one of them is in, and its own settings.
    Set(Set),
    /// Show what happened to one of them, newest first.
    Events {
        /// The application, by its name, `NAME@SERVER` or number.
        #[arg(value_name = "APPLICATION", value_parser = reference)]
        wanted: Reference,
        /// How many.
        #[arg(long, value_name = "COUNT", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=200_000))]
        limit: u32,
    },
    /// Show how the version of one of them changed, newest first.
    History {
        /// The application, by its name, `NAME@SERVER` or number.
        #[arg(value_name = "APPLICATION", value_parser = reference)]
        wanted: Reference,
        /// How many.
        #[arg(long, value_name = "COUNT", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=200_000))]
        limit: u32,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Set {
    /// The application, by its name, `NAME@SERVER` or number.
    #[arg(value_name = "APPLICATION", value_parser = reference)]
    wanted: Reference,
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
    /// The column to sort by: `id`, `name`, `server`, `status`, `version` or `last_seen`, with `-` before it for the
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
        Command::Show { wanted } => {
            let id = names::application(&wanted, service).await?;
            let application = service.get(&format!("applications/{id}"), &[]).await?;
            output.details(&application, DETAILS);
        }
        Command::Set(set) => change(set, service, output).await?,
        Command::Events { wanted, limit } => {
            let id = names::application(&wanted, service).await?;
            let most = usize::try_from(limit).unwrap_or(usize::MAX);
            let path = format!("applications/{id}/events");
            output.list(&service.some(&path, &[], most).await?, EVENTS);
        }
        Command::History { wanted, limit } => {
            let id = names::application(&wanted, service).await?;
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
    let applications = service.all("applications", &query).await?;
    if let (true, [("group", group)]) = (applications.is_empty(), query.as_slice()) {
        // A group without applications is there, another one is not.
        service.find(GROUPS, "group", group).await?;
    }
    let nothing = if query.is_empty() {
        "no applications yet; agents of servers report them (`drover servers list`)"
    } else {
        "no application fits"
    };
    if !output.is_without_rows(&applications, nothing) {
        print_list(&applications, output);
    }
    Ok(())
}

/// On a terminal it fits a line; elsewhere every column is there.
fn print_list(applications: &[Value], output: &Output) {
    if output.width().is_none() {
        output.list(applications, COLUMNS);
        return;
    }
    let headings = [
        "ID", "NAME", "SERVER", "GROUP", "STATUS", "VERSION", "HAPROXY",
    ];
    output.fitted_list(applications, &headings, |application| {
        let short =
            |member: &str, most: usize| Cell::plain(shortened(&cell(application, member), most));
        vec![
            short("id", NAME_MAX),
            short("name", NAME_MAX),
            short("server_name", NAME_MAX),
            short("group", GROUP_MAX),
            short("status", NAME_MAX),
            short("version", GROUP_MAX),
            Cell::plain(sentence(application, "haproxy_server")),
        ]
    });
}

async fn change(set: Set, service: &Service, output: &Output) -> Result<(), Failure> {
    let id = names::application(&set.wanted, service).await?;
    let path = format!("applications/{id}/settings");
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
