//! What is kept about the engine besides runs: definitions, queues, schedules.

use std::sync::Arc;

use async_trait::async_trait;
use drover_domain::Timestamp;
use drover_domain::page::{Page, PageRequest};
use drover_domain::workflow::queue::QueueLimits;
use drover_domain::workflow::{Definition, DefinitionName, QueueName, Schedule, ScheduleName};

use super::runs::{DefinitionRef, NewWorkflow};
use crate::StoreError;

/// A stored definition.
#[derive(Debug, Clone)]
pub struct DefinitionRecord {
    /// Its place in the list.
    pub position: i64,
    /// Its name and version.
    pub reference: DefinitionRef,
    /// What it consists of.
    pub definition: Arc<Definition>,
    /// When it was stored.
    pub created_at: Timestamp,
}

impl DefinitionRecord {
    /// The most names of definitions.
    pub const NAMES_MAX: u32 = 1_000;
    /// How many versions of a definition are kept; older ones are removed.
    pub const VERSIONS_MAX: u32 = 1_000;
}

/// Definitions: a name has versions, and a version never changes.
#[async_trait]
pub trait DefinitionStore: Send + Sync {
    /// Stores the next version of a definition, or finds the newest one when it is the same. Its version,
    /// from 1. Of a name, the newest [`DefinitionRecord::VERSIONS_MAX`] versions are kept.
    ///
    /// # Errors
    ///
    /// [`StoreError::Refused`] for one more name than [`DefinitionRecord::NAMES_MAX`]; [`StoreError::Unavailable`],
    /// [`StoreError::Corrupt`].
    async fn put(
        &self,
        name: &DefinitionName,
        definition: &Definition,
        at: Timestamp,
    ) -> Result<u32, StoreError>;

    /// A version of a definition, or its newest one.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    async fn find(
        &self,
        name: &DefinitionName,
        version: Option<u32>,
    ) -> Result<Option<DefinitionRecord>, StoreError>;

    /// All versions of all definitions, newest first.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    async fn list(&self, page: PageRequest) -> Result<Page<DefinitionRecord>, StoreError>;
}

/// How full a queue is.
#[derive(Debug, Clone, PartialEq)]
pub struct QueueStats {
    /// The queue.
    pub name: QueueName,
    /// Its limits.
    pub limits: QueueLimits,
    /// How many tasks wait for a worker.
    pub waiting: u64,
    /// How many of these belong to paused workflows.
    pub parked: u64,
    /// How many tasks workers hold.
    pub running: u64,
    /// Since when the one waits that has waited longest.
    pub oldest: Option<Timestamp>,
}

impl QueueStats {
    /// The most queues that are listed.
    pub const LISTED_MAX: usize = 1_000;
}

/// Queues and their limits.
#[async_trait]
pub trait QueueStore: Send + Sync {
    /// Every queue that has tasks or limits, by name; at most [`QueueStats::LISTED_MAX`].
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    async fn stats(&self) -> Result<Vec<QueueStats>, StoreError>;

    /// Sets the limits of a queue; a queue without tasks may have limits too. They apply from the
    /// next claim on.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`].
    async fn limit(&self, queue: &QueueName, limits: QueueLimits) -> Result<(), StoreError>;
}

/// Schedules that are due.
#[derive(Debug, Default)]
pub struct DueSchedules {
    /// Readable schedules, the earliest moment first.
    pub schedules: Vec<Schedule>,
    /// The error of each schedule that cannot be read.
    pub unreadable: Vec<StoreError>,
}

/// A schedule of the list.
#[derive(Debug, Clone, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly every schedule is readable, so a box would save nothing"
)]
pub enum ListedSchedule {
    /// It starts workflows at its moments.
    Readable(Schedule),
    /// It starts nothing.
    Broken(BrokenSchedule),
}

impl ListedSchedule {
    /// The name, as it is stored.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Readable(schedule) => schedule.name.as_str(),
            Self::Broken(broken) => &broken.name,
        }
    }
}

/// A stored schedule that this version cannot read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokenSchedule {
    /// The name.
    pub name: String,
    /// The definition.
    pub definition: String,
    /// The crontab expression.
    pub cron: String,
    /// The time zone.
    pub time_zone: String,
    /// Whether it is paused.
    pub is_paused: bool,
    /// Why it cannot be read.
    pub reason: String,
}

/// Definitions that are started again and again.
#[async_trait]
pub trait ScheduleStore: Send + Sync {
    /// Stores a schedule in place of the one with its name.
    ///
    /// # Errors
    ///
    /// [`StoreError::Refused`] for one more than [`Schedule::COUNT_MAX`]; [`StoreError::Unavailable`].
    async fn put(&self, schedule: &Schedule) -> Result<(), StoreError>;

    /// Stores `schedule` in place of `known`, which has the same name, and returns whether it did: the stored one must
    /// still equal `known` in everything but the next moment. The writing statement compares.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`].
    async fn replace(&self, known: &Schedule, schedule: &Schedule) -> Result<bool, StoreError>;

    /// Removes a schedule; whether it was there.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`].
    async fn remove(&self, name: &ScheduleName) -> Result<bool, StoreError>;

    /// Schedules, oldest first; each item comes with its position. A schedule that cannot be read is listed as
    /// [`ListedSchedule::Broken`].
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`].
    async fn list(&self, page: PageRequest) -> Result<Page<(i64, ListedSchedule)>, StoreError>;

    /// Schedules that are not paused and whose next moment is not after `now`, at most `limit` that can be
    /// read. A schedule that cannot be read does not keep others from being returned.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`].
    async fn due(&self, now: Timestamp, limit: u32) -> Result<DueSchedules, StoreError>;

    /// Moves a schedule on from the moment `schedule.next_at` to `next`, and starts `workflow`, together;
    /// without a next moment the schedule is paused. Returns whether the schedule was still at that moment: otherwise
    /// another node was faster, and nothing changed.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`].
    async fn fire(
        &self,
        schedule: &Schedule,
        next: Option<Timestamp>,
        workflow: Option<&NewWorkflow>,
    ) -> Result<bool, StoreError>;
}
