//! Texts from outside: printable, bounded, never silently changed.

use std::borrow::Cow;

/// Why a text was refused; the message goes to the user unchanged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// Nothing, or only blanks.
    #[error("{what} must not be empty")]
    Empty {
        /// The field, in the user's words.
        what: &'static str,
    },
    /// Longer than allowed.
    #[error("{what} has {length} characters; at most {most} are allowed")]
    TooLong {
        /// The field.
        what: &'static str,
        /// Its length in characters.
        length: usize,
        /// The bound.
        most: usize,
    },
    /// A character outside the allowed set.
    #[error("{what} has {found:?} at character {at}; allowed: {allowed}")]
    BadCharacter {
        /// The field.
        what: &'static str,
        /// The first offending character.
        found: char,
        /// Its place, counted from 1.
        at: usize,
        /// The allowed set, in words.
        allowed: &'static str,
    },
}

/// Checks that `text` is 1 to `most` characters, none of them a control character or an
/// invisible direction mark.
///
/// # Errors
///
/// [`TextError`], naming the field `what` and the first thing that is wrong.
pub fn check_line(what: &'static str, text: &str, most: usize) -> Result<(), TextError> {
    check(what, text, most, "printable characters", |found| {
        !is_hidden(found)
    })
}

/// Checks that `text` is a name that people gave: what [`check_line`] accepts, with blanks only between other characters,
/// and no other blank than the plain one. Blanks are then never the only difference between two names on a screen.
///
/// # Errors
///
/// [`TextError`], naming the field `what` and the first thing that is wrong.
pub fn check_title(what: &'static str, text: &str, most: usize) -> Result<(), TextError> {
    let allowed = "printable characters, with plain blanks between them";
    check_line(what, text, most)?;
    check(what, text, most, allowed, |found| {
        found == ' ' || !found.is_whitespace()
    })?;
    let blank = if text.starts_with(' ') {
        Some(1)
    } else {
        text.ends_with(' ').then(|| text.chars().count())
    };
    match blank {
        Some(at) => Err(TextError::BadCharacter {
            what,
            found: ' ',
            at,
            allowed,
        }),
        None => Ok(()),
    }
}

/// Checks that `text` is a name that may stand in a command or a path: 1 to `most` of
/// `A-Z a-z 0-9 _ . : -`, not starting with `-` or `.`.
///
/// # Errors
///
/// [`TextError`], naming the field `what` and the first thing that is wrong.
pub fn check_name(what: &'static str, text: &str, most: usize) -> Result<(), TextError> {
    let allowed = "letters, digits and _ . : - (not starting with - or .)";
    check_word(what, text, most, allowed, "_.:-")
}

/// As [`check_name`], for the name of a host: no `:` either.
///
/// # Errors
///
/// [`TextError`], naming the field `what` and the first thing that is wrong.
pub fn check_host(what: &'static str, text: &str, most: usize) -> Result<(), TextError> {
    let allowed = "letters, digits and _ . - (not starting with - or .)";
    check_word(what, text, most, allowed, "_.-")
}

fn check_word(
    what: &'static str,
    text: &str,
    most: usize,
    allowed: &'static str,
    marks: &str,
) -> Result<(), TextError> {
    check(what, text, most, allowed, |found| {
        found.is_ascii_alphanumeric() || marks.contains(found)
    })?;
    match text.chars().next() {
        Some(found @ ('-' | '.')) => Err(TextError::BadCharacter {
            what,
            found,
            at: 1,
            allowed,
        }),
        Some(_) | None => Ok(()),
    }
}

fn check(
    what: &'static str,
    text: &str,
    most: usize,
    allowed: &'static str,
    fits: impl Fn(char) -> bool,
) -> Result<(), TextError> {
    if text.trim().is_empty() {
        return Err(TextError::Empty { what });
    }
    let length = text.chars().count();
    if length > most {
        return Err(TextError::TooLong { what, length, most });
    }
    match text.chars().enumerate().find(|(_, found)| !fits(*found)) {
        Some((index, found)) => Err(TextError::BadCharacter {
            what,
            found,
            at: index + 1,
            allowed,
        }),
        None => Ok(()),
    }
}

/// Control characters, line separators, and the marks that reorder or hide text on a screen.
#[must_use]
pub fn is_hidden(found: char) -> bool {
    found.is_control()
        || matches!(
            found,
            '\u{ad}'
                | '\u{34f}'
                | '\u{61c}'
                | '\u{115f}'..='\u{1160}'
                | '\u{17b4}'..='\u{17b5}'
                | '\u{180b}'..='\u{180f}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{3164}'
                | '\u{feff}'
                | '\u{ffa0}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

/// The text of a JSON document, whatever its writer took for JSON: bytes that are no UTF-8, and escapes of half a
/// surrogate pair as Python writes them for file names, become U+FFFD; Python's `NaN` and `Infinity` become `null`; a mark
/// of the byte order is left out. One such place does not cost the whole document.
#[must_use]
pub fn lenient_json(document: &[u8]) -> Cow<'_, str> {
    let document = document.strip_prefix(b"\xef\xbb\xbf").unwrap_or(document);
    let text = String::from_utf8_lossy(document);
    match mended(&text) {
        Some(mended) => Cow::Owned(mended),
        None => text,
    }
}

// `None` when nothing is to be mended.
fn mended(text: &str) -> Option<String> {
    let mut mended: Option<String> = None;
    let (mut kept, mut at) = (0, 0);
    let mut is_string = false;
    while let Some(byte) = text.as_bytes().get(at) {
        let rest = || text.get(at..).unwrap_or_default();
        let (length, instead) = match (is_string, byte) {
            (_, b'"') => {
                is_string = !is_string;
                (1, None)
            }
            (true, b'\\') => escape(rest()),
            (false, b'N' | b'I' | b'-') => not_a_number(rest()),
            _ => (1, None),
        };
        if let Some(instead) = instead {
            let mended = mended.get_or_insert_default();
            mended.push_str(text.get(kept..at).unwrap_or_default());
            mended.push_str(instead);
            kept = at + length;
        }
        at += length;
    }
    let mut mended = mended?;
    mended.push_str(text.get(kept..).unwrap_or_default());
    Some(mended)
}

// How long the escape at the beginning of `text` is, and what stands in its place.
fn escape(text: &str) -> (usize, Option<&'static str>) {
    let low = text.get(6..).and_then(surrogate);
    match (surrogate(text), low) {
        (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => (12, None),
        (Some(_), _) => (6, Some("\u{fffd}")),
        (None, _) => (2, None),
    }
}

fn not_a_number(text: &str) -> (usize, Option<&'static str>) {
    let word = ["NaN", "Infinity", "-Infinity"]
        .into_iter()
        .find(|word| text.starts_with(word));
    word.map_or((1, None), |word| (word.len(), Some("null")))
}

// The surrogate of the JSON escape at the beginning of `text`.
fn surrogate(text: &str) -> Option<u16> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    let unit = u16::from_str_radix(digits, 16).ok().filter(|_| is_hex)?;
    (0xd800..=0xdfff).contains(&unit).then_some(unit)
}

/// `text` with every hidden character made visible as `\u{…}` and cut to `most` characters;
/// for showing foreign text.
#[must_use]
pub fn visible(text: &str, most: usize) -> String {
    let mut shown = String::new();
    for (index, found) in text.chars().enumerate() {
        if index == most {
            shown.push('…');
            break;
        }
        if is_hidden(found) {
            shown.extend(found.escape_unicode());
        } else {
            shown.push(found);
        }
    }
    shown
}

/// JSON in which each escape of a lone surrogate, such as `\udce7`, is `\ufffd`.
///
/// Python writes bytes that are no UTF-8 as such escapes. They are no characters, so a strict reader refuses the whole
/// document; one unreadable character must not cost the rest.
#[must_use]
pub fn without_lone_surrogates(json: &str) -> Cow<'_, str> {
    if !json.contains("\\u") {
        return Cow::Borrowed(json);
    }
    let mut found = String::with_capacity(json.len());
    let mut rest = json;
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        found.push_str(before);
        let (kept, length) = match (unit(escape), escape.get(6..).and_then(unit)) {
            (Some(0xD800..=0xDBFF), Some(0xDC00..=0xDFFF)) => (true, 12),
            (Some(0xD800..=0xDFFF), _) => (false, 6),
            (Some(_), _) => (true, 6),
            // The backslash and the character it escapes.
            (None, _) => (true, 1 + escape.chars().nth(1).map_or(0, char::len_utf8)),
        };
        let (this, behind) = escape.split_at(length);
        found.push_str(if kept { this } else { "\\ufffd" });
        rest = behind;
    }
    found.push_str(rest);
    Cow::Owned(found)
}

/// The UTF-16 unit of a JSON escape (`\u` and four hexadecimal digits) at the start of `text`.
fn unit(text: &str) -> Option<u16> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    digits
        .bytes()
        .all(|byte| byte.is_ascii_hexdigit())
        .then(|| u16::from_str_radix(digits, 16).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hidden_character_is_named_with_its_place() {
        let refusal = check_line("the name", "web\u{202e}1", 64).unwrap_err();
        assert_eq!(
            refusal.to_string(),
            "the name has '\\u{202e}' at character 4; allowed: printable characters"
        );
    }

    #[test]
    fn a_name_may_not_look_like_an_option() {
        assert!(check_name("the name", "-rf", 64).is_err());
        assert!(check_name("the name", "a;b", 64).is_err());
        assert_eq!(check_name("the name", "web01.example", 64), Ok(()));
    }

    #[test]
    fn a_title_has_plain_blanks_between_other_characters() {
        for title in ["a", "a b", "Заказы 2", "名前", "e\u{301}"] {
            assert_eq!(check_title("the name", title, 64), Ok(()), "{title:?}");
        }
        for (title, at) in [
            (" a", 1),
            ("a ", 2),
            ("a\u{a0}b", 2),
            ("a\u{2003}b", 2),
            ("a\u{3000}b", 2),
            ("a\u{2028}b", 2),
            ("a\u{2029}b", 2),
            ("a\u{85}b", 2),
            ("a\tb", 2),
            ("a\u{61c}b", 2),
            ("a\u{2066}b", 2),
            ("a\u{ad}b", 2),
            ("a\u{3164}b", 2),
            ("a\u{e0041}b", 2),
        ] {
            let refusal = check_title("the name", title, 64).unwrap_err();
            assert!(
                matches!(refusal, TextError::BadCharacter { at: found, .. } if found == at),
                "{title:?}: {refusal}"
            );
        }
        assert!(check_title("the name", "  ", 64).is_err());
        assert!(check_line("the line", "a\u{2028}b", 64).is_err());
    }

    #[test]
    fn json_of_python_becomes_text() {
        for (document, text) in [
            (&b"{\"a\":\"caf\\udce9\"}"[..], "{\"a\":\"caf\u{fffd}\"}"),
            (b"\"\\ud83d\\ude00\"", "\"\\ud83d\\ude00\""),
            (b"\"\\ud83d\"", "\"\u{fffd}\""),
            (b"\"\\ud83d\\ud83d\\ude00\"", "\"\u{fffd}\\ud83d\\ude00\""),
            (b"\"\\\\udce9\"", "\"\\\\udce9\""),
            (b"\"\\\\\\udce9\"", "\"\\\\\u{fffd}\""),
            (b"\"gar\xe7on\"", "\"gar\u{fffd}on\""),
            (b"\"\xe7\\uDCE7\"", "\"\u{fffd}\u{fffd}\""),
            (b"\xef\xbb\xbf{}", "{}"),
            (
                b"{\"a\":NaN,\"b\":[-Infinity,Infinity,-1],\"c\":\"NaN\"}",
                "{\"a\":null,\"b\":[null,null,-1],\"c\":\"NaN\"}",
            ),
            (b"{\"a\\\"\":NaN}", "{\"a\\\"\":null}"),
            (b"\"\\ud83", "\"\\ud83"),
            (b"\"\\", "\"\\"),
            (b"\"\\u+dce\"", "\"\\u+dce\""),
        ] {
            assert_eq!(lenient_json(document), text, "{document:?}");
        }
    }

    #[test]
    fn hidden_characters_become_visible() {
        assert_eq!(visible("a\u{1b}[31m", 64), "a\\u{1b}[31m");
        assert_eq!(visible("abcdef", 3), "abc…");
    }

    #[test]
    fn a_lone_surrogate_becomes_a_replacement_character() {
        for (json, expected) in [
            (r#""gar\udce7on""#, r#""gar\ufffdon""#),
            (
                r#""\uD83D\uDE00 \ud83d\ude00""#,
                r#""\uD83D\uDE00 \ud83d\ude00""#,
            ),
            (r#""\ud83d""#, r#""\ufffd""#),
            (r#""\ud83d\u0041\ude00""#, r#""\ufffd\u0041\ufffd""#),
            (r#""\ud83d\ud83d\ude00""#, r#""\ufffd\ud83d\ude00""#),
            (r#""\\udce7 \\\udce7""#, r#""\\udce7 \\\ufffd""#),
            (r#"{"\udcff":"\n\u00e9"}"#, r#"{"\ufffd":"\n\u00e9"}"#),
            ("plain", "plain"),
            (r"\u12", r"\u12"),
            ("\\", "\\"),
            ("\\é\\u", "\\é\\u"),
        ] {
            assert_eq!(without_lone_surrogates(json), expected, "{json}");
        }
    }
}
