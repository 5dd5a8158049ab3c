//! Output that cannot be written, and answers that are not as agreed.

use std::fs::File;
use std::io::Read as _;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::stub::{KEY, Stub, drover};

const ID: &str = "0190b3a4-7c00-7000-8000-000000000001";

fn full() -> File {
    File::options().write(true).open("/dev/full").unwrap()
}

fn server() -> Value {
    json!({"id": 1, "name": "web1", "address": "10.0.0.1", "port": 11011, "status": "online"})
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_cannot_be_written_is_74() {
    let stub = Stub::start(|asked| match asked.line.split(['?', ' ']).nth(1).unwrap() {
        path if path.ends_with("/servers/1") => (200, server()),
        path if path.ends_with(ID) => (200, json!({"id": ID, "status": "completed", "targets": []})),
        path if path.contains("/workflows/") => (200, json!({"id": ID, "status": "succeeded"})),
        _ => (
            200,
            json!({"items": [server()], "next_cursor": null, "task_ids": [ID], "rollout_ids": [ID], "id": ID, "secret": "s", "results": []}),
        ),
    })
    .await;
    for arguments in [
        "servers list",
        "servers list -o json",
        "servers show 1",
        "apps list",
        "groups list",
        "catalog list",
        "rollout list",
        "rollout show 0190b3a4-7c00-7000-8000-000000000001",
        "rollout show 0190b3a4-7c00-7000-8000-000000000001 --watch",
        "rollout start --group web1 --distr-url u",
        "rollout start --group web1 --distr-url u -o json",
        "haproxy list",
        "haproxy show 1 -o json",
        "haproxy drain 1 2 -o json",
        "haproxy summary",
        "webhooks list",
        "webhooks log",
        "orchestrators list",
        "workflows list",
        "definitions list",
        "schedules list",
        "events",
        "queues",
        "dead-letters list",
        "dead-letters redrive --all",
        "config show",
        "version",
        "--help",
        "rollout start --help",
        "--version",
    ] {
        let words: Vec<&str> = arguments.split(' ').collect();
        let done = stub.drover_into(full(), &words);
        assert_eq!(done.code, Some(74), "{arguments}: {}", done.err);
        assert!(
            done.err
                .contains("standard output cannot be written: No space left on device"),
            "{arguments}: {}",
            done.err
        );
    }
    // What failed keeps its own code.
    let done = stub.drover_into(full(), &["apps", "list", "--status", "fine"]);
    assert_eq!(done.code, Some(64), "{}", done.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_has_seen_enough_is_no_failure() {
    let stub = Stub::start(|_| {
        let items: Vec<Value> = (0..20_000).map(|_| server()).collect();
        (200, json!({"items": items, "next_cursor": null}))
    })
    .await;
    for more in [&[][..], &["-o", "json"]] {
        let arguments = [&["servers", "list"], more].concat();
        let mut child = stub.start_drover(&arguments);
        let mut out = child.stdout.take().unwrap();
        out.read_exact(&mut [0; 10]).unwrap();
        drop(out);
        let ended = child.wait_with_output().unwrap();
        assert_eq!(ended.status.code(), Some(0));
        assert_eq!(String::from_utf8(ended.stderr).unwrap(), "");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hidden_characters_are_visible_in_every_form() {
    let name = "a\u{9b}31m\u{202e}\u{2066}\u{61c}\u{200f}\u{1b}]0;x\u{7}\u{85}b";
    let mut shown = server();
    shown["name"] = name.into();
    shown["last_error"] = name.into();
    let expected = shown.clone();
    let stub = Stub::start(move |asked| match asked.line.as_str() {
        "GET /api/v1/servers/1" => (200, shown.clone()),
        line if line.contains("POST /api/v1/rollouts") => (202, json!({"rollout_ids": [name]})),
        line if line.contains("redrive") => (200, json!({"task_ids": [name]})),
        line if line.contains("/webhooks") => (
            422,
            json!({"title": name, "detail": name, "errors": [{"pointer": name, "detail": name}]}),
        ),
        _ => (200, json!({"items": [shown.clone()], "next_cursor": null})),
    })
    .await;
    let is_hidden = |found: char| {
        (found.is_control() && found != '\n')
            || matches!(found, '\u{61c}' | '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    for arguments in [
        "servers list",
        "servers list -o json",
        "servers show 1",
        "servers show 1 -o json",
        "rollout start --group x --distr-url u",
        "rollout start --group x --distr-url u -o json",
        "dead-letters redrive --all",
        "dead-letters redrive --all -o json",
        "webhooks add u",
        "webhooks add u -o json",
    ] {
        let words: Vec<&str> = arguments.split(' ').collect();
        let done = stub.drover(&words);
        for text in [&done.out, &done.err] {
            assert!(!text.contains(is_hidden), "{arguments}: {text:?}");
        }
    }
    let done = stub.drover(&["servers", "show", "1", "-o", "json"]);
    assert_eq!(done.json(), expected);
    assert!(done.out.contains("\\u009b31m\\u202e"), "{}", done.out);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_has_no_end_is_an_error() {
    // Each page leads to itself, two lead to each other, and empty pages always lead to new ones.
    for (items, cursors) in [(1, 1), (1, 2), (0, usize::MAX)] {
        let asked = AtomicUsize::new(0);
        let stub = Stub::start(move |_| {
            let number = asked.fetch_add(1, Ordering::Relaxed);
            let items: Vec<Value> = (0..items).map(|_| server()).collect();
            (
                200,
                json!({"items": items, "next_cursor": format!("c{}", number % cursors)}),
            )
        })
        .await;
        let done = stub.drover(&["servers", "list"]);
        assert_eq!(
            (done.code, done.out.as_str()),
            (Some(1), ""),
            "{}",
            done.err
        );
        assert!(
            done.err.contains("does not answer as agreed"),
            "{}",
            done.err
        );
        let most = if cursors == usize::MAX { 2_500 } else { 5 };
        assert!(stub.asked().len() <= most, "{}", stub.asked().len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn watching_does_not_follow_a_cursor_in_circles() {
    let stub = Stub::start(|asked| {
        if asked.line.contains("/events") {
            let event = json!({"sequence": 1, "at": "2026-11-21T08:00:01.000Z", "kind": "ok", "message": "m"});
            return (200, json!({"items": [event], "next_cursor": "same"}));
        }
        (200, json!({"id": ID, "status": "completed", "targets": []}))
    })
    .await;
    let done = stub.drover(&["rollout", "show", ID, "--watch"]);
    assert_eq!(done.code, Some(0), "{}", done.err);
    let history = Stub::start(|asked| {
        if asked.line.contains("/history") {
            let event = json!({"event": "task_started", "position": "0-0-1", "at": "2026-11-21T08:00:01.000Z"});
            let events: Vec<Value> = (0..200).map(|_| event.clone()).collect();
            return (200, json!({"items": events, "next_cursor": "same"}));
        }
        (200, json!({"id": ID, "status": "running", "items": [], "next_cursor": null}))
    })
    .await;
    let done = history.drover(&["workflows", "watch", ID]);
    assert_eq!(done.code, Some(1), "{}", done.err);
    assert!(done.err.contains("comes back to a page"), "{}", done.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_program_is_named_as_such() {
    for status in [200, 400, 404, 405] {
        let stub = Stub::start(move |_| (status, "<html>no</html>".into())).await;
        let done = stub.drover(&["servers", "list"]);
        assert_eq!((done.code, done.out.as_str()), (Some(69), ""), "{status}");
        assert!(done.err.contains("is not a Drover service"), "{}", done.err);
    }
    let stub = Stub::start(|_| (200, json!({}))).await;
    let url = stub.url().replace("http://", "https://");
    let variables = [("DROVER_URL", url.as_str()), ("DROVER_API_KEY", KEY)];
    let done = drover(&variables, &["servers", "list"]);
    assert_eq!(done.code, Some(69), "{}", done.err);
    assert!(done.err.contains("does not speak TLS"), "{}", done.err);
}

#[test]
fn a_refused_connection_is_said_in_two_words() {
    let unused = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let url = format!("http://{unused}");
    let variables = [("DROVER_URL", url.as_str()), ("DROVER_API_KEY", KEY)];
    let done = drover(&variables, &["servers", "list"]);
    let reason = format!(
        "drover: no Drover service can be reached at {url}/: connection refused; is it running?"
    );
    assert!(done.err.starts_with(&reason), "{}", done.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_without_rows_says_what_makes_some() {
    let stub = Stub::start(|_| (200, json!({"items": [], "next_cursor": null}))).await;
    for (arguments, words) in [
        ("servers list", "drover servers add"),
        ("apps list", "no applications yet"),
        ("rollout list", "drover rollout start"),
        ("webhooks list", "drover webhooks add"),
        ("orchestrators list", "drover orchestrators scan"),
        ("haproxy list", "drover servers haproxy"),
        ("schedules list", "drover schedules put"),
        ("definitions list", "drover definitions put"),
        ("servers list --query x", "no server fits"),
    ] {
        let words_typed: Vec<&str> = arguments.split(' ').collect();
        let done = stub.drover(&words_typed);
        assert_eq!((done.code, done.out.as_str()), (Some(0), ""), "{arguments}");
        assert!(done.err.contains(words), "{arguments}: {}", done.err);
        let done = stub.drover(&[words_typed.as_slice(), &["-o", "json"]].concat());
        assert_eq!(done.err, "", "{arguments}");
        assert_eq!(done.json()["items"], json!([]), "{arguments}");
    }
    let done = stub.drover(&["apps", "list", "--group", "nope"]);
    assert_eq!(
        (done.code, done.err.as_str()),
        (Some(5), "drover: there is no group `nope`\n")
    );
}

#[test]
fn a_variable_is_no_part_of_a_usage_line() {
    let variables = [
        ("DROVER_URL", "http://127.0.0.1:1"),
        ("DROVER_API_KEY", KEY),
    ];
    let done = drover(&variables, &["servers", "add", "web1"]);
    assert_eq!(done.code, Some(64));
    assert!(!done.err.contains("--server"), "{}", done.err);
    for arguments in [&[][..], &["haproxy"], &["servers"]] {
        let done = drover(&variables, arguments);
        assert_eq!(
            (done.code, done.out.as_str()),
            (Some(64), ""),
            "{arguments:?}"
        );
        assert!(
            done.err.contains("Commands:"),
            "{arguments:?}: {}",
            done.err
        );
    }
    let done = drover(&variables, &["rollout", "show", "nope"]);
    assert!(
        done.err.contains("the identifier of a rollout is expected"),
        "{}",
        done.err
    );
}

#[test]
fn settings_that_are_shown_can_be_checked() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("drover.toml");
    let shown = drover(
        &[("DROVER_HTTP_REQUEST__ALLOW", "10.0.0.0/8")],
        &["config", "show"],
    );
    assert_eq!(shown.code, Some(0), "{}", shown.err);
    std::fs::write(&path, &shown.out).unwrap();
    let variables = [("DROVER_CONFIG", path.to_str().unwrap())];
    let again = drover(&variables, &["config", "show"]);
    let values = |text: &str| -> Vec<String> {
        let lines = text.lines();
        lines
            .map(|line| line.rsplit_once("  # ").unwrap().0.to_owned())
            .collect()
    };
    assert_eq!(values(&again.out), values(&shown.out));
}
