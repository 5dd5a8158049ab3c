//! `drover servers`.

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::failure::{Code, Failure};
use super::output::{Cell, Column, NOTHING, Output, cell, note, sentence, shortened, table, text};
use super::service::Service;
use super::settings::{given, kept, tell};
use super::times::{age, now};

/// The most characters of a name on a terminal.
const NAME_MAX: usize = 24;

const COLUMNS: &[Column] = &[
    ("ID", "id"),
    ("NAME", "name"),
    ("ADDRESS", "address"),
    ("PORT", "port"),
    ("STATUS", "status"),
    ("HAPROXY", "is_haproxy_node"),
    ("LAST CHECK", "last_check"),
    ("LAST ERROR", "last_error"),
];

const INSTANCES: &[Column] = &[
    ("ID", "id"),
    ("NAME", "name"),
    ("BACKENDS", "backends"),
    ("AS OF", "observed_at"),
    ("STATUS", "last_sync_status"),
];

const REFRESHED: &[Column] = &[
    ("NAME", "server.name"),
    ("STATUS", "server.status"),
    ("OUTCOME", "outcome"),
    ("APPLICATIONS", "applications"),
    ("DETAIL", "detail"),
];

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the servers.
    List(List),
    /// Show a server.
    Show {
        /// The server's name or number.
        #[arg(value_name = "SERVER")]
        wanted: String,
    },
    /// Add a server.
    Add(Add),
    /// Change the name of a server, or where its agent listens.
    Set(Set),
    /// Say whether an HAProxy is managed through the agent of a server.
    Haproxy {
        /// The server's name or number.
        #[arg(value_name = "SERVER")]
        wanted: String,
        /// Whether it is.
        #[arg(value_enum)]
        switch: Switch,
    },
    /// Remove a server with its HAProxy instances; its applications stay without a server.
    Remove {
        /// The server's name or number.
        #[arg(value_name = "SERVER")]
        wanted: String,
    },
    /// Ask the agent of a server now.
    Refresh {
        /// The server's name or number.
        #[arg(value_name = "SERVER")]
        wanted: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct List {
    /// Only those with this status.
    #[arg(long, value_name = "STATUS", value_parser = ["unknown", "online", "offline"])]
    status: Option<String>,
    /// Only those that an HAProxy is managed through, or only the others.
    #[arg(long, value_enum, value_name = "SWITCH")]
    haproxy: Option<Switch>,
    /// Only those with this in their name or address.
    #[arg(long, value_name = "TEXT")]
    query: Option<String>,
    /// The column to sort by: `id`, `name`, `address`, `status` or `last_check`, with `-` before it for the greatest first.
    #[arg(long, value_name = "COLUMN", allow_hyphen_values = true)]
    sort: Option<String>,
}

/// Yes or no.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Switch {
    On,
    Off,
}

#[derive(Debug, Args)]
pub(crate) struct Set {
    /// The server's name or number.
    #[arg(value_name = "SERVER")]
    wanted: String,
    /// Its new full name.
    #[arg(long)]
    name: Option<String>,
    /// Where its agent listens now: an IP address or a host name.
    #[arg(long)]
    address: Option<String>,
    /// The agent's new port.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// The networks whose addresses are the server's own now, such as 10.1.0.0/24; repeat it for several.
    #[arg(long = "network", value_name = "CIDR")]
    networks: Vec<String>,
    /// No network besides its address.
    #[arg(long, conflicts_with = "networks")]
    no_networks: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Add {
    /// The server's full name.
    name: String,
    /// Where its agent listens: an IP address or a host name.
    #[arg(long)]
    address: String,
    /// The agent's port.
    #[arg(long, default_value_t = 11011, value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,
    /// An HAProxy is managed through this agent.
    #[arg(long)]
    haproxy: bool,
    /// A network whose addresses are the server's own, such as 10.1.0.0/24; repeat it for several.
    #[arg(long = "network", value_name = "CIDR")]
    networks: Vec<String>,
}

pub(crate) async fn run(
    command: Command,
    service: &Service,
    output: &Output,
) -> Result<Code, Failure> {
    match command {
        Command::List(list) => {
            let node = list.haproxy.map(|switch| switch == Switch::On);
            let query = given([
                ("status", list.status.as_deref()),
                (
                    "is_haproxy_node",
                    node.map(|is_node| if is_node { "true" } else { "false" }),
                ),
                ("q", list.query.as_deref()),
                ("sort", list.sort.as_deref()),
            ]);
            let servers = service.all("servers", &query).await?;
            let nothing = if query.is_empty() {
                "no servers yet; `drover servers add NAME --address ADDRESS` adds one"
            } else {
                "no server fits"
            };
            if !output.is_without_rows(&servers, nothing) {
                print_list(&servers, output);
            }
            Ok(Code::Success)
        }
        Command::Add(Add {
            name,
            address,
            port,
            haproxy,
            networks,
        }) => {
            let mut body =
                json!({"name": name, "address": address, "port": port, "is_haproxy_node": haproxy});
            if let Some(members) = body.as_object_mut().filter(|_| !networks.is_empty()) {
                members.insert("networks".to_owned(), networks.into());
            }
            let server = service.post("servers", &body).await?;
            output.one(&server, COLUMNS);
            Ok(Code::Success)
        }
        Command::Refresh { wanted } => refresh(&wanted, service, output).await,
        Command::Show { wanted } => {
            let id = find(&wanted, service).await?;
            output.one(&service.get(&format!("servers/{id}"), &[]).await?, COLUMNS);
            Ok(Code::Success)
        }
        Command::Set(set) => change(set, service, output).await,
        Command::Haproxy { wanted, switch } => {
            let id = find(&wanted, service).await?;
            let body = json!({"is_haproxy_node": switch == Switch::On});
            let answer = service.put(&format!("servers/{id}/haproxy"), &body).await?;
            let error = cell(&answer, "error");
            output.document(&answer, || {
                let instances = answer.get("instances").and_then(Value::as_array);
                table(instances.map(Vec::as_slice).unwrap_or_default(), INSTANCES);
            });
            if error == NOTHING {
                return Ok(Code::Success);
            }
            note(&format!("its agent could not be asked: {error}"));
            Ok(Code::Failed)
        }
        Command::Remove { wanted } => {
            let id = find(&wanted, service).await?;
            service.delete(&format!("servers/{id}")).await?;
            note(&format!("server {id} is removed"));
            Ok(Code::Success)
        }
    }
}

/// On a terminal it fits a line; elsewhere every column is there.
fn print_list(servers: &[Value], output: &Output) {
    if output.width().is_none() {
        output.list(servers, COLUMNS);
        return;
    }
    let now = now();
    let headings = [
        "ID",
        "NAME",
        "ADDRESS",
        "STATUS",
        "HAPROXY",
        "CHECKED",
        "LAST ERROR",
    ];
    output.fitted_list(servers, &headings, |server| {
        vec![
            Cell::plain(cell(server, "id")),
            Cell::plain(shortened(&cell(server, "name"), NAME_MAX)),
            Cell::plain(format!(
                "{}:{}",
                shortened(&cell(server, "address"), NAME_MAX),
                cell(server, "port")
            )),
            Cell::plain(cell(server, "status")),
            Cell::plain(cell(server, "is_haproxy_node")),
            Cell::plain(age(server, "last_check", now)),
            Cell::plain(sentence(server, "last_error")).wrapped(),
        ]
    });
}

async fn change(set: Set, service: &Service, output: &Output) -> Result<Code, Failure> {
    let id = find(&set.wanted, service).await?;
    let path = format!("servers/{id}");
    let changed = service.amend(&path, |known| {
        let mut body = kept(known, &["name", "address", "port", "networks"]);
        tell(&mut body, "name", set.name, false);
        tell(&mut body, "address", set.address, false);
        tell(&mut body, "port", set.port, false);
        let networks = (!set.networks.is_empty()).then_some(set.networks);
        tell(&mut body, "networks", networks, set.no_networks);
        body
    });
    output.one(&changed.await?, COLUMNS);
    Ok(Code::Success)
}

async fn refresh(server: &str, service: &Service, output: &Output) -> Result<Code, Failure> {
    let id = find(server, service).await?;
    let report = service
        .post(&format!("servers/{id}/refresh"), &json!({}))
        .await?;
    let is_answered = !matches!(
        text(&report, "outcome"),
        "unreachable" | "unreadable" | "not_asked"
    );
    output.one(&report, REFRESHED);
    Ok(if is_answered {
        Code::Success
    } else {
        Code::Failed
    })
}

/// The number of the server with this name or number. A name wins.
pub(crate) async fn find(server: &str, service: &Service) -> Result<i64, Failure> {
    service.find("servers", "server", server).await
}
