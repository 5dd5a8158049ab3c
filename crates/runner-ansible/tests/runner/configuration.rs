//! What a configuration of Ansible's own adds to a play: a vault and roles. On the real Ansible.

use crate::support::ControlHost;
use drover_domain::rollout::job::JobStatus;
use drover_ports::{Fault, PlaybookRunner as _};
use drover_testkit::runner::{job, story};

/// `top secret`, encrypted with `vault-word`.
const VAULTED: &str = "secret_word: !vault |
  $ANSIBLE_VAULT;1.1;AES256
  31313537646664373231373864653637616436366432306330636264643535336466366638323431
  3939333734376361326338356233646665366137656230630a656630366465363939653038653764
  64626130323932323338636133356134373830643966643837383139356438653130363935643536
  3436363464363731310a613461623630633564313763633631383733386639353466346366303534
  3135
";

#[tokio::test]
async fn a_vault_and_roles_elsewhere_come_from_the_configuration() {
    let host = ControlHost::local(|options| {
        options.ansible_config = Some(options.spool.with_file_name("ansible.cfg"));
    });
    for folder in ["playbooks/group_vars", "roles/mark/tasks"] {
        std::fs::create_dir_all(host.path(folder)).unwrap();
    }
    host.write(
        "ansible.cfg",
        "[defaults]\nvault_password_file = word\nroles_path = roles\n",
    );
    host.write("playbooks/group_vars/all.yml", VAULTED);
    let here = host.path("mark").display().to_string();
    host.write(
        "roles/mark/tasks/main.yml",
        &format!("- ansible.builtin.copy: {{content: '{{{{ secret_word }}}}', dest: {here}}}\n"),
    );
    host.write(
        "playbooks/play.yml",
        "- hosts: localhost\n  gather_facts: false\n  roles: [mark]\n",
    );

    // Without the password nothing could begin, so nothing is accepted.
    let unfit = host.runner.probe().await.unwrap_err();
    assert_eq!(unfit.fault(), Fault::Permanent);
    let word = host.path("word");
    let words = format!(
        "the vault password file `{}`, which `{}` of the setting `ansible.config` names, does not exist",
        word.display(),
        host.path("ansible.cfg").display()
    );
    assert!(unfit.to_string().contains(&words), "{unfit}");

    host.write("word", "vault-word\n");
    host.runner.probe().await.unwrap();
    let play = job(1, "play.yml");
    host.runner.launch(&play).await.unwrap();
    let (events, status) = story(&host.runner, play.id).await;
    assert_eq!(status, JobStatus::Ended { exit_code: 0 }, "{events:#?}");
    assert_eq!(host.lines("mark"), ["top secret"]);
}
