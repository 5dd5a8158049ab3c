//! How the open files of this process are shared out: connections never take those of polls, the database and plays.

use std::num::NonZeroU32;

use drover_config::Settings;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Files, listeners, timers, the log, the database's notification session.
const FIXED: u64 = 64;

/// Open files of one database connection: SQLite has the database, its log and its shared memory.
const PER_SESSION: u64 = 3;

/// Open files of one agent that is asked: its connection, and one kept for the next question.
const PER_POLL: u64 = 2;

/// Open files of one update: pipes and processes of its play.
const PER_UPDATE: u64 = 16;

/// The most connections to the API, whatever the system allows.
const API_MAX: u64 = 8_192;

/// The most connections to the admin listener.
const ADMIN_MAX: u64 = 64;

/// How many connections each listener takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Budget {
    /// To the API.
    pub(crate) api_connections: usize,
    /// To the admin listener.
    pub(crate) admin_connections: usize,
}

impl Budget {
    /// Raises the soft limit of open files to the hard limit and shares out the result.
    pub(crate) fn of(settings: &Settings) -> Self {
        let limit = raise();
        let reserve = reserve(settings);
        let budget = Self::share(limit, reserve);
        let Self {
            api_connections,
            admin_connections,
        } = budget;
        if limit < reserve * 2 {
            tracing::warn!(
                limit,
                reserve,
                "this process may open {limit} files, and its settings ask for {reserve} besides connections; the API takes \
                 {api_connections} connections only; raise the limit (LimitNOFILE of the unit)"
            );
        } else {
            tracing::info!(
                limit,
                reserve,
                api_connections,
                admin_connections,
                "this process may open {limit} files: {api_connections} for connections to the API, {admin_connections} for \
                 the admin listener, {reserve} are kept for agents, the database and plays"
            );
        }
        budget
    }

    fn share(limit: u64, reserve: u64) -> Self {
        // A quarter at least, so that a low limit leaves a service that answers.
        let admin = (limit / 16).clamp(4, ADMIN_MAX);
        let api = limit
            .saturating_sub(reserve + admin)
            .clamp((limit / 4).clamp(8, API_MAX), API_MAX);
        Self {
            api_connections: usize::try_from(api).unwrap_or(8),
            admin_connections: usize::try_from(admin).unwrap_or(4),
        }
    }
}

fn reserve(settings: &Settings) -> u64 {
    let outgoing: u64 = settings
        .engine
        .queues
        .values()
        .copied()
        .map(NonZeroU32::get)
        .map(u64::from)
        .sum();
    let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX / 64);
    FIXED
        + PER_SESSION * u64::from(settings.database.pool_size.get())
        + PER_POLL * count(settings.fleet.poll_concurrency.get())
        + PER_UPDATE * count(settings.rollout.workers.get())
        + outgoing
}

/// The number of files this process may open, after raising its own limit as far as it may.
fn raise() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return current.unwrap_or(u64::MAX);
    }
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => maximum.unwrap_or(u64::MAX),
        Err(error) => {
            tracing::warn!(%error, "the limit of open files cannot be raised to the hard limit");
            current.unwrap_or(u64::MAX)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_the_reserve_alone() {
        let share = |limit, reserve| {
            let budget = Budget::share(limit, reserve);
            (budget.api_connections, budget.admin_connections)
        };
        assert_eq!(share(65_536, 430), (8_192, 64));
        assert_eq!(share(1_024, 430), (530, 64));
        // Where there is less than the settings ask for, a quarter is for the API.
        assert_eq!(share(256, 430), (64, 16));
        assert_eq!(share(16, 430), (8, 4));
    }
}
