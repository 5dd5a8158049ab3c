//! How the service behaves where there is a choice.

use std::time::Duration;

use drover_domain::fleet::inventory::PollPolicy;
use drover_domain::haproxy::BreakerPolicy;
use drover_ports::History;

use crate::workflow::Kinds;

/// How the service behaves where there is a choice.
#[derive(Debug, Clone)]
pub struct Policy {
    /// The update playbook with its parameters where no setting names one.
    pub default_playbook: String,
    /// The orchestrator playbook where a request names none.
    pub default_orchestrator: String,
    /// The playbook folder of the control host.
    pub playbook_folder: String,
    /// The name of this node: nodes poll the same server at different moments.
    pub node: String,
    /// How long records of what happened are kept.
    pub history: HistoryAges,
    /// How polls are judged.
    pub poll: PollPolicy,
    /// How often each server is polled.
    pub polling_interval: Duration,
    /// How often each HAProxy is synced.
    pub sync_interval: Duration,
    /// How many agents are asked at once, by polls and by syncs each.
    pub poll_concurrency: usize,
    /// How many servers of a backend must go on taking requests when one is taken out.
    pub min_ready: u32,
    /// When an HAProxy whose agent does not answer is left alone, and for how long.
    pub breaker: BreakerPolicy,
    /// How long one look at a running play waits for something new.
    pub follow_wait: Duration,
    /// How long the control host may be silent about a play that runs: longer than plays run. Then what became of the play is
    /// unknown.
    pub lost_after: Duration,
    /// Which kinds of tasks there are.
    pub kinds: Kinds,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            default_playbook: "update-app.yml {server} {app} {distr_url} {mode}".to_owned(),
            default_orchestrator: "orchestrator-even-odd.yml".to_owned(),
            playbook_folder: "/etc/drover/ansible".to_owned(),
            node: String::new(),
            history: HistoryAges::default(),
            poll: PollPolicy::default(),
            polling_interval: Duration::from_mins(1),
            sync_interval: Duration::from_mins(1),
            poll_concurrency: 64,
            min_ready: 1,
            breaker: BreakerPolicy::default(),
            follow_wait: Duration::from_secs(2),
            lost_after: Duration::from_hours(6),
            kinds: Kinds::default(),
        }
    }
}

/// How long records are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryAges {
    /// What happened to servers and applications.
    pub fleet_events: Duration,
    /// How the status of servers in HAProxy changed.
    pub haproxy_statuses: Duration,
    /// Applications that are gone, with their history.
    pub gone_applications: Duration,
}

/// How old what polling found must be before it is removed because nothing belongs to it.
const EMPTY_MIN: Duration = Duration::from_hours(1);

impl HistoryAges {
    pub(crate) const fn of(self, history: History) -> Duration {
        match history {
            History::FleetEvents | History::InstanceStatuses => self.fleet_events,
            History::HaproxyStatuses | History::GoneServers | History::GoneBackends => {
                self.haproxy_statuses
            }
            History::GoneApplications => self.gone_applications,
            History::EmptyGroups | History::EmptyCatalogEntries => EMPTY_MIN,
        }
    }
}

/// 30 days each. Seed 001.
impl Default for HistoryAges {
    fn default() -> Self {
        let month = Duration::from_hours(30 * 24);
        Self {
            fleet_events: month,
            haproxy_statuses: month,
            gone_applications: month,
        }
    }
}
