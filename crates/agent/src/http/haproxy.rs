//! The controller `haproxy`: lists, and the one action.

use std::collections::BTreeMap;
use std::error::Error;

use axum::http::StatusCode;
use futures::future::{join, join_all};
use serde_json::{Value, json};

use super::envelope::Reply;
use crate::chain::chain;
use crate::haproxy::{AdminAction, HaproxyError, Instance, Name};

/// The instance meant by a path that names none, if there is one of this name.
const DEFAULT_INSTANCE: &str = "default";

type Instances = BTreeMap<String, Instance>;

/// Answers `/instances`, `[/{instance}]/backends` and `[/{instance}]/backends/{backend}/servers`.
pub(super) async fn get(instances: &Instances, parts: &[&str]) -> Reply {
    match parts {
        ["instances"] => list_instances(instances).await,
        ["backends"] => list_backends(instances, None).await,
        [instance, "backends"] => list_backends(instances, Some(instance)).await,
        ["backends", backend, "servers"] => list_servers(instances, None, backend).await,
        [instance, "backends", backend, "servers"] => list_servers(instances, Some(instance), backend).await,
        _ => Reply::failure(
            StatusCode::NOT_FOUND,
            "the haproxy controller has no such path; it has /instances, [/{instance}]/backends and \
             [/{instance}]/backends/{backend}/servers"
                .to_owned(),
        ),
    }
}

/// Answers `[/{instance}]/backends/{backend}/servers/{server}/action`.
pub(super) async fn post(instances: &Instances, parts: &[&str], body: &Value) -> Reply {
    let (instance, backend, server) = match parts {
        ["backends", backend, "servers", server, "action"] => (None, *backend, *server),
        [instance, "backends", backend, "servers", server, "action"] => {
            (Some(*instance), *backend, *server)
        }
        _ => {
            return bad_request(
                "an action's path is [/{instance}]/backends/{backend}/servers/{server}/action"
                    .to_owned(),
            );
        }
    };
    let action = match body
        .get("action")
        .map(|action| action.as_str().and_then(AdminAction::parse))
    {
        Some(Some(action)) => action,
        Some(None) => return bad_request("`action` must be one of ready, drain, maint".to_owned()),
        None => {
            return bad_request("`action` is missing; it is one of ready, drain, maint".to_owned());
        }
    };
    let (name, instance) = match chosen(instances, instance) {
        Ok(chosen) => chosen,
        Err(reply) => return reply,
    };
    let (backend, server) = match (Name::parse(backend), Name::parse(server)) {
        (Ok(backend), Ok(server)) => (backend, server),
        (Err(error), _) | (_, Err(error)) => return bad_request(error.to_string()),
    };
    let word = action.as_str();
    match instance.set_state(&backend, &server, action).await {
        Ok(admin_state) => {
            tracing::info!(instance = name, %backend, %server, action = word, admin_state, "{backend}/{server} set to {word}");
            Reply::told(
                json!({
                    "instance": name, "backend": backend.as_str(), "server": server.as_str(), "action": word,
                    "status": "completed", "admin_state": admin_state.to_string(),
                }),
                format!("{backend}/{server} is set to {word}"),
            )
        }
        Err(error) => {
            tracing::warn!(
                instance = name, %backend, %server, action = word, error = &error as &(dyn Error + 'static),
                "{backend}/{server} was not set to {word}"
            );
            failed(&error)
        }
    }
}

async fn list_instances(instances: &Instances) -> Reply {
    let described = instances.iter().map(async |(name, instance)| {
        let (process, old_workers) = join(instance.process(), instance.sees_old_workers()).await;
        let mut described = json!({
            "name": name, "socket_path": instance.address().to_string(), "available": process.is_some(),
            "old_workers": old_workers,
        });
        if let (Some(process), Some(members)) = (process, described.as_object_mut()) {
            members.insert("version".to_owned(), json!(process.version()));
        }
        described
    });
    let listed = join_all(described).await;
    Reply::success(json!({"count": listed.len(), "instances": listed}))
}

async fn list_backends(instances: &Instances, instance: Option<&str>) -> Reply {
    let (name, instance) = match chosen(instances, instance) {
        Ok(chosen) => chosen,
        Err(reply) => return reply,
    };
    match instance.backends().await {
        Ok((backends, unread)) => {
            let mut data = json!({"instance": name, "count": backends.len(), "backends": backends});
            add_unread(&mut data, &unread);
            Reply::success(data)
        }
        Err(error) => failed(&error),
    }
}

async fn list_servers(instances: &Instances, instance: Option<&str>, backend: &str) -> Reply {
    let (name, instance) = match chosen(instances, instance) {
        Ok(chosen) => chosen,
        Err(reply) => return reply,
    };
    let backend = match Name::parse(backend) {
        Ok(backend) => backend,
        Err(error) => return bad_request(error.to_string()),
    };
    match instance.servers(&backend).await {
        Ok((found, unseen)) => {
            let mut data = json!({
                "instance": name, "backend": backend.as_str(), "count": found.servers.len(),
                "servers": found.servers, "haproxy": found.process,
            });
            add_unread(&mut data, &found.unread);
            if let (Some(error), Some(members)) = (unseen, data.as_object_mut()) {
                members.insert("old_workers_error".to_owned(), json!(chain(&error)));
            }
            Reply::success(data)
        }
        Err(error) => failed(&error),
    }
}

/// Most sentences about rows that could not be read.
const UNREAD_MAX: usize = 20;

/// Says what of HAProxy's answer could not be read, if anything: the list is then not complete.
fn add_unread(data: &mut Value, unread: &[String]) {
    if let (false, Some(members)) = (unread.is_empty(), data.as_object_mut()) {
        let told: Vec<&String> = unread.iter().take(UNREAD_MAX).collect();
        members.insert("unread".to_owned(), json!(told));
    }
}

/// The named instance; without a name the one called `default`, else the first.
fn chosen<'a>(
    instances: &'a Instances,
    wanted: Option<&str>,
) -> Result<(&'a str, &'a Instance), Reply> {
    let found = match wanted {
        Some(name) => instances.get_key_value(name),
        None => instances
            .get_key_value(DEFAULT_INSTANCE)
            .or_else(|| instances.first_key_value()),
    };
    found
        .map(|(name, instance)| (name.as_str(), instance))
        .ok_or_else(|| {
            bad_request(match wanted {
                Some(name) => format!("there is no HAProxy instance {name:?} on this agent"),
                None => "no HAProxy instance is configured on this agent".to_owned(),
            })
        })
}

fn bad_request(error: String) -> Reply {
    Reply::failure(StatusCode::BAD_REQUEST, error)
}

fn failed(error: &HaproxyError) -> Reply {
    let status = match error {
        HaproxyError::Unreachable { .. }
        | HaproxyError::Cut { .. }
        | HaproxyError::MasterUnreachable { .. }
        | HaproxyError::Silent
        | HaproxyError::Workers { .. }
        | HaproxyError::Foreign { .. }
        | HaproxyError::TooManyWorkers { .. } => StatusCode::SERVICE_UNAVAILABLE,
        HaproxyError::TooMuch
        | HaproxyError::Unreadable { .. }
        | HaproxyError::Refused { .. }
        | HaproxyError::Disobeyed { .. }
        | HaproxyError::Vanished { .. } => StatusCode::BAD_GATEWAY,
    };
    Reply::failure(status, chain(error))
}
