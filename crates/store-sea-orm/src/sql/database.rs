//! The pools of connections: how they are opened, and what a transaction begins with.

use std::io::ErrorKind;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use sea_orm::QueryResult;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection, Error, PgConnection, Row};
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::options::{OpenError, Options};
use crate::sql::Sql;
use crate::sql::dialect::Dialect;
use crate::sql::file;
use crate::sql::lease::{Lease, is_clean};

// PostgreSQL keeps the plan of a statement that is sent often, until the table is analyzed again: one that reads
// the queue from end to end because it was empty would do so with 60,000 tasks in it as well. Compiling plans
// never pays for statements of this kind, and would be tried where a table has no index.
const PLANNING: [(&str, &str); 2] = [("enable_seqscan", "off"), ("jit", "off")];

// How long an unused connection is trusted without asking.
const IDLE: Duration = Duration::from_secs(5);

// How long the reason is looked for when no connection could be had.
const REASON: Duration = Duration::from_secs(1);

/// A setting of our own, sent when a connection is opened. A server that does not have it is behind a connection
/// pooler, which gives our connections sessions that others have opened.
const MARK: (&str, &str) = ("drover.session", "direct");

/// Connections to one database. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Database {
    pool: Pool,
    settings: Arc<Settings>,
}

#[derive(Debug, Clone)]
enum Pool {
    Postgres(PgPool),
    Sqlite(SqlitePool),
}

#[derive(Debug)]
struct Settings {
    in_memory: bool,
    /// What each transaction begins with when a connection pooler gives it any session; else the session has it.
    relayed: Option<String>,
    /// Where notifications are listened for.
    listen: Option<PgConnectOptions>,
    /// Held while the reason for a missing connection is looked up.
    reason: Mutex<()>,
}

/// How a transaction is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Statements that read one state of the database.
    Snapshot,
    /// Statements that write together.
    Write,
}

impl Database {
    /// Opens the database, and one connection to it.
    pub(crate) async fn open(options: &Options, dialect: Dialect) -> Result<Self, OpenError> {
        match dialect {
            Dialect::Postgres => open_postgres(options).await,
            Dialect::Sqlite => open_sqlite(options).await,
        }
    }

    /// The same database through one connection of its own, for work after which no connection is to be kept.
    pub(crate) fn apart(&self) -> Apart {
        match &self.pool {
            Pool::Postgres(pool) => {
                let own = PgPoolOptions::new().max_connections(1);
                let own = own.acquire_timeout(pool.options().get_acquire_timeout());
                Apart::own(own.connect_lazy_with(PgConnectOptions::clone(&pool.connect_options())))
            }
            Pool::Sqlite(pool) if self.settings.in_memory => Apart {
                connection: pool.clone().into(),
                is_shared: true,
            },
            Pool::Sqlite(pool) => {
                let own = SqlitePoolOptions::new().max_connections(1);
                let own = own.acquire_timeout(pool.options().get_acquire_timeout());
                let options = SqliteConnectOptions::clone(&pool.connect_options());
                Apart::own(own.connect_lazy_with(options))
            }
        }
    }

    // A connection for one statement; it has to be committed where sessions are relayed.
    async fn single(&self) -> Result<Lease, Error> {
        let mut lease = self.lease().await?;
        if let Some(settings) = &self.settings.relayed {
            lease.begin(format!("BEGIN; {settings}")).await?;
        }
        Ok(lease)
    }

    /// Whether a connection pooler is between.
    fn is_relayed(&self) -> bool {
        self.settings.relayed.is_some()
    }

    /// A connection with a transaction.
    pub(crate) async fn begin(&self, mode: Mode) -> Result<Lease, Error> {
        let mut lease = self.lease().await?;
        let begin = match (&self.pool, mode) {
            (Pool::Postgres(_), Mode::Snapshot) => {
                "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
            }
            // A plain transaction of SQLite reads one state anyway.
            (Pool::Postgres(_), Mode::Write) | (Pool::Sqlite(_), Mode::Snapshot) => "BEGIN",
            // A transaction of SQLite that starts by reading cannot become a writing one while
            // another process writes: it fails at once, without waiting.
            (Pool::Sqlite(_), Mode::Write) => "BEGIN IMMEDIATE",
        };
        let statement = match &self.settings.relayed {
            Some(settings) => format!("{begin}; {settings}"),
            None => begin.to_owned(),
        };
        lease.begin(statement).await?;
        Ok(lease)
    }

    /// Runs one statement for its effect, without counting it.
    pub(crate) async fn execute(&self, sql: Sql) -> Result<u64, Error> {
        let mut lease = self.single().await?;
        let done = lease.execute(sql).await?;
        if self.is_relayed() {
            lease.commit().await?;
        }
        Ok(done)
    }

    /// Runs one statement and reads its rows, without counting it.
    pub(crate) async fn rows(&self, sql: Sql) -> Result<Vec<QueryResult>, Error> {
        let mut lease = self.single().await?;
        let rows = lease.rows(sql).await?;
        if self.is_relayed() {
            lease.commit().await?;
        }
        Ok(rows)
    }

    async fn lease(&self) -> Result<Lease, Error> {
        match &self.pool {
            Pool::Postgres(pool) => match pool.acquire().await {
                Ok(connection) => Ok(Lease::postgres(connection, !self.is_relayed())),
                Err(Error::PoolTimedOut) => Err(self.why_not(pool).await),
                Err(error) => Err(error),
            },
            Pool::Sqlite(pool) => {
                let connection = pool.acquire().await?;
                Ok(Lease::sqlite(connection, self.settings.in_memory))
            }
        }
    }

    // The pool reports only that its deadline has passed.
    async fn why_not(&self, pool: &PgPool) -> Error {
        let Ok(_alone) = self.settings.reason.try_lock() else {
            return Error::PoolTimedOut;
        };
        let options = PgConnectOptions::clone(&pool.connect_options());
        match timeout(REASON, PgConnection::connect_with(&options)).await {
            Ok(Err(reason)) => reason,
            Ok(Ok(connection)) => {
                // It is closed either way.
                let _closed = timeout(REASON, connection.close()).await.is_ok();
                Error::PoolTimedOut
            }
            Err(_) => Error::PoolTimedOut,
        }
    }

    /// Where notifications are listened for; nowhere on SQLite, and behind a pooler that has no other address.
    pub(crate) fn listen_options(&self) -> Option<&PgConnectOptions> {
        self.settings.listen.as_ref()
    }

    /// Closes every connection.
    pub(crate) async fn close(&self) {
        match &self.pool {
            Pool::Postgres(pool) => pool.close().await,
            Pool::Sqlite(pool) => pool.close().await,
        }
    }
}

/// A connection to the database that belongs to no session.
pub(crate) struct Apart {
    pub(crate) connection: sea_orm::DatabaseConnection,
    is_shared: bool,
}

impl Apart {
    fn own(pool: impl Into<sea_orm::DatabaseConnection>) -> Self {
        Self {
            connection: pool.into(),
            is_shared: false,
        }
    }

    /// Closes it, whatever state it is in.
    pub(crate) async fn close(self) {
        if !self.is_shared
            && let Err(error) = self.connection.close().await
        {
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                "a connection was not closed in order"
            );
        }
    }
}

async fn open_postgres(options: &Options) -> Result<Database, OpenError> {
    let read = |url: &str| {
        let read =
            PgConnectOptions::from_str(url).map_err(|_| OpenError::BadUrl { kind: "PostgreSQL" });
        read.map(|read| read.disable_statement_logging().application_name("drover"))
    };
    let plain = read(&options.url)?;
    let listen = options.listen_url.as_deref().map(read).transpose()?;
    let settings = session_settings(options);
    let direct = plain
        .clone()
        .options(settings.iter().map(|(name, value)| (*name, value.as_str())))
        .options([MARK]);
    let first = connect_once(options, &direct).await;
    let (first, is_relayed) = match first {
        // A connection pooler refuses settings that it does not know.
        Err(Error::Database(refusal)) if refusal.code().as_deref() == Some("08P01") => {
            let bare = plain.clone().extra_float_digits(None);
            let second = connect_once(options, &bare).await;
            (second.map_err(unreachable)?, true)
        }
        Err(error) => return Err(unreachable(error)),
        Ok(first) => (first, false),
    };
    let (session, is_relayed) = inspect(options, first, is_relayed).await?;
    session.check()?;
    let connect = if is_relayed {
        tracing::info!(
            "PostgreSQL is reached through a connection pooler: settings are sent with each transaction, and prepared \
             statements are not kept"
        );
        if listen.is_none() {
            tracing::info!(
                "other nodes are noticed by polling, because a connection pooler passes on no notifications; \
                 `database.listen_url` can name PostgreSQL itself"
            );
        }
        plain.clone().extra_float_digits(None)
    } else {
        direct.clone()
    };
    let pool = PgPoolOptions::new()
        .max_connections(options.connections_max.get())
        .min_connections(1)
        .acquire_timeout(options.acquire_timeout)
        // Asking "are you there?" before every call would double the round trips. A busy connection
        // shows its loss in the call that meets it, and the pool then drops it.
        .test_before_acquire(false)
        .before_acquire(|connection, meta| {
            Box::pin(async move {
                if meta.idle_for >= IDLE {
                    connection.ping().await?;
                }
                Ok(true)
            })
        })
        .connect_lazy_with(connect);
    let relayed = is_relayed.then(|| {
        let settings = settings.iter();
        let settings: Vec<String> = settings
            .map(|(name, value)| format!("SET LOCAL {name} = {value}"))
            .collect();
        settings.join("; ")
    });
    Ok(Database {
        pool: Pool::Postgres(pool),
        settings: Arc::new(Settings {
            in_memory: false,
            relayed,
            listen: listen.or_else(|| (!is_relayed).then_some(direct)),
            reason: Mutex::default(),
        }),
    })
}

// Numbers and words without blanks: they go into `options` and into `SET` as they are.
fn session_settings(options: &Options) -> Vec<(&'static str, String)> {
    let mut settings: Vec<(&'static str, String)> = PLANNING
        .iter()
        .map(|(name, value)| (*name, (*value).to_owned()))
        .collect();
    let statement = options.statement_timeout;
    settings.push(("statement_timeout", statement.as_millis().to_string()));
    // A process that is frozen, or cut off, within a transaction holds up everybody who needs
    // what it has locked: not for longer than they wait for one statement.
    let idle = (statement / 2).as_millis().to_string();
    settings.push(("idle_in_transaction_session_timeout", idle));
    settings
}

// Unlike the pool, it does not try again: its error is the reason.
async fn connect_once(
    options: &Options,
    connect: &PgConnectOptions,
) -> Result<PgConnection, Error> {
    let connecting = PgConnection::connect_with(connect);
    match timeout(options.acquire_timeout, connecting).await {
        Ok(connected) => connected,
        Err(_) => Err(Error::Io(std::io::Error::new(
            ErrorKind::TimedOut,
            "the server does not answer",
        ))),
    }
}

/// What a session says about itself and its database.
#[derive(Debug, PartialEq, Eq)]
struct Facts {
    database: String,
    encoding: String,
    is_read_only: bool,
}

// Without a prepared statement: behind a pooler its name may be taken.
const FACTS: &str = "
    SELECT coalesce(current_setting('drover.session', true), '') AS mark,
           CAST(current_database() AS text) AS database,
           CAST((SELECT pg_encoding_to_char(encoding) FROM pg_database WHERE datname = current_database()) AS text) AS encoding,
           CASE WHEN pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on' THEN 'yes' ELSE 'no' END AS read_only";

async fn inspect(
    options: &Options,
    mut connection: PgConnection,
    is_relayed: bool,
) -> Result<(Facts, bool), OpenError> {
    let asked = async {
        // A pooler that allows no transactions is of no use.
        let mut transaction = connection.begin().await?;
        let row = sqlx::raw_sql(FACTS).fetch_one(&mut *transaction).await?;
        transaction.rollback().await?;
        let mark: String = row.try_get("mark")?;
        let facts = Facts {
            database: row.try_get("database")?,
            encoding: row.try_get("encoding")?,
            is_read_only: row.try_get::<String, _>("read_only")? == "yes",
        };
        connection.close().await?;
        Ok::<_, Error>((facts, is_relayed || mark != MARK.1))
    };
    match timeout(options.acquire_timeout, asked).await {
        Ok(answer) => answer.map_err(unreachable),
        Err(_) => Err(unreachable(Error::PoolTimedOut)),
    }
}

impl Facts {
    fn check(self) -> Result<(), OpenError> {
        if self.encoding != "UTF8" {
            return Err(OpenError::Encoding {
                database: self.database,
                encoding: self.encoding,
            });
        }
        if self.is_read_only {
            return Err(OpenError::ReadOnly {
                database: self.database,
            });
        }
        Ok(())
    }
}

/// What can be said about the URL without connecting.
pub(crate) fn check(options: &Options) -> Result<(), OpenError> {
    match options.dialect()? {
        Dialect::Postgres => PgConnectOptions::from_str(&options.url)
            .map(drop)
            .map_err(unreachable),
        Dialect::Sqlite => {
            let connect = sqlite_options(&options.url)?;
            if is_in_memory(&options.url) {
                return Ok(());
            }
            file::refuse_other_formats(connect.get_filename())
        }
    }
}

fn sqlite_options(url: &str) -> Result<SqliteConnectOptions, OpenError> {
    SqliteConnectOptions::from_str(url).map_err(|_| OpenError::BadUrl { kind: "SQLite" })
}

fn is_in_memory(url: &str) -> bool {
    url.contains(":memory:") || url.contains("mode=memory")
}

async fn open_sqlite(options: &Options) -> Result<Database, OpenError> {
    let busy = options.statement_timeout;
    let connect = sqlite_options(&options.url)?
        .disable_statement_logging()
        .create_if_missing(true)
        .foreign_keys(true)
        .journal_mode(SqliteJournalMode::Wal)
        // FULL, not NORMAL: what was accepted must survive a power failure.
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(busy);
    let in_memory = is_in_memory(&options.url);
    let file = connect.get_filename().to_owned();
    let pool = SqlitePoolOptions::new()
        .acquire_timeout(options.acquire_timeout)
        .test_before_acquire(false)
        .min_connections(1)
        .after_release(|connection, _| Box::pin(is_clean(connection)));
    let pool = if in_memory {
        // Each connection to `:memory:` is a database of its own, and ends with it.
        pool.max_connections(1)
            .idle_timeout(None::<Duration>)
            .max_lifetime(None::<Duration>)
    } else {
        file::prepare(&file).await?;
        pool.max_connections(options.connections_max.get())
    };
    let pool = pool.connect_with(connect).await;
    let pool = pool.map_err(|source| OpenError::File {
        file,
        source: Box::new(source),
    })?;
    Ok(Database {
        pool: Pool::Sqlite(pool),
        settings: Arc::new(Settings {
            in_memory,
            relayed: None,
            listen: None,
            reason: Mutex::default(),
        }),
    })
}

fn unreachable(error: Error) -> OpenError {
    // What the driver says of a URL that it cannot read is the URL, password included.
    if matches!(error, Error::Configuration(_)) {
        return OpenError::BadUrl { kind: "PostgreSQL" };
    }
    OpenError::Unreachable {
        kind: "PostgreSQL",
        source: Box::new(error),
    }
}
