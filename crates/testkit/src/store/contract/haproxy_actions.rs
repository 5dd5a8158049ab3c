//! What [`HaproxyActions`](drover_ports::HaproxyActions) promises.

use std::time::Duration;

use drover_domain::haproxy::action::{
    ActionEnd, ActionRequest, ActionStatus, ActionTarget, Evidence, HaproxyAction, Look,
    action_queue,
};
use drover_domain::haproxy::{
    AdminState, Admission, BreakerPolicy, BreakerRecord, HaproxyInstanceKey, HaproxyServer,
    ObservedServer, Pin, ServerWord,
};
use drover_domain::workflow::Json;
use drover_domain::workflow::run::Outcome;
use drover_domain::{Key, Timestamp};
use drover_ports::{
    ActionFilter, Claim, Fault, NewAction, StartedWorkflow, StatusChange, StoreError,
};

use super::ALL;
use crate::store::World;
use crate::store::fixtures::actions::{action, action_id, action_on, start_actions, take_action};
use crate::store::fixtures::{
    HOSTILE, Updater, at, haproxy, haproxy_server, sync as synced, task, updates,
};

const POLICY: BreakerPolicy = BreakerPolicy {
    failures: 3,
    open_for: Duration::from_mins(1),
};

/// The servers `a` and `b`, both up, of one backend.
async fn two_servers(world: &World) -> Vec<HaproxyServer> {
    let shown = ["a", "b"].map(|name| haproxy_server(name, "UP"));
    let instance = haproxy(world, "lb01", &[("be", &shown)]).await;
    servers(world, instance).await
}

async fn servers(world: &World, instance: HaproxyInstanceKey) -> Vec<HaproxyServer> {
    let known = world.haproxy().load(instance).await.unwrap();
    known.expect("the instance is stored").servers
}

async fn instance_of(world: &World, server: &HaproxyServer) -> HaproxyInstanceKey {
    let targets = world.actions().targets(&[server.key]).await.unwrap();
    targets[0].instance
}

async fn now(world: &World, server: &HaproxyServer) -> HaproxyServer {
    let instance = instance_of(world, server).await;
    let mut servers = servers(world, instance).await.into_iter();
    let found = servers.find(|known| known.key == server.key);
    found.expect("the server is stored")
}

async fn shown(world: &World, number: u128) -> HaproxyAction {
    let found = world.action_view().find(action_id(number)).await.unwrap();
    found.expect("the action is stored")
}

async fn all(world: &World) -> Vec<HaproxyAction> {
    let listed = world
        .action_view()
        .list(&ActionFilter::default(), ALL)
        .await
        .unwrap();
    listed.items.into_iter().map(|(_, action)| action).collect()
}

async fn history(world: &World, server: &HaproxyServer) -> Vec<StatusChange> {
    let changes = world.action_view().history(server.key, ALL).await.unwrap();
    changes.expect("the server is stored").items
}

/// The same action, asked for with the key of another one.
fn with_key_of(new: NewAction, other: &NewAction) -> NewAction {
    let mut new = new;
    new.workflow
        .idempotency
        .clone_from(&other.workflow.idempotency);
    new
}

fn look(word: &str, sessions: Option<u64>) -> Look {
    Look {
        at: at(30),
        word: ServerWord::new(word),
        sessions,
        old_sessions: sessions.map(|sessions| sessions / 2),
        queue: None,
        has_agent_check: sessions.is_some(),
    }
}

fn end(failure: Option<(&str, &str)>, now: Timestamp) -> ActionEnd {
    ActionEnd {
        at: now,
        failure: failure.map(|(code, failure)| (code.to_owned(), failure.to_owned())),
    }
}

fn evidence() -> Evidence {
    let looks = vec![look(HOSTILE, Some(u64::MAX)), look("DRAIN", None)];
    Evidence { looks, sends: 3 }
}

/// What is seen of server `a` after everything about it has changed.
fn changed() -> ObservedServer {
    ObservedServer {
        name: "a".to_owned(),
        word: ServerWord::new("DRAIN"),
        admin: None,
        sessions: Some(0),
        old_sessions: None,
        queue: None,
        weight: 7,
        role: drover_domain::haproxy::ServerRole {
            is_backup: true,
            tracks: Some("other/a".to_owned()),
            has_agent_check: true,
        },
        check_status: None,
        address: Some("10.9.9.9".to_owned()),
        port: None,
    }
}

async fn admit(world: &World, instance: HaproxyInstanceKey, seconds: i64) -> Admission {
    let answer = world.actions().admit(instance, POLICY, at(seconds)).await;
    answer.unwrap()
}

async fn told(world: &World, instance: HaproxyInstanceKey, was_reached: bool, seconds: i64) {
    let told = world
        .actions()
        .record_answer(instance, POLICY, was_reached, at(seconds));
    told.await.unwrap();
}

/// An HAProxy that was not reached three times, the last time at 2 seconds.
async fn broken(world: &World) -> HaproxyInstanceKey {
    let instance = haproxy(world, "lb01", &[]).await;
    for seconds in 0..3 {
        assert_eq!(admit(world, instance, seconds).await, Admission::Go);
        told(world, instance, false, seconds).await;
    }
    instance
}

const fn refused(until: Timestamp) -> Admission {
    Admission::Refused { until }
}

#[track_caller]
fn is_stale<T: std::fmt::Debug>(result: &Result<T, StoreError>) {
    assert!(
        matches!(result, Err(StoreError::Stale { what: "action", .. })),
        "{result:?}"
    );
}

/// Every write under `claim` is refused, and nothing changes.
async fn every_write_is_stale(world: &World, claim: &Claim, server: &HaproxyServer) {
    let before = (
        all(world).await,
        now(world, server).await,
        history(world, server).await,
    );
    is_stale(&world.actions().begin(claim, at(98)).await);
    let seen = ObservedServer {
        word: ServerWord::new("MAINT (stale)"),
        ..changed()
    };
    let end = end(Some(("stale", "stale")), at(99));
    is_stale(
        &world
            .actions()
            .finish(claim, &end, &evidence(), Some(&seen))
            .await,
    );
    let after = (
        all(world).await,
        now(world, server).await,
        history(world, server).await,
    );
    assert_eq!(after, before);
}

contract! { $ haproxy_actions => haproxy_actions_contract for World;
    /// A started action is read equal, and its workflow waits for a worker; those of one backend are done one
    /// after the other.
    async fn a_started_action_is_read_equal(world) {
        let servers = two_servers(world).await;
        let new = [action_on(1, &servers[0]), action_on(2, &servers[1])];
        start_actions(world, &new).await;
        for (number, new) in (1..).zip(&new) {
            assert_eq!(shown(world, number).await, new.action);
        }
        let worker = Updater::open(world.queue(), 1).await;
        let first = take_action(&worker).await;
        assert_eq!(first, Claim { task: action_id(1), attempt: 1 });
        assert_eq!(worker.claim_of(action_queue()).await, None);
        worker.succeed(&first).await;
        assert_eq!(take_action(&worker).await.task, action_id(2));
    }

    /// Nothing to start is nothing.
    async fn no_actions_are_started_as_well(world) {
        assert_eq!(world.actions().start(&[]).await.unwrap(), []);
        assert_eq!(all(world).await, []);
    }

    /// A repeated request starts nothing and answers with what came of the first, also within one call.
    async fn a_repeated_request_is_replayed(world) {
        let servers = two_servers(world).await;
        let first = action_on(1, &servers[0]);
        start_actions(world, std::slice::from_ref(&first)).await;
        let again = with_key_of(action_on(2, &servers[0]), &first);
        let id = |number| action_id(number).workflow();
        let answers = world.actions().start(std::slice::from_ref(&again)).await.unwrap();
        assert_eq!(answers, [StartedWorkflow::Replayed(id(1))]);
        let third = action_on(3, &servers[1]);
        let same = with_key_of(action_on(4, &servers[1]), &third);
        let answers = world.actions().start(&[third, again, same]).await.unwrap();
        let expected = [
            StartedWorkflow::Created(id(3)),
            StartedWorkflow::Replayed(id(1)),
            StartedWorkflow::Replayed(id(3)),
        ];
        assert_eq!(answers, expected);
        let ids: Vec<_> = all(world).await.into_iter().map(|action| action.id).collect();
        assert_eq!(ids, [action_id(3), action_id(1)]);
        assert_eq!(world.action_view().find(action_id(2)).await.unwrap(), None);
    }

    /// A key that came with another request before is refused, and nothing of the call is started.
    async fn a_key_of_another_request_is_refused(world) {
        let servers = two_servers(world).await;
        let first = action_on(1, &servers[0]);
        start_actions(world, std::slice::from_ref(&first)).await;
        let mut other = with_key_of(action_on(2, &servers[0]), &first);
        other.workflow.idempotency.as_mut().unwrap().digest = vec![2; 32];
        let fresh = action_on(3, &servers[1]);
        let refusal = world.actions().start(&[fresh.clone(), other]).await.unwrap_err();
        assert!(matches!(&refusal, StoreError::KeyReused { key } if key == "transaction 1"), "{refusal:?}");
        assert_eq!(all(world).await, [first.action]);
        // Its key was not used up.
        start_actions(world, &[fresh]).await;
    }

    /// An identifier that is taken is refused, and nothing of the call is started.
    async fn an_identifier_that_is_taken_is_refused(world) {
        let servers = two_servers(world).await;
        let first = action_on(1, &servers[0]);
        start_actions(world, std::slice::from_ref(&first)).await;
        let fresh = action_on(2, &servers[1]);
        let taken = with_key_of(action_on(1, &servers[1]), &action_on(7, &servers[1]));
        let refusal = world.actions().start(&[fresh.clone(), taken]).await.unwrap_err();
        assert!(matches!(refusal, StoreError::AlreadyExists { .. }), "{refusal:?}");
        assert_eq!(all(world).await, [first.action]);
        start_actions(world, &[fresh]).await;
    }

    /// Work on an action begins once, also when another worker goes on with it.
    async fn work_on_an_action_begins_once(world) {
        let servers = two_servers(world).await;
        let new = action_on(1, &servers[0]);
        start_actions(world, std::slice::from_ref(&new)).await;
        let worker = Updater::open(world.queue(), 1).await;
        let first = take_action(&worker).await;
        let begun = HaproxyAction {
            status: ActionStatus::Running,
            started_at: Some(at(20)),
            ..new.action
        };
        assert_eq!(world.actions().begin(&first, at(20)).await.unwrap(), Some(begun.clone()));
        assert_eq!(world.actions().begin(&first, at(25)).await.unwrap(), Some(begun.clone()));
        worker.report(&first, Outcome::Released).await;
        let second = take_action(&worker).await;
        assert_eq!(world.actions().begin(&second, at(30)).await.unwrap(), Some(begun.clone()));
        assert_eq!(shown(world, 1).await, begun);
    }

    /// A made-up claim is refused.
    async fn a_claim_that_nobody_has_is_refused(world) {
        let servers = two_servers(world).await;
        start_actions(world, &[action_on(1, &servers[0])]).await;
        for (number, attempt) in [(404, 1), (1, 0), (1, 1)] {
            every_write_is_stale(world, &Claim { task: action_id(number), attempt }, &servers[0]).await;
        }
    }

    /// A task that is no action is left alone.
    async fn a_task_that_is_no_action_is_left_alone(world) {
        world.rollouts().start(&updates(vec![task(1, &[])])).await.unwrap();
        let claim = Updater::open(world.queue(), 1).await.take().await;
        assert_eq!(world.actions().begin(&claim, at(20)).await.unwrap(), None);
        world.actions().finish(&claim, &end(None, at(40)), &evidence(), Some(&changed())).await.unwrap();
        assert_eq!(all(world).await, []);
    }

    /// What an action came to is stored with its evidence, what was seen of its server, and that its status changed:
    /// by which action, and who asked for it.
    async fn what_an_action_came_to_is_stored(world) {
        let servers = two_servers(world).await;
        let new = action_on(1, &servers[0]);
        start_actions(world, std::slice::from_ref(&new)).await;
        let claim = take_action(&Updater::open(world.queue(), 1).await).await;
        world.actions().begin(&claim, at(20)).await.unwrap();
        let failed = end(Some(("still_busy", HOSTILE)), at(40));
        world.actions().finish(&claim, &failed, &evidence(), Some(&changed())).await.unwrap();
        let expected = HaproxyAction {
            status: ActionStatus::Failed,
            started_at: Some(at(20)),
            evidence: evidence(),
            end: Some(failed),
            ..new.action
        };
        assert_eq!(shown(world, 1).await, expected);
        let pin = Pin {
            state: AdminState::Drain,
            owner: "tester 1".to_owned(),
            reason: shown(world, 1).await.request.reason,
            since: at(40),
            until: Some(at(40).after(Duration::from_micros(3_600_000_001))),
        };
        let stored = HaproxyServer {
            observed: changed(),
            pin: Some(pin.clone()),
            last_seen: Some(at(40)),
            observed_at: Some(at(40)),
            ..servers[0].clone()
        };
        assert_eq!(world.actions().targets(&[servers[0].key]).await.unwrap()[0].pin, Some(pin));
        assert_eq!(now(world, &servers[0]).await, stored);
        assert_eq!(now(world, &servers[1]).await, servers[1]);
        let changes = history(world, &servers[0]).await;
        let change = StatusChange {
            position: changes[0].position,
            at: at(40),
            old: ServerWord::new("UP"),
            new: ServerWord::new("DRAIN"),
            action: Some(action_id(1)),
            actor: Some("tester 1".to_owned()),
        };
        assert_eq!(changes, [change]);
        assert_eq!(history(world, &servers[1]).await, []);
    }

    /// A pin is stored with the end of an action: an action that re-applies one leaves
    /// it whose it is, and one that returns the server ends it.
    async fn a_server_is_pinned_until_it_is_returned(world) {
        let servers = two_servers(world).await;
        let request = |number, wanted, restores| {
            let mut new = action_on(number, &servers[0]);
            new.action.request = ActionRequest { wanted, restores, pin_for: None, ..new.action.request };
            new
        };
        let worker = Updater::open(world.queue(), 1).await;
        let mut pins = Vec::new();
        for (number, wanted, restores, word) in [
            (1, AdminState::Maint, false, "MAINT"),
            (2, AdminState::Maint, true, "MAINT"),
            (3, AdminState::Drain, false, "UP"),
            (4, AdminState::Ready, false, "UP"),
        ] {
            start_actions(world, &[request(number, wanted, restores)]).await;
            let claim = take_action(&worker).await;
            assert_eq!(world.actions().begin(&claim, at(20)).await.unwrap().unwrap().request.restores, restores);
            let seen = ObservedServer { word: ServerWord::new(word), ..changed() };
            let seconds = i64::try_from(number).unwrap() * 100;
            world.actions().finish(&claim, &end(None, at(seconds)), &evidence(), Some(&seen)).await.unwrap();
            worker.report(&claim, Outcome::Succeeded { result: Json::null() }).await;
            let summary = world.haproxy_view().summary(1).await.unwrap();
            let pin = now(world, &servers[0]).await.pin;
            pins.push((pin.map(|pin| (pin.owner, pin.since, pin.until)), summary.pinned, summary.drifting));
        }
        let first = Some(("tester 1".to_owned(), at(100), None));
        let expected = [(first.clone(), 1, 0), (first.clone(), 1, 0), (first, 1, 1), (None, 0, 0)];
        assert_eq!(pins, expected);
        assert_eq!(now(world, &servers[1]).await, servers[1]);
    }

    /// A change that a sync sees while an action runs is the action's if the administrative state changed.
    async fn a_sync_knows_what_an_action_did(world) {
        let servers = two_servers(world).await;
        let instance = instance_of(world, &servers[0]).await;
        let member = |name: &str, word: &str| ObservedServer { admin: None, ..haproxy_server(name, word) };
        let sees = async |a: &str, b: &str, seconds| {
            synced(world, instance, &[("be", &[member("a", a), member("b", b)])], at(seconds)).await;
        };
        sees("UP", "UP", 10).await;
        start_actions(world, &[action_on(1, &servers[0])]).await;
        sees("DRAIN", "UP", 11).await;
        sees("UP", "UP", 12).await;
        let worker = Updater::open(world.queue(), 1).await;
        let claim = take_action(&worker).await;
        world.actions().begin(&claim, at(20)).await.unwrap();
        sees("UP 1/3", "DRAIN", 21).await;
        sees("DRAIN", "UP", 22).await;
        world.actions().finish(&claim, &end(None, at(40)), &evidence(), Some(&changed())).await.unwrap();
        sees("UP", "UP", 50).await;
        let told = |changes: Vec<StatusChange>| -> Vec<(Timestamp, Option<String>)> {
            changes.into_iter().rev().map(|change| (change.at, change.actor)).collect()
        };
        let nobody = |seconds| (at(seconds), None);
        let tester = (at(22), Some("tester 1".to_owned()));
        assert_eq!(told(history(world, &servers[0]).await), [nobody(11), nobody(12), nobody(21), tester, nobody(50)]);
        assert_eq!(told(history(world, &servers[1]).await), [nobody(21), nobody(22)]);
    }

    /// A status that is the same is no change; the rest that was seen is stored all the same, but for the name.
    async fn a_status_that_is_the_same_is_no_change(world) {
        let servers = two_servers(world).await;
        start_actions(world, &[action_on(1, &servers[0])]).await;
        let claim = take_action(&Updater::open(world.queue(), 1).await).await;
        let seen = ObservedServer { name: "other".to_owned(), word: ServerWord::new("UP"), ..changed() };
        world.actions().finish(&claim, &end(None, at(40)), &evidence(), Some(&seen)).await.unwrap();
        let stored = now(world, &servers[0]).await;
        assert_eq!(stored.observed, ObservedServer { name: "a".to_owned(), ..seen });
        assert_eq!(stored.last_seen, Some(at(40)));
        assert_eq!(history(world, &servers[0]).await, []);
    }

    /// The evidence of a running action is stored for the holder of its task; after its end nothing changes.
    async fn what_is_seen_is_there_before_the_end(world) {
        let servers = two_servers(world).await;
        start_actions(world, &[action_on(1, &servers[0])]).await;
        let claim = take_action(&Updater::open(world.queue(), 1).await).await;
        world.actions().begin(&claim, at(20)).await.unwrap();
        assert_eq!(shown(world, 1).await.evidence, Evidence::default());
        world.actions().record_evidence(&claim, &evidence()).await.unwrap();
        let seen = shown(world, 1).await;
        assert_eq!((seen.status, &seen.evidence, seen.end), (ActionStatus::Running, &evidence(), None));
        assert_eq!(world.actions().begin(&claim, at(21)).await.unwrap().map(|action| action.evidence), Some(evidence()));
        let stranger = Claim { attempt: 7, ..claim };
        assert!(matches!(world.actions().record_evidence(&stranger, &Evidence::default()).await, Err(StoreError::Stale { .. })));
        assert_eq!(now(world, &servers[0]).await, servers[0]);
        let last = Evidence { sends: 4, ..evidence() };
        world.actions().finish(&claim, &end(None, at(40)), &last, None).await.unwrap();
        world.actions().record_evidence(&claim, &evidence()).await.unwrap();
        assert_eq!(shown(world, 1).await.evidence, last);
    }

    /// An action that saw nothing changes nothing about its server.
    async fn what_was_not_seen_is_not_changed(world) {
        let servers = two_servers(world).await;
        start_actions(world, &[action_on(1, &servers[0])]).await;
        let claim = take_action(&Updater::open(world.queue(), 1).await).await;
        let done = end(None, at(40));
        world.actions().finish(&claim, &done, &evidence(), None).await.unwrap();
        let found = shown(world, 1).await;
        assert_eq!((found.status, found.end), (ActionStatus::Success, Some(done)));
        assert_eq!(now(world, &servers[0]).await, servers[0]);
        assert_eq!(history(world, &servers[0]).await, []);
    }

    /// The first end holds, also for the next worker.
    async fn the_first_end_holds(world) {
        let servers = two_servers(world).await;
        start_actions(world, &[action_on(1, &servers[0])]).await;
        let worker = Updater::open(world.queue(), 1).await;
        let first = take_action(&worker).await;
        world.actions().finish(&first, &end(None, at(40)), &evidence(), Some(&changed())).await.unwrap();
        let before = (shown(world, 1).await, now(world, &servers[0]).await, history(world, &servers[0]).await);
        worker.report(&first, Outcome::Released).await;
        let second = take_action(&worker).await;
        assert_eq!(world.actions().begin(&second, at(50)).await.unwrap().as_ref(), Some(&before.0));
        let seen = ObservedServer { word: ServerWord::new("MAINT"), ..changed() };
        let other = end(Some(("agent", "it does not answer")), at(60));
        world.actions().finish(&second, &other, &evidence(), Some(&seen)).await.unwrap();
        let after = (shown(world, 1).await, now(world, &servers[0]).await, history(world, &servers[0]).await);
        assert_eq!(after, before);
    }

    /// A claim that was given back, or has ended, can write nothing.
    async fn a_claim_that_was_given_back_writes_nothing(world) {
        let servers = two_servers(world).await;
        start_actions(world, &[action_on(1, &servers[0])]).await;
        let worker = Updater::open(world.queue(), 1).await;
        let first = take_action(&worker).await;
        worker.report(&first, Outcome::Released).await;
        every_write_is_stale(world, &first, &servers[0]).await;
        let other = Updater::open(world.queue(), 2).await;
        let second = take_action(&other).await;
        every_write_is_stale(world, &first, &servers[0]).await;
        world.actions().finish(&second, &end(None, at(40)), &evidence(), None).await.unwrap();
        other.succeed(&second).await;
        every_write_is_stale(world, &second, &servers[0]).await;
    }

    /// After three consecutive failures no call is admitted for a while, then one probe is, and its success admits all.
    async fn after_failures_one_asks_first(world) {
        let instance = broken(world).await;
        let healthy = haproxy(world, "lb02", &[]).await;
        assert_eq!(admit(world, instance, 3).await, refused(at(62)));
        assert_eq!(admit(world, instance, 61).await, refused(at(62)));
        assert_eq!(admit(world, instance, 62).await, Admission::Probe);
        assert_eq!(admit(world, instance, 63).await, refused(at(122)));
        assert_eq!(admit(world, healthy, 63).await, Admission::Go);
        told(world, instance, true, 64).await;
        for seconds in 65..68 {
            assert_eq!(admit(world, instance, seconds).await, Admission::Go);
        }
        // As if nothing had been.
        told(world, instance, false, 70).await;
        told(world, instance, false, 71).await;
        assert_eq!(admit(world, instance, 72).await, Admission::Go);
    }

    /// Of several concurrent calls one is the probe; of concurrent failures each counts.
    async fn of_several_at_once_one_asks_first(world) {
        let instance = haproxy(world, "lb01", &[]).await;
        let fail = || told(world, instance, false, 2);
        tokio::join!(fail(), fail(), fail());
        let ask = || admit(world, instance, 62);
        let (a, b, c, d) = tokio::join!(ask(), ask(), ask(), ask());
        let answers = [a, b, c, d];
        let count = |wanted| answers.iter().filter(|answer| **answer == wanted).count();
        assert_eq!((count(Admission::Probe), count(refused(at(122)))), (1, 3), "{answers:?}");
    }

    /// A probe that fails keeps the others away for another while.
    async fn a_probe_that_fails_keeps_others_away(world) {
        let instance = broken(world).await;
        assert_eq!(admit(world, instance, 62).await, Admission::Probe);
        told(world, instance, false, 65).await;
        assert_eq!(admit(world, instance, 124).await, refused(at(125)));
        assert_eq!(admit(world, instance, 125).await, Admission::Probe);
    }

    /// A probe without a recorded result is replaced after the same time.
    async fn a_lost_probe_is_replaced(world) {
        let instance = broken(world).await;
        assert_eq!(admit(world, instance, 62).await, Admission::Probe);
        assert_eq!(admit(world, instance, 121).await, refused(at(122)));
        assert_eq!(admit(world, instance, 122).await, Admission::Probe);
        assert_eq!(admit(world, instance, 123).await, refused(at(182)));
    }

    /// Only failures in a row count; a sync of the HAProxy does not touch its breaker.
    async fn only_failures_in_a_row_count(world) {
        let instance = haproxy(world, "lb01", &[]).await;
        for was_reached in [false, false, true, false, false] {
            told(world, instance, was_reached, 1).await;
        }
        synced(world, instance, &[("be", &[])], at(2)).await;
        assert_eq!(admit(world, instance, 2).await, Admission::Go);
        told(world, instance, false, 3).await;
        synced(world, instance, &[], at(4)).await;
        assert_eq!(admit(world, instance, 4).await, refused(at(63)));
    }

    /// An unknown HAProxy is admitted, and its results are ignored.
    async fn an_unknown_instance_may_be_asked(world) {
        for _ in 0..4 {
            told(world, Key::new(404), false, 1).await;
        }
        assert_eq!(admit(world, Key::new(404), 2).await, Admission::Go);
    }

    /// Where servers are is found by key, each once; those that do not exist are left out, and those that are not in
    /// HAProxy at the moment say so.
    async fn targets_are_found_by_key(world) {
        let pair = ["a", "b"].map(|name| haproxy_server(name, "UP 1/3"));
        let instance = haproxy(world, "lb01", &[("be", &pair), ("gone", &pair[..1])]).await;
        let idle = haproxy(world, "lb02", &[("be", &pair[..1])]).await;
        let mut stored = servers(world, instance).await;
        let backends = world.haproxy().load(instance).await.unwrap().unwrap().backends;
        synced(world, instance, &[("be", &pair[..1])], at(10)).await;
        let known = world.haproxy().load(idle).await.unwrap().unwrap();
        world.haproxy().record_instances(known.instance.server, &[], at(11)).await.unwrap();
        stored.extend(servers(world, idle).await);
        let mut keys: Vec<_> = stored.iter().map(|server| server.key).collect();
        keys.extend([Key::new(404), stored[0].key]);
        let targets = world.actions().targets(&keys).await.unwrap();
        let mut expected = Vec::new();
        for server in &stored {
            let instance = if server.backend == known.backends[0].key { idle } else { instance };
            let mut backends = backends.iter().chain(&known.backends).cloned();
            let backend = backends.find(|backend| backend.key == server.backend).unwrap();
            expected.push(ActionTarget {
                server: server.key,
                observed: server.observed.clone(),
                backend: backend.key,
                is_present: backend.name == "be" && server.observed.name == "a" && instance != idle,
                backend_name: backend.name,
                instance,
                instance_name: "default".to_owned(),
                agent_host: "10.0.0.2".to_owned(),
                agent_port: 5001,
                pin: None,
                trackers: Vec::new(),
                breaker: BreakerRecord::default(),
            });
        }
        expected.sort_by_key(|target| target.server);
        assert_eq!(targets, expected);
        assert_eq!(targets.iter().filter(|target| target.is_present).count(), 1);
        assert_eq!(world.actions().targets(&[]).await.unwrap(), []);
    }

    /// Where a server is says how the breaker of its HAProxy is.
    async fn targets_say_how_the_breaker_is(world) {
        let server = two_servers(world).await.remove(0);
        let instance = instance_of(world, &server).await;
        let record = async || world.actions().targets(&[server.key]).await.unwrap()[0].breaker;
        for seconds in 0..2 {
            told(world, instance, false, seconds).await;
        }
        assert_eq!(record().await, BreakerRecord { failures: 2, ..BreakerRecord::default() });
        told(world, instance, false, 2).await;
        assert_eq!(record().await, BreakerRecord { opened_at: Some(at(2)), ..BreakerRecord::default() });
        assert_eq!(admit(world, instance, 62).await, Admission::Probe);
        assert_eq!(record().await, BreakerRecord { probe_at: Some(at(62)), ..BreakerRecord::default() });
        told(world, instance, true, 63).await;
        assert_eq!(record().await, BreakerRecord::default());
    }

    /// Without the database every call says so, and that it may be back later.
    async fn without_a_database_actions_are_unavailable(world) {
        world.side_door().cut().await;
        let (actions, view) = (world.actions(), world.action_view());
        let (claim, server) = (Claim { task: action_id(1), attempt: 1 }, Key::new(1));
        let refusals: Vec<Option<StoreError>> = vec![
            actions.targets(&[server]).await.err(),
            actions.start(&[action(1, Key::new(1), server)]).await.err(),
            actions.begin(&claim, at(0)).await.err(),
            actions.admit(Key::new(1), POLICY, at(0)).await.err(),
            actions.record_answer(Key::new(1), POLICY, true, at(0)).await.err(),
            actions.finish(&claim, &end(None, at(0)), &evidence(), None).await.err(),
            view.find(action_id(1)).await.err(),
            view.list(&ActionFilter::default(), ALL).await.err(),
            view.history(server, ALL).await.err(),
        ];
        for (place, refusal) in refusals.into_iter().enumerate() {
            let refusal = refusal.unwrap_or_else(|| panic!("call {place} worked without a database"));
            assert!(matches!(refusal, StoreError::Unavailable { .. }), "call {place}: {refusal:?}");
            assert_eq!(refusal.fault(), Fault::Transient);
        }
    }
}
