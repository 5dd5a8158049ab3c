//! What is printed, and where: answers on standard output, the rest on standard error.

use std::io::{self, IsTerminal as _};

use comfy_table::{ContentArrangement, Table, presets};
use drover_domain::text::visible;
use serde_json::Value;

use super::failure::Failure;
use super::state::{Colour, Paint};
use crate::print;

/// The most characters of one cell.
const CELL_MAX: usize = 200;

/// The most characters of a detail or a reason, which is never cut before its end is shown.
pub(crate) const DETAIL_MAX: usize = 4_096;

/// The most lines of a reason in a list.
const SENTENCE_LINES: usize = 8;

/// The fewest characters in which a reason is wrapped beside the other columns; with less room it stands below them.
const SENTENCE_ROOM: usize = 36;

/// What a reason below its row is indented by.
const SENTENCE_INDENT: usize = 4;

/// The most characters of a text that is not fitted to a screen.
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

    /// Whether the output is for programs.
    pub(crate) const fn is_json(&self) -> bool {
        self.is_json
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

    /// Whether a list for people has no rows; then `sentence` says so on standard error.
    pub(crate) fn is_without_rows(&self, items: &[Value], sentence: &str) -> bool {
        let is_without = !self.is_json && items.is_empty();
        if is_without {
            note(sentence);
        }
        is_without
    }

    /// A list like [`Output::list`] that fits a terminal: its last column is cut, or wrapped where it is a reason.
    pub(crate) fn fitted_list(
        &self,
        items: &[Value],
        headings: &[&'static str],
        row: impl Fn(&Value) -> Vec<Cell>,
    ) {
        if self.is_json {
            self.list(items, &[]);
        } else {
            self.table(items, headings, row);
        }
    }

    /// The table of [`Output::fitted_list`].
    pub(crate) fn table(
        &self,
        items: &[Value],
        headings: &[&'static str],
        row: impl Fn(&Value) -> Vec<Cell>,
    ) {
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
        print::json(&serde_json::to_string_pretty(value).unwrap_or_default());
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
                let value = sentence(item, member);
                if value != NOTHING {
                    line(&format!("{label:<12} {value}"));
                }
            }
        });
    }

    /// Why there is no answer.
    pub(crate) fn fail(&self, failure: &Failure) {
        if self.is_json {
            print::json_note(&serde_json::to_string(&failure.document()).unwrap_or_default());
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
    is_reason: bool,
}

impl Cell {
    pub(crate) const fn plain(text: String) -> Self {
        Self {
            text,
            colour: None,
            is_reason: false,
        }
    }

    pub(crate) const fn coloured(text: String, colour: Colour) -> Self {
        Self {
            text,
            colour: Some(colour),
            is_reason: false,
        }
    }

    /// The last cell of a row whose end matters as much as its beginning: it is wrapped instead of cut.
    pub(crate) const fn wrapped(mut self) -> Self {
        self.is_reason = true;
        self
    }
}

/// Rows of the same columns as lines; if there is a `width`, the last cell of a row is cut, or wrapped where it is a
/// reason.
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
    let mut lines = Vec::new();
    for row in rows {
        let Some((last, others)) = row.split_last() else {
            lines.push(String::new());
            continue;
        };
        let mut line = String::new();
        let mut before = 0;
        for (cell, most) in others.iter().zip(&widths) {
            line.push_str(&painted(cell, &cell.text));
            line.push_str(&" ".repeat(most.saturating_sub(count(cell)) + GAP));
            before += most + GAP;
        }
        let Some(width) = width else {
            line.push_str(&painted(last, &shortened(&last.text, DETAIL_MAX)));
            lines.push(line.trim_end().to_owned());
            continue;
        };
        let room = width.saturating_sub(before);
        if !last.is_reason || count(last) <= room {
            line.push_str(&painted(last, &fitted(&last.text, room)));
            lines.push(line.trim_end().to_owned());
            continue;
        }
        if last.text == NOTHING {
            // Nothing needs no line of its own.
            lines.push(line.trim_end().to_owned());
            continue;
        }
        let (indent, room) = if room >= SENTENCE_ROOM {
            (before, room)
        } else {
            lines.push(line.trim_end().to_owned());
            line = " ".repeat(SENTENCE_INDENT);
            (SENTENCE_INDENT, width.saturating_sub(SENTENCE_INDENT))
        };
        for text in wrapped(&last.text, room, SENTENCE_LINES) {
            line.push_str(&painted(last, &text));
            lines.push(line.trim_end().to_owned());
            line = " ".repeat(indent);
        }
    }
    lines
}

/// One line of the answer.
pub(crate) fn line(text: &str) {
    print::line(text);
}

/// A sentence beside the answer.
pub(crate) fn note(sentence: &str) {
    print::note(sentence);
}

/// A member of an object as text that is safe to print.
pub(crate) fn cell(item: &Value, member: &str) -> String {
    cell_within(item, member, CELL_MAX)
}

/// A member of an object that is a reason or an address, in full.
pub(crate) fn sentence(item: &Value, member: &str) -> String {
    cell_within(item, member, DETAIL_MAX)
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

/// `text` without hidden characters, in at most `most` characters: where it is longer, its middle is left out.
pub(crate) fn shortened(text: &str, most: usize) -> String {
    let shown = visible(text, usize::MAX);
    let length = shown.chars().count();
    if length <= most || most == 0 {
        return if most == 0 { String::new() } else { shown };
    }
    let tail = most.saturating_sub(1) / 2;
    let head = most.saturating_sub(1) - tail;
    let beginning = shown.chars().take(head);
    let end = shown.chars().skip(length - tail);
    beginning.chain(['…']).chain(end).collect()
}

/// `text` without hidden characters, in at most `lines` of at most `most` characters, at blanks where there are some;
/// the middle of a text that is too long is left out.
pub(crate) fn wrapped(text: &str, most: usize, lines: usize) -> Vec<String> {
    let whole = visible(text, usize::MAX);
    let mut room = whole.chars().count();
    loop {
        let wrapped = broken(&shortened(&whole, room), most);
        if wrapped.len() <= lines || room <= most {
            return wrapped;
        }
        // Lines end at blanks, so how much fits is found by trying.
        room = (room - 1)
            .min(most * lines)
            .saturating_sub(most / 8)
            .max(most);
    }
}

/// Lines of at most `most` characters, broken at blanks where there are some.
fn broken(text: &str, most: usize) -> Vec<String> {
    let mut rest: Vec<char> = text.chars().collect();
    let mut lines = Vec::new();
    while rest.len() > most && most > 0 {
        let blank = rest.iter().take(most + 1).rposition(|found| *found == ' ');
        let end = blank.filter(|blank| *blank > most / 2).unwrap_or(most);
        let line: String = rest.drain(..end).collect();
        lines.push(line.trim_end().to_owned());
        let blanks = rest.iter().take_while(|found| **found == ' ').count();
        rest.drain(..blanks);
    }
    if most > 0 || lines.is_empty() {
        let rest: String = rest.into_iter().take(most).collect();
        lines.push(rest);
    }
    lines
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
    fn a_reason_is_wrapped_beside_the_columns_or_below_them() {
        let reason = "refused: connection to the agent was closed before it answered";
        let rows = |width: usize| {
            let status = Cell::coloured(reason.to_owned(), Colour::Red).wrapped();
            let rows = [
                vec![
                    Cell::plain("ID".to_owned()),
                    Cell::plain("STATUS".to_owned()),
                ],
                vec![Cell::plain("1".to_owned()), status],
            ];
            fit(&rows, Some(width), Paint { is_on: false })
        };
        assert_eq!(rows(80), ["ID  STATUS", &format!("1   {reason}")]);
        let nothing = Cell::plain(NOTHING.to_owned()).wrapped();
        let narrow = fit(
            &[vec![Cell::plain("1".to_owned()), nothing]],
            Some(3),
            Paint { is_on: false },
        );
        assert_eq!(narrow, ["1"]);
        assert_eq!(
            rows(44),
            [
                "ID  STATUS",
                "1   refused: connection to the agent was",
                "    closed before it answered"
            ]
        );
        assert_eq!(
            rows(30),
            [
                "ID  STATUS",
                "1",
                "    refused: connection to the",
                "    agent was closed before it",
                "    answered"
            ]
        );
    }

    #[test]
    fn the_end_of_a_long_text_is_shown_as_well() {
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
        for (most, lines) in [(20, 2), (11, 3), (7, 1)] {
            let shown = wrapped(text, most, lines);
            assert!(shown.len() <= lines, "{shown:?}");
            assert!(
                shown.iter().all(|line| line.chars().count() <= most),
                "{shown:?}"
            );
            assert!(shown.concat().ends_with("end"), "{shown:?}");
            assert!(shown.concat().contains('…'), "{shown:?}");
        }
        assert_eq!(wrapped("x\u{1b}", 10, 2), ["x\\u{1b}"]);
        assert_eq!(wrapped("x y", 0, 3), [""]);
        assert_eq!(shortened("abcdefgh", 5), "ab…gh");
        assert_eq!(shortened("abcdefgh", 8), "abcdefgh");
        assert_eq!(shortened("abcdefgh", 0), "");
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
