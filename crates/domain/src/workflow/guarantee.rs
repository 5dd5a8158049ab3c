//! What a kind of task promises about its effect, and what follows from that after a crash.

/// The guarantee class of a kind (`docs/explanation/engine.md`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Guarantee {
    /// The effect is part of our own database transaction: exactly once.
    G0,
    /// The peer honours our key: sent again, it has at most one effect.
    G1,
    /// Read, act, read back: acted on again only if needed.
    G2,
    /// At least once, with a stable message identifier.
    G3,
    /// Not repeatable: never started twice.
    G4,
}

impl Guarantee {
    /// Every class.
    pub const ALL: [Self; 5] = [Self::G0, Self::G1, Self::G2, Self::G3, Self::G4];

    /// The word used in storage and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::G0 => "g0",
            Self::G1 => "g1",
            Self::G2 => "g2",
            Self::G3 => "g3",
            Self::G4 => "g4",
        }
    }

    /// The class with this word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.as_str() == word)
    }
}

/// What happens to a task whose worker went away in the middle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Takeover {
    /// The next worker takes it up: it is repeatable, or its handler finds what is still alive.
    Requeue,
    /// It must not be started again: it becomes `unknown`, and a person decides.
    Unknown,
}

impl Takeover {
    /// The word used in storage and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Requeue => "requeue",
            Self::Unknown => "unknown",
        }
    }

    /// The takeover with this word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Requeue, Self::Unknown]
            .into_iter()
            .find(|takeover| takeover.as_str() == word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_read_back() {
        for class in Guarantee::ALL {
            assert_eq!(Guarantee::parse(class.as_str()), Some(class));
        }
        for takeover in [Takeover::Requeue, Takeover::Unknown] {
            assert_eq!(Takeover::parse(takeover.as_str()), Some(takeover));
        }
        assert_eq!(Guarantee::parse("G1"), None);
    }
}
