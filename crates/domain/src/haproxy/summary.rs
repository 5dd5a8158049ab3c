//! All of HAProxy in a few numbers.

use super::action::own_state;
use super::{
    AdminBits, AdminState, BackendKey, BreakerRecord, HaproxyInstanceKey, ServerWord, Shown,
};

/// How many servers show what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ServerCounts {
    /// Those that take requests.
    pub up: u64,
    /// Those that are up and get none: backups, and servers of weight 0.
    pub standby: u64,
    /// Those that finish what they do.
    pub drain: u64,
    /// Those that are out of service.
    pub maint: u64,
    /// Those whose checks fail.
    pub down: u64,
    /// Those that show anything else.
    pub other: u64,
}

impl ServerCounts {
    /// Counts `servers` more that show this word; `takes_requests` where they are also active and of a weight above 0.
    pub fn note(&mut self, word: &ServerWord, takes_requests: bool, servers: u64) {
        let count = match word.shown() {
            Shown::Up if takes_requests => &mut self.up,
            Shown::Up => &mut self.standby,
            Shown::Drain => &mut self.drain,
            Shown::Maint => &mut self.maint,
            Shown::Down => &mut self.down,
            Shown::Other => &mut self.other,
        };
        *count += servers;
    }
}

/// The breaker of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceBreaker {
    /// The instance.
    pub instance: HaproxyInstanceKey,
    /// Its name at the agent.
    pub name: String,
    /// The name of the server whose agent manages it.
    pub server_name: String,
    /// Its breaker as it is stored.
    pub breaker: BreakerRecord,
}

/// A backend in which too few servers take requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShortBackend {
    /// The backend.
    pub backend: BackendKey,
    /// Its name in HAProxy.
    pub name: String,
    /// Its instance.
    pub instance: HaproxyInstanceKey,
    /// The name of that at its agent.
    pub instance_name: String,
    /// How many servers it has.
    pub servers: u32,
    /// How many of them take requests.
    pub ready: u32,
}

/// All of HAProxy in a few numbers: active instances, and what is present in them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HaproxyCounts {
    /// How many instances there are.
    pub instances: u64,
    /// How many of them were read whole at the last attempt.
    pub synced: u64,
    /// How many of them were read in part at the last attempt.
    pub partial: u64,
    /// How many of them could not be read at the last attempt.
    pub failed: u64,
    /// How many servers are HAProxy nodes without an active instance: which instances they have is unknown.
    pub unread_nodes: u64,
    /// How many backends there are.
    pub backends: u64,
    /// The servers by what they show.
    pub servers: ServerCounts,
    /// How many servers have no active mapping, excluded ones included.
    pub unmapped: u64,
    /// How many servers are excluded from mapping.
    pub excluded: u64,
    /// How many servers are pinned.
    pub pinned: u64,
    /// How many of them show another state than their pin.
    pub drifting: u64,
    /// The breakers, those that are not closed first, then by key; at most [`Self::BREAKERS_MAX`].
    pub breakers: Vec<InstanceBreaker>,
    /// How many backends have too few servers that take requests. A backend without servers is not counted:
    /// no requests are expected there.
    pub short: u64,
    /// These backends by key, at most [`Self::SHORT_MAX`].
    pub short_backends: Vec<ShortBackend>,
}

impl HaproxyCounts {
    /// The most breakers that are listed.
    pub const BREAKERS_MAX: usize = 1_000;

    /// The most backends that are named.
    pub const SHORT_MAX: usize = 100;

    /// Counts `servers` more that are pinned in this state and that show this.
    pub fn count_pinned(
        &mut self,
        pin: AdminState,
        word: &ServerWord,
        bits: Option<AdminBits>,
        servers: u64,
    ) {
        self.pinned += servers;
        if own_state(word, bits).is_some_and(|state| state != pin) {
            self.drifting += servers;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_counted_once() {
        let mut counts = ServerCounts::default();
        for (servers, word) in (1_u64..).zip([
            "UP 1/3",
            "no check",
            "DRAIN 1/3",
            "MAINT (via be/srv)",
            "DOWN 1/2",
            "NOLB",
            "",
        ]) {
            counts.note(&ServerWord::new(word), true, servers);
        }
        counts.note(&ServerWord::new("UP"), false, 7);
        let expected = ServerCounts {
            up: 3,
            standby: 7,
            drain: 3,
            maint: 4,
            down: 5,
            other: 13,
        };
        assert_eq!(counts, expected);
    }
}
