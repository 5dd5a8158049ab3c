//! Where the system bus is: a D-Bus address of the one form a system bus has.

use std::fmt;
use std::path::{Path, PathBuf};

/// The form of address that is understood.
const PREFIX: &str = "unix:path=";

/// Where every systemd has its bus.
const STANDARD_PATH: &str = "/run/dbus/system_bus_socket";

/// Most bytes of the path of a Unix socket; the kernel takes no longer one.
const PATH_BYTES_MAX: usize = 107;

/// The address of a D-Bus system bus: `unix:path=` and an absolute path.
///
/// Other transports of D-Bus are refused: some leave this machine, and one starts programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BusAddress(PathBuf);

impl BusAddress {
    /// Reads an address as it is written in the configuration.
    ///
    /// # Errors
    ///
    /// [`BusAddressError`] for any other form, for a relative path, for one of more than 107 bytes, and for characters
    /// that D-Bus would want escaped: all but `A-Z a-z 0-9 _ - / . * \`.
    pub fn parse(text: &str) -> Result<Self, BusAddressError> {
        text.strip_prefix(PREFIX)
            .filter(|path| path.starts_with('/') && path.len() <= PATH_BYTES_MAX)
            .filter(|path| path.bytes().all(stands_for_itself))
            .map(|path| Self(PathBuf::from(path)))
            .ok_or_else(|| BusAddressError {
                text: text.to_owned(),
            })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Default for BusAddress {
    /// The standard address of the system bus, `unix:path=/run/dbus/system_bus_socket`.
    fn default() -> Self {
        Self(PathBuf::from(STANDARD_PATH))
    }
}

impl fmt::Display for BusAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{PREFIX}{}", self.0.display())
    }
}

/// Whether a byte needs no escape in an address, by the specification of D-Bus.
fn stands_for_itself(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_-/.*\\".contains(&byte)
}

/// A text that is no address of a system bus.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not unix:path= and an absolute path of at most {PATH_BYTES_MAX} plain characters"
)]
pub struct BusAddressError {
    text: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_printed_alike() {
        for text in [
            "unix:path=/run/dbus/system_bus_socket",
            "unix:path=/tmp/.tmpAb-1_/bus",
        ] {
            assert_eq!(BusAddress::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(
            BusAddress::default(),
            BusAddress::parse("unix:path=/run/dbus/system_bus_socket").unwrap()
        );
    }

    #[test]
    fn other_transports_and_odd_paths_are_refused() {
        let long = format!("unix:path=/{}", "x".repeat(PATH_BYTES_MAX));
        for text in [
            "",
            "/run/dbus/system_bus_socket",
            "unix:path=",
            "unix:path=bus",
            "unix:abstract=bus",
            "unix:path=/bus,guid=00",
            "unix:path=/bus;unix:path=/other",
            "unix:path=/a%20b",
            "unix:path=/a b",
            "unixexec:path=/bin/sh",
            "tcp:host=192.0.2.1,port=1",
            &long,
        ] {
            let error = BusAddress::parse(text).unwrap_err().to_string();
            assert!(error.contains("is not unix:path="), "{text:?}: {error}");
        }
    }
}
