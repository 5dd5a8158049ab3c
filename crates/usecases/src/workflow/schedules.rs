//! Schedules: definitions that are started again and again.

use std::fmt;
use std::sync::Arc;

use drover_domain::Timestamp;
use drover_domain::page::{Page, PageRequest};
use drover_domain::workflow::{Cron, DefinitionName, Json, MissedRuns, Schedule, ScheduleName};
use drover_ports::{Clock, DefinitionStore, Fault, ListedSchedule, ScheduleStore, StoreError};

use crate::EnginePorts;

/// Requests about schedules.
#[derive(Clone)]
pub struct Schedules {
    store: Arc<dyn ScheduleStore>,
    definitions: Arc<dyn DefinitionStore>,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for Schedules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Schedules")
    }
}

/// A requested schedule.
#[derive(Debug, Clone, PartialEq)]
pub struct ScheduleOrder {
    /// Its name; a schedule with this name is replaced.
    pub name: ScheduleName,
    /// What is started.
    pub definition: DefinitionName,
    /// Which version; the newest one of each time where there is none.
    pub version: Option<u32>,
    /// The input of each run.
    pub input: Json,
    /// When.
    pub cron: Cron,
    /// What happens to missed moments.
    pub missed: MissedRuns,
    /// Whether it is left alone at first.
    pub is_paused: bool,
}

/// Why a schedule was refused; nothing changed.
#[derive(Debug, thiserror::Error)]
pub enum ScheduleError {
    /// There is nothing to start.
    #[error("there is no definition `{name}`{}", version.map_or_else(String::new, |version| format!(" in version {version}")))]
    UnknownDefinition {
        /// Its name.
        name: DefinitionName,
        /// The version, if one was asked for.
        version: Option<u32>,
    },
    /// It would never start anything again.
    #[error("`{line}` does not come true any more")]
    Over {
        /// The crontab line.
        line: String,
    },
    /// It is stored and cannot be read.
    #[error("the schedule is broken: {reason}; put it again or remove it")]
    Broken {
        /// Why it cannot be read.
        reason: String,
    },
    /// The store did not do its part.
    #[error("the schedule cannot be stored")]
    Store(#[from] StoreError),
}

impl ScheduleError {
    /// What the caller may do about it.
    #[must_use]
    pub const fn fault(&self) -> Fault {
        match self {
            Self::UnknownDefinition { .. } | Self::Over { .. } | Self::Broken { .. } => {
                Fault::Permanent
            }
            Self::Store(source) => source.fault(),
        }
    }
}

impl Schedules {
    /// How many moments are shown ahead.
    pub const MOMENTS: usize = 5;

    /// Requests over these ports.
    #[must_use]
    pub fn new(ports: &EnginePorts, clock: Arc<dyn Clock>) -> Self {
        Self {
            store: Arc::clone(&ports.schedules),
            definitions: Arc::clone(&ports.definitions),
            clock,
        }
    }

    /// Stores a schedule in place of the one with its name. Its first moment is the next one from now.
    ///
    /// # Errors
    ///
    /// [`ScheduleError`], and then nothing changed.
    pub async fn put(&self, order: ScheduleOrder) -> Result<Schedule, ScheduleError> {
        let schedule = self.ordered(order).await?;
        self.store.put(&schedule).await?;
        Ok(logged(schedule))
    }

    /// Stores a schedule in place of `known`, which has its name; `None` if that was changed or removed meanwhile.
    ///
    /// # Errors
    ///
    /// [`ScheduleError`], and then nothing changed.
    pub async fn replace(
        &self,
        known: &Schedule,
        order: ScheduleOrder,
    ) -> Result<Option<Schedule>, ScheduleError> {
        let schedule = self.ordered(order).await?;
        let is_replaced = self.store.replace(known, &schedule).await?;
        Ok(is_replaced.then(|| logged(schedule)))
    }

    async fn ordered(&self, order: ScheduleOrder) -> Result<Schedule, ScheduleError> {
        let found = self
            .definitions
            .find(&order.definition, order.version)
            .await?;
        if found.is_none() {
            return Err(ScheduleError::UnknownDefinition {
                name: order.definition,
                version: order.version,
            });
        }
        let next_at = self.next(&order.cron)?;
        Ok(Schedule {
            name: order.name,
            definition: order.definition,
            version: order.version,
            input: order.input,
            cron: order.cron,
            missed: order.missed,
            is_paused: order.is_paused,
            next_at,
        })
    }

    /// Pauses a schedule, or lets it go on with the next moment from now; `None` if there is no such
    /// schedule.
    ///
    /// # Errors
    ///
    /// [`ScheduleError::Over`], [`ScheduleError::Broken`], [`ScheduleError::Store`].
    pub async fn pause(
        &self,
        name: &ScheduleName,
        is_paused: bool,
    ) -> Result<Option<Schedule>, ScheduleError> {
        // A change in between is kept: the schedule is read again.
        loop {
            let found = match self.find(name).await? {
                Some(ListedSchedule::Readable(schedule)) => schedule,
                Some(ListedSchedule::Broken(broken)) => {
                    return Err(ScheduleError::Broken {
                        reason: broken.reason,
                    });
                }
                None => return Ok(None),
            };
            if found.is_paused == is_paused {
                return Ok(Some(found));
            }
            let schedule = Schedule {
                is_paused,
                next_at: self.next(&found.cron)?,
                ..found.clone()
            };
            if self.store.replace(&found, &schedule).await? {
                return Ok(Some(schedule));
            }
        }
    }

    /// Removes a schedule; whether it was there.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`].
    pub async fn remove(&self, name: &ScheduleName) -> Result<bool, StoreError> {
        self.store.remove(name).await
    }

    /// The schedule with this name.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`].
    pub async fn find(&self, name: &ScheduleName) -> Result<Option<ListedSchedule>, StoreError> {
        let mut page = PageRequest {
            limit: PageRequest::LIMIT_MAX,
            ..PageRequest::first()
        };
        loop {
            let found = self.store.list(page).await?;
            let named = found
                .items
                .into_iter()
                .find(|(_, one)| one.name() == name.as_str());
            if let Some((_, schedule)) = named {
                return Ok(Some(schedule));
            }
            page.after = found.next;
            if page.after.is_none() {
                return Ok(None);
            }
        }
    }

    /// Schedules, oldest first; each item comes with its position.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`].
    pub async fn list(&self, page: PageRequest) -> Result<Page<(i64, ListedSchedule)>, StoreError> {
        self.store.list(page).await
    }

    /// The moments of a schedule from its next one on, at most [`Self::MOMENTS`]; none while it is
    /// paused.
    #[must_use]
    pub fn moments(schedule: &Schedule) -> Vec<Timestamp> {
        if schedule.is_paused {
            return Vec::new();
        }
        std::iter::successors(Some(schedule.next_at), |at| schedule.cron.next(*at))
            .take(Self::MOMENTS)
            .collect()
    }

    fn next(&self, cron: &Cron) -> Result<Timestamp, ScheduleError> {
        cron.next(self.clock.now())
            .ok_or_else(|| ScheduleError::Over {
                line: cron.line().to_owned(),
            })
    }
}

fn logged(schedule: Schedule) -> Schedule {
    tracing::info!(schedule = %schedule.name, next_at = %schedule.next_at, "the schedule {} is set", schedule.name);
    schedule
}
