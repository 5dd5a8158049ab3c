//! Orchestrator playbooks.

use std::collections::BTreeMap;

use async_trait::async_trait;
use drover_domain::Timestamp;
use drover_domain::page::{Page, PageRequest};
use drover_domain::rollout::orchestrator::{OrchestratorMetadata, OrchestratorPlaybook};
use drover_ports::{OrchestratorStore, ScanOutcome, StoreError};

use crate::row::orchestrator::{OrchestratorRow, SELECT};
use crate::row::prepared::ParameterShape;
use crate::sql::dialect::rows;
use crate::sql::{Sql, limit};
use crate::store::SeaOrmStore;

rows! {
    /// A playbook that a scan found.
    FoundRow<'a> {
        file_path: &'a str => Text,
        name: &'a str => Text,
        description: Option<&'a str> => Text,
        version: Option<&'a str> => Text,
        required_params: Vec<ParameterShape> => Json,
        optional_params: Vec<ParameterShape> => Json,
    }
}

#[async_trait]
impl OrchestratorStore for SeaOrmStore {
    #[tracing::instrument(name = "db.orchestrators.record_scan", level = "debug", skip_all)]
    async fn record_scan(
        &self,
        found: &[OrchestratorMetadata],
        at: Timestamp,
    ) -> Result<ScanOutcome, StoreError> {
        let last: BTreeMap<&str, &OrchestratorMetadata> = found
            .iter()
            .map(|found| (found.file_path.as_str(), found))
            .collect();
        let rows: Vec<FoundRow<'_>> = last.values().copied().map(row).collect();
        if rows.is_empty() {
            return Ok(ScanOutcome::default());
        }
        let session = self
            .write("store the orchestrator playbooks that a scan found")
            .await?;
        let table = session.dialect.rows::<FoundRow<'_>>(1, "r");
        let stored = format!("{SELECT} WHERE file_path IN (SELECT r.file_path FROM {table})");
        let stored = session
            .rows::<OrchestratorRow>(Sql::new(stored).rows(&rows))
            .await?;
        // A row that cannot be read any longer is not what the scan found.
        let same = stored
            .into_iter()
            .filter_map(|row| row.read().ok())
            .filter(|known| last.get(known.metadata.file_path.as_str()) == Some(&&known.metadata))
            .count();
        let known = format!(
            "UPDATE orchestrator_playbooks AS o SET
                 name = r.name, description = r.description, version = r.version,
                 required_params = r.required_params, optional_params = r.optional_params, last_scanned = $2
             FROM {table} WHERE o.file_path = r.file_path"
        );
        let written = session
            .execute(Sql::new(known).rows(&rows).bind(at.as_micros()))
            .await?;
        let updated = written.saturating_sub(u64::try_from(same).unwrap_or(u64::MAX));
        let missing = format!(
            "INSERT INTO orchestrator_playbooks (
                 file_path, name, description, version, required_params, optional_params, last_scanned, created_at)
             SELECT r.file_path, r.name, r.description, r.version, r.required_params, r.optional_params, $2, $2
             FROM {table}
             WHERE NOT EXISTS (SELECT 1 FROM orchestrator_playbooks o WHERE o.file_path = r.file_path)
             ORDER BY r.file_path
             ON CONFLICT (file_path) DO NOTHING"
        );
        let new = session
            .execute(Sql::new(missing).rows(&rows).bind(at.as_micros()))
            .await?;
        session.commit().await?;
        let count = |rows: u64| u32::try_from(rows).unwrap_or(u32::MAX);
        Ok(ScanOutcome {
            new: count(new),
            updated: count(updated),
        })
    }

    #[tracing::instrument(name = "db.orchestrators.find", level = "debug", skip_all)]
    async fn find(&self, file_path: &str) -> Result<Option<OrchestratorPlaybook>, StoreError> {
        let sql = Sql::new(format!("{SELECT} WHERE file_path = $1")).text(file_path);
        let row = self
            .read("find an orchestrator playbook")
            .row::<OrchestratorRow>(sql)
            .await?;
        row.map(OrchestratorRow::read).transpose()
    }

    #[tracing::instrument(name = "db.orchestrators.list", level = "debug", skip_all)]
    async fn list(&self, page: PageRequest) -> Result<Page<OrchestratorPlaybook>, StoreError> {
        let sql = Sql::new(format!("{SELECT} WHERE id > $1 ORDER BY id LIMIT $2")).ascending(page);
        let rows = self
            .read("list orchestrator playbooks")
            .rows::<OrchestratorRow>(sql)
            .await?;
        let playbooks = rows
            .into_iter()
            .map(OrchestratorRow::read)
            .collect::<Result<_, _>>()?;
        Ok(Page::from_lookahead(
            playbooks,
            limit(page),
            |playbook: &OrchestratorPlaybook| playbook.key.get(),
        ))
    }
}

fn row(found: &OrchestratorMetadata) -> FoundRow<'_> {
    FoundRow {
        file_path: &found.file_path,
        name: &found.name,
        description: found.description.as_deref(),
        version: found.version.as_deref(),
        required_params: ParameterShape::write(&found.required),
        optional_params: ParameterShape::write(&found.optional),
    }
}
