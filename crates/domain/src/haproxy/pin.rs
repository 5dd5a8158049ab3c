//! Pins: servers in HAProxy that stay out of use, which HAProxy itself forgets.
//!
//! HAProxy keeps administrative states in its process: a reload or a restart has forgotten them (measured on HAProxy
//! 2.6). So Drover keeps pins and re-applies them to a new process, and to nothing
//! else: what a person changed at HAProxy itself is shown as drift and left alone.

use std::time::Duration;

use crate::Timestamp;

use super::action::ActionRequest;
use super::{AdminState, ObservedServer};

/// The longest time of a pin by one action.
pub const PIN_MAX: Duration = Duration::from_hours(30 * 24);
/// The tolerance for a start time before it counts as another start: agents report the uptime in whole seconds.
const START_TOLERANCE: Duration = Duration::from_secs(5);

/// Keeps a server out of use. A server in use has no pin: `ready` removes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    /// The state that it keeps: `drain` or `maint`.
    pub state: AdminState,
    /// Who wants it.
    pub owner: String,
    /// Why, in their words.
    pub reason: Option<String>,
    /// Since when.
    pub since: Timestamp,
    /// Its expiry; without one it stays until a person ends it.
    pub until: Option<Timestamp>,
}

impl Pin {
    /// Whether its time is over.
    #[must_use]
    pub fn has_lapsed(&self, now: Timestamp) -> bool {
        self.until.is_some_and(|until| until <= now)
    }

    /// Whether HAProxy shows that something else is asked of the server; `false` where it is not shown. What it
    /// inherits from another server does not count: that ends with the other's.
    #[must_use]
    pub fn differs_from(&self, observed: &ObservedServer) -> bool {
        observed
            .own_state()
            .is_some_and(|state| state != self.state)
    }

    /// Whether a process that started after the pin has the server in use.
    #[must_use]
    pub fn is_forgotten(
        &self,
        observed: &ObservedServer,
        process: Option<HaproxyProcess>,
        now: Timestamp,
    ) -> bool {
        !self.has_lapsed(now)
            && observed.own_state() == Some(AdminState::Ready)
            && process.is_some_and(|process| process.started_at > self.since)
    }
}

/// What becomes of the pin of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PinChange {
    /// It stays as it is.
    Keep,
    /// The actor of the action pins the server in this state.
    Set(AdminState),
    /// It ends.
    Remove,
}

/// What becomes of the pin of a server when an action ends after `sends` commands and `seen` was seen last.
///
/// What counts is what HAProxy was left in: a drain that ran out of time is a pin, and so is a server that was to be
/// returned, got as far as `drain` and stayed there because its checks fail.
#[must_use]
pub fn pin_after(request: &ActionRequest, sends: u32, seen: Option<&ObservedServer>) -> PinChange {
    let state = seen
        .filter(|_| !request.restores)
        .and_then(ObservedServer::own_state);
    match state {
        Some(AdminState::Ready) if request.wanted == AdminState::Ready => PinChange::Remove,
        Some(state @ (AdminState::Drain | AdminState::Maint))
            if state == request.wanted || sends > 0 =>
        {
            PinChange::Set(state)
        }
        Some(AdminState::Ready | AdminState::Drain | AdminState::Maint) | None => PinChange::Keep,
    }
}

/// The process of an HAProxy as its agent reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ObservedProcess {
    /// Its number.
    pub pid: u32,
    /// How long it has been running; whole seconds.
    pub uptime: Duration,
}

/// The process of an HAProxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HaproxyProcess {
    /// Its number.
    pub pid: u32,
    /// When it started, give or take a second, by Drover's clock.
    pub started_at: Timestamp,
}

impl HaproxyProcess {
    /// The process that was seen `now`: the known one if it may be that, else another one.
    #[must_use]
    pub fn seen(known: Option<Self>, observed: ObservedProcess, now: Timestamp) -> Self {
        let started_at = now.before(observed.uptime);
        let is_known = |known: &Self| {
            known.pid == observed.pid
                && known.started_at.since(started_at) <= START_TOLERANCE
                && started_at.since(known.started_at) <= START_TOLERANCE
        };
        known.filter(is_known).unwrap_or(Self {
            pid: observed.pid,
            started_at,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{AdminBits, ServerRole, ServerWord};
    use super::*;
    use crate::Key;

    fn server(word: &str, bits: Option<u32>) -> ObservedServer {
        ObservedServer {
            name: "a".to_owned(),
            word: ServerWord::new(word),
            admin: bits.map(AdminBits::from_bits),
            sessions: None,
            old_sessions: None,
            queue: None,
            weight: 1,
            role: ServerRole::default(),
            check_status: None,
            address: None,
            port: None,
        }
    }

    fn wish(wanted: AdminState, restores: bool) -> ActionRequest {
        ActionRequest {
            server: Key::new(1),
            wanted,
            wait: Duration::ZERO,
            forced: None,
            reason: None,
            pin_for: None,
            restores,
        }
    }

    fn seconds(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn a_pin_is_what_haproxy_was_left_in() {
        use AdminState::{Drain, Maint, Ready};
        use PinChange::{Keep, Remove, Set};
        for (wanted, sends, word, bits, expected) in [
            (Drain, 1, "DRAIN", Some(8), Set(Drain)),
            // Sessions are left: it was drained all the same.
            (Drain, 0, "DRAIN", Some(8), Set(Drain)),
            (Maint, 1, "MAINT", None, Set(Maint)),
            (Drain, 4, "UP", Some(0), Keep),
            (Drain, 1, "DOWN", None, Keep),
            (Ready, 1, "UP", Some(0), Remove),
            (Ready, 1, "DRAIN", Some(8), Set(Drain)),
            (Ready, 0, "DRAIN", Some(8), Keep),
            (Maint, 0, "DRAIN", Some(8), Keep),
            // Out only because another one is, or by both.
            (Drain, 1, "MAINT (via b/s)", Some(2), Keep),
            (Drain, 1, "MAINT (via b/s)", Some(10), Set(Drain)),
            (Maint, 1, "MAINT (resolution)", Some(33), Set(Maint)),
            (Maint, 1, "MAINT (via b/s)", None, Keep),
            (Ready, 1, "MAINT (via b/s)", Some(2), Remove),
        ] {
            let seen = server(word, bits);
            let found = pin_after(&wish(wanted, false), sends, Some(&seen));
            assert_eq!(found, expected, "{wanted:?} {sends} {word}");
            let restored = pin_after(&wish(wanted, true), sends, Some(&seen));
            assert_eq!(restored, Keep, "{wanted:?} {sends} {word}");
        }
        assert_eq!(pin_after(&wish(Drain, false), 1, None), Keep);
    }

    #[test]
    fn only_a_later_process_has_forgotten() {
        let pin = |until| Pin {
            state: AdminState::Drain,
            owner: "alice".to_owned(),
            reason: None,
            since: seconds(100),
            until,
        };
        let process = |at| {
            let started_at = seconds(at);
            Some(HaproxyProcess { pid: 7, started_at })
        };
        let now = seconds(500);
        let up = server("UP", Some(0));
        assert!(pin(None).is_forgotten(&up, process(101), now));
        assert!(!pin(None).is_forgotten(&up, process(100), now));
        assert!(!pin(None).is_forgotten(&up, None, now));
        assert!(!pin(Some(now)).is_forgotten(&up, process(101), now));
        // A change by hand is left alone, and a missing value is no reason.
        let maint = server("MAINT", Some(1));
        assert!(!pin(None).is_forgotten(&maint, process(101), now));
        assert!(pin(None).differs_from(&maint) && pin(None).differs_from(&up));
        let silent = server("DOWN", None);
        assert!(!pin(None).is_forgotten(&silent, process(101), now));
        assert!(!pin(None).differs_from(&silent));
    }

    #[test]
    fn a_process_is_another_one_when_its_number_or_its_start_is() {
        let seen = |known, pid, uptime| {
            let uptime = Duration::from_secs(uptime);
            HaproxyProcess::seen(known, ObservedProcess { pid, uptime }, seconds(1_000))
        };
        let first = seen(None, 7, 100);
        assert_eq!(first.started_at, seconds(900));
        // Reported in whole seconds, and read a little later: the same process.
        assert_eq!(seen(Some(first), 7, 99), first);
        assert_eq!(seen(Some(first), 7, 103), first);
        assert_eq!(seen(Some(first), 8, 100).pid, 8);
        // In a container every HAProxy has the same number.
        assert_eq!(seen(Some(first), 7, 10).started_at, seconds(990));
    }
}
