//! What a runner is told.

use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where playbooks run and how long they may.
///
/// All paths are absolute and, but for those of [`Transport`], paths of the control host.
#[derive(Debug, Clone)]
pub struct Options {
    /// How the control host is reached.
    pub transport: Transport,
    /// The folder of the jobs and of Drover's helper; made when it is missing, with mode 0700.
    pub spool: PathBuf,
    /// The folder of the playbooks.
    pub playbooks: PathBuf,
    /// An inventory that is used besides the hosts of a job and wins over them.
    pub inventory: Option<PathBuf>,
    /// Ansible's configuration file; without one Ansible's defaults hold, whatever lies in `/etc/ansible`.
    pub ansible_config: Option<PathBuf>,
    /// The Python 3.6 or newer that runs Drover's helper: a path, or a name found in the system's path.
    pub python: String,
    /// `ansible-playbook`: a path, or a name found in [`Options::extra_path`] or the system's path.
    pub ansible_playbook: String,
    /// Folders searched for programs before the system's.
    pub extra_path: Vec<PathBuf>,
    /// Most time for one answer of the control host, besides the waiting that was asked for.
    pub call_timeout: Duration,
    /// Most time for one play; then it is stopped. Whole seconds.
    pub max_runtime: Duration,
    /// Most time in which a play may say nothing; then it is stopped. Longer than any drain: a task
    /// that waits is silent. Whole seconds; none means no bound.
    pub max_idle: Option<Duration>,
}

impl Options {
    /// Plays on this host, with `ansible-playbook` and `python3` from the system's path, 30 s per
    /// answer and 4 h per play.
    #[must_use]
    pub fn local(spool: PathBuf, playbooks: PathBuf) -> Self {
        Self {
            transport: Transport::Local,
            spool,
            playbooks,
            inventory: None,
            ansible_config: None,
            python: "python3".to_owned(),
            ansible_playbook: "ansible-playbook".to_owned(),
            extra_path: Vec::new(),
            call_timeout: Duration::from_secs(30),
            max_runtime: Duration::from_hours(4),
            max_idle: None,
        }
    }

    /// The paths as texts.
    pub(crate) fn checked(&self) -> Result<Paths, OptionsError> {
        if let Transport::Ssh {
            identity_file,
            known_hosts_file,
            control_folder,
            ..
        } = &self.transport
        {
            for (key, path) in [
                ("identity_file", identity_file),
                ("known_hosts_file", known_hosts_file),
                ("control_folder", control_folder),
            ] {
                let path = text(key, path)?;
                if path.contains('"') {
                    return Err(OptionsError::Quote { key, path });
                }
            }
        }
        Ok(Paths {
            spool: text("spool", &self.spool)?,
            playbooks: text("playbooks", &self.playbooks)?,
            inventory: self
                .inventory
                .as_deref()
                .map(|path| text("inventory", path))
                .transpose()?,
            ansible_config: self
                .ansible_config
                .as_deref()
                .map(|path| text("ansible_config", path))
                .transpose()?,
            extra_path: self
                .extra_path
                .iter()
                .map(|path| text("extra_path", path))
                .collect::<Result<_, _>>()?,
        })
    }
}

/// How the control host is reached.
#[derive(Debug, Clone)]
pub enum Transport {
    /// It is this host.
    Local,
    /// Over SSH, with this host's `ssh` program and a key; host keys are checked strictly.
    Ssh {
        /// Its name or address.
        host: String,
        /// The port of its SSH server.
        port: u16,
        /// Who to be there.
        user: String,
        /// The private key, a file of this host without a passphrase.
        identity_file: PathBuf,
        /// The host keys that are believed, a file of this host.
        known_hosts_file: PathBuf,
        /// The folder of this host for the shared connection's socket; only its owner may enter it.
        /// Short: a socket's path ends at about 100 bytes, and 40 are added.
        control_folder: PathBuf,
    },
}

/// The paths of [`Options`] as the control host gets them.
#[derive(Debug)]
pub(crate) struct Paths {
    pub(crate) spool: String,
    pub(crate) playbooks: String,
    pub(crate) inventory: Option<String>,
    pub(crate) ansible_config: Option<String>,
    pub(crate) extra_path: Vec<String>,
}

/// Why a runner cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    /// A path depends on where a program happens to run.
    #[error("the runner's `{key}` must be an absolute path; it is `{path}`")]
    Relative {
        /// The option.
        key: &'static str,
        /// What it is.
        path: String,
    },
    /// A path that cannot be told to the control host.
    #[error("the runner's `{key}` must be UTF-8 text; it is `{path}`")]
    NotText {
        /// The option.
        key: &'static str,
        /// What it is, as far as it can be shown.
        path: String,
    },
    /// A path that `ssh` would read differently.
    #[error("the runner's `{key}` must not have a double quote; it is `{path}`")]
    Quote {
        /// The option.
        key: &'static str,
        /// What it is.
        path: String,
    },
}

fn text(key: &'static str, path: &Path) -> Result<String, OptionsError> {
    let shown = || path.to_string_lossy().into_owned();
    if !path.is_absolute() {
        return Err(OptionsError::Relative { key, path: shown() });
    }
    path.to_str()
        .map(str::to_owned)
        .ok_or_else(|| OptionsError::NotText { key, path: shown() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_depends_on_the_working_directory_is_refused() {
        let options = Options::local("spool".into(), "/playbooks".into());
        let refusal = options.checked().unwrap_err();
        assert_eq!(
            refusal.to_string(),
            "the runner's `spool` must be an absolute path; it is `spool`"
        );
    }
}
