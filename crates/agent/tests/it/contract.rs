//! The public contract without any HAProxy: routes, envelopes, error shapes, limits, the token.

use std::path::Path;
use std::time::Duration;

use drover_agent::Choices;
use reqwest::Method;
use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::{Served, answer};

fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

async fn serving(apps_dir: &Path) -> Served {
    Served::with(Choices {
        apps_dir: Some(apps_dir.to_owned()),
        ..Choices::default()
    })
    .await
}

#[tokio::test]
async fn ping_says_ok() {
    let agent = Served::with(Choices::default()).await;
    for path in ["/ping", "/ping/", "/ping?now"] {
        assert_eq!(
            agent.get(path).await,
            (200, json!({"status": "ok"})),
            "{path}"
        );
    }
}

#[tokio::test]
async fn the_inventory_has_both_lists_and_no_docker_without_containers() {
    let apps = folder(&[
        (
            "1.yml",
            "name: shop\ntype: site\nversion: 1.0.0\nip: 127.0.0.1\npath: shop\n",
        ),
        (
            "2.yml",
            "name: jurws_1\ntype: service\nversion_file: VERSION\n",
        ),
        ("VERSION", "2.1.0\n"),
    ]);
    let agent = serving(apps.path()).await;
    let (status, first) = agent.get("/api/v1/apps").await;
    assert_eq!(status, 200);
    assert_eq!(first["server"]["name"], "web1");
    assert_eq!(first["server"]["ip"], "127.0.0.1");
    assert_eq!(first["server"].get("docker-app"), None);
    assert_eq!(first["server"]["site-app"]["count"], 1);
    let path = apps.path().join("shop").display().to_string();
    assert_eq!(
        first["server"]["site-app"]["applications"][0],
        json!({"name": "shop", "status": "unknown", "version": "1.0.0", "ip": "127.0.0.1", "path": path, "app_path": path})
    );
    assert_eq!(
        first["server"]["service-app"]["applications"][0]["version"],
        "2.1.0"
    );
    let stamp = first["server"]["site-app"]["last_update"].as_str().unwrap();
    assert!(stamp.len() == 15 && stamp.as_bytes()[8] == b'_', "{stamp}");
    assert_eq!(first["meta"]["cache"]["status"], "fresh");
    assert_eq!(first["meta"]["cache"].get("error"), None);
    assert!(first["meta"]["cache"]["scan_duration_ms"].is_u64());

    // The alias, and no stale answer after a change.
    std::fs::write(apps.path().join("VERSION"), "2.2.0\n").unwrap();
    let (status, second) = agent.get("/app").await;
    assert_eq!(
        (
            status,
            &second["server"]["service-app"]["applications"][0]["version"]
        ),
        (200, &json!("2.2.0"))
    );
}

#[tokio::test]
async fn an_agent_without_a_folder_has_empty_lists() {
    let agent = Served::with(Choices::default()).await;
    let (status, body) = agent.get("/api/v1/apps").await;
    assert_eq!(status, 200);
    for list in ["site-app", "service-app"] {
        assert_eq!(
            (
                &body["server"][list]["count"],
                &body["server"][list]["applications"]
            ),
            (&json!(0), &json!([]))
        );
    }
}

#[tokio::test]
async fn a_bad_description_is_reported_and_the_rest_is_served() {
    let apps = folder(&[
        ("1.yml", "name: good\ntype: site\n"),
        ("2.yml", "name: bad\ntype: site\nprot: 1\n"),
    ]);
    let agent = serving(apps.path()).await;
    let (status, body) = agent.get("/api/v1/apps").await;
    assert_eq!(
        (status, &body["server"]["site-app"]["count"]),
        (200, &json!(1))
    );
    let error = body["meta"]["cache"]["error"].as_str().unwrap();
    assert!(
        error.contains("2.yml` is left out") && error.contains("prot") && !error.contains('\n'),
        "{error}"
    );
}

#[tokio::test]
async fn a_folder_that_went_away_is_an_error_and_not_an_empty_inventory() {
    let apps = folder(&[("1.yml", "name: good\ntype: site\n")]);
    let agent = serving(apps.path()).await;
    assert_eq!(agent.get("/api/v1/apps").await.0, 200);
    drop(apps);
    let (status, body) = agent.get("/api/v1/apps").await;
    assert_eq!(status, 503);
    assert!(
        body["error"].as_str().unwrap().contains("No such file"),
        "{body}"
    );
}

#[tokio::test]
async fn the_router_answers_without_a_success_member() {
    let agent = Served::with(Choices::default()).await;
    for (method, path, body, wanted) in [
        (Method::GET, "/", "", 404),
        (Method::GET, "/app/shop", "", 404),
        (Method::GET, "/api/v2/apps", "", 404),
        (Method::GET, "/api/v1/nonsense/x", "", 404),
        (Method::POST, "/ping", "", 400),
        (Method::POST, "/api/v1", "", 400),
        (Method::POST, "/one/two/three", "", 404),
        (Method::POST, "/api/v1/nonsense/x", "{}", 404),
        (Method::POST, "/api/v1/control/nonsense/x", "{}", 404),
        (
            Method::POST,
            "/api/v1/haproxy/backends/b/servers/s/action",
            "{action",
            400,
        ),
        (Method::PUT, "/api/v1/apps", "", 405),
        (Method::DELETE, "/ping", "", 405),
    ] {
        let (status, answer) = answer(agent.request(method.clone(), path).body(body)).await;
        assert_eq!(status, wanted, "{method} {path}: {answer}");
        assert!(
            answer["error"].is_string() && answer.as_object().unwrap().len() == 1,
            "{method} {path}: {answer}"
        );
    }
}

#[tokio::test]
async fn a_controller_answers_in_its_envelope() {
    let agent = Served::with_haproxy(&[("main", "/nonexistent/admin.sock")]).await;
    let action = "/api/v1/haproxy/backends/b/servers/s/action";
    for (method, path, body, wanted) in [
        (Method::GET, "/api/v1/haproxy", "", 404),
        (Method::GET, "/api/v1/haproxy/backends/b", "", 404),
        (Method::GET, "/api/v1/haproxy/other/backends", "", 400),
        (
            Method::GET,
            "/api/v1/haproxy/backends/b%3Bshow/servers",
            "",
            400,
        ),
        (Method::GET, "/api/v1/haproxy/backends", "", 503),
        (Method::GET, "/api/v1/haproxy/backends/b/servers", "", 503),
        (Method::GET, "/api/v1/eureka/apps", "", 503),
        (Method::POST, "/api/v1/eureka/apps/i/pause", "{}", 503),
        (
            Method::POST,
            "/api/v1/haproxy/backends/b/servers/s",
            "{}",
            400,
        ),
        (Method::POST, action, "", 400),
        (Method::POST, action, "[]", 400),
        (Method::POST, action, r#"{"action": 1}"#, 400),
        (Method::POST, action, r#"{"action": "reboot"}"#, 400),
        (Method::POST, action, r#"{"action": "drain"}"#, 503),
        (
            Method::POST,
            "/api/v1/control/haproxy/backends/b/servers/s/action",
            r#"{"action": "drain"}"#,
            503,
        ),
        (
            Method::POST,
            "/api/v1/haproxy/other/backends/b/servers/s/action",
            r#"{"action": "drain"}"#,
            400,
        ),
        (
            Method::POST,
            "/api/v1/haproxy/backends/b/servers/s%20x/action",
            r#"{"action": "drain"}"#,
            400,
        ),
        (
            Method::POST,
            "/api/v1/haproxy/backends/b;x/servers/s/action",
            r#"{"action": "drain"}"#,
            400,
        ),
    ] {
        let (status, answer) = answer(agent.request(method.clone(), path).body(body)).await;
        assert_eq!(status, wanted, "{method} {path} {body}: {answer}");
        assert_eq!(answer["success"], false, "{method} {path}: {answer}");
        assert_eq!(answer["status_code"], wanted, "{method} {path}: {answer}");
        assert!(
            !answer["error"].as_str().unwrap().is_empty(),
            "{method} {path}: {answer}"
        );
    }
}

#[tokio::test]
async fn an_agent_without_haproxy_lists_no_instance() {
    let agent = Served::with(Choices::default()).await;
    let (status, body) = agent.get("/api/v1/haproxy/instances").await;
    assert_eq!(
        (status, body),
        (
            200,
            json!({"success": true, "status_code": 200, "data": {"instances": [], "count": 0}})
        )
    );
    assert_eq!(agent.get("/api/v1/haproxy/backends").await.0, 400);
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_whether_announced_or_not() {
    let agent = Served::with(Choices::default()).await;
    let path = "/api/v1/haproxy/backends/b/servers/s/action";
    let (status, body) = agent.post(path, &"x".repeat(64 * 1024 + 1)).await;
    assert_eq!(status, 413, "{body}");
    let mut stream = TcpStream::connect(agent.address()).await.unwrap();
    let head =
        format!("POST {path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n20000\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&vec![b' '; 0x20000]).await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
}

#[tokio::test]
async fn an_action_that_is_given_twice_is_refused() {
    let agent = Served::with(Choices::default()).await;
    let path = "/api/v1/haproxy/backends/b/servers/s/action";
    let (status, body) = agent
        .post(path, r#"{"action":"ready","action":"drain"}"#)
        .await;
    assert_eq!(status, 400, "{body}");
    let error = body["error"].as_str().unwrap();
    assert!(
        error.contains("\"action\" is given more than once"),
        "{body}"
    );
}

#[tokio::test]
async fn a_body_announced_as_too_large_is_refused_before_it_comes() {
    let agent = Served::with(Choices::default()).await;
    let path = "/api/v1/haproxy/backends/b/servers/s/action";
    let mut stream = TcpStream::connect(agent.address()).await.unwrap();
    let head = format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    // Half the time in which a body has to arrive.
    timeout(Duration::from_secs(5), stream.read_exact(&mut answer))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
}

#[tokio::test]
async fn with_a_token_only_ping_is_open() {
    let secrets = folder(&[("token", "a-token-of-some-length\n")]);
    let agent = Served::with(Choices {
        token_file: Some(secrets.path().join("token")),
        ..Choices::default()
    })
    .await;
    assert_eq!(agent.get("/ping").await.0, 200);
    for path in [
        "/api/v1/apps",
        "/app",
        "/api/v1/haproxy/instances",
        "/nowhere",
    ] {
        let response = agent.request(Method::GET, path).send().await.unwrap();
        assert_eq!(response.status(), 401, "{path}");
        assert_eq!(response.headers()["www-authenticate"], "Bearer");
        let (status, body) = answer(
            agent
                .request(Method::GET, path)
                .bearer_auth("another-token-of-length"),
        )
        .await;
        assert_eq!(status, 401, "{path}");
        assert!(
            body["error"].as_str().unwrap().contains("Authorization"),
            "{body}"
        );
    }
    let (status, _) = answer(
        agent
            .request(Method::POST, "/api/v1/haproxy/x")
            .basic_auth("a", Some("b")),
    )
    .await;
    assert_eq!(status, 401);
    let (status, _) = answer(
        agent
            .request(Method::GET, "/api/v1/apps")
            .bearer_auth("a-token-of-some-length"),
    )
    .await;
    assert_eq!(status, 200);
}

#[tokio::test]
async fn many_at_once_get_the_same_inventory() {
    let apps = folder(&[("1.yml", "name: a\ntype: site\nversion: '1'\n")]);
    let agent = serving(apps.path()).await;
    let asked = (0..50).map(|_| agent.get("/api/v1/apps"));
    for (status, body) in futures::future::join_all(asked).await {
        assert_eq!(
            (status, &body["server"]["site-app"]["count"]),
            (200, &json!(1))
        );
    }
}
