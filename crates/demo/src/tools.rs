//! The programs the demo needs, and where they are.

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// The programs of the demo.
#[derive(Debug, Clone)]
pub struct Tools {
    /// HAProxy.
    pub haproxy: PathBuf,
    /// What runs the playbooks.
    pub ansible_playbook: PathBuf,
    /// The orchestrator.
    pub drover: PathBuf,
    /// The agent beside each server.
    pub drover_agent: PathBuf,
    /// This program, which is the demo application too.
    pub demo: PathBuf,
}

impl Tools {
    /// Finds Drover's programs in `bin_dir`, by default beside this one, and the others in the folders of `search`
    /// (a value of `PATH`) and where Debian keeps those of the superuser.
    ///
    /// # Errors
    ///
    /// [`Missing`] names all that are not there.
    pub fn find(bin_dir: Option<&Path>, demo: &Path, search: &OsStr) -> Result<Self, Missing> {
        let bin_dir = bin_dir
            .or_else(|| demo.parent())
            .unwrap_or_else(|| Path::new("."));
        let mut missing = Vec::new();
        let mut ours = |name: &'static str| {
            let program = bin_dir.join(name);
            if !is_program(&program) {
                missing.push(format!(
                    "{name} (not in `{}`; build it with `cargo build --package drover-app --package drover-agent`)",
                    bin_dir.display()
                ));
            }
            program
        };
        let drover = ours("drover");
        let drover_agent = ours("drover-agent");
        let mut theirs = |name: &'static str, package: &'static str| {
            let program = find(name, search);
            if program.is_none() {
                missing.push(format!("{name} (Debian package {package})"));
            }
            program.unwrap_or_default()
        };
        let haproxy = theirs("haproxy", "haproxy");
        let ansible_playbook = theirs("ansible-playbook", "ansible-core");
        if missing.is_empty() {
            Ok(Self {
                haproxy,
                ansible_playbook,
                drover,
                drover_agent,
                demo: demo.to_owned(),
            })
        } else {
            Err(Missing { programs: missing })
        }
    }
}

/// Programs that are not on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// Each with the way to get it.
    pub programs: Vec<String>,
}

impl std::fmt::Display for Missing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "the demo needs programs that are not here: {}",
            self.programs.join(", ")
        )
    }
}

impl std::error::Error for Missing {}

/// The program `name` in the folders of `search` or in `/usr/sbin` or `/sbin`.
#[must_use]
pub fn find(name: &str, search: &OsStr) -> Option<PathBuf> {
    std::env::split_paths(search)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|folder| folder.join(name))
        .find(|program| is_program(program))
}

/// Whether `path` is a file that may be executed.
#[must_use]
pub fn is_program(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_missing_program_is_named() {
        let nowhere = tempfile::tempdir().unwrap();
        let missing = Tools::find(
            Some(nowhere.path()),
            Path::new("/x/drover-demo"),
            OsStr::new(""),
        )
        .unwrap_err();
        let text = missing.to_string();
        for word in ["drover (", "drover-agent (", "ansible-core"] {
            assert!(text.contains(word), "{word} is not in: {text}");
        }
    }

    #[test]
    fn the_first_folder_wins_and_plain_files_do_not_count() {
        let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for (folder, mode) in [(&first, 0o644), (&second, 0o755)] {
            let file = folder.path().join("tool");
            std::fs::write(&file, "").unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        }
        let search = std::env::join_paths([first.path(), second.path()]).unwrap();
        assert_eq!(find("tool", &search), Some(second.path().join("tool")));
        assert_eq!(find("no-such-tool", &search), None);
    }
}
