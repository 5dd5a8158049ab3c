//! Servers drained and returned for a play that asks for it.

use std::collections::BTreeMap;
use std::time::Duration;

use drover_domain::haproxy::action::ActionRequest;
use drover_domain::haproxy::{AdminState, HaproxyServerKey, ObservedProcess};
use drover_domain::rollout::record::{Origin, RolloutDetail, RolloutId, TargetOutcome};
use drover_domain::rollout::request::{Step, StepAnswer, StepKind, TargetState};
use drover_ports::{AgentAddress, HaproxyActions};
use drover_testkit::agent::{Agent, Sight, obey};
use drover_testkit::eventually::eventually;
use drover_testkit::runner::Script;
use drover_usecases::ActionOrder;
use tokio::time::Instant;

use crate::actions::set;
use crate::harness::{HEAD, Harness, ORCHESTRATOR, Worker, address, origin};

const FIRST: &str = "s1::a_1::s1_a_1";
const SECOND: &str = "s2::a_1::s2_a_1";

fn step(kind: StepKind, targets: &[&str]) -> Step {
    Step {
        kind,
        targets: targets.iter().map(|name| (*name).to_owned()).collect(),
        drain_wait: Duration::from_mins(1),
        settle: Duration::from_secs(2),
        health_wait: Duration::from_secs(20),
        ready_wait: Duration::from_secs(5),
        min_ready: None,
    }
}

fn asks(steps: impl IntoIterator<Item = Step>) -> Script {
    steps
        .into_iter()
        .fold(Script::new().head(HEAD), Script::asks)
}

/// Two servers with an application each behind an HAProxy whose agent reports everything.
struct Scene {
    harness: Harness,
    agent: AgentAddress,
    worker: Worker,
    task: RolloutId,
}

impl Scene {
    async fn play(script: Script) -> Self {
        Self::play_with(script, |_| ()).await
    }

    async fn play_with(script: Script, change: impl FnOnce(&mut Sight)) -> Self {
        let harness = Harness::with_fleet(2).await;
        harness.runner.script(ORCHESTRATOR, script);
        let agent = address(&harness.server("lb").await);
        harness.agents.change(&agent, |sight| {
            reload(sight, 100);
            change(sight);
        });
        let task = harness.update().await;
        let worker = harness.work("w1");
        Self {
            harness,
            agent,
            worker,
            task,
        }
    }

    fn change(&self, change: impl FnOnce(&mut Sight)) {
        self.harness.agents.change(&self.agent, change);
    }

    fn commands(&self) -> Vec<(AdminState, String)> {
        let commands = self.harness.agents.commands().into_iter();
        commands
            .map(|command| (command.state, command.path[2].clone()))
            .collect()
    }

    fn answers(&self) -> Vec<StepAnswer> {
        let started = self.harness.runner.started();
        started
            .first()
            .map(|job| self.harness.runner.answers(job.id))
            .unwrap_or_default()
    }

    async fn until_commands(&self, count: usize) {
        eventually(Duration::from_mins(5), || async {
            let commands = self.commands();
            if commands.len() >= count {
                Ok(())
            } else {
                Err(format!("{commands:?}"))
            }
        })
        .await;
    }

    async fn until_answers(&self, count: usize) -> Vec<StepAnswer> {
        eventually(Duration::from_mins(5), || async {
            let answers = self.answers();
            if answers.len() >= count {
                Ok(answers)
            } else {
                Err(format!("{answers:?}"))
            }
        })
        .await
    }

    async fn server(&self, number: usize) -> HaproxyServerKey {
        let keys = self.harness.applications().await;
        let snapshot = self.harness.snapshot(&keys).await;
        snapshot.targets[&keys[number - 1]].haproxy_servers[0].key
    }

    async fn owner(&self, number: usize) -> Option<String> {
        let store: &dyn HaproxyActions = &self.harness.store;
        let targets = store.targets(&[self.server(number).await]).await.unwrap();
        targets[0].pin.clone().map(|pin| pin.owner)
    }
}

/// Another process of HAProxy, which has forgotten every state and what its old worker serves.
fn reload(sight: &mut Sight, pid: u32) {
    let uptime = Duration::from_secs(1);
    sight.processes = BTreeMap::from([("default".to_owned(), ObservedProcess { pid, uptime })]);
    for name in ["s1_a_1", "s2_a_1"] {
        set(sight, name, "UP", Some(0), Some(0));
    }
}

/// What is seen of the sessions of a server: all, and those in old workers.
fn sessions(sight: &mut Sight, server: &str, all: Option<u64>, old: Option<u64>) {
    let backends = sight.haproxy.values_mut().flat_map(BTreeMap::values_mut);
    for found in backends.flatten().filter(|found| found.name == server) {
        (found.sessions, found.old_sessions) = (all, old);
    }
}

fn states(answer: &StepAnswer) -> Vec<(&str, TargetState, &str)> {
    let targets = answer.targets.iter();
    targets
        .map(|target| {
            (
                target.composite.as_str(),
                target.state,
                target.detail.as_str(),
            )
        })
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_play_has_its_servers_drained_and_returned_with_evidence() {
    let scene = Scene::play(
        asks([
            step(StepKind::Drain, &[FIRST]),
            step(StepKind::Verify, &[FIRST]),
            step(StepKind::Return, &[FIRST]),
        ])
        .hold(),
    )
    .await;
    scene.harness.until_held().await;
    let answers = scene.answers();
    assert!(
        answers.iter().all(|answer| answer.error.is_none()),
        "{answers:?}"
    );
    assert_eq!(
        states(&answers[0]),
        [(
            FIRST,
            TargetState::Drained,
            "no session and no queued request in 3 samples"
        )]
    );
    assert_eq!(answers[1].targets[0].state, TargetState::Healthy);
    assert_eq!(
        states(&answers[2]),
        [(FIRST, TargetState::Serving, "HAProxy shows `UP`")]
    );
    let name = "s1_a_1".to_owned();
    assert_eq!(
        scene.commands(),
        [(AdminState::Drain, name.clone()), (AdminState::Ready, name)]
    );
    assert_eq!(scene.owner(1).await, None);
    scene.worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_drain_waits_for_sessions_in_old_workers_and_the_update_owns_it() {
    let scene = Scene::play_with(asks([step(StepKind::Drain, &[FIRST])]).hold(), |sight| {
        sessions(sight, "s1_a_1", Some(2), Some(2));
    })
    .await;
    scene.until_commands(1).await;
    let told = eventually(Duration::from_mins(1), || async {
        let current = scene.harness.task(scene.task).await.rollout.current;
        current
            .filter(|current| current.starts_with("drains"))
            .ok_or_else(|| "nothing is said".to_owned())
    })
    .await;
    assert_eq!(told, "drains: s1_a_1 has 2 sessions, 2 in old workers");
    assert_eq!(scene.owner(1).await, Some(format!("update {}", scene.task)));
    assert_eq!(scene.answers(), []);
    scene.change(|sight| sessions(sight, "s1_a_1", Some(0), Some(0)));
    let answers = scene.until_answers(1).await;
    assert_eq!(
        answers[0].targets[0].detail,
        "no session and no queued request in 3 samples"
    );
    scene.worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn after_a_reload_in_its_middle_a_drain_is_applied_again_and_proven_by_old_workers() {
    let scene = Scene::play_with(asks([step(StepKind::Drain, &[FIRST])]).hold(), |sight| {
        sessions(sight, "s1_a_1", Some(1), Some(0));
    })
    .await;
    scene.until_commands(1).await;
    scene.change(|sight| {
        reload(sight, 101);
        sessions(sight, "s1_a_1", Some(1), Some(1));
    });
    scene.until_commands(2).await;
    // What the old worker serves is still there.
    assert_eq!(scene.answers(), []);
    scene.change(|sight| sessions(sight, "s1_a_1", Some(0), Some(0)));
    let answers = scene.until_answers(1).await;
    assert_eq!(answers[0].error, None);
    assert!(
        answers[0].targets[0].detail.starts_with("no session"),
        "{answers:?}"
    );
    scene.worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn after_a_reload_an_agent_that_sees_no_old_workers_proves_nothing() {
    let scene = Scene::play_with(asks([step(StepKind::Drain, &[FIRST])]).hold(), |sight| {
        sessions(sight, "s1_a_1", Some(1), None);
    })
    .await;
    scene.until_commands(1).await;
    let begun = Instant::now();
    scene.change(|sight| reload(sight, 101));
    let answers = scene.until_answers(1).await;
    assert_eq!(
        answers[0].targets[0].detail,
        "by timer, not proven: 60 s are over"
    );
    assert!(
        begun.elapsed() >= Duration::from_secs(50),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(scene.commands().len(), 2);
    scene.worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_a_reload_forgets_while_the_play_works_is_applied_again() {
    let scene = Scene::play(asks([step(StepKind::Drain, &[FIRST])]).hold()).await;
    scene.harness.until_held().await;
    assert_eq!(scene.commands().len(), 1);
    scene.change(|sight| reload(sight, 101));
    scene.until_commands(2).await;
    assert_eq!(
        scene.commands()[1],
        (AdminState::Drain, "s1_a_1".to_owned())
    );
    scene.worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn sessions_that_stay_end_the_wait_but_not_the_update() {
    let scene = Scene::play_with(asks([step(StepKind::Drain, &[FIRST])]).hold(), |sight| {
        sessions(sight, "s1_a_1", Some(3), Some(1));
    })
    .await;
    let answers = scene.until_answers(1).await;
    assert_eq!(answers[0].error, None);
    assert_eq!(
        answers[0].targets[0].detail,
        "3 session(s), 1 of them in old workers of HAProxy, are still there after 60 s"
    );
    scene.worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_next_worker_goes_on_with_a_request_and_sends_nothing_twice() {
    let scene = Scene::play_with(asks([step(StepKind::Drain, &[FIRST])]).hold(), |sight| {
        sessions(sight, "s1_a_1", Some(1), Some(0));
    })
    .await;
    scene.until_commands(1).await;
    let Scene {
        harness,
        agent,
        worker,
        task,
    } = scene;
    worker.kill().await;
    let worker = harness.work("w2");
    let scene = Scene {
        harness,
        agent,
        worker,
        task,
    };
    scene.harness.until_attempt(task, 2).await;
    scene.change(|sight| sessions(sight, "s1_a_1", Some(0), Some(0)));
    let answers = scene.until_answers(1).await;
    assert!(
        answers[0].targets[0].detail.starts_with("no session"),
        "{answers:?}"
    );
    assert_eq!(scene.commands().len(), 1);
    scene.worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_play_may_only_name_servers_of_its_own_run() {
    let scene = Scene::play(
        asks([
            step(StepKind::Drain, &["s9::a_1::s9_a_1"]),
            step(StepKind::Return, &[FIRST, "lb"]),
        ])
        .hold(),
    )
    .await;
    scene.harness.until_held().await;
    for answer in scene.answers() {
        let error = answer.error.unwrap();
        assert!(error.contains("is not an instance of this run"), "{error}");
    }
    assert_eq!(scene.commands(), []);
    scene.worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn too_few_servers_that_would_stay_are_a_refusal_before_anything_is_sent() {
    let mut allowed = step(StepKind::Drain, &[FIRST, SECOND]);
    allowed.min_ready = Some(0);
    let mut more = step(StepKind::Drain, &[FIRST]);
    more.min_ready = Some(2);
    let steps = [step(StepKind::Drain, &[FIRST, SECOND]), more, allowed];
    let scene = Scene::play(asks(steps).hold()).await;
    scene.harness.until_held().await;
    let answers = scene.answers();
    let errors: Vec<&str> = answers
        .iter()
        .filter_map(|answer| answer.error.as_deref())
        .collect();
    assert_eq!(
        errors,
        [
            "refused to drain s1_a_1, s2_a_1: of the backend `be` 0 of 2 servers would go on taking requests; at least 1 must",
            "refused to drain s1_a_1: of the backend `be` 1 of 2 servers would go on taking requests; at least 2 must"
        ]
    );
    assert_eq!(scene.commands().len(), 2);
    scene.worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_a_person_pinned_is_left_so() {
    let harness = Harness::with_fleet(2).await;
    harness.runner.script(
        ORCHESTRATOR,
        asks([step(StepKind::Drain, &[FIRST, SECOND])]).hold(),
    );
    let agent = address(&harness.server("lb").await);
    harness.agents.change(&agent, |sight| {
        reload(sight, 100);
        set(sight, "s2_a_1", "MAINT", Some(1), Some(0));
    });
    let worker = harness.work("w1");
    let keys = harness.applications().await;
    let snapshot = harness.snapshot(&keys).await;
    let server = snapshot.targets[&keys[0]].haproxy_servers[0].key;
    let order = ActionOrder {
        request: ActionRequest {
            server,
            wanted: AdminState::Drain,
            wait: Duration::ZERO,
            forced: Some("disk".to_owned()),
            reason: None,
            pin_for: None,
            restores: false,
        },
        transaction_id: None,
        origin: Origin {
            actor: "ann".to_owned(),
            ..origin()
        },
    };
    harness.service.actions.request(order).await.unwrap();
    eventually(Duration::from_mins(1), || async {
        let commands = harness.agents.commands().len();
        if commands == 1 {
            Ok(())
        } else {
            Err(format!("{commands}"))
        }
    })
    .await;
    let task = harness.update().await;
    let scene = Scene {
        harness,
        agent,
        worker,
        task,
    };
    let answers = scene.until_answers(1).await;
    assert_eq!(
        states(&answers[0]),
        [
            (
                FIRST,
                TargetState::Kept,
                "ann pinned it in drain before the update, left so"
            ),
            (
                SECOND,
                TargetState::Kept,
                "in maintenance before the update, left so"
            )
        ]
    );
    assert_eq!(scene.commands().len(), 1);
    scene.worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn after_a_failure_what_is_healthy_is_put_back_and_the_rest_is_named() {
    let mut drain = step(StepKind::Drain, &[FIRST, SECOND]);
    drain.min_ready = Some(0);
    let script = asks([drain])
        .hold()
        .asks(step(StepKind::Restore, &[FIRST, SECOND]));
    let scene = Scene::play(script).await;
    scene.harness.until_held().await;
    scene.change(|sight| set(sight, "s2_a_1", "DOWN", Some(8), Some(0)));
    scene.harness.runner.release();
    let answers = scene.until_answers(2).await;
    assert_eq!(
        states(&answers[1]),
        [
            (FIRST, TargetState::Serving, "HAProxy shows `UP`"),
            (
                SECOND,
                TargetState::LeftDrained,
                "it stays drained: HAProxy shows `DOWN`, check L7OK"
            )
        ]
    );
    scene.worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_server_whose_agent_tells_no_states_is_drained_by_timer_also_when_it_is_down() {
    let scene = Scene::play_with(asks([step(StepKind::Drain, &[FIRST])]).hold(), |sight| {
        sight.processes.clear();
        set(sight, "s1_a_1", "DOWN", None, None);
    })
    .await;
    scene.harness.agents.on_command(
        scene.agent.clone(),
        std::sync::Arc::new(|sight, command| {
            obey(sight, command);
            set(sight, "s1_a_1", "DOWN", None, None);
            Ok(())
        }),
    );
    let answers = scene.until_answers(1).await;
    assert_eq!(answers[0].error, None);
    assert_eq!(
        answers[0].targets[0].detail,
        "by timer, not proven: 60 s are over"
    );
    scene.worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_a_run_leaves_out_of_use_is_returned_when_it_is_healthy() {
    let script = asks([step(StepKind::Drain, &[FIRST])])
        .report(FIRST, TargetOutcome::Updating, None)
        .stats(&[("localhost", 1, 1)])
        .exits(2);
    let scene = Scene::play(script).await;
    let detail = scene.harness.until_over(scene.task).await;
    let states: Vec<AdminState> = scene.commands().into_iter().map(|it| it.0).collect();
    assert_eq!(states, [AdminState::Drain, AdminState::Ready]);
    assert_eq!(detail.targets[0].outcome, TargetOutcome::Failed);
    assert_eq!(scene.owner(1).await, None);
    scene.worker.stop().await;
}

/// A run that drains the first server, and during whose end the agent of HAProxy is away; what the agent saw before.
async fn ended_unseen() -> (Scene, RolloutDetail, Sight) {
    let script = asks([step(StepKind::Drain, &[FIRST])])
        .report(FIRST, TargetOutcome::Updating, None)
        .hold()
        .stats(&[("localhost", 1, 1)])
        .exits(2);
    let scene = Scene::play(script).await;
    scene.until_answers(1).await;
    let mut seen = Sight::default();
    scene.change(|sight| seen = sight.clone());
    scene.harness.agents.remove(&scene.agent);
    scene.harness.runner.release();
    let detail = scene.harness.until_over(scene.task).await;
    (scene, detail, seen)
}

async fn sync(scene: &Scene) {
    let keys = scene.harness.applications().await;
    let snapshot = scene.harness.snapshot(&keys).await;
    let instance = snapshot.targets[&keys[0]].haproxy_servers[0].instance;
    // The breaker of the agent that was away lets one through.
    scene.harness.clock.advance(Duration::from_mins(2));
    let synced = scene.harness.service.actions.sync(instance).await;
    synced.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_a_run_leaves_while_the_agent_is_away_is_named_and_returned_once_it_answers() {
    let (scene, detail, seen) = ended_unseen().await;
    let target = &detail.targets[0];
    let said = target.detail.as_deref().unwrap();
    let command = format!("`drover haproxy ready {}`", scene.server(1).await);
    assert_eq!(target.outcome, TargetOutcome::Unknown, "{said}");
    assert!(
        said.contains("Drover returns it once the agent answers") && said.contains(&command),
        "{said}"
    );
    assert!(scene.owner(1).await.is_some());
    sync(&scene).await;
    assert_eq!(scene.commands().len(), 1, "the agent is still away");
    // Another worker: the one that ran the update is gone.
    scene.worker.stop().await;
    let worker = scene.harness.work("w2");
    let scene = Scene { worker, ..scene };
    scene
        .harness
        .agents
        .arrange(scene.agent.clone(), Agent::Answers(seen));
    sync(&scene).await;
    scene.until_commands(2).await;
    assert_eq!(
        scene.commands()[1],
        (AdminState::Ready, "s1_a_1".to_owned())
    );
    eventually(Duration::from_mins(1), || async {
        let owner = scene.owner(1).await;
        owner.map_or(Ok(()), Err)
    })
    .await;
    // It is returned once.
    sync(&scene).await;
    assert_eq!(scene.commands().len(), 2);
    scene.worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_a_run_leaves_is_not_returned_while_its_checks_fail_or_once_another_pinned_it() {
    let (scene, _, seen) = ended_unseen().await;
    let mut sick = seen.clone();
    set(&mut sick, "s1_a_1", "DOWN", Some(8), Some(0));
    let agent = scene.agent.clone();
    scene.harness.agents.arrange(agent, Agent::Answers(sick));
    sync(&scene).await;
    let order = ActionOrder {
        request: ActionRequest {
            server: scene.server(1).await,
            wanted: AdminState::Maint,
            wait: Duration::ZERO,
            forced: Some("I look at it".to_owned()),
            reason: None,
            pin_for: None,
            restores: false,
        },
        transaction_id: None,
        origin: origin(),
    };
    scene.harness.service.actions.request(order).await.unwrap();
    scene.until_commands(2).await;
    scene.change(|sight| set(sight, "s1_a_1", "MAINT", Some(1), Some(0)));
    sync(&scene).await;
    sync(&scene).await;
    let states: Vec<AdminState> = scene.commands().into_iter().map(|it| it.0).collect();
    assert_eq!(states, [AdminState::Drain, AdminState::Maint]);
    scene.worker.stop().await;
}
