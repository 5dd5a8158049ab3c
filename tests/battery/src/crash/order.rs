//! What workers are asked for, as clients ask a service: each order is a line, and so is its answer.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context, Result, anyhow, bail};
use drover_domain::Timestamp;
use drover_domain::workflow::queue::QueueLimits;
use drover_domain::workflow::run::{Control, Decision, TaskError};
use drover_domain::workflow::{
    Cron, DefinitionName, Json, MissedRuns, QueueName, Schedule, ScheduleName, SignalName, TaskId,
};
use drover_ports::{DeadLetterFilter, Idempotency, NewWorkflow, StartedWorkflow, StoreError};
use drover_usecases::EnginePorts;
use std::time::Duration;

use super::plan::{NARROW, POISON, Plan, SCHEDULED, SIGNAL};
use super::point::Place;

/// The decision about a task with an unknown result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It never began.
    Retry,
    /// Its effect is in the ledger.
    Succeeded,
    /// It began, and its effect is not in the ledger.
    Failed,
}

impl Verdict {
    const ALL: [Self; 3] = [Self::Retry, Self::Succeeded, Self::Failed];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
        }
    }
}

/// What a worker is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Order {
    /// Workflows from this number on, in one call.
    Start {
        first: u64,
        count: u64,
    },
    Signal {
        number: u64,
    },
    Cancel {
        number: u64,
    },
    Pause {
        number: u64,
    },
    Resume {
        number: u64,
    },
    Decide {
        task: TaskId,
        verdict: Verdict,
    },
    Redrive,
    Define {
        name: String,
        version: u64,
    },
    Limit {
        concurrency: u32,
    },
    Schedule {
        number: u64,
        at: Timestamp,
    },
    Unschedule {
        number: u64,
    },
    Prune,
}

/// What came of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It is done, or was before.
    Done,
    /// It cannot be done.
    Refused(String),
    /// Unknown; the order is repeated.
    Away(String),
}

impl Order {
    /// The method of the store it comes down to.
    pub(crate) const fn place(&self) -> Place {
        match self {
            Self::Start { .. } => Place::Start,
            Self::Signal { .. } => Place::Signal,
            Self::Cancel { .. } | Self::Pause { .. } | Self::Resume { .. } => Place::Control,
            Self::Decide { .. } => Place::Decide,
            Self::Redrive => Place::Redrive,
            Self::Define { .. } => Place::PutDefinition,
            Self::Limit { .. } => Place::Limit,
            Self::Schedule { .. } => Place::PutSchedule,
            Self::Unschedule { .. } => Place::RemoveSchedule,
            Self::Prune => Place::Prune,
        }
    }

    /// Does it.
    pub(crate) async fn carry_out(&self, plan: Plan, ports: &EnginePorts) -> Result<Answer> {
        let workflows = &ports.workflows;
        let done = match self {
            Self::Start { first, count } => {
                let new: Result<Vec<NewWorkflow>> = (*first..*first + *count)
                    .map(|number| plan.workflow(number))
                    .collect();
                let new = new?;
                return Ok(started(&new, workflows.start(&new).await));
            }
            Self::Signal { number } => {
                let name = SignalName::parse(SIGNAL)?;
                let idempotency = Idempotency {
                    scope: "battery:signal".to_owned(),
                    key: number.to_string(),
                    digest: Vec::new(),
                };
                let (id, payload) = (Plan::id(*number), Json::null());
                let done = workflows
                    .signal(id, &name, &payload, Some(&idempotency))
                    .await;
                done.map(|_| ())
            }
            Self::Cancel { number } => {
                let reason = "so it was planned".to_owned();
                let control = Control::Cancel { reason };
                workflows
                    .control(Plan::id(*number), &control)
                    .await
                    .map(|_| ())
            }
            Self::Pause { number } => {
                let paused = workflows.control(Plan::id(*number), &Control::Pause).await;
                paused.map(|_| ())
            }
            Self::Resume { number } => {
                let resumed = workflows.control(Plan::id(*number), &Control::Resume).await;
                resumed.map(|_| ())
            }
            Self::Decide { task, verdict } => {
                let decided = workflows.decide(*task, &decision(*verdict)).await;
                decided.map(|_| ())
            }
            Self::Redrive => {
                let filter = DeadLetterFilter {
                    code: Some(POISON.to_owned()),
                    ..DeadLetterFilter::default()
                };
                workflows.redrive(&filter, 100, None).await.map(|_| ())
            }
            Self::Define { name, version } => {
                let definition = plan.stored(name, *version)?;
                let name = DefinitionName::parse(name)?;
                let at = Timestamp::EPOCH;
                ports
                    .definitions
                    .put(&name, &definition, at)
                    .await
                    .map(|_| ())
            }
            Self::Limit { concurrency } => {
                let limits = QueueLimits {
                    concurrency: Some(*concurrency),
                    ..QueueLimits::default()
                };
                ports.queues.limit(&QueueName::parse(NARROW)?, limits).await
            }
            Self::Schedule { number, at } => ports.schedules.put(&schedule(*number, *at)?).await,
            Self::Unschedule { number } => {
                let name = schedule_name(*number)?;
                ports.schedules.remove(&name).await.map(|_| ())
            }
            Self::Prune => {
                let age = Duration::from_hours(24);
                ports.upkeep.prune(&age.into(), 100).await.map(|_| ())
            }
        };
        Ok(answer(done))
    }
}

fn decision(verdict: Verdict) -> Decision {
    match verdict {
        Verdict::Retry => Decision::Retry,
        Verdict::Succeeded => Decision::Succeeded {
            result: Json::null(),
        },
        Verdict::Failed => Decision::Failed {
            error: TaskError::new("no_effect", "its effect is not in the ledger"),
        },
    }
}

/// What a schedule with this number is called.
pub(crate) fn schedule_name(number: u64) -> Result<ScheduleName> {
    Ok(ScheduleName::parse(&format!("s{number}"))?)
}

fn schedule(number: u64, at: Timestamp) -> Result<Schedule> {
    Ok(Schedule {
        name: schedule_name(number)?,
        definition: DefinitionName::parse(SCHEDULED)?,
        version: Some(1),
        input: Json::null(),
        // Once now; the next moment is long after its removal.
        cron: Cron::parse("0 0 29 2 *", "UTC")?,
        missed: MissedRuns::RunOnce,
        is_paused: false,
        next_at: at,
    })
}

fn started(new: &[NewWorkflow], started: Result<Vec<StartedWorkflow>, StoreError>) -> Answer {
    match started {
        Ok(started) => {
            let ids = started.iter().map(|started| match started {
                StartedWorkflow::Created(id) | StartedWorkflow::Replayed(id) => *id,
            });
            if ids.eq(new.iter().map(|new| new.id)) {
                Answer::Done
            } else {
                Answer::Refused("other workflows came of it".to_owned())
            }
        }
        // All or none of them are there, and it was the same order that brought them.
        Err(StoreError::AlreadyExists { .. }) => Answer::Done,
        Err(error) => answer(Err(error)),
    }
}

fn answer(done: Result<(), StoreError>) -> Answer {
    match done {
        Ok(()) => Answer::Done,
        Err(error @ StoreError::Unavailable { .. }) => Answer::Away(chain(&error)),
        Err(error) => Answer::Refused(chain(&error)),
    }
}

fn chain(error: &StoreError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(source) = cause {
        text = format!("{text}: {source}");
        cause = source.source();
    }
    text.replace('\n', " ")
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start { first, count } => write!(f, "start {first} {count}"),
            Self::Signal { number } => write!(f, "signal {number}"),
            Self::Cancel { number } => write!(f, "cancel {number}"),
            Self::Pause { number } => write!(f, "pause {number}"),
            Self::Resume { number } => write!(f, "resume {number}"),
            Self::Decide { task, verdict } => write!(f, "decide {task} {}", verdict.as_str()),
            Self::Redrive => write!(f, "redrive"),
            Self::Define { name, version } => write!(f, "define {name} {version}"),
            Self::Limit { concurrency } => write!(f, "limit {concurrency}"),
            Self::Schedule { number, at } => write!(f, "schedule {number} {}", at.as_micros()),
            Self::Unschedule { number } => write!(f, "unschedule {number}"),
            Self::Prune => write!(f, "prune"),
        }
    }
}

impl FromStr for Order {
    type Err = anyhow::Error;

    fn from_str(line: &str) -> Result<Self> {
        let mut words = line.split(' ');
        let what = words.next().unwrap_or_default();
        let mut word = || {
            words
                .next()
                .with_context(|| format!("`{line}` is too short"))
        };
        Ok(match what {
            "start" => Self::Start {
                first: word()?.parse()?,
                count: word()?.parse()?,
            },
            "signal" => Self::Signal {
                number: word()?.parse()?,
            },
            "cancel" => Self::Cancel {
                number: word()?.parse()?,
            },
            "pause" => Self::Pause {
                number: word()?.parse()?,
            },
            "resume" => Self::Resume {
                number: word()?.parse()?,
            },
            "decide" => {
                let task = word()?.parse()?;
                let said = word()?;
                let verdict = Verdict::ALL.into_iter().find(|one| one.as_str() == said);
                let verdict = verdict.ok_or_else(|| anyhow!("`{said}` is no verdict"))?;
                Self::Decide { task, verdict }
            }
            "redrive" => Self::Redrive,
            "define" => Self::Define {
                name: word()?.to_owned(),
                version: word()?.parse()?,
            },
            "limit" => Self::Limit {
                concurrency: word()?.parse()?,
            },
            "schedule" => Self::Schedule {
                number: word()?.parse()?,
                at: Timestamp::from_micros(word()?.parse()?),
            },
            "unschedule" => Self::Unschedule {
                number: word()?.parse()?,
            },
            "prune" => Self::Prune,
            _ => bail!("`{line}` is no order"),
        })
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done => write!(f, "done"),
            Self::Refused(why) => write!(f, "refused {why}"),
            Self::Away(why) => write!(f, "away {why}"),
        }
    }
}

impl FromStr for Answer {
    type Err = anyhow::Error;

    fn from_str(line: &str) -> Result<Self> {
        let (what, why) = line.split_once(' ').unwrap_or((line, ""));
        match what {
            "done" => Ok(Self::Done),
            "refused" => Ok(Self::Refused(why.to_owned())),
            "away" => Ok(Self::Away(why.to_owned())),
            _ => bail!("`{line}` is no answer"),
        }
    }
}

#[cfg(test)]
mod tests {
    use drover_domain::workflow::TaskNo;

    use super::*;

    #[test]
    fn lines_read_back() {
        let task = Plan::id(3).task(TaskNo::FIRST);
        let mut orders = vec![
            Order::Start { first: 3, count: 9 },
            Order::Signal { number: 1 },
            Order::Cancel { number: 2 },
            Order::Pause { number: 3 },
            Order::Resume { number: 4 },
            Order::Redrive,
            Order::Define {
                name: "child".to_owned(),
                version: 1,
            },
            Order::Limit { concurrency: 8 },
            Order::Schedule {
                number: 5,
                at: Timestamp::from_micros(6),
            },
            Order::Unschedule { number: 5 },
            Order::Prune,
        ];
        orders.extend(Verdict::ALL.map(|verdict| Order::Decide { task, verdict }));
        for order in orders {
            assert_eq!(order.to_string().parse::<Order>().unwrap(), order);
        }
        for answer in [
            Answer::Done,
            Answer::Refused("a b".to_owned()),
            Answer::Away("c".to_owned()),
        ] {
            assert_eq!(answer.to_string().parse::<Answer>().unwrap(), answer);
        }
    }
}
