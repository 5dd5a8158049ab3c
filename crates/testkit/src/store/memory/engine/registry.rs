//! Definitions, queues and schedules in memory.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use drover_domain::Timestamp;
use drover_domain::page::{Page, PageRequest};
use drover_domain::workflow::queue::QueueLimits;
use drover_domain::workflow::{Definition, DefinitionName, QueueName, Schedule, ScheduleName};
use drover_ports::{
    DefinitionRecord, DefinitionRef, DefinitionStore, DueSchedules, ListedSchedule, NewWorkflow,
    QueueStats, QueueStore, ScheduleStore, StoreError,
};

use super::Engine;
use crate::store::memory::{MemoryStore, ascending, descending};

impl Engine {
    fn versions(
        &self,
        name: &DefinitionName,
    ) -> impl DoubleEndedIterator<Item = &DefinitionRecord> {
        self.definitions
            .values()
            .filter(move |record| record.reference.name == *name)
    }

    fn queue_stats(&self, name: &QueueName) -> QueueStats {
        let rows = || self.queue.values().filter(|row| row.queue == *name);
        let waiting = || rows().filter(|row| row.lease.is_none());
        let counted = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        QueueStats {
            name: name.clone(),
            limits: self
                .limits
                .get(name)
                .map_or_else(QueueLimits::default, |(limits, _)| *limits),
            waiting: counted(waiting().count()),
            parked: counted(waiting().filter(|row| row.is_parked).count()),
            running: counted(rows().filter(|row| row.lease.is_some()).count()),
            oldest: waiting().map(|row| row.queued_at).min(),
        }
    }

    fn schedule(&mut self, name: &ScheduleName) -> Option<&mut Schedule> {
        self.schedules
            .values_mut()
            .find(|schedule| schedule.name == *name)
    }
}

#[async_trait]
impl DefinitionStore for MemoryStore {
    async fn put(
        &self,
        name: &DefinitionName,
        definition: &Definition,
        at: Timestamp,
    ) -> Result<u32, StoreError> {
        let engine = &mut self.state("store a definition")?.engine;
        let newest = engine.versions(name).next_back();
        let version = match newest {
            Some(newest) if *newest.definition == *definition => {
                return Ok(newest.reference.version);
            }
            Some(newest) => newest.reference.version + 1,
            None => 1,
        };
        let names = engine
            .definitions
            .values()
            .map(|record| &record.reference.name);
        let names = names.collect::<BTreeSet<_>>().len();
        let most = usize::try_from(DefinitionRecord::NAMES_MAX).unwrap_or(usize::MAX);
        if version == 1 && names >= most {
            return Err(StoreError::Refused {
                reason: format!("there are {most} definitions"),
            });
        }
        engine.definitions.retain(|_, record| {
            let reference = &record.reference;
            reference.name != *name || reference.version + DefinitionRecord::VERSIONS_MAX > version
        });
        let position = engine.draw();
        let record = DefinitionRecord {
            position,
            reference: DefinitionRef {
                name: name.clone(),
                version,
            },
            definition: Arc::new(definition.clone()),
            created_at: at,
        };
        engine.definitions.insert(position, record);
        Ok(version)
    }

    async fn find(
        &self,
        name: &DefinitionName,
        version: Option<u32>,
    ) -> Result<Option<DefinitionRecord>, StoreError> {
        let engine = &self.state("find a definition")?.engine;
        let mut wanted = engine
            .versions(name)
            .filter(|record| version.is_none_or(|version| version == record.reference.version));
        Ok(wanted.next_back().cloned())
    }

    async fn list(&self, page: PageRequest) -> Result<Page<DefinitionRecord>, StoreError> {
        let engine = &self.state("list definitions")?.engine;
        let all = engine.definitions.iter();
        let all = all.map(|(position, record)| (*position, record.clone()));
        Ok(descending(all, page).map(|(_, record)| record))
    }
}

#[async_trait]
impl QueueStore for MemoryStore {
    async fn stats(&self) -> Result<Vec<QueueStats>, StoreError> {
        let engine = &self.state("look at the queues")?.engine;
        let used = engine.queue.values().map(|row| &row.queue);
        let names: BTreeSet<&QueueName> = used.chain(engine.limits.keys()).collect();
        let names = names.into_iter().take(QueueStats::LISTED_MAX);
        Ok(names.map(|name| engine.queue_stats(name)).collect())
    }

    async fn limit(&self, queue: &QueueName, limits: QueueLimits) -> Result<(), StoreError> {
        let engine = &mut self.state("set the limits of a queue")?.engine;
        let (known, tokens) = engine.limits.get(queue).copied().unwrap_or_default();
        // What was left of another rate says nothing about this one.
        let tokens = tokens.filter(|_| known.rate == limits.rate);
        engine.limits.insert(queue.clone(), (limits, tokens));
        engine.hints.work();
        Ok(())
    }
}

#[async_trait]
impl ScheduleStore for MemoryStore {
    async fn put(&self, schedule: &Schedule) -> Result<(), StoreError> {
        let engine = &mut self.state("store a schedule")?.engine;
        if let Some(known) = engine.schedule(&schedule.name) {
            *known = schedule.clone();
            return Ok(());
        }
        let most = usize::try_from(Schedule::COUNT_MAX).unwrap_or(usize::MAX);
        if engine.schedules.len() >= most {
            return Err(StoreError::Refused {
                reason: format!("there are {most} schedules"),
            });
        }
        let position = engine.draw();
        engine.schedules.insert(position, schedule.clone());
        Ok(())
    }

    async fn replace(&self, known: &Schedule, schedule: &Schedule) -> Result<bool, StoreError> {
        let engine = &mut self.state("replace a schedule")?.engine;
        let Some(found) = engine.schedule(&known.name) else {
            return Ok(false);
        };
        let seen = Schedule {
            next_at: found.next_at,
            ..known.clone()
        };
        if *found != seen {
            return Ok(false);
        }
        *found = schedule.clone();
        Ok(true)
    }

    async fn remove(&self, name: &ScheduleName) -> Result<bool, StoreError> {
        let engine = &mut self.state("remove a schedule")?.engine;
        let before = engine.schedules.len();
        engine
            .schedules
            .retain(|_, schedule| schedule.name != *name);
        Ok(engine.schedules.len() < before)
    }

    async fn list(&self, page: PageRequest) -> Result<Page<(i64, ListedSchedule)>, StoreError> {
        let engine = &self.state("list schedules")?.engine;
        let all = engine.schedules.iter();
        let all =
            all.map(|(position, schedule)| (*position, ListedSchedule::Readable(schedule.clone())));
        Ok(ascending(all, page))
    }

    async fn due(&self, now: Timestamp, limit: u32) -> Result<DueSchedules, StoreError> {
        let engine = &self.state("find due schedules")?.engine;
        let mut due: Vec<&Schedule> = engine
            .schedules
            .values()
            .filter(|schedule| !schedule.is_paused && schedule.next_at <= now)
            .collect();
        due.sort_by_key(|schedule| schedule.next_at);
        due.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        Ok(DueSchedules {
            schedules: due.into_iter().cloned().collect(),
            unreadable: Vec::new(),
        })
    }

    async fn fire(
        &self,
        schedule: &Schedule,
        next: Option<Timestamp>,
        workflow: Option<&NewWorkflow>,
    ) -> Result<bool, StoreError> {
        let engine = &mut self.state("fire a schedule")?.engine;
        let is_there = engine
            .schedule(&schedule.name)
            .is_some_and(|known| known.next_at == schedule.next_at && !known.is_paused);
        if !is_there {
            return Ok(false);
        }
        engine.start(workflow.map_or(&[], std::slice::from_ref))?;
        if let Some(known) = engine.schedule(&schedule.name) {
            known.is_paused = next.is_none();
            known.next_at = next.unwrap_or(known.next_at);
        }
        Ok(true)
    }
}
