//! The CSV of `show stat`, read by column name.

use std::collections::HashMap;

/// What the first line of the table begins with.
const HEADER_MARK: &str = "# ";

/// A table of `show stat`.
///
/// Columns are found by their name, because every HAProxy release has others and statistics modules add their own.
/// Fields may be quoted and then hold commas.
///
/// A row with another number of fields than the header, or without a name, is not believed: every HAProxy fills all
/// columns, so such a row is one that something has cut or mixed up.
#[derive(Debug)]
pub(super) struct StatTable {
    columns: HashMap<String, usize>,
    rows: Vec<csv::StringRecord>,
    unread: Vec<String>,
}

impl StatTable {
    /// Reads the answer of `show stat`; `None` if it is not such a table.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let table = text.strip_prefix(HEADER_MARK)?;
        let mut reader = csv::ReaderBuilder::new()
            .flexible(true)
            .from_reader(table.as_bytes());
        let mut columns = HashMap::new();
        for (at, name) in reader.headers().ok()?.iter().enumerate() {
            columns.entry(name.to_owned()).or_insert(at);
        }
        if !["pxname", "svname", "status"]
            .iter()
            .all(|needed| columns.contains_key(*needed))
        {
            return None;
        }
        let width = reader.headers().ok()?.len();
        let mut table = Self {
            columns,
            rows: Vec::new(),
            unread: Vec::new(),
        };
        for (number, fields) in (1_usize..).zip(reader.records()) {
            table.take(number, width, fields.ok()?);
        }
        Some(table)
    }

    fn take(&mut self, number: usize, width: usize, fields: csv::StringRecord) {
        let row = StatRow {
            columns: &self.columns,
            fields: &fields,
        };
        if fields.len() != width {
            let found = fields.len();
            self.unread.push(format!(
                "row {number} of HAProxy's statistics has {found} fields, the header has {width}"
            ));
        } else if row.field("pxname").is_empty() || row.field("svname").is_empty() {
            self.unread
                .push(format!("row {number} of HAProxy's statistics has no name"));
        } else {
            self.rows.push(fields);
        }
    }

    /// What could not be read, a sentence for each row.
    pub(super) fn unread(&self) -> &[String] {
        &self.unread
    }

    /// The rows, each with access by column name.
    pub(super) fn rows(&self) -> impl Iterator<Item = StatRow<'_>> {
        self.rows.iter().map(|fields| StatRow {
            columns: &self.columns,
            fields,
        })
    }
}

/// One row of a [`StatTable`].
#[derive(Debug, Clone, Copy)]
pub(super) struct StatRow<'a> {
    columns: &'a HashMap<String, usize>,
    fields: &'a csv::StringRecord,
}

impl<'a> StatRow<'a> {
    /// The field of a column; empty if this HAProxy has no such column.
    pub(super) fn field(&self, column: &str) -> &'a str {
        self.columns
            .get(column)
            .and_then(|at| self.fields.get(*at))
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Shortened answers of HAProxy 2.6.12; the second server has a cookie and a check text with commas.
    const RECORDED: &str = "\
# pxname,svname,qcur,scur,status,weight,lastchg,downtime,type,check_status,last_chk,addr,cookie,-,ssl_sess,
web,app1,0,3,UP,1,17,0,2,L7OK,,127.0.0.1:8001,app1,-,0,
web,app2,1,0,DOWN 1/2,100,2,40,2,L7STS,\"Layer7 wrong status: code: 503, info: \"\"Service, Unavailable\"\"\",127.0.0.1:8002,\"x,y\",-,0,
";

    #[test]
    fn fields_are_found_by_column_name() {
        let table = StatTable::parse(RECORDED).unwrap();
        let first = table.rows().next().unwrap();
        assert_eq!(
            ["svname", "scur", "status", "lastchg", "addr"].map(|column| first.field(column)),
            ["app1", "3", "UP", "17", "127.0.0.1:8001"]
        );
        assert_eq!(first.field("a_column_of_tomorrow"), "");
    }

    #[test]
    fn quoted_commas_do_not_shift_the_columns() {
        let table = StatTable::parse(RECORDED).unwrap();
        let second = table.rows().nth(1).unwrap();
        assert_eq!(
            second.field("last_chk"),
            "Layer7 wrong status: code: 503, info: \"Service, Unavailable\""
        );
        assert_eq!(second.field("cookie"), "x,y");
        assert_eq!(second.field("addr"), "127.0.0.1:8002");
    }

    #[test]
    fn another_order_of_columns_changes_nothing() {
        let table =
            StatTable::parse("# status,svname,new_one,pxname\nMAINT (via b/s),s,7,b\n").unwrap();
        let row = table.rows().next().unwrap();
        assert_eq!(
            ["pxname", "svname", "status"].map(|column| row.field(column)),
            ["b", "s", "MAINT (via b/s)"]
        );
    }

    #[test]
    fn a_row_that_is_not_whole_is_named_and_the_others_stand() {
        let table = StatTable::parse(
            "# pxname,svname,status,weight\nb,s,UP\nb,t,UP,1\nb,,UP,1\n,u,UP,1\nb,v,UP,1,7\n",
        )
        .unwrap();
        let names: Vec<&str> = table.rows().map(|row| row.field("svname")).collect();
        assert_eq!(names, ["t"]);
        assert_eq!(
            table.unread(),
            [
                "row 1 of HAProxy's statistics has 3 fields, the header has 4",
                "row 3 of HAProxy's statistics has no name",
                "row 4 of HAProxy's statistics has no name",
                "row 5 of HAProxy's statistics has 5 fields, the header has 4",
            ]
        );
    }

    #[test]
    fn an_error_text_is_not_a_table() {
        for text in [
            "",
            "No such proxy.\n",
            "# something else\n",
            "Permission denied\n",
        ] {
            assert!(
                StatTable::parse(text).is_none(),
                "{text:?} was read as a table"
            );
        }
    }
}
