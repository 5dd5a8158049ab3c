//! The fleet without Drover: a drain by hand behind a real HAProxy, under load, loses no request.
#![expect(clippy::unwrap_used, reason = "helper functions of a test")]

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::time::Duration;

use drover_demo::address::{Addresses, loopback};
use drover_demo::application::{PID_FILE, VERSION_FILE};
use drover_demo::fleet::{Fleet, Instance};
use drover_demo::haproxy::{BACKEND, Haproxy, RuntimeSocket, ServerRow};
use drover_demo::load::{Expected, Load};
use drover_demo::process::Stage;
use drover_demo::tools::find;
use drover_demo::wait::until;
use drover_demo::watcher::Watcher;
use rustix::process::{Pid, Signal, kill_process};

const LIMIT: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(20);

/// Where this machine may have HAProxy.
fn search() -> OsString {
    OsString::from("/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
}

async fn fleet_behind_haproxy(stage: &Stage, root: &Path) -> (Fleet, Haproxy) {
    let mut addresses = Addresses::new().unwrap();
    let fleet = Fleet::lay_out(root, 2, "1.0.0", &mut addresses).unwrap();
    fleet
        .start(stage, Path::new(env!("CARGO_BIN_EXE_drover-demo")))
        .await
        .unwrap();
    let haproxy = find("haproxy", &search()).unwrap();
    let frontend = addresses.free(loopback(1)).unwrap();
    let (haproxy, _) = Haproxy::start(
        stage,
        &haproxy,
        &root.join("lb01"),
        &fleet,
        frontend,
        Duration::ZERO,
    )
    .await
    .unwrap();
    (fleet, haproxy)
}

fn load_on(fleet: &Fleet, haproxy: &Haproxy) -> Load {
    let expected = Expected {
        names: fleet
            .instances
            .iter()
            .map(|instance| instance.name.clone())
            .collect(),
        versions: ["1.0.0".to_owned(), "1.1.0".to_owned()].into(),
    };
    Load::start(haproxy.frontend, expected)
}

async fn requests(load: &Load, more: u64) {
    let wanted = load.total() + more;
    until("more requests", LIMIT, PAUSE, async || {
        anyhow::ensure!(load.total() >= wanted, "{} of {wanted}", load.total());
        Ok(())
    })
    .await
    .unwrap();
}

async fn set(socket: &RuntimeSocket, server: &str, state: &str) {
    let answer = socket
        .ask(&format!("set server {BACKEND}/{server} state {state}"))
        .await
        .unwrap();
    assert_eq!(answer, "");
}

async fn seen(
    socket: &RuntimeSocket,
    server: &str,
    wanted: impl Fn(&ServerRow) -> bool + Send + Sync,
) {
    until("a state in HAProxy", LIMIT, PAUSE, async || {
        let rows = socket.servers().await?;
        let row = rows.iter().find(|row| row.name == server);
        anyhow::ensure!(row.is_some_and(&wanted), "{row:?}");
        Ok(())
    })
    .await
    .unwrap();
}

/// Puts a version under the instance and restarts it as the update playbook does.
async fn update(instance: &Instance, version: &str) {
    std::fs::write(instance.folder.join(VERSION_FILE), version).unwrap();
    let pid = std::fs::read_to_string(instance.folder.join(PID_FILE)).unwrap();
    let pid = Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    until("the new version", LIMIT, PAUSE, async || {
        let told = instance.version().await?;
        anyhow::ensure!(told == version, "{told}");
        Ok(())
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_of_a_drained_instance_loses_no_request() {
    let root = tempfile::tempdir().unwrap();
    let stage = Stage::open(root.path().join("logs"), Vec::new(), OsStr::new(&search()))
        .await
        .unwrap();
    let (fleet, haproxy) = fleet_behind_haproxy(&stage, root.path()).await;
    let socket = &haproxy.socket;
    let load = load_on(&fleet, &haproxy);
    requests(&load, 100).await;
    let watcher = Watcher::start(socket.clone()).await.unwrap();

    let instance = &fleet.instances[2];
    let server = instance.haproxy_server();
    set(socket, &server, "drain").await;
    seen(socket, &server, |row| {
        row.status == "DRAIN" && row.sessions == 0
    })
    .await;
    assert_eq!(
        socket.drained().await.unwrap(),
        std::slice::from_ref(&server)
    );
    update(instance, "1.1.0").await;
    // The checks saw the restart or did not; either way they must have passed long enough since.
    requests(&load, 300).await;
    seen(socket, &server, |row| row.status == "DRAIN").await;
    set(socket, &server, "ready").await;
    seen(socket, &server, |row| row.status == "UP").await;
    requests(&load, 300).await;

    let sight = watcher.finish().await.unwrap();
    let (tally, sent_for) = load.finish().await;
    assert_eq!((tally.failed, &tally.reasons), (0, &Vec::new()));
    assert!(tally.versions["1.1.0"] > 0, "{:?}", tally.versions);
    let rate = f64::from(u32::try_from(tally.total).unwrap()) / sent_for.as_secs_f64();
    assert!(rate > 200.0, "{rate} requests/s");
    assert_eq!(sight.min_ready, 5);
    let states: Vec<_> = sight
        .timeline
        .iter()
        .filter(|entry| entry.server == server)
        .map(|entry| &*entry.state)
        .collect();
    assert_eq!(states.first(), Some(&"UP"));
    assert!(states.contains(&"DRAIN"), "{states:?}");
    assert_eq!(states.last(), Some(&"UP"));
    assert_eq!(socket.drained().await.unwrap(), Vec::<String>::new());
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_is_killed_under_load_is_seen_and_comes_back() {
    let root = tempfile::tempdir().unwrap();
    let stage = Stage::open(root.path().join("logs"), Vec::new(), OsStr::new(&search()))
        .await
        .unwrap();
    let (fleet, haproxy) = fleet_behind_haproxy(&stage, root.path()).await;
    let watcher = Watcher::start(haproxy.socket.clone()).await.unwrap();
    let instance = &fleet.instances[0];
    let server = instance.haproxy_server();
    // Without its version it cannot start again, so HAProxy must see it go.
    let version = instance.folder.join(VERSION_FILE);
    std::fs::remove_file(&version).unwrap();
    let pid = std::fs::read_to_string(instance.folder.join(PID_FILE)).unwrap();
    kill_process(
        Pid::from_raw(pid.trim().parse().unwrap()).unwrap(),
        Signal::KILL,
    )
    .unwrap();
    seen(&haproxy.socket, &server, |row| row.status == "DOWN").await;
    std::fs::write(version, "1.0.0").unwrap();
    seen(&haproxy.socket, &server, |row| row.status == "UP").await;
    assert_eq!(watcher.finish().await.unwrap().min_ready, 5);
    assert_eq!(instance.version().await.unwrap(), "1.0.0");
    stage.stop().await;
}
