//! The SQLite file before it is opened: it must be new or Drover's own, and no other user may read it.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use drover_migrations::steps;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, Row};

use crate::options::OpenError;

// `SQLITE_NOTADB`, https://www.sqlite.org/rescode.html
const NO_DATABASE: &str = "26";

// https://www.sqlite.org/fileformat.html#the_database_header
const HEADER: &[u8; 16] = b"SQLite format 3\0";

/// Creates `file` for the user of this process alone, or proves that an existing one is Drover's before its mode is changed.
/// Nothing is changed where it is not.
pub(crate) async fn prepare(file: &Path) -> Result<(), OpenError> {
    if !exists(file)? {
        // Secrets are in the file. SQLite gives its two companions the permissions of the file itself.
        let created = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(file);
        return created.map(drop).map_err(|error| refused(file, error));
    }
    if is_foreign(file).await? {
        return Err(not_ours(file, "the SQLite database of another program"));
    }
    keep_private(file)
}

/// Whether there is a file that may be a database of Drover; an error where something else is there, or where none can be.
pub(crate) fn exists(file: &Path) -> Result<bool, OpenError> {
    if file.as_os_str().as_encoded_bytes().ends_with(b"/") {
        return Err(not_ours(file, "the name of a folder"));
    }
    let found = match std::fs::metadata(file) {
        Ok(found) => found,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            if file.symlink_metadata().is_ok() {
                return Err(not_ours(
                    file,
                    "a symbolic link to a file that does not exist",
                ));
            }
            let folder = match file.parent() {
                Some(folder) if !folder.as_os_str().is_empty() => folder,
                Some(_) | None => Path::new("."),
            };
            if folder.exists() {
                return Ok(false);
            }
            return Err(OpenError::NoFolder {
                folder: folder.to_owned(),
            });
        }
        Err(error) if error.kind() == ErrorKind::NotADirectory => {
            return Err(not_ours(file, "in a folder that is a file"));
        }
        Err(error) => return Err(refused(file, error)),
    };
    if found.is_dir() {
        return Err(not_ours(file, "a folder"));
    }
    if !found.is_file() {
        return Err(not_ours(file, "no regular file"));
    }
    Ok(true)
}

/// Refuses a file that is no SQLite database by its first bytes. Not for a file that this process has open: closing it would
/// give up the locks of the other connections.
pub(crate) fn refuse_other_formats(file: &Path) -> Result<(), OpenError> {
    if !exists(file)? || file.metadata().is_ok_and(|found| found.len() == 0) {
        return Ok(());
    }
    let mut header = [0; HEADER.len()];
    let read = File::open(file).and_then(|mut open| open.read_exact(&mut header));
    match read {
        Ok(()) if &header == HEADER => Ok(()),
        Err(error) if error.kind() != ErrorKind::UnexpectedEof => Err(refused(file, error)),
        _ => Err(not_ours(file, "no SQLite database")),
    }
}

async fn is_foreign(file: &Path) -> Result<bool, OpenError> {
    let unreadable = |source: sqlx::Error| OpenError::File {
        file: file.to_owned(),
        source: Box::new(source),
    };
    let mut connection = SqliteConnectOptions::new()
        .filename(file)
        .read_only(true)
        .disable_statement_logging()
        .connect()
        .await
        .map_err(unreadable)?;
    let asked = async {
        let tables = sqlx::query(
            "SELECT count(*) AS found, count(*) FILTER (WHERE name = 'seaql_migrations') AS steps FROM sqlite_master",
        )
        .fetch_one(&mut connection)
        .await?;
        let (found, has_steps): (i64, i64) = (tables.try_get("found")?, tables.try_get("steps")?);
        if found == 0 || has_steps == 0 {
            return Ok(found > 0);
        }
        let first = steps().into_iter().next().unwrap_or_default();
        let ours = sqlx::query("SELECT count(*) AS ours FROM seaql_migrations WHERE version = $1")
            .bind(first)
            .fetch_one(&mut connection)
            .await?;
        Ok::<_, sqlx::Error>(ours.try_get::<i64, _>("ours")? == 0)
    };
    let answer = asked.await;
    connection.close().await.map_err(unreadable)?;
    match answer {
        Err(sqlx::Error::Database(refusal)) if refusal.code().as_deref() == Some(NO_DATABASE) => {
            Err(not_ours(file, "no SQLite database"))
        }
        answer => answer.map_err(unreadable),
    }
}

fn keep_private(file: &Path) -> Result<(), OpenError> {
    for suffix in ["", "-wal", "-shm"] {
        let mut name = file.as_os_str().to_owned();
        name.push(suffix);
        let part = PathBuf::from(name);
        let permissions = match std::fs::metadata(&part) {
            Ok(found) => found.permissions(),
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(refused(file, error)),
        };
        if permissions.mode() % 0o10 == 0 {
            continue;
        }
        match std::fs::set_permissions(&part, Permissions::from_mode(0o600)) {
            Ok(()) => tracing::info!(
                "`{}` could be read by every user of this machine; its mode is 0600 now",
                part.display()
            ),
            Err(error) => tracing::warn!(
                error = &error as &dyn std::error::Error,
                "`{}` can be read by every user of this machine",
                part.display()
            ),
        }
    }
    Ok(())
}

fn refused(file: &Path, source: std::io::Error) -> OpenError {
    OpenError::File {
        file: file.to_owned(),
        source: Box::new(source),
    }
}

fn not_ours(file: &Path, what: &'static str) -> OpenError {
    OpenError::NotOurs {
        file: file.to_owned(),
        what,
    }
}
