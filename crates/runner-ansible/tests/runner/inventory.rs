//! Whom a play reaches: an inventory of the administrator, and variables beside playbooks, add to what Drover passes and
//! never lead a host to another machine. On the real Ansible.

use std::path::Path;

use crate::support::ControlHost;
use drover_domain::rollout::job::{InventoryHost, JobStatus, PlaybookJob, Variable};
use drover_ports::{Fault, PlaybookRunner as _, RunnerError};
use drover_testkit::runner::{job, story};

/// A play on `web1` that leaves a mark on the machine it reaches.
const PLAYBOOK: &str = "- hosts: web1\n  gather_facts: false\n  tasks:\n    - ansible.builtin.command: {cmd: touch HERE/mark}\n";

/// A control host with these files besides the playbook.
fn host(files: &[(&str, &str)]) -> ControlHost {
    let host = ControlHost::local(|options| {
        let root = options.spool.parent().unwrap();
        let given = |name: &str| {
            let there = files.iter().any(|(file, _)| *file == name);
            there.then(|| root.join(name))
        };
        options.inventory = given("inventory/hosts.yml");
        options.ansible_config = given("ansible.cfg");
    });
    let playbook = PLAYBOOK.replace("HERE", &host.path("").display().to_string());
    host.write("playbooks/play.yml", &playbook);
    for (name, text) in files {
        std::fs::create_dir_all(host.path(name).parent().unwrap()).unwrap();
        host.write(name, text);
    }
    host
}

fn play(hosts: &[(&str, &str)]) -> PlaybookJob {
    let mut play = job(1, "play.yml");
    let given = |(name, address): &(&str, &str)| InventoryHost {
        name: (*name).to_owned(),
        address: (*address).to_owned(),
    };
    play.hosts = hosts.iter().map(given).collect();
    play
}

async fn refusal(host: &ControlHost, play: &PlaybookJob) -> String {
    let refused = host.runner.launch(play).await;
    let Err(error @ RunnerError::Refused { .. }) = refused else {
        unreachable!("{refused:?}")
    };
    assert_eq!(error.fault(), Fault::Permanent);
    assert!(!host.job_folder(play.id).exists());
    assert!(!Path::new(&host.path("mark")).exists());
    error.to_string()
}

const WEB1: &[(&str, &str)] = &[("web1", "192.0.2.1")];

#[tokio::test]
async fn variables_that_lead_to_another_machine_are_refused_wherever_they_stand() {
    let elsewhere = "is `192.0.2.1` in Drover, and `ansible_host: 10.9.9.9` for Ansible";
    for (file, text, words) in [
        (
            "inventory/hosts.yml",
            "all: {hosts: {web1: {ansible_host: 10.9.9.9}}}",
            elsewhere,
        ),
        (
            "inventory/hosts.yml",
            "webs: {hosts: {web1: }, vars: {ansible_ssh_host: 10.9.9.9}}",
            "`ansible_ssh_host: 10.9.9.9`",
        ),
        (
            "playbooks/host_vars/web1.yml",
            "ansible_host: 10.9.9.9",
            elsewhere,
        ),
        (
            "playbooks/host_vars/web1/main.yml",
            "ansible_host: 10.9.9.9",
            elsewhere,
        ),
        (
            "playbooks/group_vars/all.yml",
            "ansible_connection: local",
            "`ansible_connection: local` is the control host",
        ),
        (
            "playbooks/group_vars/all.yml",
            "ansible_connection: ansible.builtin.local",
            "is the control host",
        ),
        (
            "playbooks/group_vars/ungrouped/x.yml",
            "ansible_connection: docker",
            "does not use its address",
        ),
        (
            "playbooks/group_vars/all.yml",
            "ansible_ssh_common_args: -o HostName=10.9.9.9",
            "the option HostName",
        ),
        (
            "playbooks/host_vars/web1.yml",
            "ansible_host: '{{ groups.all[0] }}'",
            "`ansible_host: {{ groups.all[0] }}`",
        ),
        (
            "playbooks/host_vars/web1.yml",
            "ansible_host: localhost",
            "`ansible_host: localhost`",
        ),
        (
            "playbooks/host_vars/localhost.yml",
            "ansible_connection: ssh",
            "`localhost` is the control host",
        ),
        (
            "inventory/hosts.yml",
            "all: {hosts: {localhost: {ansible_connection: ssh}}}",
            "`localhost` is the control host",
        ),
        (
            "ansible.cfg",
            "[defaults]\ntransport = local\n",
            "`ansible_connection: local` is the control host",
        ),
        (
            "playbooks/group_vars/all.yml",
            "a: [",
            "Ansible cannot read the inventory",
        ),
    ] {
        let told = refusal(&host(&[(file, text)]), &play(WEB1)).await;
        assert!(told.contains(words), "{file}: {text}\n{told}");
    }
}

#[tokio::test]
async fn variables_beside_an_inventory_count_too() {
    let inventory = ("inventory/hosts.yml", "webs: {hosts: {web1: }}");
    for file in [
        "inventory/host_vars/web1.yml",
        "inventory/group_vars/webs.yml",
    ] {
        let host = host(&[inventory, (file, "ansible_ssh_host: 10.9.9.9")]);
        let told = refusal(&host, &play(WEB1)).await;
        assert!(
            told.contains("`ansible_ssh_host: 10.9.9.9`"),
            "{file}: {told}"
        );
    }
}

#[tokio::test]
async fn variables_beside_the_update_playbook_count_too() {
    let host = host(&[
        ("playbooks/own/update.yml", "- hosts: web1\n  tasks: []\n"),
        ("playbooks/own/host_vars/web1.yml", "ansible_host: 10.9.9.9"),
    ]);
    std::os::unix::fs::symlink("own/update.yml", host.path("playbooks/update.yml")).unwrap();
    let mut play = play(WEB1);
    let update = Variable::Text("update.yml".to_owned());
    play.variables.insert("update_playbook".to_owned(), update);
    let told = refusal(&host, &play).await;
    assert!(told.contains("`ansible_host: 10.9.9.9`"), "{told}");
}

#[tokio::test]
async fn one_machine_under_two_names_is_refused_unless_drover_knows_both() {
    let both = "all: {hosts: {web1: {ansible_connection: local}, web2: {ansible_host: 127.0.0.1, ansible_connection: local}}}";
    let files = [("inventory/hosts.yml", both)];
    let told = refusal(
        &host(&files),
        &play(&[("web1", "127.0.0.1"), ("web2", "127.0.0.2")]),
    )
    .await;
    assert!(told.contains("variables of `web2`"), "{told}");
    let host = host(&files);
    reaches(
        &host,
        &play(&[("web1", "127.0.0.1"), ("web2", "127.0.0.1")]),
    )
    .await;
}

async fn reaches(host: &ControlHost, play: &PlaybookJob) {
    host.runner.launch(play).await.unwrap();
    let (events, status) = story(&host.runner, play.id).await;
    assert_eq!(status, JobStatus::Ended { exit_code: 0 }, "{events:#?}");
    assert!(host.path("mark").exists());
}

#[tokio::test]
async fn what_else_a_server_needs_comes_from_the_inventory() {
    // The same address, users, ports and a group called like the server lead nowhere else.
    let local = "ansible_connection: local\nansible_port: 2222\nansible_user: deploy\n";
    let named = "all: {hosts: {web1: {ansible_host: 127.0.0.1}}, children: {web1: {hosts: {other: {ansible_host: 10.9.9.9}}}}}";
    for files in [
        vec![("playbooks/group_vars/all.yml", local)],
        vec![
            ("inventory/hosts.yml", named),
            ("playbooks/group_vars/all.yml", local),
        ],
        vec![
            ("playbooks/host_vars/web2.yml", "ansible_host: 10.9.9.9"),
            ("playbooks/group_vars/all.yml", local),
        ],
    ] {
        reaches(&host(&files), &play(&[("web1", "127.0.0.1")])).await;
    }
}

#[tokio::test]
async fn no_other_inventory_comes_in() {
    // Ansible looks for these by itself where it is started, or where its configuration names them.
    let other = "all: {hosts: {web1: {ansible_host: 10.9.9.9}}}";
    let host = host(&[
        (
            "playbooks/ansible.cfg",
            "[defaults]\ninventory = other.yml\n",
        ),
        (
            "ansible.cfg",
            "[defaults]\ninventory = playbooks/other.yml\n",
        ),
        ("playbooks/other.yml", other),
        ("playbooks/inventory/hosts.yml", other),
        ("playbooks/group_vars/all.yml", "ansible_connection: local"),
    ]);
    reaches(&host, &play(&[("web1", "127.0.0.1")])).await;
}
