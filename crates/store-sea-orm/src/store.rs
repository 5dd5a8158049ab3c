//! The one store behind every port, and how it is opened.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use drover_ports::StoreError;
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::health::Condition;
use crate::options::{OpenError, Options};
use crate::sql::database::{Database, Mode};
use crate::sql::dialect::Dialect;
use crate::sql::session::{Link, Session};
use crate::workflow::Hints;

/// Every store port on one PostgreSQL or SQLite database. Cheap to clone.
///
/// * Losing the database is [`StoreError::Unavailable`] until it is back; nothing has to be restarted.
/// * Dropping a future undoes what its method has not committed.
#[derive(Debug, Clone)]
pub struct SeaOrmStore {
    database: Database,
    dialect: Dialect,
    acquire_timeout: Duration,
    statements: Arc<AtomicU64>,
    // SQLite has one writer at a time. Waiting here is fair and wakes at once; SQLite's own
    // waiting is neither. Other processes are waited for by `busy_timeout`.
    turn: Arc<Mutex<()>>,
    hints: Arc<Hints>,
    condition: Arc<Condition>,
}

impl SeaOrmStore {
    /// Opens the database. It is not migrated by this.
    ///
    /// # Errors
    ///
    /// [`OpenError`].
    pub async fn connect(options: &Options) -> Result<Self, OpenError> {
        let dialect = options.dialect()?;
        Ok(Self {
            database: Database::open(options, dialect).await?,
            dialect,
            acquire_timeout: options.acquire_timeout,
            statements: Arc::default(),
            turn: Arc::default(),
            hints: Arc::default(),
            condition: Arc::default(),
        })
    }

    /// Closes every connection; afterwards every call is [`StoreError::Unavailable`].
    pub async fn close(&self) {
        self.database.close().await;
    }

    /// How many statements were sent so far; `BEGIN` and `COMMIT` are not counted.
    #[must_use]
    pub fn statements(&self) -> u64 {
        self.statements.load(Ordering::Relaxed)
    }

    /// The hints that this process sends and receives.
    pub(crate) const fn hints(&self) -> &Arc<Hints> {
        &self.hints
    }

    /// The connections.
    pub(crate) const fn database(&self) -> &Database {
        &self.database
    }

    /// What is known of the database between two looks.
    pub(crate) const fn condition(&self) -> &Arc<Condition> {
        &self.condition
    }

    /// Which database is spoken to.
    pub(crate) const fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Statements that read, each on its own.
    pub(crate) fn read(&self, action: &'static str) -> Session {
        self.session(action, Link::Pool(self.database.clone()), None)
    }

    /// Statements that read one state of the database together.
    pub(crate) async fn read_together(&self, action: &'static str) -> Result<Session, StoreError> {
        self.begin(action, Mode::Snapshot, None).await
    }

    /// One statement that writes.
    pub(crate) async fn write_once(&self, action: &'static str) -> Result<Session, StoreError> {
        let turn = self.turn(action).await?;
        Ok(self.session(action, Link::Pool(self.database.clone()), turn))
    }

    /// Statements that write together or not at all.
    pub(crate) async fn write(&self, action: &'static str) -> Result<Session, StoreError> {
        let turn = self.turn(action).await?;
        self.begin(action, Mode::Write, turn).await
    }

    async fn begin(
        &self,
        action: &'static str,
        mode: Mode,
        turn: Option<OwnedMutexGuard<()>>,
    ) -> Result<Session, StoreError> {
        let begun = self.database.begin(mode).await;
        let lease = begun.map_err(|error| self.condition.failed(action, error))?;
        Ok(self.session(action, Link::Transaction(Mutex::new(lease)), turn))
    }

    /// The right to write on SQLite.
    pub(crate) async fn turn(
        &self,
        action: &'static str,
    ) -> Result<Option<OwnedMutexGuard<()>>, StoreError> {
        if self.dialect == Dialect::Postgres {
            return Ok(None);
        }
        let turn = tokio::time::timeout(self.acquire_timeout, Arc::clone(&self.turn).lock_owned());
        turn.await
            .map(Some)
            .map_err(|error| StoreError::Unavailable {
                action,
                source: Box::new(error),
            })
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
            condition: Arc::clone(&self.condition),
            turn,
        }
    }
}

/// Whether an error says that something unique is already there.
pub(crate) fn is_duplicate(error: &StoreError) -> bool {
    let StoreError::Unavailable { source, .. } = error else {
        return false;
    };
    let error = source.downcast_ref::<sqlx::Error>();
    let refusal = error.and_then(sqlx::Error::as_database_error);
    refusal.is_some_and(sqlx::error::DatabaseError::is_unique_violation)
}

/// The error of a write of something that is unique: that the `name` of the `what` is taken, if that is why.
pub(crate) fn taken(error: StoreError, what: &'static str, name: &str) -> StoreError {
    if is_duplicate(&error) {
        let name = name.to_owned();
        return StoreError::AlreadyExists { what, name };
    }
    error
}
