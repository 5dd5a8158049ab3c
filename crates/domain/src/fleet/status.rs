//! The status of an application, made one of six words.

/// What an application's agent says about it. Seed 001, "Status normalization".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ApplicationStatus {
    /// It runs.
    Online,
    /// It does not run, or its agent no longer lists it.
    Offline,
    /// The agent's word says nothing.
    Unknown,
    /// It is coming up.
    Starting,
    /// It is going down.
    Stopping,
    /// Its server's agent does not answer.
    NoData,
}

impl ApplicationStatus {
    const ALL: [Self; 6] = [
        Self::Online,
        Self::Offline,
        Self::Unknown,
        Self::Starting,
        Self::Stopping,
        Self::NoData,
    ];

    /// The status behind any word an agent may use: blanks around it and case do not matter, an
    /// unknown or empty word is [`Self::Unknown`]. Total: never an error.
    #[must_use]
    pub fn normalize(word: Option<&str>) -> Self {
        match word.unwrap_or_default().trim().to_lowercase().as_str() {
            "online" | "enabled" | "running" | "up" | "active" => Self::Online,
            "offline" | "disabled" | "stopped" | "down" | "inactive" => Self::Offline,
            "starting" | "pending" => Self::Starting,
            "stopping" | "paused" => Self::Stopping,
            "no_data" => Self::NoData,
            _ => Self::Unknown,
        }
    }

    /// The word used in storage and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Online => "online",
            Self::Offline => "offline",
            Self::Unknown => "unknown",
            Self::Starting => "starting",
            Self::Stopping => "stopping",
            Self::NoData => "no_data",
        }
    }

    /// The status with exactly this word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == word)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_table_of_the_seed_holds() {
        for (word, expected) in [
            ("disabled", "offline"),
            ("enabled", "online"),
            ("running", "online"),
            ("stopped", "offline"),
            ("down", "offline"),
            ("up", "online"),
            ("active", "online"),
            ("inactive", "offline"),
            ("paused", "stopping"),
            ("pending", "starting"),
            ("  Online ", "online"),
            ("maintenance", "unknown"),
            ("", "unknown"),
        ] {
            assert_eq!(
                ApplicationStatus::normalize(Some(word)).as_str(),
                expected,
                "{word:?}"
            );
        }
        assert_eq!(
            ApplicationStatus::normalize(None),
            ApplicationStatus::Unknown
        );
    }

    proptest! {
        #[test]
        fn normalizing_is_total_and_repeatable(word in "\\PC*") {
            let once = ApplicationStatus::normalize(Some(&word));
            prop_assert_eq!(ApplicationStatus::normalize(Some(once.as_str())), once);
            prop_assert_eq!(ApplicationStatus::parse(once.as_str()), Some(once));
        }
    }
}
