//! What an error of the database means: for the caller, for the connection it came from, and for readiness.

use drover_ports::{BoxError, Rejection, StoreError};
use sqlx::Error;
use sqlx::error::ErrorKind;

const ENCODING: &str = "a character of the text does not exist in the encoding of the database; Drover needs a database \
                        with the encoding UTF8";
const TOO_LARGE: &str = "the value is larger than the database allows";
const RIGHTS: &str =
    "the database user lacks a right that Drover needs; its administrator has to grant it";
const SCHEMA: &str = "a table, column or function that Drover needs is missing: `search_path` leads elsewhere, or the schema \
                      was changed or not restored completely; restore it, then run `drover migrate`";
const DAMAGED: &str = "the database file is damaged; restore it from a backup";

/// What an error of the database means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// It passes: a lost connection, a lock, a restart, a concurrent change.
    Passing,
    /// The database takes no writes for now.
    ReadOnly,
    /// There is no space for what was to be written.
    NoSpace,
    /// Reading or writing the disk fails.
    Disk,
    /// Trying again changes nothing.
    Permanent(Rejection),
}

impl Cause {
    /// What `error` means.
    pub(crate) fn of(error: &Error) -> Self {
        if let Error::Database(refusal) = error {
            let Some(code) = refusal.code() else {
                return Self::Passing;
            };
            return match sqlite_code(&code, error) {
                Some(number) => Self::of_sqlite(number, &refusal.kind()),
                None => Self::of_state(&code),
            };
        }
        if matches!(
            error,
            Error::Encode(_)
                | Error::Decode(_)
                | Error::ColumnDecode { .. }
                | Error::ColumnNotFound(_)
                | Error::ColumnIndexOutOfBounds { .. }
                | Error::TypeNotFound { .. }
                | Error::InvalidArgument(_)
        ) {
            return Self::Permanent(Rejection::Defect);
        }
        Self::Passing
    }

    // https://www.postgresql.org/docs/current/errcodes-appendix.html
    fn of_state(state: &str) -> Self {
        match state {
            "22021" | "22P05" => Self::Permanent(Rejection::Value(ENCODING)),
            "22001" | "22003" | "54000" => Self::Permanent(Rejection::Value(TOO_LARGE)),
            "42501" => Self::Permanent(Rejection::Setup(RIGHTS)),
            // Undefined table, column, function, object and schema. Drover's statements are tested against its schema.
            "42P01" | "42703" | "42883" | "42704" | "3F000" => {
                Self::Permanent(Rejection::Setup(SCHEMA))
            }
            "25006" => Self::ReadOnly,
            // `disk_full`, and `could not extend file` where PostgreSQL has no code of its own for it.
            "53100" => Self::NoSpace,
            "58030" => Self::Disk,
            "XX001" | "XX002" => Self::Permanent(Rejection::Setup(DAMAGED)),
            // The names of prepared statements and cached plans belong to a connection: another one has others. A row that
            // something refers to appears or goes at the same moment.
            "42P05" | "0A000" | "23503" | "23505" | "23P01" => Self::Passing,
            _ => match state.get(..2) {
                Some("22" | "23" | "42" | "54") => Self::Permanent(Rejection::Defect),
                Some("28" | "3D") => Self::Permanent(Rejection::Setup(RIGHTS)),
                _ => Self::Passing,
            },
        }
    }

    // https://www.sqlite.org/rescode.html; the lowest byte is the primary code.
    fn of_sqlite(code: i32, kind: &ErrorKind) -> Self {
        match code & 0xff {
            8 => Self::ReadOnly,
            10 | 14 => Self::Disk,
            11 | 26 => Self::Permanent(Rejection::Setup(DAMAGED)),
            13 => Self::NoSpace,
            18 => Self::Permanent(Rejection::Value(TOO_LARGE)),
            19 if matches!(
                kind,
                ErrorKind::UniqueViolation | ErrorKind::ForeignKeyViolation
            ) =>
            {
                Self::Passing
            }
            // A statement that is wrong, a constraint, a value of another type, misuse, a parameter too many.
            1 | 19 | 20 | 21 | 25 => Self::Permanent(Rejection::Defect),
            _ => Self::Passing,
        }
    }

    /// The error that callers of the store get; `action` is what was being done.
    pub(crate) fn error(self, action: &'static str, source: BoxError) -> StoreError {
        match self {
            Self::Permanent(why) => StoreError::Rejected {
                action,
                why,
                source,
            },
            Self::Passing | Self::ReadOnly | Self::NoSpace | Self::Disk => {
                StoreError::Unavailable { action, source }
            }
        }
    }

    /// Whether a small write may succeed while larger ones still fail.
    pub(crate) const fn is_about_space(self) -> bool {
        matches!(self, Self::NoSpace | Self::Disk)
    }
}

/// Whether a connection with this error must not be used again: what it holds (settings, prepared statements, open
/// files, half a conversation) may be the reason.
pub(crate) fn spoils_connection(error: &Error) -> bool {
    let Error::Database(refusal) = error else {
        return matches!(
            error,
            Error::Io(_) | Error::Tls(_) | Error::Protocol(_) | Error::WorkerCrashed
        );
    };
    let Some(code) = refusal.code() else {
        return true;
    };
    if let Some(number) = sqlite_code(&code, error) {
        // NOMEM, IOERR, CORRUPT, CANTOPEN, PROTOCOL, NOTADB.
        return matches!(number & 0xff, 7 | 10 | 11 | 14 | 15 | 26);
    }
    // A read-only session, one without the prepared statement or with a stranger's, one that the server ends.
    matches!(
        &*code,
        "25006" | "26000" | "42P05" | "0A000" | "34000" | "25P03"
    ) || matches!(code.get(..2), Some("08" | "57" | "58" | "XX")) && &*code != "57014"
}

// SQLite's codes are numbers of another kind: PostgreSQL's have five characters.
fn sqlite_code(code: &str, error: &Error) -> Option<i32> {
    let refusal = error.as_database_error()?;
    refusal.try_downcast_ref::<sqlx::sqlite::SqliteError>()?;
    code.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_postgres_says_is_classified() {
        for (states, cause) in [
            (
                &["22021", "22P05"][..],
                Cause::Permanent(Rejection::Value(ENCODING)),
            ),
            (
                &["22001", "54000"],
                Cause::Permanent(Rejection::Value(TOO_LARGE)),
            ),
            (
                &["42501", "28P01", "3D000"],
                Cause::Permanent(Rejection::Setup(RIGHTS)),
            ),
            (
                &["42P01", "42703", "42883", "42704", "3F000"],
                Cause::Permanent(Rejection::Setup(SCHEMA)),
            ),
            (
                &["42601", "23514", "23502", "22P02"],
                Cause::Permanent(Rejection::Defect),
            ),
            (&["25006"], Cause::ReadOnly),
            (&["53100"], Cause::NoSpace),
            (&["58030"], Cause::Disk),
            (
                &[
                    "08006", "08P01", "57P01", "57P03", "57014", "53300", "40001", "40P01",
                    "55P03", "26000", "42P05", "0A000", "25P02", "25P03", "23505", "23503",
                ],
                Cause::Passing,
            ),
        ] {
            for state in states {
                assert_eq!(Cause::of_state(state), cause, "{state}");
            }
        }
    }

    #[test]
    fn what_sqlite_says_is_classified() {
        for (codes, cause) in [
            (&[13][..], Cause::NoSpace),
            (&[10, 778, 2570, 14], Cause::Disk),
            (&[8, 264, 776], Cause::ReadOnly),
            (&[11, 26], Cause::Permanent(Rejection::Setup(DAMAGED))),
            (&[18], Cause::Permanent(Rejection::Value(TOO_LARGE))),
            (&[1, 275, 1299, 20], Cause::Permanent(Rejection::Defect)),
            (&[5, 517, 6, 7, 9, 15, 17], Cause::Passing),
        ] {
            for code in codes {
                assert_eq!(Cause::of_sqlite(*code, &ErrorKind::Other), cause, "{code}");
            }
        }
        assert_eq!(
            Cause::of_sqlite(2067, &ErrorKind::UniqueViolation),
            Cause::Passing
        );
    }
}
