//! What a workflow consists of, and whether it can be run at all.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::graph::{self, Graph};
use super::{DefinitionName, Json, Kind, QueueName, SignalName, TaskKey, TaskNo, TaskPolicy};

/// The most tasks of one workflow, compensations not counted.
pub const TASKS_MAX: usize = 1_000;
/// The longest chain of tasks that depend on each other.
pub const DEPTH_MAX: usize = 100;
/// The most concurrency keys of one task.
pub const CONCURRENCY_KEYS_MAX: usize = 64;
/// The bounds of a priority; higher goes first.
pub const PRIORITY_RANGE: std::ops::RangeInclusive<i16> = -100..=100;

/// In which order the tasks of a workflow may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ExecutionMode {
    /// One after the other, as they are listed.
    Sequential,
    /// All at once.
    Parallel,
    /// As their dependencies say.
    Dag,
}

impl ExecutionMode {
    /// The word used in storage and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sequential => "sequential",
            Self::Parallel => "parallel",
            Self::Dag => "dag",
        }
    }

    /// The mode with this word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Sequential, Self::Parallel, Self::Dag]
            .into_iter()
            .find(|mode| mode.as_str() == word)
    }
}

/// An edge of the graph: a task waits for another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dependency {
    /// The task that is waited for.
    pub on: TaskKey,
    /// Whether the waiting task also runs when that one was skipped.
    pub skipped_releases: bool,
}

/// What a task does.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// A handler of the engine executes it.
    Run,
    /// A worker outside, over HTTP, executes it.
    RunRemotely,
    /// It waits.
    Timer {
        /// How long.
        wait: Duration,
    },
    /// It waits for a signal; the signal's payload is its result.
    Signal {
        /// Which one.
        name: SignalName,
        /// How long at most; then it has timed out.
        expires_after: Option<Duration>,
    },
    /// It starts another workflow and waits for its end. The task's payload is the child's input.
    Child {
        /// The child's definition.
        definition: DefinitionName,
        /// Its version; the newest one where there is none.
        version: Option<u32>,
    },
}

impl Action {
    /// The word used in storage and JSON.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::RunRemotely => "run_remotely",
            Self::Timer { .. } => "timer",
            Self::Signal { .. } => "signal",
            Self::Child { .. } => "child",
        }
    }

    /// Who takes the task from its queue; `None` for what no worker is needed for.
    #[must_use]
    pub const fn executor(&self) -> Option<Executor> {
        match self {
            Self::Run | Self::Child { .. } => Some(Executor::Engine),
            Self::RunRemotely => Some(Executor::Remote),
            Self::Timer { .. } | Self::Signal { .. } => None,
        }
    }
}

/// Who takes tasks from a queue. Both may use queues of the same name without meeting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Executor {
    /// The engine's own handlers.
    Engine,
    /// Workers outside, over HTTP.
    Remote,
}

impl Executor {
    /// The word used in storage and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Engine => "engine",
            Self::Remote => "remote",
        }
    }

    /// The executor with this word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Engine, Self::Remote]
            .into_iter()
            .find(|executor| executor.as_str() == word)
    }
}

/// What executes a task, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct Work {
    /// The kind; for people, for metrics and for finding the handler.
    pub kind: Kind,
    /// What it does.
    pub action: Action,
    /// The queue it waits in.
    pub queue: QueueName,
    /// Its priority in the queue, within [`PRIORITY_RANGE`]; higher goes first.
    pub priority: i16,
    /// What the executor is given.
    pub payload: Json,
    /// How often and how long.
    pub policy: TaskPolicy,
}

/// A task as its author describes it.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskSpec {
    /// Its key, unique in the workflow.
    pub key: TaskKey,
    /// What executes it.
    pub work: Work,
    /// What it waits for. Empty unless the mode is [`ExecutionMode::Dag`].
    pub depends_on: Vec<Dependency>,
    /// What it has to itself while it runs: no two running tasks share one of these, in any
    /// workflow. At most [`CONCURRENCY_KEYS_MAX`], each checked by
    /// [`check_concurrency_key`](super::check_concurrency_key).
    pub concurrency_keys: Vec<String>,
    /// What undoes it.
    pub compensation: Option<Work>,
}

/// Tasks that were found to make a workflow: unique keys, known dependencies, no cycle, in bounds.
#[derive(Debug, Clone, PartialEq)]
pub struct Definition {
    mode: ExecutionMode,
    tasks: Vec<TaskSpec>,
    graph: Graph,
}

/// Why tasks make no workflow. `task` is the place in the list, from 0, and `dependency` the place
/// in its list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DefinitionError {
    /// There is none.
    #[error("a workflow needs at least one task")]
    NoTasks,
    /// There are too many.
    #[error("{given} tasks are given; at most {TASKS_MAX} are allowed")]
    TooManyTasks {
        /// How many.
        given: usize,
    },
    /// Two tasks have one key.
    #[error("the key `{key}` is taken by an earlier task")]
    DuplicateKey {
        /// The later task.
        task: usize,
        /// The key.
        key: TaskKey,
    },
    /// A dependency names no task.
    #[error("there is no task with the key `{key}`")]
    UnknownDependency {
        /// The task.
        task: usize,
        /// The dependency.
        dependency: usize,
        /// What it names.
        key: TaskKey,
    },
    /// A dependency is named twice.
    #[error("the dependency on `{key}` is named twice")]
    DuplicateDependency {
        /// The task.
        task: usize,
        /// The later dependency.
        dependency: usize,
        /// What it names.
        key: TaskKey,
    },
    /// A task depends on itself.
    #[error("the task `{key}` depends on itself")]
    SelfDependency {
        /// The task.
        task: usize,
        /// The dependency.
        dependency: usize,
        /// Its key.
        key: TaskKey,
    },
    /// Dependencies where the mode says the order.
    #[error("`depends_on` is for the mode `dag`; the mode is `{}`", mode.as_str())]
    DependencyInMode {
        /// The task.
        task: usize,
        /// The mode.
        mode: ExecutionMode,
    },
    /// Tasks wait for each other.
    #[error("the tasks depend on each other in a circle: {}", circle(keys))]
    Cycle {
        /// The first task of the circle.
        task: usize,
        /// The keys along it, the first one not repeated.
        keys: Vec<TaskKey>,
    },
    /// The longest chain is too long.
    #[error("the longest chain of dependencies has {given} tasks; at most {DEPTH_MAX} are allowed")]
    TooDeep {
        /// Its length.
        given: usize,
        /// The last task of it.
        task: usize,
    },
    /// A priority out of bounds.
    #[error("the priority is {given}; it must be from {} to {}", PRIORITY_RANGE.start(), PRIORITY_RANGE.end())]
    Priority {
        /// The task.
        task: usize,
        /// What was given.
        given: i16,
    },
    /// Too many concurrency keys.
    #[error("{given} concurrency keys are given; at most {CONCURRENCY_KEYS_MAX} are allowed")]
    ConcurrencyKeys {
        /// The task.
        task: usize,
        /// How many.
        given: usize,
    },
    /// Undoing something cannot wait for anything.
    #[error(
        "a compensation must be done by a handler or a worker; it cannot wait or start a workflow"
    )]
    IdleCompensation {
        /// The task.
        task: usize,
    },
}

fn circle(keys: &[TaskKey]) -> String {
    let mut shown: Vec<&str> = keys.iter().map(TaskKey::as_str).collect();
    shown.extend(keys.first().map(TaskKey::as_str));
    shown.join(" → ")
}

impl Definition {
    /// Checks tasks against each other. Their own values were checked when they were parsed.
    ///
    /// # Errors
    ///
    /// [`DefinitionError`], the first one found.
    pub fn new(mode: ExecutionMode, tasks: Vec<TaskSpec>) -> Result<Self, DefinitionError> {
        if tasks.is_empty() {
            return Err(DefinitionError::NoTasks);
        }
        if tasks.len() > TASKS_MAX {
            let given = tasks.len();
            return Err(DefinitionError::TooManyTasks { given });
        }
        for (task, spec) in tasks.iter().enumerate() {
            check_task(mode, task, spec)?;
        }
        let places = places(&tasks)?;
        let edges = match mode {
            ExecutionMode::Parallel => vec![Vec::new(); tasks.len()],
            ExecutionMode::Sequential => (0..tasks.len())
                .map(|task| {
                    task.checked_sub(1)
                        .map(|before| (before, false))
                        .into_iter()
                        .collect()
                })
                .collect(),
            ExecutionMode::Dag => tasks
                .iter()
                .enumerate()
                .map(|(task, spec)| edges(task, spec, &places))
                .collect::<Result<_, _>>()?,
        };
        let levels = graph::levels(&edges).map_err(|cycle| DefinitionError::Cycle {
            task: cycle.first().copied().unwrap_or(0),
            keys: cycle
                .iter()
                .filter_map(|task| Some(tasks.get(*task)?.key.clone()))
                .collect(),
        })?;
        // A sequential list is no chain that could be made wider.
        if mode == ExecutionMode::Dag
            && let Some((task, level)) = levels.iter().enumerate().max_by_key(|(_, level)| **level)
            && *level >= DEPTH_MAX
        {
            let given = level + 1;
            return Err(DefinitionError::TooDeep { given, task });
        }
        let graph = Graph::new(&edges, levels);
        Ok(Self { mode, tasks, graph })
    }

    /// The order of execution.
    #[must_use]
    pub const fn mode(&self) -> ExecutionMode {
        self.mode
    }

    /// The tasks, in their author's order: the place in this list is the task's number.
    #[must_use]
    pub fn tasks(&self) -> &[TaskSpec] {
        &self.tasks
    }

    /// Who waits for whom.
    #[must_use]
    pub const fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The tasks with their numbers, then the compensations with theirs and what each undoes.
    pub fn numbered(&self) -> impl Iterator<Item = (TaskNo, Option<TaskNo>, &TaskSpec)> {
        let own = self
            .tasks
            .iter()
            .enumerate()
            .filter_map(|(at, spec)| Some((number(at)?, None, spec)));
        let undoing = self
            .tasks
            .iter()
            .enumerate()
            .filter(|(_, spec)| spec.compensation.is_some());
        let undoing = undoing.enumerate().filter_map(|(nth, (at, spec))| {
            Some((number(self.tasks.len() + nth)?, Some(number(at)?), spec))
        });
        own.chain(undoing)
    }
}

/// The task number of a place in a list; there is one for every place a definition can have.
pub(super) fn number(place: usize) -> Option<TaskNo> {
    TaskNo::new(u16::try_from(place).ok()?)
}

fn check_task(mode: ExecutionMode, task: usize, spec: &TaskSpec) -> Result<(), DefinitionError> {
    if mode != ExecutionMode::Dag && !spec.depends_on.is_empty() {
        return Err(DefinitionError::DependencyInMode { task, mode });
    }
    if spec.concurrency_keys.len() > CONCURRENCY_KEYS_MAX {
        let given = spec.concurrency_keys.len();
        return Err(DefinitionError::ConcurrencyKeys { task, given });
    }
    for work in [Some(&spec.work), spec.compensation.as_ref()]
        .into_iter()
        .flatten()
    {
        if !PRIORITY_RANGE.contains(&work.priority) {
            let given = work.priority;
            return Err(DefinitionError::Priority { task, given });
        }
    }
    match spec.compensation.as_ref().map(|work| &work.action) {
        None | Some(Action::Run | Action::RunRemotely) => Ok(()),
        Some(Action::Timer { .. } | Action::Signal { .. } | Action::Child { .. }) => {
            Err(DefinitionError::IdleCompensation { task })
        }
    }
}

fn places(tasks: &[TaskSpec]) -> Result<HashMap<&TaskKey, usize>, DefinitionError> {
    let mut places = HashMap::with_capacity(tasks.len());
    for (task, spec) in tasks.iter().enumerate() {
        if places.insert(&spec.key, task).is_some() {
            let key = spec.key.clone();
            return Err(DefinitionError::DuplicateKey { task, key });
        }
    }
    Ok(places)
}

fn edges(
    task: usize,
    spec: &TaskSpec,
    places: &HashMap<&TaskKey, usize>,
) -> Result<Vec<(usize, bool)>, DefinitionError> {
    let mut edges = BTreeMap::new();
    for (dependency, edge) in spec.depends_on.iter().enumerate() {
        let key = edge.on.clone();
        match places.get(&edge.on) {
            None => {
                return Err(DefinitionError::UnknownDependency {
                    task,
                    dependency,
                    key,
                });
            }
            Some(on) if *on == task => {
                return Err(DefinitionError::SelfDependency {
                    task,
                    dependency,
                    key,
                });
            }
            Some(on) => {
                if edges.insert(*on, edge.skipped_releases).is_some() {
                    return Err(DefinitionError::DuplicateDependency {
                        task,
                        dependency,
                        key,
                    });
                }
            }
        }
    }
    Ok(edges.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workflow::Guarantee;

    fn work() -> Work {
        Work {
            kind: Kind::parse("noop").unwrap(),
            action: Action::Run,
            queue: QueueName::parse("default").unwrap(),
            priority: 0,
            payload: Json::null(),
            policy: TaskPolicy::once(Guarantee::G1),
        }
    }

    fn task(key: &str, on: &[&str]) -> TaskSpec {
        TaskSpec {
            key: TaskKey::parse(key).unwrap(),
            work: work(),
            depends_on: on
                .iter()
                .map(|on| Dependency {
                    on: TaskKey::parse(on).unwrap(),
                    skipped_releases: false,
                })
                .collect(),
            concurrency_keys: Vec::new(),
            compensation: None,
        }
    }

    #[track_caller]
    fn refused(tasks: Vec<TaskSpec>, sentence: &str) {
        let refusal = Definition::new(ExecutionMode::Dag, tasks).unwrap_err();
        assert_eq!(refusal.to_string(), sentence);
    }

    #[test]
    fn what_makes_no_workflow_is_refused_by_name() {
        refused(vec![], "a workflow needs at least one task");
        refused(
            (0..1_001).map(|n| task(&format!("t{n}"), &[])).collect(),
            "1001 tasks are given; at most 1000 are allowed",
        );
        refused(
            vec![task("a", &[]), task("a", &[])],
            "the key `a` is taken by an earlier task",
        );
        refused(vec![task("a", &["b"])], "there is no task with the key `b`");
        refused(vec![task("a", &["a"])], "the task `a` depends on itself");
        refused(
            vec![task("a", &[]), task("b", &["a", "a"])],
            "the dependency on `a` is named twice",
        );
        refused(
            vec![
                task("x", &[]),
                task("a", &["x", "c"]),
                task("b", &["a"]),
                task("c", &["b"]),
            ],
            "the tasks depend on each other in a circle: a → c → b → a",
        );
        let chain = |length: usize| {
            (0..length)
                .map(|n| match n.checked_sub(1) {
                    None => task("t0", &[]),
                    Some(before) => task(&format!("t{n}"), &[&format!("t{before}")]),
                })
                .collect::<Vec<_>>()
        };
        assert!(Definition::new(ExecutionMode::Dag, chain(100)).is_ok());
        refused(
            chain(101),
            "the longest chain of dependencies has 101 tasks; at most 100 are allowed",
        );
        let mut idle = task("a", &[]);
        idle.compensation = Some(Work {
            action: Action::Timer {
                wait: Duration::ZERO,
            },
            ..work()
        });
        refused(
            vec![idle],
            "a compensation must be done by a handler or a worker; it cannot wait or start a workflow",
        );
    }

    #[test]
    fn the_mode_says_the_order() {
        let tasks = || ["a", "b", "c"].map(|key| task(key, &[])).to_vec();
        let sequential = Definition::new(ExecutionMode::Sequential, tasks()).unwrap();
        assert_eq!(sequential.graph().roots().count(), 1);
        let parallel = Definition::new(ExecutionMode::Parallel, tasks()).unwrap();
        assert_eq!(parallel.graph().roots().count(), 3);
        assert_eq!(
            Definition::new(
                ExecutionMode::Parallel,
                vec![task("a", &[]), task("b", &["a"])]
            ),
            Err(DefinitionError::DependencyInMode {
                task: 1,
                mode: ExecutionMode::Parallel
            })
        );
    }

    #[test]
    fn compensations_are_numbered_after_the_tasks() {
        let mut tasks = ["a", "b", "c"].map(|key| task(key, &[])).to_vec();
        for at in [0, 2] {
            tasks[at].compensation = Some(work());
        }
        let definition = Definition::new(ExecutionMode::Sequential, tasks).unwrap();
        let numbers: Vec<_> = definition
            .numbered()
            .map(|(no, undoes, _)| (no.get(), undoes.map(TaskNo::get)))
            .collect();
        assert_eq!(
            numbers,
            [(0, None), (1, None), (2, None), (3, Some(0)), (4, Some(2))]
        );
    }
}
