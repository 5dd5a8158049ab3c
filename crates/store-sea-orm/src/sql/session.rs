//! One conversation with the database: a pooled connection or a transaction.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use drover_ports::StoreError;
use sea_orm::{FromQueryResult, QueryResult};
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::health::Condition;
use crate::sql::Sql;
use crate::sql::database::Database;
use crate::sql::dialect::Dialect;
use crate::sql::lease::Lease;

/// A kind of row that is read.
pub(crate) trait Row: FromQueryResult {
    /// What the row is, for [`StoreError::Corrupt`].
    const WHAT: &'static str;
}

/// A row of which only the key is wanted, or only the lock.
#[derive(Debug, FromQueryResult)]
pub(crate) struct KeyRow {
    pub(crate) id: i64,
}

impl Row for KeyRow {
    const WHAT: &'static str = "row";
}

/// One conversation with the database, on behalf of one port method.
pub(crate) struct Session {
    pub(crate) link: Link,
    pub(crate) dialect: Dialect,
    /// What the port method does: "the database cannot …".
    pub(crate) action: &'static str,
    pub(crate) statements: Arc<AtomicU64>,
    pub(crate) condition: Arc<Condition>,
    #[expect(
        dead_code,
        reason = "the right to write on SQLite; it is given up when the session ends"
    )]
    pub(crate) turn: Option<OwnedMutexGuard<()>>,
}

/// Where statements go.
pub(crate) enum Link {
    /// Each statement on its own.
    Pool(Database),
    /// All statements together; undone when dropped.
    Transaction(Mutex<Lease>),
}

impl Session {
    /// Runs a statement and says how many rows it changed.
    pub(crate) async fn execute(&self, sql: Sql) -> Result<u64, StoreError> {
        self.statements.fetch_add(1, Ordering::Relaxed);
        let done = match &self.link {
            Link::Pool(database) => database.execute(sql).await,
            Link::Transaction(lease) => {
                let mut lease = lease.lock().await;
                self.must_be_sound(&lease)?;
                lease.execute(sql).await
            }
        };
        done.map_err(|error| self.failed(error))
    }

    /// Runs a statement and reads its rows.
    pub(crate) async fn rows<R: Row>(&self, sql: Sql) -> Result<Vec<R>, StoreError> {
        self.statements.fetch_add(1, Ordering::Relaxed);
        let rows = match &self.link {
            Link::Pool(database) => database.rows(sql).await,
            Link::Transaction(lease) => {
                let mut lease = lease.lock().await;
                self.must_be_sound(&lease)?;
                lease.rows(sql).await
            }
        };
        let rows = rows.map_err(|error| self.failed(error))?;
        rows.iter().map(read).collect()
    }

    /// Runs a statement and reads its first row.
    pub(crate) async fn row<R: Row>(&self, sql: Sql) -> Result<Option<R>, StoreError> {
        Ok(self.rows(sql).await?.into_iter().next())
    }

    /// Locks the row of `table` with this key, if it is there, so that what is read of it afterwards stays true.
    /// `locking` is [`Dialect::locking`] or [`Dialect::locking_all`] of the table.
    pub(crate) async fn hold(
        &self,
        table: &str,
        key: i64,
        locking: &str,
    ) -> Result<(), StoreError> {
        if !locking.is_empty() {
            let sql = Sql::new(format!("SELECT id FROM {table} WHERE id = $1{locking}"));
            self.row::<KeyRow>(sql.bind(key)).await?;
        }
        Ok(())
    }

    /// Makes the transaction true; nothing on a pooled connection.
    pub(crate) async fn commit(self) -> Result<(), StoreError> {
        if let Link::Transaction(lease) = &self.link {
            let mut lease = lease.lock().await;
            self.must_be_sound(&lease)?;
            let done = lease.commit().await;
            done.map_err(|error| self.failed(error))?;
        }
        Ok(())
    }

    /// Undoes the transaction, and gives up its locks, before it returns: one that is only dropped holds
    /// them a moment longer, and a claim would pass over what it has locked.
    pub(crate) async fn undo(self) -> Result<(), StoreError> {
        if let Link::Transaction(lease) = &self.link {
            let done = lease.lock().await.rollback().await;
            done.map_err(|error| self.failed(error))?;
        }
        Ok(())
    }

    // On SQLite, statements after one that has failed could each be true on its own.
    fn must_be_sound(&self, lease: &Lease) -> Result<(), StoreError> {
        if lease.has_failed() {
            return Err(StoreError::Unavailable {
                action: self.action,
                source: "a statement of this transaction has failed before".into(),
            });
        }
        Ok(())
    }

    fn failed(&self, error: sqlx::Error) -> StoreError {
        self.condition.failed(self.action, error)
    }
}

fn read<R: Row>(row: &QueryResult) -> Result<R, StoreError> {
    R::from_query_result(row, "").map_err(|error| StoreError::Corrupt {
        what: R::WHAT,
        name: name(row),
        reason: error.to_string(),
    })
}

// The key of a row that could not be read; each kind of row has one of these columns.
fn name(row: &QueryResult) -> String {
    for column in ["id", "position", "public_id"] {
        if let Ok(key) = row.try_get::<i64>("", column) {
            return key.to_string();
        }
        if let Ok(key) = row.try_get::<String>("", column) {
            return key;
        }
    }
    "without a readable key".to_owned()
}
