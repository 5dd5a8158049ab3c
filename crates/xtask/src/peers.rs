//! The programs of others that the demo and the tests use: what is missing, and how it is installed.

use std::fmt;

use anyhow::{Context, Result, bail};

use crate::workspace;

/// A program that the tests need, and the Debian package that installs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Peer {
    program: &'static str,
    package: &'static str,
    purpose: &'static str,
}

/// HAProxy.
pub(crate) const HAPROXY: Peer = Peer {
    program: "haproxy",
    package: "haproxy",
    purpose: "the HAProxy that is driven",
};
/// The playbook program.
pub(crate) const ANSIBLE: Peer = Peer {
    program: "ansible-playbook",
    package: "ansible-core",
    purpose: "runs the update playbooks",
};
/// What the job helper is written in.
pub(crate) const PYTHON: Peer = Peer {
    program: "python3",
    package: "python3",
    purpose: "runs the job helper",
};
/// The server a control host is reached through.
pub(crate) const SSH_SERVER: Peer = Peer {
    program: "sshd",
    package: "openssh-server",
    purpose: "a control host reached through SSH",
};
/// The bus that a pretended systemd is asked on.
pub(crate) const DBUS: Peer = Peer {
    program: "dbus-daemon",
    package: "dbus",
    purpose: "a bus to ask a systemd on",
};
/// The other database.
pub(crate) const POSTGRESQL: Peer = Peer {
    program: "initdb",
    package: "postgresql",
    purpose: "an ephemeral PostgreSQL server",
};

/// The connection pooler.
pub(crate) const PGBOUNCER: Peer = Peer {
    program: "pgbouncer",
    package: "pgbouncer",
    purpose: "a connection pooler in front of PostgreSQL",
};

/// Who decides that something is installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Consent {
    /// The user confirmed it, or this is a CI machine.
    Given,
    /// Not confirmed: print the command to type.
    Withheld,
}

impl Consent {
    /// Consent is given by `--yes` and by `CI=true`.
    pub(crate) fn of(yes: bool) -> Self {
        if yes || std::env::var_os("CI").is_some_and(|value| value == "true") {
            Self::Given
        } else {
            Self::Withheld
        }
    }

    /// As [`Consent::of`], and root needs not be asked either.
    pub(crate) fn of_root_or(yes: bool) -> Self {
        if is_root() {
            Self::Given
        } else {
            Self::of(yes)
        }
    }
}

/// Programs that are missing and were not installed. The sentence names the command that does it.
#[derive(Debug)]
pub(crate) struct Missing {
    packages: Vec<&'static str>,
    reason: String,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let packages = self.packages.join(" ");
        write!(
            f,
            "{}. Install what is missing with\n\n    sudo apt-get update && sudo apt-get install --yes --no-install-recommends {packages}\n",
            self.reason
        )
    }
}

impl std::error::Error for Missing {}

/// Makes sure that all of these are there: says what is missing and what for, installs it with
/// consent, and checks again.
pub(crate) fn require(peers: &[Peer], consent: Consent) -> Result<()> {
    let missing = missing(peers, workspace::has_program);
    if missing.is_empty() {
        return Ok(());
    }
    eprintln!("xtask: missing on this machine:");
    for peer in &missing {
        eprintln!(
            "  {:<17} {} (Debian package {})",
            peer.program, peer.purpose, peer.package
        );
    }
    let packages: Vec<&'static str> = missing.iter().map(|peer| peer.package).collect();
    if consent == Consent::Withheld {
        let reason = format!(
            "{} missing; nothing was installed because nobody said --yes",
            counted(missing.len())
        );
        bail!(Missing { packages, reason });
    }
    if !workspace::has_program("apt-get") {
        let reason = format!(
            "{} missing, and there is no apt-get here to install with",
            counted(missing.len())
        );
        bail!(Missing { packages, reason });
    }
    eprintln!(
        "xtask: installing {} with apt-get (where systemd runs, Debian starts their services)",
        packages.join(", ")
    );
    if let Err(error) = install(&packages) {
        bail!(Missing {
            packages,
            reason: format!("{error:#}")
        });
    }
    let still: Vec<&'static str> = self::missing(peers, workspace::has_program)
        .iter()
        .map(|peer| peer.program)
        .collect();
    if !still.is_empty() {
        let reason = format!(
            "apt-get was content, but {} cannot be found",
            still.join(", ")
        );
        bail!(Missing { packages, reason });
    }
    Ok(())
}

fn counted(number: usize) -> String {
    if number == 1 {
        "1 program is".to_owned()
    } else {
        format!("{number} programs are")
    }
}

fn missing(peers: &[Peer], has: impl Fn(&str) -> bool) -> Vec<Peer> {
    peers
        .iter()
        .copied()
        .filter(|peer| !has(peer.program))
        .collect()
}

/// Installs packages as root, or through `sudo` where it asks for no password.
fn install(packages: &[&str]) -> Result<()> {
    let refreshed = apt_get(&["update"])?;
    if !refreshed {
        eprintln!("xtask: apt-get update failed; trying with the package lists as they are");
    }
    let mut arguments = vec!["install", "--yes", "--no-install-recommends"];
    arguments.extend_from_slice(packages);
    if !apt_get(&arguments)? {
        bail!("apt-get could not install {}", packages.join(", "));
    }
    Ok(())
}

fn apt_get(arguments: &[&str]) -> Result<bool> {
    let mut command = if is_root() {
        workspace::command("apt-get")
    } else {
        let mut sudo = workspace::command("sudo");
        sudo.args(["-n", "DEBIAN_FRONTEND=noninteractive", "apt-get"]);
        sudo
    };
    // Standard output may be read by a program; the output of apt-get is not for it.
    command
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdout(std::io::stderr());
    let status = command
        .status()
        .context("neither root nor sudo: apt-get cannot be started")?;
    Ok(status.success())
}

/// Whether we are root: `/proc/self` belongs to the effective user.
fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|folder| folder.uid() == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_not_there_is_missing() {
        let found = missing(&[HAPROXY, ANSIBLE, PYTHON], |program| program == "python3");
        assert_eq!(found, [HAPROXY, ANSIBLE]);
    }

    #[test]
    fn the_refusal_names_the_command_to_type() {
        let refusal = Missing {
            packages: vec!["haproxy", "ansible-core"],
            reason: "2 programs are missing".to_owned(),
        };
        let text = refusal.to_string();
        assert!(
            text.contains("apt-get install --yes --no-install-recommends haproxy ansible-core"),
            "{text}"
        );
    }

    #[test]
    fn a_program_nobody_has_is_refused_without_consent() {
        let nobody = Peer {
            program: "drover-no-such-program",
            package: "drover-no-such-package",
            purpose: "a test",
        };
        let refusal = require(&[nobody], Consent::Withheld).unwrap_err();
        assert!(refusal.is::<Missing>(), "{refusal}");
    }
}
