//! What happened how often.

use drover_domain::workflow::{EventKind, NewWorkflowEvent};
use serde_json::{Map, Value, json};

macro_rules! faults {
    ($($(#[doc = $doc:literal])* $name:ident => $word:literal,)+) => {
        /// Something that goes wrong on purpose.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Fault {
            $($(#[doc = $doc])* $name,)+
        }

        impl Fault {
            /// Every fault.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// Its name in reports.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)+
                }
            }
        }
    };
}

faults! {
    /// A worker dies with everything it has in hand.
    WorkerCrash => "worker_crash",
    /// A node dies before its transaction commits.
    CrashBeforeCommit => "crash_before_commit",
    /// A node dies after its transaction has committed and before its answer.
    CrashAfterCommit => "crash_after_commit",
    /// A message is lost.
    MessageLost => "message_lost",
    /// A message arrives twice.
    MessageDuplicated => "message_duplicated",
    /// A message overtakes an earlier one.
    MessageReordered => "message_reordered",
    /// A worker repeats a report without an answer.
    ReportRepeated => "report_repeated",
    /// A worker does nothing for a while, and then goes on as if nothing had happened.
    WorkerStalled => "worker_stalled",
    /// A worker goes on with tasks although it knows that its lease is over.
    WentOnWithoutLease => "went_on_without_lease",
    /// An attempt hangs.
    AttemptHung => "attempt_hung",
    /// The clock jumps forward.
    ClockJump => "clock_jump",
}

/// Counts over one or many lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tally {
    /// Seeds.
    pub seeds: u64,
    /// Steps of the scheduler, and rounds after the faults.
    pub steps: u64,
    /// Workflows that were started.
    pub workflows: u64,
    /// Steps of runs that were committed.
    pub commits: u64,
    /// Those of them that were committed while faults struck.
    pub hostile_commits: u64,
    /// Inputs that runs refused.
    pub refusals: u64,
    /// Effects in the ledger.
    pub effects: u64,
    /// What people asked for.
    pub wishes: u64,
    faults: [u64; Fault::ALL.len()],
    events: [u64; EventKind::ALL.len()],
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            seeds: 0,
            steps: 0,
            workflows: 0,
            commits: 0,
            hostile_commits: 0,
            refusals: 0,
            effects: 0,
            wishes: 0,
            faults: [0; Fault::ALL.len()],
            events: [0; EventKind::ALL.len()],
        }
    }
}

impl Tally {
    pub(super) const fn fault(&mut self, fault: Fault) {
        self.faults[fault as usize] += 1;
    }

    pub(super) const fn event(&mut self, event: &NewWorkflowEvent) {
        self.events[event.kind as usize] += 1;
    }

    /// How often a fault struck.
    #[must_use]
    pub const fn faults(&self, fault: Fault) -> u64 {
        self.faults[fault as usize]
    }

    /// How many events of a kind were written.
    #[must_use]
    pub const fn events(&self, kind: EventKind) -> u64 {
        self.events[kind as usize]
    }

    /// Adds the counts of other lives.
    pub fn add(&mut self, other: &Self) {
        self.seeds += other.seeds;
        self.steps += other.steps;
        self.workflows += other.workflows;
        self.commits += other.commits;
        self.hostile_commits += other.hostile_commits;
        self.refusals += other.refusals;
        self.effects += other.effects;
        self.wishes += other.wishes;
        for (sum, more) in self.faults.iter_mut().zip(other.faults) {
            *sum += more;
        }
        for (sum, more) in self.events.iter_mut().zip(other.events) {
            *sum += more;
        }
    }

    /// The counts as JSON.
    #[must_use]
    pub fn to_json(&self) -> Map<String, Value> {
        let named = |words: Vec<&str>, counts: &[u64]| -> Map<String, Value> {
            let counts = counts.iter().map(|count| json!(count));
            words.into_iter().map(str::to_owned).zip(counts).collect()
        };
        let faults = Fault::ALL.iter().map(|fault| fault.as_str()).collect();
        let events = EventKind::ALL.iter().map(|kind| kind.as_str()).collect();
        let mut shown = Map::new();
        for (name, count) in [
            ("seeds", self.seeds),
            ("steps", self.steps),
            ("workflows", self.workflows),
            ("commits", self.commits),
            ("hostile_commits", self.hostile_commits),
            ("refusals", self.refusals),
            ("effects", self.effects),
            ("wishes", self.wishes),
        ] {
            shown.insert(name.to_owned(), json!(count));
        }
        shown.insert("faults".to_owned(), named(faults, &self.faults).into());
        shown.insert("events".to_owned(), named(events, &self.events).into());
        shown
    }
}
