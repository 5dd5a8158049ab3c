//! One YAML file that describes one application.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::unit_name::{UnitName, UnitNameError};

/// Most characters of an application's name.
const NAME_CHARACTERS_MAX: usize = 128;

/// Most characters of any other text of a description.
const TEXT_CHARACTERS_MAX: usize = 1024;

/// Which list of the inventory an application is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    Site,
    Service,
}

/// A description as believed: paths are absolute or as written when they are no local paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Description {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) ip: Option<IpAddr>,
    pub(super) port: Option<NonZeroU16>,
    pub(super) path: Option<String>,
    pub(super) log_path: Option<String>,
    pub(super) distr_path: Said,
    pub(super) version: Said,
    pub(super) pid_file: Option<PathBuf>,
    pub(super) process: Option<String>,
    pub(super) unit: Option<UnitName>,
}

/// A text that is given, or that a file's first line gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Said {
    Nowhere,
    Here(String),
    InFile(PathBuf),
}

impl Description {
    /// Reads a description found in `folder`.
    pub(super) fn parse(text: &str, folder: &Path) -> Result<Self, DescriptionError> {
        let raw: Raw =
            serde_saphyr::from_str(text).map_err(|source| DescriptionError::Malformed {
                source: source.without_snippet().to_string().into(),
            })?;
        if raw.name.trim().is_empty()
            || raw.name.chars().count() > NAME_CHARACTERS_MAX
            || raw.name.chars().any(char::is_control)
        {
            return Err(DescriptionError::Name);
        }
        for (key, text) in [
            ("path", &raw.path),
            ("log_path", &raw.log_path),
            ("distr_path", &raw.distr_path),
            ("distr_path_file", &raw.distr_path_file),
            ("version", &raw.version),
            ("version_file", &raw.version_file),
            ("pid_file", &raw.pid_file),
            ("process", &raw.process),
            ("health_url", &raw.health_url),
        ] {
            if text
                .as_ref()
                .is_some_and(|text| text.chars().count() > TEXT_CHARACTERS_MAX)
            {
                return Err(DescriptionError::TooLong { key });
            }
        }
        if raw.restart_argv.as_ref().is_some_and(Vec::is_empty) {
            return Err(DescriptionError::RestartArgv);
        }
        let unit = raw
            .unit
            .as_deref()
            .map(UnitName::parse)
            .transpose()
            .map_err(|source| DescriptionError::Unit { source })?;
        if unit.is_some() && (raw.pid_file.is_some() || raw.process.is_some()) {
            return Err(DescriptionError::Twice);
        }
        let file = |path: String| folder.join(path);
        Ok(Self {
            name: raw.name,
            kind: raw.kind,
            ip: raw.ip,
            port: raw.port,
            path: raw.path.map(|path| local_path(&path, folder)),
            log_path: raw.log_path.map(|path| local_path(&path, folder)),
            distr_path: said("distr_path", raw.distr_path, raw.distr_path_file.map(file))?,
            version: said("version", raw.version, raw.version_file.map(file))?,
            pid_file: raw.pid_file.map(file),
            process: raw.process,
            unit,
        })
    }

    /// Where the application accepts connections, if the description says so.
    pub(super) fn socket(&self) -> Option<SocketAddr> {
        Some(SocketAddr::new(self.ip?, self.port?.get()))
    }
}

/// `path` seen from `folder`; a URL stays as it is.
pub(super) fn local_path(path: &str, folder: &Path) -> String {
    if path.contains("://") {
        path.to_owned()
    } else {
        folder.join(path).to_string_lossy().into_owned()
    }
}

fn said(
    key: &'static str,
    here: Option<String>,
    file: Option<PathBuf>,
) -> Result<Said, DescriptionError> {
    match (here, file) {
        (Some(_), Some(_)) => Err(DescriptionError::Both { key }),
        (Some(text), None) => Ok(Said::Here(text)),
        (None, Some(file)) => Ok(Said::InFile(file)),
        (None, None) => Ok(Said::Nowhere),
    }
}

/// A description as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    name: String,
    #[serde(rename = "type")]
    kind: Kind,
    ip: Option<IpAddr>,
    port: Option<NonZeroU16>,
    path: Option<String>,
    log_path: Option<String>,
    distr_path: Option<String>,
    distr_path_file: Option<String>,
    version: Option<String>,
    version_file: Option<String>,
    pid_file: Option<String>,
    process: Option<String>,
    unit: Option<String>,
    /// For the update playbook, which reads the same file.
    health_url: Option<String>,
    /// For the update playbook.
    restart_argv: Option<Vec<String>>,
}

/// Why a file describes no application.
#[derive(Debug, thiserror::Error)]
pub(super) enum DescriptionError {
    #[error("it is not a description of an application")]
    Malformed {
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error(
        "`name` must have 1 to {NAME_CHARACTERS_MAX} characters and none of them a control character"
    )]
    Name,
    #[error("`restart_argv` is empty; name the program and its arguments, or leave it out")]
    RestartArgv,
    #[error("`{key}` has more than {TEXT_CHARACTERS_MAX} characters")]
    TooLong { key: &'static str },
    #[error("`{key}` and `{key}_file` are both given; keep one")]
    Both { key: &'static str },
    #[error("it names no unit that can be asked about")]
    Unit { source: UnitNameError },
    #[error(
        "`unit` is given beside `pid_file` or `process`; systemd knows the process, so keep `unit` alone"
    )]
    Twice,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Description, DescriptionError> {
        Description::parse(text, Path::new("/etc/apps"))
    }

    #[test]
    fn everything_a_description_can_say() {
        let said = parse(
            "name: jurws_1\ntype: service\nip: 127.0.0.2\nport: 8001\npath: jurws\nlog_path: /var/log/jurws.log\n\
             distr_path: https://repo/jurws.war\nversion_file: jurws/VERSION\npid_file: ../run/jurws.pid\nprocess: java\n",
        )
        .unwrap();
        assert_eq!(
            said,
            Description {
                name: "jurws_1".to_owned(),
                kind: Kind::Service,
                ip: Some("127.0.0.2".parse().unwrap()),
                port: NonZeroU16::new(8001),
                path: Some("/etc/apps/jurws".to_owned()),
                log_path: Some("/var/log/jurws.log".to_owned()),
                distr_path: Said::Here("https://repo/jurws.war".to_owned()),
                version: Said::InFile("/etc/apps/jurws/VERSION".into()),
                pid_file: Some("/etc/apps/../run/jurws.pid".into()),
                process: Some("java".to_owned()),
                unit: None,
            }
        );
        assert_eq!(said.socket(), Some("127.0.0.2:8001".parse().unwrap()));
    }

    #[test]
    fn what_only_the_update_playbook_uses_is_accepted_and_checked() {
        let with = |more: &str| parse(&format!("name: jurws_1\ntype: service\n{more}"));
        assert_eq!(
            with("health_url: http://127.0.0.1:8101/health\nrestart_argv: [systemctl, restart, jurws]\n")
                .unwrap(),
            with("").unwrap()
        );
        assert!(matches!(
            with("restart_argv: []\n"),
            Err(DescriptionError::RestartArgv)
        ));
        assert!(matches!(
            with("restart_argv: systemctl restart jurws\n"),
            Err(DescriptionError::Malformed { .. })
        ));
        assert!(matches!(
            with(&format!("health_url: {}\n", "h".repeat(1025))),
            Err(DescriptionError::TooLong { key: "health_url" })
        ));
    }

    #[test]
    fn name_and_type_are_enough() {
        let said = parse("name: a\ntype: site\n").unwrap();
        assert_eq!(
            (said.kind, said.socket(), said.version),
            (Kind::Site, None, Said::Nowhere)
        );
    }

    #[test]
    fn a_unit_stands_for_its_process_and_may_have_a_port() {
        let said =
            parse("name: a\ntype: service\nunit: jurws@1.service\nip: 127.0.0.1\nport: 80\n")
                .unwrap();
        assert_eq!(
            said.unit.as_ref().map(UnitName::as_str),
            Some("jurws@1.service")
        );
        assert!(said.socket().is_some());
    }

    #[test]
    fn a_version_that_looks_like_a_number_stays_a_text() {
        assert_eq!(
            parse("name: a\ntype: site\nversion: 1.10\n")
                .unwrap()
                .version,
            Said::Here("1.10".to_owned())
        );
    }

    #[test]
    fn an_unusable_description_says_why() {
        for (text, why) in [
            ("", "not a description"),
            ("name: a\n", "not a description"),
            ("name: a\ntype: docker\n", "not a description"),
            ("name: a\ntype: site\nprot: 1\n", "not a description"),
            ("name: a\ntype: site\nport: 0\n", "not a description"),
            ("name: a\ntype: site\nport: 65536\n", "not a description"),
            ("name: a\nname: b\ntype: site\n", "not a description"),
            ("name: [a\n", "not a description"),
            ("name: ' '\ntype: site\n", "`name` must"),
            ("name: \"a\\nb\"\ntype: site\n", "`name` must"),
            (
                "name: a\ntype: site\nversion: '1'\nversion_file: v\n",
                "`version` and `version_file`",
            ),
            ("name: a\ntype: service\nunit: ''\n", "names no unit"),
            ("name: a\ntype: service\nunit: a\n", "names no unit"),
            (
                "name: a\ntype: service\nunit: a b.service\n",
                "names no unit",
            ),
            (
                "name: a\ntype: service\nunit: \"a.service\\n\"\n",
                "names no unit",
            ),
            (
                "name: a\ntype: service\nunit: [a.service]\n",
                "not a description",
            ),
            (
                "name: a\ntype: service\nunit: a.service\npid_file: a.pid\n",
                "keep `unit` alone",
            ),
            (
                "name: a\ntype: service\nunit: a.service\nprocess: java\n",
                "keep `unit` alone",
            ),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(why), "{text:?}: {error}");
        }
        let long = format!("name: a\ntype: site\nlog_path: {}\n", "x".repeat(1025));
        assert!(
            parse(&long)
                .unwrap_err()
                .to_string()
                .contains("`log_path` has more")
        );
    }
}
