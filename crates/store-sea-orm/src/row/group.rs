//! The shape of groups.

use drover_domain::Key;
use drover_domain::fleet::{Group, SettingsLayer};
use drover_ports::{NamedGroup, StoreError};
use sea_orm::FromQueryResult;

use super::Stored;
use crate::sql::session::Row;

/// What a query for [`GroupRow`] starts with.
pub(crate) const SELECT: &str = "
SELECT g.id, g.name, g.catalog_id, c.name AS catalog_name, g.update_playbook_path, g.artifact_list_url,
       g.artifact_extension, g.batch_grouping_strategy,
       (SELECT count(*) FROM application_instances a WHERE a.group_id = g.id) AS applications,
       (SELECT count(*) FROM application_instances a WHERE a.group_id = g.id AND a.status = 'online') AS online
FROM application_groups g
LEFT JOIN application_catalog c ON c.id = g.catalog_id
";

/// A row of `application_groups` with its counts and the name of its catalog entry.
#[derive(Debug, FromQueryResult)]
pub(crate) struct GroupRow {
    id: i64,
    name: String,
    catalog_id: Option<i64>,
    catalog_name: Option<String>,
    update_playbook_path: Option<String>,
    artifact_list_url: Option<String>,
    artifact_extension: Option<String>,
    batch_grouping_strategy: String,
    applications: i64,
    online: i64,
}

impl Row for GroupRow {
    const WHAT: &'static str = "application group";
}

impl GroupRow {
    /// The group with the name of its catalog entry.
    pub(crate) fn read(self) -> Result<NamedGroup, StoreError> {
        let stored = Stored::new(Self::WHAT, self.id);
        let group = Group {
            key: Key::new(self.id),
            name: self.name,
            catalog: self.catalog_id.map(Key::new),
            settings: SettingsLayer {
                playbook_path: self.update_playbook_path,
                artifact_url: self.artifact_list_url,
                artifact_extension: self.artifact_extension,
            },
            grouping: self.batch_grouping_strategy,
            applications: stored.number("count of applications", self.applications)?,
            online: stored.number("count of applications", self.online)?,
        };
        Ok((group, self.catalog_name))
    }
}
