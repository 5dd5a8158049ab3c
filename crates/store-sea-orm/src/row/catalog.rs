//! The shape of catalog entries.

use drover_domain::Key;
use drover_domain::fleet::{ApplicationKind, CatalogEntry, SettingsLayer};
use drover_ports::StoreError;
use sea_orm::FromQueryResult;

use super::Stored;
use crate::sql::session::Row;

/// What a query for [`CatalogRow`] starts with.
pub(crate) const SELECT: &str = "
SELECT c.id, c.name, c.kind, c.default_playbook_path, c.default_artifact_url, c.default_artifact_extension,
       (SELECT count(*) FROM application_instances a WHERE a.catalog_id = c.id) AS applications,
       (SELECT count(*) FROM application_groups g WHERE g.catalog_id = c.id) AS groups
FROM application_catalog c
";

/// A row of `application_catalog` with its counts.
#[derive(Debug, FromQueryResult)]
pub(crate) struct CatalogRow {
    id: i64,
    name: String,
    kind: String,
    default_playbook_path: Option<String>,
    default_artifact_url: Option<String>,
    default_artifact_extension: Option<String>,
    applications: i64,
    groups: i64,
}

impl Row for CatalogRow {
    const WHAT: &'static str = "catalog entry";
}

impl CatalogRow {
    /// The catalog entry.
    pub(crate) fn read(self) -> Result<CatalogEntry, StoreError> {
        let stored = Stored::new(Self::WHAT, self.id);
        Ok(CatalogEntry {
            key: Key::new(self.id),
            kind: stored.word("kind", &self.kind, ApplicationKind::parse)?,
            name: self.name,
            settings: SettingsLayer {
                playbook_path: self.default_playbook_path,
                artifact_url: self.default_artifact_url,
                artifact_extension: self.default_artifact_extension,
            },
            applications: stored.number("count of applications", self.applications)?,
            groups: stored.number("count of groups", self.groups)?,
        })
    }
}
