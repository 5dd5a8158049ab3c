//! Standard output and standard error of the process.
//!
//! Hidden characters are made visible on the way out. The first failure of standard output is kept until the end of the
//! command, which must not report success for an answer that is lost.

use std::fmt::Write as _;
use std::io::{self, ErrorKind, Write as _};
use std::sync::OnceLock;

use drover_domain::text::is_hidden;

/// Why standard output could not be written, the first time.
static LOST: OnceLock<io::Error> = OnceLock::new();

/// Prints one line of the answer.
pub(crate) fn line(text: &str) {
    if LOST.get().is_some() {
        return;
    }
    keep(writeln!(io::stdout().lock(), "{}", safe(text)));
}

/// Prints a document of several lines, which is part of the answer. Hidden characters become the escapes of JSON.
pub(crate) fn json(text: &str) {
    if LOST.get().is_some() {
        return;
    }
    keep(writeln!(io::stdout().lock(), "{}", escaped(text)));
}

/// Keeps the outcome of writing to standard output.
pub(crate) fn keep(written: io::Result<()>) {
    if let Err(error) = written {
        // Only the first reason counts.
        let _is_known = LOST.set(error).is_err();
    }
}

/// Prints a sentence beside the answer. Nothing can be reported when standard error cannot be written.
pub(crate) fn note(sentence: &str) {
    let _is_lost = writeln!(io::stderr().lock(), "{}", safe(sentence)).is_err();
}

/// Prints lines of ours beside the answer, such as help.
pub(crate) fn lines_note(text: &str) {
    let _is_lost = write!(io::stderr().lock(), "{text}").is_err();
}

/// Prints a JSON document beside the answer.
pub(crate) fn json_note(text: &str) {
    let _is_lost = writeln!(io::stderr().lock(), "{}", escaped(text)).is_err();
}

/// Why the answer did not arrive, a sentence; `None` where it did, and where the reader closed its end because it has
/// seen enough.
pub(crate) fn lost() -> Option<String> {
    keep(io::stdout().lock().flush());
    let error = LOST.get()?;
    (error.kind() != ErrorKind::BrokenPipe)
        .then(|| format!("standard output cannot be written: {error}; the answer is lost"))
}

/// `text` with hidden characters made visible, but for the colours of a terminal.
pub(crate) fn safe(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(found) = rest.next() {
        if found == '\u{1b}' {
            let colour: String = rest
                .clone()
                .take_while(|next| *next == '[' || next.is_ascii_digit())
                .collect();
            let end = rest.clone().nth(colour.len());
            if colour.starts_with('[') && end == Some('m') {
                shown.push(found);
                continue;
            }
        }
        if is_hidden(found) {
            shown.extend(found.escape_unicode());
        } else {
            shown.push(found);
        }
    }
    shown
}

/// A JSON document with hidden characters as JSON escapes, which is the same document.
pub(crate) fn escaped(json: &str) -> String {
    let mut shown = String::with_capacity(json.len());
    for found in json.chars() {
        // Line feeds stand between members; within texts they are escaped already.
        if found == '\n' || !is_hidden(found) {
            shown.push(found);
            continue;
        }
        for unit in found.encode_utf16(&mut [0; 2]) {
            // Writing to a string never fails.
            let _is_written = write!(shown, "\\u{unit:04x}").is_ok();
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_characters_are_visible_and_colours_stay() {
        assert_eq!(safe("\u{1b}[31mno\u{1b}[0m"), "\u{1b}[31mno\u{1b}[0m");
        for (text, shown) in [
            ("\u{1b}[2J", "\\u{1b}[2J"),
            ("\u{1b}]0;x\u{7}", "\\u{1b}]0;x\\u{7}"),
            ("\u{9b}31m", "\\u{9b}31m"),
            ("a\u{202e}b\u{61c}c", "a\\u{202e}b\\u{61c}c"),
            ("a\u{2028}b\rc", "a\\u{2028}b\\u{d}c"),
            ("\u{1b}", "\\u{1b}"),
            ("plain ж ✓", "plain ж ✓"),
        ] {
            assert_eq!(safe(text), shown);
        }
    }

    #[test]
    fn an_escaped_document_is_the_same_document() {
        let value = serde_json::json!({
            "name\u{9b}": "a\u{9b}31m\u{202e}\u{2066}\u{61c}\u{7f}\u{e0041}\u{1b}\n", "ж": "✓"
        });
        let text = escaped(&serde_json::to_string_pretty(&value).unwrap());
        assert!(
            !text.chars().any(|found| found != '\n' && is_hidden(found)),
            "{text}"
        );
        assert!(
            text.contains("\\u009b31m\\u202e") && text.contains("✓"),
            "{text}"
        );
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&text).unwrap(),
            value
        );
    }
}
