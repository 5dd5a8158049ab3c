//! A real HAProxy behind the agent.

use std::net::TcpListener as StdListener;
use std::path::Path;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UnixStream};

use crate::support::{Haproxy, Served, eventually};

const ACTION: &str = "/api/v1/haproxy/backends/web/servers/app1/action";

fn web(port: u16) -> String {
    format!(
        "frontend entry\n  bind unix@{{folder}}/entry.sock\n  default_backend web\n\
         backend web\n  cookie STICK insert\n  server app1 127.0.0.1:{port} cookie one\n  server app2 127.0.0.1:{port} disabled cookie x,y\n\
         backend other\n  server app1 127.0.0.1:{port}\n"
    )
}

/// An agent over an HAProxy whose servers lead to `port`.
async fn agent_over(port: u16) -> (Haproxy, Served) {
    let haproxy = Haproxy::start(&web(port)).await;
    let agent = Served::with_haproxy(&[("default", &haproxy.socket("admin.sock"))]).await;
    (haproxy, agent)
}

async fn act(agent: &Served, action: &str) -> (u16, Value) {
    agent
        .post(ACTION, &json!({"action": action}).to_string())
        .await
}

async fn observed(agent: &Served) -> (String, String) {
    let server = agent.server("web", "app1").await;
    (
        server["status"].as_str().unwrap().to_owned(),
        server["admin_state"].as_str().unwrap().to_owned(),
    )
}

#[tokio::test]
async fn instances_backends_and_servers_are_listed() {
    let haproxy = Haproxy::start(&web(1)).await;
    let socket = haproxy.socket("admin.sock");
    let agent = Served::with_haproxy(&[("down", "/nonexistent.sock"), ("lb1", &socket)]).await;
    let (_, listed) = agent.get("/api/v1/haproxy/instances").await;
    let version = listed["data"]["instances"][1]["version"].as_str().unwrap();
    assert!(
        version.starts_with(|first: char| first.is_ascii_digit()),
        "{version}"
    );
    assert_eq!(
        agent.get("/api/v1/haproxy/instances").await,
        (
            200,
            json!({"success": true, "status_code": 200, "data": {"count": 2, "instances": [
                {"name": "down", "socket_path": "/nonexistent.sock", "available": false, "old_workers": false},
                {"name": "lb1", "socket_path": socket, "available": true, "old_workers": false, "version": version},
            ]}})
        )
    );
    assert_eq!(
        agent.get("/api/v1/haproxy/lb1/backends").await,
        (
            200,
            json!({"success": true, "status_code": 200,
            "data": {"instance": "lb1", "count": 2, "backends": ["other", "web"]}})
        )
    );
    let (status, body) = agent.get("/api/v1/haproxy/lb1/backends/web/servers").await;
    assert_eq!(
        (status, &body["data"]["instance"], &body["data"]["count"]),
        (200, &json!("lb1"), &json!(2))
    );
    assert!(
        body["data"]["haproxy"]["pid"]
            .as_str()
            .unwrap()
            .parse::<u32>()
            .unwrap()
            > 0
    );
    assert!(
        body["data"]["haproxy"]["uptime_sec"]
            .as_str()
            .unwrap()
            .parse::<u64>()
            .is_ok()
    );
    assert_eq!(body["data"]["haproxy"]["version"], version);
    let first = &body["data"]["servers"][0];
    assert!(
        first.as_object().unwrap().values().all(Value::is_string),
        "{first}"
    );
    for (member, value) in [
        ("name", "app1"),
        ("status", "no check"),
        ("weight", "1"),
        ("addr", "127.0.0.1:1"),
        ("cookie", "one"),
        ("scur", "0"),
        ("qcur", "0"),
        ("admin_state", "0"),
        ("op_state", "2"),
    ] {
        assert_eq!(first[member], value, "{member} in {first}");
    }
    assert_eq!(first["last_chg"], first["lastchg"]);
    assert!(
        first["lastchg"].as_str().unwrap().parse::<u64>().is_ok(),
        "{first}"
    );
}

#[tokio::test]
async fn a_comma_in_a_cookie_loses_no_server() {
    let (_haproxy, agent) = agent_over(1).await;
    let second = agent.server("web", "app2").await;
    assert_eq!(
        (&second["cookie"], &second["status"]),
        (&json!("x,y"), &json!("MAINT"))
    );
    // Maintenance from the configuration: forced (1) and configured (4), a decimal mask.
    assert_eq!(second["admin_state"], "5");
}

#[tokio::test]
async fn every_action_is_done_and_read_back() {
    let (_haproxy, agent) = agent_over(1).await;
    for (action, status, admin_state) in [
        ("drain", "DRAIN", "8"),
        ("drain", "DRAIN", "8"),
        ("maint", "MAINT", "1"),
        ("drain", "DRAIN", "8"),
        ("ready", "no check", "0"),
        ("ready", "no check", "0"),
    ] {
        let (code, body) = act(&agent, action).await;
        assert_eq!(code, 200, "{body}");
        assert_eq!(
            body["data"],
            json!({"instance": "default", "backend": "web", "server": "app1", "action": action,
                "status": "completed", "admin_state": admin_state})
        );
        assert!(body["message"].is_string());
        assert_eq!(
            observed(&agent).await,
            (status.to_owned(), admin_state.to_owned())
        );
    }
    // The same through the old path and an instance's name; the backend of the same server name is not touched.
    for (path, action) in [
        (
            "/api/v1/control/haproxy/backends/web/servers/app1/action",
            "maint",
        ),
        (
            "/api/v1/control/haproxy/default/backends/web/servers/app1/action",
            "ready",
        ),
        (
            "/api/v1/haproxy/default/backends/web/servers/app1/action",
            "drain",
        ),
    ] {
        let (code, body) = agent
            .post(path, &json!({"action": action}).to_string())
            .await;
        assert_eq!(
            (code, &body["data"]["action"]),
            (200, &json!(action)),
            "{body}"
        );
    }
    assert_eq!(agent.server("other", "app1").await["admin_state"], "0");
}

#[tokio::test]
async fn what_haproxy_refuses_is_an_error_in_its_own_words() {
    let haproxy = Haproxy::start(&web(1)).await;
    let agent = Served::with_haproxy(&[
        ("default", &haproxy.socket("admin.sock")),
        ("operator", &haproxy.socket("operator.sock")),
    ])
    .await;
    for (path, words) in [
        (
            "/api/v1/haproxy/backends/web/servers/none/action",
            "No such server.",
        ),
        (
            "/api/v1/haproxy/backends/none/servers/app1/action",
            "No such backend.",
        ),
        (
            "/api/v1/haproxy/operator/backends/web/servers/app1/action",
            "Permission denied",
        ),
    ] {
        let (code, body) = agent.post(path, r#"{"action": "drain"}"#).await;
        assert_eq!(
            (code, &body["success"], &body["status_code"]),
            (502, &json!(false), &json!(502)),
            "{path}: {body}"
        );
        assert!(
            body["error"].as_str().unwrap().contains(words),
            "{path}: {body}"
        );
    }
    assert_eq!(observed(&agent).await.1, "0");
}

#[tokio::test]
async fn an_unknown_backend_has_no_servers() {
    let (_haproxy, agent) = agent_over(1).await;
    // HAProxy takes a number for an id; a name that is one must not show another backend's servers.
    for backend in ["none", "-1", "3"] {
        let (code, body) = agent
            .get(&format!("/api/v1/haproxy/backends/{backend}/servers"))
            .await;
        assert_eq!(
            (code, &body["data"]["servers"], &body["data"]["count"]),
            (200, &json!([]), &json!(0)),
            "{backend}"
        );
    }
}

#[tokio::test]
async fn a_frontend_of_the_same_name_does_not_hide_the_servers() {
    let proxies = "frontend web\n  bind unix@{folder}/entry.sock\n  default_backend web\nbackend web\n  server app1 127.0.0.1:1\n";
    let haproxy = Haproxy::start(proxies).await;
    let agent = Served::with_haproxy(&[("default", &haproxy.socket("admin.sock"))]).await;
    let server = agent.server("web", "app1").await;
    assert_eq!(
        (&server["status"], &server["admin_state"]),
        (&json!("no check"), &json!("0"))
    );
}

#[tokio::test]
async fn a_tracked_server_keeps_its_inherited_state_apart() {
    let proxies = "backend web\n  server app1 127.0.0.1:1 check\nbackend copy\n  server app1 127.0.0.1:1 track web/app1\n";
    let haproxy = Haproxy::start(proxies).await;
    let agent = Served::with_haproxy(&[("default", &haproxy.socket("admin.sock"))]).await;
    assert_eq!(act(&agent, "maint").await.0, 200);
    let copy = agent.server("copy", "app1").await;
    assert_eq!(
        (&copy["status"], &copy["admin_state"]),
        (&json!("MAINT (via web/app1)"), &json!("2"))
    );
}

/// A request through HAProxy that the application answers on command; its answer is read to the end.
async fn ask(entry: &Path) -> String {
    let mut stream = UnixStream::connect(entry).await.unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn a_request_in_flight_is_one_session_until_it_ends() {
    let application = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (haproxy, agent) = agent_over(application.local_addr().unwrap().port()).await;
    let entry = haproxy.path("entry.sock");
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move { ask(&entry).await });
    let (mut held, _) = application.accept().await.unwrap();

    let sessions = async || agent.server("web", "app1").await["scur"].clone();
    assert_eq!(sessions().await, "1");
    assert_eq!(act(&agent, "drain").await.0, 200);
    let draining = agent.server("web", "app1").await;
    assert_eq!(
        (&draining["status"], &draining["scur"]),
        (&json!("DRAIN"), &json!("1"))
    );

    held.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\ndone")
        .await
        .unwrap();
    let answer = tasks.join_next().await.unwrap().unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.ends_with("done"),
        "{answer}"
    );
    eventually(async || match sessions().await {
        none if none == "0" => Ok(()),
        some => Err(format!("{some} sessions")),
    })
    .await;
    assert_eq!(agent.server("web", "app1").await["stot"], "1");
}

#[tokio::test]
async fn a_socket_over_tcp_serves_as_well() {
    let port = StdListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let stats = format!("  stats socket ipv4@127.0.0.1:{port} level admin");
    let _haproxy = Haproxy::start_with(&stats, &web(1)).await;
    let address = format!("ipv4@127.0.0.1:{port}");
    let agent = Served::with_haproxy(&[("tcp", &address)]).await;
    let (_, body) = agent.get("/api/v1/haproxy/instances").await;
    let instance = &body["data"]["instances"][0];
    assert_eq!(
        (&instance["socket_path"], &instance["available"]),
        (&json!(address), &json!(true))
    );
    assert_eq!(act(&agent, "drain").await.0, 200);
    assert_eq!(observed(&agent).await.1, "8");
}

#[tokio::test]
async fn an_haproxy_that_comes_later_is_used_as_soon_as_it_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("late.sock").display().to_string();
    let agent = Served::with_haproxy(&[("default", &socket)]).await;
    assert_eq!(agent.get("/api/v1/haproxy/backends").await.0, 503);
    let stats = format!("  stats socket {socket} level admin");
    let _haproxy = Haproxy::start_with(&stats, &web(1)).await;
    // HAProxy opens its sockets one after another, and only another one of them has been seen.
    eventually(async || match agent.get("/api/v1/haproxy/backends").await {
        (200, _) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
}

#[tokio::test]
async fn a_thousand_servers_are_one_answer() {
    use std::fmt::Write as _;

    let mut proxies = "backend big\n".to_owned();
    for number in 0..1000 {
        writeln!(proxies, "  server app{number} 127.0.0.1:{}", 1024 + number).unwrap();
    }
    let haproxy = Haproxy::start(&proxies).await;
    let agent = Served::with_haproxy(&[("default", &haproxy.socket("admin.sock"))]).await;
    let (code, body) = agent.get("/api/v1/haproxy/backends/big/servers").await;
    let servers = body["data"]["servers"].as_array().unwrap();
    assert_eq!((code, servers.len()), (200, 1000));
    assert!(
        servers
            .iter()
            .all(|server| server["admin_state"] == "0" && server["scur"] == "0")
    );
}

#[tokio::test]
async fn an_answer_that_never_ends_is_cut_off() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("flood.sock");
    let listener = tokio::net::UnixListener::bind(&socket).unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let piece = vec![b'x'; 1 << 20];
        while stream.write_all(&piece).await.is_ok() {}
    });
    let agent = Served::with_haproxy(&[("default", &socket.display().to_string())]).await;
    let (code, body) = agent.get("/api/v1/haproxy/backends").await;
    assert_eq!(code, 502);
    assert!(
        body["error"].as_str().unwrap().contains("larger than"),
        "{body}"
    );
}

#[tokio::test]
async fn garbage_instead_of_a_table_is_said_and_never_believed() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("odd.sock");
    let listener = tokio::net::UnixListener::bind(&socket).unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut command = [0; 256];
            let bytes = stream.read(&mut command).await.unwrap();
            // It accepts every command and then reports another state.
            let answer: &[u8] = if command[..bytes].starts_with(b"set server") {
                b"\n"
            } else if command[..bytes].starts_with(b"show servers state") {
                b"1\n# be_id be_name srv_id srv_name srv_op_state srv_admin_state\n3 web 1 app1 2 0\n\n"
            } else {
                b"hello\n"
            };
            stream.write_all(answer).await.unwrap();
        }
    });
    let agent = Served::with_haproxy(&[("default", &socket.display().to_string())]).await;
    for path in [
        "/api/v1/haproxy/backends",
        "/api/v1/haproxy/backends/web/servers",
    ] {
        let (code, body) = agent.get(path).await;
        assert_eq!(code, 502, "{path}: {body}");
        assert!(body["error"].as_str().unwrap().contains("hello"), "{body}");
    }
    let (code, body) = act(&agent, "drain").await;
    assert_eq!(code, 502, "{body}");
    assert!(
        body["error"].as_str().unwrap().contains("admin state is 0"),
        "{body}"
    );
}

#[tokio::test]
async fn what_decides_whether_a_server_gets_requests_is_told() {
    let proxies = "backend web\n  server app1 127.0.0.1:1 check agent-check agent-port 1 agent-inter 1h\n\
        \x20 server spare 127.0.0.1:1 backup\n  server idle 127.0.0.1:1 weight 0\n\
        backend copy\n  server app1 127.0.0.1:1 track web/app1\n";
    let haproxy = Haproxy::start(proxies).await;
    let agent = Served::with_haproxy(&[("default", &haproxy.socket("admin.sock"))]).await;
    for (backend, name, expected) in [
        ("web", "app1", ["1", "0", "1", ""]),
        ("web", "spare", ["0", "1", "1", ""]),
        ("web", "idle", ["1", "0", "0", ""]),
        ("copy", "app1", ["1", "0", "1", "web/app1"]),
    ] {
        let server = agent.server(backend, name).await;
        let told = ["act", "bck", "weight", "tracked"]
            .map(|column| server[column].as_str().unwrap_or_default());
        assert_eq!(told, expected, "{backend}/{name}");
        // The bits of `srv_agent_state`: configured (2) and enabled (4).
        let bits: u32 = server["agent_state"].as_str().unwrap().parse().unwrap();
        let expected = if (backend, name) == ("web", "app1") {
            6
        } else {
            0
        };
        assert_eq!(bits & 6, expected, "{backend}/{name}");
    }
}

#[tokio::test]
async fn a_name_as_long_as_haproxy_takes_it_is_a_name() {
    let long = "x".repeat(600);
    let proxies =
        format!("backend {long}\n  server {long} 127.0.0.1:1\n  server app1 127.0.0.1:1\n");
    let haproxy = Haproxy::start(&proxies).await;
    let agent = Served::with_haproxy(&[("default", &haproxy.socket("admin.sock"))]).await;
    assert_eq!(agent.server(&long, &long).await["admin_state"], "0");
    let path = format!("/api/v1/haproxy/backends/{long}/servers/{long}/action");
    let (code, body) = agent.post(&path, r#"{"action": "drain"}"#).await;
    assert_eq!(
        (code, &body["data"]["admin_state"]),
        (200, &json!("8")),
        "{body}"
    );
}

/// An HAProxy in the test's place that answers `stat` to every question for statistics.
async fn agent_over_odd(folder: &Path, stat: &'static str) -> (Served, tokio::task::JoinSet<()>) {
    const ODD_INFO: &str = "Name: HAProxy\nVersion: 2.6.12\nPid: 7\nUptime_sec: 9\n\n";
    const ODD_STATE: &str = "1\n# be_id be_name srv_id srv_name srv_op_state srv_admin_state\n3 web 1 app1 2 0\n3 web 2 app2 2 0\n\n";
    let socket = folder.join("odd.sock");
    let listener = tokio::net::UnixListener::bind(&socket).unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut command = [0; 256];
            let bytes = stream.read(&mut command).await.unwrap();
            let is_chain = command[..bytes].starts_with(b"show info;");
            let before = if is_chain {
                [ODD_INFO, ODD_STATE].concat()
            } else {
                String::new()
            };
            stream
                .write_all(format!("{before}{stat}").as_bytes())
                .await
                .unwrap();
        }
    });
    let agent = Served::with_haproxy(&[("default", &socket.display().to_string())]).await;
    (agent, tasks)
}

#[tokio::test]
async fn an_answer_that_was_cut_is_an_error_and_never_a_shorter_list() {
    for stat in [
        "# pxname,svname,status\nweb,app1,UP\n",
        "# pxname,svname,status\nweb,app1,U",
        "# pxname,svname,status\nweb,app1,UP\nweb,app2,UP\n",
        "# pxname,svname,status\n",
    ] {
        let folder = tempfile::tempdir().unwrap();
        let (agent, _tasks) = agent_over_odd(folder.path(), stat).await;
        for path in [
            "/api/v1/haproxy/backends",
            "/api/v1/haproxy/backends/web/servers",
        ] {
            let (code, body) = agent.get(path).await;
            assert_eq!(code, 503, "{path} {stat:?}: {body}");
            assert!(
                body["error"].as_str().unwrap().contains("was cut after"),
                "{body}"
            );
        }
    }
}

#[tokio::test]
async fn rows_that_cannot_be_read_are_named_beside_those_that_can() {
    for (stat, names, unread) in [
        (
            "# pxname,svname,status\nweb,app1,UP\nweb,app2,UP\n\n",
            &["app1", "app2"][..],
            None,
        ),
        (
            "# pxname,svname,status\nweb,app1,UP\nweb,,UP\n\n",
            &["app1"],
            Some("has no name"),
        ),
        (
            "# pxname,svname,status\nweb,app1,UP\nweb,app2\n\n",
            &["app1"],
            Some("has 2 fields"),
        ),
        // HAProxy has a state of two servers.
        (
            "# pxname,svname,status\nweb,app1,UP\n\n",
            &["app1"],
            Some("1 of the 2 servers"),
        ),
        (
            "# pxname,svname,status\n\n",
            &[],
            Some("0 of the 2 servers"),
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let (agent, _tasks) = agent_over_odd(folder.path(), stat).await;
        let (code, body) = agent.get("/api/v1/haproxy/backends/web/servers").await;
        assert_eq!(code, 200, "{stat:?}: {body}");
        let servers = body["data"]["servers"].as_array().unwrap().iter();
        let found: Vec<&str> = servers
            .map(|server| server["name"].as_str().unwrap())
            .collect();
        assert_eq!(found, names, "{stat:?}");
        let told = body["data"]["unread"][0].as_str();
        match unread {
            None => assert_eq!(told, None, "{body}"),
            Some(words) => assert!(told.is_some_and(|told| told.contains(words)), "{body}"),
        }
    }
}
