//! Names of the engine's things: parsed once, bounded, safe in paths and on a screen.

use std::fmt;
use std::sync::Arc;

use crate::text::{TextError, check_line, check_name};

macro_rules! names {
    ($($(#[doc = $doc:literal])* $name:ident, $what:literal, $most:literal;)+) => {$(
        $(#[doc = $doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The most characters.
            pub const LENGTH_MAX: usize = $most;

            /// Accepts letters, digits and `_ . : -`, not starting with `-` or `.`.
            ///
            /// # Errors
            ///
            /// [`TextError`], naming the first thing that is wrong.
            pub fn parse(text: &str) -> Result<Self, TextError> {
                check_name($what, text, Self::LENGTH_MAX)?;
                Ok(Self(Arc::from(text)))
            }

            /// The name as it was given.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )+};
}

names! {
    /// What a task is called within its workflow; its author's choice.
    TaskKey, "the task key", 64;
    /// What executes a task: the name of a registered handler or of a built-in kind.
    Kind, "the kind", 64;
    /// A line in which tasks wait for a worker.
    QueueName, "the queue", 64;
    /// What a definition is called; a definition is a name and a version.
    DefinitionName, "the name of the definition", 128;
    /// What a signal is called; a waiting task names the one it waits for.
    SignalName, "the name of the signal", 64;
}

/// Names that stand in our own sources; each has a test that parses it.
macro_rules! of_ours {
    ($($name:ident)+) => {$(
        impl $name {
            pub(crate) fn of_ours(text: &'static str) -> Self {
                Self(Arc::from(text))
            }
        }
    )+};
}
of_ours!(TaskKey Kind QueueName);

impl TaskKey {
    /// The key of the task that undoes the task with this key. Authors cannot take it: theirs
    /// never contain a slash.
    #[must_use]
    pub fn undoing(&self) -> Self {
        Self(Arc::from(format!("undo/{}", self.0)))
    }

    /// A key that was stored, an undoing one included; `None` if it never was one.
    #[must_use]
    pub fn restore(text: &str) -> Option<Self> {
        let own = text.strip_prefix("undo/").unwrap_or(text);
        Self::parse(own).ok().map(|_| Self(Arc::from(text)))
    }
}

/// Checks a concurrency key: 1 to 255 printable characters.
///
/// # Errors
///
/// [`TextError`].
pub fn check_concurrency_key(text: &str) -> Result<(), TextError> {
    check_line("the concurrency key", text, 255)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_undoing_key_is_out_of_reach_and_reads_back() {
        let key = TaskKey::parse("commit").unwrap();
        assert_eq!(key.undoing().as_str(), "undo/commit");
        assert!(TaskKey::parse("undo/commit").is_err());
        assert_eq!(TaskKey::restore("undo/commit"), Some(key.undoing()));
        assert_eq!(TaskKey::restore("commit"), Some(key));
        assert_eq!(TaskKey::restore("a/b"), None);
    }

    #[test]
    fn a_name_says_what_it_is_when_it_is_refused() {
        let refusal = QueueName::parse("a b").unwrap_err();
        assert!(
            refusal
                .to_string()
                .starts_with("the queue has ' ' at character 2"),
            "{refusal}"
        );
    }
}
