//! Lists in a requested order.

use drover_domain::page::PageRequest;
use drover_ports::StoreError;

use crate::sql::Sql;
use crate::sql::session::{KeyRow, Row, Session};

/// In which order rows go, and of which tables they are.
#[derive(Debug, Clone)]
pub(crate) struct Order {
    /// The tables, joined, without conditions.
    pub(crate) from: &'static str,
    /// The key's column.
    pub(crate) key: &'static str,
    /// What the rows go by before they go by the key; never NULL.
    pub(crate) by: Option<String>,
    pub(crate) is_descending: bool,
}

impl Order {
    /// A query for one page: its first two parameters are taken, conditions of the list are still to come.
    pub(crate) fn sql(&self, page: PageRequest) -> Sql {
        if self.is_descending && (self.by.is_none() || page.after.is_none()) {
            Sql::new("").descending(page)
        } else {
            Sql::new("").ascending(page)
        }
    }

    /// What the rows of a page fulfil. The place of the item before the page is read by the same statement; nothing
    /// comes after an item that is gone.
    pub(crate) fn condition(&self, page: PageRequest) -> String {
        let Self { from, key, by, .. } = self;
        let sign = if self.is_descending { '<' } else { '>' };
        match by {
            Some(by) if page.after.is_some() => {
                format!("({by}, {key}) {sign} (SELECT {by}, {key} FROM {from} WHERE {key} = $1)")
            }
            Some(_) | None => format!("{key} {sign} $1"),
        }
    }

    /// How the rows are ordered and limited.
    pub(crate) fn tail(&self) -> String {
        let key = self.key;
        let direction = if self.is_descending { " DESC" } else { "" };
        let by = self.by.as_ref();
        let first = by.map_or_else(String::new, |by| format!("{by}{direction}, "));
        format!("ORDER BY {first}{key}{direction} LIMIT $2")
    }

    /// The rows of a page.
    ///
    /// # Errors
    ///
    /// [`StoreError::PositionGone`], [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    pub(crate) async fn rows<R: Row>(
        &self,
        session: &Session,
        sql: Sql,
        page: PageRequest,
    ) -> Result<Vec<R>, StoreError> {
        let rows = session.rows::<R>(sql).await?;
        // Keys are never used again: what is there now was there then.
        if let (true, Some(after), true) = (rows.is_empty(), page.after, self.by.is_some()) {
            let Self { from, key, .. } = self;
            let text = format!("SELECT {key} AS id FROM {from} WHERE {key} = $1");
            let found = session.row::<KeyRow>(Sql::new(text).bind(after)).await?;
            found.ok_or(StoreError::PositionGone)?;
        }
        Ok(rows)
    }
}
