//! What can be wrong with settings.

use std::path::PathBuf;

/// Why the settings are not usable; the message goes to the user unchanged.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file is no TOML.
    #[error("{file} is not TOML: {reason}")]
    NotToml {
        /// The file.
        file: String,
        /// What is wrong and where, without the text itself: it may contain secrets.
        reason: String,
    },
    /// Nobody knows this setting.
    #[error("`{key}` ({place}) is not a setting; known here: {known}")]
    Unknown {
        /// The setting.
        key: String,
        /// The file or variable it is in.
        place: String,
        /// What could be meant.
        known: String,
    },
    /// A value is of the wrong kind or outside its range.
    #[error("setting `{key}` ({place}) {reason}")]
    Invalid {
        /// The setting.
        key: String,
        /// The file or variable it is in.
        place: String,
        /// What is wrong and what is allowed.
        reason: String,
    },
    /// A secret is given twice.
    #[error("setting `{key}` ({place}) and `{key}_file` ({file_place}) are both given; only one may be")]
    Both {
        /// The setting.
        key: String,
        /// Where it is given.
        place: String,
        /// Where its twin is given.
        file_place: String,
    },
    /// A file with a secret cannot be read.
    #[error("setting `{key}` ({place}) names {}, which cannot be read", path.display())]
    SecretFile {
        /// The setting.
        key: String,
        /// The file or variable it is in.
        place: String,
        /// The file with the secret.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}
