//! The engine inside a program of one's own: the example as it is, and what it does not show.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use drover_app::embedded::{
    Attempt, EmbeddedError, Engine, Failure, Guarantee, RetryPolicy, RetryStrategy, Task,
    TaskStatus, Workflow, WorkflowStatus,
};
use serde::{Deserialize, Serialize};

#[path = "../examples/embedded.rs"]
#[expect(dead_code, reason = "here it is not the example's `main` that runs it")]
mod example;

#[derive(Debug, Serialize, Deserialize)]
struct Order {
    number: u32,
}

fn database(folder: &tempfile::TempDir) -> String {
    format!(
        "sqlite://{}?mode=rwc",
        folder.path().join("e.sqlite").display()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_does_what_it_says() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(example::album(&database(&folder)).await.unwrap(), 700);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_does_the_same_on_postgresql() {
    let database = drover_testkit::store::postgres::database(async |_: &str| {}).await;
    assert_eq!(example::album(&database.url()).await.unwrap(), 700);
}

#[test]
fn the_page_about_it_shows_the_example() {
    let page = include_str!("../../../docs/how-to/embed-the-engine.md");
    let example = include_str!("../examples/embedded.rs");
    assert!(
        page.contains(&format!("```rust\n{example}```\n")),
        "docs/how-to/embed-the-engine.md does not show crates/app/examples/embedded.rs as it is"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_is_tried_again_and_what_fails_for_good_is_undone() {
    let folder = tempfile::tempdir().unwrap();
    let (tries, undone) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let engine = Engine::open(&database(&folder))
        .await
        .unwrap()
        .handler("reserve", Guarantee::G1, {
            let tries = Arc::clone(&tries);
            move |attempt: Attempt<Order>| {
                let tries = Arc::clone(&tries);
                async move {
                    if tries.fetch_add(1, Ordering::Relaxed) < 2 {
                        // Any error may be given up on with `?`.
                        "none".parse::<u32>()?;
                    }
                    Ok((
                        attempt.number(),
                        attempt.idempotency_key(),
                        attempt.input.number,
                    ))
                }
            }
        })
        .handler("release", Guarantee::G1, {
            let undone = Arc::clone(&undone);
            move |attempt: Attempt<Order>| {
                undone.store(attempt.input.number, Ordering::Relaxed);
                async move { Ok(()) }
            }
        })
        .handler("pay", Guarantee::G1, |_: Attempt<Order>| async move {
            Err::<(), _>(Failure::new("declined", "the card was declined").for_good())
        })
        .run()
        .unwrap();
    let retry = RetryPolicy::new(RetryStrategy::Fixed, Duration::from_millis(20), 5).unwrap();
    let order = Order { number: 7 };
    let workflow = Workflow::new("order")
        .label("shop", "spb")
        .task(
            Task::new("reserve", "reserve", &order)
                .retry(retry)
                .timeout(Duration::from_secs(5))
                .undone_by(Task::new("release", "release", &order)),
        )
        .task(Task::new("pay", "pay", &order).after("reserve"));
    let id = engine.start(workflow).await.unwrap();
    let ended = engine.wait(id).await.unwrap();
    engine.stop().await;

    assert_eq!(ended.status, WorkflowStatus::Compensated, "{ended:?}");
    assert_eq!(undone.load(Ordering::Relaxed), 7);
    let (number, key, order): (u32, String, u32) = ended.result("reserve").unwrap();
    assert_eq!((number, order), (3, 7));
    assert!(!key.is_empty());
    let tasks: Vec<_> = ended.tasks().collect();
    assert_eq!(
        tasks[1],
        (
            "pay",
            TaskStatus::Failed,
            Some(("declined", "the card was declined"))
        )
    );
    assert_eq!(tasks[2].0, "undo/reserve");
    let refusal = ended.result::<u32>("pay").unwrap_err();
    assert!(refusal.to_string().contains("it is failed"), "{refusal}");
}

#[tokio::test(flavor = "multi_thread")]
async fn signals_reach_a_workflow_and_wrong_shapes_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::open(&database(&folder))
        .await
        .unwrap()
        .queue("slow", 1)
        .handler(
            "double",
            Guarantee::G1,
            |attempt: Attempt<u32>| async move {
                let by: u32 = attempt.result_of("approval").await?;
                Ok(attempt.input * by)
            },
        )
        .run()
        .unwrap();
    let workflow = Workflow::new("asked")
        .task(Task::signal("approval", "approved"))
        .task(
            Task::new("good", "double", &21)
                .after("approval")
                .queue("slow"),
        )
        .task(Task::new("bad", "double", &"text").after("approval"));
    let id = engine.start(workflow).await.unwrap();
    engine.signal(id, "approved", &2).await.unwrap();
    let ended = engine.wait(id).await.unwrap();
    assert_eq!(ended.status, WorkflowStatus::Failed);
    assert_eq!(ended.result::<u32>("good").unwrap(), 42);
    let bad = ended.tasks().find(|(key, ..)| *key == "bad").unwrap();
    assert_eq!(bad.2.unwrap().0, "bad_input");

    let unknown = Workflow::new("x").task(Task::new("a", "nobody", &()));
    let refusal = engine.start(unknown).await.unwrap_err();
    assert!(
        refusal.to_string().contains("there is no kind `nobody`"),
        "{refusal}"
    );
    let cycle = Workflow::new("x").task(Task::new("a", "double", &1).after("a"));
    assert!(matches!(
        engine.start(cycle).await,
        Err(EmbeddedError::Start(_))
    ));
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_goes_on_where_the_engine_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let handler = |attempt: Attempt<u32>| async move { Ok(attempt.input + 1) };
    let build = || async {
        Engine::open(&database(&folder))
            .await
            .unwrap()
            .handler("add", Guarantee::G1, handler)
            .run()
            .unwrap()
    };
    let first = build().await;
    let workflow = Workflow::new("resumed")
        .task(Task::signal("go", "go"))
        .task(Task::new("add", "add", &1).after("go"));
    let id = first.start(workflow).await.unwrap();
    first.stop().await;

    let second = build().await;
    second.signal(id, "go", &()).await.unwrap();
    let ended = second.wait(id).await.unwrap();
    assert_eq!(ended.result::<u32>("add").unwrap(), 2);
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_put_together_wrongly_does_not_run() {
    let folder = tempfile::tempdir().unwrap();
    let nothing = |_: Attempt<()>| async move { Ok(()) };
    for (kinds, words) in [
        (["a", "a"], "the kind `a` already has a handler"),
        (["timer", "b"], "the kind `timer` already has a handler"),
        (["a b", "b"], "the kind"),
    ] {
        let builder = Engine::open(&database(&folder)).await.unwrap();
        let builder = builder.handler(kinds[0], Guarantee::G1, nothing);
        let refusal = builder.handler(kinds[1], Guarantee::G1, nothing).run();
        let refusal = refusal.unwrap_err().to_string();
        assert!(refusal.contains(words), "{refusal}");
    }
    let refusal = Engine::open("mysql://x").await.unwrap_err();
    assert!(matches!(refusal, EmbeddedError::Open(_)), "{refusal}");
}
