//! The same plan, handlers and checks in one process over a store in memory, with one deliberate defect.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use drover_domain::workflow::{EventKind, QueueName, WorkflowStatus};
use drover_ports::EventFilter;
use drover_testkit::store::MemoryStore;
use drover_usecases::{Engine, EngineOptions, EnginePorts, QueueOptions};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::broken::{Trouble, broken};
use super::check::{Findings, check};
use super::clock::{SystemClock, UuidV7};
use super::defect::Defect;
use super::evidence::{Acknowledged, Evidence, Leftovers, read_log, read_workflows};
use super::handler::handlers;
use super::ledger::{Book, Entry, Witness};
use super::order::{Answer, Order};
use super::plan::{BROAD, CHILD, NARROW, Plan, SCHEDULED, SLOW_CHILD};
use super::point::{Place, Points};
use super::watch::{Watch, follow_up};
use super::worker::LEASE;

/// The methods whose answers may be lost.
const UNHEARD: [Place; 5] = [
    Place::OpenLease,
    Place::Heartbeat,
    Place::Claim,
    Place::Report,
    Place::Start,
];
/// How many workflows are rehearsed.
const WORKFLOWS: u64 = 120;
/// How long everything may take, by a clock that jumps.
const PATIENCE: Duration = Duration::from_mins(3);

/// Lives through a plan with a worker that is dropped in the middle, and says what the checker finds. Wants
/// paused time.
///
/// # Errors
///
/// What keeps it from being rehearsed at all.
pub async fn rehearse(defect: Option<Defect>) -> Result<Findings> {
    rehearse_in(defect.map(Trouble::Defect)).await
}

/// The same with a store whose answers to one method after the other are sometimes lost, so that the
/// effect of the call is unknown.
///
/// # Errors
///
/// What keeps it from being rehearsed at all.
pub async fn rehearse_unheard() -> Result<Vec<(&'static str, Findings)>> {
    let mut all = Vec::new();
    for place in UNHEARD {
        let findings = rehearse_in(Some(Trouble::Unheard(place))).await?;
        all.push((place.as_str(), findings));
    }
    Ok(all)
}

async fn rehearse_in(trouble: Option<Trouble>) -> Result<Findings> {
    let defect = match trouble {
        Some(Trouble::Defect(defect)) => Some(defect),
        Some(Trouble::Unheard(_)) | None => None,
    };
    let store = Arc::new(MemoryStore::default());
    let book = Arc::new(Mutex::new(Book::default()));
    let mut stage = Stage {
        plan: Plan { seed: 1 },
        ports: broken(EnginePorts::over(&store), trouble),
        clean: EnginePorts::over(&store),
        book,
        defect,
        acknowledged: Acknowledged::default(),
        watch: Watch::default(),
    };
    stage.play().await?;
    let mut evidence = stage.evidence().await?;
    if let Some(defect) = defect {
        spoil(defect, &mut evidence)?;
    }
    Ok(check(&evidence))
}

struct Stage {
    plan: Plan,
    ports: EnginePorts,
    clean: EnginePorts,
    book: Arc<Mutex<Book>>,
    defect: Option<Defect>,
    acknowledged: Acknowledged,
    watch: Watch,
}

impl Stage {
    async fn play(&mut self) -> Result<()> {
        for name in [CHILD, SLOW_CHILD, SCHEDULED] {
            let (name, version) = (name.to_owned(), 0);
            self.ask(&Order::Define { name, version }).await?;
        }
        let mut first = self.engine("first")?;
        let at = drover_ports::Clock::now(&SystemClock);
        self.ask(&Order::Schedule { number: 1, at }).await?;
        self.acknowledged.schedules.insert(1);
        for number in 0..WORKFLOWS {
            self.ask(&Order::Start {
                first: number,
                count: 1,
            })
            .await?;
            self.acknowledged.workflows.insert(number);
            if let Some(order) = follow_up(self.plan, number) {
                self.ask(&order).await?;
                if let Order::Pause { number } = order {
                    self.ask(&Order::Resume { number }).await?;
                }
            }
            sleep(Duration::from_millis(5)).await;
            if number == WORKFLOWS / 2 {
                // As a kill would end it.
                first.shutdown().await;
                first = self.engine("second")?;
            }
        }
        self.go_on_to_the_end().await
    }

    fn engine(&self, worker: &str) -> Result<JoinSet<()>> {
        let witness: Arc<dyn Witness> = Arc::<Mutex<Book>>::clone(&self.book);
        let handlers = handlers(&witness, &Arc::new(Points::new(None)), self.defect)?;
        let queues = [BROAD, NARROW].map(|name| Ok(QueueOptions::new(QueueName::parse(name)?)));
        let queues = queues.into_iter().collect::<Result<_>>()?;
        let options = EngineOptions {
            lease: LEASE,
            ..EngineOptions::new(worker.to_owned(), queues)
        };
        let (clock, ids) = (Arc::new(SystemClock), Arc::new(UuidV7));
        let engine = Engine::new(self.ports.clone(), clock, ids, handlers, options)?;
        let mut running = JoinSet::new();
        running.spawn(async move {
            let (_sender, stop) = watch::channel(false);
            engine.run(stop).await;
        });
        Ok(running)
    }

    async fn ask(&self, order: &Order) -> Result<Answer> {
        loop {
            let answer = order.carry_out(self.plan, &self.ports).await?;
            if !matches!(answer, Answer::Away(_)) {
                return Ok(answer);
            }
        }
    }

    async fn go_on_to_the_end(&mut self) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        loop {
            sleep(Duration::from_millis(100)).await;
            self.read_on().await?;
            for order in self.watch.verdicts(&self.entries()) {
                if let Order::Decide { task, verdict } = order {
                    self.acknowledged
                        .decided
                        .entry(task)
                        .or_default()
                        .push(verdict);
                }
                self.ask(&order).await?;
            }
            if self.watch.has_poisoned(self.plan) {
                self.ask(&Order::Redrive).await?;
            }
            let is_over = self.watch.is_over(self.plan);
            if (is_over && self.has_fired()) || Instant::now() > end {
                return Ok(());
            }
        }
    }

    fn has_fired(&self) -> bool {
        let mut told = self.watch.told.iter();
        told.any(|(event, _)| {
            event.event.kind == EventKind::WorkflowCompleted
                && Plan::number(event.workflow) > WORKFLOWS
        })
    }

    fn entries(&self) -> Vec<Entry> {
        let book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        book.entries.clone()
    }

    async fn read_on(&mut self) -> Result<()> {
        loop {
            let filter = EventFilter::default();
            let events = &self.clean.events;
            let page = events.after(self.watch.position, filter, 1_000).await?;
            self.watch.position = page.next;
            if page.events.is_empty() {
                return Ok(());
            }
            self.watch.learn(page.events);
        }
    }

    async fn evidence(mut self) -> Result<Evidence> {
        self.read_on().await?;
        Ok(Evidence {
            plan: self.plan,
            ledger: self.entries(),
            acknowledged: self.acknowledged,
            tail: self.watch.told,
            log: read_log(&self.clean).await?,
            workflows: read_workflows(&self.clean).await?,
            leftovers: Leftovers::default(),
        })
    }
}

/// Has the store show what a defect of it would show.
fn spoil(defect: Defect, evidence: &mut Evidence) -> Result<()> {
    let middle = evidence.log.len() / 2;
    match defect {
        Defect::ForgetsEvent => {
            evidence.log.remove(middle);
            evidence.tail.remove(middle);
        }
        Defect::RepeatsEvent => {
            let told = evidence
                .log
                .get(middle)
                .cloned()
                .context("there are no events")?;
            evidence.log.insert(middle, told.clone());
            evidence.tail.insert(middle, told);
        }
        Defect::SwapsEvents => {
            let workflow = evidence.log.get(middle).map(|told| told.0.workflow);
            let mut places = Vec::new();
            for (at, told) in evidence.log.iter().enumerate() {
                if Some(told.0.workflow) == workflow {
                    places.push(at);
                }
            }
            let (first, last) = (places.first().copied(), places.last().copied());
            let (first, last) = first.zip(last).context("there are no events")?;
            evidence.log.swap(first, last);
            evidence.tail.swap(first, last);
        }
        Defect::ForgetsWorkflow => {
            evidence.workflows.remove(&Plan::id(WORKFLOWS / 3));
        }
        Defect::StoresOtherState => {
            let stored = evidence.workflows.get_mut(&Plan::id(0));
            let stored = stored.context("there is no first workflow")?;
            stored.record.head.status = WorkflowStatus::Cancelled;
        }
        Defect::LeavesLease => evidence.leftovers.leases = 1,
        Defect::DoesNothing
        | Defect::ActsTwice
        | Defect::SucceedsFalsely
        | Defect::GivesBackTooLate
        | Defect::ChangesItsKey
        | Defect::DropsReports
        | Defect::GivesTwice
        | Defect::DropsStarts
        | Defect::IgnoresKeys => {}
    }
    Ok(())
}
