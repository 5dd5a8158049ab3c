//! The one store behind every port, and how it is opened.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use drover_ports::{StoreError, StoreHealth};
use sea_orm::{
    AccessMode, ConnectOptions, Database, DatabaseConnection, DbErr, FromQueryResult,
    IsolationLevel, RuntimeErr, SqliteTransactionMode, TransactionOptions, TransactionTrait,
};
use sqlx::sqlite::{SqliteJournalMode, SqliteSynchronous};
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::dialect::Dialect;
use crate::engine::Hints;
use crate::options::{OpenError, Options};
use crate::session::{Link, Row, Session, unavailable};
use crate::sql::Sql;

// PostgreSQL keeps the plan of a statement that is sent often, until the table is analyzed again: one that reads
// the queue from end to end because it was empty would do so with 60,000 tasks in it as well. Compiling plans
// never pays for statements of this kind, and would be tried where a table has no index.
const PLANNING: [(&str, &str); 2] = [("enable_seqscan", "off"), ("jit", "off")];

// How long an unused connection is trusted without asking.
const IDLE: Duration = Duration::from_secs(5);

/// Every store port on one PostgreSQL or SQLite database. Cheap to clone.
///
/// * Losing the database is [`StoreError::Unavailable`] until it is back; nothing has to be restarted.
/// * Dropping a future undoes what its method has not committed.
#[derive(Debug, Clone)]
pub struct SeaOrmStore {
    connection: DatabaseConnection,
    dialect: Dialect,
    acquire_timeout: Duration,
    statements: Arc<AtomicU64>,
    // SQLite has one writer at a time. Waiting here is fair and wakes at once; SQLite's own
    // waiting is neither. Other processes are waited for by `busy_timeout`.
    turn: Arc<Mutex<()>>,
    hints: Arc<Hints>,
}

impl SeaOrmStore {
    /// Opens the database. It is not migrated by this.
    ///
    /// # Errors
    ///
    /// [`OpenError`].
    pub async fn connect(options: &Options) -> Result<Self, OpenError> {
        let (dialect, kind) = match options.url.split(':').next() {
            Some("postgres" | "postgresql") => (Dialect::Postgres, "PostgreSQL"),
            Some("sqlite") => (Dialect::Sqlite, "SQLite"),
            scheme => {
                return Err(OpenError::UnknownKind {
                    scheme: scheme.unwrap_or_default().chars().take(20).collect(),
                });
            }
        };
        let opened = Database::connect(connect_options(options, dialect)).await;
        let connection = opened.map_err(|error| {
            // What the driver says of a URL that it cannot read is the URL, password included.
            if matches!(error, DbErr::Conn(RuntimeErr::Internal(_))) {
                return OpenError::BadUrl { kind };
            }
            OpenError::Unreachable {
                kind,
                source: Box::new(error),
            }
        })?;
        Ok(Self {
            connection,
            dialect,
            acquire_timeout: options.acquire_timeout,
            statements: Arc::default(),
            turn: Arc::default(),
            hints: Arc::default(),
        })
    }

    /// Closes every connection; afterwards every call is [`StoreError::Unavailable`].
    pub async fn close(&self) {
        if let Err(error) = self.connection.close_by_ref().await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the database connections were not closed in order"
            );
        }
    }

    /// How many statements were sent so far; `BEGIN` and `COMMIT` are not counted.
    #[must_use]
    pub fn statements(&self) -> u64 {
        self.statements.load(Ordering::Relaxed)
    }

    /// What this process has to tell others, and is told.
    pub(crate) const fn hints(&self) -> &Arc<Hints> {
        &self.hints
    }

    /// The connections.
    pub(crate) const fn connection(&self) -> &DatabaseConnection {
        &self.connection
    }

    /// Which database is spoken to.
    pub(crate) const fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Statements that read, each on its own.
    pub(crate) fn read(&self, action: &'static str) -> Session {
        self.session(action, Link::Pool(self.connection.clone()), None)
    }

    /// Statements that read one state of the database together.
    pub(crate) async fn read_together(&self, action: &'static str) -> Result<Session, StoreError> {
        let options = match self.dialect {
            Dialect::Postgres => TransactionOptions {
                isolation_level: Some(IsolationLevel::RepeatableRead),
                access_mode: Some(AccessMode::ReadOnly),
                ..TransactionOptions::default()
            },
            // A plain transaction of SQLite reads one state anyway.
            Dialect::Sqlite => TransactionOptions::default(),
        };
        self.begin(action, options, None).await
    }

    /// One statement that writes.
    pub(crate) async fn write_once(&self, action: &'static str) -> Result<Session, StoreError> {
        let turn = self.turn(action).await?;
        Ok(self.session(action, Link::Pool(self.connection.clone()), turn))
    }

    /// Statements that write together or not at all.
    pub(crate) async fn write(&self, action: &'static str) -> Result<Session, StoreError> {
        let turn = self.turn(action).await?;
        // A transaction of SQLite that starts by reading cannot become a writing one while
        // another process writes: it fails at once, without waiting.
        let options = TransactionOptions {
            sqlite_transaction_mode: (self.dialect == Dialect::Sqlite)
                .then_some(SqliteTransactionMode::Immediate),
            ..TransactionOptions::default()
        };
        self.begin(action, options, turn).await
    }

    async fn begin(
        &self,
        action: &'static str,
        options: TransactionOptions,
        turn: Option<OwnedMutexGuard<()>>,
    ) -> Result<Session, StoreError> {
        let transaction = self
            .connection
            .begin_with_options(options)
            .await
            .map_err(unavailable(action))?;
        Ok(self.session(action, Link::Transaction(transaction), turn))
    }

    async fn turn(&self, action: &'static str) -> Result<Option<OwnedMutexGuard<()>>, StoreError> {
        if self.dialect == Dialect::Postgres {
            return Ok(None);
        }
        let turn = tokio::time::timeout(self.acquire_timeout, Arc::clone(&self.turn).lock_owned());
        turn.await.map(Some).map_err(unavailable(action))
    }

    fn session(
        &self,
        action: &'static str,
        link: Link,
        turn: Option<OwnedMutexGuard<()>>,
    ) -> Session {
        Session {
            link,
            dialect: self.dialect,
            action,
            statements: Arc::clone(&self.statements),
            turn,
        }
    }
}

fn connect_options(options: &Options, dialect: Dialect) -> ConnectOptions {
    let in_memory = dialect == Dialect::Sqlite
        && (options.url.contains(":memory:") || options.url.contains("mode=memory"));
    let mut connect = ConnectOptions::new(options.url.clone());
    connect
        .connect_timeout(options.acquire_timeout)
        .acquire_timeout(options.acquire_timeout)
        // Asking "are you there?" before every call would double the round trips. A busy connection
        // shows its loss in the call that meets it, and the pool then drops it.
        .test_before_acquire_if_idle_for(IDLE)
        .sqlx_logging(false)
        .record_stmt_in_spans(false);
    if in_memory {
        // Each connection to `:memory:` is a database of its own, and ends with it.
        connect
            .max_connections(1)
            .min_connections(1)
            .idle_timeout(None::<Duration>)
            .max_lifetime(None::<Duration>);
    } else {
        connect
            .max_connections(options.connections_max.get())
            .min_connections(1);
    }
    let statement_timeout = options.statement_timeout;
    match dialect {
        Dialect::Postgres => {
            connect
                .statement_timeout(statement_timeout)
                .set_application_name("drover")
                .map_sqlx_postgres_opts(move |postgres| {
                    // A process that is frozen, or cut off, within a transaction holds up everybody who needs
                    // what it has locked: not for longer than they wait for one statement.
                    let idle = (statement_timeout / 2).as_millis().to_string();
                    postgres
                        .options(PLANNING)
                        .options([("idle_in_transaction_session_timeout", idle)])
                });
        }
        Dialect::Sqlite => {
            connect.map_sqlx_sqlite_opts(move |sqlite| {
                sqlite
                    .create_if_missing(true)
                    .foreign_keys(true)
                    .journal_mode(SqliteJournalMode::Wal)
                    // FULL, not NORMAL: what was accepted must survive a power failure.
                    .synchronous(SqliteSynchronous::Full)
                    .busy_timeout(statement_timeout)
            });
        }
    }
    connect
}

#[derive(FromQueryResult)]
struct Answer {}

impl Row for Answer {
    const WHAT: &'static str = "answer";
}

#[async_trait]
impl StoreHealth for SeaOrmStore {
    #[tracing::instrument(name = "db.health.check", level = "debug", skip_all)]
    async fn check(&self) -> Result<(), StoreError> {
        self.read("answer")
            .row::<Answer>(Sql::new("SELECT 1 AS answer"))
            .await
            .map(|_| ())
    }
}

/// Whether an error says that something unique is already there.
pub(crate) fn is_duplicate(error: &StoreError) -> bool {
    let StoreError::Unavailable { source, .. } = error else {
        return false;
    };
    let error = source.downcast_ref::<DbErr>().and_then(DbErr::sql_err);
    matches!(error, Some(sea_orm::SqlErr::UniqueConstraintViolation(_)))
}

/// The error of a write of something that is unique: that the `name` of the `what` is taken, if that is why.
pub(crate) fn taken(error: StoreError, what: &'static str, name: &str) -> StoreError {
    if is_duplicate(&error) {
        let name = name.to_owned();
        return StoreError::AlreadyExists { what, name };
    }
    error
}
