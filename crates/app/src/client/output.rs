//! What is printed, and where: answers on standard output, the rest on standard error.

use std::io::{self, IsTerminal as _};

use comfy_table::{ContentArrangement, Table, presets};
use drover_domain::text::visible;
use serde_json::Value;

use super::failure::Failure;

/// The most characters of one cell.
const CELL_MAX: usize = 200;

/// What stands where nothing is known.
pub(crate) const NOTHING: &str = "-";

/// A column: its heading, and the member it shows; dots lead into objects.
pub(crate) type Column = (&'static str, &'static str);

/// Prints answers.
#[derive(Debug)]
pub(crate) struct Output {
    is_json: bool,
    is_live: bool,
}

impl Output {
    pub(crate) fn new(is_json: bool, variables: &[(String, String)]) -> Self {
        let is_dumb = variables
            .iter()
            .any(|(name, value)| name == "TERM" && value == "dumb");
        Self {
            is_json,
            is_live: !is_dumb && io::stderr().is_terminal(),
        }
    }

    /// Whether standard error is a terminal that lines can be redrawn on.
    pub(crate) fn is_live(&self) -> bool {
        self.is_live
    }

    /// A list: a table of these columns, or `{"items":[…]}`.
    pub(crate) fn list(&self, items: &[Value], columns: &[Column]) {
        if self.is_json {
            Self::json(&serde_json::json!({"items": items, "next_cursor": null}));
        } else {
            table(items, columns);
        }
    }

    /// A JSON document.
    fn json(value: &Value) {
        // Printing a value never fails: its keys are texts.
        line(&serde_json::to_string_pretty(value).unwrap_or_default());
    }

    /// One answer: the document itself, or a table of one row.
    pub(crate) fn one(&self, item: &Value, columns: &[Column]) {
        if self.is_json {
            Self::json(item);
        } else {
            table(std::slice::from_ref(item), columns);
        }
    }

    /// One answer: the document itself, or what `for_people` prints.
    pub(crate) fn document(&self, item: &Value, for_people: impl FnOnce()) {
        if self.is_json {
            Self::json(item);
        } else {
            for_people();
        }
    }

    /// Why there is no answer.
    pub(crate) fn fail(&self, failure: &Failure) {
        if self.is_json {
            note(&serde_json::to_string(&failure.document()).unwrap_or_default());
        } else {
            note(&format!("drover: {}", failure.message));
        }
    }
}

/// A table of these columns.
pub(crate) fn table(items: &[Value], columns: &[Column]) {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(columns.iter().map(|(heading, _)| *heading));
    for item in items {
        table.add_row(columns.iter().map(|(_, member)| cell(item, member)));
    }
    for text in table.lines() {
        line(text.trim());
    }
}

/// One line of the answer.
pub(crate) fn line(text: &str) {
    print(&mut io::stdout().lock(), text);
}

/// A sentence beside the answer.
pub(crate) fn note(sentence: &str) {
    print(&mut io::stderr().lock(), sentence);
}

// A reader that went away is no failure of ours: there is nobody to tell.
fn print(to: &mut impl io::Write, text: &str) {
    let _reader_went_away = writeln!(to, "{text}").is_err();
}

/// A member of an object as text that is safe to print.
pub(crate) fn cell(item: &Value, member: &str) -> String {
    member
        .split('.')
        .try_fold(item, |value, name| value.get(name))
        .map_or_else(|| NOTHING.to_owned(), shown)
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => NOTHING.to_owned(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::String(text) if text.is_empty() => NOTHING.to_owned(),
        Value::String(text) => visible(text, CELL_MAX),
        Value::Array(items) if items.is_empty() => NOTHING.to_owned(),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(shown).collect();
            visible(&items.join(","), CELL_MAX)
        }
        Value::Number(_) | Value::Object(_) => visible(&value.to_string(), CELL_MAX),
    }
}

/// A member of an object that is a text.
pub(crate) fn text<'a>(item: &'a Value, member: &str) -> &'a str {
    item.get(member).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn cells_are_short_and_safe() {
        let item = json!({
            "name": "a\u{1b}]0;x\u{7}", "up": true, "none": null, "empty": "", "count": 3,
            "deep": {"list": [1, 2], "none": []}, "long": "x".repeat(500),
        });
        for (member, shown) in [
            ("name", "a\\u{1b}]0;x\\u{7}"),
            ("up", "yes"),
            ("none", "-"),
            ("empty", "-"),
            ("count", "3"),
            ("absent.deeper", "-"),
            ("deep.list", "1,2"),
            ("deep.none", "-"),
        ] {
            assert_eq!(cell(&item, member), shown, "{member}");
        }
        assert_eq!(cell(&item, "long").chars().count(), CELL_MAX + 1);
    }
}
