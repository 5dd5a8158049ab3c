//! Reading rows by place, which costs less than by name where there are thousands of them.

use drover_domain::Id;
use drover_domain::workflow::{TaskNo, WorkflowId};
use drover_ports::StoreError;
use sea_orm::{ColIdx, DbErr, QueryResult, TryGetError, TryGetable};
use uuid::Uuid;

use crate::row::Stored;

/// An identifier: `uuid` on PostgreSQL, text on SQLite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct StoredUuid(pub(super) Uuid);

impl StoredUuid {
    /// The identifier of a `K`.
    pub(super) const fn id<K>(self) -> Id<K> {
        Id::from_uuid(self.0)
    }
}

impl TryGetable for StoredUuid {
    fn try_get_by<I: ColIdx>(row: &QueryResult, index: I) -> Result<Self, TryGetError> {
        if row.try_as_pg_row().is_some() {
            return Uuid::try_get_by(row, index).map(Self);
        }
        let text = String::try_get_by(row, index)?;
        Uuid::try_parse(&text).map(Self).map_err(|error| {
            TryGetError::DbErr(DbErr::Type(format!("`{text}` is no identifier: {error}")))
        })
    }
}

/// The columns of a row, one after the other.
pub(super) struct Columns<'a> {
    row: &'a QueryResult,
    at: usize,
}

impl<'a> Columns<'a> {
    pub(super) const fn new(row: &'a QueryResult) -> Self {
        Self { row, at: 0 }
    }

    /// The next column.
    pub(super) fn next<T: TryGetable>(&mut self) -> Result<T, DbErr> {
        let at = self.at;
        self.at += 1;
        self.row.try_get_by_index(at)
    }
}

/// A row that is read by place.
macro_rules! by_place {
    ($(#[doc = $doc:literal])* $name:ident ($what:literal) { $($field:ident: $type:ty),+ $(,)? }) => {
        $(#[doc = $doc])*
        #[derive(Debug)]
        pub(super) struct $name {
            $(pub(super) $field: $type),+
        }

        impl $name {
            /// Reads the next columns.
            pub(super) fn read_from(
                columns: &mut $crate::workflow::read::Columns<'_>,
            ) -> Result<Self, sea_orm::DbErr> {
                Ok(Self { $($field: columns.next()?),+ })
            }
        }

        impl sea_orm::FromQueryResult for $name {
            fn from_query_result(row: &sea_orm::QueryResult, _: &str) -> Result<Self, sea_orm::DbErr> {
                Self::read_from(&mut $crate::workflow::read::Columns::new(row))
            }
        }

        impl $crate::sql::session::Row for $name {
            const WHAT: &'static str = $what;
        }
    };
}
pub(super) use by_place;

/// A stored task number.
pub(super) fn task_no(stored: &Stored, number: i64) -> Result<TaskNo, StoreError> {
    let no = stored.number("task number", number)?;
    TaskNo::new(no).ok_or_else(|| stored.corrupt(format!("{number} is no task number")))
}

/// Perhaps a stored task number.
pub(super) fn optional_task_no(
    stored: &Stored,
    number: Option<i64>,
) -> Result<Option<TaskNo>, StoreError> {
    number.map(|number| task_no(stored, number)).transpose()
}

/// A task that is being read; names itself when it cannot be.
pub(super) fn stored_task(workflow: WorkflowId, number: i64) -> Stored {
    Stored::new("task", format_args!("{number} of workflow {workflow}"))
}
