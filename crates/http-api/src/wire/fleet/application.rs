//! Applications, their groups and versions, and the events of the fleet.

use drover_domain::Key;
use drover_domain::fleet::{self, ApplicationKind, VersionChangeKey};
use drover_usecases::{ApplicationColumn, ApplicationDetail, ApplicationFilter, FleetEventFilter};
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::page::Filter;
use crate::problem::ApiError;
use crate::query::Parameters;
use crate::wire::NAME_MAX;
use crate::wire::schema::{self, Instant};
use crate::wire::word::{
    ApplicationStatus, ApplicationType, ChangeSource, ChangedBy, EventStatus, EventType,
};

/// An application instance on a server.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Application {
    /// Its id.
    #[schema(minimum = 1)]
    id: i64,
    /// The server it runs on; null when that was removed.
    #[schema(minimum = 1)]
    server_id: Option<i64>,
    /// That server's name.
    server_name: Option<String>,
    /// Its instance name, such as `jurws_1`.
    name: String,
    app_type: ApplicationType,
    /// The group it is updated with.
    group: Option<String>,
    /// The group it is proposed to while it has none; it joins when a person assigns the group.
    proposed_group: Option<String>,
    /// Its number in the group.
    instance_number: u32,
    status: ApplicationStatus,
    /// The version that its agent reports.
    version: Option<String>,
    /// The docker tag.
    tag: Option<String>,
    /// The docker image.
    image: Option<String>,
    /// The address it listens on.
    address: Option<String>,
    /// The port it listens on.
    port: Option<u16>,
    /// Where it lives.
    path: Option<String>,
    /// Where it logs.
    log_path: Option<String>,
    /// Where its artifact came from.
    distr_path: Option<String>,
    /// The update playbook that holds for it, with its parameters.
    effective_playbook: String,
    /// The servers in HAProxy it is mapped to, as `backend/server`, joined by commas.
    haproxy_server: Option<String>,
    /// When its agent last listed it.
    last_seen: Option<Instant>,
}

impl From<ApplicationDetail> for Application {
    fn from(detail: ApplicationDetail) -> Self {
        let ApplicationDetail {
            application,
            playbook_path,
            serves_as,
        } = detail;
        let (server_id, server_name) = application
            .server
            .map(|(key, name)| (key.get(), name))
            .unzip();
        let observed = application.observed;
        Self {
            id: application.key.get(),
            server_id,
            server_name,
            name: observed.name,
            app_type: observed.kind.into(),
            group: application.group.map(|(_, name)| name),
            proposed_group: application.proposed.map(|(_, name)| name),
            instance_number: application.number,
            status: observed.status.into(),
            version: observed.version.version,
            tag: observed.version.tag,
            image: observed.version.image,
            address: observed.address,
            port: observed.port,
            path: observed.path,
            log_path: observed.log_path,
            distr_path: observed.version.distr_path,
            effective_playbook: playbook_path,
            haproxy_server: (!serves_as.is_empty()).then(|| serves_as.join(",")),
            last_seen: application.last_seen.map(Into::into),
        }
    }
}

/// Which applications are wanted.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes the parameters that the filter reads")]
pub(crate) struct ApplicationParams {
    #[param(schema_with = server)]
    server_id: Option<i64>,
    #[param(schema_with = group)]
    group: Option<String>,
    /// Of this kind.
    #[param(inline)]
    app_type: Option<ApplicationType>,
    #[param(schema_with = name)]
    name: Option<String>,
    /// With this status.
    #[param(inline)]
    status: Option<ApplicationStatus>,
    #[param(schema_with = version)]
    version: Option<String>,
    #[param(schema_with = schema::catalog_condition)]
    catalog: Option<String>,
    #[param(schema_with = part)]
    q: Option<String>,
    #[param(schema_with = schema::sort::<ApplicationColumn>)]
    sort: Option<String>,
}

fn version() -> utoipa::openapi::Object {
    schema::line(NAME_MAX)
        .description(Some("With exactly this version."))
        .build()
}

fn part() -> utoipa::openapi::Object {
    schema::line(NAME_MAX)
        .description(Some(
            "With this in its instance name, small or capital letters a to z alike.",
        ))
        .build()
}

fn server() -> utoipa::openapi::Object {
    schema::id().description(Some("Of this server.")).build()
}

fn group() -> utoipa::openapi::Object {
    schema::line(NAME_MAX)
        .description(Some("Of the group with exactly this name."))
        .build()
}

fn name() -> utoipa::openapi::Object {
    schema::line(NAME_MAX)
        .description(Some("With exactly this instance name."))
        .build()
}

impl Filter for ApplicationFilter {
    fn read(parameters: &mut Parameters) -> Result<Self, ApiError> {
        Ok(Self {
            server: parameters.id("server_id")?.map(Key::new),
            group: parameters.line("group", NAME_MAX)?,
            kind: parameters.word("app_type", "docker, site, service", ApplicationKind::parse)?,
            name: parameters.line("name", NAME_MAX)?,
            status: parameters.word(
                "status",
                "online, offline, unknown, starting, stopping, no_data",
                fleet::ApplicationStatus::parse,
            )?,
            version: parameters.line("version", NAME_MAX)?,
            catalog: parameters.line("catalog", NAME_MAX)?,
            like: parameters.line("q", NAME_MAX)?,
            sort: parameters.sort()?,
        })
    }
}

/// Which events are wanted.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes the parameters that the filter reads")]
pub(crate) struct FleetEventParams {
    #[param(schema_with = server)]
    server_id: Option<i64>,
    #[param(schema_with = application)]
    application_id: Option<i64>,
    /// About this.
    #[param(inline)]
    event_type: Option<EventType>,
    /// That went like this.
    #[param(inline)]
    status: Option<EventStatus>,
    /// Not before this moment.
    since: Option<Instant>,
    /// Before this moment.
    until: Option<Instant>,
}

fn application() -> utoipa::openapi::Object {
    schema::id()
        .description(Some("Of this application."))
        .build()
}

impl Filter for FleetEventFilter {
    fn read(parameters: &mut Parameters) -> Result<Self, ApiError> {
        Ok(Self {
            server: parameters.id("server_id")?.map(Key::new),
            application: parameters.id("application_id")?.map(Key::new),
            ..read_events(parameters)?
        })
    }
}

/// The conditions that do not say of what the events are.
pub(in crate::wire) fn read_events(
    parameters: &mut Parameters,
) -> Result<FleetEventFilter, ApiError> {
    Ok(FleetEventFilter {
        server: None,
        application: None,
        kind: parameters.word(
            "event_type",
            "start, stop, restart, update, connect, disconnect",
            fleet::EventKind::parse,
        )?,
        status: parameters.word(
            "status",
            "pending, success, failed",
            fleet::EventStatus::parse,
        )?,
        since: parameters.time("since")?,
        until: parameters.time("until")?,
    })
}

/// A row of an application's version history.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct VersionChange {
    /// Its id.
    #[schema(minimum = 1)]
    id: i64,
    /// The version before.
    old_version: Option<String>,
    /// The version after.
    new_version: Option<String>,
    /// The docker tag before.
    old_tag: Option<String>,
    /// The docker tag after.
    new_tag: Option<String>,
    /// When it was noticed.
    changed_at: Instant,
    changed_by: ChangedBy,
    change_source: ChangeSource,
    /// The rollout that did it.
    rollout_id: Option<Uuid>,
}

impl From<(VersionChangeKey, fleet::VersionChange)> for VersionChange {
    fn from((key, change): (VersionChangeKey, fleet::VersionChange)) -> Self {
        Self {
            id: key.get(),
            old_version: change.old.version,
            new_version: change.new.version,
            old_tag: change.old.tag,
            new_tag: change.new.tag,
            changed_at: change.changed_at.into(),
            changed_by: change.changed_by.into(),
            change_source: change.source.into(),
            rollout_id: change.rollout.map(drover_domain::Id::as_uuid),
        }
    }
}

/// Something that happened to the fleet.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FleetEvent {
    /// Its id; later events have greater ones.
    #[schema(minimum = 1)]
    id: i64,
    /// When it happened.
    at: Instant,
    event_type: EventType,
    status: EventStatus,
    /// The server.
    #[schema(minimum = 1)]
    server_id: Option<i64>,
    /// The application.
    #[schema(minimum = 1)]
    application_id: Option<i64>,
    /// One sentence.
    description: String,
}

impl From<fleet::Event> for FleetEvent {
    fn from(fleet::Event { key, event }: fleet::Event) -> Self {
        Self {
            id: key.get(),
            at: event.at.into(),
            event_type: event.kind.into(),
            status: event.status.into(),
            server_id: event.server.map(Key::get),
            application_id: event.application.map(Key::get),
            description: event.description,
        }
    }
}
