//! What happened to the fleet, for people to read.

use crate::{Key, Timestamp};

use super::{ApplicationKey, ServerKey};

/// Marks event keys.
#[derive(Debug)]
pub enum EventMarker {}
/// The key of an event.
pub type EventKey = Key<EventMarker>;

/// What an event is about. Seed 001, "Event".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// An application was started.
    Start,
    /// An application was stopped.
    Stop,
    /// An application was restarted.
    Restart,
    /// An application was updated.
    Update,
    /// A server's agent answers again.
    Connect,
    /// A server's agent no longer answers.
    Disconnect,
}

impl EventKind {
    /// Every kind.
    pub const ALL: [Self; 6] = [
        Self::Start,
        Self::Stop,
        Self::Restart,
        Self::Update,
        Self::Connect,
        Self::Disconnect,
    ];

    /// The word used in storage and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Restart => "restart",
            Self::Update => "update",
            Self::Connect => "connect",
            Self::Disconnect => "disconnect",
        }
    }

    /// The kind with this word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

/// The result of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventStatus {
    /// It was asked for.
    Pending,
    /// It happened.
    Success,
    /// It did not work.
    Failed,
}

impl EventStatus {
    /// The word used in storage and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Success => "success",
            Self::Failed => "failed",
        }
    }

    /// The status with this word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Pending, Self::Success, Self::Failed]
            .into_iter()
            .find(|status| status.as_str() == word)
    }
}

/// An event to record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEvent {
    /// When it happened.
    pub at: Timestamp,
    /// What it is about.
    pub kind: EventKind,
    /// How it went.
    pub status: EventStatus,
    /// The server.
    pub server: Option<ServerKey>,
    /// The application.
    pub application: Option<ApplicationKey>,
    /// One sentence.
    pub description: String,
}

/// A recorded event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its key; later events have greater ones.
    pub key: EventKey,
    /// What was recorded.
    pub event: NewEvent,
}
