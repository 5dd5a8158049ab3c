//! The shapes of applications and version changes.

use drover_domain::fleet::{
    Application, ApplicationKind, ApplicationStatus, ChangeSource, ChangedBy, ObservedApplication,
    SettingsLayer, VersionChange, VersionChangeKey, VersionState,
};
use drover_domain::{Key, Timestamp};
use drover_ports::StoreError;
use sea_orm::FromQueryResult;

use super::{Stored, time};
use crate::sql::session::Row;

/// What a query for [`ApplicationRow`] starts with. An application that is present follows its
/// server's last believed inventory: only an absent one has a time of its own.
pub(crate) const SELECT: &str = "
SELECT a.id, a.server_id, s.name AS server_name, a.kind, a.name, a.status, a.version, a.tag, a.image, a.distr_path,
       a.address, a.port, a.pid, a.path, a.log_path, a.container_id, a.start_time, a.catalog_id, a.group_id,
       g.name AS group_name, a.proposed_group_id, p.name AS proposed_group_name, a.instance_number, a.custom_playbook_path, a.custom_artifact_url,
       a.custom_artifact_extension, COALESCE(a.last_seen, s.inventory_at) AS last_seen
FROM application_instances a
LEFT JOIN servers s ON s.id = a.server_id
LEFT JOIN application_groups g ON g.id = a.group_id
LEFT JOIN application_groups p ON p.id = a.proposed_group_id
";

/// Whether an application `a` of a server `s` is in the last believed inventory of its server.
pub(crate) const IS_PRESENT: &str = "(a.last_seen IS NULL OR a.last_seen = s.inventory_at)";

/// Whether it is gone.
pub(crate) const IS_GONE: &str =
    "(a.last_seen IS NOT NULL AND (s.inventory_at IS NULL OR a.last_seen <> s.inventory_at))";

/// Where [`SELECT`] looks for what a list of applications goes by.
pub(crate) const FROM: &str = "application_instances a LEFT JOIN servers s ON s.id = a.server_id";

/// A row of `application_instances` with the names around it.
#[derive(Debug, FromQueryResult)]
pub(crate) struct ApplicationRow {
    id: i64,
    server_id: Option<i64>,
    server_name: Option<String>,
    kind: String,
    name: String,
    status: String,
    version: Option<String>,
    tag: Option<String>,
    image: Option<String>,
    distr_path: Option<String>,
    address: Option<String>,
    port: Option<i64>,
    pid: Option<i64>,
    path: Option<String>,
    log_path: Option<String>,
    container_id: Option<String>,
    start_time: Option<String>,
    catalog_id: Option<i64>,
    group_id: Option<i64>,
    group_name: Option<String>,
    proposed_group_id: Option<i64>,
    proposed_group_name: Option<String>,
    instance_number: i64,
    custom_playbook_path: Option<String>,
    custom_artifact_url: Option<String>,
    custom_artifact_extension: Option<String>,
    last_seen: Option<i64>,
}

impl Row for ApplicationRow {
    const WHAT: &'static str = "application";
}

impl ApplicationRow {
    /// The application.
    pub(crate) fn read(self) -> Result<Application, StoreError> {
        let stored = Stored::new(Self::WHAT, self.id);
        Ok(Application {
            key: Key::new(self.id),
            server: self.server_id.map(Key::new).zip(self.server_name),
            observed: ObservedApplication {
                kind: stored.word("kind", &self.kind, ApplicationKind::parse)?,
                status: stored.word("status", &self.status, ApplicationStatus::parse)?,
                port: stored.optional("port", self.port)?,
                pid: stored.optional("process identifier", self.pid)?,
                name: self.name,
                version: VersionState {
                    version: self.version,
                    tag: self.tag,
                    image: self.image,
                    distr_path: self.distr_path,
                },
                address: self.address,
                path: self.path,
                log_path: self.log_path,
                container_id: self.container_id,
                start_time: self.start_time,
            },
            catalog: self.catalog_id.map(Key::new),
            group: self.group_id.map(Key::new).zip(self.group_name),
            proposed: self
                .proposed_group_id
                .map(Key::new)
                .zip(self.proposed_group_name),
            number: stored.number("instance number", self.instance_number)?,
            settings: SettingsLayer {
                playbook_path: self.custom_playbook_path,
                artifact_url: self.custom_artifact_url,
                artifact_extension: self.custom_artifact_extension,
            },
            last_seen: time(self.last_seen),
        })
    }
}

/// A row of `application_version_history`; `id` is absent when only the application was found.
#[derive(Debug, FromQueryResult)]
pub(crate) struct VersionRow {
    id: i64,
    old_version: Option<String>,
    new_version: Option<String>,
    old_tag: Option<String>,
    new_tag: Option<String>,
    old_image: Option<String>,
    new_image: Option<String>,
    old_distr_path: Option<String>,
    new_distr_path: Option<String>,
    changed_at: i64,
    changed_by: String,
    change_source: String,
    rollout_id: Option<String>,
}

impl Row for VersionRow {
    const WHAT: &'static str = "version change";
}

impl VersionRow {
    /// The change with its key.
    pub(crate) fn read(self) -> Result<(VersionChangeKey, VersionChange), StoreError> {
        let stored = Stored::new(Self::WHAT, self.id);
        let change = VersionChange {
            changed_by: stored.word("author", &self.changed_by, ChangedBy::parse)?,
            source: stored.word("source", &self.change_source, ChangeSource::parse)?,
            rollout: self
                .rollout_id
                .map(|id| stored.id("rollout identifier", &id))
                .transpose()?,
            changed_at: Timestamp::from_micros(self.changed_at),
            old: VersionState {
                version: self.old_version,
                tag: self.old_tag,
                image: self.old_image,
                distr_path: self.old_distr_path,
            },
            new: VersionState {
                version: self.new_version,
                tag: self.new_tag,
                image: self.new_image,
                distr_path: self.new_distr_path,
            },
        };
        Ok((Key::new(self.id), change))
    }
}
