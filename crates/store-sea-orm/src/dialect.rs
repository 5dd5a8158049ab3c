//! The few places where PostgreSQL and SQLite want other words.

use sea_orm::DbBackend;

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

        impl$(<$life>)? $crate::dialect::Rows for $name$(<$life>)? {
            const COLUMNS: &'static [(&'static str, $crate::dialect::ColumnType)] =
                &[$((stringify!($field), $crate::dialect::ColumnType::$column)),+];
        }
    };
}
pub(crate) use rows;

impl Dialect {
    /// What sea-orm calls it.
    pub(crate) const fn backend(self) -> DbBackend {
        match self {
            Self::Postgres => DbBackend::Postgres,
            Self::Sqlite => DbBackend::Sqlite,
        }
    }

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

    /// The database's clock, microseconds since the epoch; not the start of the transaction.
    pub(crate) const fn now(self) -> &'static str {
        match self {
            Self::Postgres => "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS bigint)",
            Self::Sqlite => "CAST(unixepoch('subsec') * 1000000 AS INTEGER)",
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

    /// Waits until no other transaction claims, until this one ends; SQLite has one writer anyway.
    pub(crate) const fn claiming_turn(self) -> Option<&'static str> {
        match self {
            // "claim" in ASCII; no other program uses it for its advisory locks.
            Self::Postgres => Some("SELECT pg_advisory_xact_lock(427153811821)"),
            Self::Sqlite => None,
        }
    }

    /// Whether two columns with JSON lists of texts have an element in common.
    pub(crate) fn shares_an_element(self, one: &str, other: &str) -> String {
        let elements = match self {
            Self::Postgres => "jsonb_array_elements_text",
            Self::Sqlite => "json_each",
        };
        format!(
            "EXISTS (SELECT 1 FROM {elements}({one}) x JOIN {elements}({other}) y ON x.value = y.value)"
        )
    }

    /// Passes over rows that somebody else has locked.
    pub(crate) const fn skipping_locked(self) -> &'static str {
        match self {
            Self::Postgres => " FOR UPDATE SKIP LOCKED",
            Self::Sqlite => "",
        }
    }
}
