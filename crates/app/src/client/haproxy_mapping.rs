//! `drover haproxy map`, `unmap`, `remap`, `unmapped`, `mapping` and `summary`.

use clap::Args;
use serde_json::{Map, Value, json};

use super::failure::Failure;
use super::names::{self, Reference, reference};
use super::output::{Cell, NOTHING, Output, cell, fitted, line, note};
use super::service::Service;
use super::state::Colour;

/// The most characters of a name on a terminal.
const NAME_MAX: usize = 24;

const CHANGES: &[&str] = &["AT", "ACTION", "APPLICATION", "BASIS", "ACTOR", "REASON"];

#[derive(Debug, Args)]
pub(crate) struct MapArgs {
    /// The server, by its name, `BACKEND/SERVER`, `INSTANCE/BACKEND/SERVER` or number.
    #[arg(value_name = "SERVER", value_parser = reference)]
    wanted: Reference,
    /// The application behind it, by its name, `NAME@SERVER` or number.
    #[arg(value_name = "APPLICATION", value_parser = reference)]
    application: Reference,
    /// Why, for those who look at it later.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct UnmapArgs {
    /// The server, by its name, `BACKEND/SERVER`, `INSTANCE/BACKEND/SERVER` or number.
    #[arg(value_name = "SERVER", value_parser = reference)]
    wanted: Reference,
    /// Let the next sync map it by rule again; without this it stays unmapped until a person maps it.
    #[arg(long)]
    release: bool,
    /// Why, for those who look at it later.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct MappingArgs {
    /// The server, by its name, `BACKEND/SERVER`, `INSTANCE/BACKEND/SERVER` or number.
    #[arg(value_name = "SERVER", value_parser = reference)]
    wanted: Reference,
    /// How many changes.
    #[arg(long, value_name = "COUNT", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=200_000))]
    limit: u32,
}

impl MapArgs {
    fn body(&self, application: i64) -> Value {
        body([
            ("application_id", Some(application.into())),
            ("reason", self.reason.as_deref().map(Value::from)),
        ])
    }
}

impl UnmapArgs {
    fn body(&self) -> Value {
        body([
            ("exclude", Some((!self.release).into())),
            ("reason", self.reason.as_deref().map(Value::from)),
        ])
    }
}

fn body<const N: usize>(members: [(&str, Option<Value>); N]) -> Value {
    let given = members
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Value::Object(given.collect::<Map<_, _>>())
}

pub(crate) async fn map(
    arguments: &MapArgs,
    service: &Service,
    output: &Output,
) -> Result<(), Failure> {
    let server = names::haproxy_server(&arguments.wanted, service).await?;
    let application = names::application(&arguments.application, service).await?;
    let path = format!("haproxy/servers/{server}/map");
    let mapping = service.post(&path, &arguments.body(application)).await?;
    print_mapping(&mapping, output);
    Ok(())
}

pub(crate) async fn unmap(
    arguments: &UnmapArgs,
    service: &Service,
    output: &Output,
) -> Result<(), Failure> {
    let server = names::haproxy_server(&arguments.wanted, service).await?;
    let path = format!("haproxy/servers/{server}/unmap");
    let mapping = service.post(&path, &arguments.body()).await?;
    print_mapping(&mapping, output);
    Ok(())
}

pub(crate) async fn remap(service: &Service, output: &Output) -> Result<(), Failure> {
    let done = service.post("haproxy/mapping/remap", &json!({})).await?;
    output.document(&done, || {
        line(&format!(
            "{} of {} servers without a mapping were mapped",
            cell(&done, "mapped"),
            cell(&done, "looked_at")
        ));
    });
    Ok(())
}

pub(crate) async fn unmapped(service: &Service, output: &Output) -> Result<(), Failure> {
    let servers = service.all("haproxy/servers/unmapped", &[]).await?;
    output.fitted_list(
        &servers,
        &[
            "ID",
            "NAME",
            "BACKEND",
            "HAPROXY",
            "ADDRESS",
            "EXCLUDED BY",
            "REASON",
        ],
        |found| {
            let name = |member: &str| match output.width() {
                Some(_) => fitted(&cell(found, member), NAME_MAX),
                None => cell(found, member),
            };
            vec![
                Cell::plain(cell(found, "server.id")),
                Cell::plain(name("server.name")),
                Cell::plain(name("backend_name")),
                Cell::plain(format!(
                    "{} on {}",
                    name("instance_name"),
                    name("server_name")
                )),
                Cell::plain(address(found)),
                Cell::plain(excluded(found)),
                Cell::plain(cell(found, "reason")),
            ]
        },
    );
    Ok(())
}

pub(crate) async fn mapping(
    arguments: &MappingArgs,
    service: &Service,
    output: &Output,
) -> Result<(), Failure> {
    let server = names::haproxy_server(&arguments.wanted, service).await?;
    let path = format!("haproxy/servers/{server}/mapping");
    let mapping = service.get(&path, &[]).await?;
    let most = usize::try_from(arguments.limit).unwrap_or(usize::MAX);
    let changes = service.some(&format!("{path}/history"), &[], most).await?;
    output.document(&json!({"mapping": mapping, "history": changes}), || {
        line(&sentence(&mapping));
        if !changes.is_empty() {
            output.fitted_list(&changes, CHANGES, |change| {
                ["at", "action", "application_id", "basis", "actor", "reason"]
                    .map(|member| Cell::plain(cell(change, member)))
                    .to_vec()
            });
        }
    });
    Ok(())
}

pub(crate) async fn summary(service: &Service, output: &Output) -> Result<(), Failure> {
    let summary = service.get("haproxy/summary", &[]).await?;
    output.document(&summary, || print_summary(&summary, output));
    Ok(())
}

fn print_mapping(mapping: &Value, output: &Output) {
    output.document(mapping, || line(&sentence(mapping)));
}

/// Where a server stands with its mapping.
fn sentence(mapping: &Value) -> String {
    let server = cell(mapping, "server_id");
    match cell(mapping, "application_id") {
        none if none == NOTHING => match excluded(mapping) {
            nobody if nobody == NOTHING => format!("server {server} has no mapping"),
            somebody => format!("server {server} has no mapping; it is excluded by {somebody}"),
        },
        application => format!(
            "server {server} is application {application}, by {} since {}",
            cell(mapping, "basis"),
            cell(mapping, "mapped_at")
        ),
    }
}

/// Who excluded a server, and why.
fn excluded(item: &Value) -> String {
    match (
        cell(item, "exclusion.actor"),
        cell(item, "exclusion.reason"),
    ) {
        (actor, reason) if reason == NOTHING => actor,
        (actor, reason) => format!("{actor}: {reason}"),
    }
}

fn address(found: &Value) -> String {
    match (cell(found, "server.address"), cell(found, "server.port")) {
        (address, port) if port == NOTHING => address,
        (address, port) => format!("{address}:{port}"),
    }
}

fn number(summary: &Value, member: &str) -> u64 {
    let found = summary
        .get("instances")
        .and_then(|counts| counts.get(member));
    found.and_then(Value::as_u64).unwrap_or_default()
}

/// How many instances were not read yet.
fn unknown(summary: &Value) -> u64 {
    let read = ["synced", "partial", "failed"].map(|member| number(summary, member));
    number(summary, "total").saturating_sub(read.iter().sum())
}

fn print_summary(summary: &Value, output: &Output) {
    let count = |member: &str| cell(summary, member);
    line(&format!(
        "instances   {}, {} synced, {} partial, {} failed, {} unknown",
        count("instances.total"),
        count("instances.synced"),
        count("instances.partial"),
        count("instances.failed"),
        unknown(summary)
    ));
    let unread = number(summary, "unread_nodes");
    if unread > 0 {
        line(&format!(
            "HAProxy nodes whose instances are unknown   {unread} (`drover haproxy list`)"
        ));
    }
    line(&format!("backends    {}", count("backends")));
    line(&format!(
        "servers     {} up, {} drain, {} maint, {} down, {} other",
        count("servers.up"),
        count("servers.drain"),
        count("servers.maint"),
        count("servers.down"),
        count("servers.other")
    ));
    line(&format!(
        "unmapped    {}, {} of them excluded",
        count("unmapped"),
        count("excluded")
    ));
    line(&format!(
        "pinned      {} in drain or maint, {} of them show another state",
        count("pinned"),
        count("drifting")
    ));
    for breaker in list(summary, "breakers") {
        let state = cell(breaker, "state");
        if state != "closed" {
            let state = output.paint().text(Colour::Red, &state);
            line(&format!(
                "left alone  {} on {}: {state} until {}",
                cell(breaker, "instance_name"),
                cell(breaker, "server_name"),
                cell(breaker, "until")
            ));
        }
    }
    let short = list(summary, "short_backends");
    for backend in short {
        line(&format!(
            "short       {} of {}: {} of {} servers take requests; at least {} should",
            cell(backend, "name"),
            cell(backend, "instance_name"),
            cell(backend, "ready"),
            cell(backend, "servers"),
            count("min_ready")
        ));
    }
    let all = summary.get("short").and_then(Value::as_u64).unwrap_or(0);
    let named = u64::try_from(short.len()).unwrap_or(u64::MAX);
    if all > named {
        note(&format!("{} more backends are short", all - named));
    }
}

fn list<'a>(item: &'a Value, member: &str) -> &'a [Value] {
    let items = item.get(member).and_then(Value::as_array);
    items.map(Vec::as_slice).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::haproxy::Command;
    use super::*;

    #[derive(Debug, Parser)]
    struct Typed {
        #[command(subcommand)]
        command: Command,
    }

    fn sent(arguments: &str) -> Option<(Reference, Value)> {
        let arguments = ["haproxy"].into_iter().chain(arguments.split(' '));
        let command = Typed::try_parse_from(arguments).ok()?.command;
        if let Command::Map(map) = &command {
            let Reference::Number(application) = map.application else {
                panic!("{map:?}");
            };
            return Some((map.wanted.clone(), map.body(application)));
        }
        let Command::Unmap(unmap) = &command else {
            panic!("{command:?}");
        };
        Some((unmap.wanted.clone(), unmap.body()))
    }

    #[test]
    fn what_is_typed_is_what_is_sent() {
        for (arguments, server, body) in [
            ("map 7 9", 7, json!({"application_id": 9})),
            (
                "map 7 9 --reason moved",
                7,
                json!({"application_id": 9, "reason": "moved"}),
            ),
            ("unmap 7", 7, json!({"exclude": true})),
            (
                "unmap 7 --release --reason over",
                7,
                json!({"exclude": false, "reason": "over"}),
            ),
        ] {
            let server = Reference::Number(server);
            assert_eq!(sent(arguments), Some((server, body)), "{arguments}");
        }
        for arguments in ["map", "map 7", "map 0 9", "map 7 0", "unmap", "unmap 7 8"] {
            assert_eq!(sent(arguments), None, "{arguments}");
        }
    }
}
