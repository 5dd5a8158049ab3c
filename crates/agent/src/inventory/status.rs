//! The words that say whether an application runs.

use serde::Serialize;

/// One of the words FAgent's clients know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Status {
    Online,
    Starting,
    Stopping,
    Offline,
    Unknown,
}
