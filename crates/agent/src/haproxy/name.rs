//! Names that may stand in a runtime command.

use std::fmt;

/// Most bytes of a name.
const NAME_BYTES_MAX: usize = 1024;

/// Most characters of a refused name that are repeated.
const NAME_SHOWN_MAX: usize = 128;

/// The name of a backend, a server or an instance: 1 to 1,024 of `A-Z a-z 0-9 _ . : -`.
///
/// This is the alphabet HAProxy itself allows; it has no limit but that of a line of its configuration, 2,048 bytes. A semicolon, a blank or a newline would start another command, so
/// commands are built from this type only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Name(String);

impl Name {
    /// Takes `text` as it is or not at all.
    pub(crate) fn parse(text: &str) -> Result<Self, NameError> {
        let allowed =
            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b':' | b'-');
        if text.is_empty() || text.len() > NAME_BYTES_MAX || !text.bytes().all(allowed) {
            return Err(NameError {
                text: text.chars().take(NAME_SHOWN_MAX).collect(),
            });
        }
        Ok(Self(text.to_owned()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// A text that HAProxy cannot have as a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} cannot be a name in HAProxy; names are 1 to {NAME_BYTES_MAX} of A-Z a-z 0-9 _ . : -"
)]
pub(crate) struct NameError {
    text: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alphabet_of_haproxy_is_allowed() {
        for text in ["a", "be_1", "srv-2.example.org:80", &"x".repeat(1024)] {
            assert_eq!(Name::parse(text).unwrap().as_str(), text);
        }
    }

    #[test]
    fn whatever_could_end_a_command_is_refused() {
        for text in [
            "",
            "a b",
            "a;b",
            "a\nb",
            "a\r",
            "a/b",
            "#1",
            "a%3Ab",
            "a\0",
            "ä",
            "a,b",
            "$(x)",
            &"x".repeat(1025),
        ] {
            assert!(Name::parse(text).is_err(), "{text:?} was taken");
        }
    }
}
