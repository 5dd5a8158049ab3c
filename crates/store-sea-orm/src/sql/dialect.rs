//! The few places where PostgreSQL and SQLite want other words.

use std::borrow::Cow;

use crate::steps;

/// The first 16 bits of the advisory locks of writers of events ("DV" in ASCII); the other 48 are a number.
const EVENT_TAG: i64 = 17_494;
const EVENT_MASK: i64 = (1 << 48) - 1;
/// The common table expression that takes such a lock.
pub(crate) const EVENT_TURN: &str = "event_turn AS MATERIALIZED (
    SELECT pg_advisory_xact_lock_shared((CAST(17494 AS bigint) << 48) | n.number)
    FROM (SELECT nextval('workflow_event_order') AS number OFFSET 0) n)";

/// Which of the two databases is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// PostgreSQL 14 and later.
    Postgres,
    /// SQLite 3.42 and later; the one inside this program.
    Sqlite,
}

/// The type of a column in a [`Rows`] table.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ColumnType {
    Text,
    Integer,
    Boolean,
    Real,
    Json,
    Uuid,
}

impl ColumnType {
    const fn postgres(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Integer => "bigint",
            Self::Boolean => "boolean",
            Self::Real => "double precision",
            Self::Json => "jsonb",
            Self::Uuid => "uuid",
        }
    }
}

/// Rows that travel as one JSON parameter; made by the `rows!` macro.
pub(crate) trait Rows: serde::Serialize {
    /// The columns by name: the fields of the row.
    const COLUMNS: &'static [(&'static str, ColumnType)];
}

/// A row whose fields are columns of a table made from one JSON parameter.
macro_rules! rows {
    ($(#[doc = $doc:literal])* $name:ident$(<$life:lifetime>)? { $($field:ident: $type:ty => $column:ident),+ $(,)? }) => {
        $(#[doc = $doc])*
        #[derive(Debug, serde::Serialize)]
        pub(crate) struct $name$(<$life>)? {
            $(pub(crate) $field: $type),+
        }

        impl$(<$life>)? $crate::sql::dialect::Rows for $name$(<$life>)? {
            const COLUMNS: &'static [(&'static str, $crate::sql::dialect::ColumnType)] =
                &[$((stringify!($field), $crate::sql::dialect::ColumnType::$column)),+];
        }
    };
}
pub(crate) use rows;

impl Dialect {
    /// The rows in JSON parameter `number` as a table called `alias`.
    pub(crate) fn rows<R: Rows>(self, number: u8, alias: &str) -> String {
        match self {
            Self::Postgres => {
                let columns: Vec<String> = R::COLUMNS
                    .iter()
                    .map(|(name, kind)| format!("{name} {}", kind.postgres()))
                    .collect();
                format!(
                    "jsonb_to_recordset(CAST(${number} AS jsonb)) AS {alias}({})",
                    columns.join(", ")
                )
            }
            Self::Sqlite => {
                let columns: Vec<String> = R::COLUMNS
                    .iter()
                    .map(|(name, _)| format!("json_extract(value, '$.{name}') AS {name}"))
                    .collect();
                // With the limit that is none, SQLite reads the JSON once and not once for each row of
                // a table that it is joined to.
                format!(
                    "(SELECT {} FROM json_each(${number}) LIMIT -1) AS {alias}",
                    columns.join(", ")
                )
            }
        }
    }

    /// The whole numbers in JSON parameter `number`, for `IN`.
    pub(crate) fn integers(self, number: u8) -> String {
        match self {
            Self::Postgres => {
                format!(
                    "(SELECT CAST(value AS bigint) FROM jsonb_array_elements_text(CAST(${number} AS jsonb)))"
                )
            }
            Self::Sqlite => format!("(SELECT value FROM json_each(${number}))"),
        }
    }

    /// The texts in JSON parameter `number`, for `IN`.
    pub(crate) fn texts(self, number: u8) -> String {
        match self {
            Self::Postgres => {
                format!("(SELECT value FROM jsonb_array_elements_text(CAST(${number} AS jsonb)))")
            }
            Self::Sqlite => format!("(SELECT value FROM json_each(${number}))"),
        }
    }

    /// Text parameter `number` as an identifier.
    pub(crate) fn uuid(self, number: u8) -> String {
        match self {
            Self::Postgres => format!("CAST(${number} AS uuid)"),
            Self::Sqlite => format!("${number}"),
        }
    }

    /// Text parameter `number` as JSON.
    pub(crate) fn json(self, number: u8) -> String {
        match self {
            Self::Postgres => format!("CAST(${number} AS jsonb)"),
            Self::Sqlite => format!("${number}"),
        }
    }

    /// The database's clock, microseconds since the epoch; not the start of the transaction. SQLite has the clock of this
    /// process, which can be set: from the process's start on it goes at the pace of the monotonic one.
    pub(crate) fn now(self) -> Cow<'static, str> {
        match self {
            Self::Postgres => {
                Cow::Borrowed("CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS bigint)")
            }
            Self::Sqlite => match steps::so_far() {
                0 => Cow::Borrowed("CAST(unixepoch('subsec') * 1000000 AS INTEGER)"),
                by => Cow::Owned(format!(
                    "(CAST(unixepoch('subsec') * 1000000 AS INTEGER) - ({by}))"
                )),
            },
        }
    }

    /// The whole numbers in JSON column `column`, for `IN`.
    pub(crate) fn members(self, column: &str) -> String {
        match self {
            Self::Postgres => {
                format!("(SELECT CAST(value AS bigint) FROM jsonb_array_elements_text({column}))")
            }
            Self::Sqlite => format!("(SELECT value FROM json_each({column}))"),
        }
    }

    /// The text `what`, compared byte by byte whatever the language of the database is.
    pub(crate) fn plain(self, what: &str) -> String {
        match self {
            Self::Postgres => format!("{what} COLLATE \"C\""),
            Self::Sqlite => what.to_owned(),
        }
    }

    /// Locks the rows of `table` that a `SELECT` finds, against writers but not against foreign
    /// keys. A writing transaction on SQLite is alone anyway.
    pub(crate) fn locking(self, table: &str) -> String {
        match self {
            Self::Postgres => format!(" FOR NO KEY UPDATE OF {table}"),
            Self::Sqlite => String::new(),
        }
    }

    /// Locks the rows of `table` that a `SELECT` finds, against everybody else who locks or changes them;
    /// nothing where a writing transaction is alone anyway.
    pub(crate) fn locking_all(self, table: &str) -> Option<String> {
        match self {
            Self::Postgres => Some(format!(" FOR UPDATE OF {table}")),
            Self::Sqlite => None,
        }
    }

    /// Keeps the rows that a `SELECT` finds from being removed.
    pub(crate) const fn keeping(self) -> &'static str {
        match self {
            Self::Postgres => " FOR KEY SHARE",
            Self::Sqlite => "",
        }
    }

    /// Deletes the rows of `table` that have the `columns` of a row of a table called `r`.
    pub(crate) fn delete_by(self, table: &str, columns: &[&str], rows: &str) -> String {
        match self {
            Self::Postgres => {
                let same: Vec<String> = columns
                    .iter()
                    .map(|column| format!("d.{column} = r.{column}"))
                    .collect();
                format!(
                    "DELETE FROM {table} AS d USING {rows} WHERE {}",
                    same.join(" AND ")
                )
            }
            Self::Sqlite => {
                let theirs: Vec<String> =
                    columns.iter().map(|column| format!("r.{column}")).collect();
                format!(
                    "DELETE FROM {table} WHERE ({}) IN (SELECT {} FROM {rows})",
                    columns.join(", "),
                    theirs.join(", "),
                )
            }
        }
    }

    /// Writes batches of events; `rows` is a query for workflow, time, count and list.
    ///
    /// Readers must not pass a position that is still to come. On PostgreSQL a writer therefore first draws a
    /// number and holds a lock that shows it, and then draws the positions, which are higher: a reader that sees no
    /// lock below a drawn position knows that it is there or never will be. SQLite has one writer.
    pub(crate) fn tell(self, rows: &str) -> String {
        match self {
            Self::Postgres => format!(
                "WITH {EVENT_TURN} INSERT INTO workflow_events (position, workflow_id, at, event_count, events)
                 SELECT nextval('workflow_event_order'), x.* FROM event_turn CROSS JOIN ({rows}) x"
            ),
            Self::Sqlite => format!(
                "INSERT INTO workflow_events (workflow_id, at, event_count, events) {rows}"
            ),
        }
    }

    /// The position that no event below it is still to come; to be asked for before the events are read.
    pub(crate) fn events_settled(self) -> String {
        match self {
            Self::Postgres => format!(
                "WITH drawn AS MATERIALIZED (
                     SELECT CASE WHEN is_called THEN last_value ELSE last_value - 1 END AS position FROM workflow_event_order)
                 SELECT LEAST(d.position + 1, (
                     SELECT min((CAST(l.classid AS bigint) << 32 | CAST(l.objid AS bigint)) & {EVENT_MASK})
                     FROM pg_locks l
                     WHERE l.locktype = 'advisory' AND l.objsubid = 1 AND d.position IS NOT NULL
                       AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
                       AND CAST(l.classid AS bigint) >> 16 = {EVENT_TAG}))
                 FROM drawn d"
            ),
            Self::Sqlite => format!("SELECT {}", i64::MAX),
        }
    }

    /// Has a table for this transaction alone, as far as writers are concerned.
    pub(crate) fn alone_in(self, table: &str) -> Option<String> {
        match self {
            Self::Postgres => Some(format!("LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE")),
            Self::Sqlite => None,
        }
    }

    /// Whether the JSON object in `column` has the text of parameter `value` under the name of parameter `name`.
    pub(crate) fn has_text(self, column: &str, name: u8, value: u8) -> String {
        match self {
            Self::Postgres => format!("{column} ->> ${name} = ${value}"),
            Self::Sqlite => format!(
                "EXISTS (SELECT 1 FROM json_each({column}) j WHERE j.key = ${name} AND j.value = ${value})"
            ),
        }
    }

    /// The functions that make a JSON list of rows and of values.
    pub(crate) const fn json_list(self) -> (&'static str, &'static str) {
        match self {
            Self::Postgres => ("json_agg", "json_build_array"),
            Self::Sqlite => ("json_group_array", "json_array"),
        }
    }

    /// Hexadecimal text parameter or column `what` as bytes.
    pub(crate) fn bytes(self, what: &str) -> String {
        match self {
            Self::Postgres => format!("decode({what}, 'hex')"),
            Self::Sqlite => format!("unhex({what})"),
        }
    }

    /// Text column `what` as JSON.
    pub(crate) fn json_of(self, what: &str) -> String {
        match self {
            Self::Postgres => format!("CAST({what} AS jsonb)"),
            Self::Sqlite => what.to_owned(),
        }
    }

    /// Waits until no other transaction claims, until this one ends; SQLite has one writer anyway.
    pub(crate) const fn claiming_turn(self) -> Option<&'static str> {
        match self {
            // "claim" in ASCII; no other program uses it for its advisory locks.
            Self::Postgres => Some("SELECT pg_advisory_xact_lock(427153811821)"),
            Self::Sqlite => None,
        }
    }

    /// Skips rows that another transaction has locked.
    pub(crate) const fn skipping_locked(self) -> &'static str {
        match self {
            Self::Postgres => " FOR UPDATE SKIP LOCKED",
            Self::Sqlite => "",
        }
    }
}
