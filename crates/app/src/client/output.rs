//! What is printed, and where: answers on standard output, the rest on standard error.

use std::io::{self, IsTerminal as _};

use comfy_table::{ContentArrangement, Table, presets};
use drover_domain::text::visible;
use serde_json::Value;

use super::failure::Failure;
use super::state::{Colour, Paint};

/// The most characters of one cell.
const CELL_MAX: usize = 200;

/// The most characters of a detail that has a line of its own: somebody may copy it.
const DETAIL_MAX: usize = 4_096;

/// The most characters of a text that nobody cuts to a screen.
pub(crate) const TEXT_MAX: usize = 1_000;

/// What stands where nothing is known.
pub(crate) const NOTHING: &str = "-";

/// A column: its heading, and the member it shows; dots lead into objects.
pub(crate) type Column = (&'static str, &'static str);

/// Prints answers.
#[derive(Debug)]
pub(crate) struct Output {
    is_json: bool,
    is_live: bool,
    has_colours: bool,
}

impl Output {
    pub(crate) fn new(is_json: bool, variables: &[(String, String)]) -> Self {
        let has = |wanted: &dyn Fn(&str, &str) -> bool| {
            variables.iter().any(|(name, value)| wanted(name, value))
        };
        let is_dumb = has(&|name, value| name == "TERM" && value == "dumb");
        let is_plain = has(&|name, value| name == "NO_COLOR" && !value.is_empty());
        Self {
            is_json,
            is_live: !is_dumb && io::stderr().is_terminal(),
            has_colours: !is_dumb && !is_plain,
        }
    }

    /// Colours for standard output, if it is a terminal that has them.
    pub(crate) fn paint(&self) -> Paint {
        Paint {
            is_on: self.has_colours && io::stdout().is_terminal(),
        }
    }

    /// Colours for standard error, if it is a terminal that has them.
    pub(crate) fn paint_of_notes(&self) -> Paint {
        Paint {
            is_on: self.has_colours && io::stderr().is_terminal(),
        }
    }

    /// How many characters a line of standard output may have; `None` when it is no terminal.
    #[expect(
        clippy::unused_self,
        reason = "whoever prints asks the output about the output"
    )]
    pub(crate) fn width(&self) -> Option<usize> {
        Table::new().width().map(usize::from)
    }

    /// Whether standard error is a terminal that lines can be redrawn on.
    pub(crate) fn is_live(&self) -> bool {
        self.is_live
    }

    /// How many characters a line of standard error may have, if lines can be redrawn on it.
    pub(crate) fn width_of_notes(&self) -> Option<usize> {
        let mut table = Table::new();
        table.use_stderr();
        let width = table.width().map(usize::from);
        width.filter(|_| self.is_live)
    }

    /// A list: a table of these columns, or `{"items":[…]}`.
    pub(crate) fn list(&self, items: &[Value], columns: &[Column]) {
        if self.is_json {
            Self::json(&serde_json::json!({"items": items, "next_cursor": null}));
        } else {
            table(items, columns);
        }
    }

    /// A list like [`Output::list`], its last column cut so that the table fits a terminal.
    pub(crate) fn fitted_list(
        &self,
        items: &[Value],
        headings: &[&'static str],
        row: impl Fn(&Value) -> Vec<Cell>,
    ) {
        if self.is_json {
            self.list(items, &[]);
            return;
        }
        let mut rows = vec![
            headings
                .iter()
                .map(|heading| Cell::plain((*heading).to_owned()))
                .collect(),
        ];
        rows.extend(items.iter().map(row));
        for text in fit(&rows, self.width(), self.paint()) {
            line(&text);
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

    /// One answer: the document itself, or a line for each of these members that is known.
    pub(crate) fn details(&self, item: &Value, members: &[Column]) {
        self.document(item, || {
            for (label, member) in members {
                let value = cell_within(item, member, DETAIL_MAX);
                if value != NOTHING {
                    line(&format!("{label:<12} {value}"));
                }
            }
        });
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

/// One cell of a table.
#[derive(Debug, Clone)]
pub(crate) struct Cell {
    text: String,
    colour: Option<Colour>,
}

impl Cell {
    pub(crate) const fn plain(text: String) -> Self {
        Self { text, colour: None }
    }

    pub(crate) const fn coloured(text: String, colour: Colour) -> Self {
        Self {
            text,
            colour: Some(colour),
        }
    }
}

/// Rows of the same columns as lines; the last cell of a row is cut if there is a `width`.
fn fit(rows: &[Vec<Cell>], width: Option<usize>, paint: Paint) -> Vec<String> {
    const GAP: usize = 2;
    let count = |cell: &Cell| cell.text.chars().count();
    let columns = rows.first().map_or(0, Vec::len);
    let widths: Vec<usize> = (0..columns)
        .map(|at| rows.iter().filter_map(|row| row.get(at)).map(count).max())
        .map(|widest| widest.unwrap_or(0))
        .collect();
    let painted = |cell: &Cell, text: &str| {
        cell.colour
            .map_or_else(|| text.to_owned(), |colour| paint.text(colour, text))
    };
    rows.iter()
        .map(|row| {
            let Some((last, others)) = row.split_last() else {
                return String::new();
            };
            let mut line = String::new();
            let mut before = 0;
            for (cell, most) in others.iter().zip(&widths) {
                line.push_str(&painted(cell, &cell.text));
                line.push_str(&" ".repeat(most.saturating_sub(count(cell)) + GAP));
                before += most + GAP;
            }
            let room = width.map_or(TEXT_MAX, |width| width.saturating_sub(before));
            line.push_str(&painted(last, &fitted(&last.text, room)));
            line.trim_end().to_owned()
        })
        .collect()
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
    cell_within(item, member, CELL_MAX)
}

fn cell_within(item: &Value, member: &str, most: usize) -> String {
    member
        .split('.')
        .try_fold(item, |value, name| value.get(name))
        .map_or_else(|| NOTHING.to_owned(), |value| shown(value, most))
}

fn shown(value: &Value, most: usize) -> String {
    match value {
        Value::Null => NOTHING.to_owned(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::String(text) if text.is_empty() => NOTHING.to_owned(),
        Value::String(text) => visible(text, most),
        Value::Array(items) if items.is_empty() => NOTHING.to_owned(),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(|item| shown(item, most)).collect();
            visible(&items.join(","), most)
        }
        Value::Number(_) | Value::Object(_) => visible(&value.to_string(), most),
    }
}

/// `text` without hidden characters, in at most `most` characters.
pub(crate) fn fitted(text: &str, most: usize) -> String {
    let shown = visible(text, TEXT_MAX);
    if shown.chars().count() <= most {
        return shown;
    }
    let mut cut: String = shown.chars().take(most.saturating_sub(1)).collect();
    if most > 0 {
        cut.push('…');
    }
    cut
}

/// `text` without hidden characters, in lines of at most `most` characters, at blanks where there are some;
/// the last of `lines` is cut.
pub(crate) fn wrapped(text: &str, most: usize, lines: usize) -> Vec<String> {
    let shown = visible(text, TEXT_MAX);
    let mut rest: Vec<char> = shown.chars().collect();
    let mut wrapped = Vec::new();
    while wrapped.len() + 1 < lines && rest.len() > most && most > 0 {
        let blank = rest.iter().take(most + 1).rposition(|found| *found == ' ');
        let end = blank.filter(|blank| *blank > most / 2).unwrap_or(most);
        let line: String = rest.drain(..end).collect();
        wrapped.push(line.trim_end().to_owned());
        let blanks = rest.iter().take_while(|found| **found == ' ').count();
        rest.drain(..blanks);
    }
    let rest: String = rest.into_iter().collect();
    wrapped.push(fitted(&rest, most));
    wrapped
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
    fn the_last_column_fits_the_screen() {
        let row = |cells: [&str; 3]| cells.map(|text| Cell::plain(text.to_owned())).to_vec();
        let mut rows = [
            row(["ID", "AGE", "NAME"]),
            row(["1", "12m", "a-long-name-indeed"]),
        ];
        let (off, on) = (Paint { is_on: false }, Paint { is_on: true });
        let all = ["ID  AGE  NAME", "1   12m  a-long-name-indeed"];
        assert_eq!(fit(&rows, None, off), all);
        rows[1][1].colour = Some(Colour::Red);
        assert_eq!(
            fit(&rows, Some(16), off),
            ["ID  AGE  NAME", "1   12m  a-long…"]
        );
        let coloured = "1   \u{1b}[31m12m\u{1b}[0m  a-long…";
        assert_eq!(fit(&rows, Some(16), on)[1], coloured);
    }

    #[test]
    fn long_texts_are_wrapped_and_then_cut() {
        let text = "a wordy sentence http://a-very-long-address/ and its end";
        assert_eq!(wrapped(text, 80, 3), [text]);
        assert_eq!(
            wrapped(text, 20, 3),
            [
                "a wordy sentence",
                "http://a-very-long-a",
                "ddress/ and its end"
            ]
        );
        assert_eq!(
            wrapped(text, 20, 2),
            ["a wordy sentence", "http://a-very-long-…"]
        );
        assert_eq!(wrapped("x\u{1b}", 3, 2), ["x\\u", "{1…"]);
        assert_eq!(wrapped("x y", 0, 3), [""]);
    }

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
