//! Actions on servers in HAProxy, over agents that obey, lie, or do not answer.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use drover_domain::haproxy::action::{
    AGENT_CHECK_WATCH, ActionRequest, ActionStatus, HaproxyAction,
};
use drover_domain::haproxy::{
    AdminBits, AdminState, FetchStatus, HaproxyInstanceKey, HaproxyServerKey, ObservedServer,
    ServerRole, ServerWord,
};
use drover_domain::page::PageRequest;
use drover_domain::rollout::record::Origin;
use drover_domain::workflow::{TaskId, WorkflowStatus};
use drover_ports::{ActionView, AgentAddress, AgentError, HaproxyStore, HaproxyView};
use drover_testkit::agent::{Agent, Command, Habit, Sight, obey};
use drover_testkit::eventually::eventually;
use drover_usecases::{ActionError, ActionFilter, ActionOrder, Actions, HaproxyInstanceFilter};
use tokio::time::{Instant, advance, timeout};

use crate::harness::{Harness, address, haproxy_server, haproxy_sight};

pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// Three servers behind an HAProxy that was synced.
pub(crate) struct Scene {
    pub(crate) harness: Harness,
    pub(crate) agent: AgentAddress,
    pub(crate) instance: HaproxyInstanceKey,
    pub(crate) servers: Vec<HaproxyServerKey>,
}

impl Scene {
    pub(crate) async fn new() -> Self {
        Self::with((1..=3).map(|number| rich(number, "UP", 0)).collect()).await
    }

    async fn with(members: Vec<ObservedServer>) -> Self {
        let harness = Harness::new();
        let haproxy = harness.add_server("lb", 200, true).await;
        let agent = address(&haproxy);
        let sight = haproxy_sight(members);
        harness.agents.arrange(agent.clone(), Agent::Answers(sight));
        let store: &dyn HaproxyStore = &harness.store;
        let names = ["default".to_owned()];
        let at = drover_ports::Clock::now(&*harness.clock);
        let instances = store
            .record_instances(haproxy.key, &names, at)
            .await
            .unwrap();
        harness
            .service
            .actions
            .sync(instances[0].key)
            .await
            .unwrap();
        let known = store.load(instances[0].key).await.unwrap().unwrap();
        let servers = known.servers.iter().map(|server| server.key).collect();
        Self {
            harness,
            agent,
            instance: instances[0].key,
            servers,
        }
    }

    pub(crate) fn order(&self, number: usize, wanted: AdminState) -> ActionOrder {
        ActionOrder {
            request: ActionRequest {
                server: self.servers[number - 1],
                wanted,
                wait: if wanted == AdminState::Ready {
                    SECOND * 5
                } else {
                    Duration::ZERO
                },
                forced: None,
                reason: None,
                pin_for: None,
                restores: false,
            },
            transaction_id: None,
            origin: Origin {
                actor: "ann".to_owned(),
                request_id: "r1".to_owned(),
            },
        }
    }

    pub(crate) async fn ask(&self, order: ActionOrder) -> TaskId {
        let accepted = self.harness.service.actions.request(order).await.unwrap();
        assert!(!accepted.replayed);
        accepted.action.id
    }

    async fn found(&self, id: TaskId) -> HaproxyAction {
        let view: &dyn ActionView = &self.harness.store;
        view.find(id).await.unwrap().unwrap()
    }

    pub(crate) async fn until_over(&self, id: TaskId) -> HaproxyAction {
        eventually(Duration::from_mins(3), || async {
            let action = self.found(id).await;
            match action.status {
                ActionStatus::Success | ActionStatus::Failed => Ok(action),
                ActionStatus::Pending | ActionStatus::Running => Err(format!("{action:?}")),
            }
        })
        .await
    }

    /// Asks, works, and waits for the end.
    pub(crate) async fn carry_out(&self, order: ActionOrder) -> HaproxyAction {
        let worker = self.harness.work("w1");
        let id = self.ask(order).await;
        let action = self.until_over(id).await;
        worker.stop().await;
        action
    }

    pub(crate) fn on_command(
        &self,
        habit: impl Fn(&mut Sight, &Command) -> Result<(), AgentError> + Send + Sync + 'static,
    ) {
        let habit: Habit = Arc::new(habit);
        self.harness.agents.on_command(self.agent.clone(), habit);
    }

    pub(crate) fn states(&self) -> Vec<AdminState> {
        let commands = self.harness.agents.commands();
        commands.iter().map(|command| command.state).collect()
    }

    async fn stored(&self, number: usize) -> ObservedServer {
        let view: &dyn HaproxyView = &self.harness.store;
        let backends = view
            .instances(&HaproxyInstanceFilter::default(), PageRequest::first())
            .await
            .unwrap();
        let instance = backends.items[0].key;
        let store: &dyn HaproxyStore = &self.harness.store;
        let known = store.load(instance).await.unwrap().unwrap();
        known.servers[number - 1].observed.clone()
    }
}

fn rich(number: u8, word: &str, bits: u32) -> ObservedServer {
    ObservedServer {
        admin: Some(AdminBits::from_bits(bits)),
        ..haproxy_server(number, word)
    }
}

pub(crate) fn set(
    sight: &mut Sight,
    server: &str,
    word: &str,
    bits: Option<u32>,
    sessions: Option<u64>,
) {
    let servers = sight
        .haproxy
        .values_mut()
        .flat_map(|backends| backends.values_mut());
    let found = servers.flatten().find(|found| found.name == server);
    if let Some(found) = found {
        found.word = ServerWord::new(word);
        found.admin = bits.map(AdminBits::from_bits);
        found.sessions = sessions;
    }
}

pub(crate) fn code(action: &HaproxyAction) -> Option<&str> {
    let failure = action.end.as_ref()?.failure.as_ref()?;
    Some(&failure.0)
}

/// Lets time pass.
async fn pass(time: Duration) {
    timeout(time, pending::<()>()).await.unwrap_err();
}

fn unreachable(address: &AgentAddress) -> AgentError {
    AgentError::Unreachable {
        address: address.clone(),
        source: "connection refused".into(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_drain_is_sent_once_read_back_and_written_down() {
    let scene = Scene::new().await;
    let action = scene.carry_out(scene.order(1, AdminState::Drain)).await;
    assert_eq!(action.status, ActionStatus::Success);
    assert_eq!(scene.states(), [AdminState::Drain]);
    let evidence = &action.evidence;
    let looks = evidence.looks.iter();
    let words: Vec<&str> = looks.map(|look| look.word.as_str()).collect();
    assert_eq!(
        (words.as_slice(), evidence.sends),
        (&["UP", "DRAIN"][..], 1)
    );
    assert_eq!(scene.stored(1).await.word.as_str(), "DRAIN");
    let view: &dyn ActionView = &scene.harness.store;
    let history = view
        .history(scene.servers[0], PageRequest::first())
        .await
        .unwrap()
        .unwrap();
    let [change] = &history.items[..] else {
        panic!("{history:?}")
    };
    assert_eq!((change.old.as_str(), change.new.as_str()), ("UP", "DRAIN"));
    assert_eq!(
        (change.action, change.actor.as_deref()),
        (Some(action.id), Some("ann"))
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_so_already_is_not_sent() {
    let scene = Scene::with(vec![rich(1, "DRAIN", 8), rich(2, "UP", 0)]).await;
    let action = scene.carry_out(scene.order(1, AdminState::Drain)).await;
    assert_eq!(action.status, ActionStatus::Success);
    assert_eq!(scene.states(), []);
}

#[tokio::test(start_paused = true)]
async fn a_drain_that_waits_sees_the_sessions_end() {
    let scene = Scene::new().await;
    scene.harness.agents.change(&scene.agent, |sight| {
        set(sight, "s1_a_1", "UP", Some(0), Some(1));
    });
    let worker = scene.harness.work("w1");
    let mut order = scene.order(1, AdminState::Drain);
    order.request.wait = SECOND * 600;
    let id = scene.ask(order).await;
    eventually(SECOND * 60, || async {
        if scene.states().is_empty() {
            Err("nothing was sent".to_owned())
        } else {
            Ok(())
        }
    })
    .await;
    pass(SECOND * 20).await;
    let under_way = scene.found(id).await;
    assert_eq!(under_way.status, ActionStatus::Running);
    let last = under_way.evidence.looks.last().unwrap();
    assert_eq!((last.word.as_str(), last.sessions), ("DRAIN", Some(1)));
    // Another node takes it up, and knows what was seen and sent.
    worker.kill().await;
    let worker = scene.harness.work("w2");
    pass(SECOND * 60).await;
    scene.harness.agents.change(&scene.agent, |sight| {
        set(sight, "s1_a_1", "DRAIN", Some(8), Some(0));
    });
    let action = scene.until_over(id).await;
    assert_eq!(action.status, ActionStatus::Success);
    assert_eq!((action.evidence.sends, scene.states().len()), (1, 1));
    let sessions: Vec<Option<u64>> = action
        .evidence
        .looks
        .iter()
        .map(|look| look.sessions)
        .collect();
    assert_eq!(
        (sessions.first(), sessions.last()),
        (Some(&Some(1)), Some(&Some(0)))
    );
    worker.stop().await;
}

/// What is seen of the sessions on `s1_a_1`: all, and those in old workers.
pub(crate) fn tell_sessions(sight: &mut Sight, sessions: Option<u64>, old: Option<u64>) {
    let servers = sight
        .haproxy
        .values_mut()
        .flat_map(|backends| backends.values_mut());
    for found in servers.flatten().filter(|found| found.name == "s1_a_1") {
        (found.sessions, found.old_sessions) = (sessions, old);
    }
}

#[tokio::test(start_paused = true)]
async fn a_drain_waits_for_what_a_reload_left_in_an_old_worker() {
    let scene = Scene::new().await;
    scene.harness.agents.change(&scene.agent, |sight| {
        tell_sessions(sight, Some(2), Some(0));
    });
    // HAProxy is reloaded right after the command, and the state is applied after the reload too.
    scene.on_command(|sight, command| {
        obey(sight, command);
        tell_sessions(sight, Some(2), Some(2));
        Ok(())
    });
    let worker = scene.harness.work("w1");
    let mut order = scene.order(1, AdminState::Drain);
    order.request.wait = SECOND * 60;
    let id = scene.ask(order).await;
    eventually(SECOND * 60, || async {
        if scene.states().is_empty() {
            Err("nothing was sent".to_owned())
        } else {
            Ok(())
        }
    })
    .await;
    pass(SECOND * 20).await;
    assert_eq!(scene.found(id).await.status, ActionStatus::Running);
    scene.harness.agents.change(&scene.agent, |sight| {
        tell_sessions(sight, Some(0), Some(0));
    });
    let action = scene.until_over(id).await;
    assert_eq!(action.status, ActionStatus::Success, "{action:?}");
    let mut seen: Vec<(Option<u64>, Option<u64>)> = action
        .evidence
        .looks
        .iter()
        .map(|look| (look.sessions, look.old_sessions))
        .collect();
    seen.dedup();
    let told = [(2, 0), (2, 2), (0, 0)].map(|(all, old)| (Some(all), Some(old)));
    assert_eq!(seen, told);
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn only_what_is_seen_after_the_drain_proves_that_it_is_over() {
    let scene = Scene::new().await;
    let before = scene.harness.agents.looks();
    let mut order = scene.order(1, AdminState::Drain);
    order.request.wait = SECOND * 30;
    let action = scene.carry_out(order).await;
    assert_eq!(action.status, ActionStatus::Success);
    // One before the command, three without a session after it.
    assert_eq!(scene.harness.agents.looks() - before, 4);
}

#[tokio::test(start_paused = true)]
async fn a_repetition_takes_no_place_among_those_that_leave() {
    let scene = Scene::new().await;
    let worker = scene.harness.work("w1");
    let given = |number: usize| ActionOrder {
        transaction_id: Some(format!("t-{number}")),
        ..scene.order(number, AdminState::Drain)
    };
    for number in [1, 2] {
        let id = scene.ask(given(number)).await;
        scene.until_over(id).await;
        let id = scene.ask(scene.order(number, AdminState::Ready)).await;
        assert_eq!(scene.until_over(id).await.status, ActionStatus::Success);
    }
    let orders = (1..=3).map(given).collect();
    let answers = scene
        .harness
        .service
        .actions
        .request_many(orders)
        .await
        .unwrap();
    let replayed: Vec<bool> = answers
        .into_iter()
        .map(|answer| answer.unwrap().replayed)
        .collect();
    assert_eq!(replayed, [true, true, false]);
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn sessions_that_never_end_are_no_success() {
    let scene = Scene::new().await;
    scene.harness.agents.change(&scene.agent, |sight| {
        set(sight, "s1_a_1", "UP", Some(0), Some(3));
    });
    let mut order = scene.order(1, AdminState::Drain);
    order.request.wait = SECOND * 30;
    let begun = Instant::now();
    let action = scene.carry_out(order).await;
    assert_eq!(code(&action), Some("still_busy"));
    assert!(begun.elapsed() >= SECOND * 30 && begun.elapsed() < SECOND * 40);
    let sentence = action.end.unwrap().failure.unwrap().1;
    assert!(sentence.starts_with("3 sessions were left"), "{sentence}");
}

#[tokio::test(start_paused = true)]
async fn a_server_returns_from_maintenance_by_way_of_drain() {
    let scene = Scene::with(vec![rich(1, "MAINT", 1), rich(2, "UP", 0)]).await;
    // As HAProxy: optimistic at first, then what the checks say.
    let ticks = AtomicU32::new(0);
    scene.on_command(move |sight, command| {
        obey(sight, command);
        if command.state == AdminState::Drain && ticks.fetch_add(1, Ordering::Relaxed) == 0 {
            set(sight, "s1_a_1", "DRAIN 1/3", Some(8), Some(0));
        }
        Ok(())
    });
    let worker = scene.harness.work("w1");
    let id = scene.ask(scene.order(1, AdminState::Ready)).await;
    pass(SECOND * 2).await;
    assert_eq!(scene.states(), [AdminState::Drain]);
    scene.harness.agents.change(&scene.agent, |sight| {
        set(sight, "s1_a_1", "DRAIN", Some(8), Some(0));
    });
    let action = scene.until_over(id).await;
    assert_eq!(action.status, ActionStatus::Success);
    assert_eq!(scene.states(), [AdminState::Drain, AdminState::Ready]);
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_server_whose_checks_fail_is_never_released() {
    let scene = Scene::with(vec![rich(1, "MAINT", 1), rich(2, "UP", 0)]).await;
    scene.on_command(|sight, command| {
        obey(sight, command);
        set(sight, "s1_a_1", "DOWN", Some(8), Some(0));
        Ok(())
    });
    let action = scene.carry_out(scene.order(1, AdminState::Ready)).await;
    assert_eq!(code(&action), Some("not_healthy"));
    assert_eq!(scene.states(), [AdminState::Drain]);
}

#[tokio::test(start_paused = true)]
async fn a_reload_in_the_middle_is_noticed_and_the_state_applied_again() {
    let scene = Scene::new().await;
    scene.harness.agents.change(&scene.agent, |sight| {
        set(sight, "s1_a_1", "UP", Some(0), Some(2));
    });
    let worker = scene.harness.work("w1");
    let mut order = scene.order(1, AdminState::Drain);
    order.request.wait = SECOND * 60;
    let id = scene.ask(order).await;
    pass(SECOND * 3).await;
    // HAProxy forgets every state.
    scene.harness.agents.change(&scene.agent, |sight| {
        set(sight, "s1_a_1", "UP", Some(0), Some(0));
    });
    let action = scene.until_over(id).await;
    assert_eq!(action.status, ActionStatus::Success);
    assert_eq!(scene.states(), [AdminState::Drain, AdminState::Drain]);
    assert_eq!(scene.stored(1).await.word.as_str(), "DRAIN");
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn whoever_takes_an_action_up_again_looks_first() {
    let scene = Scene::new().await;
    scene.harness.agents.change(&scene.agent, |sight| {
        set(sight, "s1_a_1", "UP", Some(0), Some(2));
    });
    let first = scene.harness.work("w1");
    let mut order = scene.order(1, AdminState::Drain);
    order.request.wait = SECOND * 300;
    let id = scene.ask(order).await;
    pass(SECOND * 3).await;
    first.kill().await;
    let second = scene.harness.work("w2");
    pass(SECOND * 60).await;
    scene.harness.agents.change(&scene.agent, |sight| {
        set(sight, "s1_a_1", "DRAIN", Some(8), Some(0));
    });
    let action = scene.until_over(id).await;
    assert_eq!(action.status, ActionStatus::Success);
    assert_eq!(scene.states(), [AdminState::Drain]);
    second.stop().await;
}

#[tokio::test(start_paused = true)]
async fn one_transaction_is_one_action_with_one_effect() {
    let scene = Scene::new().await;
    let order = ActionOrder {
        transaction_id: Some("t-1".to_owned()),
        ..scene.order(1, AdminState::Drain)
    };
    let actions = &scene.harness.service.actions;
    let first = actions.request(order.clone()).await.unwrap();
    let again = actions.request(order.clone()).await.unwrap();
    assert_eq!((again.action.id, again.replayed), (first.action.id, true));
    let worker = scene.harness.work("w1");
    scene.until_over(first.action.id).await;
    let later = actions.request(order.clone()).await.unwrap();
    assert_eq!(later.action.status, ActionStatus::Success);
    assert_eq!(scene.states(), [AdminState::Drain]);
    // Also when the server can no longer be drained.
    scene.harness.agents.change(&scene.agent, |sight| {
        let backends = sight
            .haproxy
            .values_mut()
            .flat_map(|backends| backends.values_mut());
        backends.for_each(|servers| servers.retain(|server| server.name == "s3_a_1"));
    });
    let instance = drover_domain::Key::new(instance_of(&scene).await);
    actions.sync(instance).await.unwrap();
    assert!(actions.request(order.clone()).await.unwrap().replayed);
    let other = ActionOrder {
        request: scene.order(2, AdminState::Drain).request,
        ..order
    };
    let refusal = actions.request(other).await.unwrap_err();
    assert!(
        matches!(refusal, ActionError::TransactionReused { .. }),
        "{refusal:?}"
    );
    let view: &dyn ActionView = &scene.harness.store;
    assert_eq!(
        view.list(&ActionFilter::default(), PageRequest::first())
            .await
            .unwrap()
            .items
            .len(),
        1
    );
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_backend_is_not_left_with_too_few_servers() {
    let scene = Scene::new().await;
    let actions = &scene.harness.service.actions;
    let all = (1..=3)
        .map(|number| scene.order(number, AdminState::Drain))
        .collect();
    let answers = actions.request_many(all).await.unwrap();
    assert_eq!(answers.len(), 3);
    for answer in answers {
        let refusal = answer.unwrap_err();
        assert_eq!(
            refusal.to_string(),
            "of the backend `be` 0 of 3 servers would go on taking requests; at least 1 must; `force` with a reason does it all the same"
        );
    }
    let two = (1..=2)
        .map(|number| scene.order(number, AdminState::Maint))
        .collect();
    let worker = scene.harness.work("w1");
    for answer in actions.request_many(two).await.unwrap() {
        let action = scene.until_over(answer.unwrap().action.id).await;
        assert_eq!(action.status, ActionStatus::Success);
    }
    // What is stored is as old as the last sync; before anything is sent HAProxy itself is asked.
    scene.harness.agents.change(&scene.agent, |sight| {
        set(sight, "s1_a_1", "UP", Some(0), Some(0));
    });
    actions
        .sync(drover_domain::Key::new(instance_of(&scene).await))
        .await
        .unwrap();
    scene.harness.agents.change(&scene.agent, |sight| {
        set(sight, "s1_a_1", "DOWN", Some(0), Some(0));
    });
    let before = scene.states().len();
    let id = scene.ask(scene.order(3, AdminState::Drain)).await;
    let action = scene.until_over(id).await;
    assert_eq!(code(&action), Some("below_min_ready"));
    assert_eq!(scene.states().len(), before);
    let mut forced = scene.order(3, AdminState::Drain);
    forced.request.forced = Some("the site is closed".to_owned());
    let id = scene.ask(forced).await;
    assert_eq!(scene.until_over(id).await.status, ActionStatus::Success);
    worker.stop().await;
}

async fn instance_of(scene: &Scene) -> i64 {
    let view: &dyn HaproxyView = &scene.harness.store;
    view.instances(&HaproxyInstanceFilter::default(), PageRequest::first())
        .await
        .unwrap()
        .items[0]
        .key
        .get()
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_does_not_answer_is_asked_three_times_and_then_left_alone() {
    let scene = Scene::new().await;
    let agent = scene.agent.clone();
    let asked = Arc::new(std::sync::Mutex::new(Vec::new()));
    let begun = Instant::now();
    let log = Arc::clone(&asked);
    scene.on_command(move |_, _| {
        log.lock().unwrap().push(begun.elapsed().as_secs());
        Err(unreachable(&agent))
    });
    let action = scene.carry_out(scene.order(1, AdminState::Drain)).await;
    assert_eq!(code(&action), Some("agent"));
    assert_eq!(action.evidence.sends, 3);
    // Waits of 1 s and 2 s; after 4 s more it would be the fourth, which is not made.
    assert_eq!(*asked.lock().unwrap(), [0, 1, 3]);
    assert!(begun.elapsed() >= SECOND * 7, "{:?}", begun.elapsed());
    let looks = scene.harness.agents.looks();
    let refusal = scene
        .harness
        .service
        .actions
        .request(scene.order(2, AdminState::Drain))
        .await
        .unwrap_err();
    let ActionError::BreakerOpen { retry_after, .. } = &refusal else {
        panic!("{refusal:?}")
    };
    assert_eq!(*retry_after, SECOND * 60);
    assert_eq!(scene.harness.agents.looks(), looks);
    // One asks for all, and when it gets an answer everybody may again.
    scene.harness.clock.advance(SECOND * 60);
    scene.on_command(|sight, command| {
        obey(sight, command);
        Ok(())
    });
    let action = scene.carry_out(scene.order(2, AdminState::Drain)).await;
    assert_eq!(action.status, ActionStatus::Success);
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_is_not_tried_again() {
    // HAProxy's own refusal comes as 502.
    for status in [400, 502] {
        let scene = Scene::new().await;
        let agent = scene.agent.clone();
        scene.on_command(move |_, _| {
            Err(AgentError::Refused {
                address: agent.clone(),
                status,
                message: "Permission denied".to_owned(),
            })
        });
        let action = scene.carry_out(scene.order(1, AdminState::Drain)).await;
        assert_eq!(code(&action), Some("agent"));
        let reason = action.end.unwrap().failure.unwrap().1;
        assert!(reason.contains("Permission denied"), "{reason}");
        assert_eq!(scene.states().len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn an_action_that_is_called_off_is_shown_as_failed() {
    let scene = Scene::new().await;
    let id = scene.ask(scene.order(1, AdminState::Drain)).await;
    scene.harness.call_off(id).await;
    assert_eq!(scene.harness.workflow(id).await, WorkflowStatus::Cancelled);
    let action = scene.found(id).await;
    assert_eq!(action.status, ActionStatus::Failed);
    let worker = scene.harness.work("w1");
    pass(SECOND * 5).await;
    assert_eq!(scene.states(), []);
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_not_there_is_refused_at_once() {
    let scene = Scene::new().await;
    let actions = &scene.harness.service.actions;
    let mut unknown = scene.order(1, AdminState::Drain);
    unknown.request.server = drover_domain::Key::new(4_711);
    let refusal = actions.request(unknown).await.unwrap_err();
    assert!(
        matches!(refusal, ActionError::UnknownServer { .. }),
        "{refusal:?}"
    );
    scene.harness.agents.change(&scene.agent, |sight| {
        let backends = sight
            .haproxy
            .values_mut()
            .flat_map(|backends| backends.values_mut());
        backends.for_each(|servers| servers.retain(|server| server.name != "s1_a_1"));
    });
    // What is not listed is believed to be gone the second time.
    for _ in 0..2 {
        let instance = drover_domain::Key::new(instance_of(&scene).await);
        actions.sync(instance).await.unwrap();
    }
    let refusal = actions
        .request(scene.order(1, AdminState::Drain))
        .await
        .unwrap_err();
    assert!(
        matches!(refusal, ActionError::Removed { .. }),
        "{refusal:?}"
    );
    assert_eq!(Actions::BATCH_MAX, 500);
}

/// A way in which an agent does not do what it says.
type Lie = (&'static str, fn(&mut Sight, &Command));

/// What the agent does on a command that it answers with success. What it reports is true, as far as it
/// reports anything.
const LIES: [Lie; 12] = [
    ("does nothing", |_, _| {}),
    ("does it to another server", |sight, command| {
        let mut other = command.clone();
        "s2_a_1".clone_into(&mut other.path[2]);
        obey(sight, &other);
    }),
    ("removes the server", |sight, command| {
        let servers = sight
            .haproxy
            .values_mut()
            .flat_map(|backends| backends.values_mut());
        servers.for_each(|servers| servers.retain(|server| server.name != command.path[2]));
    }),
    ("lists nothing any more", |sight, _| {
        let servers = sight
            .haproxy
            .values_mut()
            .flat_map(|backends| backends.values_mut());
        servers.for_each(Vec::clear);
    }),
    ("forgets the backend", |sight, _| {
        sight
            .haproxy
            .values_mut()
            .for_each(std::collections::BTreeMap::clear);
    }),
    ("shows DOWN without bits", |sight, command| {
        set(sight, &command.path[2], "DOWN", None, None);
    }),
    ("shows a word nobody knows", |sight, command| {
        set(sight, &command.path[2], "PERHAPS", None, None);
    }),
    ("drains in place of maintenance", |sight, command| {
        let state = if command.state == AdminState::Maint {
            AdminState::Drain
        } else {
            AdminState::Maint
        };
        obey(
            sight,
            &Command {
                state,
                ..command.clone()
            },
        );
    }),
    ("follows another server", |sight, command| {
        set(
            sight,
            &command.path[2],
            "MAINT (via be/other)",
            Some(2),
            Some(0),
        );
    }),
    ("does not resolve", |sight, command| {
        set(
            sight,
            &command.path[2],
            "MAINT (resolution)",
            Some(32),
            Some(0),
        );
    }),
    ("shows an empty word", |sight, command| {
        set(sight, &command.path[2], "", None, None);
    }),
    ("renames the server", |sight, command| {
        let servers = sight
            .haproxy
            .values_mut()
            .flat_map(|backends| backends.values_mut());
        let found = servers
            .flatten()
            .find(|found| found.name == command.path[2]);
        if let Some(found) = found {
            found.name.push_str("-new");
        }
    }),
];

/// The state of a server before; `None` for an agent that reports no bits.
const BEFORE: [(&str, Option<u32>); 6] = [
    ("UP", Some(0)),
    ("UP", None),
    ("DRAIN", Some(8)),
    ("MAINT", Some(1)),
    ("MAINT", None),
    ("DOWN", Some(0)),
];

#[tokio::test(start_paused = true)]
async fn no_lie_of_an_agent_makes_a_false_success() {
    let (mut cases, mut successes) = (0, Vec::new());
    for (what, lie) in LIES {
        for (word, bits) in BEFORE {
            for wanted in [AdminState::Drain, AdminState::Maint, AdminState::Ready] {
                let own = ObservedServer {
                    admin: bits.map(AdminBits::from_bits),
                    ..haproxy_server(1, word)
                };
                let scene = Scene::with(vec![own, rich(2, "UP", 0), rich(3, "UP", 0)]).await;
                let shown = scene.stored(1).await;
                let is_so = |server: &ObservedServer| {
                    server.admin_state() == Some(wanted)
                        && (wanted != AdminState::Ready || server.word.takes_traffic())
                };
                let was_so = is_so(&shown);
                scene.on_command(move |sight, command| {
                    lie(sight, command);
                    Ok(())
                });
                let action = scene.carry_out(scene.order(1, wanted)).await;
                cases += 1;
                if action.status == ActionStatus::Success {
                    // Only what HAProxy really shows may be believed, whatever its cause.
                    let now = scene.stored(1).await;
                    assert!(
                        is_so(&now),
                        "{what}: {word} {bits:?} to {wanted:?}: {action:?}"
                    );
                    successes.push((what, was_so));
                }
                // The inventory is as it was: an action takes nothing away.
                assert_eq!(scene.stored(2).await.word.as_str(), "UP", "{what}");
            }
        }
    }
    assert_eq!(cases, 216);
    let without_need = successes.iter().filter(|(_, was_so)| *was_so).count();
    assert!(without_need >= LIES.len() * 3, "{successes:?}");
}

/// A backend `other` beside the scene's, in which `t1` follows `srv1`.
async fn with_follower(scene: &Scene, sessions: u64) {
    scene.harness.agents.change(&scene.agent, |sight| {
        let (_, backends) = sight.haproxy.iter_mut().next().unwrap();
        let (own, members) = backends.iter().next().unwrap();
        let follower = ObservedServer {
            name: "t1".to_owned(),
            sessions: Some(sessions),
            role: ServerRole {
                tracks: Some(format!("{own}/{}", members[0].name)),
                ..ServerRole::default()
            },
            ..members[0].clone()
        };
        backends.insert("other".to_owned(), vec![follower]);
    });
    scene
        .harness
        .service
        .actions
        .sync(scene.instance)
        .await
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_server_whose_followers_are_the_last_of_their_backend_stays() {
    let scene = Scene::new().await;
    with_follower(&scene, 0).await;
    let refused = scene
        .harness
        .service
        .actions
        .request(scene.order(1, AdminState::Drain))
        .await;
    let error = refused.unwrap_err();
    assert_eq!(error.code(), "below_min_ready");
    assert!(error.to_string().contains("`other`"), "{error}");
    // The others have no followers.
    let action = scene.carry_out(scene.order(2, AdminState::Drain)).await;
    assert_eq!(code(&action), None);
}

#[tokio::test(start_paused = true)]
async fn a_drain_waits_for_the_sessions_of_followers() {
    let scene = Scene::new().await;
    with_follower(&scene, 1).await;
    let mut order = scene.order(1, AdminState::Drain);
    order.request.wait = SECOND * 5;
    order.request.forced = Some("it is night".to_owned());
    let action = scene.carry_out(order).await;
    assert_eq!(code(&action), Some("still_busy"), "{action:?}");
    assert_eq!(action.evidence.looks.last().unwrap().sessions, Some(1));
    // What is stored of the server itself is its own.
    assert_eq!(scene.stored(1).await.sessions, Some(0));
}

#[tokio::test(start_paused = true)]
async fn what_is_out_with_another_server_is_sent_and_pinned() {
    for (wanted, bits) in [
        (AdminState::Maint, 2),
        (AdminState::Drain, 2),
        (AdminState::Drain, 16),
        (AdminState::Maint, 32),
    ] {
        let scene = Scene::with(vec![rich(1, "MAINT (via a/s1)", bits), rich(2, "UP", 0)]).await;
        scene.on_command(move |sight, command| {
            let own = if command.state == AdminState::Maint {
                1
            } else {
                8
            };
            set(
                sight,
                &command.path[2],
                "MAINT (via a/s1)",
                Some(bits | own),
                Some(0),
            );
            Ok(())
        });
        let action = scene.carry_out(scene.order(1, wanted)).await;
        assert_eq!(
            (code(&action), scene.states()),
            (None, vec![wanted]),
            "{bits}"
        );
        let store: &dyn HaproxyStore = &scene.harness.store;
        let known = store.load(scene.instance).await.unwrap().unwrap();
        let pin = known.servers[0].pin.as_ref().map(|pin| pin.state);
        assert_eq!(pin, Some(wanted), "{bits}");
    }
}

/// Two servers, the first one with an agent-check.
async fn with_agent_check(word: &'static str, bits: u32) -> Scene {
    let checked = ObservedServer {
        role: ServerRole {
            has_agent_check: true,
            ..ServerRole::default()
        },
        ..rich(1, word, bits)
    };
    Scene::with(vec![checked, rich(2, "UP", 0)]).await
}

#[tokio::test(start_paused = true)]
async fn what_an_agent_check_undoes_is_no_success() {
    for (wanted, before, bits) in [
        (AdminState::Drain, "UP", 0),
        (AdminState::Ready, "DRAIN", 8),
    ] {
        let scene = with_agent_check(before, bits).await;
        let worker = scene.harness.work("w1");
        let id = scene.ask(scene.order(1, wanted)).await;
        let scene = &scene;
        eventually(SECOND * 9, || async {
            let action = scene.found(id).await;
            let is_reached = scene.states().last() == Some(&wanted);
            if is_reached {
                Ok(())
            } else {
                Err(format!("{action:?}"))
            }
        })
        .await;
        advance(SECOND * 2).await;
        scene.harness.agents.change(&scene.agent, |sight| {
            set(sight, "s1_a_1", before, Some(bits), Some(0));
        });
        let action = scene.until_over(id).await;
        worker.stop().await;
        assert_eq!(code(&action), Some("agent_check"), "{wanted:?} {action:?}");
        assert!(
            action
                .evidence
                .looks
                .iter()
                .all(|look| look.has_agent_check)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_state_that_lasts_beside_an_agent_check_is_a_success_that_says_so() {
    let scene = with_agent_check("UP", 0).await;
    let before = Instant::now();
    let action = scene.carry_out(scene.order(1, AdminState::Drain)).await;
    assert_eq!(
        (code(&action), scene.states()),
        (None, vec![AdminState::Drain])
    );
    assert!(
        before.elapsed() >= AGENT_CHECK_WATCH,
        "{:?}",
        before.elapsed()
    );
    assert!(action.evidence.looks.last().unwrap().has_agent_check);
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_is_not_listed_is_not_removed_and_not_fresh() {
    let scene = Scene::new().await;
    let store: &dyn HaproxyStore = &scene.harness.store;
    let read = store.load(scene.instance).await.unwrap().unwrap();
    let mut sight = Sight::default();
    scene
        .harness
        .agents
        .change(&scene.agent, |now| sight = now.clone());
    scene
        .harness
        .agents
        .change(&scene.agent, |sight| sight.haproxy.clear());
    for _ in 0..3 {
        scene.harness.clock.advance(SECOND * 60);
        let after = scene
            .harness
            .service
            .actions
            .sync(scene.instance)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(
            (after.is_active, after.last_sync_status),
            (true, FetchStatus::Failed)
        );
        assert!(
            after
                .last_sync_error
                .unwrap()
                .contains("does not list this HAProxy")
        );
        assert_eq!(after.observed_at, read.instance.observed_at);
    }
    let known = store.load(scene.instance).await.unwrap().unwrap();
    assert_eq!(known.servers.len(), 3);
    scene
        .harness
        .agents
        .arrange(scene.agent.clone(), Agent::Answers(sight));
    let back = scene
        .harness
        .service
        .actions
        .sync(scene.instance)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(back.last_sync_status, FetchStatus::Success);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_is_a_complaint_of_the_sync_and_removes_nothing() {
    let scene = Scene::new().await;
    scene.harness.agents.change(&scene.agent, |sight| {
        sight.unread = vec!["row 2 has no name".to_owned()];
        for servers in sight
            .haproxy
            .values_mut()
            .flat_map(|backends| backends.values_mut())
        {
            servers.clear();
        }
    });
    for _ in 0..3 {
        let after = scene
            .harness
            .service
            .actions
            .sync(scene.instance)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(after.last_sync_status, FetchStatus::Partial);
        assert!(after.last_sync_error.unwrap().contains("row 2 has no name"));
    }
    let store: &dyn HaproxyStore = &scene.harness.store;
    let known = store.load(scene.instance).await.unwrap().unwrap();
    assert_eq!(known.servers.len(), 3);
    assert!(
        known
            .servers
            .iter()
            .all(|server| server.missed_at.is_none())
    );
}
