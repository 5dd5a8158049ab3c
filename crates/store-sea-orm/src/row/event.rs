//! The shape of fleet events.

use drover_domain::fleet::{Event, EventKind, EventStatus, NewEvent};
use drover_domain::{Key, Timestamp};
use drover_ports::StoreError;
use sea_orm::FromQueryResult;

use super::Stored;
use crate::sql::session::Row;

/// A row of `events`.
#[derive(Debug, FromQueryResult)]
pub(crate) struct EventRow {
    id: i64,
    at: i64,
    event_type: String,
    status: String,
    server_id: Option<i64>,
    application_id: Option<i64>,
    description: String,
}

impl Row for EventRow {
    const WHAT: &'static str = "event";
}

impl EventRow {
    /// The event.
    pub(crate) fn read(self) -> Result<Event, StoreError> {
        let stored = Stored::new(Self::WHAT, self.id);
        Ok(Event {
            key: Key::new(self.id),
            event: NewEvent {
                at: Timestamp::from_micros(self.at),
                kind: stored.word("kind", &self.event_type, EventKind::parse)?,
                status: stored.word("status", &self.status, EventStatus::parse)?,
                server: self.server_id.map(Key::new),
                application: self.application_id.map(Key::new),
                description: self.description,
            },
        })
    }
}
