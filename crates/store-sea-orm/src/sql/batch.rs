//! Many rows as one parameter per column: what the engine's hot statements are given.
//!
//! PostgreSQL takes arrays, which it reads several times faster than JSON; SQLite has none and takes
//! one JSON parameter. A batch comes last in a statement, because it has more parameters on one of them.

use std::borrow::Cow;

use sea_orm::Value;
use sea_orm::sea_query::ArrayType;
use uuid::Uuid;

use crate::sql::dialect::Dialect;
use crate::sql::{Sql, to_json};

/// sea-query's arrays have no null, so the null of an optional column is an unused
/// value.
const NO_INTEGER: i64 = i64::MIN;
/// A character that is not for interchange.
const NO_TEXT: &str = "\u{10ffff}";

/// The type of a column of a batch.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Column {
    Text,
    OptionalText,
    Integer,
    OptionalInteger,
    Boolean,
    Uuid,
    OptionalUuid,
}

impl Column {
    const fn array(self) -> ArrayType {
        match self {
            Self::Text | Self::OptionalText => ArrayType::String,
            Self::Integer | Self::OptionalInteger => ArrayType::BigInt,
            Self::Boolean => ArrayType::Bool,
            Self::Uuid | Self::OptionalUuid => ArrayType::Uuid,
        }
    }

    const fn postgres(self) -> &'static str {
        match self {
            Self::Text | Self::OptionalText => "text[]",
            Self::Integer | Self::OptionalInteger => "bigint[]",
            Self::Boolean => "boolean[]",
            Self::Uuid | Self::OptionalUuid => "uuid[]",
        }
    }

    // The column `name` of the arrays `u` with its nulls.
    fn projection(self, name: &str) -> String {
        match self {
            Self::Text | Self::Integer | Self::Boolean | Self::Uuid => format!("u.{name}"),
            Self::OptionalText => format!("NULLIF(u.{name}, '{NO_TEXT}') AS {name}"),
            Self::OptionalInteger => format!("NULLIF(u.{name}, {NO_INTEGER}) AS {name}"),
            Self::OptionalUuid => {
                format!(
                    "NULLIF(u.{name}, CAST('{}' AS uuid)) AS {name}",
                    Uuid::nil()
                )
            }
        }
    }
}

/// Rows that travel column by column; made by the `batch!` macro.
pub(crate) trait Batch: serde::Serialize + Sized {
    /// The columns by name: the fields of the row.
    const COLUMNS: &'static [(&'static str, Column)];

    /// The row's value of each column.
    fn cells(&self) -> Vec<Value>;
}

/// A value of a batch as PostgreSQL's arrays take it.
pub(crate) trait Cell {
    fn cell(&self) -> Value;
}

fn text(text: &str) -> Value {
    // PostgreSQL keeps no NUL character in a text.
    let kept = if text.contains('\0') {
        text.replace('\0', "\u{2400}")
    } else {
        text.to_owned()
    };
    Value::String(Some(kept))
}

impl Cell for &str {
    fn cell(&self) -> Value {
        text(self)
    }
}

impl Cell for String {
    fn cell(&self) -> Value {
        text(self)
    }
}

impl Cell for Cow<'_, str> {
    fn cell(&self) -> Value {
        text(self)
    }
}

impl Cell for Option<&str> {
    fn cell(&self) -> Value {
        text(self.unwrap_or(NO_TEXT))
    }
}

impl Cell for i64 {
    fn cell(&self) -> Value {
        Value::BigInt(Some(*self))
    }
}

impl Cell for Option<i64> {
    fn cell(&self) -> Value {
        Value::BigInt(Some(self.unwrap_or(NO_INTEGER)))
    }
}

impl Cell for bool {
    fn cell(&self) -> Value {
        Value::Bool(Some(*self))
    }
}

impl Cell for Uuid {
    fn cell(&self) -> Value {
        Value::Uuid(Some(*self))
    }
}

impl Cell for Option<Uuid> {
    fn cell(&self) -> Value {
        Value::Uuid(Some(self.unwrap_or(Uuid::nil())))
    }
}

/// A row whose fields are columns of a batch.
macro_rules! batch {
    ($(#[doc = $doc:literal])* $name:ident$(<$life:lifetime>)? { $($field:ident: $type:ty => $column:ident),+ $(,)? }) => {
        $(#[doc = $doc])*
        #[derive(Debug, serde::Serialize)]
        pub(crate) struct $name$(<$life>)? {
            $(pub(crate) $field: $type),+
        }

        impl$(<$life>)? $crate::sql::batch::Batch for $name$(<$life>)? {
            const COLUMNS: &'static [(&'static str, $crate::sql::batch::Column)] =
                &[$((stringify!($field), $crate::sql::batch::Column::$column)),+];

            fn cells(&self) -> Vec<sea_orm::Value> {
                vec![$($crate::sql::batch::Cell::cell(&self.$field)),+]
            }
        }
    };
}
pub(crate) use batch;

impl Dialect {
    /// The rows of a batch as a table called `alias`; its parameters start with `number`.
    pub(crate) fn batch<B: Batch>(self, number: usize, alias: &str) -> String {
        match self {
            Self::Postgres => {
                let arrays: Vec<String> = B::COLUMNS
                    .iter()
                    .enumerate()
                    .map(|(at, (_, column))| {
                        format!("CAST(${} AS {})", number + at, column.postgres())
                    })
                    .collect();
                let names: Vec<&str> = B::COLUMNS.iter().map(|(name, _)| *name).collect();
                let projections: Vec<String> = B::COLUMNS
                    .iter()
                    .map(|(name, column)| column.projection(name))
                    .collect();
                format!(
                    "(SELECT {} FROM unnest({}) AS u({})) AS {alias}",
                    projections.join(", "),
                    arrays.join(", "),
                    names.join(", "),
                )
            }
            Self::Sqlite => {
                let columns: Vec<String> = B::COLUMNS
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
}

impl Sql {
    /// The last parameters: a batch, whose place is [`Dialect::batch`].
    pub(crate) fn batch<B: Batch>(mut self, dialect: Dialect, rows: &[B]) -> Self {
        match dialect {
            Dialect::Sqlite => self.values.push(to_json(&rows).into()),
            Dialect::Postgres => {
                let mut columns: Vec<Vec<Value>> = B::COLUMNS
                    .iter()
                    .map(|_| Vec::with_capacity(rows.len()))
                    .collect();
                for row in rows {
                    for (column, cell) in columns.iter_mut().zip(row.cells()) {
                        column.push(cell);
                    }
                }
                for ((_, column), values) in B::COLUMNS.iter().zip(columns) {
                    self.values
                        .push(Value::Array(column.array(), Some(Box::new(values))));
                }
            }
        }
        self
    }
}
