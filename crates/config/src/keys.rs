//! The names of all settings.

/// A setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) section: &'static str,
    pub(crate) name: &'static str,
    pub(crate) secrecy: Secrecy,
}

/// How much of a value may be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Secrecy {
    Open,
    /// A URL whose password is secret.
    Url,
    Secret,
}

impl Key {
    pub(crate) fn dotted(self) -> String {
        format!("{}.{}", self.section, self.name)
    }
}

const fn open(section: &'static str, name: &'static str) -> Key {
    Key { section, name, secrecy: Secrecy::Open }
}

/// Every setting, in the order of `defaults.toml`.
pub(crate) const KEYS: &[Key] = &[
    open("server", "listen"),
    open("server", "admin_listen"),
    open("server", "request_timeout_ms"),
    open("server", "shutdown_grace_ms"),
    Key { section: "database", name: "url", secrecy: Secrecy::Url },
    open("database", "url_file"),
    open("database", "pool_size"),
    open("database", "acquire_timeout_ms"),
    open("database", "start_timeout_ms"),
    open("fleet", "polling_interval_ms"),
    open("fleet", "connection_timeout_ms"),
    open("fleet", "offline_after"),
    open("fleet", "poll_concurrency"),
    open("balancer", "sync_interval_ms"),
    open("balancer", "request_timeout_ms"),
    open("ansible", "target"),
    open("ansible", "playbooks"),
    open("ansible", "spool"),
    open("ansible", "inventory"),
    open("ansible", "python"),
    open("ansible", "ansible_playbook"),
    open("ansible", "ssh_host"),
    open("ansible", "ssh_port"),
    open("ansible", "ssh_user"),
    open("ansible", "ssh_identity_file"),
    open("ansible", "ssh_known_hosts_file"),
    open("ansible", "max_runtime_ms"),
    open("rollout", "default_playbook"),
    open("rollout", "default_orchestrator"),
    open("rollout", "workers"),
    open("rollout", "lease_ms"),
    Key { section: "access", name: "admin_key", secrecy: Secrecy::Secret },
    open("access", "admin_key_file"),
    open("log", "format"),
    open("log", "filter"),
];

pub(crate) fn find(section: &str, name: &str) -> Option<Key> {
    KEYS.iter().copied().find(|key| key.section == section && key.name == name)
}

pub(crate) fn is_section(section: &str) -> bool {
    KEYS.iter().any(|key| key.section == section)
}

pub(crate) fn sections() -> String {
    let mut names: Vec<&str> = KEYS.iter().map(|key| key.section).collect();
    names.dedup();
    names.join(", ")
}

pub(crate) fn names(section: &str) -> String {
    let names: Vec<&str> = KEYS.iter().filter(|key| key.section == section).map(|key| key.name).collect();
    names.join(", ")
}
