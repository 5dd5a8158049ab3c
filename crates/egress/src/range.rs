//! What the ranges of addresses are for.

use std::net::{IpAddr, Ipv4Addr};

use crate::Cidr;

/// A range with a purpose of its own.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Range {
    pub(crate) cidr: Cidr,
    /// What an address in it is, with its article.
    pub(crate) what: &'static str,
    /// Whether addresses in it are everybody's.
    pub(crate) public: bool,
}

const METADATA: &str = "an address of a cloud's metadata service";

const fn v4(base: [u8; 4], prefix: u8, what: &'static str) -> Range {
    Range {
        cidr: Cidr::v4(base, prefix),
        what,
        public: false,
    }
}

const fn v6(base: [u16; 8], prefix: u8, what: &'static str) -> Range {
    Range {
        cidr: Cidr::v6(base, prefix),
        what,
        public: false,
    }
}

const fn public(cidr: Cidr) -> Range {
    Range {
        cidr,
        what: "a public address",
        public: true,
    }
}

/// Every address lies in one of these; the narrowest one says what it is.
///
/// Source: the special-purpose address registries of IANA (RFC 6890 and its updates). Of IPv6 only
/// `2000::/3` is given out to the public. Metadata services lie where their clouds say so.
pub(crate) const RANGES: &[Range] = &[
    public(Cidr::v4([0, 0, 0, 0], 0)),
    v4([0, 0, 0, 0], 8, "an address of this very machine"),
    v4([10, 0, 0, 0], 8, "a private address"),
    v4(
        [100, 64, 0, 0],
        10,
        "an address shared behind a carrier's NAT",
    ),
    v4([100, 100, 100, 200], 32, METADATA),
    v4([127, 0, 0, 0], 8, "a loopback address"),
    v4([168, 63, 129, 16], 32, METADATA),
    v4([169, 254, 0, 0], 16, "a link-local address"),
    v4([169, 254, 169, 254], 32, METADATA),
    v4([169, 254, 170, 0], 24, METADATA),
    v4([172, 16, 0, 0], 12, "a private address"),
    v4([192, 0, 0, 0], 24, "an address set aside for protocols"),
    v4([192, 0, 0, 192], 32, METADATA),
    v4([192, 0, 2, 0], 24, "an address for documentation"),
    v4([192, 88, 99, 0], 24, "an address of an obsolete relay"),
    v4([192, 168, 0, 0], 16, "a private address"),
    v4([198, 18, 0, 0], 15, "an address for benchmarks"),
    v4([198, 51, 100, 0], 24, "an address for documentation"),
    v4([203, 0, 113, 0], 24, "an address for documentation"),
    v4([224, 0, 0, 0], 4, "a multicast address"),
    v4([240, 0, 0, 0], 4, "a reserved address"),
    v4([255, 255, 255, 255], 32, "the broadcast address"),
    v6([0; 8], 0, "an address outside the public range"),
    v6([0; 8], 128, "the unspecified address"),
    v6([0, 0, 0, 0, 0, 0, 0, 1], 128, "a loopback address"),
    v6(
        [0x64, 0xff9b, 1, 0, 0, 0, 0, 0],
        48,
        "an address of a local translator",
    ),
    public(Cidr::v6([0x2000, 0, 0, 0, 0, 0, 0, 0], 3)),
    v6(
        [0x2001, 0, 0, 0, 0, 0, 0, 0],
        23,
        "an address set aside for protocols",
    ),
    v6(
        [0x2001, 0xdb8, 0, 0, 0, 0, 0, 0],
        32,
        "an address for documentation",
    ),
    v6(
        [0x3fff, 0, 0, 0, 0, 0, 0, 0],
        20,
        "an address for documentation",
    ),
    v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7, "a private address"),
    v6([0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42], 128, METADATA),
    v6([0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe], 128, METADATA),
    v6([0xfd00, 0x100, 0, 0, 0, 0, 0x100, 0x200], 128, METADATA),
    v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0], 32, METADATA),
    v6([0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254], 128, METADATA),
    v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10, "a link-local address"),
    v6([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10, "a site-local address"),
    v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8, "a multicast address"),
];

/// Where a connection to `address` ends: the IPv4 address that an IPv6 address carries for a
/// translator or a tunnel, and otherwise `address` itself.
pub(crate) fn destination(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else {
        return address;
    };
    let (high, low) = match v6.segments() {
        // Mapped (RFC 4291), translated (RFC 2765), behind NAT64 (RFC 6052), 6to4 (RFC 3056).
        [0, 0, 0, 0, 0, 0xffff, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x2002, high, low, ..] => (high, low),
        // Compatible (RFC 4291, obsolete); `::` and `::1` are none.
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 => (high, low),
        _ => return address,
    };
    IpAddr::V4(Ipv4Addr::from_bits(
        (u32::from(high) << 16) | u32::from(low),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_range_reads_back() {
        for range in RANGES {
            assert_eq!(Cidr::parse(&range.cidr.to_string()), Ok(range.cidr));
        }
    }

    #[test]
    fn an_ipv4_address_is_seen_in_every_disguise() {
        for disguise in [
            "169.254.169.254",
            "::ffff:169.254.169.254",
            "::ffff:0:169.254.169.254",
            "::169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "2002:a9fe:a9fe::",
            "2002:a9fe:a9fe:1::5",
        ] {
            let address: IpAddr = disguise.parse().unwrap();
            assert_eq!(destination(address).to_string(), "169.254.169.254");
        }
        for plain in [
            "::",
            "::1",
            "2001:db8::a9fe:a9fe",
            "64:ff9b:1::a9fe:a9fe",
            "fe80::1",
        ] {
            let address: IpAddr = plain.parse().unwrap();
            assert_eq!(destination(address), address);
        }
    }
}
