//! The log of events in memory, and hints within the process.

use std::ops::Bound;

use async_trait::async_trait;
use drover_domain::workflow::{EventPosition, TaskKey, WorkflowEvent};
use drover_ports::{EventFilter, EventLog, EventPage, StoreError, Topic, WakeUps};
use tokio::sync::watch;

use crate::store::memory::MemoryStore;

/// How many hints there were.
#[derive(Debug, Default)]
pub(super) struct Hints {
    work: watch::Sender<u64>,
    events: watch::Sender<u64>,
}

impl Hints {
    pub(super) fn work(&self) {
        self.work.send_modify(|seen| *seen += 1);
    }

    pub(super) fn events(&self) {
        self.events.send_modify(|seen| *seen += 1);
    }

    fn about(&self, topic: Topic) -> watch::Receiver<u64> {
        match topic {
            Topic::Work => self.work.subscribe(),
            Topic::Events => self.events.subscribe(),
        }
    }
}

#[async_trait]
impl EventLog for MemoryStore {
    async fn after(
        &self,
        position: EventPosition,
        filter: EventFilter,
        limit: u32,
    ) -> Result<EventPage, StoreError> {
        let engine = &self.state("read events")?.engine;
        let later = engine
            .events
            .range((Bound::Excluded(position), Bound::Unbounded))
            .map(|(_, told)| told)
            .filter(|(event, _)| {
                filter
                    .workflow
                    .is_none_or(|wanted| wanted == event.workflow)
            });
        let mut events: Vec<(WorkflowEvent, Option<TaskKey>)> = Vec::new();
        let limit = usize::try_from(limit.max(1)).unwrap_or(usize::MAX);
        for told in later {
            let is_same_batch = events.last().is_some_and(|(before, _)| {
                let (before, here) = (before.position, told.0.position);
                before.batch == here.batch
            });
            if events.len() >= limit && !is_same_batch {
                break;
            }
            events.push(told.clone());
        }
        let next = events.last().map_or(position, |(event, _)| event.position);
        let gap = engine.pruned_to.is_some_and(|pruned| position < pruned);
        Ok(EventPage { events, next, gap })
    }

    async fn end(&self) -> Result<EventPosition, StoreError> {
        let engine = &self.state("find the end of the events")?.engine;
        let last = engine.events.last_key_value().map(|(last, _)| *last);
        let end = last.max(engine.pruned_to);
        Ok(end.unwrap_or(EventPosition::START))
    }
}

#[async_trait]
impl WakeUps for MemoryStore {
    fn seen(&self, topic: Topic) -> u64 {
        *self.unguarded().engine.hints.about(topic).borrow()
    }

    async fn changed(&self, topic: Topic, seen: u64) -> u64 {
        let mut hints = self.unguarded().engine.hints.about(topic);
        let now = hints.wait_for(|now| *now != seen).await;
        // The sender lives as long as the store.
        now.map_or(seen, |now| *now)
    }
}
