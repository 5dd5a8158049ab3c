//! Which addresses may be called.

use std::fmt;
use std::net::IpAddr;

use url::{Host, Url};

use crate::Cidr;
use crate::range::{RANGES, destination};

/// Which addresses from untrusted input may be called.
///
/// * An address is what its narrowest range says: public, private, loopback and so on. An IPv6 address
///   that carries an IPv4 address is judged as this one.
/// * The deny list refuses, whatever else says.
/// * An entry of the allow list opens its range and nothing narrower: `0.0.0.0/0` opens no loopback
///   address and `fd00::/8` no metadata service; `127.0.0.0/8` and `169.254.169.254/32` do.
/// * Everything that is not public is refused unless the allow list opens it.
///
/// The default: `https` and `http`, to public addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressPolicy {
    /// Whether `http` is spoken besides `https`.
    pub plain_http: bool,
    /// Whether public addresses are open. Otherwise only the allow list is.
    pub public: bool,
    /// Ranges that are open besides.
    pub allow: Vec<Cidr>,
    /// Ranges that are closed in any case. A range of IPv6 addresses also closes the ones in it that
    /// carry an IPv4 address.
    pub deny: Vec<Cidr>,
}

/// Why an address is not called; the message is for the author of the address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressRefused {
    /// The scheme is not spoken.
    #[error("the scheme is `{scheme}`; allowed: {allowed}")]
    Scheme {
        /// The scheme.
        scheme: String,
        /// The schemes that are.
        allowed: &'static str,
    },
    /// The URL has a user or a password.
    #[error("the URL has a user or a password in it; send them in a header")]
    Userinfo,
    /// The URL names no host.
    #[error("the URL names no host")]
    NoHost,
    /// The address is closed.
    #[error("`{host}` is not called: {address} is {reason}")]
    Closed {
        /// The host as it was named.
        host: String,
        /// Where a connection would end.
        address: IpAddr,
        /// Why it is closed.
        reason: Closed,
    },
}

/// Why an address is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closed {
    /// It is on the deny list.
    Denied {
        /// The entry.
        entry: Cidr,
    },
    /// It is in a range that is not open.
    NotOpen {
        /// What an address of the range is, with its article.
        what: &'static str,
        /// The range.
        range: Cidr,
    },
}

impl Default for AddressPolicy {
    fn default() -> Self {
        Self {
            plain_http: true,
            public: true,
            allow: Vec::new(),
            deny: Vec::new(),
        }
    }
}

impl AddressPolicy {
    /// Checks what a URL says by itself: the scheme, that there is no user or password, and the
    /// address if the host is one. A name is checked where it is looked up.
    ///
    /// # Errors
    ///
    /// [`AddressRefused`].
    pub fn check_url(&self, url: &Url) -> Result<(), AddressRefused> {
        let is_spoken = match url.scheme() {
            "https" => true,
            "http" => self.plain_http,
            _ => false,
        };
        if !is_spoken {
            return Err(AddressRefused::Scheme {
                scheme: url.scheme().chars().take(32).collect(),
                allowed: if self.plain_http {
                    "https and http"
                } else {
                    "https"
                },
            });
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(AddressRefused::Userinfo);
        }
        let address = match url.host() {
            None => return Err(AddressRefused::NoHost),
            Some(Host::Domain(_)) => return Ok(()),
            Some(Host::Ipv4(address)) => IpAddr::V4(address),
            Some(Host::Ipv6(address)) => IpAddr::V6(address),
        };
        self.check(url.host_str().unwrap_or_default(), address)
    }

    /// Checks an address of `host`.
    ///
    /// # Errors
    ///
    /// [`AddressRefused::Closed`].
    pub fn check(&self, host: &str, address: IpAddr) -> Result<(), AddressRefused> {
        let end = destination(address);
        match self.closed(address, end) {
            None => Ok(()),
            Some(reason) => Err(AddressRefused::Closed {
                host: host.chars().take(255).collect(),
                address: end,
                reason,
            }),
        }
    }

    fn closed(&self, address: IpAddr, end: IpAddr) -> Option<Closed> {
        let denies = |entry: &&Cidr| entry.contains(address) || entry.contains(end);
        if let Some(entry) = self.deny.iter().find(denies) {
            return Some(Closed::Denied { entry: *entry });
        }
        let range = RANGES
            .iter()
            .filter(|range| range.cidr.contains(end))
            .max_by_key(|range| range.cidr.prefix())?;
        let is_opened = self
            .allow
            .iter()
            .any(|entry| entry.contains(end) && entry.prefix() >= range.cidr.prefix());
        if is_opened || (range.public && self.public) {
            return None;
        }
        Some(Closed::NotOpen {
            what: range.what,
            range: range.cidr,
        })
    }
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Denied { entry } => write!(f, "on the deny list ({entry})"),
            Self::NotOpen { what, range } => write!(
                f,
                "{what} ({range}), and no entry of the allow list opens it"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn policy(allow: &[&str], deny: &[&str]) -> AddressPolicy {
        let ranges = |texts: &[&str]| {
            texts
                .iter()
                .map(|text| Cidr::parse(text).unwrap())
                .collect()
        };
        AddressPolicy {
            allow: ranges(allow),
            deny: ranges(deny),
            ..AddressPolicy::default()
        }
    }

    fn is_open(policy: &AddressPolicy, address: &str) -> bool {
        policy.check("peer", address.parse().unwrap()).is_ok()
    }

    /// Every refused range by an address of it.
    const CLOSED: [&str; 59] = [
        "0.0.0.0",
        "0.1.2.3",
        "10.0.0.7",
        "100.64.0.1",
        "100.127.255.255",
        "100.100.100.200",
        "127.0.0.1",
        "127.255.255.254",
        "168.63.129.16",
        "169.254.0.1",
        "169.254.169.254",
        "169.254.170.2",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.1",
        "192.0.0.192",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.0.1",
        "198.18.0.1",
        "198.19.255.255",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.254",
        "255.255.255.255",
        "::",
        "::1",
        "::2",
        "::7f00:1",
        "::ffff:0.0.0.0",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.7",
        "::ffff:169.254.169.254",
        "::ffff:0:10.0.0.7",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b::7f00:1",
        "64:ff9b:1::808:808",
        "100::1",
        "2001::1",
        "2001:1ff::1",
        "2001:db8::1",
        "2002:a9fe:a9fe::",
        "2002:7f00:1::1",
        "3fff::1",
        "4000::1",
        "5f00::1",
        "fc00::1",
        "fd12::1",
        "fd00:ec2::254",
        "fd20:ce::254",
        "fe80::1",
        "febf::1",
        "fec0::1",
        "ff02::1",
        "ffff::1",
        "fd00:c1::a9fe:a9fe",
    ];

    #[test]
    fn what_is_not_public_is_closed() {
        for address in CLOSED {
            assert!(!is_open(&policy(&[], &[]), address), "{address}");
        }
    }

    #[test]
    fn what_is_public_is_open() {
        for address in [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "168.63.129.17",
            "169.253.255.255",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "192.167.255.255",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2001:200::1",
            "2606:4700::1111",
            "2a00:1450::1",
            "::ffff:1.1.1.1",
            "64:ff9b::101:101",
            "2002:101:101::1",
        ] {
            assert!(is_open(&policy(&[], &[]), address), "{address}");
        }
    }

    #[test]
    fn the_widest_entries_open_nothing_narrower() {
        let wide = policy(&["0.0.0.0/0", "::/0", "2000::/3"], &[]);
        for address in CLOSED {
            // These are in no range narrower than `::/0`.
            let is_rest = ["::2", "100::1", "4000::1", "5f00::1"].contains(&address);
            assert_eq!(is_open(&wide, address), is_rest, "{address}");
        }
    }

    #[test]
    fn an_entry_opens_its_range_and_no_other() {
        for (entry, open, closed) in [
            ("10.0.0.0/8", "10.255.0.1", "172.16.0.1"),
            ("10.1.0.0/16", "10.1.0.1", "10.2.0.1"),
            ("127.0.0.1", "127.0.0.1", "127.0.0.2"),
            ("127.0.0.1", "::ffff:127.0.0.1", "::1"),
            ("10.1.0.0/16", "64:ff9b::a01:1", "64:ff9b::a02:1"),
            ("169.254.0.0/16", "169.254.1.1", "169.254.169.254"),
            ("169.254.169.254", "169.254.169.254", "169.254.1.1"),
            ("fd00::/8", "fd12::1", "fd00:ec2::254"),
            ("fd12::/16", "fd12::1", "fd13::1"),
            ("64:ff9b::/96", "1.1.1.1", "64:ff9b::a9fe:a9fe"),
            ("2002::/16", "1.1.1.1", "2002:a9fe:a9fe::"),
        ] {
            let policy = policy(&[entry], &[]);
            assert!(is_open(&policy, open), "{entry} opens {open}");
            assert!(!is_open(&policy, closed), "{entry} leaves {closed} closed");
        }
    }

    #[test]
    fn the_deny_list_has_the_last_word() {
        let policy = policy(&["10.0.0.0/8"], &["10.0.0.7", "1.1.1.0/24", "64:ff9b::/96"]);
        for address in ["10.0.0.7", "::ffff:10.0.0.7", "1.1.1.1", "64:ff9b::808:808"] {
            assert!(!is_open(&policy, address), "{address}");
        }
        assert!(is_open(&policy, "10.0.0.8") && is_open(&policy, "8.8.8.8"));
    }

    #[test]
    fn without_the_public_only_the_list_is_open() {
        let policy = AddressPolicy {
            public: false,
            ..policy(&["10.0.0.0/8", "8.8.8.0/24"], &[])
        };
        assert!(is_open(&policy, "10.0.0.7") && is_open(&policy, "8.8.8.8"));
        assert!(!is_open(&policy, "1.1.1.1") && !is_open(&policy, "2606:4700::1111"));
    }

    #[test]
    fn a_url_is_refused_with_a_sentence() {
        let metadata = "`169.254.169.254` is not called: 169.254.169.254 is an address of a cloud's \
                        metadata service (169.254.169.254/32), and no entry of the allow list opens it";
        let loopback = "`127.0.0.1` is not called: 127.0.0.1 is a loopback address (127.0.0.0/8), and \
                        no entry of the allow list opens it";
        for (url, sentence) in [
            (
                "ftp://peer/",
                "the scheme is `ftp`; allowed: https and http",
            ),
            (
                "file:///etc/passwd",
                "the scheme is `file`; allowed: https and http",
            ),
            ("data:,x", "the scheme is `data`; allowed: https and http"),
            (
                "https://ann@peer/",
                "the URL has a user or a password in it; send them in a header",
            ),
            (
                "https://:pw@peer/",
                "the URL has a user or a password in it; send them in a header",
            ),
            ("http://169.254.169.254/latest", metadata),
            ("http://0xa9fea9fe/", metadata),
            ("http://2852039166/", metadata),
            ("http://0251.0376.0251.0376/", metadata),
            ("http://169.254.43518/", metadata),
            ("http://169.254.169.254./", metadata),
            ("http://①⑥⑨.254.169.254/", metadata),
            ("http://169%2e254.169.254/", metadata),
            ("http://127.1/", loopback),
            ("http://0x7f.1/", loopback),
            ("http://017700000001/", loopback),
            (
                "http://[::ffff:a00:7]/",
                "`[::ffff:a00:7]` is not called: 10.0.0.7 is a private address (10.0.0.0/8), and no \
                 entry of the allow list opens it",
            ),
            (
                "http://1.1.1.1/",
                "`1.1.1.1` is not called: 1.1.1.1 is on the deny list (1.1.1.0/24)",
            ),
        ] {
            let url = Url::parse(url).unwrap();
            let refusal = policy(&[], &["1.1.1.0/24"]).check_url(&url).unwrap_err();
            assert_eq!(refusal.to_string(), sentence, "{url}");
        }
    }

    #[test]
    fn plain_http_can_be_switched_off() {
        let policy = AddressPolicy {
            plain_http: false,
            ..AddressPolicy::default()
        };
        let check = |url| policy.check_url(&Url::parse(url).unwrap());
        assert_eq!(
            check("http://peer/").unwrap_err().to_string(),
            "the scheme is `http`; allowed: https"
        );
        assert_eq!(check("https://peer/"), Ok(()));
    }

    proptest! {
        #[test]
        fn a_disguise_changes_nothing(bits: u32) {
            let policy = policy(&["10.0.0.0/8"], &["1.0.0.0/8"]);
            let plain = std::net::Ipv4Addr::from_bits(bits);
            let [a, b, c, d] = plain.octets();
            let plain = policy.check("peer", plain.into());
            for disguise in [
                format!("::ffff:{a}.{b}.{c}.{d}"),
                format!("64:ff9b::{a}.{b}.{c}.{d}"),
                format!("2002:{a:02x}{b:02x}:{c:02x}{d:02x}::1"),
            ] {
                prop_assert_eq!(&policy.check("peer", disguise.parse().unwrap()), &plain);
            }
        }

        #[test]
        fn every_address_lies_in_a_range(bits: u128) {
            let nothing = AddressPolicy { public: false, ..AddressPolicy::default() };
            let address = std::net::Ipv6Addr::from_bits(bits);
            prop_assert!(nothing.check("peer", address.into()).is_err());
        }
    }
}
