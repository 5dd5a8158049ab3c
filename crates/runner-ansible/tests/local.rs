//! The contract of the runner, on this host with the real Ansible.
#![expect(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    missing_docs,
    dead_code,
    reason = "a test"
)]

mod support;

use support::ControlHost;

async fn fresh() -> ControlHost {
    ControlHost::local(|_| ())
}

drover_testkit::playbook_runner_contract!(fresh);
