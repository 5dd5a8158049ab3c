//! The program itself: version, bad settings, flags over file, and a graceful stop.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Output, Stdio};

use serde_json::json;

use crate::support::Process;

#[expect(
    clippy::disallowed_methods,
    reason = "this test runs the agent's own binary"
)]
fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_drover-agent"));
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn run(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn it_tells_its_version() {
    let output = run(&["--version"]);
    assert_eq!(
        text(&output.stdout),
        format!("drover-agent {}\n", env!("CARGO_PKG_VERSION"))
    );
    assert!(output.status.success());
}

#[test]
fn settings_it_cannot_use_end_it_with_78_and_the_whole_reason() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("agent.yml");
    std::fs::write(&file, "lisen: 127.0.0.1:0\n").unwrap();
    for (arguments, words) in [
        (["--config", file.to_str().unwrap()], "lisen"),
        (["--config", "/nonexistent/agent.yml"], "No such file"),
        (["--apps-dir", "/nonexistent/apps"], "apps_dir"),
        (["--haproxy", "a=ipv4@x:0"], "port of 1 to 65535"),
        (
            ["--system-bus", "unixexec:path=/bin/sh"],
            "is not unix:path=",
        ),
        (["--token-file", "/dev/null"], "fewer than 16 characters"),
    ] {
        let output = run(&arguments);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{arguments:?}: {said}");
        assert!(
            said.starts_with("drover-agent: ") && said.contains(words),
            "{arguments:?}: {said}"
        );
    }
    assert_eq!(run(&["--haproxy", "no-equals-sign"]).status.code(), Some(2));
}

#[test]
fn an_address_that_is_taken_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let holder = std::net::TcpListener::bind(taken).unwrap();
    let output = run(&["--listen", &taken.to_string()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains(&format!("cannot listen on {taken}")),
        "{}",
        text(&output.stderr)
    );
    drop(holder);
}

/// Starts the agent and reads where it listens from its log.
fn start(arguments: &[&str]) -> (Process, String, BufReader<std::process::ChildStderr>) {
    let mut child: Child = command(arguments).spawn().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let process = Process(child);
    let mut line = String::new();
    while !line.contains("listening on ") {
        line.clear();
        assert_ne!(
            log.read_line(&mut line).unwrap(),
            0,
            "the agent ended before it listened"
        );
    }
    let address = line
        .split("listening on ")
        .nth(1)
        .unwrap()
        .split_whitespace()
        .next()
        .unwrap()
        .to_owned();
    (process, address, log)
}

#[tokio::test]
async fn it_serves_by_its_file_and_stops_on_sigterm() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("agent.yml");
    std::fs::write(folder.path().join("a.yml"), "name: a\ntype: site\n").unwrap();
    std::fs::write(&file, "listen: 192.0.2.1:1\nserver_name: from-file\n").unwrap();
    let apps = folder.path().join("apps");
    std::fs::create_dir(&apps).unwrap();
    std::fs::write(apps.join("a.yml"), "name: a\ntype: site\n").unwrap();
    let arguments = [
        "--config",
        file.to_str().unwrap(),
        "--listen",
        "127.0.0.1:0",
        "--apps-dir",
        apps.to_str().unwrap(),
    ];
    let (mut process, address, mut log) = start(&arguments);
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let response = client
        .get(format!("http://{address}/api/v1/apps"))
        .send()
        .await
        .unwrap();
    let body: serde_json::Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
    assert_eq!(body["server"]["name"], "from-file");
    assert_eq!(body["server"]["site-app"]["count"], json!(1));

    let pid = rustix::process::Pid::from_raw(i32::try_from(process.0.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    // The client still holds its connection open; an idle one must not delay the stop.
    let mut rest = String::new();
    log.read_to_string(&mut rest).unwrap();
    assert!(process.0.wait().unwrap().success(), "{rest}");
    assert!(rest.contains("told to stop"), "{rest}");
    drop(client);
}
