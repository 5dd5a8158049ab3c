//! Networks whose addresses belong to one server.

use std::fmt;
use std::net::IpAddr;

/// A network in CIDR notation, such as `10.1.0.0/24`; one address is a network of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network {
    base: IpAddr,
    prefix: u8,
}

/// Why a text is no network; the message goes to the user unchanged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// It is not an address with a prefix length.
    #[error(
        "`{text}` is not a network; an address with a prefix length such as 10.1.0.0/24 is expected"
    )]
    NotANetwork {
        /// The text, made printable.
        text: String,
    },
    /// Every address would belong to one server.
    #[error("`{text}` contains every address, so it says nothing about one server")]
    Everything {
        /// The text.
        text: String,
    },
    /// The address has bits after the prefix.
    #[error("`{text}` has bits after its prefix; `{meant}` is the network it is in")]
    HostBits {
        /// The text.
        text: String,
        /// The network.
        meant: String,
    },
    /// More networks than one server may have.
    #[error(
        "{count} networks are too many; at most {} are allowed",
        Network::PER_SERVER_MAX
    )]
    TooMany {
        /// How many there are.
        count: usize,
    },
}

impl Network {
    /// The most networks of one server.
    pub const PER_SERVER_MAX: usize = 16;

    /// Reads one network.
    ///
    /// # Errors
    ///
    /// [`NetworkError`], naming what is wrong.
    pub fn parse(text: &str) -> Result<Self, NetworkError> {
        let refused = || NetworkError::NotANetwork {
            text: crate::text::visible(text, 64),
        };
        let (address, prefix) = text.split_once('/').unwrap_or((text, ""));
        let base: IpAddr = address.parse().map_err(|_| refused())?;
        let bits = bits(base);
        let is_number = prefix.bytes().all(|byte| byte.is_ascii_digit());
        let prefix = match prefix {
            "" if !text.contains('/') => bits,
            _ if is_number => prefix.parse().map_err(|_| refused())?,
            _ => return Err(refused()),
        };
        if prefix > bits {
            return Err(refused());
        }
        if prefix == 0 {
            return Err(NetworkError::Everything {
                text: text.to_owned(),
            });
        }
        let network = Self {
            base: masked(base, prefix),
            prefix,
        };
        if network.base != base {
            return Err(NetworkError::HostBits {
                text: text.to_owned(),
                meant: network.to_string(),
            });
        }
        Ok(network)
    }

    /// Reads the networks of one server.
    ///
    /// # Errors
    ///
    /// [`NetworkError`], naming the first thing that is wrong.
    pub fn parse_all<'a>(
        texts: impl ExactSizeIterator<Item = &'a str>,
    ) -> Result<Vec<Self>, NetworkError> {
        let count = texts.len();
        if count > Self::PER_SERVER_MAX {
            return Err(NetworkError::TooMany { count });
        }
        texts.map(Self::parse).collect()
    }

    /// Whether this address is in the network.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let (base, prefix) = match (self.base.to_canonical(), self.base) {
            // The network was written as IPv4 within IPv6: 96 bits less.
            (IpAddr::V4(base), IpAddr::V6(_)) if self.prefix >= 96 => {
                (IpAddr::V4(base), self.prefix - 96)
            }
            _ => (self.base, self.prefix),
        };
        bits(base) == bits(address) && masked(address, prefix) == base
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.prefix)
    }
}

const fn bits(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    let host = u32::from(bits(address).saturating_sub(prefix));
    match address {
        IpAddr::V4(address) => {
            let kept = u32::MAX.checked_shl(host).unwrap_or(0);
            IpAddr::V4((u32::from(address) & kept).into())
        }
        IpAddr::V6(address) => {
            let kept = u128::MAX.checked_shl(host).unwrap_or(0);
            IpAddr::V6((u128::from(address) & kept).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        Network::parse(text).unwrap()
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_network_has_the_addresses_of_its_prefix() {
        for (net, inside, outside) in [
            ("10.1.0.0/24", "10.1.0.255", "10.1.1.0"),
            ("10.1.0.7", "10.1.0.7", "10.1.0.8"),
            ("128.0.0.0/1", "255.1.2.3", "127.255.255.255"),
            ("fd00:1::/64", "fd00:1::9", "fd00:1:0:1::9"),
            ("10.1.0.0/24", "::ffff:10.1.0.9", "::ffff:10.2.0.9"),
            ("::ffff:10.1.0.0/120", "10.1.0.9", "10.1.1.9"),
        ] {
            assert!(network(net).contains(address(inside)), "{inside} in {net}");
            assert!(
                !network(net).contains(address(outside)),
                "{outside} in {net}"
            );
        }
    }

    #[test]
    fn what_is_shown_is_read_again() {
        for text in ["10.1.0.0/24", "10.1.0.7/32", "fd00::/8"] {
            assert_eq!(network(text).to_string(), text);
        }
    }

    #[test]
    fn what_is_no_network_is_refused_with_the_reason() {
        for (text, reason) in [
            ("", "is not a network"),
            ("web1", "is not a network"),
            ("10.0.0.0/", "is not a network"),
            ("10.0.0.0/33", "is not a network"),
            ("10.0.0.0/+8", "is not a network"),
            ("10.0/8", "is not a network"),
            ("0.0.0.0/0", "contains every address"),
            ("::/0", "contains every address"),
            ("10.1.0.7/24", "`10.1.0.0/24` is the network it is in"),
        ] {
            let refusal = Network::parse(text).unwrap_err().to_string();
            assert!(refusal.contains(reason), "{text}: {refusal}");
        }
        let many = vec!["10.0.0.1"; Network::PER_SERVER_MAX + 1];
        let refusal = Network::parse_all(many.into_iter()).unwrap_err();
        assert_eq!(refusal, NetworkError::TooMany { count: 17 });
    }
}
