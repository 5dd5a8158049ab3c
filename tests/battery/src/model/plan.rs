//! Random definitions.

use std::collections::BTreeMap;
use std::fmt;

use drover_domain::text::TextError;
use drover_domain::workflow::{
    Action, Definition, DefinitionError, DefinitionName, Dependency, ExecutionMode, Guarantee,
    Json, Kind, QueueName, RetryPolicy, RetryPolicyError, RetryStrategy, SignalName, Takeover,
    TaskKey, TaskPolicy, TaskSpec, Work,
};

use super::chance::Chance;

/// The most tasks of a definition, compensations not counted.
const TASKS_MAX: usize = 12;

/// The names of everything, parsed once.
#[derive(Debug)]
pub(super) struct Names {
    keys: Vec<TaskKey>,
    kind: Kind,
    pub(super) queues: Vec<QueueName>,
    pub(super) signals: Vec<SignalName>,
    /// The definitions that tasks may start.
    pub(super) children: Vec<DefinitionName>,
}

impl Names {
    pub(super) fn new() -> Result<Self, TextError> {
        let keys = (0..TASKS_MAX).map(|at| TaskKey::parse(&format!("t{at}")));
        Ok(Self {
            keys: keys.collect::<Result<_, _>>()?,
            kind: Kind::parse("simulated")?,
            queues: vec![QueueName::parse("q0")?, QueueName::parse("q1")?],
            signals: vec![SignalName::parse("s0")?, SignalName::parse("s1")?],
            children: vec![DefinitionName::parse("c0")?, DefinitionName::parse("c1")?],
        })
    }
}

/// A definition could not be made: the plan is wrong, not the engine.
#[derive(Debug)]
pub(super) enum PlanError {
    Definition(DefinitionError),
    Retry(RetryPolicyError),
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Definition(error) => error.fmt(f),
            Self::Retry(error) => error.fmt(f),
        }
    }
}

/// A random definition. One that is a child starts at most one child, which may be of its own kind: a chain grows and
/// does not branch.
pub(super) fn definition(
    chance: &mut Chance,
    names: &Names,
    is_child: bool,
) -> Result<Definition, PlanError> {
    let most = if is_child { 4 } else { TASKS_MAX };
    let count = 1 + chance.below(most).min(chance.below(most + 2));
    let mode = match chance.below(10) {
        0 => ExecutionMode::Sequential,
        1 => ExecutionMode::Parallel,
        _ => ExecutionMode::Dag,
    };
    let order = shuffled(chance, count);
    let mut tasks = Vec::with_capacity(count);
    let mut may_have_children = !is_child || chance.percent(15);
    for at in 0..count {
        let depends_on = match mode {
            ExecutionMode::Dag => edges(chance, names, &order, at),
            ExecutionMode::Sequential | ExecutionMode::Parallel => Vec::new(),
        };
        let action = action(chance, names, may_have_children);
        may_have_children &= !(is_child && matches!(action, Action::Child { .. }));
        tasks.push(TaskSpec {
            key: names.keys[at].clone(),
            work: Work {
                action,
                ..work(chance, names)?
            },
            depends_on,
            concurrency_keys: concurrency_keys(chance),
            compensation: if chance.percent(35) {
                Some(work(chance, names)?)
            } else {
                None
            },
        });
    }
    Definition::new(mode, tasks).map_err(PlanError::Definition)
}

/// The places 0 to `count` in any order: edges lead from earlier to later ones in it.
fn shuffled(chance: &mut Chance, count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    for at in (1..count).rev() {
        order.swap(at, chance.below(at + 1));
    }
    order
}

fn edges(chance: &mut Chance, names: &Names, order: &[usize], at: usize) -> Vec<Dependency> {
    let rank = order[at];
    let earlier: Vec<usize> = (0..order.len()).filter(|on| order[*on] < rank).collect();
    let mut edges = BTreeMap::new();
    for _ in 0..chance.below(4) {
        if let Some(on) = chance.among(&earlier).copied() {
            edges.insert(on, chance.percent(30));
        }
    }
    let edges = edges.into_iter().map(|(on, skipped_releases)| Dependency {
        on: names.keys[on].clone(),
        skipped_releases,
    });
    edges.collect()
}

fn action(chance: &mut Chance, names: &Names, may_have_children: bool) -> Action {
    match chance.below(24) {
        0 | 1 => Action::Timer {
            wait: chance.seconds(0, 30),
        },
        2 | 3 => Action::Signal {
            name: names.signals[chance.below(names.signals.len())].clone(),
            expires_after: chance.percent(50).then(|| chance.seconds(5, 60)),
        },
        4 | 5 if may_have_children => Action::Child {
            definition: names.children[chance.below(names.children.len())].clone(),
            version: None,
        },
        6 => Action::RunRemotely,
        _ => Action::Run,
    }
}

fn concurrency_keys(chance: &mut Chance) -> Vec<String> {
    let keys = ["k0", "k1"].iter().filter(|_| chance.percent(15));
    keys.map(|key| (*key).to_owned()).collect()
}

fn work(chance: &mut Chance, names: &Names) -> Result<Work, PlanError> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        reason = "0 to 2"
    )]
    let priority = chance.below(3) as i16 - 1;
    Ok(Work {
        kind: names.kind.clone(),
        action: Action::Run,
        queue: names.queues[chance.below(names.queues.len())].clone(),
        priority,
        payload: Json::null(),
        policy: policy(chance)?,
    })
}

fn policy(chance: &mut Chance) -> Result<TaskPolicy, PlanError> {
    let guarantee = Guarantee::ALL[chance.below(Guarantee::ALL.len())];
    let mut policy = TaskPolicy::once(guarantee);
    if guarantee == Guarantee::G4 && chance.percent(50) {
        policy.takeover = Takeover::Requeue;
    }
    policy.timeout = chance.seconds(5, 60);
    policy.deadline = chance.percent(15).then(|| chance.seconds(10, 120));
    if chance.percent(50) {
        policy.non_retryable = vec!["final".to_owned()];
    }
    policy.retry = retry(chance).map_err(PlanError::Retry)?;
    Ok(policy)
}

fn retry(chance: &mut Chance) -> Result<RetryPolicy, RetryPolicyError> {
    let strategy = match chance.below(5) {
        0 | 1 => return Ok(RetryPolicy::NEVER),
        2 => RetryStrategy::Fixed,
        3 => RetryStrategy::Linear,
        _ => RetryStrategy::Exponential,
    };
    let initial = chance.seconds(0, 30);
    let retries = if chance.one_in(2) { 1 } else { 3 };
    RetryPolicy::new(strategy, initial, retries)?.with_jitter(0.5)
}
