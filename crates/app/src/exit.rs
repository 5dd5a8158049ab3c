//! How the process ends: exit codes that scripts can rely on.

use std::process::ExitCode;

/// Why the process ends. The codes are documented in `docs/reference/cli.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// All well.
    Success,
    /// What was asked for failed.
    Failed,
    /// Something it depends on is not there.
    Unavailable,
    /// The settings cannot be used.
    Config,
    /// Standard output cannot be written, so the answer is lost.
    OutputLost,
    /// Another process migrates the database and does not come to an end.
    MigrationBusy,
}

impl Exit {
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Failed => 1,
            Self::Unavailable => 69,
            Self::OutputLost => 74,
            Self::MigrationBusy => 75,
            Self::Config => 78,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
