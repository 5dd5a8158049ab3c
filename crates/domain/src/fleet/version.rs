//! When a version has changed, and who changed it.

use crate::{Key, Timestamp};

/// Marks the keys of version changes.
#[derive(Debug)]
pub enum VersionChangeKind {}
/// The key of a version change.
pub type VersionChangeKey = Key<VersionChangeKind>;

/// What distinguishes two versions of an application.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VersionState {
    /// The version.
    pub version: Option<String>,
    /// The docker tag.
    pub tag: Option<String>,
    /// The docker image.
    pub image: Option<String>,
    /// Where the artifact came from.
    pub distr_path: Option<String>,
}

/// The version that a text says, without blanks around it; `None` where the text says that it is not known.
///
/// Agents and containers write `Unknown`, `unknown-no-match`, `N/A`, `-`, `null` or `<none>` for that.
#[must_use]
pub fn known_version(text: &str) -> Option<&str> {
    const NONE: [&str; 13] = [
        "n/a",
        "n.a.",
        "na",
        "null",
        "nil",
        "none",
        "<none>",
        "nan",
        "undefined",
        "unset",
        "unavailable",
        "not available",
        "not found",
    ];
    let text = text.trim();
    let word = text.to_lowercase();
    let says_something = word.chars().any(char::is_alphanumeric);
    (says_something && !word.starts_with("unknown") && !NONE.contains(&word.as_str()))
        .then_some(text)
}

impl VersionState {
    /// The same without the texts that say that a version is not known.
    #[must_use]
    pub fn known(self) -> Self {
        let known =
            |text: Option<String>| text.and_then(|text| known_version(&text).map(str::to_owned));
        Self {
            version: known(self.version),
            tag: known(self.tag),
            ..self
        }
    }
}

/// Who changed a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangedBy {
    /// A person, through Drover.
    User,
    /// Changed outside of Drover; the agent reported it.
    Agent,
}

impl ChangedBy {
    /// The word used in storage and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Agent => "agent",
        }
    }

    /// The value with this word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::User, Self::Agent]
            .into_iter()
            .find(|by| by.as_str() == word)
    }
}

/// How Drover learned of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeSource {
    /// By a rollout.
    UpdateTask,
    /// By polling.
    Polling,
    /// Set by hand.
    Manual,
}

impl ChangeSource {
    /// The word used in storage and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UpdateTask => "update_task",
            Self::Polling => "polling",
            Self::Manual => "manual",
        }
    }

    /// The source with this word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::UpdateTask, Self::Polling, Self::Manual]
            .into_iter()
            .find(|source| source.as_str() == word)
    }
}

/// A row of the version history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionChange {
    /// Before.
    pub old: VersionState,
    /// After.
    pub new: VersionState,
    /// When it was noticed.
    pub changed_at: Timestamp,
    /// By whom.
    pub changed_by: ChangedBy,
    /// How it was learned.
    pub source: ChangeSource,
    /// The rollout that did it.
    pub rollout: Option<crate::rollout::record::RolloutId>,
}

/// Whether going from `old` to `new` belongs in the history: version or tag differ, and the new
/// version or tag is not empty. Seed 001, "Version history recording".
#[must_use]
pub fn version_change(old: &VersionState, new: &VersionState) -> bool {
    let filled =
        |text: &Option<String>| text.as_deref().is_some_and(|text| !text.trim().is_empty());
    (old.version != new.version || old.tag != new.tag) && (filled(&new.version) || filled(&new.tag))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(version: Option<&str>, tag: Option<&str>) -> VersionState {
        VersionState {
            version: version.map(str::to_owned),
            tag: tag.map(str::to_owned),
            ..VersionState::default()
        }
    }

    #[test]
    fn a_text_that_says_unknown_is_no_version() {
        for text in [
            "",
            " ",
            "Unknown",
            "UNKNOWN",
            "unknown",
            "unknown-no-match",
            "unknown_version",
            " Unknown ",
            "N/A",
            "n/a",
            "NA",
            "-",
            "--",
            "?",
            "???",
            "null",
            "NULL",
            "None",
            "<none>",
            "undefined",
            "...",
        ] {
            assert_eq!(known_version(text), None, "{text:?}");
        }
        for text in [
            "1.0",
            "v2",
            "latest",
            "master",
            "nano-1",
            "0",
            "none-1.2",
            "1.0-unknown",
        ] {
            assert_eq!(known_version(text), Some(text));
        }
        assert_eq!(known_version(" 1.0 "), Some("1.0"));
    }

    #[test]
    fn only_a_new_filled_version_or_tag_is_a_change() {
        for (old, new, expected) in [
            (state(None, None), state(Some("1.0"), None), true),
            (state(Some("1.0"), None), state(Some("1.1"), None), true),
            (state(Some("1.0"), None), state(Some("1.0"), None), false),
            (state(Some("1.0"), None), state(None, None), false),
            (state(Some("1.0"), None), state(Some(" "), None), false),
            (
                state(Some("1.0"), Some("a")),
                state(Some("1.0"), Some("b")),
                true,
            ),
        ] {
            assert_eq!(version_change(&old, &new), expected, "{old:?} -> {new:?}");
        }
    }

    #[test]
    fn a_new_image_or_path_alone_is_no_change() {
        let old = state(Some("1.0"), None);
        let new = VersionState {
            image: Some("x".to_owned()),
            distr_path: Some("y".to_owned()),
            ..old.clone()
        };
        assert!(!version_change(&old, &new));
    }
}
