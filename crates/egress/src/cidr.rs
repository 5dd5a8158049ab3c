//! Ranges of addresses.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A range of IPv4 or IPv6 addresses in CIDR notation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cidr {
    base: IpAddr,
    prefix: u8,
}

/// A text that is no range of addresses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CidrError {
    /// It is something else.
    #[error("`{text}` is no range of addresses; expected is one such as 10.0.0.0/8 or fd12::/16")]
    Unreadable {
        /// What was given.
        text: String,
    },
    /// The address has bits behind the prefix.
    #[error("`{text}` has bits behind its prefix; the range it lies in is {range}")]
    HostBits {
        /// What was given.
        text: String,
        /// What may have been meant.
        range: Cidr,
    },
    /// It is an IPv4 range in IPv6 clothes.
    #[error("`{text}` is a range of IPv4 addresses written as IPv6; write it as IPv4")]
    Mapped {
        /// What was given.
        text: String,
    },
}

impl Cidr {
    /// Reads an address with a prefix length, or a bare address, which is a range of one.
    ///
    /// # Errors
    ///
    /// [`CidrError`], naming the text and what is expected.
    pub fn parse(text: &str) -> Result<Self, CidrError> {
        let unreadable = || CidrError::Unreadable {
            text: text.chars().take(64).collect(),
        };
        let (base, prefix) = match text.split_once('/') {
            Some((base, prefix)) => (base, Some(prefix)),
            None => (text, None),
        };
        let base: IpAddr = base.parse().map_err(|_| unreadable())?;
        let most = bits(base);
        let prefix = match prefix {
            None => most,
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                digits.parse().map_err(|_| unreadable())?
            }
            Some(_) => return Err(unreadable()),
        };
        if prefix > most {
            return Err(unreadable());
        }
        let range = Self {
            base: network(base, prefix),
            prefix,
        };
        let text = text.to_owned();
        if range.base != base {
            return Err(CidrError::HostBits { text, range });
        }
        if matches!(base, IpAddr::V6(base) if prefix >= 96 && base.to_ipv4_mapped().is_some()) {
            return Err(CidrError::Mapped { text });
        }
        Ok(range)
    }

    /// Whether the address lies in the range. An address of the other family never does.
    #[must_use]
    pub fn contains(self, address: IpAddr) -> bool {
        bits(address) == bits(self.base) && network(address, self.prefix) == self.base
    }

    /// The bits that all addresses of the range share.
    pub(crate) const fn prefix(self) -> u8 {
        self.prefix
    }

    /// A range that is known to have no bits behind its prefix.
    pub(crate) const fn v4(base: [u8; 4], prefix: u8) -> Self {
        Self {
            base: IpAddr::V4(Ipv4Addr::from_octets(base)),
            prefix,
        }
    }

    /// A range that is known to have no bits behind its prefix.
    pub(crate) const fn v6(base: [u16; 8], prefix: u8) -> Self {
        Self {
            base: IpAddr::V6(Ipv6Addr::from_segments(base)),
            prefix,
        }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.prefix)
    }
}

/// How many bits an address of this family has.
const fn bits(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

/// The address with everything behind the prefix cleared.
fn network(address: IpAddr, prefix: u8) -> IpAddr {
    let behind = u32::from(bits(address).saturating_sub(prefix));
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(behind).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from_bits(address.to_bits() & mask))
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(behind).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & mask))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn range(text: &str) -> Cidr {
        Cidr::parse(text).unwrap()
    }

    #[test]
    fn a_range_contains_its_ends_and_not_what_is_beside_them() {
        for (text, first, last, beside) in [
            ("10.0.0.0/8", "10.0.0.0", "10.255.255.255", "11.0.0.0"),
            (
                "172.16.0.0/12",
                "172.16.0.0",
                "172.31.255.255",
                "172.32.0.0",
            ),
            ("192.0.2.7", "192.0.2.7", "192.0.2.7", "192.0.2.6"),
            ("0.0.0.0/0", "0.0.0.0", "255.255.255.255", "::"),
            ("fe80::/10", "fe80::", "febf:ffff::ffff", "fec0::"),
            ("::/0", "::", "ffff::ffff", "0.0.0.0"),
            ("::1", "::1", "::1", "::"),
        ] {
            let holds = |address: &str| range(text).contains(address.parse().unwrap());
            assert!(holds(first) && holds(last) && !holds(beside), "{text}");
        }
    }

    #[test]
    fn what_is_no_range_is_refused_with_a_sentence() {
        for (text, sentence) in [
            ("10.0.0.0/33", "`10.0.0.0/33` is no range of addresses"),
            ("10.0.0.0/+8", "`10.0.0.0/+8` is no range of addresses"),
            ("10.0.0.0/", "`10.0.0.0/` is no range of addresses"),
            ("010.0.0.0/8", "`010.0.0.0/8` is no range of addresses"),
            ("web1", "`web1` is no range of addresses"),
            ("", "`` is no range of addresses"),
            ("10.0.0.1/8", "the range it lies in is 10.0.0.0/8"),
            ("fd12:3::/16", "the range it lies in is fd12::/16"),
            ("::ffff:10.0.0.0/104", "write it as IPv4"),
        ] {
            let refusal = Cidr::parse(text).unwrap_err().to_string();
            assert!(refusal.contains(sentence), "{refusal}");
        }
    }

    proptest! {
        #[test]
        fn no_text_is_too_odd_to_be_read(text: String) {
            let _answer = Cidr::parse(&text);
        }

        #[test]
        fn what_is_printed_reads_back(address: u128, prefix in 0..=128u8) {
            let base = network(IpAddr::V6(Ipv6Addr::from_bits(address)), prefix);
            let range = Cidr { base, prefix };
            match Cidr::parse(&range.to_string()) {
                Ok(read) => prop_assert_eq!(read, range),
                Err(refusal) => {
                    let is_mapped = matches!(refusal, CidrError::Mapped { .. });
                    prop_assert!(is_mapped, "{}", refusal);
                }
            }
            prop_assert!(range.contains(IpAddr::V6(Ipv6Addr::from_bits(address))));
        }
    }
}
