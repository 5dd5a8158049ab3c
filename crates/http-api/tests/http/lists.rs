//! Lists, page by page, and the shapes of their items.

use serde_json::{Value, json};

use crate::world::{World, update};

fn names(answer: &Value) -> Vec<&str> {
    answer["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["name"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn a_list_is_read_page_by_page() {
    let world = World::with_fleet().await;
    for prefix in ["/api", "/api/v1"] {
        let mut address = format!("{prefix}/servers?limit=2");
        let first = world.get(&address).await.ok(200);
        let page = first.json();
        assert_eq!(names(&page), ["web01.example", "web02.example"]);
        let cursor = page["next_cursor"].as_str().unwrap();
        address = format!("{address}&cursor={cursor}");
        assert_eq!(first.header("link"), format!("<{address}>; rel=\"next\""));

        let last = world.get(&address).await.ok(200);
        assert_eq!(names(&last.json()), ["web03.example"]);
        assert_eq!(last.json()["next_cursor"], Value::Null);
        assert_eq!(last.header("link"), "");
    }
}

#[tokio::test]
async fn a_cursor_of_another_list_is_refused() {
    let world = World::with_fleet().await;
    let page = world
        .get("/api/applications?limit=2&app_type=service")
        .await
        .ok(200)
        .json();
    let cursor = page["next_cursor"].as_str().unwrap();
    world
        .get(&format!(
            "/api/v1/applications?app_type=service&cursor={cursor}"
        ))
        .await
        .ok(200);
    for path in [
        "servers?",
        "applications?",
        "applications?app_type=site&",
        "applications/1/versions?",
        "tasks?",
    ] {
        world
            .get(&format!("/api/{path}cursor={cursor}"))
            .await
            .problem(400, "cursor_mismatch");
    }
    world
        .get("/api/servers?cursor=nonsense")
        .await
        .problem(400, "invalid_cursor");
    for limit in ["0", "201", "x"] {
        world
            .get(&format!("/api/servers?limit={limit}"))
            .await
            .problem(400, "invalid_query_parameter");
    }
}

#[tokio::test]
async fn applications_are_filtered() {
    let world = World::with_fleet().await;
    for (query, count) in [
        ("", 6),
        ("?server_id=1", 2),
        ("?server_id=7777", 0),
        ("?name=jurws_1", 3),
        ("?group=jurws", 6),
        ("?group=nobody", 0),
        ("?app_type=service", 6),
        ("?app_type=docker", 0),
        ("?server_id=2&name=jurws_2&app_type=service&group=jurws", 1),
    ] {
        let page = world
            .get(&format!("/api/applications{query}"))
            .await
            .ok(200)
            .json();
        assert_eq!(page["items"].as_array().unwrap().len(), count, "{query}");
    }
    for query in [
        "server_id=0",
        "server_id=x",
        "app_type=vm",
        "name=%00",
        "group=",
    ] {
        world
            .get(&format!("/api/applications?{query}"))
            .await
            .problem(400, "invalid_query_parameter");
    }
}

#[tokio::test]
async fn the_fleet_is_shown() {
    let world = World::with_fleet().await;
    let page = world
        .get("/api/applications?server_id=1&name=jurws_1")
        .await
        .ok(200)
        .json();
    let shown = &page["items"][0];
    let expected = json!({
        "id": shown["id"], "server_id": 1, "server_name": "web01.example", "name": "jurws_1",
        "app_type": "service", "group": "jurws", "proposed_group": null, "instance_number": 1, "status": "online", "version": "1.0.0",
        "tag": null, "image": null, "address": "192.0.2.1", "port": 8001, "path": "/srv/jurws", "log_path": null,
        "distr_path": null, "effective_playbook": "update-app.yml {server} {app} {distr_url} {mode}",
        "haproxy_server": "be_jurws/web01_jurws_1", "last_seen": "2023-11-14T22:13:20.000Z",
    });
    assert_eq!(*shown, expected);
    let id = &shown["id"];
    assert_eq!(
        world
            .get(&format!("/api/applications/{id}"))
            .await
            .ok(200)
            .json(),
        expected
    );

    let versions = world
        .get(&format!("/api/applications/{id}/versions"))
        .await
        .ok(200)
        .json();
    let version = &versions["items"][0];
    assert_eq!(
        *version,
        json!({
            "id": version["id"], "old_version": null, "new_version": "1.0.0", "old_tag": null, "new_tag": null,
            "changed_at": "2023-11-14T22:13:20.000Z", "changed_by": "agent", "change_source": "polling", "rollout_id": null,
        })
    );

    let groups = world.get("/api/application-groups").await.ok(200).json();
    let group = &groups["items"][0];
    assert_eq!(
        *group,
        json!({
            "id": group["id"], "name": "jurws", "catalog_id": group["catalog_id"], "catalog": "jurws", "applications": 6,
            "online": 6, "update_playbook_path": null, "artifact_list_url": null, "artifact_extension": null,
            "batch_grouping_strategy": group["batch_grouping_strategy"],
        })
    );
}

#[tokio::test]
async fn haproxy_is_shown() {
    let world = World::with_fleet().await;
    let instances = world.get("/api/haproxy/instances").await.ok(200).json();
    let instance = &instances["items"][0];
    assert_eq!(
        *instance,
        json!({
            "id": instance["id"], "server_id": 1, "server_name": "web01.example", "name": "default", "active": true,
            "last_sync": "2023-11-14T22:13:20.000Z", "last_sync_status": "success", "last_sync_error": null,
            "observed_at": "2023-11-14T22:13:20.000Z", "version": null, "started_at": null,
            "backends": 1,
        })
    );
    let backends = world
        .get(&format!(
            "/api/haproxy/instances/{}/backends",
            instance["id"]
        ))
        .await
        .ok(200)
        .json();
    let backend = &backends["items"][0];
    assert_eq!(
        *backend,
        json!({
            "id": backend["id"], "instance_id": instance["id"], "name": "be_jurws", "last_fetch_status": "success",
            "last_fetch_error": null, "observed_at": "2023-11-14T22:13:20.000Z", "missed_at": null, "servers": 6, "ready": backend["ready"],
        })
    );
    let servers = world
        .get(&format!("/api/haproxy/backends/{}/servers", backend["id"]))
        .await
        .ok(200)
        .json();
    assert_eq!(servers["items"].as_array().unwrap().len(), 6);
    let server = servers["items"]
        .as_array()
        .unwrap()
        .iter()
        .find(|server| server["name"] == "web01_jurws_1")
        .unwrap();
    assert_eq!(
        *server,
        json!({
            "id": server["id"], "backend_id": backend["id"], "name": "web01_jurws_1", "status": "UP 1/3",
            "health": "going_down", "admin": "drain", "own_admin": "drain",
            "takes_requests": true, "backup": false, "tracks": null, "agent_check": false, "sessions": 4, "queue": 0, "weight": 100, "check_status": "L7OK",
            "address": "192.0.2.1", "port": 8001, "application_id": server["application_id"],
            "last_seen": "2023-11-14T22:13:20.000Z",
            "observed_at": "2023-11-14T22:13:20.000Z", "missed_at": null, "pin": null, "drift": false,
        })
    );
    assert!(server["application_id"].is_i64());
}

#[tokio::test]
async fn orchestrators_and_events_are_shown() {
    let world = World::with_fleet().await;
    let playbooks = world.get("/api/orchestrators").await.ok(200).json();
    let playbook = &playbooks["items"][0];
    assert_eq!(playbook["file_path"], "orchestrator-even-odd.yml");
    assert_eq!(playbook["name"], "Even, then odd");
    assert_eq!(
        playbook["required_params"][1],
        json!({ "name": "distr_url", "description": "the artifact", "default": null })
    );
    assert_eq!(playbook["is_active"], true);

    world
        .post("/api/applications/batch_update", update(&world.apps[..1]))
        .await
        .ok(202);
    let events = world.get("/api/events").await.ok(200).json();
    let event = &events["items"][0];
    assert_eq!(event["event_type"], "update");
    assert_eq!(event["status"], "pending");
    assert_eq!(event["application_id"], world.apps[0]);
    let server = &event["server_id"];
    let same = world
        .get(&format!("/api/events?server_id={server}"))
        .await
        .ok(200)
        .json();
    assert_eq!(same["items"][0], *event);
    world
        .get("/api/events?server_id=nobody")
        .await
        .problem(400, "invalid_query_parameter");
}

#[tokio::test]
async fn lists_are_narrowed() {
    let world = World::with_fleet().await;
    let count = async |path: &str| {
        let found = world.get(path).await.ok(200).json();
        found["items"].as_array().unwrap().len()
    };
    for (path, expected) in [
        ("/api/servers?status=online", 3),
        ("/api/servers?status=offline", 0),
        ("/api/servers?is_haproxy_node=true", 1),
        ("/api/servers?q=WEB02", 1),
        ("/api/servers?q=192.0.2", 3),
        ("/api/servers?q=%25", 0),
        ("/api/applications?status=online", 6),
        ("/api/applications?status=no_data", 0),
        ("/api/applications?q=_2", 3),
        ("/api/applications?version=0.0.0", 0),
        ("/api/events?event_type=connect", 0),
        (
            "/api/events?since=2000-01-01T00:00:00Z&until=2000-01-02T00:00:00Z",
            0,
        ),
        ("/api/events?application_id=1&status=success", 0),
    ] {
        assert_eq!(count(path).await, expected, "{path}");
    }
    for path in [
        "/api/servers?status=up",
        "/api/servers?is_haproxy_node=yes",
        "/api/servers?q=",
        "/api/applications?status=gone",
        "/api/events?since=yesterday",
        "/api/events?event_type=x",
        "/api/events?application_id=0",
    ] {
        world
            .get(path)
            .await
            .problem(400, "invalid_query_parameter");
    }
}
