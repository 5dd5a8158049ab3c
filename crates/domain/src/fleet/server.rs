//! A server with an agent.

use std::net::IpAddr;

use crate::text::{TextError, check_host, check_name};
use crate::{Key, Timestamp};

use super::{Network, NetworkError};

/// Marks server keys.
#[derive(Debug)]
pub enum ServerKind {}
/// The key of a server.
pub type ServerKey = Key<ServerKind>;

/// Whether a server's agent answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ServerStatus {
    /// It was never asked with a clear result.
    Unknown,
    /// It answers.
    Online,
    /// It did not answer as often as it takes to believe it.
    Offline,
}

impl ServerStatus {
    /// The word used in storage and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Online => "online",
            Self::Offline => "offline",
        }
    }

    /// The status with this word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Unknown, Self::Online, Self::Offline]
            .into_iter()
            .find(|status| status.as_str() == word)
    }
}

/// A server as Drover knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Its key.
    pub key: ServerKey,
    /// Its full name; unique.
    pub name: String,
    /// Where its agent listens: an IP address or a host name.
    pub address: String,
    /// The agent's port.
    pub port: u16,
    /// Whether the agent answers.
    pub status: ServerStatus,
    /// Whether an HAProxy is managed through its agent.
    pub is_haproxy_node: bool,
    /// How many polls failed in a row.
    pub failures: u32,
    /// When it was last polled.
    pub last_check: Option<Timestamp>,
    /// When its inventory was last taken as true.
    pub inventory_at: Option<Timestamp>,
    /// Why the last poll failed or was held, in a sentence.
    pub last_error: Option<String>,
    /// The fingerprint of an inventory that is held until it is seen again.
    pub suspect: Option<i64>,
    /// Other addresses of it that count for its applications.
    pub networks: Vec<Network>,
    /// The IP address at which its agent answered last.
    pub agent_ip: Option<IpAddr>,
    /// How many polls in a row brought no inventory although the agent answered.
    pub inventory_failures: u32,
    /// When it was added.
    pub created_at: Timestamp,
}

impl Server {
    /// The most characters of [`Server::last_error`].
    pub const ERROR_MAX: usize = 500;
}

/// A server to add.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewServer {
    name: String,
    address: String,
    port: u16,
    is_haproxy_node: bool,
    networks: Vec<Network>,
}

/// Why a server cannot be added; the message goes to the user unchanged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NewServerError {
    /// The name is not a name.
    #[error(transparent)]
    Name(HostNameError),
    /// The address is no address of an agent.
    #[error(transparent)]
    Address(AddressError),
    /// A network is not a network.
    #[error(transparent)]
    Networks(NetworkError),
    /// The port is 0.
    #[error("the port must be 1 to 65535")]
    Port,
}

impl Server {
    /// Whether this may be its name: the same, or one of the two is the short form of the other.
    #[must_use]
    pub fn may_be_called(&self, name: &str) -> bool {
        let is = |one: &str, other: &str| one.eq_ignore_ascii_case(other);
        is(&self.name, name)
            || short_name(&self.name).is_some_and(|short| is(short, name))
            || short_name(name).is_some_and(|short| is(short, &self.name))
    }

    /// What people say about it.
    #[must_use]
    pub fn place(&self) -> ServerPlace {
        ServerPlace {
            name: self.name.clone(),
            address: self.address.clone(),
            port: self.port,
            networks: self.networks.clone(),
        }
    }
}

/// A host's name without its domain: `web1` of `web1.example`. `None` for a name without a domain, and for one that
/// begins with a number, as an IP address does: parts of addresses are no names.
#[must_use]
pub fn short_name(name: &str) -> Option<&str> {
    let (short, _) = name.split_once('.')?;
    let is_number = short.bytes().all(|byte| byte.is_ascii_digit());
    (!is_number).then_some(short)
}

/// What people say about a server: its name, and where its agent listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerPlace {
    /// Its full name; unique.
    pub name: String,
    /// Where its agent listens: an IP address or a host name.
    pub address: String,
    /// The agent's port.
    pub port: u16,
    /// Other addresses of it that count for its applications.
    pub networks: Vec<Network>,
}

impl From<&NewServer> for ServerPlace {
    fn from(server: &NewServer) -> Self {
        Self {
            name: server.name.clone(),
            address: server.address.clone(),
            port: server.port,
            networks: server.networks.clone(),
        }
    }
}

/// Why a name is no name of a server; the message goes to the user unchanged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostNameError {
    /// It has characters that no name has.
    #[error(transparent)]
    Text(#[from] TextError),
    /// Ansible takes it for something else than one host.
    #[error("`{name}` cannot be the name of a server: {means}")]
    Reserved {
        /// The name.
        name: String,
        /// What it means.
        means: &'static str,
    },
}

/// Checks that plays can use `name`, and its part before the first dot, as the name of one host.
///
/// # Errors
///
/// [`HostNameError`], naming what is wrong.
pub fn check_host_name(name: &str) -> Result<(), HostNameError> {
    check_host("the server name", name, NewServer::NAME_MAX)?;
    let reserved = |means| {
        Err(HostNameError::Reserved {
            name: name.to_owned(),
            means,
        })
    };
    if name.split('.').any(str::is_empty) {
        return reserved("a part between its dots is empty");
    }
    if name.parse::<IpAddr>().is_ok() {
        return reserved(
            "it is an IP address; give the server a name, and the address as its address",
        );
    }
    let short = name.split('.').next().unwrap_or(name).to_ascii_lowercase();
    if ["localhost", "localhost4", "localhost6"].contains(&short.as_str()) {
        return reserved("for Ansible it is the control host itself");
    }
    if ["all", "ungrouped", "_meta"].contains(&short.as_str()) {
        return reserved("for Ansible it is not one host");
    }
    if is_number(&short) || is_number(name) {
        return reserved("it reads as a number");
    }
    if ["true", "false", "yes", "no", "on", "off", "null", "none"].contains(&short.as_str()) {
        return reserved("in YAML it is not a text");
    }
    Ok(())
}

// As YAML and Python read numbers: 017, 1e3, 0x1f, 1_000, inf, nan.
fn is_number(text: &str) -> bool {
    let text = text.to_ascii_lowercase().replace('_', "");
    let radix = |prefix: &str, radix: u32| {
        text.strip_prefix(prefix).is_some_and(|digits| {
            !digits.is_empty() && digits.chars().all(|digit| digit.is_digit(radix))
        })
    };
    text.parse::<f64>().is_ok() || radix("0x", 16) || radix("0o", 8) || radix("0b", 2)
}

/// Why a text is no address of an agent; the message goes to the user unchanged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// It is neither an IP address nor a host name.
    #[error("{0}; an IP address or a host name is expected")]
    Text(TextError),
    /// It is a number, which some programs read as an IP address.
    #[error(
        "`{address}` is a number in place of an IP address; write the address with four numbers and dots"
    )]
    Numeric {
        /// The address.
        address: String,
    },
    /// No agent listens there.
    #[error("`{address}` is {means}, where no agent of a server is asked")]
    Refused {
        /// The address.
        address: String,
        /// What kind of address it is.
        means: &'static str,
    },
}

/// Checks that an agent may be asked at `address`: an IP address of one host, or a host name.
///
/// # Errors
///
/// [`AddressError`], naming what is wrong.
pub fn check_agent_address(address: &str) -> Result<(), AddressError> {
    let what = "the server address";
    if let Ok(found) = address.parse::<IpAddr>() {
        return match refused_address(found) {
            Some(means) => Err(AddressError::Refused {
                address: address.to_owned(),
                means,
            }),
            None => Ok(()),
        };
    }
    check_name(what, address, NewServer::ADDRESS_MAX).map_err(AddressError::Text)?;
    if let Some((index, found)) = address
        .chars()
        .enumerate()
        .find(|(_, found)| [':', '_'].contains(found))
    {
        return Err(AddressError::Text(TextError::BadCharacter {
            what,
            found,
            at: index + 1,
            allowed: "letters, digits, . and -",
        }));
    }
    // As browsers and libc read addresses: what ends in a number is one, also 127.1 and 0x7f000001.
    let last = address.trim_end_matches('.').rsplit('.').next();
    if last.is_some_and(|last| {
        last.starts_with(|digit: char| digit.is_ascii_digit()) && is_number(last)
    }) {
        return Err(AddressError::Numeric {
            address: address.to_owned(),
        });
    }
    Ok(())
}

/// What kind of address this is, if no agent is asked there. Loopback and private addresses are fine.
#[must_use]
pub fn refused_address(address: IpAddr) -> Option<&'static str> {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let [first, ..] = address.octets();
            if first == 0 {
                Some("no address of a host")
            } else if address.is_link_local() {
                Some("a link-local address")
            } else if address.is_multicast() {
                Some("a multicast address")
            } else if first >= 240 {
                Some("a reserved address")
            } else {
                None
            }
        }
        IpAddr::V6(address) => match address.segments() {
            [0, 0, 0, 0, 0, 0, 0, 0] => Some("no address of a host"),
            _ if address.is_multicast() => Some("a multicast address"),
            // Where machines of a cloud ask for their credentials.
            [0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x0254] => Some("the address of a metadata service"),
            _ => None,
        },
    }
}

impl NewServer {
    /// The most characters of a name.
    pub const NAME_MAX: usize = 64;
    /// The most characters of an address.
    pub const ADDRESS_MAX: usize = 253;

    /// A server with a believable name, address and port.
    ///
    /// # Errors
    ///
    /// [`NewServerError`], naming what is wrong.
    pub fn new(
        name: &str,
        address: &str,
        port: u16,
        is_haproxy_node: bool,
    ) -> Result<Self, NewServerError> {
        check_host_name(name).map_err(NewServerError::Name)?;
        check_agent_address(address).map_err(NewServerError::Address)?;
        if port == 0 {
            return Err(NewServerError::Port);
        }
        Ok(Self {
            name: name.to_owned(),
            address: address.to_owned(),
            port,
            is_haproxy_node,
            networks: Vec::new(),
        })
    }

    /// The same server with these networks.
    #[must_use]
    pub fn with_networks(self, networks: Vec<Network>) -> Self {
        Self { networks, ..self }
    }

    /// The networks whose addresses are its own.
    #[must_use]
    pub fn networks(&self) -> &[Network] {
        &self.networks
    }

    /// The full name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The agent's address.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The agent's port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Whether an HAProxy is managed through its agent.
    #[must_use]
    pub const fn is_haproxy_node(&self) -> bool {
        self.is_haproxy_node
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_have_a_short_form() {
        for (name, short) in [
            ("web1.internal", Some("web1")),
            ("web-1.a.b", Some("web-1")),
            ("web1", None),
            ("10.0.0.5", None),
            ("", None),
        ] {
            assert_eq!(short_name(name), short, "{name}");
        }
    }

    #[test]
    fn addresses_are_ip_addresses_or_host_names() {
        for address in [
            "10.0.0.1",
            "127.0.0.9",
            "192.168.0.1",
            "::1",
            "fe80::1",
            "fd00::7",
            "web01.example",
            "web1",
            "1.pool.example",
            "cafe",
            "10.0.0.1.example",
        ] {
            assert!(
                NewServer::new("web01", address, 5000, false).is_ok(),
                "{address}"
            );
        }
        for address in [
            "",
            "web01:5000",
            "http://web01",
            "web 01",
            "a/b",
            "web\u{ff10}1",
            "2130706433",
            "0x7f000001",
            "0X7F.1",
            "017700000001",
            "127.1",
            "127.0.0.1.",
            "0.0.0.0",
            "0.1.2.3",
            "::",
            "169.254.169.254",
            "::ffff:169.254.169.254",
            "fd00:ec2::254",
            "224.0.0.1",
            "ff02::1",
            "255.255.255.255",
            "240.0.0.1",
        ] {
            assert!(
                NewServer::new("web01", address, 5000, false).is_err(),
                "{address}"
            );
        }
    }

    #[test]
    fn a_name_that_means_something_else_is_refused_with_the_reason() {
        for (name, reason) in [
            ("localhost", "the control host itself"),
            ("LocalHost", "the control host itself"),
            ("localhost.localdomain", "the control host itself"),
            ("localhost6", "the control host itself"),
            ("all", "not one host"),
            ("ALL", "not one host"),
            ("all.example", "not one host"),
            ("ungrouped", "not one host"),
            ("_meta", "not one host"),
            ("10.0.0.1", "an IP address"),
            ("017", "a number"),
            ("12.example", "a number"),
            ("1e3", "a number"),
            ("1.5", "a number"),
            ("0x1f", "a number"),
            ("1_000", "a number"),
            ("inf", "a number"),
            ("nan.example", "a number"),
            ("yes", "not a text"),
            ("No.example", "not a text"),
            ("web1.", "is empty"),
            ("web1..example", "is empty"),
            ("web:1", "':' at character 4"),
            ("::1", "':' at character 1"),
            ("a,b", "',' at character 2"),
            ("!web", "'!' at character 1"),
            ("web&x", "'&' at character 4"),
            ("web*", "'*' at character 4"),
            ("web[1]", "'[' at character 4"),
            ("~web", "'~' at character 1"),
            ("@web", "'@' at character 1"),
            ("web1 ", "' ' at character 5"),
            ("w\u{435}b1", "at character 2"),
            ("web\u{ff11}", "at character 4"),
            ("", "must not be empty"),
        ] {
            let refusal = check_host_name(name).unwrap_err().to_string();
            assert!(refusal.contains(reason), "{name}: {refusal}");
        }
        for name in [
            "web1",
            "web01",
            "web-1.msk.example",
            "db_1",
            "1c-server",
            "x1e3",
            "allow",
        ] {
            assert_eq!(check_host_name(name), Ok(()), "{name}");
        }
    }

    #[test]
    fn a_port_is_a_port() {
        assert_eq!(
            NewServer::new("web01", "::1", 0, false),
            Err(NewServerError::Port)
        );
    }
}
