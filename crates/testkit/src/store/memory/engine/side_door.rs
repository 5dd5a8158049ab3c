//! What no port of the engine does, in memory.

use std::time::Duration;

use async_trait::async_trait;
use drover_domain::Timestamp;
use drover_domain::workflow::run::{Changes, StoredSignal};
use drover_domain::workflow::{EventKind, NewWorkflowEvent, WorkflowId};

use crate::engine::{EngineSideDoor, EngineWorld};
use crate::store::memory::MemoryStore;

impl MemoryStore {
    /// A world of its own around a fresh store, for the engine's ports.
    #[must_use]
    pub fn engine_world() -> EngineWorld {
        let store = Self::default();
        EngineWorld::new(store.clone(), store)
    }
}

#[async_trait]
impl EngineSideDoor for MemoryStore {
    async fn make_due(&self, workflow: WorkflowId) {
        let engine = &mut self.unguarded().engine;
        let wakes = std::mem::take(&mut engine.wakes);
        let moved = wakes.into_iter().map(|((at, position), wake)| {
            let is_meant = wake.0 == workflow;
            let at = if is_meant { Timestamp::EPOCH } else { at };
            ((at, position), wake)
        });
        engine.wakes = moved.collect();
    }

    async fn end_earlier(&self, workflow: WorkflowId, by: Duration) {
        let engine = &mut self.unguarded().engine;
        let stored = engine.workflows.get_mut(&workflow);
        let stored = stored.expect("the workflow is stored");
        stored.finished_at = stored.finished_at.map(|at| at.before(by));
    }

    async fn copy_signals(&self, workflow: WorkflowId, count: usize) {
        let engine = &mut self.unguarded().engine;
        let stored = engine.workflows.get_mut(&workflow);
        let kept = &mut stored.expect("the workflow is stored").run.signals;
        let copies: Vec<_> = kept.iter().take(count).cloned().collect();
        for copy in copies {
            engine.last += 1;
            let position = engine.last;
            kept.push(StoredSignal { position, ..copy });
        }
    }

    // One writer at a time: nothing can be written while another transaction is open.
    async fn begin_event(&self, workflow: WorkflowId) {
        self.unguarded().engine.held_event = Some(workflow);
    }

    async fn commit_event(&self) {
        let engine = &mut self.unguarded().engine;
        let workflow = engine.held_event.take().expect("an event was begun");
        let event = NewWorkflowEvent {
            kind: EventKind::SignalReceived,
            task: None,
            attempt: 0,
            detail: None,
        };
        let changes = Changes {
            events: vec![event],
            ..Changes::default()
        };
        let now = engine.now();
        engine.tell(workflow, &changes, now);
    }

    async fn cut(&self) {
        self.unguarded().is_cut = true;
    }
}
