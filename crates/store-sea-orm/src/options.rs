//! Which database, and how patiently.

use std::fmt;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use drover_ports::BoxError;

use crate::sql::dialect::Dialect;

/// Which database, and how patiently.
#[derive(Clone)]
pub struct Options {
    /// `postgres://user:password@host/database`, `sqlite:/path/to/file.db` (made when missing) or
    /// `sqlite::memory:`. Never shown.
    pub url: String,
    /// Where notifications of other nodes are listened for, when `url` leads to a connection pooler; another URL of the
    /// same database. Never shown.
    pub listen_url: Option<String>,
    /// The most connections held at once, besides one that listens; `sqlite::memory:` always has exactly one.
    pub connections_max: NonZeroU32,
    /// How long a call waits for a free connection, a new one included.
    pub acquire_timeout: Duration,
    /// How long PostgreSQL works on one statement; a transaction in which nothing happens is kept open for half of
    /// that. On SQLite: how long a writer waits for another process.
    pub statement_timeout: Duration,
}

impl Options {
    /// The database behind `url` with 10 connections, 5 s for a connection and 10 s for a statement.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            listen_url: None,
            connections_max: NonZeroU32::new(10).unwrap_or(NonZeroU32::MIN),
            acquire_timeout: Duration::from_secs(5),
            statement_timeout: Duration::from_secs(10),
        }
    }
}

/// Without the URL: it holds the password.
impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("connections_max", &self.connections_max)
            .field("acquire_timeout", &self.acquire_timeout)
            .field("statement_timeout", &self.statement_timeout)
            .finish_non_exhaustive()
    }
}

/// Why the database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URL names a kind of database that is not served.
    #[error(
        "the database URL must begin with postgres://, postgresql:// or sqlite:, not `{scheme}`"
    )]
    UnknownKind {
        /// What it begins with.
        scheme: String,
    },
    /// The URL of the database cannot be read.
    #[error(
        "the URL of the {kind} database is not readable; check its host and its port, and write special characters of the \
         password percent-encoded: `@` as %40, `/` as %2F, `#` as %23, `?` as %3F, `%` as %25, `:` as %3A"
    )]
    BadUrl {
        /// PostgreSQL or SQLite.
        kind: &'static str,
    },
    /// The folder of an SQLite file does not exist.
    #[error(
        "the folder `{}` of the SQLite file does not exist; create it, and give it to the user that runs Drover",
        .folder.display()
    )]
    NoFolder {
        /// The folder.
        folder: PathBuf,
    },
    /// The SQLite file is something else than a database of Drover.
    #[error(
        "the SQLite file `{}` is {what}; name a file of Drover's own in `database.url`; nothing was changed",
        .file.display()
    )]
    NotOurs {
        /// The file.
        file: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// An SQLite file cannot be created or opened.
    #[error("the SQLite file `{}` cannot be opened", .file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// Why not.
        source: BoxError,
    },
    /// The database keeps texts in another encoding.
    #[error(
        "the database `{database}` has the encoding {encoding}; Drover needs UTF8: create a database with \
         `CREATE DATABASE name ENCODING 'UTF8' TEMPLATE template0`"
    )]
    Encoding {
        /// The name of the database.
        database: String,
        /// Its encoding.
        encoding: String,
    },
    /// The server takes no writes: it is a standby, or the database or the user is set to read only.
    #[error(
        "the database `{database}` is read-only: the server is a standby, or `default_transaction_read_only` is on"
    )]
    ReadOnly {
        /// The name of the database.
        database: String,
    },
    /// The database cannot be reached, or refuses the connection.
    #[error(
        "no connection to the {kind} database can be opened; check its URL, that it runs and that it lets this user in"
    )]
    Unreachable {
        /// PostgreSQL or SQLite.
        kind: &'static str,
        /// Why not; it never holds the URL.
        source: BoxError,
    },
}

impl Options {
    /// Looks at the URL and, for SQLite, at the file; connects to nothing and changes nothing.
    ///
    /// # Errors
    ///
    /// What [`crate::SeaOrmStore::connect`] would refuse for it.
    pub fn check(&self) -> Result<(), OpenError> {
        crate::sql::database::check(self)
    }

    pub(crate) fn dialect(&self) -> Result<Dialect, OpenError> {
        match self.url.split(':').next() {
            Some("postgres" | "postgresql") => Ok(Dialect::Postgres),
            Some("sqlite") => Ok(Dialect::Sqlite),
            scheme => Err(OpenError::UnknownKind {
                scheme: scheme.unwrap_or_default().chars().take(20).collect(),
            }),
        }
    }
}

impl OpenError {
    /// Whether the same call may work later, without another setting.
    #[must_use]
    pub const fn may_pass(&self) -> bool {
        match self {
            Self::UnknownKind { .. }
            | Self::BadUrl { .. }
            | Self::Encoding { .. }
            | Self::NotOurs { .. } => false,
            Self::NoFolder { .. }
            | Self::File { .. }
            | Self::ReadOnly { .. }
            | Self::Unreachable { .. } => true,
        }
    }
}
