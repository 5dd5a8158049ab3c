//! Settings as they are written; nothing is believed yet.

use std::collections::BTreeMap;

use secrecy::SecretString;
use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Raw {
    pub(crate) server: Server,
    pub(crate) database: Database,
    pub(crate) fleet: Fleet,
    pub(crate) haproxy: Haproxy,
    pub(crate) ansible: Ansible,
    pub(crate) engine: Engine,
    pub(crate) http_request: HttpRequest,
    pub(crate) rollout: Rollout,
    #[serde(default)]
    pub(crate) access: Access,
    pub(crate) log: Log,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Server {
    pub(crate) listen: String,
    pub(crate) admin_listen: String,
    pub(crate) request_timeout_ms: u64,
    pub(crate) shutdown_grace_ms: u64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Database {
    pub(crate) url: SecretString,
    pub(crate) url_file: Option<String>,
    pub(crate) listen_url: Option<SecretString>,
    pub(crate) listen_url_file: Option<String>,
    pub(crate) pool_size: u32,
    pub(crate) acquire_timeout_ms: u64,
    pub(crate) start_timeout_ms: u64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Fleet {
    pub(crate) polling_interval_ms: u64,
    pub(crate) connection_timeout_ms: u64,
    pub(crate) offline_after: u32,
    pub(crate) no_data_after: u32,
    pub(crate) new_members: NewMembers,
    pub(crate) forget_after_days: u32,
    pub(crate) poll_concurrency: usize,
    pub(crate) events_retention_days: u32,
    pub(crate) agent_token: Option<SecretString>,
    pub(crate) agent_token_file: Option<String>,
    pub(crate) former_agent_token: Option<SecretString>,
    pub(crate) former_agent_token_file: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Haproxy {
    pub(crate) sync_interval_ms: u64,
    pub(crate) request_timeout_ms: u64,
    pub(crate) min_ready: u32,
    pub(crate) history_retention_days: u32,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ansible {
    pub(crate) target: String,
    pub(crate) playbooks: String,
    pub(crate) spool: String,
    pub(crate) inventory: Option<String>,
    pub(crate) config: Option<String>,
    pub(crate) python: String,
    #[expect(clippy::struct_field_names, reason = "the program is called so")]
    pub(crate) ansible_playbook: String,
    pub(crate) ssh_host: Option<String>,
    pub(crate) ssh_port: u16,
    pub(crate) ssh_user: String,
    pub(crate) ssh_identity_file: Option<String>,
    pub(crate) ssh_known_hosts_file: Option<String>,
    pub(crate) ssh_control_folder: String,
    pub(crate) max_runtime_ms: u64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Engine {
    pub(crate) lease_ms: u64,
    pub(crate) poll_interval_ms: u64,
    pub(crate) retention_days: u32,
    pub(crate) queues: BTreeMap<String, u32>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HttpRequest {
    pub(crate) plain_http: bool,
    pub(crate) public: bool,
    pub(crate) allow: Vec<String>,
    pub(crate) deny: Vec<String>,
    pub(crate) connect_timeout_ms: u64,
    pub(crate) deadline_max_ms: u64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rollout {
    pub(crate) default_playbook: String,
    pub(crate) default_orchestrator: String,
    pub(crate) workers: usize,
    pub(crate) retention_days: u32,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Access {
    pub(crate) admin_key: Option<SecretString>,
    pub(crate) admin_key_file: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Log {
    pub(crate) format: String,
    pub(crate) filter: String,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum NewMembers {
    Join,
    Propose,
}
