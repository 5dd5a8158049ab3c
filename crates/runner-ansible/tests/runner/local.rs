//! The contract of the runner, on this host with the real Ansible.

use crate::support::ControlHost;

#[expect(clippy::unused_async, reason = "the suite waits for its fixture")]
async fn fresh() -> ControlHost {
    ControlHost::local(|_| ())
}

drover_testkit::playbook_runner_contract!(fresh);
