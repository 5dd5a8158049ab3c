//! Which application stands behind which server in HAProxy: what a sync finds, and what people say.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use drover_domain::fleet::ApplicationKey;
use drover_domain::haproxy::{HaproxyServerKey, MappingAction, MappingBasis, ServerMapping};
use drover_domain::page::{Page, PageRequest};
use drover_domain::{Key, Timestamp};
use drover_ports::{
    HaproxyMappings, ManualMapping, MapOutcome, MappingCause, MappingChange, NewMapping,
    StoreError, UnmappedFilter, UnmappedServer, Unmapping,
};
use sea_orm::FromQueryResult;

use crate::haproxy::view::is_stored;
use crate::row::Stored;
use crate::row::mapping::{
    MappingChangeRow, SELECT_MAPPING, SELECT_UNMAPPED, ServerMappingRow, UnmappedRow,
};
use crate::sql::dialect::rows;
use crate::sql::session::{KeyRow, Row, Session};
use crate::sql::{Sql, limit};
use crate::store::SeaOrmStore;

rows! {
    /// A mapping to make active, or whose end is recorded.
    MappingRow<'a> {
        ordinal: usize => Integer,
        application_id: i64 => Integer,
        entity_id: i64 => Integer,
        basis: &'static str => Text,
        at: i64 => Integer,
        action: &'static str => Text,
        actor: Option<&'a str> => Text,
        request_id: Option<&'a str> => Text,
        reason: Option<&'a str> => Text,
    }
}

#[async_trait]
impl HaproxyMappings for SeaOrmStore {
    #[tracing::instrument(name = "db.mappings.map_by_hand", level = "debug", skip_all)]
    async fn map_by_hand(&self, mapping: &ManualMapping) -> Result<MapOutcome, StoreError> {
        let session = self.write("map a HAProxy server by hand").await?;
        let wanted = NewMapping {
            server: mapping.server,
            application: mapping.application,
            basis: MappingBasis::Manual,
            at: mapping.at,
            cause: Some(mapping.cause.clone()),
        };
        let mut wanted = by_server(std::slice::from_ref(&wanted));
        let mut stored = lock(&session, &mut wanted).await?;
        let Some(place) = place(&session, mapping.server).await? else {
            return Ok(MapOutcome::NoServer);
        };
        if wanted.is_empty() {
            return Ok(MapOutcome::NoApplication);
        }
        if !place.is_present {
            return Ok(MapOutcome::Removed(place.name));
        }
        set_exclusion(&session, mapping.server, None).await?;
        for known in stored.values_mut() {
            known.is_excluded = false;
        }
        write(&session, &wanted, &stored).await?;
        let found = find(&session, mapping.server).await?;
        session.commit().await?;
        Ok(found.map_or(MapOutcome::NoServer, MapOutcome::Mapped))
    }

    #[tracing::instrument(name = "db.mappings.unmap", level = "debug", skip_all)]
    async fn unmap(&self, unmapping: &Unmapping) -> Result<Option<ServerMapping>, StoreError> {
        let session = self.write("unmap a HAProxy server").await?;
        lock_instances(&session, &[unmapping.server.get()]).await?;
        let Some(before) = find(&session, unmapping.server).await? else {
            return Ok(None);
        };
        if let Some(active) = before.active {
            let ended = MappingRow {
                ordinal: 0,
                application_id: active.application.get(),
                entity_id: unmapping.server.get(),
                basis: active.basis.as_str(),
                at: unmapping.at.as_micros(),
                action: MappingAction::Deactivated.as_str(),
                actor: Some(&unmapping.cause.origin.actor),
                request_id: Some(&unmapping.cause.origin.request_id),
                reason: unmapping.cause.reason.as_deref(),
            };
            end(&session, std::slice::from_ref(&ended)).await?;
            record(&session, &[ended]).await?;
        }
        if !unmapping.exclude || before.exclusion.is_none() {
            set_exclusion(
                &session,
                unmapping.server,
                unmapping.exclude.then_some(unmapping),
            )
            .await?;
        }
        let after = find(&session, unmapping.server).await?;
        session.commit().await?;
        Ok(after)
    }

    #[tracing::instrument(name = "db.mappings.find", level = "debug", skip_all)]
    async fn find(&self, server: HaproxyServerKey) -> Result<Option<ServerMapping>, StoreError> {
        find(&self.read("find the mapping of a HAProxy server"), server).await
    }

    #[tracing::instrument(name = "db.mappings.history", level = "debug", skip_all)]
    async fn history(
        &self,
        server: HaproxyServerKey,
        page: PageRequest,
    ) -> Result<Option<Page<MappingChange>>, StoreError> {
        let session = self.read("list the mapping changes of a HAProxy server");
        let sql = Sql::new(
            "SELECT c.id, c.changed_at, c.action, m.application_id, c.basis, c.actor, c.request_id, c.reason
             FROM application_mapping_history c JOIN application_mappings m ON m.id = c.mapping_id
             WHERE c.id < $1 AND m.entity_type = 'haproxy_server' AND m.entity_id = $3 ORDER BY c.id DESC LIMIT $2",
        );
        let rows = session
            .rows::<MappingChangeRow>(sql.descending(page).bind(server.get()))
            .await?;
        if rows.is_empty() && !is_stored(&session, server).await? {
            return Ok(None);
        }
        let changes = rows
            .into_iter()
            .map(MappingChangeRow::read)
            .collect::<Result<_, _>>()?;
        Ok(Some(Page::from_lookahead(
            changes,
            limit(page),
            |change: &MappingChange| change.position,
        )))
    }

    #[tracing::instrument(name = "db.mappings.unmapped", level = "debug", skip_all)]
    async fn unmapped(
        &self,
        filter: &UnmappedFilter,
        page: PageRequest,
    ) -> Result<Page<UnmappedServer>, StoreError> {
        let session = self.read("list the unmapped HAProxy servers");
        let present = "h.id > $1 AND h.removed_at IS NULL AND b.removed_at IS NULL AND i.is_active AND m.id IS NULL";
        let mut wanted = vec![present.to_owned()];
        let names = ["h.name", "b.name"];
        let mut sql = Sql::new("")
            .ascending(page)
            .narrow(&mut wanted, "i.id =", filter.instance.map(Key::get))
            .narrow_like(&mut wanted, session.dialect, &names, filter.like.as_ref());
        let wanted = wanted.join(" AND ");
        sql.text = format!("{SELECT_UNMAPPED} WHERE {wanted} ORDER BY h.id LIMIT $2");
        let rows = session.rows::<UnmappedRow>(sql).await?;
        let servers = rows
            .into_iter()
            .map(UnmappedRow::read)
            .collect::<Result<_, _>>()?;
        Ok(Page::from_lookahead(
            servers,
            limit(page),
            |found: &UnmappedServer| found.server.key.get(),
        ))
    }
}

/// Makes these mappings active where that is allowed, and says how many were made or changed.
pub(crate) async fn make(session: &Session, mappings: &[NewMapping]) -> Result<u64, StoreError> {
    let mut wanted = by_server(mappings);
    let stored = lock(session, &mut wanted).await?;
    write(session, &wanted, &stored).await
}

/// Ends these mappings where they are still active and not made by hand, and says how many ended.
pub(crate) async fn end_by_rule(
    session: &Session,
    mappings: &[(HaproxyServerKey, ApplicationKey)],
    at: Timestamp,
    cause: Option<&MappingCause>,
) -> Result<u64, StoreError> {
    let servers: Vec<i64> = mappings.iter().map(|(server, _)| server.get()).collect();
    let stored = lock_and_read(session, &servers).await?;
    let mut ended = Vec::new();
    for (server, application) in mappings {
        let known = stored.get(&server.get());
        let active = known.and_then(|known| known.mappings.iter().find(|(_, _, active)| *active));
        let Some((_, basis, _)) = active.filter(|(active, basis, _)| {
            *active == application.get() && *basis != MappingBasis::Manual
        }) else {
            continue;
        };
        ended.push(MappingRow {
            ordinal: ended.len(),
            application_id: application.get(),
            entity_id: server.get(),
            basis: basis.as_str(),
            at: at.as_micros(),
            action: MappingAction::Deactivated.as_str(),
            actor: cause.map(|cause| cause.origin.actor.as_str()),
            request_id: cause.map(|cause| cause.origin.request_id.as_str()),
            reason: cause.and_then(|cause| cause.reason.as_deref()),
        });
    }
    end(session, &ended).await?;
    record(session, &ended).await?;
    Ok(u64::try_from(ended.len()).unwrap_or(u64::MAX))
}

// The last of two for one server counts.
fn by_server(mappings: &[NewMapping]) -> BTreeMap<i64, &NewMapping> {
    mappings
        .iter()
        .map(|mapping| (mapping.server.get(), mapping))
        .collect()
}

async fn write(
    session: &Session,
    wanted: &BTreeMap<i64, &NewMapping>,
    stored: &BTreeMap<i64, Known>,
) -> Result<u64, StoreError> {
    let (ended, made) = decide(wanted, stored);
    end(session, &ended).await?;
    let count = make_active(session, &made).await?;
    let history: Vec<MappingRow<'_>> = ended.into_iter().chain(made).collect();
    record(session, &history).await?;
    Ok(count)
}

#[derive(Debug, FromQueryResult)]
struct KnownRow {
    id: i64,
    is_excluded: bool,
    mapping_id: Option<i64>,
    application_id: Option<i64>,
    basis: Option<String>,
    is_active: Option<bool>,
}

impl Row for KnownRow {
    const WHAT: &'static str = "mapping";
}

/// What is known of a server's mappings.
#[derive(Debug, Default)]
struct Known {
    is_excluded: bool,
    /// The applications, why, and whether still.
    mappings: Vec<(i64, MappingBasis, bool)>,
}

impl Known {
    fn note(&mut self, row: KnownRow) -> Result<(), StoreError> {
        self.is_excluded = row.is_excluded;
        let (Some(id), Some(application), Some(basis), Some(is_active)) =
            (row.mapping_id, row.application_id, row.basis, row.is_active)
        else {
            return Ok(());
        };
        let basis = Stored::new("mapping", id).word("basis", &basis, MappingBasis::parse)?;
        self.mappings.push((application, basis, is_active));
        Ok(())
    }
}

// The instances of the servers are locked, as a sync does it: so the two do not wait for each
// other in a circle. Locked first, read second: on PostgreSQL a row that was waited for is read as it
// is now, but rows joined to it as they were before the wait.
async fn lock_instances(session: &Session, servers: &[i64]) -> Result<(), StoreError> {
    let text = format!(
        "SELECT i.id FROM haproxy_instances i
         WHERE i.id IN (
             SELECT b.instance_id FROM haproxy_backends b JOIN haproxy_servers h ON h.backend_id = b.id
             WHERE h.id IN {})
         ORDER BY i.id{}",
        session.dialect.integers(1),
        session.dialect.locking("i"),
    );
    let sql = Sql::new(text).json(&servers);
    session.rows::<KeyRow>(sql).await.map(|_| ())
}

// The known state of each server that exists; mappings to applications that do not exist are dropped.
async fn lock(
    session: &Session,
    wanted: &mut BTreeMap<i64, &NewMapping>,
) -> Result<BTreeMap<i64, Known>, StoreError> {
    let keys: Vec<i64> = wanted.keys().copied().collect();
    lock_instances(session, &keys).await?;
    let applications: BTreeSet<i64> = wanted
        .values()
        .map(|mapping| mapping.application.get())
        .collect();
    let text = format!(
        "SELECT id FROM application_instances WHERE id IN {} ORDER BY id{}",
        session.dialect.integers(1),
        session.dialect.keeping(),
    );
    let known = session
        .rows::<KeyRow>(Sql::new(text).json(&applications))
        .await?;
    let known: BTreeSet<i64> = known.into_iter().map(|row| row.id).collect();
    wanted.retain(|_, mapping| known.contains(&mapping.application.get()));
    read_known(session, &keys).await
}

async fn lock_and_read(
    session: &Session,
    servers: &[i64],
) -> Result<BTreeMap<i64, Known>, StoreError> {
    lock_instances(session, servers).await?;
    read_known(session, servers).await
}

async fn read_known(
    session: &Session,
    servers: &[i64],
) -> Result<BTreeMap<i64, Known>, StoreError> {
    let text = format!(
        "SELECT h.id, h.excluded_at IS NOT NULL AS is_excluded, m.id AS mapping_id, m.application_id, m.basis, m.is_active
         FROM haproxy_servers h
         LEFT JOIN application_mappings m ON m.entity_type = 'haproxy_server' AND m.entity_id = h.id
         WHERE h.id IN {} ORDER BY h.id, m.id",
        session.dialect.integers(1),
    );
    let mut by_server: BTreeMap<i64, Known> = BTreeMap::new();
    for row in session
        .rows::<KnownRow>(Sql::new(text).json(&servers))
        .await?
    {
        by_server.entry(row.id).or_default().note(row)?;
    }
    Ok(by_server)
}

// What ends and what becomes active, with the word for the history of each.
fn decide<'a>(
    wanted: &BTreeMap<i64, &'a NewMapping>,
    stored: &BTreeMap<i64, Known>,
) -> (Vec<MappingRow<'a>>, Vec<MappingRow<'a>>) {
    let (mut ended, mut made) = (Vec::new(), Vec::new());
    for (server, mapping) in wanted {
        let Some(known) = stored.get(server) else {
            continue;
        };
        let is_manual = mapping.basis == MappingBasis::Manual;
        let application = mapping.application.get();
        let mut action = MappingAction::Created;
        let mut active = None;
        for (other, basis, is_active) in &known.mappings {
            if *is_active {
                active = Some((*other, *basis));
            }
            if *other == application {
                action = if *is_active {
                    MappingAction::Updated
                } else {
                    MappingAction::Activated
                };
            }
        }
        let stays = match active {
            Some((_, MappingBasis::Manual)) if !is_manual => true,
            Some(active) => active == (application, mapping.basis),
            None => known.is_excluded,
        };
        if stays {
            continue;
        }
        let cause = mapping.cause.as_ref();
        let row =
            |ordinal, application_id, basis: MappingBasis, action: MappingAction| MappingRow {
                ordinal,
                application_id,
                entity_id: *server,
                basis: basis.as_str(),
                at: mapping.at.as_micros(),
                action: action.as_str(),
                actor: cause.map(|cause| cause.origin.actor.as_str()),
                request_id: cause.map(|cause| cause.origin.request_id.as_str()),
                reason: cause.and_then(|cause| cause.reason.as_deref()),
            };
        if let Some((other, basis)) = active.filter(|(other, _)| *other != application) {
            let ordinal = ended.len() + made.len();
            ended.push(row(ordinal, other, basis, MappingAction::Deactivated));
        }
        let ordinal = ended.len() + made.len();
        made.push(row(ordinal, application, mapping.basis, action));
    }
    (ended, made)
}

async fn end(session: &Session, ended: &[MappingRow<'_>]) -> Result<(), StoreError> {
    if ended.is_empty() {
        return Ok(());
    }
    let servers: Vec<i64> = ended.iter().map(|row| row.entity_id).collect();
    let text = format!(
        "UPDATE application_mappings SET is_active = false
         WHERE entity_type = 'haproxy_server' AND is_active AND entity_id IN {}",
        session.dialect.integers(1),
    );
    session
        .execute(Sql::new(text).json(&servers))
        .await
        .map(|_| ())
}

async fn make_active(session: &Session, made: &[MappingRow<'_>]) -> Result<u64, StoreError> {
    if made.is_empty() {
        return Ok(0);
    }
    let text = format!(
        "INSERT INTO application_mappings (application_id, entity_type, entity_id, basis, is_active, mapped_at)
         SELECT a.id, 'haproxy_server', h.id, r.basis, true, r.at
         FROM {}
         JOIN application_instances a ON a.id = r.application_id
         JOIN haproxy_servers h ON h.id = r.entity_id
         WHERE true
         ORDER BY h.id
         ON CONFLICT (application_id, entity_type, entity_id) DO UPDATE SET
             basis = excluded.basis, is_active = true, mapped_at = excluded.mapped_at",
        session.dialect.rows::<MappingRow<'_>>(1, "r"),
    );
    session.execute(Sql::new(text).rows(made)).await
}

async fn record(session: &Session, history: &[MappingRow<'_>]) -> Result<(), StoreError> {
    if history.is_empty() {
        return Ok(());
    }
    let text = format!(
        "INSERT INTO application_mapping_history (mapping_id, action, basis, changed_at, actor, request_id, reason)
         SELECT m.id, r.action, r.basis, r.at, r.actor, r.request_id, r.reason
         FROM {}
         JOIN application_mappings m
           ON m.entity_type = 'haproxy_server' AND m.entity_id = r.entity_id AND m.application_id = r.application_id
         ORDER BY r.ordinal",
        session.dialect.rows::<MappingRow<'_>>(1, "r"),
    );
    session
        .execute(Sql::new(text).rows(history))
        .await
        .map(|_| ())
}

#[derive(Debug, FromQueryResult)]
struct PlaceRow {
    name: String,
    is_present: bool,
}

impl Row for PlaceRow {
    const WHAT: &'static str = "HAProxy server";
}

// Under the lock on its instance: a sync cannot take it away before the mapping is made.
async fn place(
    session: &Session,
    server: HaproxyServerKey,
) -> Result<Option<PlaceRow>, StoreError> {
    let sql = Sql::new(
        "SELECT h.name, h.removed_at IS NULL AND b.removed_at IS NULL AND i.is_active AS is_present
         FROM haproxy_servers h
         JOIN haproxy_backends b ON b.id = h.backend_id
         JOIN haproxy_instances i ON i.id = b.instance_id
         WHERE h.id = $1",
    );
    session.row::<PlaceRow>(sql.bind(server.get())).await
}

async fn find(
    session: &Session,
    server: HaproxyServerKey,
) -> Result<Option<ServerMapping>, StoreError> {
    let sql = Sql::new(format!("{SELECT_MAPPING} WHERE h.id = $1")).bind(server.get());
    let row = session.row::<ServerMappingRow>(sql).await?;
    row.map(ServerMappingRow::read).transpose()
}

async fn set_exclusion(
    session: &Session,
    server: HaproxyServerKey,
    exclusion: Option<&Unmapping>,
) -> Result<(), StoreError> {
    let cause = exclusion.map(|exclusion| &exclusion.cause);
    let sql = Sql::new(
        "UPDATE haproxy_servers SET excluded_at = $2, excluded_by = $3, exclusion_reason = $4 WHERE id = $1",
    )
    .bind(server.get())
    .time(exclusion.map(|exclusion| exclusion.at))
    .optional_text(cause.map(|cause| cause.origin.actor.as_str()))
    .optional_text(cause.and_then(|cause: &MappingCause| cause.reason.as_deref()));
    session.execute(sql).await.map(|_| ())
}
