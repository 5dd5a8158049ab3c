//! `drover servers`.

use clap::{Args, Subcommand};
use serde_json::json;

use super::failure::{Code, Failure};
use super::output::{Column, Output, text};
use super::service::Service;

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
    List,
    /// Add a server.
    Add(Add),
    /// Ask the agent of a server now.
    Refresh {
        /// The server's name or number.
        #[arg(value_name = "SERVER")]
        wanted: String,
    },
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
}

pub(crate) async fn run(
    command: Command,
    service: &Service,
    output: &Output,
) -> Result<Code, Failure> {
    match command {
        Command::List => {
            output.list(&service.all("servers", &[]).await?, COLUMNS);
            Ok(Code::Success)
        }
        Command::Add(Add {
            name,
            address,
            port,
            haproxy,
        }) => {
            let body =
                json!({"name": name, "address": address, "port": port, "is_haproxy_node": haproxy});
            let server = service.post("servers", &body).await?;
            output.one(&server, COLUMNS);
            Ok(Code::Success)
        }
        Command::Refresh { wanted } => refresh(&wanted, service, output).await,
    }
}

async fn refresh(server: &str, service: &Service, output: &Output) -> Result<Code, Failure> {
    let id = find(server, service).await?;
    let report = service
        .post(&format!("servers/{id}/refresh"), &json!({}))
        .await?;
    let is_answered = !matches!(text(&report, "outcome"), "unreachable" | "unreadable");
    output.one(&report, REFRESHED);
    Ok(if is_answered {
        Code::Success
    } else {
        Code::Failed
    })
}

/// The number of the server with this name or number. A name wins.
pub(crate) async fn find(server: &str, service: &Service) -> Result<i64, Failure> {
    let servers = service.all("servers", &[]).await?;
    let named = servers.iter().find(|found| text(found, "name") == server);
    let found = named.or_else(|| {
        let id: i64 = server.parse().ok()?;
        servers
            .iter()
            .find(|found| found.get("id").and_then(serde_json::Value::as_i64) == Some(id))
    });
    found
        .and_then(|found| found.get("id")?.as_i64())
        .ok_or_else(|| {
            Failure::new(
                Code::NotFound,
                format!("there is no server `{}`", server.escape_debug()),
            )
        })
}
