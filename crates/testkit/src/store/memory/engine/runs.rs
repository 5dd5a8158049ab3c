//! Starting and steering workflows in memory.

use async_trait::async_trait;
use drover_domain::Timestamp;
use drover_domain::workflow::run::{
    Changes, Control, Decision, Family, Input, NewRun, Refusal, Run,
};
use drover_domain::workflow::{Json, SignalName, TaskId, WorkflowId, WorkflowStatus};
use drover_ports::{
    DeadLetterFilter, Idempotency, NewWorkflow, StartedWorkflow, StoreError, WorkflowStore,
};

use super::stored::StoredWorkflow;
use super::{Engine, Request, refused};
use crate::store::memory::MemoryStore;

/// A workflow that was found to be startable.
type Born<'a> = (&'a NewWorkflow, Run, Changes);

fn named(idempotency: &Idempotency) -> (String, String) {
    (idempotency.scope.clone(), idempotency.key.clone())
}

fn compare<T>(idempotency: &Idempotency, digest: &[u8], first: T) -> Result<T, StoreError> {
    if idempotency.digest == digest {
        Ok(first)
    } else {
        Err(StoreError::KeyReused {
            key: idempotency.key.clone(),
        })
    }
}

impl Engine {
    pub(super) fn start(
        &mut self,
        workflows: &[NewWorkflow],
    ) -> Result<Vec<StartedWorkflow>, StoreError> {
        let now = self.now();
        let mut answers = Vec::with_capacity(workflows.len());
        let mut born: Vec<Born<'_>> = Vec::new();
        for new in workflows {
            if let Some(first) = self.repeated(new, &born)? {
                answers.push(StartedWorkflow::Replayed(first));
                continue;
            }
            let is_taken = self.workflows.contains_key(&new.id)
                || born.iter().any(|(other, ..)| other.id == new.id);
            if is_taken {
                return Err(StoreError::AlreadyExists {
                    what: "workflow",
                    name: new.id.to_string(),
                });
            }
            let run = NewRun {
                id: new.id,
                definition: &new.definition,
                parent: new.parent,
                family: self.family_of(new.parent, &born),
                start_after: new.start_after,
                deadline: new.deadline,
            };
            let (run, changes) = Run::create(&run, now).map_err(|refusal| refused(&refusal))?;
            born.push((new, run, changes));
            answers.push(StartedWorkflow::Created(new.id));
        }
        for (new, run, changes) in born {
            self.give_birth(new, run, changes, now);
        }
        Ok(answers)
    }

    /// What is above a new workflow; those that are born in this call are not written yet.
    fn family_of(&self, parent: Option<TaskId>, born: &[Born<'_>]) -> Family {
        let above: Vec<WorkflowId> = self.above(parent);
        let Some(topmost) = above.last() else {
            return Family::default();
        };
        let known = self.descendants.get(topmost).copied().unwrap_or_default();
        let fresh = born
            .iter()
            .filter(|(new, ..)| self.above(new.parent).last() == Some(topmost));
        let size = known + u32::try_from(fresh.count()).unwrap_or(u32::MAX);
        Family::below(above.iter().filter_map(|id| self.status(*id)), size)
    }

    /// The workflows above one with this parent, the nearest first.
    fn above(&self, parent: Option<TaskId>) -> Vec<WorkflowId> {
        let up = |id: &WorkflowId| {
            let stored = self.workflows.get(id)?;
            stored.head().parent.map(TaskId::workflow)
        };
        std::iter::successors(parent.map(TaskId::workflow), up).collect()
    }

    /// The workflow that came of the same request, before or in this call.
    fn repeated(
        &self,
        new: &NewWorkflow,
        born: &[Born<'_>],
    ) -> Result<Option<WorkflowId>, StoreError> {
        let Some(idempotency) = &new.idempotency else {
            return Ok(None);
        };
        if let Some(first) = self.requests.get(&named(idempotency)) {
            return compare(idempotency, &first.digest, Some(first.workflow));
        }
        let first = born.iter().find_map(|(other, ..)| {
            let known = other.idempotency.as_ref()?;
            (named(known) == named(idempotency)).then_some((&known.digest, other.id))
        });
        match first {
            Some((digest, id)) => compare(idempotency, digest, Some(id)),
            None => Ok(None),
        }
    }

    fn give_birth(&mut self, new: &NewWorkflow, run: Run, mut changes: Changes, now: Timestamp) {
        let position = self.draw();
        changes.tasks.extend(run.tasks.keys());
        if let Some(topmost) = self.above(new.parent).last() {
            *self.descendants.entry(*topmost).or_default() += 1;
        }
        self.workflows
            .insert(new.id, StoredWorkflow::new(new, run, position, now));
        if let Some(idempotency) = &new.idempotency {
            self.remember(idempotency, new.id, None);
        }
        self.write(new.id, &changes, now);
    }

    fn remember(
        &mut self,
        idempotency: &Idempotency,
        workflow: WorkflowId,
        made_at: Option<Timestamp>,
    ) {
        let request = Request {
            digest: idempotency.digest.clone(),
            workflow,
            made_at,
        };
        self.requests.insert(named(idempotency), request);
    }

    /// Whether a workflow is there and has not ended.
    pub(in crate::store::memory) fn is_open(&self, id: WorkflowId) -> bool {
        self.status(id).is_some_and(|status| !status.is_terminal())
    }

    fn status(&self, id: WorkflowId) -> Option<WorkflowStatus> {
        Some(self.workflows.get(&id)?.head().status)
    }
}

#[async_trait]
impl WorkflowStore for MemoryStore {
    async fn start(&self, workflows: &[NewWorkflow]) -> Result<Vec<StartedWorkflow>, StoreError> {
        self.state("start workflows")?.engine.start(workflows)
    }

    async fn control(
        &self,
        workflow: WorkflowId,
        control: &Control,
    ) -> Result<Option<WorkflowStatus>, StoreError> {
        let engine = &mut self.state("steer a workflow")?.engine;
        engine
            .step(workflow, Input::Control(control.clone()))
            .map_err(|refusal| refused(&refusal))?;
        Ok(engine.status(workflow))
    }

    async fn decide(
        &self,
        task: TaskId,
        decision: &Decision,
    ) -> Result<Option<WorkflowStatus>, StoreError> {
        let engine = &mut self.state("decide about a task")?.engine;
        let Some(no) = task.no() else { return Ok(None) };
        let decision = decision.clone();
        match engine.step(task.workflow(), Input::Decide { no, decision }) {
            Ok(()) => Ok(engine.status(task.workflow())),
            Err(Refusal::NoSuchTask { .. }) => Ok(None),
            Err(refusal) => Err(refused(&refusal)),
        }
    }

    async fn signal(
        &self,
        workflow: WorkflowId,
        name: &SignalName,
        payload: &Json,
        idempotency: Option<&Idempotency>,
    ) -> Result<Option<WorkflowStatus>, StoreError> {
        let engine = &mut self.state("bring a signal")?.engine;
        if engine.status(workflow).is_none() {
            return Ok(None);
        }
        let first = idempotency.and_then(|used| Some((used, engine.requests.get(&named(used))?)));
        if let Some((used, first)) = first {
            return compare(used, &first.digest, engine.status(workflow));
        }
        let input = Input::Signal {
            name: name.clone(),
            payload: payload.clone(),
        };
        engine
            .step(workflow, input)
            .map_err(|refusal| refused(&refusal))?;
        if let Some(idempotency) = idempotency {
            let now = engine.now();
            engine.remember(idempotency, workflow, Some(now));
        }
        Ok(engine.status(workflow))
    }

    async fn redrive(
        &self,
        filter: &DeadLetterFilter,
        limit: u32,
        idempotency: Option<&Idempotency>,
    ) -> Result<Vec<TaskId>, StoreError> {
        let engine = &mut self.state("do dead letters again")?.engine;
        if let Some(key) = idempotency
            && let Some((digest, first)) = engine.redriven.get(&named(key))
        {
            return compare(key, digest, first.clone());
        }
        let mut dead = engine.dead_letters(filter);
        dead.sort_unstable();
        let mut redriven = Vec::new();
        for (_, task) in dead {
            if redriven.len() >= usize::try_from(limit).unwrap_or(usize::MAX) {
                break;
            }
            let Some(no) = task.no() else { continue };
            let decision = Decision::Retry;
            let input = Input::Decide { no, decision };
            if engine.step(task.workflow(), input).is_ok() {
                redriven.push(task);
            }
        }
        if let Some(key) = idempotency {
            let first = (key.digest.clone(), redriven.clone());
            engine.redriven.insert(named(key), first);
        }
        Ok(redriven)
    }
}
