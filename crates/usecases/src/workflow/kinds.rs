//! Which kinds of tasks there are.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use drover_domain::text::TextError;
use drover_domain::workflow::{Action, Guarantee, Json, Kind, QueueName, Takeover, TaskPolicy};

use crate::Handlers;

/// The kinds that are always there, and what each promises.
const BUILT_IN: [(&str, Performer, Guarantee); 4] = [
    // Waiting and starting a child are changes of our own records.
    ("timer", Performer::BuiltIn, Guarantee::G0),
    ("signal.wait", Performer::BuiltIn, Guarantee::G0),
    ("subworkflow", Performer::BuiltIn, Guarantee::G0),
    ("remote", Performer::RemoteWorker, Guarantee::G3),
];

/// What is wrong with a payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PayloadProblem {
    /// Where: a JSON pointer into the payload; empty for the payload as a whole.
    pub pointer: String,
    /// What, in a sentence.
    pub reason: String,
}

/// Looks at the payload of a task before its workflow is accepted.
pub type PayloadCheck = Arc<dyn Fn(&Json) -> Result<(), PayloadProblem> + Send + Sync>;

/// Who does the tasks of a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Performer {
    /// A handler in the processes of the engine.
    Handler,
    /// A worker outside, over HTTP.
    RemoteWorker,
    /// The engine itself: what is done is in the task's [`Action`].
    BuiltIn,
}

/// What is known of a kind.
#[derive(Clone)]
pub struct KindSpec {
    /// Who does its tasks.
    pub performer: Performer,
    /// What it promises about its effect.
    pub guarantee: Guarantee,
    /// What happens when a worker goes away in the middle.
    pub takeover: Takeover,
    /// The queue of tasks that name none.
    pub queue: QueueName,
    /// What is checked before a workflow is accepted.
    pub check: Option<PayloadCheck>,
}

impl KindSpec {
    /// A kind with this guarantee, with what usually follows from it when a worker goes away, and
    /// without a check.
    #[must_use]
    pub fn new(performer: Performer, guarantee: Guarantee, queue: QueueName) -> Self {
        Self {
            performer,
            guarantee,
            takeover: TaskPolicy::once(guarantee).takeover,
            queue,
            check: None,
        }
    }

    /// The same kind, whose handler finds what a lost worker left alive: its tasks are queued again
    /// whatever the guarantee.
    #[must_use]
    pub fn adopting(self) -> Self {
        Self {
            takeover: Takeover::Requeue,
            ..self
        }
    }

    /// The same kind with a check of payloads.
    #[must_use]
    pub fn checked(self, check: PayloadCheck) -> Self {
        Self {
            check: Some(check),
            ..self
        }
    }

    /// What a task of this kind does where its order does not say.
    pub(super) const fn usual_action(&self) -> Option<Action> {
        match self.performer {
            Performer::Handler => Some(Action::Run),
            Performer::RemoteWorker => Some(Action::RunRemotely),
            Performer::BuiltIn => None,
        }
    }
}

impl fmt::Debug for KindSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KindSpec")
            .field("performer", &self.performer)
            .field("guarantee", &self.guarantee)
            .field("takeover", &self.takeover)
            .field("queue", &self.queue)
            .finish_non_exhaustive()
    }
}

/// The kinds of tasks there are. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Kinds(Arc<BTreeMap<Kind, KindSpec>>);

impl Kinds {
    /// The queue of tasks where neither they nor their kind name one.
    pub const QUEUE: &str = "default";
    /// The kind that waits.
    pub const TIMER: &str = "timer";
    /// The kind that waits for a signal.
    pub const SIGNAL: &str = "signal.wait";
    /// The kind that starts another workflow and waits for its end.
    pub const SUBWORKFLOW: &str = "subworkflow";
    /// The kind that workers over HTTP do.
    pub const REMOTE: &str = "remote";

    /// These kinds and one more; one of the same name is replaced.
    #[must_use]
    pub fn with(self, kind: Kind, spec: KindSpec) -> Self {
        let mut kinds = Arc::unwrap_or_clone(self.0);
        kinds.insert(kind, spec);
        Self(Arc::new(kinds))
    }

    /// These kinds and those that have a handler, in the usual queue and without a check. A kind that is
    /// here already stays as it is.
    #[must_use]
    pub fn with_handlers(self, handlers: &Handlers) -> Self {
        // A name of ours always parses; a test looks.
        let Ok(queue) = QueueName::parse(Self::QUEUE) else {
            return self;
        };
        handlers.kinds().fold(self, |kinds, (kind, guarantee)| {
            if kinds.find(kind).is_some() {
                return kinds;
            }
            let spec = KindSpec::new(Performer::Handler, guarantee, queue.clone());
            kinds.with(kind.clone(), spec)
        })
    }

    /// What is known of a kind.
    #[must_use]
    pub fn find(&self, kind: &Kind) -> Option<&KindSpec> {
        self.0.get(kind)
    }

    /// All of them, by name.
    pub fn all(&self) -> impl Iterator<Item = (&Kind, &KindSpec)> {
        self.0.iter()
    }
}

/// The kinds that are always there: [`Kinds::TIMER`], [`Kinds::SIGNAL`], [`Kinds::SUBWORKFLOW`] and
/// [`Kinds::REMOTE`].
impl Default for Kinds {
    fn default() -> Self {
        // Names of ours always parse; a test looks.
        Self(Arc::new(built_in().unwrap_or_default()))
    }
}

fn built_in() -> Result<BTreeMap<Kind, KindSpec>, TextError> {
    let queue = QueueName::parse(Kinds::QUEUE)?;
    BUILT_IN
        .into_iter()
        .map(|(name, performer, guarantee)| {
            let spec = KindSpec::new(performer, guarantee, queue.clone());
            Ok((Kind::parse(name)?, spec))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_kinds_are_there() {
        let kinds = Kinds::default();
        for name in [
            Kinds::TIMER,
            Kinds::SIGNAL,
            Kinds::SUBWORKFLOW,
            Kinds::REMOTE,
        ] {
            let kind = Kind::parse(name).unwrap();
            assert_eq!(kinds.find(&kind).unwrap().queue.as_str(), Kinds::QUEUE);
        }
        assert_eq!(kinds.all().count(), BUILT_IN.len());
    }

    #[test]
    fn an_adopting_kind_is_queued_again_whatever_it_promises() {
        let queue = QueueName::parse("q").unwrap();
        let spec = KindSpec::new(Performer::Handler, Guarantee::G4, queue);
        assert_eq!(spec.takeover, Takeover::Unknown);
        assert_eq!(spec.adopting().takeover, Takeover::Requeue);
    }
}
