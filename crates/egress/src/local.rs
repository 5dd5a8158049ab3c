//! Failures of calls whose cause is this machine and not the peer.

use std::error::Error;
use std::fs::File;
use std::io;

use rustix::io::Errno;

/// Whether a call failed because this machine lacks file descriptors, local ports or memory. Such a failure says nothing
/// about the peer.
#[must_use]
pub fn is_local(error: &reqwest::Error) -> bool {
    is_caused_here(error) || (error.is_connect() && has_no_descriptor())
}

fn is_caused_here(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let system = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::raw_os_error);
        if system.is_some_and(is_own_lack) {
            return true;
        }
        cause = error.source();
    }
    false
}

fn is_own_lack(number: i32) -> bool {
    [
        Errno::MFILE,
        Errno::NFILE,
        Errno::NOBUFS,
        Errno::NOMEM,
        // No local port is left for this peer.
        Errno::ADDRNOTAVAIL,
        Errno::ADDRINUSE,
    ]
    .iter()
    .any(|lack| lack.raw_os_error() == number)
}

/// Looking up a name opens files, and the library that does so loses the reason when it cannot.
fn has_no_descriptor() -> bool {
    File::open("/dev/null").is_err_and(|error| error.raw_os_error().is_some_and(is_own_lack))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("no connection")]
    struct Outer(#[source] io::Error);

    #[test]
    fn what_this_machine_lacks_is_told_from_what_the_peer_does() {
        for number in [12, 23, 24, 98, 99, 105] {
            let error = Outer(io::Error::from_raw_os_error(number));
            assert!(is_caused_here(&error), "{error:?}");
        }
        // Refused, unreachable, reset, timed out.
        for number in [111, 113, 101, 104, 110] {
            let error = Outer(io::Error::from_raw_os_error(number));
            assert!(!is_caused_here(&error), "{error:?}");
        }
        assert!(!is_caused_here(&Outer(io::ErrorKind::TimedOut.into())));
    }
}
