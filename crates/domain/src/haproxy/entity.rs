//! HAProxy instances, their backends and servers.

use crate::fleet::{ApplicationKey, ServerKey};
use crate::{Key, Timestamp};

use super::{AdminBits, HaproxyProcess, Pin, ServerRole, ServerWord};

/// Marks the keys of HAProxy instances.
#[derive(Debug)]
pub enum HaproxyInstanceKind {}
/// The key of an HAProxy instance.
pub type HaproxyInstanceKey = Key<HaproxyInstanceKind>;

/// Marks the keys of backends.
#[derive(Debug)]
pub enum BackendKind {}
/// The key of a backend.
pub type BackendKey = Key<BackendKind>;

/// Marks the keys of HAProxy servers.
#[derive(Debug)]
pub enum HaproxyServerKind {}
/// The key of a server in HAProxy.
pub type HaproxyServerKey = Key<HaproxyServerKind>;

/// How the last attempt to read something went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FetchStatus {
    /// Not read yet.
    Unknown,
    /// It was read whole.
    Success,
    /// It was read, and not all of it: nothing is removed because it is not in such an answer.
    Partial,
    /// It could not be read.
    Failed,
}

impl FetchStatus {
    /// The word used in storage and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Success => "success",
            Self::Partial => "partial",
            Self::Failed => "failed",
        }
    }

    /// The status with this word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Unknown, Self::Success, Self::Partial, Self::Failed]
            .into_iter()
            .find(|status| status.as_str() == word)
    }
}

/// An HAProxy behind an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HaproxyInstance {
    /// Its key.
    pub key: HaproxyInstanceKey,
    /// The server whose agent manages it.
    pub server: ServerKey,
    /// That server's name.
    pub server_name: String,
    /// Its name at the agent.
    pub name: String,
    /// Whether it is synced.
    pub is_active: bool,
    /// When the last sync ended.
    pub last_sync: Option<Timestamp>,
    /// How it went.
    pub last_sync_status: FetchStatus,
    /// Why it failed, or what could not be read.
    pub last_sync_error: Option<String>,
    /// When HAProxy was read last, in whole or in part: what is known of it is as of then.
    pub observed_at: Option<Timestamp>,
    /// Its version, where the agent reports it; the last one that was seen.
    pub version: Option<String>,
    /// Its process, if the agent reports it; the last one that was seen.
    pub process: Option<HaproxyProcess>,
    /// How many backends it has.
    pub backends: u32,
}

/// A backend of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HaproxyBackend {
    /// Its key.
    pub key: BackendKey,
    /// Its instance.
    pub instance: HaproxyInstanceKey,
    /// Its name in HAProxy.
    pub name: String,
    /// How the last reading of its servers went.
    pub last_fetch_status: FetchStatus,
    /// Why it failed, or what could not be read.
    pub last_fetch_error: Option<String>,
    /// When its servers were read last: what is known of them is as of then.
    pub observed_at: Option<Timestamp>,
    /// When HAProxy first failed to list it; it is removed if the next whole answer does not list it either.
    pub missed_at: Option<Timestamp>,
    /// How many servers it has.
    pub servers: u32,
    /// How many of them take traffic.
    pub ready: u32,
    /// When it vanished from HAProxy; a returning backend keeps its key.
    pub removed_at: Option<Timestamp>,
}

/// A server as HAProxy's agent describes it; what the agent left out is `None`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedServer {
    /// Its name in HAProxy.
    pub name: String,
    /// HAProxy's status word.
    pub word: ServerWord,
    /// The administrative bits.
    pub admin: Option<AdminBits>,
    /// Sessions on it right now, those of HAProxy's old workers included where the agent sees them.
    pub sessions: Option<u64>,
    /// How many of [`Self::sessions`] are in old workers, which a reload left behind to finish what they have; `None`
    /// where the agent does not see them. It is part of the evidence of an action and not stored with the server.
    pub old_sessions: Option<u64>,
    /// Requests waiting for it right now.
    pub queue: Option<u64>,
    /// Its effective weight.
    pub weight: u32,
    /// What the configuration makes of it.
    pub role: ServerRole,
    /// How its last check ended, in HAProxy's word.
    pub check_status: Option<String>,
    /// Its address.
    pub address: Option<String>,
    /// Its port.
    pub port: Option<u16>,
}

impl ObservedServer {
    /// Whether everything but the ever-changing counters is the same: then nothing is written.
    #[must_use]
    pub fn is_settled_as(&self, other: &Self) -> bool {
        let still = |server: &Self| Self {
            sessions: None,
            old_sessions: None,
            queue: None,
            ..server.clone()
        };
        still(self) == still(other)
    }
}

/// A server of a backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HaproxyServer {
    /// Its key.
    pub key: HaproxyServerKey,
    /// Its backend.
    pub backend: BackendKey,
    /// What was last seen of it.
    pub observed: ObservedServer,
    /// The application it is actively mapped to.
    pub application: Option<ApplicationKey>,
    /// Its pin.
    pub pin: Option<Pin>,
    /// When it was last written.
    pub last_seen: Option<Timestamp>,
    /// When it was last read: what is known of it is as of then.
    pub observed_at: Option<Timestamp>,
    /// When HAProxy first failed to list it; it is removed if the next whole answer does not list it either.
    pub missed_at: Option<Timestamp>,
    /// When it vanished from HAProxy; a returning server keeps its key.
    pub removed_at: Option<Timestamp>,
}
