//! The options of a runner.

use std::path::{Path, PathBuf};
use std::time::Duration;

/// Most bytes of [`Transport::Ssh::control_folder`]: a socket's path has at most 107, `ssh` adds a slash, a digest of 40
/// and, while it makes the socket, 17.
const CONTROL_FOLDER_MAX: usize = 107 - 1 - 40 - 17;

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
    /// The Python 3.6 or newer that runs Drover's helper: a path, or a name found in the system's folders or in the
    /// `PATH` of this process (over SSH: of the login).
    pub python: String,
    /// `ansible-playbook`: a path, or a name found in [`Options::extra_path`], in the `PATH` of this process (over SSH:
    /// of the login) or in the system's folders.
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
                let length = path.len();
                if key == "control_folder" && length > CONTROL_FOLDER_MAX {
                    return Err(OptionsError::Long { key, path, length });
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
        /// At most 49 bytes: the path of a socket ends at 107.
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
    /// A path that cannot be sent to the control host.
    #[error("the runner's `{key}` must be UTF-8 text; it is `{path}`")]
    NotText {
        /// The option.
        key: &'static str,
        /// What it is, as far as it can be shown.
        path: String,
    },
    /// A folder in which no Unix socket can be made.
    #[error(
        "the runner's `{key}` must have at most {} bytes, because the path of a Unix socket ends at 107; `{path}` has {length}",
        CONTROL_FOLDER_MAX
    )]
    Long {
        /// The option.
        key: &'static str,
        /// What it is.
        path: String,
        /// Its bytes.
        length: usize,
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
    fn a_folder_that_leaves_no_room_for_a_socket_is_refused() {
        let with = |length: usize| {
            let mut options = Options::local("/spool".into(), "/playbooks".into());
            options.transport = Transport::Ssh {
                host: "h".to_owned(),
                port: 22,
                user: "u".to_owned(),
                identity_file: "/key".into(),
                known_hosts_file: "/known".into(),
                control_folder: format!("/{}", "c".repeat(length - 1)).into(),
            };
            options.checked().map(drop)
        };
        assert_eq!(with(49), Ok(()));
        let refusal = with(50).unwrap_err().to_string();
        assert!(
            refusal.starts_with("the runner's `control_folder` must have at most 49 bytes")
                && refusal.ends_with("has 50"),
            "{refusal}"
        );
    }

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
