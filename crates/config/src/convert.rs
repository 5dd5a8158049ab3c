//! From what is written to what is believed.

use std::fs::File;
use std::io::Read as _;
use std::net::SocketAddr;
use std::num::{NonZeroU16, NonZeroU32, NonZeroUsize};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};

use crate::error::SettingsError;
use crate::layers::Layers;
use crate::raw;
use crate::settings::{
    Access, Ansible, AnsibleTarget, Balancer, Database, Fleet, Log, LogFormat, Rollout, Server, Settings,
};

const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;
const TEXT_LENGTH_MAX: usize = 4096;

pub(crate) fn settings(layers: &Layers) -> Result<Settings, SettingsError> {
    let raw::Raw { server, database, fleet, balancer, ansible, rollout, access, log } = layers.raw()?;
    let check = Check(layers);
    Ok(Settings {
        server: check.server(&server)?,
        database: check.database(database)?,
        fleet: Fleet {
            polling_interval: check.time("fleet.polling_interval_ms", fleet.polling_interval_ms, 100..=DAY_MS)?,
            connection_timeout: check.time("fleet.connection_timeout_ms", fleet.connection_timeout_ms, 50..=600_000)?,
            offline_after: check.count("fleet.offline_after", fleet.offline_after, 100)?,
            poll_concurrency: check.size("fleet.poll_concurrency", fleet.poll_concurrency, 1000)?,
        },
        balancer: Balancer {
            sync_interval: check.time("balancer.sync_interval_ms", balancer.sync_interval_ms, 100..=DAY_MS)?,
            request_timeout: check.time("balancer.request_timeout_ms", balancer.request_timeout_ms, 50..=600_000)?,
        },
        ansible: check.ansible(ansible)?,
        rollout: Rollout {
            default_playbook: check.text("rollout.default_playbook", rollout.default_playbook)?,
            default_orchestrator: check.text("rollout.default_orchestrator", rollout.default_orchestrator)?,
            workers: check.size("rollout.workers", rollout.workers, 64)?,
            lease: check.time("rollout.lease_ms", rollout.lease_ms, 1000..=HOUR_MS)?,
        },
        access: Access { admin_key: check.secret("access.admin_key", access.admin_key, access.admin_key_file)? },
        log: Log {
            format: match log.format.as_str() {
                "text" => LogFormat::Text,
                "json" => LogFormat::Json,
                other => return Err(check.invalid("log.format", format!("is {other:?}; allowed: text, json"))),
            },
            filter: check.text("log.filter", log.filter)?,
        },
    })
}

struct Check<'a>(&'a Layers);

impl Check<'_> {
    fn invalid(&self, key: &str, reason: impl Into<String>) -> SettingsError {
        SettingsError::Invalid { key: key.to_owned(), place: self.0.place(key), reason: reason.into() }
    }

    fn server(&self, raw: &raw::Server) -> Result<Server, SettingsError> {
        Ok(Server {
            listen: self.address("server.listen", &raw.listen)?,
            admin_listen: self.address("server.admin_listen", &raw.admin_listen)?,
            request_timeout: self.time("server.request_timeout_ms", raw.request_timeout_ms, 100..=600_000)?,
            shutdown_grace: self.time("server.shutdown_grace_ms", raw.shutdown_grace_ms, 0..=HOUR_MS)?,
        })
    }

    fn database(&self, raw: raw::Database) -> Result<Database, SettingsError> {
        let given = self.0.is_given("database.url").then_some(raw.url.clone());
        let url = self.secret("database.url", given, raw.url_file)?.unwrap_or(raw.url);
        let is_known = ["sqlite:", "postgres:", "postgresql:"].iter().any(|scheme| url.expose_secret().starts_with(scheme));
        if !is_known {
            return Err(self.invalid("database.url", "does not begin with sqlite: or postgres:"));
        }
        Ok(Database {
            url,
            pool_size: self.count("database.pool_size", raw.pool_size, 1000)?,
            acquire_timeout: self.time("database.acquire_timeout_ms", raw.acquire_timeout_ms, 100..=600_000)?,
            start_timeout: self.time("database.start_timeout_ms", raw.start_timeout_ms, 0..=HOUR_MS)?,
        })
    }

    fn ansible(&self, raw: raw::Ansible) -> Result<Ansible, SettingsError> {
        let host = self.optional("ansible.ssh_host", raw.ssh_host)?;
        let port = u16::try_from(raw.ssh_port).ok().and_then(NonZeroU16::new);
        let port = port.ok_or_else(|| self.invalid("ansible.ssh_port", "must be 1 to 65535"))?;
        let user = self.text("ansible.ssh_user", raw.ssh_user)?;
        let identity_file = self.path("ansible.ssh_identity_file", raw.ssh_identity_file)?;
        let known_hosts_file = self.path("ansible.ssh_known_hosts_file", raw.ssh_known_hosts_file)?;
        let target = match (raw.target.as_str(), host) {
            ("local", _) => AnsibleTarget::Local,
            ("ssh", Some(host)) => AnsibleTarget::Ssh { host, port, user, identity_file, known_hosts_file },
            ("ssh", None) => return Err(self.invalid("ansible.target", "is ssh, so `ansible.ssh_host` must be given")),
            (other, _) => {
                return Err(self.invalid("ansible.target", format!("is {other:?}; allowed: local, ssh")));
            }
        };
        Ok(Ansible {
            target,
            playbooks: PathBuf::from(self.text("ansible.playbooks", raw.playbooks)?),
            spool: PathBuf::from(self.text("ansible.spool", raw.spool)?),
            inventory: self.path("ansible.inventory", raw.inventory)?,
            python: self.text("ansible.python", raw.python)?,
            ansible_playbook: self.text("ansible.ansible_playbook", raw.ansible_playbook)?,
            max_runtime: self.time("ansible.max_runtime_ms", raw.max_runtime_ms, 1000..=7 * DAY_MS)?,
        })
    }

    fn address(&self, key: &str, text: &str) -> Result<SocketAddr, SettingsError> {
        text.parse().map_err(|_| {
            self.invalid(key, format!("is {text:?}; an IP address with a port is expected, such as 127.0.0.1:8080"))
        })
    }

    fn time(&self, key: &str, ms: u64, range: RangeInclusive<u64>) -> Result<Duration, SettingsError> {
        self.within(key, ms, range).map(Duration::from_millis)
    }

    fn count(&self, key: &str, number: u64, most: u32) -> Result<NonZeroU32, SettingsError> {
        let number = self.within(key, number, 1..=u64::from(most))?;
        Ok(u32::try_from(number).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MIN))
    }

    fn size(&self, key: &str, number: u64, most: u32) -> Result<NonZeroUsize, SettingsError> {
        let number = self.within(key, number, 1..=u64::from(most))?;
        Ok(usize::try_from(number).ok().and_then(NonZeroUsize::new).unwrap_or(NonZeroUsize::MIN))
    }

    fn within(&self, key: &str, number: u64, range: RangeInclusive<u64>) -> Result<u64, SettingsError> {
        if range.contains(&number) {
            return Ok(number);
        }
        Err(self.invalid(key, format!("is {number}; it must be {} to {}", range.start(), range.end())))
    }

    fn text(&self, key: &str, text: String) -> Result<String, SettingsError> {
        if text.trim().is_empty() {
            return Err(self.invalid(key, "must not be empty"));
        }
        if text.len() > TEXT_LENGTH_MAX {
            return Err(self.invalid(key, format!("has {} bytes; at most {TEXT_LENGTH_MAX} are allowed", text.len())));
        }
        match text.chars().find(|found| found.is_control()) {
            Some(found) => Err(self.invalid(key, format!("contains the control character {found:?}"))),
            None => Ok(text),
        }
    }

    fn optional(&self, key: &str, text: Option<String>) -> Result<Option<String>, SettingsError> {
        text.map(|text| self.text(key, text)).transpose()
    }

    fn path(&self, key: &str, text: Option<String>) -> Result<Option<PathBuf>, SettingsError> {
        Ok(self.optional(key, text)?.map(PathBuf::from))
    }

    /// The secret itself, or what its file contains up to the end of its last line.
    fn secret(
        &self,
        key: &str,
        given: Option<SecretString>,
        file: Option<String>,
    ) -> Result<Option<SecretString>, SettingsError> {
        let file_key = format!("{key}_file");
        let Some(path) = self.path(&file_key, file)? else { return Ok(given) };
        if given.is_some() {
            return Err(SettingsError::Both {
                key: key.to_owned(),
                place: self.0.place(key),
                file_place: self.0.place(&file_key),
            });
        }
        let mut text = String::new();
        let bound = u64::try_from(TEXT_LENGTH_MAX).unwrap_or(u64::MAX);
        File::open(&path)
            .and_then(|file| file.take(bound).read_to_string(&mut text))
            .map_err(|source| SettingsError::SecretFile {
                key: file_key.clone(),
                place: self.0.place(&file_key),
                path: path.clone(),
                source,
            })?;
        let text = text.trim_end_matches(['\r', '\n']);
        if text.is_empty() {
            return Err(self.invalid(&file_key, format!("names {}, which is empty", path.display())));
        }
        Ok(Some(SecretString::from(text)))
    }
}
