//! Setting a server in HAProxy to a state, and knowing that it is so. Seed 002, "Команды управления".
//!
//! HAProxy's answer to a command proves nothing: agents report refusals as success, a reload forgets every
//! state, a tracked server does what another one does. So an action is a loop: look, decide with [`next`], send,
//! look again; it has succeeded when what was seen says so. Measured on HAProxy 2.6.

use std::time::Duration;

use crate::Timestamp;
use crate::rollout::record::Origin;
use crate::workflow::{
    Action, Definition, DefinitionError, ExecutionMode, Guarantee, Json, Kind, QueueName, TaskId,
    TaskKey, TaskNo, TaskPolicy, TaskSpec, TaskStatus, Work, WorkflowId,
};

use super::{
    AdminBits, AdminState, BackendKey, BreakerRecord, Capacity, HaproxyInstanceKey,
    HaproxyServerKey, Health, ObservedServer, Pin, ServerWord, Tracker,
};

/// The name of the kind, and of every workflow that is an action.
pub const ACTION_KIND: &str = "haproxy.set_state";
/// The name of the queue.
pub const ACTION_QUEUE: &str = "haproxy";
/// The key of the only task.
const ACTION_TASK: &str = "set_state";

/// The number of commands without effect after which the server counts as disobedient.
pub const SENDS_MAX: u32 = 4;
/// The most commands of one attempt.
pub const COMMANDS_MAX: u32 = 50;
/// How long a state has to last where an agent-check of HAProxy may change it: several times its default interval of 2 s.
/// HAProxy does not show the interval.
pub const AGENT_CHECK_WATCH: Duration = Duration::from_secs(10);
/// How many looks in a row without a session prove that a server is drained.
pub const CALM_LOOKS: usize = 3;
/// The most looks that are kept as evidence; the first and the last ones.
pub const LOOKS_MAX: usize = 100;
/// The longest an action may wait for sessions or checks.
pub const WAIT_MAX: Duration = Duration::from_hours(1);
/// How long a returning server may take to become healthy where the request does not say.
pub const RETURN_WAIT: Duration = Duration::from_mins(1);

/// A requested state of an HAProxy server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActionRequest {
    /// The server.
    pub server: HaproxyServerKey,
    /// The wanted state.
    pub wanted: AdminState,
    /// How long to wait for what follows from it: for sessions to end after `drain` and `maint`, for checks to
    /// pass before `ready`. Zero does not wait for sessions.
    pub wait: Duration,
    /// Why it is done although the backend is left with too few servers.
    pub forced: Option<String>,
    /// The reason, as given in the request.
    pub reason: Option<String>,
    /// How long the server is pinned in that state; without it, until it is returned.
    pub pin_for: Option<Duration>,
    /// Whether it re-applies a pin that HAProxy has forgotten. The pin keeps its owner.
    pub restores: bool,
}

/// Where an action stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ActionStatus {
    /// It waits for a worker.
    Pending,
    /// It is being done.
    Running,
    /// HAProxy was seen to be as wanted.
    Success,
    /// It was not reached, or the result is unknown.
    Failed,
}

impl ActionStatus {
    /// Every status.
    pub const ALL: [Self; 4] = [Self::Pending, Self::Running, Self::Success, Self::Failed];

    /// The word used in storage and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Success => "success",
            Self::Failed => "failed",
        }
    }

    /// The status with this word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == word)
    }
}

/// What was seen of a server at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// When.
    pub at: Timestamp,
    /// HAProxy's status word.
    pub word: ServerWord,
    /// Sessions on it, those of HAProxy's old workers included where the agent sees them.
    pub sessions: Option<u64>,
    /// How many of them are in old workers; `None` where the agent does not see these.
    pub old_sessions: Option<u64>,
    /// Requests waiting for it.
    pub queue: Option<u64>,
    /// Whether an agent-check of HAProxy may change its state at any time.
    pub has_agent_check: bool,
}

impl Look {
    /// What this observation shows.
    #[must_use]
    pub fn of(observed: &ObservedServer, at: Timestamp) -> Self {
        Self {
            at,
            word: observed.word.clone(),
            sessions: observed.sessions,
            old_sessions: observed.old_sessions,
            queue: observed.queue,
            has_agent_check: observed.role.has_agent_check,
        }
    }

    /// What was seen, without when.
    fn shown(&self) -> (ServerWord, [Option<u64>; 3]) {
        let counts = [self.sessions, self.old_sessions, self.queue];
        (self.word.clone(), counts)
    }
}

/// What an action did and saw.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Evidence {
    /// What was seen, oldest first; at most [`LOOKS_MAX`], the later ones in place of each other.
    pub looks: Vec<Look>,
    /// How many commands were sent.
    pub sends: u32,
}

impl Evidence {
    /// What may be believed of an observation after what was seen before it.
    ///
    /// Where old workers are not seen, although they were once or `was_reloaded` says that there are some, what they
    /// still serve is unknown, and so is the number of all sessions: it is not that of the new worker alone.
    #[must_use]
    pub fn believed(&self, observed: &ObservedServer, was_reloaded: bool) -> ObservedServer {
        let saw_old_workers = self.looks.iter().any(|look| look.old_sessions.is_some());
        let is_blind = observed.old_sessions.is_none() && (saw_old_workers || was_reloaded);
        ObservedServer {
            sessions: observed.sessions.filter(|_| !is_blind),
            ..observed.clone()
        }
    }

    /// Whether it equals `earlier` evidence of the same action, except for times.
    #[must_use]
    pub fn tells_no_more_than(&self, earlier: &Self) -> bool {
        let shown = |evidence: &Self| evidence.looks.last().map(Look::shown);
        (self.sends, shown(self)) == (earlier.sends, shown(earlier))
    }

    /// Adds what was seen. Between the first and the last ones, what is the same as before is left out.
    pub fn add(&mut self, look: Look) {
        let is_repeated = |kept: &Look| kept.shown() == look.shown();
        let mut last = self.looks.iter().rev();
        if last.next().is_some_and(is_repeated) && last.next().is_some_and(is_repeated) {
            self.looks.pop();
        } else if self.looks.len() >= LOOKS_MAX {
            self.looks.remove(LOOKS_MAX / 2);
        }
        self.looks.push(look);
    }
}

/// The commands that one attempt of an action has sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Commands {
    last: Option<AdminState>,
    in_vain: u32,
    all: u32,
}

impl Commands {
    /// Adds one.
    pub fn sent(&mut self, state: AdminState) {
        self.last = Some(state);
        self.in_vain = self.in_vain.saturating_add(1);
        self.all = self.all.saturating_add(1);
    }

    /// Records a look at the server. A command that was obeyed counts as effective, even if a reload loses its effect.
    pub fn seen(&mut self, observed: &ObservedServer) {
        if self.last.is_some() && observed.own_state() == self.last {
            self.in_vain = 0;
        }
    }

    /// How many were sent in a row without being obeyed; [`SENDS_MAX`] after [`COMMANDS_MAX`] of them in all: whatever
    /// undoes each of them does not stop.
    #[must_use]
    pub const fn in_vain(&self) -> u32 {
        if self.all >= COMMANDS_MAX && self.in_vain < SENDS_MAX {
            SENDS_MAX
        } else {
            self.in_vain
        }
    }
}

/// Why an action failed. The code is for programs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ActionFailure {
    /// HAProxy no longer has the server.
    #[error("HAProxy has no server of this name in the backend any more")]
    Gone,
    /// It does what another server does.
    #[error(
        "HAProxy shows `{word}`: it follows {}, whose state has to be changed instead", tracks.as_deref().unwrap_or("another server")
    )]
    Tracked {
        /// HAProxy's status word.
        word: ServerWord,
        /// The other server, as `backend/server`.
        tracks: Option<String>,
    },
    /// It is out because its host name does not resolve.
    #[error(
        "HAProxy shows `{word}`: nothing keeps it out but its host name, which does not resolve; it takes requests once it does"
    )]
    Unresolved {
        /// HAProxy's status word.
        word: ServerWord,
    },
    /// HAProxy's agent-check undid it.
    #[error(
        "HAProxy shows `{word}`: the server's agent-check undid `{}`; change what the agent on the server answers, or `disable agent`", wanted.as_str()
    )]
    AgentCheck {
        /// The state that was wanted, and reached for a while.
        wanted: AdminState,
        /// HAProxy's status word.
        word: ServerWord,
    },
    /// The command was accepted and had no effect.
    #[error("HAProxy was told {sends} times and still shows `{word}`")]
    Disobeyed {
        /// The number of commands sent.
        sends: u32,
        /// HAProxy's status word.
        word: ServerWord,
    },
    /// Nothing that the agent says shows whether it worked.
    #[error(
        "HAProxy shows `{word}`, which says nothing about `{}`, and the agent does not tell the administrative state", wanted.as_str()
    )]
    NotProven {
        /// The state that was wanted.
        wanted: AdminState,
        /// HAProxy's status word.
        word: ServerWord,
    },
    /// Sessions did not end in time.
    #[error("{} left when the time to wait was over{}; it gets no new ones", left(*sessions, *is_reported), in_old_workers(*old_sessions))]
    StillBusy {
        /// How many were left.
        sessions: Option<u64>,
        /// How many of them in old workers of HAProxy.
        old_sessions: Option<u64>,
        /// Whether the agent reports sessions at all; FAgent does not.
        is_reported: bool,
    },
    /// Its checks did not pass in time.
    #[error("HAProxy showed `{word}` when the time to wait was over; {}", if *released { "it is ready and its checks fail" } else { "it gets no requests" })]
    NotHealthy {
        /// HAProxy's status word.
        word: ServerWord,
        /// Whether `ready` was already sent.
        released: bool,
    },
    /// Too few servers would be left.
    #[error(transparent)]
    Capacity(#[from] CapacityShort),
    /// The state to re-apply is no longer wanted.
    #[error("nobody wants it to be `{}` any more", wanted.as_str())]
    Superseded {
        /// What was wanted.
        wanted: AdminState,
    },
    /// The agent did not do its part.
    #[error("{reason}")]
    Agent {
        /// Why, a sentence.
        reason: String,
    },
}

impl ActionFailure {
    /// The word for programs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::Tracked { .. } => "tracked",
            Self::Unresolved { .. } => "unresolved",
            Self::AgentCheck { .. } => "agent_check",
            Self::Disobeyed { .. } => "disobeyed",
            Self::NotProven { .. } => "not_proven",
            Self::StillBusy { .. } => "still_busy",
            Self::NotHealthy { .. } => "not_healthy",
            Self::Capacity(_) => "below_min_ready",
            Self::Superseded { .. } => "superseded",
            Self::Agent { .. } => "agent",
        }
    }
}

fn left(sessions: Option<u64>, is_reported: bool) -> String {
    match sessions {
        None if !is_reported => {
            "the agent reports no sessions (FAgent never does, drover-agent does), so it is unknown how many were".to_owned()
        }
        Some(1) => "1 session was".to_owned(),
        Some(sessions) => format!("{sessions} sessions were"),
        None => "an unknown number of sessions, maybe in an old worker of HAProxy, was".to_owned(),
    }
}

fn in_old_workers(sessions: Option<u64>) -> String {
    match sessions {
        Some(0) | None => String::new(),
        Some(sessions) => format!(", {sessions} of them in old workers that a reload left behind"),
    }
}

/// An action would leave a backend with too few servers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "of the backend `{backend}` {left} of {ready} servers would go on taking requests; at least {min_ready} must"
)]
pub struct CapacityShort {
    /// The backend.
    pub backend: String,
    /// How many take requests.
    pub ready: usize,
    /// How many would.
    pub left: usize,
    /// How many must.
    pub min_ready: u32,
}

/// Checks that a backend keeps `min_ready` servers that take requests when `leaving` of them stop to. Taking out
/// what takes no requests is always possible.
///
/// # Errors
///
/// [`CapacityShort`] with the numbers.
pub fn check_capacity<'a>(
    backend: &str,
    members: impl IntoIterator<Item = &'a ObservedServer>,
    leaving: impl Fn(&str) -> bool,
    min_ready: u32,
) -> Result<(), CapacityShort> {
    let members: Vec<&ObservedServer> = members.into_iter().collect();
    let staying = members.iter().copied();
    let left = Capacity::of(staying.filter(|member| !leaving(&member.name))).serving();
    let ready = Capacity::of(members).serving();
    if left < ready && usize::try_from(min_ready).is_ok_and(|min_ready| left < min_ready) {
        let backend = backend.to_owned();
        return Err(CapacityShort {
            backend,
            ready,
            left,
            min_ready,
        });
    }
    Ok(())
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Send the command, then look.
    Send(AdminState),
    /// Look again after a moment.
    Wait,
    /// It is so.
    Done,
    /// It cannot be.
    Fail(ActionFailure),
}

/// How far an attempt of an action has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Looks in a row without a session.
    pub calm: usize,
    /// Commands that had no effect.
    pub sends: u32,
    /// Whether the time to wait is over.
    pub is_late: bool,
    /// For how long the wanted state was seen without a break; `None` if it was not.
    pub reached: Option<Duration>,
    /// Whether the wanted state was seen after a command, by the same process of HAProxy, and is not seen now.
    pub is_undone: bool,
}

/// What to do about a server that was last seen like that.
///
/// A server never goes from maintenance to ready directly: HAProxy would send it requests before the first check. What
/// counts is what was asked of the server itself: a state that it inherits ends with that of another server.
#[must_use]
pub fn next(request: &ActionRequest, observed: &ObservedServer, progress: Progress) -> Next {
    let Progress { sends, is_late, .. } = progress;
    let word = || observed.word.clone();
    let Some(state) = observed.own_state() else {
        // `DOWN` without the administrative bits may or may not be what was asked for.
        if observed.follows_another() && request.wanted == AdminState::Ready {
            return Next::Fail(out_with_another(observed));
        }
        return match sends {
            0 => Next::Send(first_step(request.wanted)),
            _ if is_late || request.wanted != AdminState::Ready => {
                Next::Fail(ActionFailure::NotProven {
                    wanted: request.wanted,
                    word: word(),
                })
            }
            _ => Next::Wait,
        };
    };
    let has_agent_check = observed.role.has_agent_check;
    if has_agent_check && progress.is_undone && state != request.wanted {
        return Next::Fail(ActionFailure::AgentCheck {
            wanted: request.wanted,
            word: word(),
        });
    }
    let lasts = progress
        .reached
        .is_some_and(|time| time >= AGENT_CHECK_WATCH);
    let done = if has_agent_check && !lasts {
        Next::Wait
    } else {
        Next::Done
    };
    let send = |wanted| {
        if sends >= SENDS_MAX {
            Next::Fail(ActionFailure::Disobeyed {
                sends,
                word: word(),
            })
        } else {
            Next::Send(wanted)
        }
    };
    let passes = matches!(observed.word.health(), Health::Up | Health::NoCheck);
    match (request.wanted, state) {
        (AdminState::Drain, AdminState::Drain) | (AdminState::Maint, AdminState::Maint) => {
            if request.wait.is_zero() || progress.calm >= CALM_LOOKS {
                done
            } else if is_late {
                Next::Fail(ActionFailure::StillBusy {
                    sessions: observed.sessions,
                    old_sessions: observed.old_sessions,
                    is_reported: observed.sessions.is_some() || observed.queue.is_some(),
                })
            } else {
                Next::Wait
            }
        }
        (AdminState::Drain | AdminState::Maint, _) => send(request.wanted),
        // It gets no requests when its own state ends, whatever its checks say.
        (AdminState::Ready, AdminState::Drain | AdminState::Maint)
            if observed.follows_another() =>
        {
            send(AdminState::Ready)
        }
        (AdminState::Ready, AdminState::Ready) if observed.follows_another() => {
            Next::Fail(out_with_another(observed))
        }
        (AdminState::Ready, AdminState::Maint) => send(AdminState::Drain),
        // Released only after checks have passed; a server without a check shows no other word.
        (AdminState::Ready, AdminState::Drain) if passes => send(AdminState::Ready),
        (AdminState::Ready, AdminState::Ready) if passes => done,
        (AdminState::Ready, AdminState::Drain | AdminState::Ready) if is_late => {
            Next::Fail(ActionFailure::NotHealthy {
                word: word(),
                released: state == AdminState::Ready,
            })
        }
        (AdminState::Ready, AdminState::Drain | AdminState::Ready) => Next::Wait,
    }
}

fn out_with_another(observed: &ObservedServer) -> ActionFailure {
    let word = observed.word.clone();
    let is_unresolved = match observed.admin {
        Some(bits) => bits.is_unresolved(),
        None => word.as_str().contains("(resolution)"),
    };
    if is_unresolved {
        ActionFailure::Unresolved { word }
    } else {
        ActionFailure::Tracked {
            word,
            tracks: observed.role.tracks.clone(),
        }
    }
}

const fn first_step(wanted: AdminState) -> AdminState {
    match wanted {
        AdminState::Ready | AdminState::Drain => AdminState::Drain,
        AdminState::Maint => AdminState::Maint,
    }
}

/// What was asked of a server that shows this, as [`ObservedServer::admin_state`].
#[must_use]
pub fn admin_state(word: &ServerWord, bits: Option<AdminBits>) -> Option<AdminState> {
    if let Some(bits) = bits {
        return Some(bits.state());
    }
    let head = word.as_str().split(' ').next().unwrap_or_default();
    match head.to_ascii_uppercase().as_str() {
        "DRAIN" => Some(AdminState::Drain),
        "MAINT" => Some(AdminState::Maint),
        "NOLB" => Some(AdminState::Ready),
        _ => word.takes_traffic().then_some(AdminState::Ready),
    }
}

/// What was asked of the server itself that shows this, as [`ObservedServer::own_state`].
#[must_use]
pub fn own_state(word: &ServerWord, bits: Option<AdminBits>) -> Option<AdminState> {
    match bits {
        Some(bits) => Some(bits.own()),
        None if follows_another(word) => None,
        None => admin_state(word, None),
    }
}

fn follows_another(word: &ServerWord) -> bool {
    let word = word.as_str();
    word.contains("(via ") || word.contains("(resolution)")
}

impl ObservedServer {
    /// The administrative state it is in, its own or not: what the administrative bits say, else what the word shows;
    /// `None` where it does not show it, as with `DOWN`.
    #[must_use]
    pub fn admin_state(&self) -> Option<AdminState> {
        admin_state(&self.word, self.admin)
    }

    /// What was asked of the server itself; `None` where that does not show. `ready` where it is out only because the
    /// server it tracks is, or because its host name does not resolve.
    #[must_use]
    pub fn own_state(&self) -> Option<AdminState> {
        own_state(&self.word, self.admin)
    }

    /// Whether it is out because of another server, or of a host name that does not resolve, whatever its own state is.
    #[must_use]
    pub fn follows_another(&self) -> bool {
        match self.admin {
            Some(bits) => bits.is_inherited() || bits.is_unresolved(),
            None => follows_another(&self.word),
        }
    }

    /// This server together with those that follow it: they are drained with it, so their sessions count as its own.
    #[must_use]
    pub fn with_followers<'a>(&self, followers: impl IntoIterator<Item = &'a Self>) -> Self {
        let add = |one: Option<u64>, other: Option<u64>| Some(one?.saturating_add(other?));
        let mut whole = self.clone();
        for follower in followers {
            whole.sessions = add(whole.sessions, follower.sessions);
            whole.old_sessions = add(whole.old_sessions, follower.old_sessions);
            whole.queue = add(whole.queue, follower.queue);
        }
        whole
    }

    /// Whether it has no session right now, in old workers of HAProxy too; `false` where the agent does not report sessions.
    #[must_use]
    pub fn is_calm(&self) -> bool {
        self.sessions == Some(0)
            && self.old_sessions.unwrap_or_default() == 0
            && self.queue.unwrap_or_default() == 0
    }
}

/// An action with what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HaproxyAction {
    /// The task that does it.
    pub id: TaskId,
    /// What makes a repetition the same action.
    pub transaction_id: String,
    /// What is wanted.
    pub request: ActionRequest,
    /// Who asked.
    pub origin: Origin,
    /// Where it stands.
    pub status: ActionStatus,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When work on it began.
    pub started_at: Option<Timestamp>,
    /// What was done and seen so far.
    pub evidence: Evidence,
    /// What it came to.
    pub end: Option<ActionEnd>,
}

/// What an action came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActionEnd {
    /// When.
    pub at: Timestamp,
    /// Why it failed: a word for programs and a sentence.
    pub failure: Option<(String, String)>,
}

/// What the engine says of the task of an action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActionStanding {
    /// Where the task stands.
    pub status: TaskStatus,
    /// Its attempt; 0 before the first one.
    pub attempt: u32,
    /// When it ended for good.
    pub finished_at: Option<Timestamp>,
    /// The code of its error.
    pub error_code: Option<String>,
    /// Its error, a sentence.
    pub error: Option<String>,
    /// Why its workflow ended as it did.
    pub workflow_error: Option<String>,
}

impl HaproxyAction {
    /// The action, of which only what is its own is known, with what the engine says about it. Its own end holds;
    /// one that has none and was ended by the engine, by a person or by time, has failed, unless a person knew better.
    #[must_use]
    pub fn standing(self, standing: ActionStanding) -> Self {
        let word = standing.status.as_str();
        let said = |message: Option<String>| {
            message.unwrap_or_else(|| format!("the engine ended it as {word}"))
        };
        let end = match (self.end, standing.status) {
            (Some(end), _) => end,
            (
                None,
                TaskStatus::Pending
                | TaskStatus::Queued
                | TaskStatus::Running
                | TaskStatus::Retrying
                | TaskStatus::Waiting,
            ) => {
                let was_taken = standing.attempt > 0 || self.started_at.is_some();
                let status = if was_taken {
                    ActionStatus::Running
                } else {
                    ActionStatus::Pending
                };
                return Self {
                    status,
                    end: None,
                    ..self
                };
            }
            (None, ended) => ActionEnd {
                // An unknown end has no time of its own.
                at: standing
                    .finished_at
                    .or(self.started_at)
                    .unwrap_or(self.created_at),
                failure: match ended {
                    TaskStatus::Succeeded => None,
                    // What the task says is of an attempt before.
                    TaskStatus::Cancelled | TaskStatus::Skipped => {
                        Some((word.to_owned(), said(standing.workflow_error)))
                    }
                    TaskStatus::Pending
                    | TaskStatus::Queued
                    | TaskStatus::Running
                    | TaskStatus::Retrying
                    | TaskStatus::Waiting
                    | TaskStatus::Failed
                    | TaskStatus::TimedOut
                    | TaskStatus::Unknown => Some((
                        standing.error_code.unwrap_or_else(|| word.to_owned()),
                        said(standing.error.or(standing.workflow_error)),
                    )),
                },
            },
        };
        Self {
            status: if end.failure.is_some() {
                ActionStatus::Failed
            } else {
                ActionStatus::Success
            },
            end: Some(end),
            ..self
        }
    }
}

/// Where a server stands: its backend, its instance and the agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActionTarget {
    /// The server.
    pub server: HaproxyServerKey,
    /// What was last seen of it.
    pub observed: ObservedServer,
    /// Its backend.
    pub backend: BackendKey,
    /// The backend's name.
    pub backend_name: String,
    /// The HAProxy it is in.
    pub instance: HaproxyInstanceKey,
    /// The HAProxy's name at its agent.
    pub instance_name: String,
    /// The address of the agent's host.
    pub agent_host: String,
    /// The agent's port.
    pub agent_port: u16,
    /// Whether it is in HAProxy at the moment, as far as is known.
    pub is_present: bool,
    /// Its pin.
    pub pin: Option<Pin>,
    /// The present servers of the HAProxy that follow another one.
    pub trackers: Vec<Tracker>,
    /// The breaker of the HAProxy.
    pub breaker: BreakerRecord,
}

/// The kind of the task.
#[must_use]
pub fn action_kind() -> Kind {
    Kind::of_ours(ACTION_KIND)
}

/// The queue in which actions wait for a worker.
#[must_use]
pub fn action_queue() -> QueueName {
    QueueName::of_ours(ACTION_QUEUE)
}

/// The only task of an action.
#[must_use]
pub const fn action_task(workflow: WorkflowId) -> TaskId {
    workflow.task(TaskNo::FIRST)
}

/// What an action on a server of `backend` consists of that may wait for `wait`. One action of a backend at a time: how
/// many servers are left is counted before one is taken out.
///
/// # Errors
///
/// [`DefinitionError`]: never, as long as our names are names.
pub fn action_definition(
    backend: BackendKey,
    wait: Duration,
) -> Result<Definition, DefinitionError> {
    let work = Work {
        kind: action_kind(),
        action: Action::Run,
        queue: action_queue(),
        priority: 0,
        payload: Json::null(),
        policy: TaskPolicy {
            timeout: wait + Duration::from_mins(5),
            ..TaskPolicy::once(Guarantee::G2)
        },
    };
    let task = TaskSpec {
        key: TaskKey::of_ours(ACTION_TASK),
        work,
        depends_on: Vec::new(),
        concurrency_keys: vec![format!("haproxy-action:{backend}")],
        compensation: None,
    };
    Definition::new(ExecutionMode::Sequential, vec![task])
}

#[cfg(test)]
mod tests {
    use super::super::ServerRole;
    use super::*;
    use crate::Key;

    fn progress(calm: usize, sends: u32, is_late: bool) -> Progress {
        Progress {
            calm,
            sends,
            is_late,
            ..Progress::default()
        }
    }

    fn server(word: &str, bits: Option<u32>) -> ObservedServer {
        ObservedServer {
            name: "a".to_owned(),
            word: ServerWord::new(word),
            admin: bits.map(AdminBits::from_bits),
            sessions: Some(0),
            old_sessions: None,
            queue: Some(0),
            weight: 1,
            role: ServerRole::default(),
            check_status: None,
            address: None,
            port: None,
        }
    }

    fn wish(wanted: AdminState, wait_s: u64) -> ActionRequest {
        ActionRequest {
            server: Key::new(1),
            wanted,
            wait: Duration::from_secs(wait_s),
            forced: None,
            reason: None,
            pin_for: None,
            restores: false,
        }
    }

    fn code(next: &Next) -> &'static str {
        match next {
            Next::Send(state) => state.as_str(),
            Next::Wait => "wait",
            Next::Done => "done",
            Next::Fail(failure) => failure.code(),
        }
    }

    #[test]
    fn what_is_next_follows_from_what_is_seen() {
        use AdminState::{Drain, Maint, Ready};
        for (wanted, word, bits, sends, is_late, expected) in [
            (Drain, "UP", Some(0), 0, false, "drain"),
            (Drain, "DRAIN", Some(8), 1, false, "done"),
            // A server that is down is drained all the same; only the bits show it.
            (Drain, "DOWN", Some(0), 0, false, "drain"),
            (Drain, "DOWN", Some(8), 1, false, "done"),
            (Drain, "DOWN", None, 0, false, "drain"),
            (Drain, "DOWN", None, 1, false, "not_proven"),
            (Drain, "no check", Some(0), 0, false, "drain"),
            // Accepted without effect, or a reload in between: sent again, a bounded number of times.
            (Drain, "UP", Some(0), 3, false, "drain"),
            (Drain, "UP", Some(0), 4, false, "disobeyed"),
            (Drain, "UP", None, 4, false, "disobeyed"),
            (Drain, "MAINT", Some(1), 0, false, "drain"),
            (Maint, "UP 1/3", Some(0), 0, false, "maint"),
            (Maint, "DRAIN", Some(8), 0, false, "maint"),
            (Maint, "MAINT", Some(1), 1, false, "done"),
            (Maint, "MAINT", None, 1, false, "done"),
            // Never from maintenance to ready directly.
            (Ready, "MAINT", Some(1), 0, false, "drain"),
            (Ready, "MAINT", None, 0, false, "drain"),
            (Ready, "DRAIN 1/3", Some(8), 1, false, "wait"),
            (Ready, "DOWN", Some(8), 1, false, "wait"),
            (Ready, "DOWN", Some(8), 1, true, "not_healthy"),
            (Ready, "DRAIN", Some(8), 1, false, "ready"),
            (Ready, "DOWN 1/2", Some(0), 2, false, "wait"),
            (Ready, "UP 1/3", Some(0), 2, false, "wait"),
            (Ready, "DOWN", Some(0), 0, true, "not_healthy"),
            (Ready, "UP", Some(0), 2, false, "done"),
            (Ready, "UP", Some(4), 2, false, "done"),
            (Ready, "no check", Some(0), 1, false, "done"),
            // A server that follows another one gets no command.
            (Ready, "DRAIN", Some(16), 0, false, "tracked"),
            (Ready, "MAINT (via be/s)", Some(2), 0, false, "tracked"),
            (Ready, "MAINT (via be/s)", None, 0, false, "tracked"),
            (
                Ready,
                "MAINT (resolution)",
                Some(32),
                0,
                false,
                "unresolved",
            ),
            (Ready, "MAINT (resolution)", None, 0, false, "unresolved"),
            // What is out with another one only is not what was asked of it: it is sent, and is there afterwards.
            (Maint, "MAINT (via be/s)", Some(2), 0, false, "maint"),
            (Maint, "MAINT (via be/s)", Some(3), 1, false, "done"),
            (Drain, "MAINT (via be/s)", Some(2), 0, false, "drain"),
            (Drain, "DRAIN", Some(16), 0, false, "drain"),
            (Drain, "DRAIN", Some(24), 1, false, "done"),
            (Drain, "MAINT (resolution)", Some(32), 0, false, "drain"),
            (Drain, "MAINT (resolution)", Some(40), 1, false, "done"),
            (Maint, "MAINT (resolution)", Some(32), 0, false, "maint"),
            (Maint, "MAINT (via be/s)", None, 0, false, "maint"),
            (Maint, "MAINT (via be/s)", None, 1, false, "not_proven"),
            // Its own part ends, and what it inherits is said.
            (Ready, "MAINT (via be/s)", Some(3), 0, false, "ready"),
            (Ready, "DRAIN", Some(24), 0, false, "ready"),
            (Ready, "MAINT (resolution)", Some(40), 0, false, "ready"),
            // A check by an agent is health, not another server.
            (Drain, "DOWN (agent)", Some(0), 0, false, "drain"),
            (Ready, "DOWN (agent)", Some(0), 0, true, "not_healthy"),
        ] {
            let found = next(
                &wish(wanted, 0),
                &server(word, bits),
                progress(0, sends, is_late),
            );
            assert_eq!(
                code(&found),
                expected,
                "{wanted:?} {word} {bits:?} {sends} {is_late}"
            );
        }
    }

    #[test]
    fn a_drain_that_waits_is_done_when_nobody_was_seen_for_a_while() {
        let wish = wish(AdminState::Drain, 30);
        let drained = server("DRAIN", Some(8));
        assert_eq!(
            next(&wish, &drained, progress(CALM_LOOKS - 1, 1, false)),
            Next::Wait
        );
        assert_eq!(
            next(&wish, &drained, progress(CALM_LOOKS, 1, false)),
            Next::Done
        );
        let busy = ObservedServer {
            sessions: Some(2),
            ..drained.clone()
        };
        let failure = next(&wish, &busy, progress(0, 1, true));
        assert_eq!(code(&failure), "still_busy");
        assert!(drained.is_calm() && !busy.is_calm());
        let silent = ObservedServer {
            sessions: None,
            ..drained
        };
        assert!(!silent.is_calm());
    }

    #[test]
    fn an_agent_check_decides_until_a_state_has_lasted() {
        use AdminState::{Drain, Ready};
        let checked = |word, bits| ObservedServer {
            role: ServerRole {
                has_agent_check: true,
                ..ServerRole::default()
            },
            ..server(word, Some(bits))
        };
        let after = |seconds| Progress {
            reached: Some(Duration::from_secs(seconds)),
            ..progress(CALM_LOOKS, 1, true)
        };
        let undone = Progress {
            is_undone: true,
            ..progress(0, 0, false)
        };
        for (wanted, wait_s, word, bits, progress, expected) in [
            (Drain, 0, "DRAIN", 8, after(0), "wait"),
            (Drain, 0, "DRAIN", 8, after(9), "wait"),
            (Drain, 0, "DRAIN", 8, after(10), "done"),
            (Drain, 30, "DRAIN", 8, after(9), "wait"),
            (Drain, 30, "DRAIN", 8, after(10), "done"),
            (Drain, 0, "UP", 0, undone, "agent_check"),
            (Ready, 0, "UP", 0, after(9), "wait"),
            (Ready, 0, "UP", 0, after(10), "done"),
            (Ready, 0, "DRAIN", 8, undone, "agent_check"),
        ] {
            let found = next(&wish(wanted, wait_s), &checked(word, bits), progress);
            assert_eq!(code(&found), expected, "{wanted:?} {word} {progress:?}");
        }
        // Where there is no agent-check a reload may have forgotten it: it is sent again.
        let again = next(&wish(Drain, 0), &server("UP", Some(0)), undone);
        assert_eq!(code(&again), "drain");
    }

    #[test]
    fn sessions_of_followers_are_sessions_and_unknown_ones_make_all_unknown() {
        let own = server("DRAIN", Some(8));
        let follower = ObservedServer {
            sessions: Some(1),
            ..own.clone()
        };
        assert!(!own.with_followers([&own, &follower]).is_calm());
        assert_eq!(own.with_followers([&follower, &follower]).sessions, Some(2));
        let silent = ObservedServer {
            sessions: None,
            ..own.clone()
        };
        assert!(own.with_followers([&own]).is_calm());
        assert!(!own.with_followers([&silent]).is_calm());
    }

    #[test]
    fn an_agent_that_reports_no_sessions_is_named_as_the_reason() {
        let fagent = ObservedServer {
            sessions: None,
            queue: None,
            ..server("DRAIN", None)
        };
        let blind = ObservedServer {
            queue: Some(0),
            ..fagent.clone()
        };
        for (server, words) in [
            (fagent, "the agent reports no sessions"),
            (blind, "maybe in an old worker"),
        ] {
            let Next::Fail(failure) =
                next(&wish(AdminState::Drain, 30), &server, progress(0, 1, true))
            else {
                panic!("it must not be done");
            };
            assert!(failure.to_string().contains(words), "{failure}");
        }
    }

    #[test]
    fn what_an_old_worker_serves_is_not_over() {
        let wish = wish(AdminState::Drain, 30);
        let left_behind = ObservedServer {
            sessions: Some(2),
            old_sessions: Some(2),
            ..server("DRAIN", Some(8))
        };
        assert!(!left_behind.is_calm());
        let Next::Fail(failure) = next(&wish, &left_behind, progress(0, 1, true)) else {
            panic!("it must not be done");
        };
        assert_eq!(
            failure.to_string(),
            "2 sessions were left when the time to wait was over, 2 of them in old workers that a reload left behind; \
             it gets no new ones"
        );
        let over = ObservedServer {
            sessions: Some(0),
            old_sessions: Some(0),
            ..left_behind
        };
        assert!(over.is_calm());
    }

    #[test]
    fn old_workers_that_were_seen_once_are_not_gone_because_nobody_speaks_of_them() {
        let mut evidence = Evidence::default();
        let silent = server("DRAIN", Some(8));
        assert!(evidence.believed(&silent, false).is_calm());
        let told = ObservedServer {
            old_sessions: Some(0),
            ..silent.clone()
        };
        evidence.add(Look::of(&told, Timestamp::from_micros(1)));
        assert_eq!(evidence.believed(&told, false), told);
        let believed = evidence.believed(&silent, false);
        assert_eq!((believed.sessions, believed.is_calm()), (None, false));
        for at in 2..200 {
            evidence.add(Look::of(
                &evidence.believed(&silent, false),
                Timestamp::from_micros(at),
            ));
        }
        assert!(!evidence.believed(&silent, false).is_calm());
    }

    #[test]
    fn after_a_reload_only_who_sees_old_workers_knows_that_nobody_is_left() {
        let evidence = Evidence::default();
        let blind = server("DRAIN", Some(8));
        assert_eq!(evidence.believed(&blind, true).sessions, None);
        let sees = ObservedServer {
            old_sessions: Some(0),
            ..blind
        };
        assert_eq!(evidence.believed(&sees, true), sees);
    }

    #[test]
    fn a_command_that_was_obeyed_was_not_in_vain() {
        let mut commands = Commands::default();
        let (up, drained) = (server("UP", Some(0)), server("DRAIN", Some(8)));
        for times in 1..=SENDS_MAX {
            commands.sent(AdminState::Drain);
            commands.seen(&up);
            assert_eq!(commands.in_vain(), times);
        }
        commands.seen(&drained);
        assert_eq!(commands.in_vain(), 0);
        // A reload forgets it every now and then, but not for ever.
        for _ in SENDS_MAX..COMMANDS_MAX {
            assert_eq!(commands.in_vain(), 0);
            commands.sent(AdminState::Drain);
            commands.seen(&drained);
        }
        assert_eq!(commands.in_vain(), SENDS_MAX);
    }

    #[test]
    fn a_backend_keeps_enough_servers() {
        let mut members =
            ["UP", "UP 1/3", "no check", "DRAIN", "DOWN"].map(|word| server(word, None));
        for (member, name) in members.iter_mut().zip(["a", "b", "c", "d", "e"]) {
            name.clone_into(&mut member.name);
        }
        let check = |leaving: &[&str], min_ready| {
            check_capacity("be", &members, |name| leaving.contains(&name), min_ready)
        };
        assert_eq!(check(&["a"], 2), Ok(()));
        assert_eq!(check(&["a", "b"], 1), Ok(()));
        // What takes no requests may always go.
        assert_eq!(check(&["d", "e"], 100), Ok(()));
        let short = check(&["a", "b"], 2).unwrap_err();
        assert_eq!(
            short.to_string(),
            "of the backend `be` 1 of 3 servers would go on taking requests; at least 2 must"
        );
        // Backups get no requests beside others, so they stand in for none of them.
        members[2].role.is_backup = true;
        let short = check_capacity("be", &members, |name| name == "a", 2).unwrap_err();
        assert_eq!((short.ready, short.left), (2, 1));
        assert_eq!(
            check_capacity("be", &members, |name| name == "c", 2),
            Ok(())
        );
        assert_eq!(
            check_capacity("be", &members, |name| name != "c", 1),
            Ok(())
        );
        members[2].role.is_backup = false;
        members[0].weight = 0;
        let short = check_capacity("be", &members, |name| name == "b", 2).unwrap_err();
        assert_eq!((short.ready, short.left), (2, 1));
    }

    #[test]
    fn the_engine_tells_where_an_action_stands_until_it_tells_itself() {
        let time = Timestamp::from_micros;
        let action = HaproxyAction {
            id: action_task(WorkflowId::rooted(crate::id::Uuid::from_u128(1 << 64))),
            transaction_id: "t".to_owned(),
            request: wish(AdminState::Drain, 0),
            origin: Origin {
                actor: "ann".to_owned(),
                request_id: "r".to_owned(),
            },
            status: ActionStatus::Pending,
            created_at: time(1),
            started_at: None,
            evidence: Evidence::default(),
            end: None,
        };
        let standing = |status, attempt, error: Option<&str>| ActionStanding {
            status,
            attempt,
            finished_at: Some(time(9)),
            error_code: error.map(|_| "timeout".to_owned()),
            error: error.map(str::to_owned),
            workflow_error: Some("not today".to_owned()),
        };
        for (status, attempt, error, expected, failure) in [
            (TaskStatus::Queued, 0, None, ActionStatus::Pending, None),
            (TaskStatus::Queued, 1, None, ActionStatus::Running, None),
            (TaskStatus::Running, 1, None, ActionStatus::Running, None),
            (TaskStatus::Succeeded, 1, None, ActionStatus::Success, None),
            (
                TaskStatus::TimedOut,
                1,
                Some("slow"),
                ActionStatus::Failed,
                Some(("timeout", "slow")),
            ),
            (
                TaskStatus::Unknown,
                1,
                None,
                ActionStatus::Failed,
                Some(("unknown", "not today")),
            ),
            (
                TaskStatus::Cancelled,
                1,
                Some("slow"),
                ActionStatus::Failed,
                Some(("cancelled", "not today")),
            ),
        ] {
            let found = action.clone().standing(standing(status, attempt, error));
            let told = found.end.and_then(|end| end.failure);
            let told = told
                .as_ref()
                .map(|(code, why)| (code.as_str(), why.as_str()));
            assert_eq!((found.status, told), (expected, failure), "{status:?}");
        }
        let own = HaproxyAction {
            end: Some(ActionEnd {
                at: time(5),
                failure: None,
            }),
            ..action
        };
        let found = own.clone().standing(standing(TaskStatus::Running, 1, None));
        assert_eq!((found.status, found.end), (ActionStatus::Success, own.end));
    }

    #[test]
    fn evidence_keeps_what_changed_and_is_bounded() {
        let mut evidence = Evidence::default();
        let look = |at: i64, sessions: u64| Look {
            at: Timestamp::from_micros(at),
            word: ServerWord::new("DRAIN"),
            sessions: Some(sessions),
            old_sessions: None,
            queue: Some(0),
            has_agent_check: false,
        };
        for at in 0..10 {
            evidence.add(look(at, 1));
        }
        evidence.add(look(10, 0));
        let kept: Vec<i64> = evidence
            .looks
            .iter()
            .map(|look| look.at.as_micros())
            .collect();
        assert_eq!(kept, [0, 9, 10]);
        for at in 0..1_000 {
            let sessions = u64::try_from(at).unwrap();
            evidence.add(look(100 + at, sessions));
        }
        assert_eq!(evidence.looks.len(), LOOKS_MAX);
        assert_eq!(evidence.looks[0].at.as_micros(), 0);
        assert_eq!(evidence.looks.last().unwrap().sessions, Some(999));
    }

    #[test]
    fn our_names_are_names_and_words_read_back() {
        assert_eq!(Kind::parse(ACTION_KIND), Ok(action_kind()));
        assert_eq!(QueueName::parse(ACTION_QUEUE), Ok(action_queue()));
        assert_eq!(
            TaskKey::parse(ACTION_TASK),
            Ok(TaskKey::of_ours(ACTION_TASK))
        );
        for status in ActionStatus::ALL {
            assert_eq!(ActionStatus::parse(status.as_str()), Some(status));
        }
        let definition = action_definition(Key::new(7), WAIT_MAX).unwrap();
        let [task] = definition.tasks() else {
            panic!("{definition:?}")
        };
        assert_eq!(task.concurrency_keys, ["haproxy-action:7"]);
        task.work.policy.clone().checked().unwrap();
    }
}
