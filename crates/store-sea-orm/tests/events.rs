//! Many readers of the log of events, while writers overlap: each sees every committed event once, in the
//! one order there is.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a broken test setup should stop the test"
)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use drover_domain::workflow::run::Control;
use drover_domain::workflow::{EventKind, EventPosition, Executor, TaskNo, WorkflowId};
use drover_ports::{
    ClaimRequest, EventFilter, EventLog, Report, TaskQueue, Topic, WakeUps, WorkflowStore,
    WorkflowUpkeep,
};
use drover_store_sea_orm::{Options, SeaOrmStore};
use drover_testkit::engine::fixtures::{
    LEASE, dag, diamond, failure, json, lease_id, linear, parallel, queue, retried, signal_name,
    success, waits_for, workflow, workflow_id,
};
use drover_testkit::eventually::eventually;
use sea_orm::{
    ConnectionTrait, Database, DatabaseConnection, DbBackend, Statement, TransactionTrait,
};
use tokio::task::JoinSet;

use support::Scene;

/// Longer than anything here takes on two busy cores.
const PATIENCE: Duration = Duration::from_mins(1);
/// How many workflows live as long as the test; some readers follow one of these only.
const BUSY: u32 = 8;

/// How much happens.
#[derive(Debug, Clone, Copy)]
struct Scale {
    readers: u64,
    writers: u32,
    rounds: u32,
    /// Connections that keep transactions open.
    sides: u64,
    transactions: u32,
    /// The most pages that are read while one of them is open.
    pages: u64,
}

/// Numbers that look random and are the same in every run: `SplitMix64`.
struct Chance(u64);

impl Chance {
    fn of(role: u64, number: u64) -> Self {
        Self(role << 32 | number)
    }

    /// A number below `end`.
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (bits ^ (bits >> 31)) % end
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }
}

/// An event with its place: batch, index, workflow, kind, task, attempt, detail.
type Told = (
    i64,
    u32,
    WorkflowId,
    String,
    Option<u16>,
    u32,
    Option<String>,
);

/// What all of them share.
struct Stage {
    scene: Scene,
    stores: Vec<SeaOrmStore>,
    /// How many pages were read.
    pages: AtomicU64,
    /// All writers have ended.
    is_over: AtomicBool,
}

impl Stage {
    /// Three nodes on one database, with workflows that wait for signals.
    async fn set(scene: Scene) -> Arc<Self> {
        let mut stores = vec![scene.store.clone()];
        for _ in 0..2 {
            stores.push(
                SeaOrmStore::connect(&Options::new(&scene.url))
                    .await
                    .unwrap(),
            );
        }
        let busy: Vec<_> = (0..BUSY)
            .map(|number| workflow(number, dag(vec![waits_for("a", "never", None)])))
            .collect();
        scene.store.start(&busy).await.unwrap();
        Arc::new(Self {
            scene,
            stores,
            pages: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
        })
    }

    fn store(&self, chance: &mut Chance) -> &SeaOrmStore {
        &self.stores[usize::try_from(chance.below(3)).unwrap()]
    }

    /// Everything in the table, in order.
    async fn everything(&self) -> Vec<Told> {
        let rows = self
            .scene
            .rows(
                "SELECT position, CAST(workflow_id AS text) AS workflow, events FROM workflow_events
                 ORDER BY position",
            )
            .await;
        let mut all = Vec::new();
        for row in rows {
            let (position, events): (i64, String) = (
                row.try_get("", "position").unwrap(),
                row.try_get("", "events").unwrap(),
            );
            let id: WorkflowId = row
                .try_get::<String>("", "workflow")
                .unwrap()
                .parse()
                .unwrap();
            let events: Vec<(String, Option<u16>, u32, Option<String>)> =
                serde_json::from_str(&events).unwrap();
            let events = events.into_iter().zip(0..);
            all.extend(events.map(|((kind, task, attempt, detail), index)| {
                (position, index, id, kind, task, attempt, detail)
            }));
        }
        all
    }
}

fn busy(chance: &mut Chance) -> WorkflowId {
    workflow_id(u32::try_from(chance.below(BUSY.into())).unwrap())
}

/// Reads everything from the beginning, in pages of any size, from any node. Now and then it forgets
/// what it has read since some page, as one that was cut off before it could make a note of it.
async fn read(stage: Arc<Stage>, number: u64) -> (Option<WorkflowId>, Vec<Told>) {
    let mut chance = Chance::of(1, number);
    let workflow = number.is_multiple_of(4).then(|| busy(&mut chance));
    let (mut seen, mut position): (Vec<Told>, _) = (Vec::new(), EventPosition::START);
    let (mut noted, mut kept) = (position, 0);
    loop {
        let was_over = stage.is_over.load(Ordering::SeqCst);
        let limit = u32::try_from(1 + chance.below(120)).unwrap();
        let store = stage.store(&mut chance);
        let page = store
            .after(position, EventFilter { workflow }, limit)
            .await
            .unwrap();
        stage.pages.fetch_add(1, Ordering::SeqCst);
        assert!(!page.gap);
        if page.events.is_empty() {
            assert_eq!(page.next, position);
            if was_over {
                return (workflow, seen);
            }
            // A hint may not come.
            let hints = store.changed(Topic::Events, store.seen(Topic::Events));
            drop(tokio::time::timeout(Duration::from_millis(20), hints).await);
        }
        seen.extend(page.events.into_iter().map(|(event, _)| {
            let (place, fact) = (event.position, event.event);
            let task = fact.task.map(TaskNo::get);
            let kind = fact.kind.as_str().to_owned();
            (
                place.batch,
                place.index,
                event.workflow,
                kind,
                task,
                fact.attempt,
                fact.detail,
            )
        }));
        position = page.next;
        if chance.one_in(5) {
            // A reader keeps its position as text.
            (noted, kept) = (position.to_string().parse().unwrap(), seen.len());
        }
        if chance.one_in(10) {
            position = noted;
            seen.truncate(kept);
        }
    }
}

/// Starts, takes, reports and calls off.
async fn write(stage: Arc<Stage>, number: u32, rounds: u32) {
    let mut chance = Chance::of(2, number.into());
    let lease = lease_id(number);
    let worker = format!("worker {number}");
    stage.stores[0]
        .open_lease(lease, &worker, LEASE)
        .await
        .unwrap();
    for round in 0..rounds {
        let store = stage.store(&mut chance);
        let first = 1_000 * (number + 1) + 10 * round;
        let new: Vec<_> = (first..=first + u32::try_from(chance.below(4)).unwrap())
            .map(|id| {
                let definition = match chance.below(4) {
                    0 => diamond(),
                    1 => linear(&["a", "b"]),
                    2 => dag(vec![retried("a", 2)]),
                    _ => parallel(5),
                };
                workflow(id, definition)
            })
            .collect();
        store.start(&new).await.unwrap();
        let request = ClaimRequest {
            executor: Executor::Engine,
            queues: vec![queue("default")],
            limit: u32::try_from(1 + chance.below(12)).unwrap(),
        };
        let claimed = stage
            .store(&mut chance)
            .claim(lease, &request)
            .await
            .unwrap();
        let reports: Vec<Report> = claimed
            .iter()
            .map(|task| Report {
                task: task.task,
                attempt: task.attempt,
                outcome: if chance.one_in(5) {
                    failure("broken")
                } else {
                    success("1")
                },
            })
            .collect();
        stage
            .store(&mut chance)
            .report(lease, &reports)
            .await
            .unwrap();
        if chance.one_in(3) {
            let reason = "enough".to_owned();
            let control = Control::Cancel { reason };
            // It may have ended.
            drop(
                stage
                    .store(&mut chance)
                    .control(workflow_id(first), &control)
                    .await,
            );
        }
        let (signal, payload) = (signal_name("any"), json("1"));
        let store = stage.store(&mut chance);
        store
            .signal(busy(&mut chance), &signal, &payload, None)
            .await
            .unwrap();
        stage.store(&mut chance).wake_due(10).await.unwrap();
    }
}

/// Keeps transactions open that have written an event, while others read; some come to nothing.
async fn hold(stage: Arc<Stage>, number: u64, scale: Scale) {
    let mut chance = Chance::of(3, number);
    let mut options = sea_orm::ConnectOptions::new(&stage.scene.url);
    options.max_connections(1).sqlx_logging(false);
    let side = Database::connect(options).await.unwrap();
    for _ in 0..scale.transactions {
        let transaction = side.begin().await.unwrap();
        let event = event(&side, busy(&mut chance), chance.below(1_000));
        transaction.execute_raw(event).await.unwrap();
        let until = stage.pages.load(Ordering::SeqCst) + chance.below(scale.pages);
        eventually(PATIENCE, || async {
            let read = stage.pages.load(Ordering::SeqCst);
            if read >= until {
                Ok(())
            } else {
                Err(format!("{read} pages of {until} are read"))
            }
        })
        .await;
        if chance.one_in(3) {
            transaction.rollback().await.unwrap();
        } else {
            transaction.commit().await.unwrap();
        }
    }
    side.close().await.unwrap();
}

/// An event as the store writes it: a turn first, on PostgreSQL.
fn event(side: &DatabaseConnection, workflow: WorkflowId, detail: u64) -> Statement {
    let text = if side.get_database_backend() == DbBackend::Postgres {
        "WITH turn AS MATERIALIZED (
                 SELECT pg_advisory_xact_lock_shared((17494::bigint << 48) | n.number)
                 FROM (SELECT nextval('workflow_event_order') AS number OFFSET 0) n)
             INSERT INTO workflow_events (position, workflow_id, at, event_count, events)
             SELECT nextval('workflow_event_order'), $1::uuid, 0, 1, $2 FROM turn"
    } else {
        "INSERT INTO workflow_events (workflow_id, at, event_count, events) VALUES ($1, 0, 1, $2)"
    };
    let events = format!(r#"[["signal_received",null,0,"{detail}"]]"#);
    let values = [workflow.to_string().into(), events.into()];
    Statement::from_sql_and_values(side.get_database_backend(), text, values)
}

async fn readers_see_everything_once(scene: Scene, scale: Scale) {
    let stage = Stage::set(scene).await;
    let (mut readers, mut writers) = (JoinSet::new(), JoinSet::new());
    for number in 0..scale.readers {
        readers.spawn(read(Arc::clone(&stage), number));
    }
    for number in 0..scale.writers {
        writers.spawn(write(Arc::clone(&stage), number, scale.rounds));
    }
    for number in 0..scale.sides {
        writers.spawn(hold(Arc::clone(&stage), number, scale));
    }
    writers.join_all().await;
    stage.is_over.store(true, Ordering::SeqCst);
    let readers = readers.join_all().await;

    let everything = stage.everything().await;
    let rolled_back = u64::from(scale.transactions) * scale.sides;
    assert!(
        everything.len() > 200 && rolled_back > 0,
        "{}",
        everything.len()
    );
    for (workflow, seen) in readers {
        let expected: Vec<&Told> = everything
            .iter()
            .filter(|told| workflow.is_none_or(|workflow| told.2 == workflow))
            .collect();
        assert!(!expected.is_empty());
        let at = seen
            .iter()
            .zip(&expected)
            .position(|(seen, expected)| seen != *expected);
        assert_eq!(
            (seen.len(), at.map(|at| (&seen[at], expected[at]))),
            (expected.len(), None),
            "what was seen and what there is"
        );
    }
}

#[test]
fn the_reference_has_every_kind_of_event() {
    let page = include_str!("../../../docs/reference/events.md");
    let rows = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let shown: Vec<&str> = rows
        .map(|(word, _)| word)
        .filter(|word| !word.contains(' '))
        .collect();
    let kinds: Vec<&str> = EventKind::ALL.iter().map(|kind| kind.as_str()).collect();
    assert_eq!(shown, [&["event"], &kinds[..]].concat());
}

#[tokio::test]
async fn readers_on_postgresql_see_everything_once() {
    let scale = Scale {
        readers: 50,
        writers: 6,
        rounds: 12,
        sides: 8,
        transactions: 10,
        pages: 200,
    };
    readers_see_everything_once(support::postgres().await, scale).await;
}

#[tokio::test]
async fn readers_on_sqlite_see_everything_once() {
    let scale = Scale {
        readers: 10,
        writers: 2,
        rounds: 15,
        sides: 2,
        transactions: 8,
        pages: 20,
    };
    readers_see_everything_once(support::sqlite().await, scale).await;
}
