//! What is read, what is refused and how, what is never shown.

#![expect(clippy::unwrap_used, reason = "a broken setup should stop the test")]

use std::time::Duration;

use drover_config::{AnsibleTarget, Source, describe, load};

fn variables(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn refusal(text: &str, pairs: &[(&str, &str)]) -> String {
    load(
        Some(Source {
            name: "drover.toml",
            text,
        }),
        variables(pairs),
    )
    .unwrap_err()
    .to_string()
}

#[test]
fn the_defaults_can_be_believed() {
    let settings = load(None, variables(&[])).unwrap();
    assert_eq!(settings.fleet.polling_interval, Duration::from_mins(1));
    assert_eq!(settings.ansible.target, AnsibleTarget::Local);
}

#[test]
fn a_variable_beats_the_file_and_the_file_the_default() {
    let text = "[fleet]\npolling_interval_ms = 5000\noffline_after = 3\n";
    let pairs = [
        ("DROVER_FLEET__OFFLINE_AFTER", "4"),
        ("DROVER_URL", "ignored"),
        ("PATH", "/bin"),
    ];
    let settings = load(
        Some(Source {
            name: "drover.toml",
            text,
        }),
        variables(&pairs),
    )
    .unwrap();
    assert_eq!(settings.fleet.polling_interval, Duration::from_secs(5));
    assert_eq!(settings.fleet.offline_after.get(), 4);
}

#[test]
fn queues_add_up_and_zero_takes_one_away() {
    let text = "[engine.queues]\nhttp = 0\nbatch = 4\n";
    let pairs = [
        ("DROVER_ENGINE__QUEUES__BATCH", "5"),
        ("DROVER_ENGINE__QUEUES__MEDIA", "2"),
    ];
    let file = Source {
        name: "drover.toml",
        text,
    };
    let settings = load(Some(file), variables(&pairs)).unwrap();
    let queues: Vec<(&str, u32)> = settings
        .engine
        .queues
        .iter()
        .map(|(name, most)| (name.as_str(), most.get()))
        .collect();
    assert_eq!(
        queues,
        [
            ("batch", 5),
            ("default", 64),
            ("haproxy", 32),
            ("media", 2),
            ("webhooks", 16)
        ]
    );
}

#[test]
fn truths_and_lists_can_be_variables() {
    let pairs = [
        ("DROVER_HTTP_REQUEST__PUBLIC", "false"),
        ("DROVER_HTTP_REQUEST__ALLOW", "10.0.0.0/8, fd12::/16"),
        ("DROVER_HTTP_REQUEST__DENY", ""),
    ];
    let settings = load(None, variables(&pairs)).unwrap().http_request;
    assert!(!settings.public && settings.plain_http);
    assert_eq!(settings.allow, ["10.0.0.0/8", "fd12::/16"]);
    assert!(settings.deny.is_empty());
    let shown = describe(None, variables(&pairs)).unwrap();
    let allow = shown
        .iter()
        .find(|shown| shown.key == "http_request.allow")
        .unwrap();
    assert_eq!(
        (allow.value.as_str(), allow.origin),
        ("[10.0.0.0/8, fd12::/16]", "variable")
    );
}

#[test]
fn the_former_name_of_the_haproxy_section_is_refused_with_the_new_one() {
    let in_file = refusal("[balancer]\nmin_ready = 2\n", &[]);
    let in_variable = refusal("", &[("DROVER_BALANCER__MIN_READY", "2")]);
    for refused in [in_file, in_variable] {
        assert!(
            refused.contains("`[balancer]` is named `[haproxy]`")
                && refused.contains("`DROVER_HAPROXY__…`"),
            "{refused}"
        );
    }
}

#[test]
fn an_unknown_key_is_named_with_its_place() {
    let in_file = refusal("[fleet]\npolling_intervall_ms = 5\n", &[]);
    assert!(
        in_file.contains("polling_intervall_ms") && in_file.contains("drover.toml"),
        "{in_file}"
    );
    let in_variable = refusal("", &[("DROVER_FLEET__POLING", "5")]);
    assert!(
        in_variable.contains("poling") && in_variable.contains("variable"),
        "{in_variable}"
    );
}

#[test]
fn impossible_values_name_the_key() {
    for (text, part) in [
        (
            "[fleet]\npolling_interval_ms = 0",
            "`fleet.polling_interval_ms` must be at least 1",
        ),
        ("[server]\nlisten = \"nowhere\"", "`server.listen`"),
        ("[database]\nurl = \"mysql://x/y\"", "`database.url`"),
        (
            "[ansible]\ntarget = \"ssh\"",
            "`ansible.ssh_host` is needed",
        ),
        ("[log]\nformat = \"xml\"", "`log.format`"),
        ("[rollout]\nworkers = \"two\"", "rollout.workers"),
        (
            "[engine]\nlease_ms = 999",
            "`engine.lease_ms` must be at least 1000",
        ),
        (
            "[engine]\nretention_days = 0",
            "`engine.retention_days` must be at least 1",
        ),
        (
            "[fleet]\nevents_retention_days = 0",
            "`fleet.events_retention_days` must be at least 1",
        ),
        (
            "[haproxy]\nhistory_retention_days = 0",
            "`haproxy.history_retention_days` must be at least 1",
        ),
        (
            "[rollout]\nretention_days = 0",
            "`rollout.retention_days` must be at least 1",
        ),
        (
            "[engine.queues]\nrollouts = 3",
            "`rollout.workers` says how many",
        ),
        ("[engine.queues]\nhttp = -1", "engine.queues.http"),
        ("[http_request]\npublic = \"no\"", "http_request.public"),
    ] {
        let refusal = refusal(text, &[]);
        assert!(refusal.contains(part), "{text}: {refusal}");
    }
}

#[test]
fn a_secret_comes_from_a_file_and_is_never_printed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    std::fs::write(&path, "drv_canary\n").unwrap();
    let pairs = [
        ("DROVER_ACCESS__ADMIN_KEY_FILE", path.to_str().unwrap()),
        ("DROVER_DATABASE__URL", "postgres://drover:canary@db/drover"),
        ("DROVER_FLEET__AGENT_TOKEN", "canary-of-the-fleet"),
    ];
    let settings = load(None, variables(&pairs)).unwrap();
    assert!(settings.access.admin_key.is_some() && settings.fleet.agent_token.is_some());
    assert!(!format!("{settings:?}").contains("canary"));
    let shown = describe(None, variables(&pairs)).unwrap();
    assert!(
        shown.iter().all(|shown| !shown.value.contains("canary")),
        "{shown:?}"
    );
    let url = shown
        .iter()
        .find(|shown| shown.key == "database.url")
        .unwrap();
    assert_eq!(
        (url.value.as_str(), url.origin),
        ("postgres://drover:REDACTED@db/drover", "variable")
    );
}

#[test]
fn no_error_repeats_a_secret() {
    let canary = "drv_canary";
    for (text, pairs) in [
        ("[access]\nadmin_key = \"drv_canary\" oops\n", vec![]),
        ("[access]\nadmin_key = [\"drv_canary\"]\n", vec![]),
        ("", vec![("DROVER_DATABASE__URL", "mysql://drv_canary")]),
        ("", vec![("DROVER_DATABASE__URL", "drv_canary")]),
    ] {
        let refusal = refusal(text, &pairs);
        assert!(!refusal.contains(canary), "{refusal}");
    }
    let digits = [
        ("DROVER_ACCESS__ADMIN_KEY", "123456"),
        ("DROVER_FLEET__AGENT_TOKEN", "123456"),
    ];
    let settings = load(None, variables(&digits)).unwrap();
    assert!(settings.access.admin_key.is_some() && settings.fleet.agent_token.is_some());
    let query = [(
        "DROVER_DATABASE__URL",
        "postgres://db/drover?user=x&password=canary",
    )];
    let shown = describe(None, variables(&query)).unwrap();
    assert!(
        shown.iter().all(|shown| !shown.value.contains("canary")),
        "{shown:?}"
    );
}

#[test]
fn a_variable_that_only_looks_like_a_setting_is_named() {
    let refusal = refusal("", &[("DROVER_DATABASE_URL", "sqlite://x")]);
    assert!(refusal.contains("`DROVER_DATABASE_URL`"), "{refusal}");
}

#[test]
fn a_secret_given_twice_or_in_a_missing_file_is_refused() {
    let both = [
        ("DROVER_ACCESS__ADMIN_KEY", "a"),
        ("DROVER_ACCESS__ADMIN_KEY_FILE", "/nowhere"),
    ];
    assert!(refusal("", &both).contains("both given"));
    assert!(refusal("", &both[1..]).contains("`/nowhere`"));
}

#[test]
fn the_documentation_names_every_setting() {
    let document = include_str!("../../../docs/configuration.md");
    for shown in describe(None, variables(&[])).unwrap() {
        let row = format!("| `{}` | `{}` |", shown.key, shown.value);
        assert!(
            document.contains(&row),
            "docs/configuration.md lacks: {row}"
        );
    }
}

#[test]
fn a_raw_sign_in_a_database_password_is_named_with_its_way_to_be_written() {
    for (url, sign) in [
        ("postgres://drover:can@ary@db.local/drover", '@'),
        ("postgres://drover:can@ary@db.local:5432/drover", '@'),
        ("postgresql://drover:can#ary@db.local/drover", '#'),
        ("postgres://drover:can/ary@db.local/drover", '/'),
        ("postgres://drover:12/canary@db.local/drover", '/'),
        ("postgres://drover:can?ary@db.local/drover", '?'),
        ("postgres://drover:can?a=ry@db.local/drover", '?'),
        ("postgres://drover:can%ary@db.local/drover", '%'),
        ("postgres://drover:canary%@db.local/drover", '%'),
        ("postgres://dro@ver:canary@db.local/drover", '@'),
        ("postgres://drover:c@n/ary@db.local/drover", '/'),
    ] {
        for key in ["DROVER_DATABASE__URL", "DROVER_DATABASE__LISTEN_URL"] {
            let mut pairs = vec![("DROVER_DATABASE__URL", "postgres://db.local/drover")];
            pairs.push((key, url));
            let refusal = refusal("", &pairs);
            assert!(
                refusal.contains(&format!("raw `{sign}`")),
                "{url}: {refusal}"
            );
            assert!(refusal.contains("`@` as %40"), "{url}: {refusal}");
            for secret in ["ary", "can", "12/"] {
                assert!(!refusal.contains(secret), "{url}: {refusal}");
            }
        }
    }
}

#[test]
fn urls_of_databases_are_believed() {
    for url in [
        "postgres://drover:c%40n%2Fary%23%25@db.local/drover",
        "postgres://drover@db.local/drover?application_name=a@b",
        "postgres://db.local:5432/drover?options=-c%20a=b@c",
        "postgres:///drover?host=/run/a@b",
        "postgres://postgres@localhost/test?host=/tmp/socket",
        "postgres://[::1]:5432/drover?user=a@b",
        "sqlite://drover@home.sqlite?mode=rwc",
        "sqlite:/var/lib/drover/100%.db",
        "sqlite::memory:",
    ] {
        let settings = load(None, variables(&[("DROVER_DATABASE__URL", url)]));
        assert!(settings.is_ok(), "{url}: {settings:?}");
    }
    let both = [
        ("DROVER_DATABASE__URL", "sqlite::memory:"),
        ("DROVER_DATABASE__LISTEN_URL", "postgres://db/drover"),
    ];
    assert!(refusal("", &both).contains("`database.listen_url`"));
}

/// What `drover config show` prints.
fn printed(file: Option<&str>, pairs: &[(&str, &str)]) -> String {
    let source = file.map(|text| Source {
        name: "drover.toml",
        text,
    });
    let shown = describe(source, variables(pairs)).unwrap();
    shown.iter().map(|shown| shown.line() + "\n").collect()
}

#[test]
fn what_is_shown_can_be_read_back() {
    let file = "[http_request]\nallow = [\"10.0.0.0/8\", \"fd12::/16\"]\n[engine.queues]\n\"mail.out\" = 3\nhttp = 9\n\
                [ansible]\npython = \"/opt/a \\\"b\\\" \\\\ \\u0007/python3\"\n";
    let pairs = [
        ("DROVER_ANSIBLE__MAX_RUNTIME_MS", "14400001"),
        (
            "DROVER_DATABASE__URL",
            "sqlite:///var/lib/x.sqlite?mode=rwc",
        ),
    ];
    for (file, pairs) in [(None, &[][..]), (Some(file), &pairs)] {
        let text = printed(file, pairs);
        let again = printed(Some(&text), &[]);
        let without_origin = |text: &str| -> Vec<String> {
            let lines = text.lines();
            lines
                .map(|line| line.rsplit_once("  # ").unwrap().0.to_owned())
                .collect()
        };
        assert_eq!(without_origin(&again), without_origin(&text));
        let source = Some(Source {
            name: "drover.toml",
            text: &text,
        });
        load(source, variables(&[])).unwrap_or_else(|error| panic!("{error}:\n{text}"));
    }
    let text = printed(Some(file), &pairs);
    for line in [
        "ansible.max_runtime_ms = 14400001  # variable",
        "http_request.allow = [\"10.0.0.0/8\", \"fd12::/16\"]  # file",
        "engine.queues.\"mail.out\" = 3  # file",
        "http_request.allow = []  # default",
    ] {
        let is_there = text.lines().any(|shown| shown == line);
        assert_eq!(is_there, !line.contains("default"), "{line}:\n{text}");
    }
}

#[test]
fn a_secret_is_shown_as_a_comment() {
    let key = format!("drv_{}_{}", "0123456789abcdef", "A".repeat(43));
    let pairs = [
        ("DROVER_ACCESS__ADMIN_KEY", key.as_str()),
        ("DROVER_DATABASE__URL", "postgres://drover:canary@db/drover"),
    ];
    let text = printed(None, &pairs);
    for line in [
        "# access.admin_key = \"[REDACTED]\"  # variable",
        "# database.url = \"postgres://drover:REDACTED@db/drover\"  # variable",
    ] {
        assert!(text.lines().any(|shown| shown == line), "{line}:\n{text}");
    }
    let source = Some(Source {
        name: "drover.toml",
        text: &text,
    });
    assert!(load(source, variables(&[])).is_ok());
}
