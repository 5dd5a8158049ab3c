//! Free addresses on the loopback.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};

use anyhow::{Context as _, bail};

/// First port to choose from. The range ends below the one that Linux takes the ports of clients from, so that no
/// connection of the load can sit on the port of an application that is just being started again.
const PORT_MIN: u16 = 20_000;

/// How many ports to choose from.
const PORTS: u16 = 12_000;

/// How many ports are tried before giving up.
const ATTEMPTS_MAX: u16 = 1_000;

/// Address number `last` of the loopback, 127.0.0.`last`.
#[must_use]
pub const fn loopback(last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, last))
}

/// Gives out ports, each once.
#[derive(Debug)]
pub struct Addresses {
    next: u16,
    given: BTreeSet<SocketAddr>,
}

impl Addresses {
    /// Starts at a random port, so that several demos can run side by side.
    ///
    /// # Errors
    ///
    /// If the system has no randomness.
    pub fn new() -> anyhow::Result<Self> {
        let random = getrandom::u32().context("this system gives no random numbers")?;
        Ok(Self {
            next: u16::try_from(random % u32::from(PORTS)).unwrap_or_default(),
            given: BTreeSet::new(),
        })
    }

    /// An address of `ip` on which nothing listens.
    ///
    /// # Errors
    ///
    /// If none is found in a thousand attempts, such as when this machine does not have the address.
    pub fn free(&mut self, ip: IpAddr) -> anyhow::Result<SocketAddr> {
        let mut refusal = None;
        for _ in 0..ATTEMPTS_MAX {
            let address = SocketAddr::new(ip, PORT_MIN + self.next);
            self.next = (self.next + 1) % PORTS;
            match TcpListener::bind(address) {
                Ok(_) if self.given.insert(address) => return Ok(address),
                Ok(_) => {}
                Err(error) => refusal = Some(error),
            }
        }
        match refusal {
            Some(error) => Err(error).with_context(|| format!("no port of {ip} is free")),
            None => bail!("all ports of {ip} are given out"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_address_is_given_twice_nor_while_it_is_taken() {
        let mut addresses = Addresses::new().unwrap();
        let first = addresses.free(loopback(2)).unwrap();
        let taken = SocketAddr::new(loopback(2), PORT_MIN + addresses.next);
        let _listener = TcpListener::bind(taken);
        let second = addresses.free(loopback(2)).unwrap();
        assert_ne!(first, second);
        assert_ne!(second, taken);
        assert_eq!(second.ip(), loopback(2));
    }
}
