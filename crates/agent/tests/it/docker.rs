//! Containers from a stub Docker daemon that says what a real one said.

use std::path::{Path, PathBuf};

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use drover_agent::Choices;
use serde_json::{Value, json};
use tokio::net::UnixListener;
use tokio::task::JoinSet;

use crate::support::Served;

async fn daemon(request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let body = if path.ends_with("/version") {
        json!({"ApiVersion": "1.41", "MinAPIVersion": "1.12", "Version": "20.10.24"})
    } else if path.ends_with("/containers/json") {
        json!([
            {"Id": "bbb", "Names": ["/worker"], "Image": "registry:5000/team/worker", "State": "running", "Ports": [], "Labels": {}},
            {"Id": "gone", "Names": ["/gone"], "Image": "x", "State": "running"},
            // Its tag has moved on to another image, and another container is linked to it.
            {"Id": "ccc", "Names": ["/AACORE01/edge", "/shop_1"], "State": "running",
             "Image": "sha256:0505a58fa464aa11bb22cc33dd44ee55ff6600112233445566778899aabbccdd"},
            {"Id": "ddd", "Names": ["/pinned"], "Image": "0505a58fa464", "State": "running"},
            {"Id": "aaa", "Names": ["/jurws_1"], "Image": "team/jurws:1.4.2", "State": "running",
             "Ports": [{"PrivatePort": 9000, "Type": "tcp"}, {"IP": "0.0.0.0", "PrivatePort": 8080, "PublicPort": 18080, "Type": "tcp"}],
             "Labels": {"com.docker.compose.project.working_dir": "/srv/jurws"}},
        ])
    } else if path.ends_with("/containers/aaa/json") {
        json!({"Id": "aaa", "State": {"Status": "running", "Pid": 4711, "StartedAt": "2025-11-12T20:42:09.346234221Z"}})
    } else if path.ends_with("/containers/ccc/json") {
        json!({"Id": "ccc", "Name": "/shop_1", "Config": {"Image": "team/shop:1.0"},
            "Image": "sha256:0505a58fa464aa11bb22cc33dd44ee55ff6600112233445566778899aabbccdd",
            "State": {"Status": "running", "Pid": 0}})
    } else if path.ends_with("/containers/ddd/json") {
        json!({"Id": "ddd", "Name": "/pinned", "Config": {"Image": "team/pin@sha256:ffff"}, "State": {"Status": "running", "Pid": 0}})
    } else if path.ends_with("/containers/bbb/json") {
        json!({"Id": "bbb", "State": {"Status": "running", "Pid": 0}})
    } else {
        return (
            StatusCode::NOT_FOUND,
            axum::Json(json!({"message": "No such container: gone"})),
        )
            .into_response();
    };
    axum::Json(body).into_response()
}

pub(crate) fn start(folder: &Path, tasks: &mut JoinSet<()>) -> PathBuf {
    let socket = folder.join("docker.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    tasks.spawn(async move {
        axum::serve(listener, Router::new().fallback(daemon))
            .await
            .unwrap();
    });
    socket
}

async fn inventory(socket: PathBuf) -> (u16, Value) {
    let choices = Choices {
        docker_socket: Some(socket),
        server_ip: Some("192.0.2.11".parse().unwrap()),
        ..Choices::default()
    };
    Served::with(choices).await.get("/api/v1/apps").await
}

#[tokio::test]
async fn running_containers_are_listed_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let mut tasks = JoinSet::new();
    let (status, body) = inventory(start(folder.path(), &mut tasks)).await;
    assert_eq!(
        (status, &body["server"]["docker-app"]["count"]),
        (200, &json!(4)),
        "{body}"
    );
    assert_eq!(
        body["server"]["docker-app"]["applications"],
        json!([
            {"container_id": "aaa", "container_name": "jurws_1", "image": "team/jurws", "tag": "1.4.2", "ip": "192.0.2.11",
             "port": 18080, "compose_project_dir": "/srv/jurws", "status": "online", "pid": 4711,
             "start_time": "2025-11-12T20:42:09.346234Z", "eureka_registered": false},
            {"container_id": "ddd", "container_name": "pinned", "image": "team/pin", "tag": "sha256:ffff",
             "ip": "192.0.2.11", "status": "online", "start_time": "Unknown", "eureka_registered": false},
            {"container_id": "ccc", "container_name": "shop_1", "image": "team/shop", "tag": "1.0",
             "ip": "192.0.2.11", "status": "online", "start_time": "Unknown", "eureka_registered": false},
            {"container_id": "bbb", "container_name": "worker", "image": "registry:5000/team/worker", "tag": "latest",
             "ip": "192.0.2.11", "status": "online", "start_time": "Unknown", "eureka_registered": false},
        ])
    );
}

#[tokio::test]
async fn a_daemon_that_is_down_is_an_error_and_not_an_inventory_without_containers() {
    let (status, body) = inventory("/nonexistent/docker.sock".into()).await;
    assert_eq!(status, 503);
    assert!(body["error"].as_str().unwrap().contains("Docker"), "{body}");
}
