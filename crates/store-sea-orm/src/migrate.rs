//! Bringing the schema up to date, by one process at a time.

use drover_migrations::Migrator;
use drover_ports::StoreError;
use sea_orm::{
    ConnectionTrait, DatabaseTransaction, DbErr, FromQueryResult, RuntimeErr,
    SqliteTransactionMode, TransactionOptions, TransactionTrait,
};
use sea_orm_migration::{MigratorTrait, SchemaManager};

use crate::sql::Sql;
use crate::sql::dialect::Dialect;
use crate::sql::refusal::Cause;
use crate::sql::session::{Row, Session};
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
    /// Another process is at it, and does not come to an end.
    #[error("another process brings the schema of the database up to date and has not ended yet")]
    Busy(#[source] StoreError),
    /// The schema cannot be brought up to date.
    #[error("the schema of the database cannot be brought up to date")]
    Step(#[source] StoreError),
}

impl SeaOrmStore {
    /// Which steps of the schema the database has; changes nothing.
    ///
    /// # Errors
    ///
    /// [`MigrateError::Store`].
    pub async fn migration_status(&self) -> Result<MigrationStatus, MigrateError> {
        let session = self.read("show its schema");
        status(&session).await.map_err(MigrateError::Store)
    }

    /// Brings the schema up to date: all pending steps or none. Of several processes at once one
    /// does the work and the others wait for it. A schema that is up to date is only read.
    ///
    /// # Errors
    ///
    /// [`MigrateError`], and then nothing changed.
    pub async fn migrate(&self) -> Result<(), MigrateError> {
        let status = self.migration_status().await?;
        if !status.unknown.is_empty() {
            return Err(MigrateError::NewerSchema {
                steps: status.unknown,
            });
        }
        if status.is_current() {
            return Ok(());
        }
        let _turn = self.turn(MIGRATE).await.map_err(MigrateError::Busy)?;
        // Its connection goes with it: after a failed or dropped migration there is nothing to prove.
        let apart = self.database().apart();
        let done = self.migrate_on(&apart.connection).await;
        apart.close().await;
        match done {
            Ok(0) => Ok(()),
            Ok(_) => Err(MigrateError::NewerSchema {
                steps: self.migration_status().await?.unknown,
            }),
            Err(error) => Err(self.why(error)),
        }
    }

    // Says how many steps are recorded that this program does not know; then nothing was changed. Without prepared
    // statements and rows: behind a connection pooler the name of a statement may be taken.
    async fn migrate_on(
        &self,
        connection: &impl TransactionTrait<Transaction = DatabaseTransaction>,
    ) -> Result<u64, DbErr> {
        let options = TransactionOptions {
            sqlite_transaction_mode: (self.dialect() == Dialect::Sqlite)
                .then_some(SqliteTransactionMode::Immediate),
            ..TransactionOptions::default()
        };
        let transaction = connection.begin_with_options(options).await?;
        if self.dialect() == Dialect::Postgres {
            // Waiting for another process, or building an index, may take longer than a query may;
            // waiting for a lock still has an end.
            transaction
                .execute_unprepared(&format!(
                    "SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = '5min'; \
                     SET LOCAL idle_in_transaction_session_timeout = 0; SELECT pg_advisory_xact_lock({LOCK})"
                ))
                .await?;
        }
        transaction
            .execute_unprepared(
                "CREATE TABLE IF NOT EXISTS seaql_migrations (version VARCHAR NOT NULL PRIMARY KEY, applied_at BIGINT NOT NULL)",
            )
            .await?;
        let steps = Migrator::migrations();
        let names: Vec<String> = steps
            .iter()
            .map(|step| format!("'{}'", step.name()))
            .collect();
        let unknown = format!(
            "UPDATE seaql_migrations SET version = version WHERE version NOT IN ({})",
            names.join(", ")
        );
        let unknown = transaction
            .execute_unprepared(&unknown)
            .await?
            .rows_affected();
        if unknown > 0 {
            transaction.rollback().await?;
            return Ok(unknown);
        }
        let at = self.dialect().now();
        let manager = SchemaManager::new(&transaction);
        for step in &steps {
            let record = format!(
                "INSERT INTO seaql_migrations (version, applied_at) VALUES ('{}', {at} / 1000000) ON CONFLICT DO NOTHING",
                step.name()
            );
            if transaction
                .execute_unprepared(&record)
                .await?
                .rows_affected()
                > 0
            {
                step.up(&manager).await?;
            }
        }
        transaction.commit().await?;
        Ok(0)
    }

    fn why(&self, error: DbErr) -> MigrateError {
        let (cause, is_busy) = match driver(&error) {
            Some(driver) => (Cause::of(driver), waits_for_another(driver)),
            None => (Cause::Passing, false),
        };
        let error = self.condition().refused(MIGRATE, cause, Box::new(error));
        if is_busy {
            MigrateError::Busy(error)
        } else {
            MigrateError::Step(error)
        }
    }
}

fn driver(error: &DbErr) -> Option<&sqlx::Error> {
    if let DbErr::Conn(RuntimeErr::SqlxError(error))
    | DbErr::Exec(RuntimeErr::SqlxError(error))
    | DbErr::Query(RuntimeErr::SqlxError(error)) = error
    {
        return Some(error);
    }
    None
}

const MIGRATE: &str = "be brought up to date";

// The lock that all migrations take was not given up in time.
fn waits_for_another(error: &sqlx::Error) -> bool {
    let code = error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code);
    matches!(code.as_deref(), Some("55P03" | "5"))
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
