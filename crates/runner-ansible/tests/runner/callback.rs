//! What the events of a real play tell, and what they keep to themselves.

use crate::support::ControlHost;
use drover_domain::rollout::job::{InventoryHost, JobEvent, JobEventKind, JobStatus, Variable};
use drover_domain::rollout::task::InstanceOutcome;
use drover_ports::PlaybookRunner as _;
use drover_testkit::runner::{job, story};

/// One play with a bit of everything; most of its seconds are Ansible's own.
const PLAYBOOK: &str = r#"
- name: Everything
  hosts: localhost:gone
  gather_facts: false
  tasks:
    - name: Reach
      ansible.builtin.ping:
      when: inventory_hostname == 'gone'
    - name: Secrets
      ansible.builtin.debug:
        msg: "api_token={{ api_token }} {{ api_token }} password: hunter2 http://me:pw@host/x {{ {'db_password': 'p', 'n': 1} }}"
    - name: Long
      ansible.builtin.debug:
        msg: "{{ 'ab ' * 5000 }}"
    - name: Items
      ansible.builtin.debug:
        msg: "told {{ item }}"
      loop: [one, two]
      failed_when: item == 'two'
      ignore_errors: true
    - name: Report
      ansible.builtin.debug:
        msg:
          drover_report:
            - {composite: "w::a::s", outcome: drained, detail: "0 sessions"}
            - {composite: "w::b::t", outcome: nonsense}
    - name: Skip
      ansible.builtin.debug:
      when: false
    - name: Command
      ansible.builtin.command: sh -c 'echo the reason >&2; exit 7'
      retries: 1
      delay: 0
      register: tried
      until: tried.rc == 0
"#;

fn said<'a>(events: &'a [JobEvent], kind: JobEventKind, task: &str) -> Vec<&'a str> {
    let fits = |event: &&JobEvent| event.kind == kind && event.task.as_deref() == Some(task);
    events
        .iter()
        .filter(fits)
        .filter_map(|event| event.message.as_deref())
        .collect()
}

#[tokio::test]
async fn events_tell_reasons_and_reports_and_no_secrets() {
    let host = ControlHost::local(|options| {
        options.inventory = Some(options.spool.with_file_name("inventory.yml"));
    });
    host.write("playbooks/all.yml", PLAYBOOK);
    host.write(
        "inventory.yml",
        "all: {hosts: {gone: {ansible_port: 1, ansible_ssh_timeout: 3}}}\n",
    );
    let mut everything = job(1, "all.yml");
    everything.hosts.push(InventoryHost {
        name: "gone".to_owned(),
        address: "127.0.0.1".to_owned(),
    });
    // Without a name that gives it away in the text, only its value can be recognized.
    everything.variables.insert(
        "api_token".to_owned(),
        Variable::Text("tok-12345".to_owned()),
    );
    host.runner.launch(&everything).await.unwrap();
    let (events, status) = story(&host.runner, everything.id).await;
    assert_eq!(status, JobStatus::Ended { exit_code: 4 }, "{events:#?}");

    let unreachable = said(&events, JobEventKind::Unreachable, "Reach");
    assert!(
        unreachable
            .iter()
            .any(|text| text.contains("127.0.0.1 port 1")),
        "{unreachable:?}"
    );
    let secrets = said(&events, JobEventKind::Ok, "Secrets");
    assert_eq!(
        secrets,
        ["api_token=*** *** password: *** http://***@host/x {'db_password': '***', 'n': 1}"]
    );
    let raw = std::fs::read_to_string(host.job_folder(everything.id).join("events.jsonl")).unwrap();
    assert!(
        !raw.contains("tok-12345") && !raw.contains("hunter2") && !raw.contains("invocation"),
        "{raw}"
    );
    let long = said(&events, JobEventKind::Ok, "Long");
    assert_eq!(
        long.iter()
            .map(|text| text.chars().count())
            .collect::<Vec<_>>(),
        [JobEvent::MESSAGE_MAX]
    );
    assert_eq!(said(&events, JobEventKind::Ok, "Items"), ["one: told one"]);
    assert_eq!(
        said(&events, JobEventKind::Ignored, "Items"),
        ["two: told two"]
    );
    let reports: Vec<_> = events
        .iter()
        .filter_map(|event| event.report.as_ref())
        .collect();
    assert_eq!(
        reports
            .iter()
            .map(|report| (report.composite.as_str(), report.outcome))
            .collect::<Vec<_>>(),
        [("w::a::s", InstanceOutcome::Drained)]
    );
    assert_eq!(
        events
            .iter()
            .filter(|event| event.kind == JobEventKind::Skipped)
            .count(),
        2,
        "{events:#?}"
    );
    assert_eq!(
        said(&events, JobEventKind::Retry, "Command"),
        ["try 1 of 1 failed"]
    );
    assert_eq!(
        said(&events, JobEventKind::Failed, "Command"),
        ["non-zero return code: the reason"]
    );
    let counted = &events.last().unwrap().stats;
    let counts: Vec<_> = counted
        .iter()
        .map(|host| {
            (
                host.host.as_str(),
                host.unreachable,
                host.failed,
                host.ignored,
            )
        })
        .collect();
    assert_eq!(counts, [("gone", 1, 0, 0), ("localhost", 0, 1, 1)]);
}

#[tokio::test]
async fn what_is_too_much_is_cut_with_a_mark_and_the_verdict_is_kept() {
    let host = ControlHost::local(|_| ());
    let many = "- hosts: localhost\n  gather_facts: false\n  tasks:\n    - debug: {msg: \"{{ item }}\"}\n      \
                loop: \"{{ range(40) | list }}\"\n    - fail: {msg: the end}\n";
    host.write("playbooks/many.yml", many);
    let events = host.path("events");
    #[expect(
        clippy::disallowed_methods,
        reason = "the bound is the plugin's, so it is run without a job"
    )]
    let ended = std::process::Command::new("ansible-playbook")
        .arg(host.path("playbooks/many.yml"))
        .env("ANSIBLE_CALLBACK_PLUGINS", plugin_folder(&host))
        .env("ANSIBLE_STDOUT_CALLBACK", "drover_events")
        .env("DROVER_EVENTS_FILE", &events)
        .env("DROVER_EVENTS_MAX", "20")
        .output()
        .unwrap();
    assert_eq!(ended.status.code(), Some(2), "{ended:?}");
    let kinds: Vec<String> = host
        .lines("events")
        .iter()
        .map(|line| {
            line.split("\"kind\": \"")
                .nth(1)
                .unwrap()
                .split('"')
                .next()
                .unwrap()
                .to_owned()
        })
        .collect();
    assert_eq!(kinds.iter().filter(|kind| *kind == "truncated").count(), 1);
    let kinds: Vec<&str> = kinds.iter().map(String::as_str).collect();
    assert_eq!(kinds.get(20..), Some(&["truncated", "failed", "stats"][..]));
}

fn plugin_folder(host: &ControlHost) -> std::path::PathBuf {
    let folder = host.path("callback");
    std::fs::create_dir(&folder).unwrap();
    let plugin = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/src/control_host/drover_events.py"
    );
    std::fs::copy(plugin, folder.join("drover_events.py")).unwrap();
    folder
}
