//! The engine: what it costs to start, claim, report and keep house depends on no number of rows.

use std::time::Duration;

use drover_domain::workflow::run::{Control, Outcome};
use drover_domain::workflow::{
    Definition, EventPosition, ExecutionMode, Executor, LeaseId, TaskSpec, WorkflowId,
};
use drover_ports::{
    Assignment, ClaimRequest, DeadLetterFilter, EventFilter, EventLog, NewWorkflow, Report,
    ReportVerdict, StartedWorkflow, TaskQueue, WorkflowStore, WorkflowUpkeep,
};
use drover_store_sea_orm::SeaOrmStore;
use drover_testkit::engine::fixtures::{
    LEASE, after, dag, failure, idempotency, json, keyed, lease_id, linear, parallel, queue,
    retried, signal_name, success, task, timer, waits_for, workflow, workflow_id,
};

use super::support::{self, Scene};
use super::{all_equal, cost};

const MANY: [usize; 3] = [1, 100, 1_000];

/// Longer than any test and shorter than what the side door moves into the past.
const GRACE: Duration = Duration::from_hours(1);

/// `count` tasks that `kind` makes from their keys, in one workflow.
fn one(count: usize, kind: impl Fn(&str) -> TaskSpec) -> Definition {
    let tasks = (0..count).map(|number| kind(&format!("t{number}")));
    Definition::new(ExecutionMode::Parallel, tasks.collect()).unwrap()
}

/// `count` tasks, and another one behind each.
fn pairs(count: usize) -> Definition {
    let tasks = (0..count).flat_map(|number| {
        let first = format!("a{number}");
        [task(&first), after(&format!("b{number}"), &[&first])]
    });
    dag(tasks.collect())
}

/// The store, workflows with numbers of their own, and the worker that takes their tasks.
struct Engine {
    scene: Scene,
    store: SeaOrmStore,
    started: u32,
    leases: u32,
    lease: LeaseId,
}

impl Engine {
    async fn open(scene: Scene) -> Self {
        let mut engine = Self {
            store: scene.store.clone(),
            scene,
            started: 0,
            leases: 0,
            lease: lease_id(0),
        };
        engine.hold().await;
        engine
    }

    /// Goes on under a new lease.
    async fn hold(&mut self) {
        self.leases += 1;
        self.lease = lease_id(self.leases);
        let worker = format!("worker {}", self.leases);
        self.store
            .open_lease(self.lease, &worker, LEASE)
            .await
            .unwrap();
    }

    fn workflows(&mut self, count: usize, definition: &Definition) -> Vec<NewWorkflow> {
        let first = self.started + 1;
        self.started += u32::try_from(count).unwrap();
        (first..=self.started)
            .map(|number| workflow(number, definition.clone()))
            .collect()
    }

    async fn start_all(&self, workflows: &[NewWorkflow]) -> u64 {
        let (cost, answers) = cost(&self.store, self.store.start(workflows)).await;
        let ids = workflows.iter().map(|new| StartedWorkflow::Created(new.id));
        assert_eq!(answers.unwrap(), ids.collect::<Vec<_>>());
        cost
    }

    async fn start(&mut self, count: usize, definition: &Definition) -> u64 {
        let workflows = self.workflows(count, definition);
        self.start_all(&workflows).await
    }

    /// Takes exactly `count` tasks, which is all there are.
    async fn claim(&self, count: usize) -> (u64, Vec<Assignment>) {
        let request = ClaimRequest {
            executor: Executor::Engine,
            queues: vec![queue("default"), queue("another")],
            limit: ClaimRequest::LIMIT_MAX,
        };
        let (cost, claimed) = cost(&self.store, self.store.claim(self.lease, &request)).await;
        let claimed = claimed.unwrap();
        assert_eq!(claimed.len(), count);
        (cost, claimed)
    }

    async fn report(&self, tasks: &[Assignment], outcome: impl Fn() -> Outcome) -> u64 {
        let reports: Vec<Report> = tasks
            .iter()
            .map(|task| Report {
                task: task.task,
                attempt: task.attempt,
                outcome: outcome(),
            })
            .collect();
        let (cost, verdicts) = cost(&self.store, self.store.report(self.lease, &reports)).await;
        assert!(
            verdicts
                .unwrap()
                .iter()
                .all(|verdict| *verdict == ReportVerdict::Accepted)
        );
        cost
    }

    /// Starts `workflows` of them, takes `tasks` tasks and reports these; what the report costs.
    async fn reporting(
        &mut self,
        workflows: usize,
        definition: &Definition,
        tasks: usize,
        outcome: impl Fn() -> Outcome,
    ) -> u64 {
        self.start(workflows, definition).await;
        let (_, claimed) = self.claim(tasks).await;
        self.report(&claimed, outcome).await
    }

    /// Takes what is left and lets it succeed.
    async fn drain(&self, count: usize) {
        let (_, claimed) = self.claim(count).await;
        self.report(&claimed, || success("null")).await;
    }

    /// Lets every moment that is waited for be past; what it costs to see to them.
    async fn wake(&self, count: usize) -> u64 {
        self.scene
            .execute("UPDATE workflow_wakes SET at = 0", vec![])
            .await;
        let (cost, upkeep) = cost(&self.store, self.store.wake_due(2_000)).await;
        assert_eq!(usize::try_from(upkeep.unwrap().handled).unwrap(), count);
        cost
    }

    async fn take_over(&self, count: usize) -> u64 {
        let (cost, upkeep) = cost(&self.store, self.store.take_over(GRACE, 2_000)).await;
        assert_eq!(usize::try_from(upkeep.unwrap().handled).unwrap(), count);
        cost
    }
}

async fn starts_cost_the_same(scene: Scene) {
    let mut engine = Engine::open(scene).await;
    let mut costs = Vec::new();
    for tasks in [1, 10, 1_000] {
        costs.push(engine.start(1, &parallel(tasks)).await);
    }
    for workflows in [100, 1_000] {
        costs.push(engine.start(workflows, &parallel(1)).await);
    }
    costs.push(engine.start(100, &parallel(10)).await);
    costs.push(engine.start(1, &pairs(500)).await);
    costs.push(engine.start(10, &linear(&["a", "b", "c", "d", "e"])).await);
    all_equal("starting", &costs, 5);

    let (mut keyed, mut replayed) = (vec![], vec![]);
    for count in MANY {
        let mut workflows = engine.workflows(count, &parallel(1));
        for (number, new) in workflows.iter_mut().enumerate() {
            new.idempotency = Some(idempotency("a", &format!("{count}-{number}"), 1));
        }
        keyed.push(engine.start_all(&workflows).await);
        let again = engine.store.start(&workflows);
        let (cost, answers) = cost(&engine.store, again).await;
        assert!(
            answers
                .unwrap()
                .iter()
                .all(|answer| matches!(answer, StartedWorkflow::Replayed(_)))
        );
        replayed.push(cost);
    }
    all_equal("starting with a key", &keyed, 6);
    all_equal("starting again", &replayed, 3);
}

async fn claims_cost_the_same(scene: Scene, most: u64, most_with_limits: u64) {
    let mut engine = Engine::open(scene).await;
    let (mut one_workflow, mut many, mut limited, mut none) = (vec![], vec![], vec![], vec![]);
    for count in MANY {
        for (costs, workflows, definition) in [
            (&mut one_workflow, 1, one(count, task)),
            (&mut many, count, parallel(1)),
            (&mut limited, 1, one(count, |key| keyed(key, &[key]))),
        ] {
            engine.start(workflows, &definition).await;
            let (cost, claimed) = engine.claim(count).await;
            costs.push(cost);
            engine.report(&claimed, || success("null")).await;
        }
        none.push(engine.claim(0).await.0);
    }
    all_equal("claiming of one workflow", &one_workflow, most);
    all_equal("claiming of many workflows", &many, most);
    all_equal("claiming with limits", &limited, most_with_limits);
    all_equal("claiming nothing", &none, 3);
}

async fn reports_cost_the_same(scene: Scene) {
    let mut engine = Engine::open(scene).await;
    let done = || success(r#"{"a":1}"#);
    let failed = || failure("broken");
    let (mut whole, mut many, mut behind, mut chains) = (vec![], vec![], vec![], vec![]);
    let (mut retried_one, mut retried_many, mut failing, mut skipping) =
        (vec![], vec![], vec![], vec![]);
    for count in MANY {
        whole.push(engine.reporting(1, &parallel(count), count, done).await);
        many.push(engine.reporting(count, &parallel(1), count, done).await);
        // A workflow has at most a thousand tasks.
        let half = count.min(500);
        behind.push(engine.reporting(1, &pairs(half), half, done).await);
        engine.drain(half).await;
        chains.push(
            engine
                .reporting(count, &linear(&["a", "b"]), count, done)
                .await,
        );
        engine.drain(count).await;
        let again = one(count, |key| retried(key, 1));
        retried_one.push(engine.reporting(1, &again, count, failed).await);
        let again = one(1, |key| retried(key, 1));
        retried_many.push(engine.reporting(count, &again, count, failed).await);
        failing.push(engine.reporting(count, &parallel(1), count, failed).await);
        skipping.push(engine.reporting(1, &pairs(half), half, failed).await);
    }
    all_equal("results of one workflow", &whole, 6);
    all_equal("results of many workflows", &many, 6);
    all_equal("results with dependants in one workflow", &behind, 8);
    all_equal("results with dependants in many workflows", &chains, 8);
    all_equal(
        "failures that are tried again, of one workflow",
        &retried_one,
        7,
    );
    all_equal(
        "failures that are tried again, of many workflows",
        &retried_many,
        7,
    );
    all_equal("failures of many workflows", &failing, 8);
    all_equal("failures with dependants", &skipping, 8);
}

async fn upkeep_costs_the_same(scene: Scene) {
    let mut engine = Engine::open(scene).await;
    let failed = || failure("broken");
    let (mut retries, mut many_retries, mut timers, mut lost, mut overdue, mut pruned) =
        (vec![], vec![], vec![], vec![], vec![], vec![]);
    let (mut nothing_due, mut nothing_lost, mut nothing_old) = (vec![], vec![], vec![]);
    for count in MANY {
        for (costs, workflows, tasks) in [(&mut retries, 1, count), (&mut many_retries, count, 1)] {
            let again = one(tasks, |key| retried(key, 1));
            engine.reporting(workflows, &again, count, failed).await;
            costs.push(engine.wake(count).await);
            engine.drain(count).await;
        }
        engine.start(1, &one(count, |key| timer(key, GRACE))).await;
        timers.push(engine.wake(count).await);
        nothing_due.push(engine.wake(0).await);

        engine.start(count, &parallel(1)).await;
        engine.claim(count).await;
        engine
            .store
            .heartbeat(engine.lease, Duration::ZERO)
            .await
            .unwrap();
        lost.push(engine.take_over(count).await);
        nothing_lost.push(engine.take_over(0).await);
        engine.hold().await;
        engine.claim(count).await;
        let text = "UPDATE workflow_queue SET overdue_at = 0 WHERE lease_id IS NOT NULL";
        engine.scene.execute(text, vec![]).await;
        overdue.push(engine.take_over(count).await);

        engine
            .scene
            .execute("UPDATE workflows SET finished_at = 0", vec![])
            .await;
        let prune = async |limit| {
            let (cost, removed) =
                cost(&engine.store, engine.store.prune(&GRACE.into(), limit)).await;
            (cost, usize::try_from(removed.unwrap()).unwrap())
        };
        let limit = u32::try_from(count).unwrap();
        let (cost, removed) = prune(limit).await;
        assert_eq!(removed, count);
        pruned.push(cost);
        while prune(2_000).await.1 > 0 {}
        nothing_old.push(prune(2_000).await.0);
    }
    all_equal("retries of one workflow", &retries, 11);
    all_equal("retries of many workflows", &many_retries, 11);
    all_equal("timers", &timers, 10);
    all_equal("nothing due", &nothing_due, 1);
    all_equal("a lost lease", &lost, 13);
    all_equal("nothing lost", &nothing_lost, 3);
    all_equal("attempts that take too long", &overdue, 11);
    all_equal("removing", &pruned, 9);
    all_equal("nothing to remove", &nothing_old, 1);
}

async fn people_cost_the_same(scene: Scene) {
    let mut engine = Engine::open(scene).await;
    let (mut beats, mut cancelled, mut redriven, mut signals, mut pages) =
        (vec![], vec![], vec![], vec![], vec![]);
    for count in MANY {
        engine.start(1, &parallel(count)).await;
        let id = started(&engine);
        let (_, claimed) = engine.claim(count).await;
        let reason = "enough".to_owned();
        let control = Control::Cancel { reason };
        let (spent, status) = cost(&engine.store, engine.store.control(id, &control)).await;
        assert!(status.unwrap().is_some());
        cancelled.push(spent);
        let (spent, beat) = cost(&engine.store, engine.store.heartbeat(engine.lease, LEASE)).await;
        assert_eq!(beat.unwrap().stop.len(), count);
        beats.push(spent);
        engine.report(&claimed, || Outcome::Cancelled).await;

        engine
            .reporting(count, &parallel(1), count, || failure("broken"))
            .await;
        let (filter, limit) = (DeadLetterFilter::default(), 2_000);
        let (spent, tasks) = cost(&engine.store, engine.store.redrive(&filter, limit, None)).await;
        assert_eq!(tasks.unwrap().len(), count);
        redriven.push(spent);
        engine.drain(count).await;

        engine
            .start(1, &one(count, |key| waits_for(key, "go", None)))
            .await;
        let (id, name) = (started(&engine), signal_name("go"));
        let payload = json("1");
        let (spent, status) = cost(
            &engine.store,
            engine.store.signal(id, &name, &payload, None),
        )
        .await;
        assert!(status.unwrap().is_some());
        signals.push(spent);

        let limit = u32::try_from(count).unwrap();
        let after = engine
            .store
            .after(EventPosition::START, EventFilter::default(), limit);
        let (spent, page) = cost(&engine.store, after).await;
        assert!(page.unwrap().events.len() >= count);
        pages.push(spent);
    }
    all_equal("calling off", &cancelled, 6);
    all_equal("a heartbeat", &beats, 2);
    all_equal("doing dead letters again", &redriven, 10);
    all_equal("a signal", &signals, 7);
    all_equal("a page of events", &pages, 4);
}

/// The workflow that was started last.
fn started(engine: &Engine) -> WorkflowId {
    workflow_id(engine.started)
}

mod sqlite {
    use super::support;

    #[tokio::test]
    async fn starts_cost_the_same() {
        super::starts_cost_the_same(support::sqlite().await).await;
    }

    #[tokio::test]
    async fn claims_cost_the_same() {
        super::claims_cost_the_same(support::sqlite().await, 5, 9).await;
    }

    #[tokio::test]
    async fn reports_cost_the_same() {
        super::reports_cost_the_same(support::sqlite().await).await;
    }

    #[tokio::test]
    async fn upkeep_costs_the_same() {
        super::upkeep_costs_the_same(support::sqlite().await).await;
    }

    #[tokio::test]
    async fn people_cost_the_same() {
        super::people_cost_the_same(support::sqlite().await).await;
    }
}

mod postgres {
    use super::support;

    #[tokio::test]
    async fn starts_cost_the_same() {
        super::starts_cost_the_same(support::postgres().await).await;
    }

    #[tokio::test]
    async fn claims_cost_the_same() {
        super::claims_cost_the_same(support::postgres().await, 1, 11).await;
    }

    #[tokio::test]
    async fn reports_cost_the_same() {
        super::reports_cost_the_same(support::postgres().await).await;
    }

    #[tokio::test]
    async fn upkeep_costs_the_same() {
        super::upkeep_costs_the_same(support::postgres().await).await;
    }

    #[tokio::test]
    async fn people_cost_the_same() {
        super::people_cost_the_same(support::postgres().await).await;
    }
}
