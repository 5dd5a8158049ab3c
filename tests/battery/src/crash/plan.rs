//! Which workflows are started: each is a number, so that a repeated order makes the same one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use drover_domain::id::Uuid;
use drover_domain::rollout::record::Origin;
use drover_domain::workflow::{
    Action, Definition, DefinitionName, Dependency, ExecutionMode, Guarantee, Json, Kind,
    QueueName, RetryPolicy, RetryStrategy, SignalName, TaskKey, TaskPolicy, TaskSpec, Work,
    WorkflowId, WorkflowStatus,
};
use drover_ports::{Idempotency, NewWorkflow};

use super::act::Act;
use crate::model::chance::Chance;

/// The queue of most tasks.
pub(crate) const BROAD: &str = "broad";
/// The queue with limits and concurrency keys, which stores take from in another way.
pub(crate) const NARROW: &str = "narrow";
/// The signal that is sent.
pub(crate) const SIGNAL: &str = "go";
/// The error code of a task that fails until a person retries it.
pub(crate) const POISON: &str = "poison";
/// The definition of children.
pub(crate) const CHILD: &str = "child";
/// The definition of children that are called off.
pub(crate) const SLOW_CHILD: &str = "slow_child";
/// The definition that schedules start.
pub(crate) const SCHEDULED: &str = "scheduled";

/// How long what is called off would take: longer than that takes.
const LONG: Duration = Duration::from_secs(4);
const TIMEOUT: Duration = Duration::from_secs(20);
/// In 60 bits of an identifier, as a clock would draw it.
const FIRST_ID: u128 = 0x0190_0000_0000_7000_8000_0000_0000_0000;

/// What a workflow is an example of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// One task of any class.
    Single,
    /// Four tasks of any class, one behind the other, with a timer between them.
    Chain,
    /// One task, two beside each other, and one behind both.
    Diamond,
    /// Two attempts fail, the third does not.
    Flaky,
    /// The first attempt fails for good, and a person retries it.
    Poison,
    /// The third task fails, and the first two are undone.
    Saga,
    /// It waits for a signal.
    Signal,
    /// It is called off.
    CalledOff,
    /// It is paused and resumed.
    Paused,
    /// It waits for a child.
    Parent,
    /// It is called off while it waits for a child.
    CalledOffParent,
    /// Its tasks, and those of others, have a concurrency key in common.
    Locked,
    /// It starts later.
    Delayed,
}

impl Shape {
    const ALL: [Self; 13] = [
        Self::Single,
        Self::Chain,
        Self::Diamond,
        Self::Flaky,
        Self::Poison,
        Self::Saga,
        Self::Signal,
        Self::CalledOff,
        Self::Paused,
        Self::Parent,
        Self::CalledOffParent,
        Self::Locked,
        Self::Delayed,
    ];

    /// How it may end. One with a task that a person resolved as failed may also fail.
    pub(crate) const fn ends(self) -> &'static [WorkflowStatus] {
        use WorkflowStatus::{Cancelled, Compensated, Succeeded};

        match self {
            Self::Single
            | Self::Chain
            | Self::Diamond
            | Self::Flaky
            | Self::Poison
            | Self::Signal
            | Self::Paused
            | Self::Parent
            | Self::Locked
            | Self::Delayed => &[Succeeded],
            Self::Saga => &[Compensated],
            // Calling off may come too late, and before or after what is undone then.
            Self::CalledOff => &[Cancelled, Compensated, Succeeded],
            Self::CalledOffParent => &[Cancelled, Succeeded],
        }
    }
}

/// The workflows of a seed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
}

impl Plan {
    fn chance(self, number: u64) -> Chance {
        let mut chance = Chance::new(self.seed);
        Chance::new(chance.draw() ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    pub(crate) fn shape(self, number: u64) -> Shape {
        // Each at least once, early.
        let at = usize::try_from(number).unwrap_or(usize::MAX);
        if let Some(shape) = Shape::ALL.get(at) {
            return *shape;
        }
        match self.chance(number).below(100) {
            0..20 => Shape::Single,
            20..45 => Shape::Chain,
            45..60 => Shape::Diamond,
            60..66 => Shape::Flaky,
            66..69 => Shape::Poison,
            69..76 => Shape::Saga,
            76..81 => Shape::Signal,
            81..84 => Shape::CalledOff,
            84..88 => Shape::Paused,
            88..92 => Shape::Parent,
            92..94 => Shape::CalledOffParent,
            94..98 => Shape::Locked,
            _ => Shape::Delayed,
        }
    }

    pub(crate) fn id(number: u64) -> WorkflowId {
        WorkflowId::rooted(Uuid::from_u128(FIRST_ID + (u128::from(number) << 12)))
    }

    /// The number of a workflow; that of one that is none of ours is too large.
    pub(crate) fn number(id: WorkflowId) -> u64 {
        let number = id.as_uuid().as_u128().saturating_sub(FIRST_ID) >> 12;
        u64::try_from(number).unwrap_or(u64::MAX)
    }

    pub(crate) fn definition(self, number: u64) -> Result<Definition> {
        // Behind the draw of the shape.
        let mut chance = self.chance(number);
        chance.draw();
        let mut tasks = Tasks(chance);
        tasks.of(self.shape(number), number)
    }

    pub(crate) fn workflow(self, number: u64) -> Result<NewWorkflow> {
        let is_delayed = self.shape(number) == Shape::Delayed;
        let start_after = Duration::from_millis(if is_delayed { 200 } else { 0 });
        // Some are known by their identifiers alone.
        let idempotency = (!number.is_multiple_of(7)).then(|| Idempotency {
            scope: "battery".to_owned(),
            key: format!("start-{number}"),
            digest: number.to_be_bytes().to_vec(),
        });
        Ok(NewWorkflow {
            id: Self::id(number),
            name: format!("{:?}", self.shape(number)),
            definition: Arc::new(self.definition(number)?),
            source: None,
            labels: BTreeMap::new(),
            input: Json::null(),
            origin: Origin {
                actor: "battery".to_owned(),
                request_id: format!("start-{number}"),
            },
            parent: None,
            start_after: Some(start_after),
            deadline: None,
            idempotency,
        })
    }

    /// A definition that is stored under its name. Each version differs.
    pub(crate) fn stored(self, name: &str, version: u64) -> Result<Definition> {
        let mut tasks = Tasks(self.chance(version));
        let (mode, specs) = match name {
            CHILD => (
                ExecutionMode::Sequential,
                vec![tasks.task("a", Guarantee::G1)?, tasks.any("b")?],
            ),
            SLOW_CHILD => (
                ExecutionMode::Sequential,
                vec![timer("rest", LONG)?, tasks.task("a", Guarantee::G1)?],
            ),
            _ => (
                ExecutionMode::Parallel,
                vec![
                    tasks.task("a", Guarantee::G1)?,
                    tasks.task("b", Guarantee::G3)?,
                ],
            ),
        };
        Ok(Definition::new(mode, specs)?)
    }
}

/// Makes tasks by chance.
struct Tasks(Chance);

impl Tasks {
    fn of(&mut self, shape: Shape, number: u64) -> Result<Definition> {
        let after = |keys: &[&str]| -> Result<Vec<Dependency>> {
            let dependency = |key: &&str| {
                Ok(Dependency {
                    on: TaskKey::parse(key)?,
                    skipped_releases: false,
                })
            };
            keys.iter().map(dependency).collect()
        };
        let (mode, specs) = match shape {
            Shape::Single | Shape::Delayed => (ExecutionMode::Parallel, vec![self.any("a")?]),
            Shape::Chain | Shape::Paused => {
                let rest = timer("rest", Duration::from_millis(100))?;
                let tasks = vec![self.any("a")?, rest, self.any("b")?, self.any("c")?];
                (ExecutionMode::Sequential, tasks)
            }
            Shape::Diamond => {
                let mut tasks = vec![
                    self.any("a")?,
                    self.any("b")?,
                    self.any("c")?,
                    self.any("d")?,
                ];
                for (task, on) in tasks.iter_mut().zip([&[][..], &["a"], &["a"], &["b", "c"]]) {
                    task.depends_on = after(on)?;
                }
                (ExecutionMode::Dag, tasks)
            }
            Shape::Flaky => {
                let mut task = self.task_of("a", Guarantee::G1, 2, "flaky")?;
                let wait = Duration::from_millis(50);
                task.work.policy.retry = RetryPolicy::new(RetryStrategy::Fixed, wait, 5)?;
                (ExecutionMode::Parallel, vec![task])
            }
            Shape::Poison => {
                let task = self.task_of("a", Guarantee::G1, 1, POISON)?;
                (ExecutionMode::Sequential, vec![task, self.any("b")?])
            }
            Shape::Saga => {
                let (mut a, mut b) = (
                    self.task("a", Guarantee::G1)?,
                    self.task("b", Guarantee::G2)?,
                );
                a.compensation = Some(self.undoing()?);
                b.compensation = Some(self.undoing()?);
                let last = self.task_of("c", Guarantee::G1, u32::MAX, "no_stock")?;
                (ExecutionMode::Sequential, vec![a, b, last])
            }
            Shape::Signal => {
                let tasks = vec![self.any("a")?, signal("wait")?, self.any("b")?];
                (ExecutionMode::Sequential, tasks)
            }
            Shape::CalledOff => {
                let mut a = self.task("a", Guarantee::G1)?;
                a.compensation = Some(self.undoing()?);
                let tasks = vec![a, timer("rest", LONG)?, self.task("b", Guarantee::G1)?];
                (ExecutionMode::Sequential, tasks)
            }
            Shape::Parent => {
                let tasks = vec![child("child", CHILD)?, self.any("a")?];
                (ExecutionMode::Sequential, tasks)
            }
            Shape::CalledOffParent => {
                let tasks = vec![child("child", SLOW_CHILD)?, self.task("a", Guarantee::G1)?];
                (ExecutionMode::Sequential, tasks)
            }
            Shape::Locked => {
                let lock = format!("lock-{}", number % 5);
                let task = |key| self.locked(key, &lock);
                let tasks: Result<Vec<_>> = ["a", "b", "c"].into_iter().map(task).collect();
                (ExecutionMode::Parallel, tasks?)
            }
        };
        Ok(Definition::new(mode, specs)?)
    }

    /// A task of any class.
    fn any(&mut self, key: &str) -> Result<TaskSpec> {
        let class = match self.0.below(10) {
            0..4 => Guarantee::G1,
            4..6 => Guarantee::G2,
            6..8 => Guarantee::G3,
            _ => Guarantee::G4,
        };
        self.task(key, class)
    }

    fn task(&mut self, key: &str, class: Guarantee) -> Result<TaskSpec> {
        self.task_of(key, class, 0, "")
    }

    fn task_of(
        &mut self,
        key: &str,
        class: Guarantee,
        failures: u32,
        code: &str,
    ) -> Result<TaskSpec> {
        let act = Act {
            lasts: self.lasts(),
            failures,
            code: code.to_owned(),
            lock: None,
        };
        spec(key, work(class.as_str(), class, &act)?)
    }

    fn locked(&mut self, key: &str, lock: &str) -> Result<TaskSpec> {
        let act = Act {
            lasts: self.lasts() / 4,
            lock: Some(lock.to_owned()),
            ..Act::default()
        };
        let class = Guarantee::G1;
        let mut spec = spec(key, work(class.as_str(), class, &act)?)?;
        spec.work.queue = QueueName::parse(NARROW)?;
        spec.concurrency_keys = vec![lock.to_owned()];
        Ok(spec)
    }

    fn undoing(&mut self) -> Result<Work> {
        let act = Act {
            lasts: self.lasts(),
            ..Act::default()
        };
        work("undo", Guarantee::G1, &act)
    }

    // Mostly nothing, at times long enough to be struck in the middle.
    fn lasts(&mut self) -> Duration {
        let most = if self.0.one_in(4) { 80 } else { 10 };
        Duration::from_millis(self.0.below(most) as u64)
    }
}

fn work(kind: &str, class: Guarantee, act: &Act) -> Result<Work> {
    Ok(Work {
        kind: Kind::parse(kind)?,
        action: Action::Run,
        queue: QueueName::parse(BROAD)?,
        priority: 0,
        payload: act.payload()?,
        policy: TaskPolicy {
            timeout: TIMEOUT,
            ..TaskPolicy::once(class)
        },
    })
}

fn spec(key: &str, work: Work) -> Result<TaskSpec> {
    Ok(TaskSpec {
        key: TaskKey::parse(key)?,
        work,
        depends_on: Vec::new(),
        concurrency_keys: Vec::new(),
        compensation: None,
    })
}

fn idle(key: &str, kind: &str, action: Action) -> Result<TaskSpec> {
    let work = work(kind, Guarantee::G0, &Act::default())?;
    spec(key, Work { action, ..work })
}

fn timer(key: &str, wait: Duration) -> Result<TaskSpec> {
    idle(key, "timer", Action::Timer { wait })
}

fn signal(key: &str) -> Result<TaskSpec> {
    let name = SignalName::parse(SIGNAL)?;
    let action = Action::Signal {
        name,
        expires_after: None,
    };
    idle(key, "signal.wait", action)
}

fn child(key: &str, definition: &str) -> Result<TaskSpec> {
    let definition = DefinitionName::parse(definition)?;
    let action = Action::Child {
        definition,
        version: Some(1),
    };
    idle(key, "subworkflow", action)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_always_the_same_workflow() {
        let plan = Plan { seed: 7 };
        for number in 0..500 {
            let (first, second) = (
                plan.workflow(number).unwrap(),
                plan.workflow(number).unwrap(),
            );
            assert_eq!(first.definition, second.definition);
            assert_eq!(Plan::number(first.id), number);
        }
    }

    #[test]
    fn every_shape_and_every_class_is_planned() {
        let plan = Plan { seed: 7 };
        let shapes: Vec<Shape> = (0..500).map(|number| plan.shape(number)).collect();
        assert!(Shape::ALL.iter().all(|shape| shapes.contains(shape)));
        let tasks = (0..500).flat_map(|number| plan.definition(number).unwrap().tasks().to_vec());
        let classes: Vec<Guarantee> = tasks.map(|task| task.work.policy.guarantee).collect();
        assert!(Guarantee::ALL.iter().all(|class| classes.contains(class)));
    }
}
