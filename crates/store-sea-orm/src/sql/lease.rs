//! One pooled connection for as long as a session needs it, and how it goes back.
//!
//! A connection goes back into the pool only when it is known to have no transaction. Everything else is closed: a
//! connection in an unknown state would give the next user a transaction that it does not know of, and what is then
//! acknowledged is never committed.

use sea_orm::sea_query::Values;
use sea_orm::{QueryResult, Value};
use sea_query_sqlx::SqlxValues;
use sqlx::pool::PoolConnection;
use sqlx::postgres::PgTransactionManager;
use sqlx::query::Query;
use sqlx::sqlite::SqliteTransactionManager;
use sqlx::{
    AssertSqlSafe, Connection, Error, Executor, Postgres, SqlSafeStr, Sqlite, SqliteConnection,
};
use sqlx_core::transaction::TransactionManager;

use crate::sql::Sql;
use crate::sql::refusal::spoils_connection;

/// A connection of the pool with what is known of its transaction.
pub(crate) struct Lease {
    connection: Connected,
    state: State,
    /// Closing the connection of a database in memory would remove the database.
    in_memory: bool,
    /// Whether prepared statements have names that a later transaction can use.
    named_statements: bool,
}

enum Connected {
    Postgres(PoolConnection<Postgres>),
    Sqlite(PoolConnection<Sqlite>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// There is no transaction.
    Idle,
    /// A transaction is open and each of its statements has succeeded.
    Open,
    /// A statement of the transaction has failed, or its answer was not waited for: it can only be rolled back.
    Failed,
    /// `BEGIN` or `COMMIT` has failed, or its answer was not waited for.
    Unknown,
    /// The connection itself is of no use.
    Spoiled,
}

impl Lease {
    /// A connection without a transaction.
    pub(crate) fn postgres(connection: PoolConnection<Postgres>, named_statements: bool) -> Self {
        Self {
            connection: Connected::Postgres(connection),
            state: State::Idle,
            in_memory: false,
            named_statements,
        }
    }

    /// A connection without a transaction.
    pub(crate) fn sqlite(connection: PoolConnection<Sqlite>, in_memory: bool) -> Self {
        Self {
            connection: Connected::Sqlite(connection),
            state: State::Idle,
            in_memory,
            named_statements: true,
        }
    }

    /// Begins a transaction with `statement`.
    pub(crate) async fn begin(&mut self, statement: String) -> Result<(), Error> {
        self.state = State::Unknown;
        let statement = Some(AssertSqlSafe(statement).into_sql_str());
        let begun = match &mut self.connection {
            Connected::Postgres(connection) => {
                PgTransactionManager::begin(connection, statement).await
            }
            Connected::Sqlite(connection) => {
                SqliteTransactionManager::begin(connection, statement).await
            }
        };
        self.ended(begun, State::Open)
    }

    /// Makes the transaction true. It must not have failed before: PostgreSQL answers the `COMMIT` of a failed
    /// transaction without an error.
    pub(crate) async fn commit(&mut self) -> Result<(), Error> {
        self.state = State::Unknown;
        let done = match &mut self.connection {
            Connected::Postgres(connection) => PgTransactionManager::commit(connection).await,
            Connected::Sqlite(connection) => SqliteTransactionManager::commit(connection).await,
        };
        self.ended(done, State::Idle)
    }

    /// Undoes the transaction.
    pub(crate) async fn rollback(&mut self) -> Result<(), Error> {
        self.state = State::Unknown;
        let done = match &mut self.connection {
            Connected::Postgres(connection) => PgTransactionManager::rollback(connection).await,
            Connected::Sqlite(connection) => SqliteTransactionManager::rollback(connection).await,
        };
        self.ended(done, State::Idle)
    }

    /// Whether a statement of the transaction has failed, so that nothing more can be done in it.
    pub(crate) fn has_failed(&self) -> bool {
        !matches!(self.state, State::Idle | State::Open)
    }

    /// Runs a statement and says how many rows it changed.
    pub(crate) async fn execute(&mut self, sql: Sql) -> Result<u64, Error> {
        let before = self.starts();
        let done = match &mut self.connection {
            Connected::Postgres(connection) => {
                let query = postgres(sql, self.named_statements);
                let done = query.execute(&mut **connection).await;
                done.map(|done| done.rows_affected())
            }
            Connected::Sqlite(connection) => {
                let done = sqlite(sql).execute(&mut **connection).await;
                done.map(|done| done.rows_affected())
            }
        };
        self.ended(done, before)
    }

    /// Runs a statement and reads its rows.
    pub(crate) async fn rows(&mut self, sql: Sql) -> Result<Vec<QueryResult>, Error> {
        let before = self.starts();
        let rows = match &mut self.connection {
            Connected::Postgres(connection) => {
                let query = postgres(sql, self.named_statements);
                let rows = query.fetch_all(&mut **connection).await;
                rows.map(|rows| rows.into_iter().map(QueryResult::from).collect())
            }
            Connected::Sqlite(connection) => {
                let rows = sqlite(sql).fetch_all(&mut **connection).await;
                rows.map(|rows| rows.into_iter().map(QueryResult::from).collect())
            }
        };
        self.ended(rows, before)
    }

    // If this future is dropped before the answer, the state stays.
    fn starts(&mut self) -> State {
        let before = self.state;
        if before == State::Open {
            self.state = State::Failed;
        }
        before
    }

    fn ended<T>(&mut self, result: Result<T, Error>, after: State) -> Result<T, Error> {
        match &result {
            Ok(_) => self.state = after,
            Err(error) if spoils_connection(error) => self.state = State::Spoiled,
            Err(_) => {}
        }
        result
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        match &mut self.connection {
            Connected::Postgres(connection) => match self.state {
                State::Idle => {}
                // PostgreSQL takes `ROLLBACK` in each state of a transaction. It is sent, and its answer waited for,
                // while the connection is returned.
                State::Open | State::Failed => PgTransactionManager::start_rollback(connection),
                State::Unknown | State::Spoiled => connection.close_on_drop(),
            },
            Connected::Sqlite(connection) => match self.state {
                State::Idle => {}
                State::Spoiled if !self.in_memory => connection.close_on_drop(),
                // `is_clean` looks whether it worked.
                State::Open | State::Failed | State::Unknown | State::Spoiled => {
                    SqliteTransactionManager::start_rollback(connection);
                }
            },
        }
    }
}

/// Whether a connection to SQLite may go back into the pool: whether it has no transaction.
///
/// After some errors, a full disk among them, SQLite rolls back by itself. The `ROLLBACK` that follows then fails,
/// and the driver goes on counting a transaction that is gone: its next one would be a savepoint, whose release
/// commits nothing.
pub(crate) async fn is_clean(connection: &mut SqliteConnection) -> Result<bool, Error> {
    if !connection.is_in_transaction() {
        return Ok(true);
    }
    // The answer comes after what is queued, a rollback among it.
    connection.ping().await?;
    if !connection.is_in_transaction() {
        return Ok(true);
    }
    // `BEGIN` works where SQLite has no transaction, and fails where it has one. Both times there is one now.
    let begun = connection.execute("BEGIN").await;
    SqliteTransactionManager::rollback(connection).await?;
    let is_clean = !connection.is_in_transaction();
    tracing::debug!(
        is_clean,
        was_gone = begun.is_ok(),
        "a failed transaction was cleared away"
    );
    Ok(is_clean)
}

fn postgres(sql: Sql, named: bool) -> Query<'static, Postgres, SqlxValues> {
    let (text, values) = parts(sql);
    sqlx::query_with(AssertSqlSafe(text), values).persistent(named)
}

fn sqlite(sql: Sql) -> Query<'static, Sqlite, SqlxValues> {
    let (text, values) = parts(sql);
    sqlx::query_with(AssertSqlSafe(text), values)
}

fn parts(sql: Sql) -> (String, SqlxValues) {
    let values: Vec<Value> = sql.values;
    (sql.text, SqlxValues(Values(values)))
}
