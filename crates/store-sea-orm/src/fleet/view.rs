//! The fleet as people look at it.

use async_trait::async_trait;
use drover_domain::fleet::{
    Application, ApplicationKey, Event, EventKind, EventStatus, Server, VersionChange,
    VersionChangeKey,
};
use drover_domain::page::{Page, PageRequest};
use drover_domain::{Key, Timestamp};
use drover_ports::{
    ApplicationColumn, ApplicationFilter, FleetEventFilter, FleetView, GroupColumn, GroupFilter,
    NamedGroup, ServerColumn, ServerFilter, StoreError,
};

use crate::row::application::{ApplicationRow, FROM, SELECT, VersionRow};
use crate::row::event::EventRow;
use crate::row::group::{self, GroupRow};
use crate::row::server::{COLUMNS, ServerRow};
use crate::sql::dialect::Dialect;
use crate::sql::order::Order;
use crate::sql::session::Session;
use crate::sql::{Sql, limit};
use crate::store::SeaOrmStore;

const VERSIONS: &str = "
SELECT id, old_version, new_version, old_tag, new_tag, old_image, new_image, old_distr_path, new_distr_path, changed_at,
       changed_by, change_source, CAST(rollout_id AS text) AS rollout_id
FROM application_version_history
WHERE id < $1 AND application_id = $3
ORDER BY id DESC LIMIT $2
";

#[async_trait]
impl FleetView for SeaOrmStore {
    #[tracing::instrument(name = "db.fleet.application", level = "debug", skip_all)]
    async fn application(
        &self,
        application: ApplicationKey,
    ) -> Result<Option<Application>, StoreError> {
        find(&self.read("find an application"), application).await
    }

    #[tracing::instrument(name = "db.fleet.applications", level = "debug", skip_all)]
    async fn applications(
        &self,
        filter: &ApplicationFilter,
        page: PageRequest,
    ) -> Result<Page<Application>, StoreError> {
        let session = self.read("list applications");
        let order = application_order(filter, session.dialect);
        let mut sql = order.sql(page);
        let mut conditions = vec![order.condition(page)];
        if let Some(server) = filter.server {
            sql = sql.bind(server.get());
            conditions.push(format!("a.server_id = ${}", sql.values.len()));
        }
        if let Some(group) = &filter.group {
            sql = sql.text(group);
            conditions.push(format!(
                "a.group_id = (SELECT k.id FROM application_groups k WHERE k.name = ${})",
                sql.values.len()
            ));
        }
        if let Some(kind) = filter.kind {
            sql = sql.bind(kind.as_str());
            conditions.push(format!("a.kind = ${}", sql.values.len()));
        }
        if let Some(name) = &filter.name {
            sql = sql.text(name);
            conditions.push(format!("a.name = ${}", sql.values.len()));
        }
        if let Some(status) = filter.status {
            sql = sql.bind(status.as_str());
            conditions.push(format!("a.status = ${}", sql.values.len()));
        }
        if let Some(version) = &filter.version {
            sql = sql.text(version);
            conditions.push(format!("a.version = ${}", sql.values.len()));
        }
        if let Some(catalog) = &filter.catalog {
            sql = sql.text(catalog);
            conditions.push(format!(
                "a.catalog_id IN (SELECT k.id FROM application_catalog k WHERE k.name = ${})",
                sql.values.len()
            ));
        }
        if let Some(part) = &filter.like {
            sql = sql.text(&pattern(part));
            conditions.push(like(session.dialect, "a.name", sql.values.len()));
        }
        sql.text = format!(
            "{SELECT} WHERE {} {}",
            conditions.join(" AND "),
            order.tail()
        );
        let rows = order.rows::<ApplicationRow>(&session, sql, page).await?;
        let applications = rows
            .into_iter()
            .map(ApplicationRow::read)
            .collect::<Result<_, _>>()?;
        Ok(Page::from_lookahead(
            applications,
            limit(page),
            |application: &Application| application.key.get(),
        ))
    }

    #[tracing::instrument(name = "db.fleet.versions", level = "debug", skip_all)]
    async fn versions(
        &self,
        application: ApplicationKey,
        page: PageRequest,
    ) -> Result<Option<Page<(VersionChangeKey, VersionChange)>>, StoreError> {
        let session = self.read("list the versions of an application");
        let sql = Sql::new(VERSIONS).descending(page).bind(application.get());
        let rows = session.rows::<VersionRow>(sql).await?;
        if rows.is_empty() && find(&session, application).await?.is_none() {
            return Ok(None);
        }
        let changes = rows
            .into_iter()
            .map(VersionRow::read)
            .collect::<Result<_, _>>()?;
        Ok(Some(Page::from_lookahead(
            changes,
            limit(page),
            |(key, _): &(VersionChangeKey, _)| key.get(),
        )))
    }

    #[tracing::instrument(name = "db.fleet.groups", level = "debug", skip_all)]
    async fn groups(
        &self,
        filter: &GroupFilter,
        page: PageRequest,
    ) -> Result<Page<NamedGroup>, StoreError> {
        let session = self.read("list application groups");
        let order = Order {
            from: "application_groups g",
            key: "g.id",
            by: match filter.sort.by {
                GroupColumn::Key => None,
                GroupColumn::Name => Some(session.dialect.plain("g.name")),
            },
            is_descending: filter.sort.is_descending,
        };
        let mut sql = order.sql(page);
        let mut conditions = vec![order.condition(page)];
        if let Some(catalog) = &filter.catalog {
            sql = sql.text(catalog);
            conditions.push(format!("c.name = ${}", sql.values.len()));
        }
        if let Some(part) = &filter.like {
            sql = sql.text(&pattern(part));
            conditions.push(like(session.dialect, "g.name", sql.values.len()));
        }
        let (conditions, tail) = (conditions.join(" AND "), order.tail());
        sql.text = format!("{} WHERE {conditions} {tail}", group::SELECT);
        let rows = order.rows::<GroupRow>(&session, sql, page).await?;
        let groups = rows
            .into_iter()
            .map(GroupRow::read)
            .collect::<Result<_, _>>()?;
        Ok(Page::from_lookahead(
            groups,
            limit(page),
            |(group, _): &NamedGroup| group.key.get(),
        ))
    }

    #[tracing::instrument(name = "db.fleet.servers", level = "debug", skip_all)]
    async fn servers(
        &self,
        filter: &ServerFilter,
        page: PageRequest,
    ) -> Result<Page<Server>, StoreError> {
        let session = self.read("list servers");
        let order = server_order(filter, session.dialect);
        let mut sql = order.sql(page);
        let mut conditions = vec![order.condition(page)];
        if let Some(status) = filter.status {
            sql = sql.bind(status.as_str());
            conditions.push(format!("status = ${}", sql.values.len()));
        }
        if let Some(is_haproxy_node) = filter.is_haproxy_node {
            sql = sql.bind(is_haproxy_node);
            conditions.push(format!("is_haproxy_node = ${}", sql.values.len()));
        }
        if let Some(part) = &filter.like {
            sql = sql.text(&pattern(part));
            let place = sql.values.len();
            let fits = |column| like(session.dialect, column, place);
            conditions.push(format!("({} OR {})", fits("name"), fits("address")));
        }
        sql.text = format!(
            "SELECT {COLUMNS} FROM servers WHERE {} {}",
            conditions.join(" AND "),
            order.tail()
        );
        let rows = order.rows::<ServerRow>(&session, sql, page).await?;
        let servers = rows
            .into_iter()
            .map(ServerRow::read)
            .collect::<Result<_, _>>()?;
        Ok(Page::from_lookahead(
            servers,
            limit(page),
            |server: &Server| server.key.get(),
        ))
    }

    #[tracing::instrument(name = "db.fleet.events", level = "debug", skip_all)]
    async fn events(
        &self,
        filter: &FleetEventFilter,
        page: PageRequest,
    ) -> Result<Page<Event>, StoreError> {
        let FleetEventFilter {
            server,
            application,
            kind,
            status,
            since,
            until,
        } = filter;
        let mut sql = Sql::new("").descending(page);
        let mut conditions = vec!["id < $1".to_owned()];
        for (condition, value) in [
            ("server_id =", server.map(Key::get)),
            ("application_id =", application.map(Key::get)),
            ("at >=", since.map(Timestamp::as_micros)),
            ("at <", until.map(Timestamp::as_micros)),
        ] {
            if let Some(value) = value {
                sql = sql.bind(value);
                conditions.push(format!("{condition} ${}", sql.values.len()));
            }
        }
        for (condition, word) in [
            ("event_type =", kind.map(EventKind::as_str)),
            ("status =", status.map(EventStatus::as_str)),
        ] {
            if let Some(word) = word {
                sql = sql.bind(word);
                conditions.push(format!("{condition} ${}", sql.values.len()));
            }
        }
        sql.text = format!(
            "SELECT id, at, event_type, status, server_id, application_id, description FROM events
             WHERE {} ORDER BY id DESC LIMIT $2",
            conditions.join(" AND ")
        );
        let rows = self.read("list events").rows::<EventRow>(sql).await?;
        let events = rows
            .into_iter()
            .map(EventRow::read)
            .collect::<Result<_, _>>()?;
        Ok(Page::from_lookahead(
            events,
            limit(page),
            |event: &Event| event.key.get(),
        ))
    }
}

fn application_order(filter: &ApplicationFilter, dialect: Dialect) -> Order {
    let text = |column: &str| Some(dialect.plain(&format!("COALESCE({column}, '')")));
    Order {
        from: FROM,
        key: "a.id",
        by: match filter.sort.by {
            ApplicationColumn::Key => None,
            ApplicationColumn::Name => text("a.name"),
            ApplicationColumn::Server => text("s.name"),
            ApplicationColumn::Status => text("a.status"),
            ApplicationColumn::Version => text("a.version"),
            ApplicationColumn::LastSeen => {
                Some("COALESCE(a.last_seen, s.inventory_at, 0)".to_owned())
            }
        },
        is_descending: filter.sort.is_descending,
    }
}

fn server_order(filter: &ServerFilter, dialect: Dialect) -> Order {
    Order {
        from: "servers",
        key: "id",
        by: match filter.sort.by {
            ServerColumn::Key => None,
            ServerColumn::Name => Some(dialect.plain("name")),
            ServerColumn::Address => Some(dialect.plain("address")),
            ServerColumn::Status => Some(dialect.plain("status")),
            ServerColumn::LastCheck => Some("COALESCE(last_check, 0)".to_owned()),
        },
        is_descending: filter.sort.is_descending,
    }
}

/// A pattern for whatever has this part.
pub(crate) fn pattern(part: &str) -> String {
    format!("%{}", beginning(part))
}

/// A pattern for whatever begins with this.
pub(crate) fn beginning(part: &str) -> String {
    let mut pattern = String::new();
    for character in part.to_ascii_lowercase().chars() {
        if matches!(character, '%' | '_' | '!') {
            pattern.push('!');
        }
        pattern.push(character);
    }
    pattern.push('%');
    pattern
}

/// Whether a column fits the [`pattern`] in parameter `place`. Only the letters a to z are folded: others SQLite keeps.
pub(crate) fn like(dialect: Dialect, column: &str, place: usize) -> String {
    format!("lower({}) LIKE ${place} ESCAPE '!'", dialect.plain(column))
}

/// The application with this key.
pub(crate) async fn find(
    session: &Session,
    application: ApplicationKey,
) -> Result<Option<Application>, StoreError> {
    let sql = Sql::new(format!("{SELECT} WHERE a.id = $1")).bind(application.get());
    session
        .row::<ApplicationRow>(sql)
        .await?
        .map(ApplicationRow::read)
        .transpose()
}
