//! Writing the fleet's event log.

use drover_domain::fleet::NewEvent;
use drover_ports::StoreError;

use crate::sql::Sql;
use crate::sql::dialect::rows;
use crate::sql::session::Session;
use crate::webhook::webhooks::IS_TOLD;

rows! {
    /// An event to record.
    NewEventRow<'a> {
        ordinal: usize => Integer,
        at: i64 => Integer,
        event_type: &'static str => Text,
        status: &'static str => Text,
        server_id: Option<i64> => Integer,
        application_id: Option<i64> => Integer,
        description: &'a str => Text,
    }
}

/// Records events in their order; a server or an application that is gone is left out of its event.
pub(crate) async fn insert_events(
    session: &Session,
    events: &[NewEvent],
) -> Result<(), StoreError> {
    if events.is_empty() {
        return Ok(());
    }
    let rows: Vec<NewEventRow<'_>> = events
        .iter()
        .enumerate()
        .map(|(ordinal, event)| NewEventRow {
            ordinal,
            at: event.at.as_micros(),
            event_type: event.kind.as_str(),
            status: event.status.as_str(),
            server_id: event.server.map(drover_domain::Key::get),
            application_id: event.application.map(drover_domain::Key::get),
            description: &event.description,
        })
        .collect();
    let text = format!(
        "INSERT INTO events (at, event_type, status, server_id, application_id, description, is_told)
         SELECT r.at, r.event_type, r.status, s.id, a.id, r.description,
                (r.event_type NOT IN ('connect', 'disconnect') OR {IS_TOLD})
         FROM {}
         LEFT JOIN servers s ON s.id = r.server_id
         LEFT JOIN application_instances a ON a.id = r.application_id
         ORDER BY r.ordinal",
        session.dialect.rows::<NewEventRow<'_>>(1, "r"),
    );
    session
        .execute(Sql::new(text).rows(&rows))
        .await
        .map(|_| ())
}
