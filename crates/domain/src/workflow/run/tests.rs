//! Steps of small runs, one rule each. Every step of every test here is also checked against the whole
//! of the run: counters, what waits for what, the line of workers, and that a part of the run would have done.

mod attempts;
mod deciding;
mod following;
mod properties;
mod steering;
mod undoing;
mod waiting;

use std::collections::BTreeMap;
use std::time::Duration;

use super::*;
use crate::id::Uuid;
use crate::workflow::{
    Definition, Dependency, EventKind, ExecutionMode, Guarantee, Kind, RetryPolicy, RetryStrategy,
    Takeover, TaskSpec, Work,
};

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn json(text: &str) -> Json {
    Json::from_parsed("the result", text).unwrap()
}

fn boom(code: &str) -> TaskError {
    TaskError::new(code, "it broke")
}

fn succeeded() -> Outcome {
    Outcome::Succeeded {
        result: json("\"done\""),
    }
}

fn failed() -> Outcome {
    Outcome::Failed {
        error: boom("boom"),
        retryable: true,
    }
}

fn unknown() -> Outcome {
    Outcome::Unknown {
        error: boom("lost"),
    }
}

/// A task to be.
#[derive(Debug, Clone)]
struct Plan(TaskSpec);

/// A task that a handler does once, of the class G1.
fn task(key: &str) -> Plan {
    let work = Work {
        kind: Kind::parse("noop").unwrap(),
        action: Action::Run,
        queue: QueueName::parse("default").unwrap(),
        priority: 0,
        payload: Json::null(),
        policy: TaskPolicy::once(Guarantee::G1),
    };
    Plan(TaskSpec {
        key: TaskKey::parse(key).unwrap(),
        work,
        depends_on: Vec::new(),
        concurrency_keys: Vec::new(),
        compensation: None,
    })
}

impl Plan {
    fn after(self, keys: &[&str]) -> Self {
        self.edges(keys, false)
    }

    fn after_even_skipped(self, keys: &[&str]) -> Self {
        self.edges(keys, true)
    }

    fn edges(mut self, keys: &[&str], skipped_releases: bool) -> Self {
        let edges = keys.iter().map(|on| Dependency {
            on: TaskKey::parse(on).unwrap(),
            skipped_releases,
        });
        self.0.depends_on.extend(edges);
        self
    }

    fn does(mut self, action: Action) -> Self {
        self.0.work.action = action;
        self
    }

    fn waits(self, wait: Duration) -> Self {
        self.does(Action::Timer { wait })
    }

    fn awaits(self, name: &str, expires_after: Option<Duration>) -> Self {
        let name = SignalName::parse(name).unwrap();
        self.does(Action::Signal {
            name,
            expires_after,
        })
    }

    fn starts_child(self) -> Self {
        let definition = crate::workflow::DefinitionName::parse("child").unwrap();
        let version = None;
        self.does(Action::Child {
            definition,
            version,
        })
    }

    fn policy(mut self, change: impl FnOnce(&mut TaskPolicy)) -> Self {
        change(&mut self.0.work.policy);
        self
    }

    fn class(self, guarantee: Guarantee) -> Self {
        self.policy(|policy| *policy = TaskPolicy::once(guarantee))
    }

    /// Of the class G4, but its next worker finds what is still alive.
    fn adopted(self) -> Self {
        self.class(Guarantee::G4)
            .policy(|policy| policy.takeover = Takeover::Requeue)
    }

    fn retried(self, times: u32) -> Self {
        let retry = RetryPolicy::new(RetryStrategy::Fixed, seconds(10), times).unwrap();
        self.policy(|policy| policy.retry = retry)
    }

    fn within(self, deadline: Duration) -> Self {
        self.policy(|policy| policy.deadline = Some(deadline))
    }

    /// With something that undoes it.
    fn undone(mut self) -> Self {
        self.0.compensation = Some(task("undo").0.work);
        self
    }
}

/// A run and the time.
#[derive(Debug, Clone)]
struct Scene {
    run: Run,
    now: Timestamp,
    /// The tasks in line, and whether a worker has them: what stores make of the moves.
    line: BTreeMap<TaskNo, bool>,
}

impl Scene {
    fn new(mode: ExecutionMode, plans: Vec<Plan>, start_after: Option<Duration>) -> Self {
        let tasks = plans.into_iter().map(|plan| plan.0).collect();
        let definition = Definition::new(mode, tasks).unwrap();
        Self::of(&definition, start_after, None, None).0
    }

    fn of(
        definition: &Definition,
        start_after: Option<Duration>,
        deadline: Option<Duration>,
        parent: Option<TaskId>,
    ) -> (Self, Changes) {
        let id = WorkflowId::rooted(Uuid::from_u128(7 << 64));
        let now = Timestamp::EPOCH.after(seconds(1_000));
        let new = NewRun {
            id,
            definition,
            parent,
            family: Family::default(),
            start_after,
            deadline,
        };
        let (run, changes) = Run::create(&new, now).unwrap();
        let line = BTreeMap::new();
        let mut scene = Self { run, now, line };
        scene.note(&changes);
        scene.check();
        (scene, changes)
    }

    /// Started.
    fn dag(plans: Vec<Plan>) -> Self {
        Self::new(ExecutionMode::Dag, plans, Some(Duration::ZERO))
    }

    /// Not started yet.
    fn idle(plans: Vec<Plan>) -> Self {
        Self::new(ExecutionMode::Dag, plans, None)
    }

    fn no(&self, key: &str) -> TaskNo {
        let named = |task: &&Task| task.key.as_str() == key;
        self.run.tasks.values().find(named).unwrap().no
    }

    fn at(&self, key: &str) -> &Task {
        &self.run.tasks[&self.no(key)]
    }

    /// Where everything stands, such as `running: a succeeded, b queued`.
    fn states(&self) -> String {
        let tasks: Vec<String> = self
            .run
            .tasks
            .values()
            .map(|task| format!("{} {}", task.key, task.status.as_str()))
            .collect();
        format!("{}: {}", self.run.head.status.as_str(), tasks.join(", "))
    }

    fn passes(&mut self, time: Duration) {
        self.now = self.now.after(time);
    }

    /// Lets something happen that is not refused.
    #[track_caller]
    fn does(&mut self, input: Input) -> Changes {
        let shown = format!("{input:?}");
        match self.attempt(input) {
            Ok(changes) => changes,
            Err(refusal) => panic!("{shown} was refused: {refusal}; {}", self.states()),
        }
    }

    /// Lets something happen that is refused, and says why.
    #[track_caller]
    fn refuses(&mut self, input: Input) -> String {
        let shown = format!("{input:?}");
        match self.attempt(input) {
            Ok(_) => panic!("{shown} was not refused; {}", self.states()),
            Err(refusal) => refusal.to_string(),
        }
    }

    fn attempt(&mut self, input: Input) -> Result<Changes, Refusal> {
        let alone = self.part(&input).map(|mut part| {
            let changes = part.apply(input.clone(), self.now);
            (part, changes)
        });
        let mut run = self.run.clone();
        let changes = run.apply(input, self.now);
        // A store that loads only what the input needs must come to the same.
        if let Some((part, alone)) = alone {
            assert_eq!(alone, changes, "on a part");
            if changes.is_ok() {
                assert_eq!(part.head, run.head);
                let of_whole = part.tasks.keys().map(|no| (*no, run.tasks[no].clone()));
                assert_eq!(part.tasks, of_whole.collect());
            }
        }
        if let Err(refusal) = &changes
            && !refusal.is_defect()
        {
            assert_eq!(run, self.run, "refused and changed: {refusal}");
        }
        let changes = changes?;
        self.run = run;
        if let Some((name, payload)) = changes.kept_signal.clone() {
            let position = i64::try_from(self.run.signals.len()).unwrap() + 1;
            self.run.signals.push(StoredSignal {
                position,
                name,
                payload,
            });
        }
        self.note(&changes);
        self.check();
        Ok(changes)
    }

    /// What a store loads for the input, if that is not everything.
    fn part(&self, input: &Input) -> Option<Run> {
        if input.needs_whole_run(&self.run.head) {
            return None;
        }
        let named = self.run.tasks.get(&input.task()?)?;
        let behind = named.dependants.iter().map(|(no, _)| &self.run.tasks[no]);
        Some(Run {
            head: self.run.head.clone(),
            tasks: std::iter::once(named)
                .chain(behind)
                .map(|task| (task.no, task.clone()))
                .collect(),
            signals: Vec::new(),
        })
    }

    // What a store does with the moves.
    fn note(&mut self, changes: &Changes) {
        for step in &changes.queue {
            let was = match *step {
                QueueMove::Enter { no, .. } => {
                    let was = self.line.insert(no, false);
                    assert_eq!(was, None, "task {no} is in line twice");
                    continue;
                }
                QueueMove::Take { no } => self.line.insert(no, true).filter(|taken| !taken),
                QueueMove::Leave { no } => self.line.remove(&no),
                QueueMove::Stop { no } => self.line.get(&no).copied(),
            };
            assert!(was.is_some(), "{step:?} of a task that is not there");
        }
    }

    fn check(&self) {
        let head = &self.run.head;
        let own = || self.run.tasks.values().filter(|task| task.undoes.is_none());
        let count = |wanted: &dyn Fn(&Task) -> bool| own().filter(|task| wanted(task)).count();
        let is_open = |task: &Task| !task.status.is_terminal();
        let ended_well =
            |task: &Task| matches!(task.status, TaskStatus::Succeeded | TaskStatus::Skipped);
        let is_undoable = |task: &Task| {
            let ran_out = task.status == TaskStatus::TimedOut && task.attempt > 0;
            let may_have = task.status == TaskStatus::Succeeded || ran_out || task.is_uncertain;
            task.undone_by.is_some() && !is_open(task) && may_have
        };
        let counted = [
            own().count(),
            count(&is_open),
            count(&|task| !is_open(task) && !ended_well(task)),
            count(&is_undoable),
        ];
        let kept = [head.total, head.open, head.failed, head.undoable];
        assert_eq!(
            kept.map(|number| usize::try_from(number).unwrap()),
            counted,
            "total, open, failed, undoable; {}",
            self.states()
        );
        for task in self.run.tasks.values() {
            let is_taken = task.status == TaskStatus::Running;
            let is_in_line = is_taken || task.status == TaskStatus::Queued;
            let found = self.line.get(&task.no).copied();
            let expected = is_in_line.then_some(is_taken);
            assert_eq!(found, expected, "{} in line; {}", task.key, self.states());
            let has_rank = task.rank.is_some();
            assert_eq!(has_rank, task.status.is_terminal(), "rank of {}", task.key);
            if task.undoes.is_none() && task.status == TaskStatus::Pending {
                self.check_waiting(task);
            }
        }
    }

    fn check_waiting(&self, waiting: &Task) {
        let edges = self.run.tasks.values().filter_map(|task| {
            let edge = task.dependants.iter().find(|(no, _)| *no == waiting.no)?;
            Some((task, edge.1))
        });
        let mut open = 0;
        for (task, skipped_releases) in edges {
            let releases = task.status.releases_dependants(skipped_releases);
            let blocks = task.status.is_terminal() && !releases;
            assert!(!blocks, "{} waits for {}", waiting.key, task.key);
            open += u32::from(!releases);
        }
        assert_eq!(waiting.pending, open, "{}; {}", waiting.key, self.states());
    }

    #[track_caller]
    fn claim(&mut self, key: &str) -> Changes {
        let no = self.no(key);
        let worker = "worker-1".to_owned();
        self.does(Input::Claimed { no, worker })
    }

    fn ended(&self, key: &str, outcome: Outcome) -> Input {
        let (no, attempt) = (self.no(key), self.at(key).attempt);
        Input::Ended {
            no,
            attempt,
            outcome,
        }
    }

    /// What the worker who has the task says.
    #[track_caller]
    fn end(&mut self, key: &str, outcome: Outcome) -> Changes {
        self.does(self.ended(key, outcome))
    }

    /// A worker takes the task and says this.
    #[track_caller]
    fn run(&mut self, key: &str, outcome: Outcome) -> Changes {
        self.claim(key);
        self.end(key, outcome)
    }

    #[track_caller]
    fn succeed(&mut self, keys: &[&str]) {
        for key in keys {
            self.run(key, succeeded());
        }
    }

    fn lost(&self, key: &str) -> Input {
        let (no, attempt) = (self.no(key), self.at(key).attempt);
        Input::Lost { no, attempt }
    }

    fn overdue(&self, key: &str) -> Input {
        let (no, attempt) = (self.no(key), self.at(key).attempt);
        Input::Overdue { no, attempt }
    }

    #[track_caller]
    fn due(&mut self, kind: WakeKind) -> Changes {
        self.does(Input::Due { kind })
    }

    /// The time of the only wake of a step passes, and it comes.
    #[track_caller]
    fn wake(&mut self, changes: &Changes) -> Changes {
        let [wake] = changes.wakes[..] else {
            panic!("one wake is expected: {:?}", changes.wakes);
        };
        self.now = self.now.max(wake.at);
        self.due(wake.kind)
    }

    #[track_caller]
    fn control(&mut self, control: Control) -> Changes {
        self.does(Input::Control(control))
    }

    #[track_caller]
    fn cancel(&mut self) -> Changes {
        self.control(cancel())
    }

    fn decision(&self, key: &str, decision: Decision) -> Input {
        let no = self.no(key);
        Input::Decide { no, decision }
    }

    #[track_caller]
    fn decide(&mut self, key: &str, decision: Decision) -> Changes {
        self.does(self.decision(key, decision))
    }

    #[track_caller]
    fn signal(&mut self, name: &str, payload: &str) -> Changes {
        self.does(signal(name, payload))
    }
}

fn cancel() -> Control {
    let reason = "nobody needs it".to_owned();
    Control::Cancel { reason }
}

fn signal(name: &str, payload: &str) -> Input {
    let name = SignalName::parse(name).unwrap();
    let payload = json(payload);
    Input::Signal { name, payload }
}

/// The events of a step, such as `task_completed 0` or `workflow_completed`.
fn told(changes: &Changes) -> Vec<String> {
    changes
        .events
        .iter()
        .map(|event| match event.task {
            Some(no) => format!("{} {no}", event.kind.as_str()),
            None => event.kind.as_str().to_owned(),
        })
        .collect()
}

fn details(changes: &Changes) -> Vec<&str> {
    let details = changes.events.iter();
    details
        .filter_map(|event| event.detail.as_deref())
        .collect()
}
