//! A server with an agent.

use std::net::IpAddr;

use crate::text::{TextError, check_name};
use crate::{Key, Timestamp};

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
}

/// Why a server cannot be added; the message goes to the user unchanged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NewServerError {
    /// The name is not a name.
    #[error(transparent)]
    Name(TextError),
    /// The address is neither an IP address nor a host name.
    #[error("{0}; an IP address or a host name is expected")]
    Address(TextError),
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
}

impl From<&NewServer> for ServerPlace {
    fn from(server: &NewServer) -> Self {
        Self {
            name: server.name.clone(),
            address: server.address.clone(),
            port: server.port,
        }
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
        check_name("the server name", name, Self::NAME_MAX).map_err(NewServerError::Name)?;
        if address.parse::<IpAddr>().is_err() {
            check_name("the server address", address, Self::ADDRESS_MAX)
                .map_err(NewServerError::Address)?;
            if let Some(index) = address.find([':', '_']) {
                let found = address.chars().nth(index).unwrap_or(':');
                let allowed = "letters, digits, . and -";
                return Err(NewServerError::Address(TextError::BadCharacter {
                    what: "the server address",
                    found,
                    at: index + 1,
                    allowed,
                }));
            }
        }
        if port == 0 {
            return Err(NewServerError::Port);
        }
        Ok(Self {
            name: name.to_owned(),
            address: address.to_owned(),
            port,
            is_haproxy_node,
        })
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
        for address in ["10.0.0.1", "::1", "web01.example"] {
            assert!(
                NewServer::new("web01", address, 5000, false).is_ok(),
                "{address}"
            );
        }
        for address in ["", "web01:5000", "http://web01", "web 01", "a/b"] {
            assert!(
                NewServer::new("web01", address, 5000, false).is_err(),
                "{address}"
            );
        }
        assert_eq!(
            NewServer::new("web01", "::1", 0, false),
            Err(NewServerError::Port)
        );
    }
}
