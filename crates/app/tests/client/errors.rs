//! Every way a command can fail has its exit code and a sentence, and leaves standard output empty.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};

use crate::stub::{KEY, Stub, drover};

const WORKFLOW: &str = "0190b3a4-7c00-7000-8000-000000000000";

#[test]
#[expect(clippy::too_many_lines, reason = "one list of command lines")]
fn a_wrong_command_line_is_64() {
    for arguments in [
        &["rollout", "start"][..],
        &["rollout", "start", "--group", "g"],
        &[
            "rollout",
            "start",
            "--group",
            "g",
            "--app",
            "1",
            "--distr-url",
            "u",
        ],
        &["rollout", "start", "--app", "0", "--distr-url", "u"],
        &[
            "rollout",
            "start",
            "--app",
            "1",
            "--distr-url",
            "u",
            "--drain-minutes",
            "61",
        ],
        &[
            "rollout",
            "start",
            "--app",
            "1",
            "--distr-url",
            "u",
            "--drain-minutes",
            "NaN",
        ],
        &[
            "rollout",
            "start",
            "--app",
            "1",
            "--distr-url",
            "u",
            "--timeout",
            "5",
        ],
        &[
            "rollout",
            "start",
            "--app",
            "1",
            "--distr-url",
            "u",
            "--mode",
            "sideways",
        ],
        &["servers"],
        &["servers", "lst"],
        &[
            "servers",
            "add",
            "web1",
            "--address",
            "10.0.0.1",
            "--port",
            "0",
        ],
        &["servers", "list", "--haproxy", "maybe"],
        &["apps", "list", "--status", "fine"],
        &["apps", "set", "7", "--group", "g", "--no-group"],
        &["apps", "set", "7", "--playbook", "p.yml", "--no-playbook"],
        &["groups", "add", "g", "--batches", "by_moon"],
        &["groups", "set"],
        &["catalog", "add", "jurws"],
        &["rollout", "show", "7"],
        &["rollout", "list", "--key", KEY],
        &["servers", "list", "--server", "ftp://x"],
        &["servers", "list", "--output", "xml"],
        &["workflows"],
        &["workflows", "start"],
        &["workflows", "start", "w.yml", "--definition", "nightly"],
        &["workflows", "start", "--definition", "nightly@new"],
        &["workflows", "start", "/nowhere/w.yml"],
        &["workflows", "start", "--definition", "n", "--label", "env"],
        &["workflows", "start", "--definition", "n", "--input", "{"],
        &["workflows", "start", "--definition", "n", "--timeout", "5"],
        &["workflows", "show", "7"],
        &["workflows", "list", "--status", "done"],
        &["workflows", "list", "--limit", "0"],
        &["workflows", "retry", WORKFLOW],
        &["workflows", "signal", WORKFLOW, "approve", "yes"],
        &["queues", "limit", "http"],
        &["queues", "limit", "http", "--at-once", "0"],
        &["queues", "limit", "http", "--rate", "10"],
        &["queues", "limit", "http", "--none", "--at-once", "1"],
        &["dead-letters"],
        &["webhooks"],
        &["webhooks", "add"],
        &["webhooks", "set", "1"],
        &["webhooks", "set", "1", "--on", "--off"],
        &[
            "webhooks",
            "set",
            "1",
            "--event",
            "webhook.test",
            "--all-events",
        ],
        &["webhooks", "log", "--status", "sent"],
        &["webhooks", "redeliver", "1"],
        &["dead-letters", "redrive"],
        &["dead-letters", "redrive", WORKFLOW, "--all"],
    ] {
        let done = drover(&[("DROVER_API_KEY", KEY)], arguments);
        assert_eq!(
            (done.code, done.out.as_str()),
            (Some(64), ""),
            "{arguments:?}: {}",
            done.err
        );
        assert!(!done.err.is_empty(), "{arguments:?}");
    }
}

#[test]
fn help_and_version_go_to_standard_output() {
    for arguments in [
        &["--help"][..],
        &["rollout", "start", "--help"],
        &["--version"],
        &["version"],
    ] {
        let done = drover(&[], arguments);
        assert_eq!(
            (done.code, done.err.as_str()),
            (Some(0), ""),
            "{arguments:?}"
        );
        assert!(!done.out.is_empty(), "{arguments:?}");
    }
}

#[test]
fn a_service_that_is_not_there_is_69() {
    let unused = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let url = format!("http://{unused}");
    let variables = [("DROVER_URL", url.as_str()), ("DROVER_API_KEY", KEY)];
    let done = drover(&variables, &["servers", "list"]);
    assert_eq!((done.code, done.out.as_str()), (Some(69), ""));
    assert!(
        done.err.starts_with(&format!(
            "drover: no Drover service can be reached at {url}/:"
        )),
        "{}",
        done.err
    );
    assert!(done.err.contains("refused"), "{}", done.err);

    let done = drover(
        &variables,
        &[
            "rollout",
            "start",
            "--app",
            "1",
            "--distr-url",
            "u",
            "-o",
            "json",
        ],
    );
    assert_eq!((done.code, done.out.as_str()), (Some(69), ""));
    let document: Value = serde_json::from_str(&done.err).unwrap();
    let detail = document["detail"].as_str().unwrap();
    assert!(
        detail.contains("safe to repeat the command with --idempotency-key "),
        "{detail}"
    );
}

#[test]
fn without_a_key_nothing_is_asked() {
    let done = drover(&[], &["servers", "list"]);
    assert_eq!((done.code, done.out.as_str()), (Some(4), ""));
    assert!(done.err.contains("set DROVER_API_KEY"), "{}", done.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_file_is_used_only_when_nobody_else_can_read_it() {
    let stub = Stub::start(|_| (200, json!({"items": [], "next_cursor": null}))).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    std::fs::write(&path, "drv_from_file\n").unwrap();
    let arguments = ["servers", "list", "--key-file", path.to_str().unwrap()];

    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let done = stub.drover(&arguments);
    assert_eq!((done.code, stub.asked().len()), (Some(78), 0));
    assert!(
        done.err.contains("chmod 600") && !done.err.contains("drv_from_file"),
        "{}",
        done.err
    );

    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(stub.drover(&arguments).code, Some(0));
    assert_eq!(stub.asked()[0].authorization, "Bearer drv_from_file");

    let done = stub.drover(&["servers", "list", "--key-file", "/nowhere/key"]);
    assert_eq!(done.code, Some(78), "{}", done.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_problem_has_its_code_and_its_words() {
    for (status, code) in [
        (401, 4),
        (403, 4),
        (404, 5),
        (409, 6),
        (422, 64),
        (400, 64),
        (503, 69),
        (500, 1),
        (302, 1),
    ] {
        let problem = json!({
            "type": "about:blank", "title": "No", "status": status, "detail": "not \u{1b}[31mtoday", "code": "no",
            "errors": [{"pointer": "/name", "code": "taken", "detail": "is taken"}],
        });
        let expected = problem.clone();
        let stub = Stub::start(move |_| (status, problem.clone())).await;
        let done = stub.drover(&["servers", "add", "web1", "--address", "10.0.0.1"]);
        assert_eq!((done.code, done.out.as_str()), (Some(code), ""), "{status}");
        if status >= 400 {
            assert_eq!(
                done.err, "drover: not \\u{1b}[31mtoday; /name: is taken\n",
                "{status}"
            );
            let done = stub.drover(&[
                "servers",
                "add",
                "web1",
                "--address",
                "10.0.0.1",
                "-o",
                "json",
            ]);
            assert_eq!((done.code, done.out.as_str()), (Some(code), ""), "{status}");
            assert_eq!(
                serde_json::from_str::<Value>(&done.err).unwrap(),
                expected,
                "{status}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_service_is_not_taken_for_drover() {
    let stub = Stub::start(|_| (200, json!({"hello": "world"}))).await;
    let done = stub.drover(&["servers", "list"]);
    assert_eq!((done.code, done.out.as_str()), (Some(1), ""));
    assert!(done.err.contains("has no `items`"), "{}", done.err);
}

#[test]
fn settings_that_cannot_be_used_are_78_and_named() {
    for command in [&["config", "check"][..], &["serve"], &["migrate"]] {
        let done = drover(&[("DROVER_ROLLOUT__WORKRES", "2")], command);
        assert_eq!(
            (done.code, done.out.as_str()),
            (Some(78), ""),
            "{command:?}: {}",
            done.err
        );
        assert!(done.err.contains("workres"), "{command:?}: {}", done.err);
    }
    // What only the adapters can judge is judged too.
    for (name, value, words) in [
        ("DROVER_HTTP_REQUEST__ALLOW", "10.0.0.1/8", "10.0.0.0/8"),
        ("DROVER_ENGINE__QUEUES__A B", "1", "engine.queues"),
        (
            "DROVER_ROLLOUT__DEFAULT_PLAYBOOK",
            "p.yml {nosuch}",
            "`rollout.default_playbook` cannot be used: the parameter `nosuch`",
        ),
        (
            "DROVER_ROLLOUT__DEFAULT_PLAYBOOK",
            "p.yml {server} {app_instances=a::b}",
            "the parameter `app_instances` of the playbook path is set by Drover",
        ),
        (
            "DROVER_ROLLOUT__DEFAULT_PLAYBOOK",
            "/nowhere/p.yml {server}",
            "`/nowhere/p.yml` is not in the playbook folder",
        ),
    ] {
        let done = drover(&[(name, value)], &["config", "check"]);
        assert_eq!((done.code, done.out.as_str()), (Some(78), ""), "{name}");
        assert!(done.err.contains(words), "{name}: {}", done.err);
    }
    // `config check` refuses what `serve` refuses.
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("text");
    std::fs::write(&file, "not a database at all").unwrap();
    let at_folder = format!("sqlite://{}?mode=rwc", folder.path().display());
    let at_text = format!("sqlite://{}", file.display());
    for (name, value, words) in [
        ("DROVER_LOG__FILTER", "drover=verbose", "`log.filter`"),
        ("DROVER_LOG__FILTER", "info,,=x==", "`log.filter`"),
        ("DROVER_ACCESS__ADMIN_KEY", "drv_short", "admin_key"),
        ("DROVER_FLEET__AGENT_TOKEN", "a\nb", "`fleet.agent_token`"),
        (
            "DROVER_SERVER__ADMIN_LISTEN",
            "127.0.0.1:8080",
            "`server.admin_listen`",
        ),
        (
            "DROVER_DATABASE__URL",
            "sqlite:rel.sqlite?mode=foo",
            "the URL of the SQLite database",
        ),
        ("DROVER_DATABASE__URL", &at_folder, "is a folder"),
        ("DROVER_DATABASE__URL", &at_text, "is no SQLite database"),
    ] {
        for command in [&["config", "check"][..], &["serve"]] {
            let done = drover(&[(name, value)], command);
            assert_eq!(done.code, Some(78), "{name} {value}: {}", done.err);
            assert!(done.err.contains(words), "{name} {value}: {}", done.err);
        }
    }
    let done = drover(
        &[],
        &["config", "check", "--config", "/nowhere/drover.toml"],
    );
    assert_eq!(done.code, Some(78), "{}", done.err);
    assert!(done.err.contains("/nowhere/drover.toml"), "{}", done.err);
}

#[test]
#[expect(clippy::too_many_lines, reason = "one list of all verbs")]
fn every_verb_and_flag_is_documented() {
    let document = include_str!("../../../../docs/reference/cli.md");
    for verb in [
        &["serve"][..],
        &["migrate"],
        &["config", "check"],
        &["config", "show"],
        &["version"],
        &["servers", "list"],
        &["servers", "add"],
        &["servers", "refresh"],
        &["servers", "show"],
        &["servers", "set"],
        &["servers", "haproxy"],
        &["servers", "remove"],
        &["apps", "list"],
        &["apps", "show"],
        &["apps", "history"],
        &["apps", "set"],
        &["apps", "events"],
        &["groups", "list"],
        &["groups", "show"],
        &["groups", "add"],
        &["groups", "set"],
        &["groups", "remove"],
        &["catalog", "list"],
        &["catalog", "show"],
        &["catalog", "add"],
        &["catalog", "set"],
        &["catalog", "remove"],
        &["rollout", "list"],
        &["rollout", "show"],
        &["rollout", "cancel"],
        &["events"],
        &["definitions", "list"],
        &["definitions", "show"],
        &["definitions", "put"],
        &["schedules", "list"],
        &["schedules", "show"],
        &["schedules", "put"],
        &["schedules", "pause"],
        &["schedules", "resume"],
        &["schedules", "remove"],
        &["workflows", "resolve"],
        &["config", "show"],
        &["haproxy", "map"],
        &["haproxy", "unmap"],
        &["haproxy", "remap"],
        &["haproxy", "unmapped"],
        &["haproxy", "mapping"],
        &["haproxy", "summary"],
        &["orchestrators", "list"],
        &["orchestrators", "scan"],
        &["rollout", "start"],
        &["workflows", "start"],
        &["workflows", "list"],
        &["workflows", "show"],
        &["workflows", "watch"],
        &["workflows", "cancel"],
        &["workflows", "pause"],
        &["workflows", "resume"],
        &["workflows", "retry"],
        &["workflows", "skip"],
        &["workflows", "signal"],
        &["queues"],
        &["queues", "list"],
        &["queues", "pause"],
        &["queues", "resume"],
        &["queues", "limit"],
        &["dead-letters", "list"],
        &["dead-letters", "redrive"],
        &["webhooks", "list"],
        &["webhooks", "show"],
        &["webhooks", "add"],
        &["webhooks", "set"],
        &["webhooks", "remove"],
        &["webhooks", "rotate-secret"],
        &["webhooks", "test"],
        &["webhooks", "log"],
        &["webhooks", "delivery"],
        &["webhooks", "redeliver"],
        &["haproxy", "list"],
        &["haproxy", "show"],
        &["haproxy", "drain"],
        &["haproxy", "maint"],
        &["haproxy", "ready"],
        &["haproxy", "sync"],
        &["haproxy", "history"],
        &["haproxy", "actions"],
    ] {
        let help = drover(&[], &[verb, &["--help"]].concat());
        assert_eq!(help.code, Some(0), "{verb:?}");
        assert!(
            document.contains(&format!("`drover {}", verb.join(" "))),
            "{verb:?} is not documented"
        );
        let flags = help
            .out
            .split_whitespace()
            .filter(|word| word.starts_with("--"));
        for flag in flags.filter_map(|flag| flag.split([',', '.', ']', ')', '[', '=']).next()) {
            let is_usual = matches!(flag, "--help" | "--version");
            assert!(
                is_usual || document.contains(flag),
                "{flag} of {verb:?} is not documented"
            );
        }
    }
}
