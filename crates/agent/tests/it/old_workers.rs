//! A real HAProxy that is reloaded: what its old workers still serve is seen through the master's socket.

use std::path::Path;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::task::JoinSet;

use crate::support::{Haproxy, Served, eventually};

const SERVERS: &str = "/api/v1/haproxy/backends/web/servers";

/// An HAProxy whose frontend has the name of its backend if `is_shadowed`; `show stat` then hides the servers.
async fn haproxy_over(port: u16, is_shadowed: bool) -> Haproxy {
    let frontend = if is_shadowed { "web" } else { "entry" };
    Haproxy::start_with_master(&format!(
        "frontend {frontend}\n  bind unix@{{folder}}/entry.sock\n  default_backend web\n\
         backend web\n  server app1 127.0.0.1:{port}\n  server app2 127.0.0.1:{port} disabled\n"
    ))
    .await
}

/// Sends a request that the application has not answered yet; both ends of it.
async fn request(entry: &Path, application: &TcpListener) -> (UnixStream, TcpStream) {
    let mut client = UnixStream::connect(entry).await.unwrap();
    client
        .write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    let (held, _) = application.accept().await.unwrap();
    (client, held)
}

async fn end(request: (UnixStream, TcpStream)) {
    let (mut client, mut held) = request;
    held.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\ndone")
        .await
        .unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("done"), "{answer}");
}

/// Sessions of the worker that answers, and of the others, on `app1`; an error where they are not reported.
async fn sessions(agent: &Served) -> Result<(String, String), String> {
    let (status, body) = agent.get(SERVERS).await;
    let error = &body["data"]["old_workers_error"];
    if status != 200 || !error.is_null() {
        return Err(body.to_string());
    }
    let first = &body["data"]["servers"][0];
    let member = |name: &str| first[name].as_str().map(str::to_owned);
    member("scur")
        .zip(member("old_scur"))
        .ok_or_else(|| body.to_string())
}

async fn until_sessions(agent: &Served, own: &str, old: &str) {
    eventually(async || match sessions(agent).await {
        Ok((found, others)) if (found.as_str(), others.as_str()) == (own, old) => Ok(()),
        other => Err(format!("{other:?} instead of {own} and {old}")),
    })
    .await;
}

async fn pid(agent: &Served) -> String {
    let (_, body) = agent.get(SERVERS).await;
    body["data"]["haproxy"]["pid"].to_string()
}

/// Waits until another worker answers than the one with process id `before`.
async fn until_reloaded(agent: &Served, before: &str) {
    eventually(async || {
        let now = pid(agent).await;
        let is_other = now != "null" && now != before;
        if is_other { Ok(()) } else { Err(now) }
    })
    .await;
}

async fn what_an_old_worker_serves_is_counted(is_shadowed: bool) {
    let application = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = application.local_addr().unwrap().port();
    let haproxy = haproxy_over(port, is_shadowed).await;
    let agent = Served::with_master(
        &haproxy.socket("admin.sock"),
        &haproxy.socket("master.sock"),
    )
    .await;
    let entry = haproxy.path("entry.sock");
    until_sessions(&agent, "0", "0").await;

    let first = request(&entry, &application).await;
    until_sessions(&agent, "1", "0").await;
    let before = pid(&agent).await;
    haproxy.reload();
    until_reloaded(&agent, &before).await;
    until_sessions(&agent, "0", "1").await;

    // A second reload with a request in the second worker: both old ones count.
    let second = request(&entry, &application).await;
    until_sessions(&agent, "1", "1").await;
    let before = pid(&agent).await;
    haproxy.reload();
    until_reloaded(&agent, &before).await;
    until_sessions(&agent, "0", "2").await;
    let other = agent.server("web", "app2").await;
    assert_eq!(
        (&other["scur"], &other["old_scur"]),
        (&json!("0"), &json!("0"))
    );

    end(first).await;
    until_sessions(&agent, "0", "1").await;
    end(second).await;
    until_sessions(&agent, "0", "0").await;
}

/// An old worker sends one more request on each connection that a client keeps open, by the states of its time.
#[tokio::test]
async fn a_request_may_come_over_each_idle_connection_to_an_old_worker() {
    let application = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = application.local_addr().unwrap().port();
    let haproxy = Haproxy::start_with_master(&format!(
        "frontend entry\n  bind unix@{{folder}}/entry.sock\n  option idle-close-on-response\n  default_backend web\n\
         backend web\n  server app1 127.0.0.1:{port}\n  server app2 127.0.0.1:{port} disabled\n"
    ))
    .await;
    let agent = Served::with_master(
        &haproxy.socket("admin.sock"),
        &haproxy.socket("master.sock"),
    )
    .await;
    let entry = haproxy.path("entry.sock");
    let connect = async || UnixStream::connect(&entry).await.unwrap();
    let ask = async |client: &mut UnixStream| {
        let text = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        client.write_all(text).await.unwrap();
        application.accept().await.unwrap().0
    };
    let mut kept = connect().await;
    let mut held = ask(&mut kept).await;
    held.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone")
        .await
        .unwrap();
    let mut answered = [0; 1_024];
    let read = kept.read(&mut answered).await.unwrap();
    assert!(answered[..read].ends_with(b"done"));
    drop(held);
    // One that has sent nothing yet, and one with a request.
    let silent = connect().await;
    let mut busy = connect().await;
    let request = ask(&mut busy).await;
    until_sessions(&agent, "1", "0").await;

    let before = pid(&agent).await;
    haproxy.reload();
    until_reloaded(&agent, &before).await;
    until_sessions(&agent, "0", "3").await;
    let mut admin = UnixStream::connect(haproxy.path("admin.sock"))
        .await
        .unwrap();
    let drain = b"set server web/app1 state drain\n";
    admin.write_all(drain).await.unwrap();
    let mut answer = String::new();
    admin.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer.trim(), "");
    // The new worker sends it nothing, and the old one does.
    let late = ask(&mut kept).await;
    until_sessions(&agent, "0", "3").await;
    end((kept, late)).await;
    until_sessions(&agent, "0", "2").await;
    drop(silent);
    until_sessions(&agent, "0", "1").await;
    end((busy, request)).await;
    until_sessions(&agent, "0", "0").await;
}

#[tokio::test]
async fn a_request_in_an_old_worker_is_a_session_until_it_ends() {
    what_an_old_worker_serves_is_counted(false).await;
}

#[tokio::test]
async fn a_frontend_of_the_same_name_hides_no_old_session() {
    what_an_old_worker_serves_is_counted(true).await;
}

#[tokio::test]
async fn without_a_master_old_workers_are_not_spoken_of() {
    let haproxy = haproxy_over(1, false).await;
    let agent = Served::with_haproxy(&[("default", &haproxy.socket("admin.sock"))]).await;
    assert_eq!(agent.server("web", "app1").await.get("old_scur"), None);
}

async fn sees_old_workers(agent: &Served) -> Value {
    let (_, body) = agent.get("/api/v1/haproxy/instances").await;
    body["data"]["instances"][0]["old_workers"].clone()
}

#[tokio::test]
async fn where_a_master_cannot_be_asked_old_sessions_are_unknown_and_never_none() {
    let haproxy = haproxy_over(1, false).await;
    let stranger = haproxy_over(1, false).await;
    let socket = haproxy.socket("admin.sock");
    for (master, sees, why) in [
        (
            "/nonexistent/master.sock",
            false,
            "master socket cannot be used",
        ),
        // The runtime socket is not the master's.
        (socket.as_str(), false, "answered `show proc`"),
        // The master of another HAProxy.
        (
            stranger.socket("master.sock").as_str(),
            true,
            "knows no worker",
        ),
    ] {
        let agent = Served::with_master(&socket, master).await;
        let (status, body) = agent.get(SERVERS).await;
        assert_eq!(status, 200, "{master}: {body}");
        let data = &body["data"];
        let said = data["old_workers_error"].as_str().unwrap();
        assert!(said.contains(why), "{master}: {body}");
        // The sessions of the new worker are reported; the total is not.
        assert_eq!(
            (&data["servers"][0]["scur"], &data["servers"][0]["old_scur"]),
            (&json!("0"), &json!("unknown"))
        );
        assert_eq!(sees_old_workers(&agent).await, json!(sees), "{master}");
        // Names and actions need no old worker.
        assert_eq!(agent.get("/api/v1/haproxy/backends").await.0, 200);
        let drain = agent
            .post(&format!("{SERVERS}/app1/action"), r#"{"action":"drain"}"#)
            .await;
        assert_eq!(drain.0, 200, "{master}: {}", drain.1);
    }
    let agent = Served::with_master(&socket, &haproxy.socket("master.sock")).await;
    assert_eq!(sees_old_workers(&agent).await, json!(true));
}

/// A master in the test's place, in front of a real HAProxy whose worker it lists with `workers` old ones. Each answers
/// `stat` to `show stat` and `list` to `show sess`.
async fn agent_with_odd_master(
    haproxy: &Haproxy,
    workers: usize,
    stat: &'static str,
    list: &'static str,
) -> (Served, JoinSet<()>) {
    let plain = Served::with_haproxy(&[("default", &haproxy.socket("admin.sock"))]).await;
    let own = pid(&plain).await.replace('"', "");
    let path = haproxy.path("odd.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let old: Vec<String> = (1..=workers)
        .map(|pid| format!("{pid} worker 1 0d00h00m09s 2.6.12\n"))
        .collect();
    let old = old.concat();
    let processes = format!(
        "#<PID> <type> <reloads> <uptime> <version>\n9 master 1 [failed: 0] 0d00h00m09s 2.6.12\n\
         # workers\n{own} worker 0 0d00h00m09s 2.6.12\n# old workers\n{old}# programs\n\n"
    );
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut command = String::new();
            stream.read_to_string(&mut command).await.unwrap();
            let answer = if command == "show proc\n" {
                processes.as_str()
            } else if command.contains("show info") {
                "Name: HAProxy\nCurrConns: 0\n\n"
            } else if command.contains("show stat") {
                stat
            } else {
                list
            };
            // An agent that has heard enough is gone.
            stream.write_all(answer.as_bytes()).await.ok();
        }
    });
    let agent =
        Served::with_master(&haproxy.socket("admin.sock"), &path.display().to_string()).await;
    (agent, tasks)
}

#[tokio::test]
async fn what_an_old_worker_says_in_nonsense_is_unknown_and_never_none() {
    for (workers, stat, expected) in [
        (
            1,
            "# pxname,svname,scur,status\nweb,app1,3,UP\n\n",
            Ok(("0", "3")),
        ),
        (
            2,
            "# pxname,svname,scur,status\nweb,app1,3,UP\n\n",
            Ok(("0", "6")),
        ),
        (1, "No such proxy.\n\n", Ok(("0", "0"))),
        (
            1,
            "# pxname,svname,scur,status\nweb,app1,many,UP\n\n",
            Err("answered `show stat`"),
        ),
        (
            1,
            "# pxname,svname,status\nweb,app1,UP\n\n",
            Err("answered `show stat`"),
        ),
        (1, "", Err("answered `show stat`")),
        (1, "Permission denied\n\n", Err("answered `show stat`")),
        // Listed and yet not to be found.
        (
            1,
            "Can't find the target PID matching the prefix '@!1'\n",
            Err("answered `show stat`"),
        ),
        (100, "No such proxy.\n\n", Err("at most 32")),
    ] {
        let haproxy = haproxy_over(1, false).await;
        let (agent, _tasks) = agent_with_odd_master(&haproxy, workers, stat, "").await;
        let found = sessions(&agent).await;
        match (&found, expected) {
            (Ok((own, old)), Ok(told)) => {
                assert_eq!((own.as_str(), old.as_str()), told, "{stat:?}");
            }
            (Err(said), Err(why)) => assert!(
                said.contains(why) && said.contains(r#""old_scur":"unknown""#),
                "{stat:?}: {said}"
            ),
            _ => panic!("{workers} {stat:?}: {found:?}"),
        }
    }
}

/// Up to HAProxy 2.4 an old worker shows no row of a backend that it has stopped and still serves.
#[tokio::test]
async fn a_backend_that_an_old_worker_does_not_show_is_looked_for_among_its_sessions() {
    const HIDDEN: &str = "# pxname,svname,scur,status\n\n";
    const OTHERS: &str = "# pxname,svname,scur,status\nother,app1,7,UP\n\n";
    for (stat, list, expected) in [
        (
            HIDDEN,
            "0x1: proto=tcpv4 src=1:2 fe=entry be=web srv=app1 ts=00\n0x2: proto=tcpv4 src=1:2 fe=entry be=web srv=app2 ts=00\n\n",
            Ok("1"),
        ),
        (
            OTHERS,
            "0x1: proto=tcpv4 src=1:2 fe=entry be=web srv=app1 ts=00\n\n",
            Ok("1"),
        ),
        // Where it will go is not decided yet.
        (
            HIDDEN,
            "0x1: proto=tcpv4 src=1:2 fe=entry be=web srv=<none> ts=00\n\n",
            Ok("1"),
        ),
        (
            HIDDEN,
            "0x1: proto=sockpair src=unix:2 fe=GLOBAL be=<NONE> srv=<none> ts=00\n\n",
            Ok("0"),
        ),
        (HIDDEN, "", Err("answered `show sess`")),
        (HIDDEN, "Permission denied\n\n", Err("answered `show sess`")),
        // Cut.
        (
            HIDDEN,
            "0x1: proto=sockpair src=unix:2 fe=GLOBAL be=<NONE> srv=<none> ts=00\n",
            Err("answered `show sess`"),
        ),
    ] {
        let haproxy = haproxy_over(1, false).await;
        let (agent, _tasks) = agent_with_odd_master(&haproxy, 1, stat, list).await;
        match (sessions(&agent).await, expected) {
            (Ok((_, old)), Ok(told)) => assert_eq!(old, told, "{list:?}"),
            (Err(said), Err(why)) => assert!(
                said.contains(why) && said.contains(r#""old_scur":"unknown""#),
                "{list:?}: {said}"
            ),
            other => panic!("{list:?}: {other:?}"),
        }
    }
}
