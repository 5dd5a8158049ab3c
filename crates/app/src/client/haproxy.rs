//! `drover haproxy`.

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::failure::{Code, Failure};
use super::haproxy_follow::{follow, has_failed};
use super::haproxy_mapping::{self, MapArgs, MappingArgs, UnmapArgs};
use super::names::{self, Reference, reference};
use super::output::{
    Cell, Column, NOTHING, Output, TEXT_MAX, cell, fitted, line, note, sentence, table,
};
use super::rollout_start::fresh_key;
use super::service::Service;
use super::state::{Colour, symbol};
use super::times::{age, ago, moment, now};

/// How long sessions are waited for where `--wait` does not say, seconds.
const WAIT_DEFAULT: f64 = 300.0;

/// The longest an action may wait, seconds.
const WAIT_MAX: f64 = 3_600.0;

/// The longest time of a pin by one command, seconds.
const PIN_MAX: f64 = 2_592_000.0;

/// The most characters of a name on a terminal.
const NAME_MAX: usize = 24;

/// Shown beside [`LOOKS`] where old workers of HAProxy had sessions.
const OLD_SESSIONS: Column = ("IN OLD WORKERS", "old_sessions");

const CHANGES: &[&str] = &["AT", "FROM", "TO", "REASON", "ACTOR", "ACTION"];

const LOOKS: &[Column] = &[
    ("SEEN", "at"),
    ("STATUS", "status"),
    ("SESSIONS", "sessions"),
    ("QUEUE", "queue"),
];

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the HAProxy instances.
    List,
    /// Show the backends of an instance with their servers.
    Show {
        /// The instance, by its name, `NAME@SERVER` or number.
        #[arg(value_name = "INSTANCE", value_parser = reference)]
        wanted: Reference,
    },
    /// Drain servers: no new requests, running ones finish.
    Drain(Act),
    /// Take servers out of service.
    Maint(Act),
    /// Give servers requests again, once their checks pass.
    Ready(Act),
    /// Read an HAProxy now.
    Sync {
        /// The instance, by its name, `NAME@SERVER` or number.
        #[arg(value_name = "INSTANCE", value_parser = reference)]
        wanted: Reference,
    },
    /// Show how the status of a server changed, newest first.
    History {
        /// The server, by its name, `BACKEND/SERVER`, `INSTANCE/BACKEND/SERVER` or number.
        #[arg(value_name = "SERVER", value_parser = reference)]
        wanted: Reference,
        /// How many.
        #[arg(long, value_name = "COUNT", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=200_000))]
        limit: u32,
    },
    /// List what was done to servers, newest first.
    Actions {
        /// Only what was done to this one, by its name, `BACKEND/SERVER`, `INSTANCE/BACKEND/SERVER` or number.
        #[arg(value_name = "SERVER", value_parser = reference)]
        wanted: Option<Reference>,
        /// How many.
        #[arg(long, value_name = "COUNT", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=200_000))]
        limit: u32,
    },
    /// Say which application stands behind a server; no sync changes that.
    Map(MapArgs),
    /// End the mapping of a server; it stays unmapped until a person maps it.
    Unmap(UnmapArgs),
    /// Map the servers that have no mapping and are not excluded, by the rule.
    Remap,
    /// List the servers without a mapping.
    Unmapped,
    /// Show which application stands behind a server, why, and how that changed.
    Mapping(MappingArgs),
    /// Show all of HAProxy in a few numbers.
    Summary,
}

#[derive(Debug, Args)]
pub(crate) struct Act {
    /// The servers, by their names, as `BACKEND/SERVER`, `INSTANCE/BACKEND/SERVER` or by number (`drover haproxy show`).
    #[arg(value_name = "SERVER", required = true, value_parser = reference)]
    servers: Vec<Reference>,
    /// Follow it to its end; the exit code says how it ended. The time, 0 to 3600 seconds, is how long sessions may take
    /// to end, or checks to pass; the default is 300, and 60 for `ready`. It stands behind `=`: `--wait 5` is refused,
    /// because 5 would be a server.
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, require_equals = true, value_parser = seconds)]
    #[expect(
        clippy::option_option,
        reason = "absent, without a value and with one are different wishes"
    )]
    wait: Option<Option<f64>>,
    /// Do it although too few servers would be left.
    #[arg(long, requires = "reason")]
    force: bool,
    /// Why, for those who look at it later.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// How many hours to pin them, at most 720. During that time Drover re-applies the state when HAProxy forgets it in a reload.
    /// Without it the servers stay out of use until someone returns them.
    #[arg(long, value_name = "HOURS", value_parser = hours)]
    pin_for: Option<f64>,
    /// Makes a repeated command safe: the same one acts once. Made up when not given.
    #[arg(long, value_name = "ID")]
    transaction: Option<String>,
}

/// What servers are set to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Drain,
    Maint,
    Ready,
}

impl Verb {
    const fn word(self) -> &'static str {
        match self {
            Self::Drain => "drain",
            Self::Maint => "maint",
            Self::Ready => "ready",
        }
    }
}

pub(crate) async fn run(
    command: Command,
    service: &Service,
    output: &Output,
) -> Result<Code, Failure> {
    match command {
        Command::List => {
            let mut instances = service.all("haproxy/instances", &[]).await?;
            let nothing = "no HAProxy is known yet; `drover servers haproxy SERVER on` reads those of a server";
            if !output.is_json() {
                instances.extend(unread(&instances, service).await?);
            }
            if !output.is_without_rows(&instances, nothing) {
                print_instances(&instances, output);
            }
        }
        Command::Show { wanted } => show(&wanted, service, output).await?,
        Command::Drain(act) => return run_act(Verb::Drain, act, service, output).await,
        Command::Maint(act) => return run_act(Verb::Maint, act, service, output).await,
        Command::Ready(act) => return run_act(Verb::Ready, act, service, output).await,
        Command::Sync { wanted } => {
            let id = names::instance_id(&wanted, service).await?;
            let path = format!("haproxy/instances/{id}/sync");
            let instance = service.post(&path, &json!({})).await?;
            output.document(&instance, || {
                print_instances(std::slice::from_ref(&instance), output);
            });
            if cell(&instance, "last_sync_status") != "success" {
                return Ok(Code::Failed);
            }
        }
        Command::History { wanted, limit } => {
            let id = names::haproxy_server(&wanted, service).await?;
            let most = usize::try_from(limit).unwrap_or(usize::MAX);
            let path = format!("haproxy/servers/{id}/history");
            let changes = service.some(&path, &[], most).await?;
            output.fitted_list(&changes, CHANGES, |change| {
                [
                    "at",
                    "old_status",
                    "new_status",
                    "reason",
                    "actor",
                    "action",
                ]
                .map(|member| Cell::plain(cell(change, member)))
                .to_vec()
            });
        }
        Command::Actions { wanted, limit } => {
            let most = usize::try_from(limit).unwrap_or(usize::MAX);
            let server = match wanted {
                Some(wanted) => Some(names::haproxy_server(&wanted, service).await?.to_string()),
                None => None,
            };
            let query: Vec<(&str, &str)> = server
                .iter()
                .map(|server| ("server", server.as_str()))
                .collect();
            let actions = service.some("haproxy/actions", &query, most).await?;
            if let (Some(server), true) = (&server, actions.is_empty()) {
                // Nothing was done to it, or there is no such server.
                service
                    .get(&format!("haproxy/servers/{server}/mapping"), &[])
                    .await?;
            }
            if !output.is_without_rows(&actions, "nothing was done yet") {
                print_actions(&actions, output);
            }
        }
        Command::Map(map) => haproxy_mapping::map(&map, service, output).await?,
        Command::Unmap(unmap) => haproxy_mapping::unmap(&unmap, service, output).await?,
        Command::Remap => haproxy_mapping::remap(service, output).await?,
        Command::Unmapped => haproxy_mapping::unmapped(service, output).await?,
        Command::Mapping(of) => haproxy_mapping::mapping(&of, service, output).await?,
        Command::Summary => haproxy_mapping::summary(service, output).await?,
    }
    Ok(Code::Success)
}

async fn show(wanted: &Reference, service: &Service, output: &Output) -> Result<(), Failure> {
    let instance = names::instance(wanted, service).await?;
    let path = format!("haproxy/instances/{}/backends", cell(&instance, "id"));
    let mut items = Vec::new();
    for backend in service.all(&path, &[]).await? {
        let path = format!("haproxy/backends/{}/servers", cell(&backend, "id"));
        let servers = service.all(&path, &[]).await?;
        items.push(json!({"backend": backend, "servers": servers}));
    }
    output.document(&json!({"items": items, "next_cursor": null}), || {
        let blocks = seen(&instance, now()).into_iter().map(Block::Header);
        let backends = items.iter().map(Block::Backend);
        for (place, block) in blocks.chain(backends).enumerate() {
            if place > 0 {
                line("");
            }
            match block {
                Block::Header(text) => line(&text),
                Block::Backend(item) => print_backend(item, output),
            }
        }
        if items.is_empty() {
            note("it has no backends");
        }
    });
    Ok(())
}

fn print_backend(item: &Value, output: &Output) {
    let backend = item.get("backend").unwrap_or(&Value::Null);
    let as_of = match age(backend, "observed_at", now()) {
        none if none == NOTHING => String::new(),
        age => format!("; as of {age} ago"),
    };
    line(&format!(
        "{}  backend {}; {} of {} servers take requests{as_of}",
        cell(item, "backend.name"),
        cell(item, "backend.id"),
        cell(item, "backend.ready"),
        cell(item, "backend.servers"),
    ));
    let error = sentence(item, "backend.last_fetch_error");
    if error != NOTHING {
        line(&format!(
            "! {}: {error}",
            cell(item, "backend.last_fetch_status")
        ));
    }
    let servers = item.get("servers").and_then(Value::as_array);
    let servers = servers.map(Vec::as_slice).unwrap_or_default();
    if servers.is_empty() {
        return;
    }
    output.fitted_list(
        servers,
        &[
            "ID",
            "NAME",
            "STATUS",
            "SESSIONS",
            "WEIGHT",
            "APPLICATION",
            "PINNED",
        ],
        |server| {
            let pinned = pinned(server);
            vec![
                Cell::plain(cell(server, "id")),
                Cell::plain(name(server, "name", output)),
                Cell::plain(name(server, "status", output)),
                Cell::plain(cell(server, "sessions")),
                Cell::plain(cell(server, "weight")),
                Cell::plain(cell(server, "application_id")),
                pinned,
            ]
        },
    );
}

/// What stands between blank lines.
enum Block<'a> {
    Header(String),
    Backend(&'a Value),
}

/// Which instance is shown, and how old that is: only a sync reads an HAProxy. `None` before the first one.
fn seen(instance: &Value, now: DateTime<Utc>) -> Option<String> {
    moment(instance, "last_sync")?;
    let name = format!(
        "{} on {}",
        cell(instance, "name"),
        cell(instance, "server_name")
    );
    let age = ago(instance, "last_sync", now);
    let error = sentence(instance, "last_sync_error");
    Some(match cell(instance, "last_sync_status").as_str() {
        "failed" => format!("{name}; the sync {age} failed, what follows is older: {error}"),
        _ if error == NOTHING => format!("{name}, as of {age}"),
        _ => format!("{name}, as of {age}: {error}"),
    })
}

/// The pin of a server, and whether HAProxy shows another state.
fn pinned(server: &Value) -> Cell {
    let (state, owner) = (cell(server, "pin.state"), cell(server, "pin.owner"));
    if state == NOTHING {
        return Cell::plain(state);
    }
    let until = match cell(server, "pin.until") {
        none if none == NOTHING => String::new(),
        until => format!(" until {until}"),
    };
    let reason = match cell(server, "pin.reason") {
        none if none == NOTHING => String::new(),
        reason => format!(": {reason}"),
    };
    if server.get("drift").and_then(Value::as_bool) == Some(true) {
        let pinned = format!("! {state} wanted by {owner}{until}{reason}");
        return Cell::coloured(pinned, Colour::Yellow).wrapped();
    }
    Cell::plain(format!("{state} by {owner}{until}{reason}")).wrapped()
}

/// The servers that are HAProxy nodes and have no active instance, as instances of which nothing is known; those that
/// are switched off are shown as such.
async fn unread(instances: &[Value], service: &Service) -> Result<Vec<Value>, Failure> {
    let nodes = service
        .all("servers", &[("is_haproxy_node", "true")])
        .await?;
    let is_known = |node: &Value| {
        instances.iter().any(|instance| {
            cell(instance, "server_name") == cell(node, "name") && is_active(instance)
        })
    };
    let unread = nodes.iter().filter(|node| !is_known(node));
    Ok(unread
        .map(|node| {
            let error = match cell(node, "last_error") {
                none if none == NOTHING => "its agent has listed no HAProxy yet".to_owned(),
                error => error,
            };
            json!({"server_name": node.get("name"), "last_sync_status": "unknown", "last_sync_error": error})
        })
        .collect())
}

fn is_active(instance: &Value) -> bool {
    instance.get("active").and_then(Value::as_bool) != Some(false)
}

fn print_instances(instances: &[Value], output: &Output) {
    let now = now();
    output.fitted_list(
        instances,
        &[
            "ID", "NAME", "SERVER", "VERSION", "BACKENDS", "AS OF", "STATUS",
        ],
        |instance| {
            // What an instance that is switched off showed last says nothing of now.
            let status = if is_active(instance) {
                cell(instance, "last_sync_status")
            } else {
                "switched off".to_owned()
            };
            let (symbol, colour) = symbol(&status);
            let mut status = format!("{symbol} {status}");
            let error = sentence(instance, "last_sync_error");
            if error != NOTHING {
                status = format!("{status}: {error}");
            }
            vec![
                Cell::plain(cell(instance, "id")),
                Cell::plain(name(instance, "name", output)),
                Cell::plain(name(instance, "server_name", output)),
                Cell::plain(cell(instance, "version")),
                Cell::plain(cell(instance, "backends")),
                Cell::plain(age(instance, "observed_at", now)),
                Cell::coloured(status, colour).wrapped(),
            ]
        },
    );
}

fn print_actions(actions: &[Value], output: &Output) {
    let now = now();
    output.fitted_list(
        actions,
        &["ID", "SERVER", "ACTION", "AGE", "STATUS"],
        |action| {
            let (status, colour) = status(action);
            vec![
                Cell::plain(cell(action, "id")),
                Cell::plain(cell(action, "server")),
                Cell::plain(cell(action, "action")),
                Cell::plain(age(action, "created_at", now)),
                Cell::coloured(status, colour).wrapped(),
            ]
        },
    );
}

/// Where an action stands and why; one that was refused has an error and no status.
fn status(action: &Value) -> (String, Colour) {
    let word = match cell(action, "status") {
        none if none == NOTHING => "refused".to_owned(),
        word => word,
    };
    let (symbol, colour) = match word.as_str() {
        "refused" => ('✗', Colour::Red),
        word => symbol(word),
    };
    let text = match cell(action, "error.code") {
        none if none == NOTHING => format!("{symbol} {word}"),
        code => format!(
            "{symbol} {word}: {code}: {}",
            sentence(action, "error.detail")
        ),
    };
    (text, colour)
}

/// A name that leaves room for the others on a terminal.
fn name(item: &Value, member: &str, output: &Output) -> String {
    let most = output.width().map_or(TEXT_MAX, |_| NAME_MAX);
    fitted(&cell(item, member), most)
}

async fn run_act(
    verb: Verb,
    mut act: Act,
    service: &Service,
    output: &Output,
) -> Result<Code, Failure> {
    let servers = names::haproxy_servers(&act.servers, service).await?;
    let transaction = act.transaction.take().map_or_else(fresh_key, Ok)?;
    let mut body = act.body(verb, &transaction);
    let path = match servers.as_slice() {
        [server] => format!("haproxy/servers/{server}/action"),
        servers => {
            body.insert("servers".to_owned(), json!(servers));
            "haproxy/batch/action".to_owned()
        }
    };
    let answer = service
        .post(&path, &Value::Object(body))
        .await
        .map_err(|failure| repeatable(failure, &transaction))?;
    let mut answer = Answer::of(answer)?;
    if act.wait.is_some() {
        if let Some(code) = follow(&mut answer.actions, service).await? {
            return Ok(code);
        }
        answer.print_at_length(verb, output);
    } else {
        answer.print(output);
    }
    Ok(answer.code())
}

impl Act {
    /// What is sent, but for the servers.
    fn body(&self, verb: Verb, transaction: &str) -> Map<String, Value> {
        let wait = match (self.wait, verb) {
            (None, _) | (Some(None), Verb::Ready) => None,
            (Some(None), Verb::Drain | Verb::Maint) => Some(WAIT_DEFAULT),
            (Some(wait), _) => wait,
        };
        let members = [
            ("action", Some(verb.word().into())),
            ("transaction_id", Some(transaction.into())),
            ("wait_s", wait.map(Value::from)),
            ("force", self.force.then_some(Value::Bool(true))),
            ("reason", self.reason.as_deref().map(Value::from)),
            ("pin_s", self.pin_for.map(Value::from)),
        ];
        members
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?)))
            .collect()
    }
}

/// The service's answer to a request about one server or several.
struct Answer {
    /// What there is now, in the order of the answer.
    actions: Vec<Value>,
    /// The refusals, as actions without an identifier, each with the place before which it stood.
    refused: Vec<(usize, Value)>,
    is_batch: bool,
}

impl Answer {
    fn of(mut answer: Value) -> Result<Self, Failure> {
        let (mut actions, mut refused) = (Vec::new(), Vec::new());
        let results = match answer.get_mut("results").map(Value::take) {
            Some(Value::Array(results)) => Some(results),
            Some(_) | None => None,
        };
        let is_batch = results.is_some();
        match results {
            None => actions.push(answer),
            Some(results) => {
                for mut result in results {
                    match result.get_mut("action").map(Value::take) {
                        Some(action @ Value::Object(_)) => actions.push(action),
                        Some(_) | None => refused.push((actions.len(), result)),
                    }
                }
            }
        }
        let is_agreed = |action: &Value| cell(action, "id").parse::<Uuid>().is_ok();
        if actions.iter().all(is_agreed) {
            Ok(Self {
                actions,
                refused,
                is_batch,
            })
        } else {
            let message = "the service does not answer as agreed: an action that was accepted has no identifier";
            Err(Failure::new(Code::Failed, message))
        }
    }

    /// All of it, in the order of the answer.
    fn rows(&self) -> Vec<Value> {
        let mut refused = self.refused.iter().peekable();
        let mut rows = Vec::new();
        for place in 0..=self.actions.len() {
            while let Some((_, row)) = refused.next_if(|(before, _)| *before == place) {
                rows.push(row.clone());
            }
            rows.extend(self.actions.get(place).cloned());
        }
        rows
    }

    /// What the API sends, with actions as they are now.
    fn document(&self) -> Value {
        if !self.is_batch {
            return self.actions.first().cloned().unwrap_or_default();
        }
        let results: Vec<Value> = self
            .rows()
            .into_iter()
            .map(|row| match row.get("id") {
                None => row,
                Some(_) => json!({"server": row.get("server"), "action": row, "error": null}),
            })
            .collect();
        json!({"results": results})
    }

    fn print(&self, output: &Output) {
        output.document(&self.document(), || print_actions(&self.rows(), output));
    }

    fn print_at_length(&self, verb: Verb, output: &Output) {
        output.document(&self.document(), || {
            for (place, row) in self.rows().iter().enumerate() {
                if place > 0 {
                    line("");
                }
                print_action(row, verb, output);
            }
        });
    }

    fn code(&self) -> Code {
        if self.refused.is_empty() && !self.actions.iter().any(has_failed) {
            Code::Success
        } else {
            Code::Failed
        }
    }
}

/// An action for people: what, how it ended, and what was seen.
fn print_action(action: &Value, verb: Verb, output: &Output) {
    let (status, colour) = status(action);
    let status = output.paint().text(colour, &status);
    for (label, value) in [
        ("action", cell(action, "id")),
        ("server", cell(action, "server")),
        ("wanted", verb.word().to_owned()),
        ("status", status),
        ("reason", cell(action, "reason")),
        ("pinned for", cell(action, "pin_s")),
        ("requested by", cell(action, "actor")),
        ("started", cell(action, "started_at")),
        ("finished", cell(action, "finished_at")),
        ("commands", cell(action, "evidence.sends")),
    ] {
        if value != NOTHING {
            line(&format!("{label:<13} {value}"));
        }
    }
    let looks = action.pointer("/evidence/looks").and_then(Value::as_array);
    if let Some(looks) = looks.filter(|looks| !looks.is_empty()) {
        let mut columns = LOOKS.to_vec();
        if looks
            .iter()
            .any(|look| look["old_sessions"].as_u64().unwrap_or_default() > 0)
        {
            columns.push(OLD_SESSIONS);
        }
        table(looks, &columns);
    }
}

/// The failure of a request that can be repeated.
fn repeatable(mut failure: Failure, transaction: &str) -> Failure {
    if failure.code == Code::Unavailable {
        failure.message = format!(
            "{}; it is safe to repeat the command with --transaction {transaction}",
            failure.message
        );
    }
    failure
}

fn seconds(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|seconds| (0.0..=WAIT_MAX).contains(seconds))
        .ok_or_else(|| format!("a number from 0 to {WAIT_MAX} is expected"))
}

/// Hours, as seconds.
fn hours(text: &str) -> Result<f64, String> {
    let hours: Option<f64> = text.parse().ok();
    hours
        .map(|hours| hours * 3_600.0)
        .filter(|seconds| (1.0..=PIN_MAX).contains(seconds))
        .ok_or_else(|| "a number of hours up to 720 is expected, such as 0.5 or 48".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use drover_domain::haproxy::AdminState;
    use drover_domain::haproxy::action::{self, ActionStatus};

    use super::*;

    #[derive(Debug, Parser)]
    struct Typed {
        #[command(subcommand)]
        command: Command,
    }

    fn typed(arguments: &str) -> Result<Command, clap::Error> {
        let arguments = ["haproxy"].into_iter().chain(arguments.split(' '));
        Typed::try_parse_from(arguments).map(|typed| typed.command)
    }

    fn sent(arguments: &str) -> (Vec<Reference>, Value) {
        let (verb, act) = match typed(arguments).unwrap() {
            Command::Drain(act) => (Verb::Drain, act),
            Command::Maint(act) => (Verb::Maint, act),
            Command::Ready(act) => (Verb::Ready, act),
            Command::List
            | Command::Show { .. }
            | Command::Sync { .. }
            | Command::History { .. }
            | Command::Actions { .. }
            | Command::Map(_)
            | Command::Unmap(_)
            | Command::Remap
            | Command::Unmapped
            | Command::Mapping(_)
            | Command::Summary => panic!("{arguments}"),
        };
        let body = act.body(verb, act.transaction.as_deref().unwrap_or("made up"));
        (act.servers, Value::Object(body))
    }

    #[test]
    fn what_is_typed_is_what_is_sent() {
        for (arguments, servers, body) in [
            (
                "drain 7",
                vec![7],
                json!({"action": "drain", "transaction_id": "made up"}),
            ),
            (
                "drain 7 8 --wait",
                vec![7, 8],
                json!({"action": "drain", "transaction_id": "made up", "wait_s": 300.0}),
            ),
            (
                "maint 7 --wait",
                vec![7],
                json!({"action": "maint", "transaction_id": "made up", "wait_s": 300.0}),
            ),
            (
                "maint 7 --wait=0.5 --transaction t1",
                vec![7],
                json!({"action": "maint", "transaction_id": "t1", "wait_s": 0.5}),
            ),
            (
                "ready 7 --wait",
                vec![7],
                json!({"action": "ready", "transaction_id": "made up"}),
            ),
            (
                "drain 7 --force --reason fire",
                vec![7],
                json!({"action": "drain", "transaction_id": "made up", "force": true, "reason": "fire"}),
            ),
            (
                "drain 7 --pin-for 1.5",
                vec![7],
                json!({"action": "drain", "transaction_id": "made up", "pin_s": 5400.0}),
            ),
            (
                "ready 7 --wait=90 --reason over",
                vec![7],
                json!({"action": "ready", "transaction_id": "made up", "wait_s": 90.0, "reason": "over"}),
            ),
        ] {
            let servers: Vec<Reference> = servers.into_iter().map(Reference::Number).collect();
            assert_eq!(sent(arguments), (servers, body), "{arguments}");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for arguments in [
            "drain",
            "drain 0",
            "drain 7 --wait=5s",
            "drain 7 --force",
            "drain 7 --wait=3601",
            "drain 7 --wait=-1",
            "drain 7 --wait=NaN",
            "drain 7 --pin-for 0",
            "drain 7 --pin-for 721",
            "drain 7 --pin-for NaN",
            "show",
            "sync 0",
            "history",
            "actions 1 2",
        ] {
            assert!(typed(arguments).is_err(), "{arguments}");
        }
        for arguments in ["list", "show 1", "sync 1", "history 1 --limit 3", "actions"] {
            assert!(typed(arguments).is_ok(), "{arguments}");
        }
    }

    #[test]
    fn words_and_bounds_are_those_of_the_domain() {
        for (verb, state) in [
            (Verb::Drain, AdminState::Drain),
            (Verb::Maint, AdminState::Maint),
            (Verb::Ready, AdminState::Ready),
        ] {
            assert_eq!(verb.word(), state.as_str());
        }
        assert!((action::WAIT_MAX.as_secs_f64() - WAIT_MAX).abs() < f64::EPSILON);
        assert!((drover_domain::haproxy::PIN_MAX.as_secs_f64() - PIN_MAX).abs() < f64::EPSILON);
        for status in ActionStatus::ALL {
            let is_failed = has_failed(&json!({"status": status.as_str()}));
            assert_eq!(is_failed, status == ActionStatus::Failed, "{status:?}");
        }
    }

    #[test]
    fn an_answer_keeps_its_order() {
        let id = "0190b3a4-7c00-7000-8000-000000000001";
        let action = |server: i64| json!({"id": id, "server": server, "status": "pending"});
        let refused = |server: i64| json!({"server": server, "action": null, "error": {"code": "not_found", "detail": "no"}});
        let accepted =
            |server: i64| json!({"server": server, "action": action(server), "error": null});
        let results =
            json!({"results": [refused(1), accepted(2), refused(3), refused(4), accepted(5)]});
        let answer = Answer::of(results.clone()).unwrap();
        assert_eq!(answer.document(), results);
        assert_eq!(answer.code(), Code::Failed);
        let servers: Vec<String> = answer
            .rows()
            .iter()
            .map(|row| cell(row, "server"))
            .collect();
        assert_eq!(servers, ["1", "2", "3", "4", "5"]);
        assert_eq!(status(&answer.rows()[0]).0, "✗ refused: not_found: no");

        let single = Answer::of(action(7)).unwrap();
        assert_eq!(
            (single.document(), single.code()),
            (action(7), Code::Success)
        );
        assert!(Answer::of(json!({"server": 7})).is_err());
    }
}
