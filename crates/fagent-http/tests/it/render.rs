//! What an agent sees, as FAgent would write it: values of HAProxy are texts, empty fields left out.

use drover_domain::fleet::{ApplicationKind, ObservedApplication};
use drover_domain::haproxy::ObservedServer;
use drover_testkit::agent::{RefusalShape, Sight};
use serde_json::{Map, Value, json};

use crate::stub::Answer;

pub(crate) fn answer(sight: &Sight, path: &str) -> Answer {
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    match parts.as_slice() {
        ["ping"] => Answer::json(200, r#"{"status":"ok"}"#),
        ["api", "v1", "apps"] => Answer::json(200, &inventory(sight).to_string()),
        ["api", "v1", "haproxy", "instances"] => {
            let instances: Vec<Value> = sight
                .haproxy
                .keys()
                .map(|name| json!({"name": name, "socket_path": "/run/haproxy.sock", "available": true}))
                .collect();
            success(&json!({"instances": instances, "count": instances.len()}))
        }
        ["api", "v1", "haproxy", instance, rest @ ..] => {
            let Some(backends) = sight.haproxy.get(*instance) else {
                return refusal(RefusalShape::Controller, 400, "no such instance");
            };
            match rest {
                ["backends"] => {
                    let names: Vec<&String> = backends.keys().collect();
                    let mut data =
                        json!({"instance": instance, "backends": names, "count": names.len()});
                    if !sight.unread.is_empty() {
                        data["unread"] = json!(sight.unread);
                    }
                    success(&data)
                }
                ["backends", backend, "servers"] => {
                    let servers: Vec<Value> = backends
                        .get(*backend)
                        .into_iter()
                        .flatten()
                        .map(server)
                        .collect();
                    let mut data =
                        json!({"instance": instance, "backend": backend, "servers": servers});
                    if let Some(process) = sight.processes.get(*instance) {
                        data["haproxy"] =
                            json!({"pid": process.pid, "uptime_sec": process.uptime.as_secs()});
                        if let Some(version) = &sight.version {
                            data["haproxy"]["version"] = json!(version);
                        }
                    }
                    if !sight.unread.is_empty() {
                        data["unread"] = json!(sight.unread);
                    }
                    success(&data)
                }
                ["backends", backend, "servers", server, "action"] => success(&json!({
                    "instance": instance, "backend": backend, "server": server, "action": "drain", "status": "completed",
                })),
                _ => refusal(RefusalShape::Controller, 404, "no such path"),
            }
        }
        _ => refusal(RefusalShape::Router, 404, "no such path"),
    }
}

pub(crate) fn refusal(shape: RefusalShape, status: u16, message: &str) -> Answer {
    let body = match shape {
        RefusalShape::Controller => {
            json!({"success": false, "status_code": status, "error": message})
        }
        RefusalShape::Command => {
            json!({"success": false, "status_code": status, "data": {"instance_id": "i", "app_name": "a", "error": message}})
        }
        RefusalShape::Router => json!({"error": message}),
    };
    Answer::json(status, &body.to_string())
}

fn success(data: &Value) -> Answer {
    Answer::json(
        200,
        &json!({"success": true, "status_code": 200, "data": data}).to_string(),
    )
}

fn inventory(sight: &Sight) -> Value {
    let list = |kind: ApplicationKind| -> Vec<Value> {
        sight
            .applications
            .iter()
            .filter(|found| found.kind == kind)
            .map(application)
            .collect()
    };
    let mut sites = list(ApplicationKind::Site);
    sites.extend(vec![json!({"status": "online"}); sight.nameless]);
    let mut server = json!({
        "name": sight.server, "ip": "10.0.0.7",
        "site-app": {"applications": sites, "count": sites.len(), "last_update": "20261121_080000"},
        "service-app": {"applications": list(ApplicationKind::Service)},
    });
    let containers = list(ApplicationKind::Docker);
    if !containers.is_empty() {
        server["docker-app"] = json!({"applications": containers});
    }
    json!({"server": server, "meta": {"cache": {"status": "fresh"}}})
}

fn application(found: &ObservedApplication) -> Value {
    let text = |text: &Option<String>| text.clone().map_or(Value::Null, Value::from);
    let mut fields = json!({
        "status": found.status.as_str(), "ip": text(&found.address), "port": found.port, "pid": found.pid,
        "start_time": text(&found.start_time),
    });
    let more = match found.kind {
        ApplicationKind::Docker => json!({
            "container_name": found.name, "container_id": text(&found.container_id), "image": text(&found.version.image),
            "tag": text(&found.version.tag), "compose_project_dir": text(&found.path),
        }),
        ApplicationKind::Site | ApplicationKind::Service => json!({
            "name": found.name, "version": text(&found.version.version), "distr_path": text(&found.version.distr_path),
            "app_path": text(&found.path), "log_path": text(&found.log_path),
        }),
    };
    let fields: &mut Map<String, Value> = fields.as_object_mut().unwrap();
    fields.extend(more.as_object().unwrap().clone());
    fields.retain(|_, value| !value.is_null());
    Value::Object(fields.clone())
}

fn server(found: &ObservedServer) -> Value {
    let mut fields = Map::new();
    let mut tell = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            fields.insert(name.to_owned(), value.into());
        }
    };
    tell("name", Some(found.name.clone()));
    tell("status", Some(found.word.as_str().to_owned()));
    tell("weight", Some(found.weight.to_string()));
    tell("check_status", found.check_status.clone());
    tell("last_chg", Some(String::new()));
    tell(
        "addr",
        found
            .address
            .as_ref()
            .map(|address| format!("{address}:{}", found.port.unwrap_or(0))),
    );
    tell(
        "admin_state",
        found.admin.map(|admin| admin.bits().to_string()),
    );
    // Workers of HAProxy are counted apart: the sum, and the part of the old workers.
    let own = found
        .sessions
        .map(|all| all - found.old_sessions.unwrap_or_default());
    tell("scur", own.map(|own| own.to_string()));
    tell("old_scur", found.old_sessions.map(|old| old.to_string()));
    let role = &found.role;
    tell("bck", Some(u8::from(role.is_backup).to_string()));
    tell("tracked", role.tracks.clone());
    let agent_state = if role.has_agent_check { 22 } else { 0 };
    tell("agent_state", Some(agent_state.to_string()));
    tell("qcur", found.queue.map(|queue| queue.to_string()));
    Value::Object(fields)
}
