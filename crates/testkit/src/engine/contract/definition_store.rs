//! What [`DefinitionStore`](drover_ports::DefinitionStore) promises.

use std::time::Duration;

use drover_domain::workflow::{
    Action, Definition, DefinitionName, ExecutionMode, Guarantee, Kind, RetryPolicy, RetryStrategy,
    Takeover, TaskPolicy, TaskSpec, Work,
};
use drover_ports::DefinitionRecord;

use super::{ALL, is_refused, is_unavailable, two_after};
use crate::engine::EngineWorld;
use crate::engine::fixtures::{
    HOSTILE_JSON, after, dag, diamond, doing, json, linear, parallel, parent, queue, remote, task,
    timer, undoable, waits_for, work,
};
use crate::store::fixtures::{HOSTILE, at};

fn name(text: &str) -> DefinitionName {
    DefinitionName::parse(text).unwrap()
}

async fn put(world: &EngineWorld, text: &str, definition: &Definition) -> u32 {
    world
        .definitions()
        .put(&name(text), definition, at(1))
        .await
        .unwrap()
}

async fn found(world: &EngineWorld, text: &str, version: Option<u32>) -> DefinitionRecord {
    let found = world
        .definitions()
        .find(&name(text), version)
        .await
        .unwrap();
    found.expect("the definition is stored")
}

fn reference(record: &DefinitionRecord) -> (&str, u32) {
    (record.reference.name.as_str(), record.reference.version)
}

/// A definition with everything there is in one.
fn everything() -> Definition {
    let retry = RetryPolicy::new(RetryStrategy::Linear, Duration::from_micros(1), 1_000).unwrap();
    let retry = retry
        .with_base(1.7)
        .unwrap()
        .with_jitter(1.0 / 3.0)
        .unwrap();
    let policy = TaskPolicy {
        retry: retry.with_max_interval(Duration::from_hours(24)).unwrap(),
        non_retryable: vec![HOSTILE.to_owned(), String::new()],
        timeout: Duration::from_micros(1),
        deadline: Some(TaskPolicy::DEADLINE_MAX),
        guarantee: Guarantee::G4,
        takeover: Takeover::Requeue,
    };
    let odd = Work {
        kind: Kind::parse("a.b:c-d_e").unwrap(),
        action: Action::RunRemotely,
        queue: queue("slow"),
        priority: -100,
        payload: json(HOSTILE_JSON),
        policy,
    };
    let child = Action::Child {
        definition: name("child"),
        version: Some(7),
    };
    let mut edge = after("edge", &["odd", "child"]);
    edge.depends_on[1].skipped_releases = true;
    dag(vec![
        TaskSpec {
            concurrency_keys: vec![HOSTILE.to_owned(), "b".to_owned()],
            compensation: Some(odd.clone()),
            ..doing("odd", odd)
        },
        doing(
            "child",
            Work {
                action: child,
                ..work()
            },
        ),
        parent("newest"),
        remote("remote"),
        timer("timer", Duration::from_micros(7)),
        waits_for("signal", "go", None),
        waits_for("limited", "go", Some(Duration::from_secs(7))),
        undoable("undoable"),
        edge,
    ])
}

contract! { $ definition_store => definition_store_contract for EngineWorld;
    /// A definition is read equal, whatever is in it.
    async fn a_definition_is_read_equal(world) {
        for (text, definition) in [
            ("everything", everything()), ("linear", linear(&["b", "a"])), ("parallel", parallel(3)), ("diamond", diamond()),
        ] {
            assert_eq!(put(world, text, &definition).await, 1);
            let found = found(world, text, None).await;
            assert_eq!((reference(&found), found.created_at), ((text, 1), at(1)));
            assert_eq!(*found.definition, definition);
        }
    }

    /// Another definition of a name is its next version; the same as the newest is no new one.
    async fn a_name_has_versions(world) {
        let (one, two) = (linear(&["a"]), linear(&["b"]));
        let versions = [
            put(world, "x", &one).await, put(world, "x", &one).await, put(world, "x", &two).await,
            put(world, "x", &two).await, put(world, "x", &one).await, put(world, "y", &two).await,
        ];
        assert_eq!(versions, [1, 1, 2, 2, 3, 1]);
        for (version, expected) in [(Some(1), &one), (Some(2), &two), (Some(3), &one), (None, &one)] {
            assert_eq!(*found(world, "x", version).await.definition, *expected, "{version:?}");
        }
    }

    /// Definitions that differ in one thing only are different.
    async fn a_small_difference_makes_a_version(world) {
        let mut slow = task("a");
        slow.work.policy.timeout = Duration::from_secs(7);
        let differing = [
            linear(&["a"]),
            Definition::new(ExecutionMode::Parallel, vec![task("a")]).unwrap(),
            dag(vec![task("a")]),
            dag(vec![slow]),
            dag(vec![undoable("a")]),
        ];
        for (version, definition) in (1..).zip(&differing) {
            assert_eq!(put(world, "x", definition).await, version);
        }
    }

    /// A version or a name that is not there is `None`.
    async fn what_is_not_there_is_none(world) {
        put(world, "x", &linear(&["a"])).await;
        for (text, version) in [("y", None), ("y", Some(1)), ("x", Some(0)), ("x", Some(2)), ("X", None)] {
            assert!(world.definitions().find(&name(text), version).await.unwrap().is_none(), "{text} {version:?}");
        }
    }

    /// All versions of all definitions are listed newest first, page by page.
    async fn definitions_are_listed_newest_first(world) {
        assert!(world.definitions().list(ALL).await.unwrap().items.is_empty());
        for (text, key) in [("x", "a"), ("y", "a"), ("x", "b"), ("x", "b"), ("z", "a"), ("y", "b")] {
            put(world, text, &linear(&[key])).await;
        }
        let all = world.definitions().list(ALL).await.unwrap().items;
        let listed: Vec<_> = all.iter().map(reference).collect();
        assert_eq!(listed, [("y", 2), ("z", 1), ("x", 2), ("y", 1), ("x", 1)]);
        assert!(all.is_sorted_by(|before, after| before.position > after.position));
        let mut after = None;
        for expected in [&listed[..2], &listed[2..4], &listed[4..]] {
            let page = world.definitions().list(two_after(after)).await.unwrap();
            assert_eq!(page.items.iter().map(reference).collect::<Vec<_>>(), expected);
            after = page.next;
        }
        assert_eq!(after, None);
    }

    /// Of several that store definitions of one name at once, each gets a version of its own.
    async fn versions_are_given_once(world) {
        let mut writers = tokio::task::JoinSet::new();
        for number in 0..8 {
            let world = world.clone();
            writers.spawn(async move { put(&world, "x", &linear(&[&format!("t{number}")])).await });
        }
        let mut versions = writers.join_all().await;
        versions.sort_unstable();
        assert_eq!(versions, [1, 2, 3, 4, 5, 6, 7, 8]);
    }

    /// Without a database it says so.
    async fn it_says_so_when_the_database_is_gone(world) {
        world.side_door().cut().await;
        let definitions = world.definitions();
        is_unavailable(definitions.put(&name("x"), &linear(&["a"]), at(1)).await);
        is_unavailable(definitions.find(&name("x"), None).await);
        is_unavailable(definitions.list(ALL).await);
    }

    /// Names have a bound, and so have the versions of each: the oldest are removed.
    async fn definitions_have_bounds(world) {
        let store = world.definitions();
        let numbered = |number: u32| name(&format!("d{number}"));
        let version = |number: u32| dag(vec![timer("a", Duration::from_secs(u64::from(number)))]);
        for number in 1..=DefinitionRecord::NAMES_MAX {
            store.put(&numbered(number), &linear(&["a"]), at(0)).await.unwrap();
        }
        is_refused(store.put(&numbered(0), &linear(&["a"]), at(0)).await);
        for number in 1..=DefinitionRecord::VERSIONS_MAX {
            assert_eq!(store.put(&numbered(1), &version(number), at(0)).await.unwrap(), number + 1);
        }
        assert!(store.find(&numbered(1), Some(1)).await.unwrap().is_none());
        assert!(store.find(&numbered(1), Some(2)).await.unwrap().is_some());
        let newest = store.find(&numbered(1), None).await.unwrap().unwrap();
        assert_eq!(newest.reference.version, DefinitionRecord::VERSIONS_MAX + 1);
        assert!(store.find(&numbered(2), Some(1)).await.unwrap().is_some());
    }
}
