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

/// Checks that `text` is a name that may stand in a command or a path: 1 to `most` of
/// `A-Z a-z 0-9 _ . : -`, not starting with `-` or `.`.
///
/// # Errors
///
/// [`TextError`], naming the field `what` and the first thing that is wrong.
pub fn check_name(what: &'static str, text: &str, most: usize) -> Result<(), TextError> {
    let allowed = "letters, digits and _ . : - (not starting with - or .)";
    check(what, text, most, allowed, |found| {
        found.is_ascii_alphanumeric() || "_.:-".contains(found)
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

/// Control characters, separators of lines, and the marks that reorder or hide text on a screen.
#[must_use]
pub fn is_hidden(found: char) -> bool {
    found.is_control()
        || matches!(
            found,
            '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

/// `text` with every hidden character made visible as `\u{…}` and cut to `most` characters;
/// for showing what somebody else sent.
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

/// The UTF-16 unit of an escape `\uXXXX` at the start of `text`.
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
