//! The shape of orchestrator playbooks.

use drover_domain::rollout::orchestrator::{OrchestratorMetadata, OrchestratorPlaybook};
use drover_domain::{Key, Timestamp};
use drover_ports::StoreError;
use sea_orm::FromQueryResult;

use super::Stored;
use super::prepared::ParameterShape;
use crate::sql::session::Row;

/// What a query for [`OrchestratorRow`] starts with.
pub(crate) const SELECT: &str = "
SELECT id, file_path, name, description, version, CAST(required_params AS text) AS required_params,
       CAST(optional_params AS text) AS optional_params, is_active, last_scanned
FROM orchestrator_playbooks
";

/// A row of `orchestrator_playbooks`.
#[derive(Debug, FromQueryResult)]
pub(crate) struct OrchestratorRow {
    id: i64,
    file_path: String,
    name: String,
    description: Option<String>,
    version: Option<String>,
    required_params: String,
    optional_params: String,
    is_active: bool,
    last_scanned: i64,
}

impl Row for OrchestratorRow {
    const WHAT: &'static str = "orchestrator playbook";
}

impl OrchestratorRow {
    /// The playbook.
    pub(crate) fn read(self) -> Result<OrchestratorPlaybook, StoreError> {
        let stored = Stored::new(Self::WHAT, self.id);
        let parameters = |column, json: &str| {
            let shapes: Vec<ParameterShape> = stored.shape(column, json)?;
            Ok(shapes.into_iter().map(ParameterShape::read).collect())
        };
        Ok(OrchestratorPlaybook {
            key: Key::new(self.id),
            metadata: OrchestratorMetadata {
                required: parameters("list of required parameters", &self.required_params)?,
                optional: parameters("list of optional parameters", &self.optional_params)?,
                file_path: self.file_path,
                name: self.name,
                description: self.description,
                version: self.version,
            },
            is_active: self.is_active,
            last_scanned: Timestamp::from_micros(self.last_scanned),
        })
    }
}
