//! Whether the database can be worked with: asked by writing to it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use drover_ports::{BoxError, Rejection, StoreError, StoreHealth};
use sea_orm::FromQueryResult;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::sql::Sql;
use crate::sql::dialect::Dialect;
use crate::sql::refusal::Cause;
use crate::sql::session::Row;
use crate::store::SeaOrmStore;

/// How long a success is repeated: readiness is asked by anybody, and must not become a way to make us write.
const FRESH: Duration = Duration::from_secs(1);

/// How many bytes are written where space was missing: small writes may still find room in files that exist.
const LARGE: u32 = 256 * 1024;

/// What is known of the database between two looks.
#[derive(Debug, Default)]
pub(crate) struct Condition {
    /// Whether a write failed for want of space, or of a working disk, since the last look.
    lacked_space: AtomicBool,
    written: Mutex<Option<Instant>>,
}

impl Condition {
    /// The error of a store method whose statement failed; what it means for readiness is kept.
    pub(crate) fn failed(&self, action: &'static str, error: sqlx::Error) -> StoreError {
        self.refused(action, Cause::of(&error), Box::new(error))
    }

    /// The same, for an error in a wrapping of its own.
    pub(crate) fn refused(
        &self,
        action: &'static str,
        cause: Cause,
        source: BoxError,
    ) -> StoreError {
        if cause.is_about_space() {
            self.lacked_space.store(true, Ordering::Relaxed);
        }
        cause.error(action, source)
    }
}

#[derive(FromQueryResult)]
struct RightsRow {
    missing: Option<String>,
    is_utf8: bool,
    has_settings: bool,
}

impl Row for RightsRow {
    const WHAT: &'static str = "right";
}

// Tables of the schema that this user may not work with.
const RIGHTS: &str = "
    SELECT (SELECT string_agg(CAST(c.relname AS text), ', ' ORDER BY c.relname)
            FROM pg_class c
            WHERE c.relkind = 'r' AND c.relnamespace = CAST(current_schema() AS regnamespace)
              AND c.relowner = (SELECT o.relowner FROM pg_class o
                                WHERE o.relname = 'seaql_migrations' AND o.relnamespace = c.relnamespace)
              AND NOT (has_table_privilege(c.oid, 'SELECT') AND has_table_privilege(c.oid, 'INSERT')
                       AND has_table_privilege(c.oid, 'UPDATE') AND has_table_privilege(c.oid, 'DELETE'))) AS missing,
           current_setting('server_encoding') = 'UTF8' AS is_utf8,
           current_setting('statement_timeout') <> '0' AND current_setting('enable_seqscan') = 'off' AS has_settings";

#[async_trait]
impl StoreHealth for SeaOrmStore {
    #[tracing::instrument(name = "db.health.check", level = "debug", skip_all)]
    async fn check(&self) -> Result<(), StoreError> {
        let condition = self.condition();
        let mut written = condition.written.lock().await;
        let is_fresh = written.is_some_and(|at| at.elapsed() < FRESH);
        if is_fresh && !condition.lacked_space.load(Ordering::Relaxed) {
            return self.answer().await;
        }
        *written = None;
        // Before the write: one that fails meanwhile is looked at the next time.
        let lacked_space = condition.lacked_space.swap(false, Ordering::Relaxed);
        if let Err(error) = self.write_something(lacked_space).await {
            if lacked_space {
                condition.lacked_space.store(true, Ordering::Relaxed);
            }
            return Err(in_our_words(error));
        }
        *written = Some(Instant::now());
        if lacked_space {
            // The space is for others; what was written must not be overwritten by the next look either.
            return self.write_something(false).await.map_err(in_our_words);
        }
        Ok(())
    }
}

impl SeaOrmStore {
    async fn answer(&self) -> Result<(), StoreError> {
        let session = self.read("answer");
        session.execute(Sql::new("SELECT 1")).await.map(|_| ())
    }

    async fn write_something(&self, is_large: bool) -> Result<(), StoreError> {
        let session = self.write("be written").await?;
        let now = session.dialect.now();
        let filler = match (session.dialect, is_large) {
            (Dialect::Sqlite, true) => format!("zeroblob({LARGE})"),
            _ => "NULL".to_owned(),
        };
        if session.dialect == Dialect::Postgres
            && let Some(found) = session.row::<RightsRow>(Sql::new(RIGHTS)).await?
        {
            found.check()?;
        }
        let mark = format!(
            "INSERT INTO health_marks (id, written_at, filler) VALUES (1, {now}, {filler})
             ON CONFLICT (id) DO UPDATE SET written_at = excluded.written_at, filler = excluded.filler"
        );
        session.execute(Sql::new(mark)).await?;
        if is_large && session.dialect == Dialect::Postgres {
            // A file that did not exist has to get its space from the disk.
            let file = format!(
                "CREATE TEMPORARY TABLE drover_space ON COMMIT DROP AS
                 SELECT repeat('x', 1024) AS filler FROM generate_series(1, {})",
                LARGE / 1024
            );
            session.execute(Sql::new(file)).await?;
        }
        session.commit().await
    }
}

impl RightsRow {
    fn check(self) -> Result<(), StoreError> {
        let refuse = |why, source: String| StoreError::Rejected {
            action: "be used",
            why: Rejection::Setup(why),
            source: source.into(),
        };
        if !self.is_utf8 {
            let why = "its encoding is not UTF8; Drover needs a database with the encoding UTF8";
            return Err(refuse(why, "SHOW server_encoding".to_owned()));
        }
        if !self.has_settings {
            let why = "its sessions do not have the settings of Drover; if a connection pooler was put in front of it, \
                       restart Drover";
            return Err(refuse(why, "SHOW statement_timeout".to_owned()));
        }
        if let Some(tables) = self.missing {
            let why = "the database user may not read and write all tables of Drover; its administrator has to grant it";
            return Err(refuse(why, format!("rights are missing on {tables}")));
        }
        Ok(())
    }
}

// The answer is read by people who have no key: it says nothing of the driver's.
fn in_our_words(error: StoreError) -> StoreError {
    let StoreError::Unavailable { action, source } = error else {
        return error;
    };
    let cause = source.downcast_ref::<sqlx::Error>().map(Cause::of);
    let action = match cause {
        Some(Cause::NoSpace) => "be written: its disk is full",
        Some(Cause::Disk) => "be written: its disk fails",
        Some(Cause::ReadOnly) => "be written: it is read-only",
        Some(Cause::Passing | Cause::Permanent(_)) | None => action,
    };
    StoreError::Unavailable { action, source }
}
