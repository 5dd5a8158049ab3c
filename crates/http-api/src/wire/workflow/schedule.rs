//! Schedules: definitions that are started again and again.

use drover_domain::workflow::{self, Cron, CronError, DefinitionName, Json, MissedRuns as Missed};
use drover_usecases::{BrokenSchedule, ListedSchedule, Schedules};
use serde::Serialize;
use utoipa::ToSchema;

use crate::body::{Fields, Flaw, ReadBody, boolean, document, text};
use crate::etag::tag;
use crate::wire::document::Document;
use crate::wire::schema::{self, Instant};
use crate::wire::word::MissedRuns;
use crate::wire::workflow::work::definition_and_version;

/// A schedule to keep, but for its name.
#[derive(Debug)]
pub(crate) struct NewSchedule {
    pub(crate) definition: DefinitionName,
    pub(crate) version: Option<u32>,
    pub(crate) input: Json,
    pub(crate) cron: Cron,
    pub(crate) missed: Missed,
    pub(crate) is_paused: bool,
}

impl ReadBody for NewSchedule {
    fn read(fields: &mut Fields) -> Option<Self> {
        let (definition, version) = definition_and_version(fields, "definition");
        let input = fields.optional("input", document);
        let line = fields.required("cron", text(|line| Ok(line.to_owned())));
        let zone = fields.optional("time_zone", text(|zone| Ok(zone.to_owned())));
        let missed = fields.optional(
            "missed_runs",
            text(|word| {
                Missed::parse(word)
                    .ok_or_else(|| Flaw::new("invalid", "must be one of skip, run_once"))
            }),
        );
        let is_paused = fields.optional("paused", boolean);
        let cron = match Cron::parse(&line?, zone?.as_deref().unwrap_or("UTC")) {
            Ok(cron) => cron,
            Err(error) => {
                let field = match &error {
                    CronError::Pattern { .. } | CronError::Never { .. } => "cron",
                    CronError::Zone { .. } => "time_zone",
                };
                fields.complain(field, Flaw::invalid(error));
                return None;
            }
        };
        Some(Self {
            definition: definition?,
            version: version?,
            input: input?.unwrap_or_default(),
            cron,
            missed: missed?.unwrap_or(Missed::Skip),
            is_paused: is_paused?.unwrap_or(false),
        })
    }
}

/// A schedule to keep, in place of the one with its name.
#[derive(ToSchema)]
#[schema(as = NewSchedule)]
#[expect(dead_code, reason = "describes what `NewSchedule` reads")]
pub(crate) struct NewScheduleShape {
    #[schema(schema_with = schema::definition_name)]
    definition: String,
    /// The newest one of each time when it is not given.
    #[schema(minimum = 1)]
    version: Option<u32>,
    /// The input of each run; at most 256 KiB as JSON.
    #[schema(value_type = Document, required = false)]
    input: Option<Document>,
    /// Crontab line with five fields, evaluated in `time_zone`: minute, hour, day of month, month, day of week. When clocks go
    /// forward, times that do not exist are made up for once after the gap; when they go back, a time counts once, and
    /// lines for every hour count both.
    #[schema(min_length = 9, max_length = 256, example = "30 4 * * 1-5")]
    cron: String,
    /// A time zone of the IANA database.
    #[schema(default = "UTC", example = "Europe/Berlin")]
    time_zone: Option<String>,
    /// What happens to moments that pass while no node runs: they are skipped, or one run replaces them all.
    #[schema(inline, default = "skip")]
    missed_runs: Option<MissedRuns>,
    /// Whether it is left alone at first.
    #[schema(default = false)]
    paused: Option<bool>,
}

/// A definition that is started again and again.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Schedule {
    /// Its name.
    name: String,
    /// What is started.
    definition: String,
    /// Which version; null is the newest one of each time.
    version: Option<u32>,
    /// The input of each run.
    input: Document,
    /// When.
    cron: String,
    /// The time zone of `cron`.
    time_zone: String,
    /// Null where `broken` says why the schedule cannot be read.
    missed_runs: Option<MissedRuns>,
    /// Whether it is left alone.
    paused: bool,
    /// The next moments; none while it is paused or broken.
    #[schema(max_items = 5)]
    next_at: Vec<Instant>,
    /// Why the stored schedule cannot be read; it starts nothing until it is put again. Null for a schedule that works.
    broken: Option<String>,
}

/// The tag of what people set of a schedule.
pub(crate) fn schedule_tag(listed: &ListedSchedule) -> String {
    match listed {
        ListedSchedule::Readable(schedule) => {
            let version = schedule
                .version
                .map_or_else(String::new, |it| it.to_string());
            tag([
                schedule.definition.as_str(),
                &version,
                schedule.input.as_str(),
                schedule.cron.line(),
                schedule.cron.zone(),
                schedule.missed.as_str(),
                if schedule.is_paused { "paused" } else { "" },
            ])
        }
        ListedSchedule::Broken(broken) => tag([
            broken.definition.as_str(),
            &broken.cron,
            &broken.time_zone,
            &broken.reason,
        ]),
    }
}

impl From<workflow::Schedule> for Schedule {
    fn from(schedule: workflow::Schedule) -> Self {
        let next_at = Schedules::moments(&schedule);
        Self {
            name: schedule.name.to_string(),
            definition: schedule.definition.to_string(),
            version: schedule.version,
            input: schedule.input.into(),
            cron: schedule.cron.line().to_owned(),
            time_zone: schedule.cron.zone().to_owned(),
            missed_runs: Some(schedule.missed.into()),
            paused: schedule.is_paused,
            next_at: next_at.into_iter().map(Into::into).collect(),
            broken: None,
        }
    }
}

impl From<BrokenSchedule> for Schedule {
    fn from(broken: BrokenSchedule) -> Self {
        Self {
            name: broken.name,
            definition: broken.definition,
            version: None,
            input: Json::null().into(),
            cron: broken.cron,
            time_zone: broken.time_zone,
            missed_runs: None,
            paused: broken.is_paused,
            next_at: Vec::new(),
            broken: Some(broken.reason),
        }
    }
}

impl From<ListedSchedule> for Schedule {
    fn from(listed: ListedSchedule) -> Self {
        match listed {
            ListedSchedule::Readable(schedule) => schedule.into(),
            ListedSchedule::Broken(broken) => broken.into(),
        }
    }
}

impl From<(i64, ListedSchedule)> for Schedule {
    fn from((_, listed): (i64, ListedSchedule)) -> Self {
        listed.into()
    }
}
