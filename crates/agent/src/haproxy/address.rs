//! Where a runtime socket is: a path, or a host and a port.

use std::fmt;
use std::path::PathBuf;

/// The address of an HAProxy runtime socket.
///
/// Two forms, as in FAgent's configuration: a path of a Unix socket, or `ipv4@host:port` with a port of 1 to 65535.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Address {
    /// A Unix socket.
    Unix(PathBuf),
    /// A TCP socket (`stats socket ipv4@…`).
    Tcp {
        /// Host name or IPv4 address.
        host: String,
        /// Port, never 0.
        port: u16,
    },
}

impl Address {
    /// Reads an address as it is written in the configuration.
    ///
    /// # Errors
    ///
    /// [`AddressError`] for an empty text and for `ipv4@` without a host and a port of 1 to 65535.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        if text.is_empty() {
            return Err(AddressError::Empty);
        }
        let Some(network) = text.strip_prefix("ipv4@") else {
            return Ok(Self::Unix(PathBuf::from(text)));
        };
        let wrong = || AddressError::Network {
            text: text.to_owned(),
        };
        let (host, port) = network.rsplit_once(':').ok_or_else(wrong)?;
        let port: u16 = port.parse().map_err(|_| wrong())?;
        if host.is_empty() || port == 0 {
            return Err(wrong());
        }
        Ok(Self::Tcp {
            host: host.to_owned(),
            port,
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(formatter, "{}", path.display()),
            Self::Tcp { host, port } => write!(formatter, "ipv4@{host}:{port}"),
        }
    }
}

/// A text that is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// Nothing was given.
    #[error("the address is empty; give the path of a Unix socket or ipv4@host:port")]
    Empty,
    /// `ipv4@` is not followed by a host and a port.
    #[error("`{text}` is not ipv4@host:port with a port of 1 to 65535")]
    Network {
        /// The text as given.
        text: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_read_and_printed_alike() {
        for text in [
            "/run/haproxy/admin.sock",
            "admin.sock",
            "ipv4@127.0.0.1:9999",
            "ipv4@lb.example.org:1",
        ] {
            assert_eq!(Address::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_network_address_needs_a_host_and_a_real_port() {
        for text in [
            "ipv4@",
            "ipv4@host",
            "ipv4@:80",
            "ipv4@host:0",
            "ipv4@host:65536",
            "ipv4@host:x",
        ] {
            assert_eq!(
                Address::parse(text),
                Err(AddressError::Network {
                    text: text.to_owned()
                })
            );
        }
        assert_eq!(Address::parse(""), Err(AddressError::Empty));
    }
}
