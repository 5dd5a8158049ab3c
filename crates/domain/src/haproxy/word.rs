//! HAProxy's status words for a server. Measured on HAProxy 2.6.

use std::fmt;

/// Whether a server can take traffic, read from HAProxy's status word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Health {
    /// `UP` (or `DRAIN`, whose checks go on) without failures.
    Up,
    /// `UP n/m`: it still takes traffic, but checks fail.
    GoingDown,
    /// `DOWN`.
    Down,
    /// `DOWN n/m`: checks pass again, not yet often enough.
    ComingUp,
    /// `no check`: it has no health check.
    NoCheck,
    /// `MAINT`, `NOLB` or an unknown word: the word does not show the health.
    Unknown,
}

impl Health {
    /// The word used in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::GoingDown => "going_down",
            Self::Down => "down",
            Self::ComingUp => "coming_up",
            Self::NoCheck => "no_check",
            Self::Unknown => "unknown",
        }
    }
}

/// What a server shows, in one of a few words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Shown {
    /// It takes requests: `UP` in any form, or `no check`.
    Up,
    /// `DRAIN` in any form.
    Drain,
    /// `MAINT` in any form.
    Maint,
    /// `DOWN` in any form.
    Down,
    /// `NOLB`, or an unknown word.
    Other,
}

/// A status word as HAProxy gave it, with its meaning.
///
/// Forms seen: `UP`, `UP 1/3`, `DOWN`, `DOWN 1/2`, `DOWN (agent)`, `NOLB`, `DRAIN`, `DRAIN 1/3`,
/// `MAINT`, `MAINT (via backend/server)`, `MAINT (resolution)`, `no check`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ServerWord(String);

impl ServerWord {
    /// The most characters kept of a word.
    pub const LENGTH_MAX: usize = 128;

    /// Takes any word; total. Longer ones are cut.
    #[must_use]
    pub fn new(word: &str) -> Self {
        Self(word.trim().chars().take(Self::LENGTH_MAX).collect())
    }

    /// The word.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The server's health by this word.
    #[must_use]
    pub fn health(&self) -> Health {
        if self.0.eq_ignore_ascii_case("no check") {
            return Health::NoCheck;
        }
        let (head, tail) = self.0.split_once(' ').unwrap_or((&self.0, ""));
        let counting = tail.split_once('/').is_some_and(|(part, whole)| {
            part.parse::<u32>().is_ok() && whole.parse::<u32>().is_ok()
        });
        match (head.to_ascii_uppercase().as_str(), counting) {
            ("UP" | "DRAIN", false) => Health::Up,
            ("UP" | "DRAIN", true) => Health::GoingDown,
            ("DOWN", false) => Health::Down,
            ("DOWN", true) => Health::ComingUp,
            _ => Health::Unknown,
        }
    }

    /// What it shows, for counting.
    #[must_use]
    pub fn shown(&self) -> Shown {
        if self.takes_traffic() {
            return Shown::Up;
        }
        let head = self.0.split(' ').next().unwrap_or_default();
        match head.to_ascii_uppercase().as_str() {
            "DRAIN" => Shown::Drain,
            "MAINT" => Shown::Maint,
            "DOWN" => Shown::Down,
            _ => Shown::Other,
        }
    }

    /// Whether balanced requests reach the server: `UP` in any form, or `no check`.
    #[must_use]
    pub fn takes_traffic(&self) -> bool {
        let head = self.0.split(' ').next().unwrap_or_default();
        head.eq_ignore_ascii_case("UP") || self.0.eq_ignore_ascii_case("no check")
    }
}

impl fmt::Display for ServerWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn measured_words_are_read() {
        for (word, health, takes_traffic) in [
            ("UP", Health::Up, true),
            ("UP 1/3", Health::GoingDown, true),
            ("DOWN", Health::Down, false),
            ("DOWN 1/2", Health::ComingUp, false),
            ("DOWN (agent)", Health::Down, false),
            ("NOLB", Health::Unknown, false),
            ("DRAIN", Health::Up, false),
            ("DRAIN 1/3", Health::GoingDown, false),
            ("MAINT", Health::Unknown, false),
            ("MAINT (via be/srv)", Health::Unknown, false),
            ("MAINT (resolution)", Health::Unknown, false),
            ("no check", Health::NoCheck, true),
            ("WHAT IS THIS", Health::Unknown, false),
        ] {
            let read = ServerWord::new(word);
            assert_eq!(
                (read.health(), read.takes_traffic()),
                (health, takes_traffic),
                "{word}"
            );
        }
    }

    proptest! {
        #[test]
        fn reading_is_total_and_keeps_the_word(word in "[ -~]{0,40}") {
            let read = ServerWord::new(&word);
            prop_assert_eq!(read.as_str(), word.trim());
            prop_assert!(!read.takes_traffic() || read.health() != Health::Down);
        }
    }
}
