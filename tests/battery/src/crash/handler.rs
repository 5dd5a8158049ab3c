//! Handlers that do with the ledger what their class allows.

use std::io;
use std::sync::Arc;

use anyhow::Result;
use async_trait::async_trait;
use drover_domain::workflow::run::{Outcome, TaskError};
use drover_domain::workflow::{Guarantee, Json, Kind};
use drover_ports::{Assigned, Assignment, TaskHandler};
use drover_usecases::Handlers;
use tokio::time::sleep;

use super::act::Act;
use super::defect::Defect;
use super::ledger::{Deed, Entry, Witness};
use super::point::{Moment, Place, Points};

/// The kinds, and what each promises.
const KINDS: [(Place, Guarantee); 5] = [
    (Place::G1, Guarantee::G1),
    (Place::G2, Guarantee::G2),
    (Place::G3, Guarantee::G3),
    (Place::G4, Guarantee::G4),
    (Place::Undo, Guarantee::G1),
];

/// Every handler.
pub(crate) fn handlers(
    witness: &Arc<dyn Witness>,
    points: &Arc<Points>,
    defect: Option<Defect>,
) -> Result<Handlers> {
    let mut handlers = Handlers::default();
    for (place, class) in KINDS {
        let handler = Handler {
            place,
            class,
            witness: Arc::clone(witness),
            points: Arc::clone(points),
            defect,
        };
        handlers.register(Kind::parse(place.as_str())?, Arc::new(handler))?;
    }
    Ok(handlers)
}

struct Handler {
    place: Place,
    class: Guarantee,
    witness: Arc<dyn Witness>,
    points: Arc<Points>,
    defect: Option<Defect>,
}

#[async_trait]
impl TaskHandler for Handler {
    fn guarantee(&self) -> Guarantee {
        self.class
    }

    async fn run(&self, assigned: Assigned<'_>) -> Outcome {
        let task = assigned.task;
        let act = match Act::parse(&task.payload) {
            Ok(act) => act,
            Err(error) => return failed("payload", &error.to_string(), false),
        };
        match self.act(task, &act).await {
            Ok(outcome) => outcome,
            // The ledger is never killed: the check finds that this failure is not in it.
            Err(error) => failed("ledger", &error.to_string(), true),
        }
    }
}

impl Handler {
    async fn act(&self, task: &Assignment, act: &Act) -> io::Result<Outcome> {
        self.points.pass(self.place, Moment::Before);
        self.tell(Deed::Begin, task, act).await?;
        sleep(act.lasts).await;
        if task.attempt <= act.failures && self.defect != Some(Defect::SucceedsFalsely) {
            self.points.pass(self.place, Moment::During);
            self.tell(Deed::Refusal, task, act).await?;
            self.points.pass(self.place, Moment::After);
            return Ok(failed(&act.code, "so it was planned", act.code == "flaky"));
        }
        if self.defect == Some(Defect::GivesBackTooLate) && task.attempt == 1 {
            return Ok(Outcome::Released);
        }
        let is_done = match self.class {
            Guarantee::G2 => self.witness.has(&task.idempotency_key()).await?,
            Guarantee::G0 | Guarantee::G1 | Guarantee::G3 | Guarantee::G4 => false,
        };
        self.points.pass(self.place, Moment::During);
        if !is_done && self.defect != Some(Defect::DoesNothing) {
            self.tell(Deed::Effect, task, act).await?;
            if self.defect == Some(Defect::ActsTwice) {
                self.tell(Deed::Effect, task, act).await?;
            }
        }
        self.points.pass(self.place, Moment::After);
        let is_seen = match self.class {
            Guarantee::G2 => self.witness.has(&task.idempotency_key()).await?,
            Guarantee::G0 | Guarantee::G1 | Guarantee::G3 | Guarantee::G4 => true,
        };
        if is_seen || self.defect == Some(Defect::DoesNothing) {
            let result = Json::null();
            return Ok(Outcome::Succeeded { result });
        }
        Ok(failed("unseen", "its effect is not to be seen", true))
    }

    async fn tell(&self, deed: Deed, task: &Assignment, act: &Act) -> io::Result<()> {
        let mut key = task.idempotency_key();
        if self.defect == Some(Defect::ChangesItsKey) {
            key = format!("{key}-{}", task.attempt);
        }
        let entry = Entry {
            deed,
            class: self.class,
            task: task.task,
            attempt: task.attempt,
            key,
            lock: act.lock.clone(),
        };
        self.witness.tell(entry).await
    }
}

fn failed(code: &str, message: &str, retryable: bool) -> Outcome {
    Outcome::Failed {
        error: TaskError::new(code, message),
        retryable,
    }
}
