//! The agent's configuration: choices from a file and the command line, and the checked settings.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::bus_address::{BusAddress, BusAddressError};
use crate::haproxy::{Address, AddressError, Name};
use crate::token::{Token, TokenError};

/// Where the agent listens when nothing else is said: FAgent's port, but on the loopback only.
const LISTEN_DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 11011);

/// Most bytes of a configuration file.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// Words that are path segments of the HAProxy controller and so cannot name an instance.
const RESERVED_INSTANCE_NAMES: [&str; 2] = ["backends", "instances"];

/// The agent's choices as written, every one optional: the shape of the configuration file and of the flags.
///
/// Relative paths are relative to the working directory of the agent. An unknown key is an error.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Choices {
    /// Address and port to listen on; default `127.0.0.1:11011`.
    pub listen: Option<SocketAddr>,
    /// Name of this server in the inventory; default the host name.
    pub server_name: Option<String>,
    /// Address of this server in the inventory and of its containers; default the address listened on.
    pub server_ip: Option<IpAddr>,
    /// Folder of application descriptions (`*.yml`); none means no site and service applications.
    pub apps_dir: Option<PathBuf>,
    /// HAProxy runtime sockets by instance name; see [`Address`] for their forms.
    #[serde(default)]
    pub haproxy: BTreeMap<String, String>,
    /// Master sockets of instances in [`Self::haproxy`], in the same forms; none means old workers are not seen.
    #[serde(default)]
    pub haproxy_master: BTreeMap<String, String>,
    /// Unix socket of the Docker daemon; none means containers are not listed.
    pub docker_socket: Option<PathBuf>,
    /// Address of the D-Bus system bus, used only where a description names a unit; see [`BusAddress`] for its form and
    /// default.
    pub system_bus: Option<String>,
    /// File whose first line is the bearer token; none means no token is asked for.
    pub token_file: Option<PathBuf>,
}

impl Choices {
    /// Reads the choices from a YAML file.
    ///
    /// # Errors
    ///
    /// [`SettingsError::Unreadable`] and [`SettingsError::Malformed`], the latter naming the place.
    pub fn read(file: &Path) -> Result<Self, SettingsError> {
        let mut text = String::new();
        File::open(file)
            .and_then(|opened| opened.take(FILE_BYTES_MAX + 1).read_to_string(&mut text))
            .map_err(|source| SettingsError::Unreadable {
                file: file.to_owned(),
                source,
            })?;
        if text.len() as u64 > FILE_BYTES_MAX {
            return Err(SettingsError::TooLong {
                file: file.to_owned(),
            });
        }
        if text
            .lines()
            .all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'))
        {
            return Ok(Self::default());
        }
        serde_saphyr::from_str(&text).map_err(|source| SettingsError::Malformed {
            file: file.to_owned(),
            source: Box::new(source),
        })
    }

    /// These choices, with each one that `stronger` makes put in its place; HAProxy instances add up by name.
    #[must_use]
    pub fn overridden_by(self, stronger: Self) -> Self {
        let mut haproxy = self.haproxy;
        haproxy.extend(stronger.haproxy);
        let mut haproxy_master = self.haproxy_master;
        haproxy_master.extend(stronger.haproxy_master);
        Self {
            listen: stronger.listen.or(self.listen),
            server_name: stronger.server_name.or(self.server_name),
            server_ip: stronger.server_ip.or(self.server_ip),
            apps_dir: stronger.apps_dir.or(self.apps_dir),
            haproxy,
            haproxy_master,
            docker_socket: stronger.docker_socket.or(self.docker_socket),
            system_bus: stronger.system_bus.or(self.system_bus),
            token_file: stronger.token_file.or(self.token_file),
        }
    }

    /// Checks the choices and fills in the defaults. Reads the token file.
    ///
    /// # Errors
    ///
    /// [`SettingsError`] naming the setting that cannot be used and why.
    pub fn settle(self) -> Result<Settings, SettingsError> {
        let listen = self.listen.unwrap_or(LISTEN_DEFAULT);
        if let Some(folder) = &self.apps_dir {
            std::fs::read_dir(folder).map_err(|source| SettingsError::NoFolder {
                folder: folder.clone(),
                source,
            })?;
        }
        let mut haproxy = BTreeMap::new();
        for (name, address) in self.haproxy {
            if Name::parse(&name).is_err() || RESERVED_INSTANCE_NAMES.contains(&name.as_str()) {
                return Err(SettingsError::InstanceName { name });
            }
            let address =
                Address::parse(&address).map_err(|source| SettingsError::InstanceAddress {
                    name: name.clone(),
                    source,
                })?;
            haproxy.insert(name, address);
        }
        let mut haproxy_master = BTreeMap::new();
        for (name, address) in self.haproxy_master {
            if !haproxy.contains_key(&name) {
                return Err(SettingsError::MasterName { name });
            }
            let address =
                Address::parse(&address).map_err(|source| SettingsError::MasterAddress {
                    name: name.clone(),
                    source,
                })?;
            haproxy_master.insert(name, address);
        }
        let system_bus = self
            .system_bus
            .as_deref()
            .map(BusAddress::parse)
            .transpose()
            .map_err(|source| SettingsError::SystemBus { source })?
            .unwrap_or_default();
        let token = self
            .token_file
            .as_deref()
            .map(Token::read)
            .transpose()
            .map_err(|source| SettingsError::Token { source })?;
        Ok(Settings {
            listen,
            server_name: self.server_name.unwrap_or_else(host_name),
            server_ip: self.server_ip.unwrap_or_else(|| listen.ip()),
            apps_dir: self.apps_dir,
            haproxy,
            haproxy_master,
            docker_socket: self.docker_socket,
            system_bus,
            token,
        })
    }
}

/// What the agent works with; every value has been checked.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where to listen; port 0 picks a free one.
    pub listen: SocketAddr,
    /// Name of this server in the inventory.
    pub server_name: String,
    /// Address of this server in the inventory and of its containers.
    pub server_ip: IpAddr,
    /// Folder of application descriptions.
    pub apps_dir: Option<PathBuf>,
    /// HAProxy instances by name.
    pub haproxy: BTreeMap<String, Address>,
    /// Master sockets by the name of the instance; every name is one of [`Self::haproxy`].
    pub haproxy_master: BTreeMap<String, Address>,
    /// Unix socket of the Docker daemon.
    pub docker_socket: Option<PathBuf>,
    /// The bus systemd is asked on about units.
    pub system_bus: BusAddress,
    /// The token every route but `/ping` asks for.
    pub token: Option<Token>,
}

/// The kernel's host name; `localhost` where there is none to read.
fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map(|text| text.trim().to_owned())
        .ok()
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "localhost".to_owned())
}

/// A choice the agent cannot work with.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// The configuration file could not be opened or is not UTF-8 text.
    #[error("configuration file `{}` cannot be read", .file.display())]
    Unreadable {
        /// The file as given.
        file: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The configuration file is too large to be one.
    #[error("configuration file `{}` is larger than {FILE_BYTES_MAX} bytes", .file.display())]
    TooLong {
        /// The file as given.
        file: PathBuf,
    },
    /// The configuration file is not YAML, has an unknown key or a value of the wrong kind.
    #[error("configuration file `{}` is not usable", .file.display())]
    Malformed {
        /// The file as given.
        file: PathBuf,
        /// What is wrong and where.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The folder of application descriptions cannot be listed.
    #[error("setting `apps_dir`: folder `{}` cannot be listed", .folder.display())]
    NoFolder {
        /// The folder as given.
        folder: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// An HAProxy instance has a name that cannot stand in a path.
    #[error(
        "setting `haproxy`: `{name}` cannot name an instance; use 1 to 128 of A-Z a-z 0-9 _ . : - other than `backends` and `instances`"
    )]
    InstanceName {
        /// The name as given.
        name: String,
    },
    /// An HAProxy instance has an address of no known form.
    #[error("setting `haproxy.{name}` is not the address of a runtime socket")]
    InstanceAddress {
        /// The instance.
        name: String,
        /// What is wrong with the address.
        source: AddressError,
    },
    /// A master socket is given for an instance that is not.
    #[error("setting `haproxy_master`: there is no instance `{name}` in `haproxy`")]
    MasterName {
        /// The name as given.
        name: String,
    },
    /// A master socket has an address of no known form.
    #[error("setting `haproxy_master.{name}` is not the address of a master socket")]
    MasterAddress {
        /// The instance.
        name: String,
        /// What is wrong with the address.
        source: AddressError,
    },
    /// The system bus has an address of no known form.
    #[error("setting `system_bus` is not the address of a system bus")]
    SystemBus {
        /// What is wrong with the address.
        source: BusAddressError,
    },
    /// The token file gives no token.
    #[error("setting `token_file` gives no token")]
    Token {
        /// Why.
        source: TokenError,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Choices, SettingsError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Choices::read(file.path())
    }

    #[test]
    fn nothing_said_means_loopback_and_no_sources() {
        let settings = read("# only a comment\n").unwrap().settle().unwrap();
        assert_eq!(settings.listen, "127.0.0.1:11011".parse().unwrap());
        assert_eq!(settings.server_ip, IpAddr::V4(Ipv4Addr::LOCALHOST));
        assert!(!settings.server_name.is_empty());
        assert!(
            settings.haproxy.is_empty() && settings.apps_dir.is_none() && settings.token.is_none()
        );
    }

    #[test]
    fn flags_win_over_the_file_and_instances_add_up() {
        let file = read("listen: 127.0.0.1:1\nserver_name: web1\nhaproxy:\n  a: /run/a.sock\n  b: /run/b.sock\n").unwrap();
        let flags = Choices {
            listen: Some("127.0.0.1:2".parse().unwrap()),
            haproxy: BTreeMap::from([("b".to_owned(), "ipv4@127.0.0.1:9999".to_owned())]),
            ..Choices::default()
        };
        let settings = file.overridden_by(flags).settle().unwrap();
        assert_eq!(settings.listen.port(), 2);
        assert_eq!(settings.server_name, "web1");
        assert_eq!(settings.haproxy["a"].to_string(), "/run/a.sock");
        assert_eq!(settings.haproxy["b"].to_string(), "ipv4@127.0.0.1:9999");
    }

    #[test]
    fn an_unknown_key_is_an_error_that_names_it() {
        let error = read("lisen: 127.0.0.1:1\n").unwrap_err();
        let SettingsError::Malformed { source, .. } = &error else {
            panic!("{error:?}")
        };
        assert!(source.to_string().contains("lisen"), "{source}");
    }

    #[test]
    fn the_shipped_example_is_readable() {
        let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/agent/agent.yml");
        let choices = Choices::read(Path::new(example)).unwrap();
        assert_eq!(
            choices.haproxy.get("default").map(String::as_str),
            Some("/run/haproxy/admin.sock")
        );
        assert!(choices.apps_dir.is_some());
    }

    #[test]
    fn an_instance_that_cannot_be_addressed_is_refused() {
        for (name, address) in [
            ("a b", "/s"),
            ("backends", "/s"),
            ("", "/s"),
            ("a", ""),
            ("a", "ipv4@host:0"),
        ] {
            let choices = Choices {
                haproxy: BTreeMap::from([(name.to_owned(), address.to_owned())]),
                ..Choices::default()
            };
            assert!(choices.settle().is_err(), "{name:?}={address:?} was taken");
        }
    }

    #[test]
    fn a_master_belongs_to_an_instance() {
        let with = |name: &str, address: &str| Choices {
            haproxy: BTreeMap::from([("a".to_owned(), "/run/a.sock".to_owned())]),
            haproxy_master: BTreeMap::from([(name.to_owned(), address.to_owned())]),
            ..Choices::default()
        };
        let settings = with("a", "/run/old.sock")
            .overridden_by(with("a", "/run/a-master.sock"))
            .settle()
            .unwrap();
        assert_eq!(
            settings.haproxy_master["a"].to_string(),
            "/run/a-master.sock"
        );
        let stranger = with("b", "/run/b-master.sock").settle().unwrap_err();
        assert!(
            stranger.to_string().contains("no instance `b`"),
            "{stranger}"
        );
        let unusable = with("a", "ipv4@host:0").settle().unwrap_err();
        assert!(
            unusable.to_string().contains("haproxy_master.a"),
            "{unusable}"
        );
    }

    #[test]
    fn the_system_bus_has_a_standard_address() {
        let standard = Choices::default().settle().unwrap();
        assert_eq!(standard.system_bus, BusAddress::default());
        let other = read("system_bus: unix:path=/tmp/a\n").unwrap();
        let stronger = Choices {
            system_bus: Some("unix:path=/tmp/b".to_owned()),
            ..Choices::default()
        };
        let settings = other.overridden_by(stronger).settle().unwrap();
        assert_eq!(settings.system_bus.to_string(), "unix:path=/tmp/b");
        let wrong = read("system_bus: tcp:host=192.0.2.1,port=1\n").unwrap();
        assert!(matches!(
            wrong.settle(),
            Err(SettingsError::SystemBus { .. })
        ));
    }

    #[test]
    fn a_folder_that_is_not_there_is_refused_at_start() {
        let choices = Choices {
            apps_dir: Some("/nonexistent/apps".into()),
            ..Choices::default()
        };
        assert!(matches!(
            choices.settle(),
            Err(SettingsError::NoFolder { .. })
        ));
    }
}
