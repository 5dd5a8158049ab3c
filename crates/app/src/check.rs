//! What `drover config check` looks at on this machine, as the user who runs it. Nothing is made or changed.

use std::ffi::OsStr;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use drover_config::{AnsibleTarget, Settings};
use drover_domain::rollout::playbook_path::PlaybookPath;
use secrecy::ExposeSecret as _;

/// The folders of programs besides those of `PATH`, as the runner searches them.
const SYSTEM_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Something that an administrator should change.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// Whether something cannot work as it is.
    pub(crate) is_fatal: bool,
    /// What it is and what to do.
    pub(crate) sentence: String,
}

/// Looks at the database's folder, at the files of secrets (`secrets`, by key), and where plays run on this host, at
/// folders, files and programs.
pub(crate) fn look(settings: &Settings, secrets: &[(String, PathBuf)]) -> Vec<Finding> {
    let mut findings = Findings::default();
    findings.database(settings.database.url.expose_secret());
    for (key, file) in secrets {
        findings.secret(key, file);
    }
    match &settings.ansible.target {
        AnsibleTarget::Local => findings.control_host(settings),
        AnsibleTarget::Ssh {
            known_hosts_file, ..
        } => findings.readable("ansible.ssh_known_hosts_file", known_hosts_file),
    }
    findings.0
}

#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn fatal(&mut self, sentence: String) {
        self.0.push(Finding {
            is_fatal: true,
            sentence,
        });
    }

    fn warn(&mut self, sentence: String) {
        self.0.push(Finding {
            is_fatal: false,
            sentence,
        });
    }

    fn database(&mut self, url: &str) {
        let Some(rest) = url.strip_prefix("sqlite:") else {
            return;
        };
        let rest = rest.strip_prefix("//").unwrap_or(rest);
        let file = Path::new(rest.split('?').next().unwrap_or(rest));
        if file.as_os_str().is_empty() || file == Path::new(":memory:") {
            return;
        }
        let folder = match file.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            Some(_) | None => Path::new("."),
        };
        if !folder.is_dir() {
            self.fatal(format!(
                "the folder `{}` of `database.url` does not exist; make it, or name another file",
                folder.display()
            ));
        } else if !is_writable(folder) || (file.exists() && !is_writable(file)) {
            self.fatal(format!(
                "this user cannot write `{}` or its folder, which `database.url` names; give both to the user of the service",
                file.display()
            ));
        }
    }

    fn secret(&mut self, key: &str, file: &Path) {
        let Ok(found) = file.metadata() else {
            self.fatal(format!(
                "`{}` of the setting `{key}` does not exist, or this user may not read it",
                file.display()
            ));
            return;
        };
        if found.permissions().mode() & 0o077 != 0 {
            let sentence = format!(
                "`{}` of the setting `{key}` can be read by other users; run chmod 600 {0}",
                file.display()
            );
            // ssh refuses such a key.
            if key == "ansible.ssh_identity_file" {
                self.fatal(sentence);
            } else {
                self.warn(sentence);
            }
        }
        self.readable(key, file);
    }

    fn readable(&mut self, key: &str, file: &Path) {
        if std::fs::File::open(file).is_err() {
            self.fatal(format!(
                "`{}` of the setting `{key}` cannot be read by this user",
                file.display()
            ));
        }
    }

    fn control_host(&mut self, settings: &Settings) {
        let ansible = &settings.ansible;
        for (key, program, package) in [
            ("ansible.python", &ansible.python, "python3"),
            (
                "ansible.ansible_playbook",
                &ansible.ansible_playbook,
                "ansible-core",
            ),
        ] {
            if !is_installed(program) {
                self.fatal(format!(
                    "`{program}` is not installed, so no update can run; install {package}, or name the program in `{key}`"
                ));
            }
        }
        let folder = &ansible.playbooks;
        if std::fs::read_dir(folder).is_err() {
            self.fatal(format!(
                "the playbook folder `{}` does not exist or cannot be read by this user, so no update can run; copy deploy/ansible there, or change `ansible.playbooks`",
                folder.display()
            ));
        } else {
            self.playbooks(settings);
        }
        self.spool(&ansible.spool);
        for (key, file) in [
            ("ansible.inventory", &ansible.inventory),
            ("ansible.config", &ansible.config),
        ] {
            if let Some(file) = file
                && !file.exists()
            {
                self.fatal(format!(
                    "`{}` of the setting `{key}` does not exist",
                    file.display()
                ));
            }
        }
    }

    fn playbooks(&mut self, settings: &Settings) {
        let folder = &settings.ansible.playbooks;
        let update = PlaybookPath::parse(&settings.rollout.default_playbook);
        let update = update.as_ref().map(PlaybookPath::file_name);
        for (key, file) in [
            (
                "rollout.default_orchestrator",
                Ok(settings.rollout.default_orchestrator.as_str()),
            ),
            ("rollout.default_playbook", update),
        ] {
            if let Ok(file) = file
                && !folder.join(file).is_file()
            {
                self.warn(format!(
                    "`{file}` of the setting `{key}` is not in the playbook folder `{}`; updates that name no other are refused",
                    folder.display()
                ));
            }
        }
        if let Some(file) = &settings.ansible.config {
            self.vault(file);
        }
        if settings.ansible.config.is_none() && folder.join("ansible.cfg").exists() {
            self.warn(format!(
                "`{}` has no effect; name it in `ansible.config` to have it used",
                folder.join("ansible.cfg").display()
            ));
        }
    }

    /// Ansible begins no play without the files of vault passwords that its configuration names.
    fn vault(&mut self, configuration: &Path) {
        let text = std::fs::read_to_string(configuration).unwrap_or_default();
        let folder = configuration.parent().unwrap_or(configuration);
        for named in vault_files(&text) {
            let file = match named.strip_prefix("~/") {
                Some(below) => std::env::home_dir()
                    .map_or_else(|| PathBuf::from(named), |home| home.join(below)),
                None => folder.join(named),
            };
            if std::fs::File::open(&file).is_err() {
                self.fatal(format!(
                    "the vault password file `{}`, which `{}` of the setting `ansible.config` names, does not exist or cannot be read by this user, so no update can run",
                    file.display(),
                    configuration.display()
                ));
            }
        }
    }

    fn spool(&mut self, spool: &Path) {
        let existing = spool.ancestors().find(|folder| folder.exists());
        if !existing.is_some_and(|folder| folder.is_dir() && is_writable(folder)) {
            self.fatal(format!(
                "the spool `{}` cannot be made or written by this user, so no update can run; give it to the user of the service, or change `ansible.spool`",
                spool.display()
            ));
        }
    }
}

/// The files of vault passwords in the section `defaults` of a configuration, except those whose paths Ansible makes from
/// variables.
fn vault_files(configuration: &str) -> Vec<&str> {
    let mut section = "";
    let mut found = Vec::new();
    for line in configuration.lines().map(str::trim) {
        if line.starts_with('[') {
            section = line;
        }
        let Some((key, value)) = line.split_once(['=', ':']) else {
            continue;
        };
        match (section, key.trim()) {
            ("[defaults]", "vault_password_file") => found.push(value),
            ("[defaults]", "vault_identity_list") => found.extend(
                value
                    .split(',')
                    .map(|one| one.rsplit('@').next().unwrap_or(one)),
            ),
            _ => {}
        }
    }
    found.retain(|path| !path.contains('$') && !path.contains("{{"));
    found
        .into_iter()
        .map(str::trim)
        .filter(|path| !path.is_empty() && *path != "prompt")
        .collect()
}

fn is_installed(program: &str) -> bool {
    if program.contains('/') {
        return is_program(Path::new(program));
    }
    let own = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&own)
        .chain(std::env::split_paths(OsStr::new(SYSTEM_PATH)))
        .filter(|folder| folder.is_absolute())
        .any(|folder| is_program(&folder.join(program)))
}

fn is_program(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

/// Whether the permissions let this user write; group permissions are taken as its own.
fn is_writable(path: &Path) -> bool {
    let (Ok(found), Ok(own)) = (path.metadata(), Path::new("/proc/self").metadata()) else {
        return false;
    };
    let mode = found.permissions().mode();
    own.uid() == 0 || (found.uid() == own.uid() && mode & 0o200 != 0) || mode & 0o022 != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set_mode(path: &Path, mode: u32) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    /// Settings of an installation in `root` in which everything is there.
    fn installation(root: &Path) -> String {
        for folder in ["ansible", "data"] {
            std::fs::create_dir(root.join(folder)).unwrap();
        }
        for file in ["orchestrator-even-odd.yml", "update-app.yml"] {
            std::fs::write(root.join("ansible").join(file), "- hosts: all\n").unwrap();
        }
        for program in ["python", "playbook"] {
            let file = root.join(program);
            std::fs::write(&file, "").unwrap();
            set_mode(&file, 0o755);
        }
        let root = root.display();
        format!(
            "[database]\nurl = \"sqlite://{root}/data/d.sqlite?mode=rwc\"\n[ansible]\nplaybooks = \"{root}/ansible\"\n\
             spool = \"{root}/data/spool\"\npython = \"{root}/python\"\nansible_playbook = \"{root}/playbook\"\n"
        )
    }

    fn findings(text: &str, secrets: &[(String, PathBuf)]) -> Vec<Finding> {
        let source = drover_config::Source { name: "f", text };
        look(&drover_config::load(Some(source), []).unwrap(), secrets)
    }

    #[test]
    fn an_installation_in_which_everything_is_there_has_no_finding() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(findings(&installation(root.path()), &[]), []);
    }

    #[test]
    fn each_thing_that_is_missing_is_named_with_its_setting() {
        for (missing, key, is_fatal) in [
            ("ansible", "`ansible.playbooks`", true),
            ("data", "`database.url`", true),
            ("python", "`ansible.python`", true),
            ("playbook", "`ansible.ansible_playbook`", true),
            (
                "ansible/orchestrator-even-odd.yml",
                "`rollout.default_orchestrator`",
                false,
            ),
            (
                "ansible/update-app.yml",
                "`rollout.default_playbook`",
                false,
            ),
        ] {
            let root = tempfile::tempdir().unwrap();
            let settings = installation(root.path());
            let path = root.path().join(missing);
            if path.is_dir() {
                std::fs::remove_dir_all(&path).unwrap();
            } else {
                std::fs::remove_file(&path).unwrap();
            }
            let found = findings(&settings, &[]);
            let named = found
                .iter()
                .find(|finding| finding.sentence.contains(key))
                .unwrap_or_else(|| panic!("{missing}: {found:?}"));
            assert_eq!(named.is_fatal, is_fatal, "{missing}");
        }
    }

    #[test]
    fn a_configuration_of_ansible_without_effect_is_named() {
        let root = tempfile::tempdir().unwrap();
        let settings = installation(root.path());
        std::fs::write(root.path().join("ansible/ansible.cfg"), "").unwrap();
        let found = findings(&settings, &[]);
        assert_eq!(found.len(), 1);
        assert!(found[0].sentence.contains("`ansible.config`") && !found[0].is_fatal);
        let named = format!(
            "{settings}config = \"{}/ansible/ansible.cfg\"\n",
            root.path().display()
        );
        assert_eq!(findings(&named, &[]), []);
    }

    #[test]
    fn a_vault_password_file_that_is_not_there_is_named() {
        let root = tempfile::tempdir().unwrap();
        let configuration = root.path().join("ansible.cfg");
        let settings = format!(
            "{}config = \"{}\"\n",
            installation(root.path()),
            configuration.display()
        );
        std::fs::write(root.path().join("there"), "word\n").unwrap();
        for (text, missing) in [
            ("[defaults]\nvault_password_file = there\n", None),
            ("[defaults]\nvault_password_file=gone\n", Some("gone")),
            (
                "[defaults]\nvault_identity_list = dev@there, prod@gone/too, x@prompt\n",
                Some("gone/too"),
            ),
            ("[defaults]\nvault_password_file = $HOME/gone\n", None),
            ("[other]\nvault_password_file = gone\n", None),
            ("[defaults]\n# vault_password_file = gone\n", None),
        ] {
            std::fs::write(&configuration, text).unwrap();
            let found = findings(&settings, &[]);
            let Some(missing) = missing else {
                assert_eq!(found, [], "{text}");
                continue;
            };
            let path = root.path().join(missing);
            assert!(
                found[0].is_fatal && found[0].sentence.contains(&format!("`{}`", path.display())),
                "{text}: {found:?}"
            );
            assert_eq!(found.len(), 1);
        }
    }

    #[test]
    fn a_secret_that_others_can_read_is_named() {
        let root = tempfile::tempdir().unwrap();
        let settings = installation(root.path());
        let file = root.path().join("key");
        std::fs::write(&file, "secret").unwrap();
        for (key, mode, expected) in [
            ("access.admin_key_file", 0o600, None),
            ("access.admin_key_file", 0o640, Some(false)),
            ("ansible.ssh_identity_file", 0o644, Some(true)),
        ] {
            set_mode(&file, mode);
            let found = findings(&settings, &[(key.to_owned(), file.clone())]);
            assert_eq!(
                found.first().map(|finding| finding.is_fatal),
                expected,
                "{key} {mode:o}"
            );
            assert!(
                found
                    .iter()
                    .all(|finding| finding.sentence.contains("chmod 600"))
            );
        }
        let nowhere = [(
            "fleet.agent_token_file".to_owned(),
            root.path().join("nowhere"),
        )];
        assert!(findings(&settings, &nowhere)[0].is_fatal);
    }
}
