//! A statement with its parameters.

pub(crate) mod batch;
pub(crate) mod database;
pub(crate) mod dialect;
pub(crate) mod file;
pub(crate) mod lease;
pub(crate) mod once;
pub(crate) mod order;
pub(crate) mod refusal;
pub(crate) mod session;

use drover_domain::fleet::SettingsLayer;
use drover_domain::page::PageRequest;
use drover_domain::{Id, Timestamp};
use sea_orm::Value;

use crate::fleet::view::{like, pattern};
use crate::sql::dialect::{Dialect, Rows};

/// A statement with its parameters, `$1` first.
#[derive(Debug, Clone)]
pub(crate) struct Sql {
    pub(crate) text: String,
    pub(crate) values: Vec<Value>,
}

impl Sql {
    /// The number of the parameter that was bound last.
    pub(crate) fn last(&self) -> u8 {
        u8::try_from(self.values.len()).unwrap_or(u8::MAX)
    }

    /// A statement without parameters yet.
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            values: Vec::new(),
        }
    }

    /// The next parameter, for what cannot hold a NUL character.
    pub(crate) fn bind(mut self, value: impl Into<Value>) -> Self {
        self.values.push(value.into());
        self
    }

    /// The next parameter, a text from anywhere.
    pub(crate) fn text(self, text: &str) -> Self {
        self.optional_text(Some(text))
    }

    /// The next parameter, perhaps a text from anywhere.
    pub(crate) fn optional_text(self, text: Option<&str>) -> Self {
        self.bind(text.map(|text| text.replace('\0', "\u{2400}")))
    }

    /// The next three parameters, settings: the playbook, where artifacts are, their extension.
    pub(crate) fn layer(self, settings: &SettingsLayer) -> Self {
        self.optional_text(settings.playbook_path.as_deref())
            .optional_text(settings.artifact_url.as_deref())
            .optional_text(settings.artifact_extension.as_deref())
    }

    /// The next parameter, perhaps a time.
    pub(crate) fn time(self, at: Option<Timestamp>) -> Self {
        self.bind(at.map(Timestamp::as_micros))
    }

    /// The next parameter, an identifier; wrap its place with [`crate::sql::dialect::Dialect::uuid`].
    pub(crate) fn id<K>(self, id: Id<K>) -> Self {
        self.bind(id.to_string())
    }

    /// The next parameter under a condition, if there is a value; the condition is what stands before the parameter.
    pub(crate) fn narrow<V: Into<Value>>(
        self,
        conditions: &mut Vec<String>,
        condition: &str,
        value: Option<V>,
    ) -> Self {
        let Some(value) = value else {
            return self;
        };
        let sql = self.bind(value);
        conditions.push(format!("{condition} ${}", sql.values.len()));
        sql
    }

    /// A part that one of these columns must have, if there is one.
    pub(crate) fn narrow_like(
        self,
        conditions: &mut Vec<String>,
        dialect: Dialect,
        columns: &[&str],
        part: Option<&String>,
    ) -> Self {
        let Some(part) = part else {
            return self;
        };
        let sql = self.text(&pattern(part));
        let fits = |column: &&str| like(dialect, column, sql.values.len());
        let fits: Vec<String> = columns.iter().map(fits).collect();
        conditions.push(format!("({})", fits.join(" OR ")));
        sql
    }

    /// The next parameter, rows; its place is [`crate::sql::dialect::Dialect::rows`].
    pub(crate) fn rows<R: Rows>(self, rows: &[R]) -> Self {
        self.json(&rows)
    }

    /// The next parameter, anything as JSON.
    pub(crate) fn json(self, value: &impl serde::Serialize) -> Self {
        self.bind(to_json(value))
    }

    /// The next two parameters, for a list that ascends: after which position, how many.
    pub(crate) fn ascending(self, page: PageRequest) -> Self {
        self.bind(page.after.unwrap_or(0)).bind(lookahead(page))
    }

    /// The next two parameters, for a list that descends: before which position, how many.
    pub(crate) fn descending(self, page: PageRequest) -> Self {
        self.bind(page.after.unwrap_or(i64::MAX))
            .bind(lookahead(page))
    }
}

// One more than requested shows whether there is more.
fn lookahead(page: PageRequest) -> i64 {
    i64::from(limit(page)) + 1
}

/// How many items a page may have.
pub(crate) fn limit(page: PageRequest) -> u16 {
    page.limit.min(PageRequest::LIMIT_MAX)
}

/// A value as JSON text. PostgreSQL keeps no NUL character in a text, so each is shown as `␀`.
pub(crate) fn to_json(value: &impl serde::Serialize) -> String {
    // Our shapes have text keys and cannot fail; an empty text would be refused by the database.
    let json = serde_json::to_string(value).unwrap_or_default();
    if !json.contains("\\u0000") {
        return json;
    }
    let mut visible = String::with_capacity(json.len());
    let mut rest = json.as_str();
    while let Some((before, after)) = rest.split_once('\\') {
        visible.push_str(before);
        // An escaped backslash must not lend its second half to a following `u0000`.
        if let Some(tail) = after.strip_prefix("u0000") {
            visible.push('\u{2400}');
            rest = tail;
        } else {
            visible.push('\\');
            let mut characters = after.chars();
            visible.extend(characters.next());
            rest = characters.as_str();
        }
    }
    visible.push_str(rest);
    visible
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nul_characters_become_visible_and_nothing_else_changes() {
        for (text, kept) in [
            ("a\0b", "a\u{2400}b"),
            ("\\u0000", "\\u0000"),
            ("\\\0", "\\\u{2400}"),
            ("\0\0", "\u{2400}\u{2400}"),
            ("\"\n\u{1}é\0", "\"\n\u{1}é\u{2400}"),
        ] {
            let read: String = serde_json::from_str(&to_json(&text)).unwrap();
            assert_eq!(read, kept, "{text:?}");
        }
    }
}
