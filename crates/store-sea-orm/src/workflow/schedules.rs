//! Definitions that are started again and again.

use async_trait::async_trait;
use drover_domain::Timestamp;
use drover_domain::page::{Page, PageRequest};
use drover_domain::workflow::{Cron, DefinitionName, MissedRuns, Schedule, ScheduleName};
use drover_ports::{
    BrokenSchedule, DueSchedules, ListedSchedule, NewWorkflow, ScheduleStore, StoreError,
};
use sea_orm::FromQueryResult;

use super::registry::CountRow;
use super::shape::json;
use super::start::start_all;
use super::write::Told;
use crate::row::Stored;
use crate::sql::session::Row;
use crate::sql::{Sql, limit};
use crate::store::SeaOrmStore;

#[derive(Debug, Clone, FromQueryResult)]
struct ScheduleRow {
    position: i64,
    name: String,
    definition_name: String,
    definition_version: Option<i64>,
    input: String,
    cron: String,
    time_zone: String,
    missed_runs: String,
    is_paused: bool,
    next_at: i64,
}

impl Row for ScheduleRow {
    const WHAT: &'static str = "schedule";
}

const COLUMNS: &str = "position, name, definition_name, definition_version, input, cron, time_zone, missed_runs, \
                       is_paused, next_at";

impl ScheduleRow {
    fn read(self) -> Result<(i64, Schedule), StoreError> {
        let stored = Stored::new(Self::WHAT, &self.name);
        stored.shape::<serde::de::IgnoredAny>("input", &self.input)?;
        let corrupt = |error: drover_domain::text::TextError| stored.corrupt(error.to_string());
        let schedule = Schedule {
            name: ScheduleName::parse(&self.name).map_err(corrupt)?,
            definition: DefinitionName::parse(&self.definition_name).map_err(corrupt)?,
            version: stored.optional("version", self.definition_version)?,
            input: json(&stored, self.input)?,
            cron: Cron::parse(&self.cron, &self.time_zone)
                .map_err(|error| stored.corrupt(error.to_string()))?,
            missed: stored.word("policy", &self.missed_runs, MissedRuns::parse)?,
            is_paused: self.is_paused,
            next_at: Timestamp::from_micros(self.next_at),
        };
        Ok((self.position, schedule))
    }

    fn list(self) -> (i64, ListedSchedule) {
        let raw = self.clone();
        match self.read() {
            Ok((position, schedule)) => (position, ListedSchedule::Readable(schedule)),
            Err(error) => {
                let broken = BrokenSchedule {
                    name: raw.name,
                    definition: raw.definition_name,
                    cron: raw.cron,
                    time_zone: raw.time_zone,
                    is_paused: raw.is_paused,
                    reason: error.to_string(),
                };
                (raw.position, ListedSchedule::Broken(broken))
            }
        }
    }
}

#[async_trait]
impl ScheduleStore for SeaOrmStore {
    #[tracing::instrument(name = "db.engine.put_schedule", level = "debug", skip_all)]
    async fn put(&self, schedule: &Schedule) -> Result<(), StoreError> {
        let session = self.write_once("store a schedule").await?;
        let text = "SELECT count(*) AS count FROM workflow_schedules WHERE name <> $1";
        let others = Sql::new(text).text(schedule.name.as_str());
        let others = session.row::<CountRow>(others).await?;
        if others.is_some_and(|row| row.count >= i64::from(Schedule::COUNT_MAX)) {
            return Err(StoreError::Refused {
                reason: format!(
                    "there are {} schedules, and no more are stored; remove one first",
                    Schedule::COUNT_MAX
                ),
            });
        }
        let sql = Sql::new(
            "INSERT INTO workflow_schedules (
                 name, definition_name, definition_version, input, cron, time_zone, missed_runs, is_paused, next_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
             ON CONFLICT (name) DO UPDATE SET
                 definition_name = excluded.definition_name, definition_version = excluded.definition_version,
                 input = excluded.input, cron = excluded.cron, time_zone = excluded.time_zone,
                 missed_runs = excluded.missed_runs, is_paused = excluded.is_paused, next_at = excluded.next_at",
        );
        let sql = sql
            .text(schedule.name.as_str())
            .text(schedule.definition.as_str())
            .bind(schedule.version.map(i64::from))
            .text(schedule.input.as_str())
            .text(schedule.cron.line())
            .text(schedule.cron.zone())
            .bind(schedule.missed.as_str())
            .bind(schedule.is_paused)
            .bind(schedule.next_at.as_micros());
        session.execute(sql).await.map(|_| ())
    }

    #[tracing::instrument(name = "db.engine.replace_schedule", level = "debug", skip_all)]
    async fn replace(&self, known: &Schedule, schedule: &Schedule) -> Result<bool, StoreError> {
        let session = self.write_once("replace a schedule").await?;
        let sql = Sql::new(
            "UPDATE workflow_schedules SET
                 definition_name = $1, definition_version = $2, input = $3, cron = $4, time_zone = $5, missed_runs = $6,
                 is_paused = $7, next_at = $8
             WHERE name = $9 AND definition_name = $10 AND COALESCE(definition_version, 0) = CAST($11 AS bigint)
               AND input = $12 AND cron = $13 AND time_zone = $14 AND missed_runs = $15 AND is_paused = $16",
        );
        let sql = sql
            .text(schedule.definition.as_str())
            .bind(schedule.version.map(i64::from))
            .text(schedule.input.as_str())
            .text(schedule.cron.line())
            .text(schedule.cron.zone())
            .bind(schedule.missed.as_str())
            .bind(schedule.is_paused)
            .bind(schedule.next_at.as_micros())
            .text(known.name.as_str())
            .text(known.definition.as_str())
            .bind(known.version.map_or(0, i64::from))
            .text(known.input.as_str())
            .text(known.cron.line())
            .text(known.cron.zone())
            .bind(known.missed.as_str())
            .bind(known.is_paused);
        session.execute(sql).await.map(|replaced| replaced > 0)
    }

    #[tracing::instrument(name = "db.engine.remove_schedule", level = "debug", skip_all)]
    async fn remove(&self, name: &ScheduleName) -> Result<bool, StoreError> {
        let session = self.write_once("remove a schedule").await?;
        let sql = Sql::new("DELETE FROM workflow_schedules WHERE name = $1").text(name.as_str());
        session.execute(sql).await.map(|removed| removed > 0)
    }

    #[tracing::instrument(name = "db.engine.list_schedules", level = "debug", skip_all)]
    async fn list(&self, page: PageRequest) -> Result<Page<(i64, ListedSchedule)>, StoreError> {
        let session = self.read("list schedules");
        let sql = Sql::new(format!(
            "SELECT {COLUMNS} FROM workflow_schedules WHERE position > $1 ORDER BY position LIMIT $2"
        ));
        let rows = session.rows::<ScheduleRow>(sql.ascending(page)).await?;
        let items = rows.into_iter().map(ScheduleRow::list).collect();
        Ok(Page::from_lookahead(items, limit(page), |(position, _)| {
            *position
        }))
    }

    #[tracing::instrument(name = "db.engine.due_schedules", level = "debug", skip_all)]
    async fn due(&self, now: Timestamp, limit: u32) -> Result<DueSchedules, StoreError> {
        let session = self.read("look for schedules that are due");
        let wanted = usize::try_from(limit).unwrap_or(usize::MAX);
        let mut due = DueSchedules::default();
        let mut offset = 0_i64;
        // Rows that cannot be read stay due for ever: they must not fill the places of the others.
        loop {
            let sql = Sql::new(format!(
                "SELECT {COLUMNS} FROM workflow_schedules WHERE NOT is_paused AND next_at <= $1
                 ORDER BY next_at, position LIMIT $2 OFFSET $3"
            ));
            let sql = sql
                .bind(now.as_micros())
                .bind(i64::from(limit))
                .bind(offset);
            let rows = session.rows::<ScheduleRow>(sql).await?;
            let is_last = rows.len() < wanted;
            for row in rows {
                match row.read() {
                    Ok((_, schedule)) => due.schedules.push(schedule),
                    Err(error) => due.unreadable.push(error),
                }
            }
            if is_last || due.schedules.len() >= wanted {
                due.schedules.truncate(wanted);
                return Ok(due);
            }
            offset = offset.saturating_add(i64::from(limit));
        }
    }

    #[tracing::instrument(name = "db.engine.fire_schedule", level = "debug", skip_all)]
    async fn fire(
        &self,
        schedule: &Schedule,
        next: Option<Timestamp>,
        workflow: Option<&NewWorkflow>,
    ) -> Result<bool, StoreError> {
        let session = self.write("start a scheduled workflow").await?;
        let sql = Sql::new(
            "UPDATE workflow_schedules SET next_at = COALESCE($1, next_at), is_paused = CAST($1 AS bigint) IS NULL
             WHERE name = $2 AND next_at = $3 AND NOT is_paused",
        );
        let sql = sql
            .time(next)
            .text(schedule.name.as_str())
            .bind(schedule.next_at.as_micros());
        if session.execute(sql).await? == 0 {
            return Ok(false);
        }
        let told = match workflow {
            Some(workflow) => start_all(&session, std::slice::from_ref(workflow)).await?.1,
            None => Told::default(),
        };
        session.commit().await?;
        self.hints().tell(told);
        Ok(true)
    }
}
