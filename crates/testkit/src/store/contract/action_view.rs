//! What [`ActionView`](drover_ports::ActionView) promises.

use std::time::Duration;

use drover_domain::haproxy::action::{
    ActionEnd, ActionStatus, Evidence, HaproxyAction, action_queue,
};
use drover_domain::haproxy::{AdminState, HaproxyServer, ServerWord};
use drover_domain::workflow::run::{Control, Decision, Outcome, TaskError};
use drover_domain::workflow::{Json, TaskId};
use drover_domain::{Key, Timestamp};
use drover_ports::{ActionFilter, StatusChange};

use super::{ALL, two_after};
use crate::store::World;
use crate::store::fixtures::actions::{action_id, action_on, start_actions, take_action};
use crate::store::fixtures::{
    Updater, at, haproxy, haproxy_server, sync as synced, task, task_id, updates,
};

/// The servers `a` and `b`, both up, each of a backend of its own.
async fn two_servers(world: &World) -> Vec<HaproxyServer> {
    let [a, b] = ["a", "b"].map(|name| [haproxy_server(name, "UP")]);
    let instance = haproxy(world, "lb01", &[("one", &a), ("two", &b)]).await;
    let known = world.haproxy().load(instance).await.unwrap().unwrap();
    let mut servers = known.servers;
    servers.sort_by(|one, other| one.observed.name.cmp(&other.observed.name));
    servers
}

async fn shown(world: &World, number: u128) -> HaproxyAction {
    let found = world.action_view().find(action_id(number)).await.unwrap();
    found.expect("the action is stored")
}

async fn cancel(world: &World, number: u128) {
    let control = Control::Cancel {
        reason: "not today".to_owned(),
    };
    let workflow = action_id(number).workflow();
    world.workflows().control(workflow, &control).await.unwrap();
}

fn end(at: Timestamp) -> ActionEnd {
    ActionEnd { at, failure: None }
}

/// The action is shown as failed, with this code and sentence.
async fn is_failed(world: &World, number: u128, code: &str, failure: &str) -> ActionEnd {
    let action = shown(world, number).await;
    assert_eq!(action.status, ActionStatus::Failed);
    assert_eq!(action.evidence, Evidence::default());
    let end = action.end.expect("it has ended");
    assert_eq!(end.failure, Some((code.to_owned(), failure.to_owned())));
    end
}

contract! { $ action_view => action_view_contract for World;
    /// An action that is not there is absent; an update, or a workflow, is none.
    async fn an_unknown_action_is_absent(world) {
        world.rollouts().start(&updates(vec![task(1, &[])])).await.unwrap();
        for id in [action_id(404), task_id(1)] {
            assert_eq!(world.action_view().find(id).await.unwrap(), None);
        }
        let servers = two_servers(world).await;
        start_actions(world, &[action_on(2, &servers[0])]).await;
        let workflow = TaskId::from_uuid(action_id(2).workflow().as_uuid());
        assert_eq!(world.action_view().find(workflow).await.unwrap(), None);
    }

    /// Actions go from new to old, page by page, each with its position; of one server or of all.
    async fn actions_go_from_new_to_old(world) {
        let servers = two_servers(world).await;
        let on = |number, place: usize| action_on(number, &servers[place]);
        start_actions(world, &[on(5, 0), on(4, 1), on(3, 0)]).await;
        start_actions(world, &[on(2, 1), on(1, 0)]).await;
        for (server, numbers) in [(None, vec![1, 2, 3, 4, 5]), (Some(0), vec![1, 3, 5]), (Some(1), vec![2, 4])] {
            let server = server.map(|place: usize| servers[place].key);
            let (mut listed, mut page) = (Vec::new(), two_after(None));
            loop {
                let found = world.action_view().list(&ActionFilter { server, ..ActionFilter::default() }, page).await.unwrap();
                listed.extend(found.items);
                assert_eq!(found.next.is_some(), listed.len() < numbers.len());
                page = two_after(found.next);
                if found.next.is_none() {
                    break;
                }
                assert_eq!(found.next, listed.last().map(|(position, _)| *position));
            }
            let expected: Vec<_> = numbers.into_iter().map(action_id).collect();
            assert_eq!(listed.iter().map(|(_, action)| action.id).collect::<Vec<_>>(), expected);
            assert!(listed.is_sorted_by(|newer, older| newer.0 > older.0), "{listed:?}");
            for (_, action) in listed {
                assert_eq!(world.action_view().find(action.id).await.unwrap(), Some(action));
            }
        }
        assert_eq!(world.action_view().list(&ActionFilter { server: Some(Key::new(404)), ..ActionFilter::default() }, ALL).await.unwrap().items, []);
    }

    /// Conditions narrow the list, and all of them together.
    async fn filters_narrow_the_list(world) {
        let servers = two_servers(world).await;
        let actions = [action_on(1, &servers[0]), action_on(2, &servers[1])];
        start_actions(world, &actions).await;
        let (wanted, asked) = (actions[0].action.request.wanted, actions[0].action.created_at);
        let others = [AdminState::Ready, AdminState::Drain, AdminState::Maint];
        let another = others.into_iter().find(|other| *other != wanted);
        let later = Timestamp::from_micros(asked.as_micros() + 1);
        let any = ActionFilter::default;
        for (filter, count) in [
            (any(), 2),
            (ActionFilter { wanted: Some(wanted), ..any() }, 2),
            (ActionFilter { wanted: another, ..any() }, 0),
            (ActionFilter { since: Some(asked), ..any() }, 2),
            (ActionFilter { since: Some(later), ..any() }, 0),
            (ActionFilter { until: Some(asked), ..any() }, 0),
            (ActionFilter { server: Some(servers[0].key), wanted: Some(wanted), since: Some(asked), until: Some(later) }, 1),
        ] {
            let page = world.action_view().list(&filter, ALL).await.unwrap();
            assert_eq!(page.items.len(), count, "{filter:?}");
        }
    }

    /// Actions are found by their transactions; unknown ones are absent.
    async fn actions_are_found_by_their_transactions(world) {
        let servers = two_servers(world).await;
        let all = [action_on(1, &servers[0]), action_on(2, &servers[1]), action_on(3, &servers[0])];
        start_actions(world, &all).await;
        let view = world.action_view();
        assert_eq!(view.of_transactions(&[]).await.unwrap(), []);
        let wanted = [&all[2], &all[0]].map(|new| new.action.transaction_id.clone());
        let wanted = [wanted.to_vec(), vec!["another".to_owned()]].concat();
        let mut found = view.of_transactions(&wanted).await.unwrap();
        found.sort_by_key(|action| action.id);
        assert_eq!(found, [shown(world, 1).await, shown(world, 3).await]);
    }

    /// An action waits, is done, and has succeeded or failed: as soon as its end is written down.
    async fn an_action_stands_where_it_is(world) {
        let servers = two_servers(world).await;
        start_actions(world, &[action_on(1, &servers[0]), action_on(2, &servers[1])]).await;
        let status = async |number| shown(world, number).await.status;
        assert_eq!(status(1).await, ActionStatus::Pending);
        let worker = Updater::open(world.queue(), 1).await;
        let first = take_action(&worker).await;
        assert_eq!((status(1).await, status(2).await), (ActionStatus::Running, ActionStatus::Pending));
        worker.report(&first, Outcome::Released).await;
        assert_eq!(status(1).await, ActionStatus::Running, "somebody may have told HAProxy");
        let claims = [take_action(&worker).await, take_action(&worker).await];
        for claim in &claims {
            let failure = (claim.task == action_id(2)).then(|| ("gone".to_owned(), "it is gone".to_owned()));
            world.actions().finish(claim, &ActionEnd { failure, ..end(at(40)) }, &Evidence::default(), None).await.unwrap();
        }
        assert_eq!((status(1).await, status(2).await), (ActionStatus::Success, ActionStatus::Failed));
        for claim in &claims {
            worker.succeed(claim).await;
        }
        assert_eq!((status(1).await, status(2).await), (ActionStatus::Success, ActionStatus::Failed));
    }

    /// An action that is called off before a worker had it has failed, with the reason that was given.
    async fn an_action_that_is_called_off_has_failed(world) {
        let servers = two_servers(world).await;
        start_actions(world, &[action_on(1, &servers[0])]).await;
        cancel(world, 1).await;
        let end = is_failed(world, 1, "cancelled", "not today").await;
        assert!(end.at > Timestamp::EPOCH, "the engine knows when: {end:?}");
        assert_eq!(shown(world, 1).await.started_at, None);
        assert_eq!(Updater::open(world.queue(), 1).await.claim_of(action_queue()).await, None);
    }

    /// An action that is called off while it is done is so until its worker has stopped.
    async fn an_action_that_is_stopped_has_failed(world) {
        let servers = two_servers(world).await;
        start_actions(world, &[action_on(1, &servers[0])]).await;
        let worker = Updater::open(world.queue(), 1).await;
        let claim = take_action(&worker).await;
        cancel(world, 1).await;
        assert_eq!(shown(world, 1).await.status, ActionStatus::Running);
        worker.report(&claim, Outcome::Cancelled).await;
        is_failed(world, 1, "cancelled", "not today").await;
    }

    /// An action that the engine ended has failed, with the engine's word for it.
    async fn an_action_that_the_engine_ended_has_failed(world) {
        let servers = two_servers(world).await;
        let worker = Updater::open(world.queue(), 1).await;
        let error = || TaskError::new("no_such_kind", "nobody here can do it");
        let outcomes = [
            Outcome::Failed { error: error(), retryable: false },
            Outcome::Unknown { error: error() },
        ];
        for (number, outcome) in (1..).zip(outcomes) {
            start_actions(world, &[action_on(number, &servers[0])]).await;
            let claim = take_action(&worker).await;
            worker.report(&claim, outcome).await;
            is_failed(world, number, "no_such_kind", "nobody here can do it").await;
        }
        // Only a person can end an action with an unknown result; until then it blocks the others of the backend.
        start_actions(world, &[action_on(3, &servers[1])]).await;
        let claim = take_action(&worker).await;
        worker.report(&claim, Outcome::TimedOut).await;
        let late = shown(world, 3).await;
        assert_eq!(late.status, ActionStatus::Failed);
        assert!(late.end.is_some_and(|end| end.failure.is_some()));
    }

    /// What the action wrote down itself outranks what the engine says.
    async fn the_actions_own_end_outranks_the_engines(world) {
        let servers = two_servers(world).await;
        start_actions(world, &[action_on(1, &servers[0])]).await;
        let worker = Updater::open(world.queue(), 1).await;
        let claim = take_action(&worker).await;
        world.actions().finish(&claim, &end(at(40)), &Evidence::default(), None).await.unwrap();
        let error = TaskError::new("gone", "the worker was not up to it");
        worker.report(&claim, Outcome::Failed { error, retryable: false }).await;
        let found = shown(world, 1).await;
        assert_eq!((found.status, found.end), (ActionStatus::Success, Some(end(at(40)))));
    }

    /// A person may say that it worked.
    async fn a_person_may_say_that_it_worked(world) {
        let servers = two_servers(world).await;
        start_actions(world, &[action_on(1, &servers[0])]).await;
        let worker = Updater::open(world.queue(), 1).await;
        let claim = take_action(&worker).await;
        let error = TaskError::new("lost", "the worker is gone");
        worker.report(&claim, Outcome::Unknown { error }).await;
        is_failed(world, 1, "lost", "the worker is gone").await;
        let decision = Decision::Succeeded { result: Json::null() };
        world.workflows().decide(action_id(1), &decision).await.unwrap();
        let found = shown(world, 1).await;
        assert_eq!((found.status, found.end.unwrap().failure), (ActionStatus::Success, None));
    }

    /// Status changes go from new to old, page by page, of every cause; an unknown server has none.
    async fn status_changes_go_from_new_to_old(world) {
        let servers = two_servers(world).await;
        let known = world.actions().targets(&[servers[0].key]).await.unwrap();
        let instance = known[0].instance;
        let all: [_; 2] = ["a", "b"].map(|name| [haproxy_server(name, "UP")]);
        for (word, now) in [("DOWN", 10), ("UP", 20)] {
            let changed = [haproxy_server("a", word)];
            synced(world, instance, &[("one", &changed), ("two", &all[1])], at(now)).await;
        }
        start_actions(world, &[action_on(1, &servers[0]), action_on(2, &servers[1])]).await;
        let worker = Updater::open(world.queue(), 1).await;
        for (server, now) in servers.iter().zip([30, 31]) {
            let claim = take_action(&worker).await;
            let seen = haproxy_server(&server.observed.name, "DRAIN");
            world.actions().finish(&claim, &end(at(now)), &Evidence::default(), Some(&seen)).await.unwrap();
        }
        let history = async |page| world.action_view().history(servers[0].key, page).await.unwrap().unwrap();
        let first = history(two_after(None)).await;
        let rest = history(two_after(first.next)).await;
        assert_eq!((first.next, rest.next), (Some(first.items[1].position), None));
        let found: Vec<StatusChange> = first.items.into_iter().chain(rest.items).collect();
        assert!(found.is_sorted_by(|newer, older| newer.position > older.position), "{found:?}");
        let change = |place: usize, now, old, new, by: Option<u128>| StatusChange {
            position: found[place].position,
            at: at(now),
            old: ServerWord::new(old),
            new: ServerWord::new(new),
            action: by.map(action_id),
            actor: by.map(|number| format!("tester {number}")),
        };
        let expected = [
            change(0, 30, "UP", "DRAIN", Some(1)),
            change(1, 20, "DOWN", "UP", None),
            change(2, 10, "UP", "DOWN", None),
        ];
        assert_eq!(found, expected);
        assert_eq!(world.side_door().status_reasons().await, ["sync", "sync", "command", "command"]);
        assert_eq!(world.action_view().history(Key::new(404), ALL).await.unwrap(), None);
    }

    /// An action is removed with its workflow; what it changed stays in the history.
    async fn an_action_is_removed_with_its_workflow(world) {
        let servers = two_servers(world).await;
        start_actions(world, &[action_on(1, &servers[0]), action_on(2, &servers[1])]).await;
        let worker = Updater::open(world.queue(), 1).await;
        let claim = take_action(&worker).await;
        let seen = haproxy_server("a", "DRAIN");
        world.actions().finish(&claim, &end(at(40)), &Evidence::default(), Some(&seen)).await.unwrap();
        worker.succeed(&claim).await;
        while world.upkeep().prune(&Duration::ZERO.into(), 10).await.unwrap() == 0 {}
        assert_eq!(world.action_view().find(action_id(1)).await.unwrap(), None);
        let left = world.action_view().list(&ActionFilter::default(), ALL).await.unwrap().items;
        assert_eq!(left.iter().map(|(_, action)| action.id).collect::<Vec<_>>(), [action_id(2)]);
        let history = world.action_view().history(servers[0].key, ALL).await.unwrap().unwrap();
        assert_eq!(history.items[0].action, Some(action_id(1)));
    }
}
