//! The durable engine inside a program of your own: typed handlers, a database, nothing else to run.
//!
//! Start reading at [`Engine::open`]; `examples/embedded.rs` is a whole program, and
//! `docs/how-to/embed-the-engine.md` explains it.

mod attempt;
mod ended;
mod handler;
mod workflow;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use drover_domain::rollout::record::Origin;
use drover_domain::workflow::JsonTooLarge;
use drover_ports::{Clock, IdSource, StoreError, TaskHandler};
use drover_store_sea_orm::{MigrateError, OpenError, Options, SeaOrmStore};
use drover_usecases::{
    EngineOptions, EngineOptionsError, EnginePorts, EventFeed, EventFilter, Handlers, KindSpec,
    KindTaken, Kinds, Performer, QueueOptions, StartError, StartedWorkflow, WorkflowView,
    Workflows,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use crate::clock::{SystemClock, UuidV7};
use crate::engine::worker;

pub use attempt::{Attempt, Failure};
pub use drover_domain::text::TextError;
pub use drover_domain::workflow::{
    Guarantee, Kind, QueueName, RetryPolicy, RetryStrategy, SignalName, TaskKey, TaskStatus,
    WorkflowId, WorkflowStatus,
};
pub use ended::Ended;
pub use workflow::{Task, Workflow};

/// Who asks, in the records of workflows.
const ACTOR: &str = "embedded";

/// The most events that are looked at together.
const PAGE: u32 = 100;

/// How long one look at the events waits.
const PATIENCE: Duration = Duration::from_secs(30);

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    /// The database cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The schema cannot be brought up to date.
    #[error(transparent)]
    Migrate(#[from] MigrateError),
    /// A name cannot be one.
    #[error(transparent)]
    Name(#[from] TextError),
    /// Two handlers for one kind.
    #[error(transparent)]
    Kind(#[from] KindTaken),
    /// An option makes no sense.
    #[error(transparent)]
    Options(#[from] EngineOptionsError),
    /// The workflow was refused.
    #[error(transparent)]
    Start(#[from] StartError),
    /// An input is no JSON.
    #[error("the input of the task `{key}` cannot be written as JSON")]
    Input {
        /// The task.
        key: String,
        /// Why not.
        source: serde_json::Error,
    },
    /// An input is too large.
    #[error(transparent)]
    TooLarge(#[from] JsonTooLarge),
    /// The database does not answer, or has what cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no such workflow; perhaps retention has removed it.
    #[error("there is no workflow {id}")]
    NoSuchWorkflow {
        /// Which.
        id: WorkflowId,
    },
    /// A task has no result of this shape.
    #[error("the result of the task `{key}` cannot be used: {reason}")]
    Result {
        /// The task.
        key: String,
        /// Why not.
        reason: String,
    },
}

/// An engine that is being put together.
#[must_use = "nothing runs before `run`"]
pub struct Builder {
    ports: EnginePorts,
    kinds: Kinds,
    handlers: Handlers,
    options: EngineOptions,
    // The first error; `run` returns it, so that the builder calls can be chained.
    wrong: Option<EmbeddedError>,
}

/// The durable engine, running. Clones are the same engine.
///
/// A program that ends without [`Engine::stop`] loses nothing: its tasks are taken over when the lease has
/// run out, by another process or by itself after a restart.
#[derive(Clone)]
pub struct Engine {
    workflows: Workflows,
    view: Arc<dyn WorkflowView>,
    events: EventFeed,
    inner: drover_usecases::Engine,
    stop: watch::Sender<bool>,
    tasks: TaskTracker,
}

impl Engine {
    /// Opens a database, `sqlite://FILE?mode=rwc` or `postgres://USER:PASSWORD@HOST/NAME`, and brings
    /// its schema up to date. Several processes may share a PostgreSQL database, and Drover itself may be one of
    /// them.
    ///
    /// # Errors
    ///
    /// [`EmbeddedError::Open`], [`EmbeddedError::Migrate`].
    pub async fn open(url: &str) -> Result<Builder, EmbeddedError> {
        let store = Arc::new(SeaOrmStore::connect(&Options::new(url)).await?);
        store.migrate().await?;
        let queue = QueueName::parse(Kinds::QUEUE)?;
        Ok(Builder {
            ports: EnginePorts::over(&store),
            kinds: Kinds::default(),
            handlers: Handlers::default(),
            options: EngineOptions::new(worker(), vec![QueueOptions::new(queue)]),
            wrong: None,
        })
    }

    /// Starts a workflow; it is durable when this returns.
    ///
    /// # Errors
    ///
    /// [`EmbeddedError::Start`] says what is wrong with it; [`EmbeddedError::Name`],
    /// [`EmbeddedError::Input`], [`EmbeddedError::TooLarge`].
    pub async fn start(&self, workflow: Workflow) -> Result<WorkflowId, EmbeddedError> {
        let origin = Origin {
            actor: ACTOR.to_owned(),
            request_id: UuidV7.draw().to_string(),
        };
        Ok(match self.workflows.start(workflow.order(origin)?).await? {
            StartedWorkflow::Created(id) | StartedWorkflow::Replayed(id) => id,
        })
    }

    /// Waits until a workflow has ended, on this or another node, and returns how.
    ///
    /// # Errors
    ///
    /// [`EmbeddedError::NoSuchWorkflow`], [`EmbeddedError::Store`].
    pub async fn wait(&self, id: WorkflowId) -> Result<Ended, EmbeddedError> {
        let filter = EventFilter { workflow: Some(id) };
        // The place in the log before the look at the workflow: what happens in between is seen.
        let mut after = self.events.end().await?;
        loop {
            let found = self.view.find(id).await?;
            let record = found.ok_or(EmbeddedError::NoSuchWorkflow { id })?;
            if record.head.status.is_terminal() {
                return Ended::read(record, self.view.as_ref()).await;
            }
            let page = self.events.follow(after, filter, PAGE, PATIENCE).await?;
            after = page.next;
        }
    }

    /// Sends a signal to a workflow: a task of the kind `signal.wait` takes it, now or later.
    ///
    /// # Errors
    ///
    /// [`EmbeddedError::Store`] when the workflow has ended; [`EmbeddedError::NoSuchWorkflow`],
    /// [`EmbeddedError::Name`], [`EmbeddedError::Input`], [`EmbeddedError::TooLarge`].
    pub async fn signal(
        &self,
        id: WorkflowId,
        name: &str,
        payload: &(impl Serialize + Sync),
    ) -> Result<(), EmbeddedError> {
        let payload = workflow::json(name, payload)?;
        let origin = Origin {
            actor: ACTOR.to_owned(),
            request_id: UuidV7.draw().to_string(),
        };
        let name = SignalName::parse(name)?;
        let signalled = self.workflows.signal(id, &name, &payload, None, &origin);
        signalled
            .await?
            .map(|_| ())
            .ok_or(EmbeddedError::NoSuchWorkflow { id })
    }

    /// Takes nothing new, gives handlers [`EngineOptions::drain_grace`] to end and hands the rest over. The
    /// database is closed when the last clone is gone.
    pub async fn stop(self) {
        let _nobody_listens = self.stop.send(true).is_err();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Builder {
    /// Lets `handler` execute the tasks of `kind`. What it takes and gives is JSON in the database; what it
    /// promises about its effect decides what happens when a process dies in the middle.
    pub fn handler<I, O, F, W>(mut self, kind: &str, guarantee: Guarantee, handler: F) -> Self
    where
        I: DeserializeOwned + Send + 'static,
        O: Serialize + Send + 'static,
        F: Fn(Attempt<I>) -> W + Send + Sync + 'static,
        W: Future<Output = Result<O, Failure>> + Send + 'static,
    {
        let view = Arc::clone(&self.ports.view);
        let handler = handler::Typed::new(guarantee, handler, view);
        if let Err(error) = self.register(kind, guarantee, Arc::new(handler)) {
            self.wrong.get_or_insert(error);
        }
        self
    }

    fn register(
        &mut self,
        kind: &str,
        guarantee: Guarantee,
        handler: Arc<dyn TaskHandler>,
    ) -> Result<(), EmbeddedError> {
        let kind = Kind::parse(kind)?;
        if self.kinds.find(&kind).is_some() {
            return Err(KindTaken { kind }.into());
        }
        self.handlers.register(kind.clone(), handler)?;
        let queue = QueueName::parse(Kinds::QUEUE)?;
        let spec = KindSpec::new(Performer::Handler, guarantee, queue);
        self.kinds = self.kinds.clone().with(kind, spec);
        Ok(())
    }

    /// Takes tasks from `queue` too, at most `concurrency` of them at once; the queue `default` is there
    /// from the start, with 64.
    pub fn queue(mut self, queue: &str, concurrency: u32) -> Self {
        match QueueName::parse(queue) {
            Ok(name) => {
                self.options.queues.retain(|known| known.name != name);
                self.options.queues.push(QueueOptions { name, concurrency });
            }
            Err(error) => {
                self.wrong.get_or_insert(error.into());
            }
        }
        self
    }

    /// Changes what else can be chosen, such as the lease.
    pub fn options(mut self, change: impl FnOnce(&mut EngineOptions)) -> Self {
        change(&mut self.options);
        self
    }

    /// Starts working.
    ///
    /// # Errors
    ///
    /// The first thing that was wrong: [`EmbeddedError::Name`], [`EmbeddedError::Kind`],
    /// [`EmbeddedError::Options`].
    pub fn run(self) -> Result<Engine, EmbeddedError> {
        if let Some(wrong) = self.wrong {
            return Err(wrong);
        }
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
        let ids: Arc<dyn IdSource> = Arc::new(UuidV7);
        let engine = drover_usecases::Engine::new(
            self.ports.clone(),
            clock,
            Arc::clone(&ids),
            self.handlers,
            self.options,
        )?;
        let (stop, stopped) = watch::channel(false);
        let tasks = TaskTracker::new();
        tasks.spawn({
            let engine = engine.clone();
            async move { engine.run(stopped).await }
        });
        Ok(Engine {
            workflows: Workflows::new(&self.ports, ids, self.kinds),
            view: Arc::clone(&self.ports.view),
            events: EventFeed::new(&self.ports),
            inner: engine,
            stop,
            tasks,
        })
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("handlers", &self.handlers)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}
