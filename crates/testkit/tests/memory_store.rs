//! The memory store keeps every promise of the store ports, and of the engine's.

use drover_domain::workflow::WorkflowStatus;
use drover_domain::workflow::run::Control;
use drover_ports::NewWorkflow;
use drover_testkit::engine::EngineWorld;
use drover_testkit::engine::fixtures::{
    json, sequence, signal_name, start_new, waits_for, workflow,
};
use drover_testkit::store::{MemoryStore, World};

fn fresh() -> std::future::Ready<World> {
    std::future::ready(MemoryStore::world())
}

fn fresh_engine() -> std::future::Ready<EngineWorld> {
    std::future::ready(MemoryStore::engine_world())
}

drover_testkit::every_store_contract!(super::fresh);
drover_testkit::every_engine_contract!(super::fresh_engine);

/// Each takes its signal because the one before it did: on the stack of a worker thread that must be no
/// recursion.
#[tokio::test]
async fn a_thousand_tasks_take_their_signals_in_one_step() {
    let waits = (0..1_000).map(|number| waits_for(&format!("t{number}"), "go", None));
    let world = MemoryStore::engine_world();
    let new = NewWorkflow {
        start_after: None,
        ..workflow(1, sequence(waits.collect()))
    };
    let id = start_new(&world, new).await;
    for _ in 0..1_000 {
        let (name, payload) = (signal_name("go"), json("1"));
        let kept = world.workflows().signal(id, &name, &payload, None).await;
        assert_eq!(kept.unwrap(), Some(WorkflowStatus::Pending));
    }
    let status = world.workflows().control(id, &Control::Start).await;
    assert_eq!(status.unwrap(), Some(WorkflowStatus::Succeeded));
}
