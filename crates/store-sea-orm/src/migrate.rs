//! Bringing the schema up to date, by one process at a time.

use drover_migrations::Migrator;
use drover_ports::{BoxError, StoreError};
use sea_orm::FromQueryResult;
use sea_orm_migration::MigratorTrait;

use crate::dialect::Dialect;
use crate::session::{Link, Row, Session};
use crate::sql::Sql;
use crate::store::SeaOrmStore;

// Any number that no other program uses for its advisory locks: "drover" in ASCII.
const LOCK: i64 = 0x64_72_6f_76_65_72;

/// Which steps of the schema a database has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MigrationStatus {
    /// Applied steps, oldest first.
    pub applied: Vec<String>,
    /// Steps this program has and the database does not, oldest first.
    pub pending: Vec<String>,
    /// Steps the database has and this program does not know: a newer release made them.
    pub unknown: Vec<String>,
}

impl MigrationStatus {
    /// Whether the schema is the one this program was made for.
    #[must_use]
    pub const fn is_current(&self) -> bool {
        self.pending.is_empty() && self.unknown.is_empty()
    }
}

/// Why the schema was not brought up to date; it is as it was.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// A newer release has changed the schema.
    #[error(
        "the database was made by a newer release: it has the schema steps {}, which this program does not know; \
         start that release, or restore a backup from before it",
        .steps.join(", ")
    )]
    NewerSchema {
        /// The unknown steps.
        steps: Vec<String>,
    },
    /// The database cannot be asked.
    #[error("the schema of the database cannot be looked at")]
    Store(#[source] StoreError),
    /// A step did not work.
    #[error("the schema of the database cannot be brought up to date")]
    Step {
        /// Why.
        source: BoxError,
    },
}

impl SeaOrmStore {
    /// Which steps of the schema the database has; changes nothing.
    ///
    /// # Errors
    ///
    /// [`MigrateError::Store`].
    pub async fn migration_status(&self) -> Result<MigrationStatus, MigrateError> {
        let session = self.read("tell its schema");
        status(&session).await.map_err(MigrateError::Store)
    }

    /// Brings the schema up to date: all pending steps or none. Of several processes at once one
    /// does the work and the others wait for it.
    ///
    /// # Errors
    ///
    /// [`MigrateError`], and then nothing changed.
    pub async fn migrate(&self) -> Result<(), MigrateError> {
        let session = self
            .write("lock its schema")
            .await
            .map_err(MigrateError::Store)?;
        if self.dialect() == Dialect::Postgres {
            // Waiting for another process, or building an index, may take longer than a query may;
            // waiting for a lock still has an end.
            for statement in [
                "SET LOCAL statement_timeout = 0".to_owned(),
                "SET LOCAL lock_timeout = '5min'".to_owned(),
                format!("SELECT pg_advisory_xact_lock({LOCK})"),
            ] {
                session
                    .execute(Sql::new(statement))
                    .await
                    .map_err(MigrateError::Store)?;
            }
        }
        let status = status(&session).await.map_err(MigrateError::Store)?;
        if !status.unknown.is_empty() {
            return Err(MigrateError::NewerSchema {
                steps: status.unknown,
            });
        }
        if let Link::Transaction(transaction) = &session.link {
            let done = Migrator::up(transaction, None).await;
            done.map_err(|error| MigrateError::Step {
                source: Box::new(error),
            })?;
        }
        session.commit().await.map_err(MigrateError::Store)
    }
}

#[derive(FromQueryResult)]
struct Step {
    id: String,
}

impl Row for Step {
    const WHAT: &'static str = "schema step";
}

async fn status(session: &Session) -> Result<MigrationStatus, StoreError> {
    let table = match session.dialect {
        Dialect::Postgres => {
            "SELECT table_name AS id FROM information_schema.tables \
            WHERE table_schema = current_schema() AND table_name = 'seaql_migrations'"
        }
        Dialect::Sqlite => {
            "SELECT name AS id FROM sqlite_master WHERE type = 'table' AND name = 'seaql_migrations'"
        }
    };
    let mut recorded = Vec::new();
    if session.row::<Step>(Sql::new(table)).await?.is_some() {
        let steps = session
            .rows::<Step>(Sql::new(
                "SELECT version AS id FROM seaql_migrations ORDER BY version",
            ))
            .await?;
        recorded = steps.into_iter().map(|step| step.id).collect();
    }
    let known = drover_migrations::steps();
    Ok(MigrationStatus {
        pending: known
            .iter()
            .filter(|step| !recorded.contains(step))
            .cloned()
            .collect(),
        unknown: recorded
            .iter()
            .filter(|step| !known.contains(step))
            .cloned()
            .collect(),
        applied: recorded
            .into_iter()
            .filter(|step| known.contains(step))
            .collect(),
    })
}
