//! One transaction of the store: a step of a run and everything that is written with it.

use drover_domain::Timestamp;
use drover_domain::workflow::run::{
    Changes, Input, NewRun, QueueMove, Refusal, Run, StoredSignal, WakeKind,
};
use drover_domain::workflow::{Definition, TaskId, WorkflowId, WorkflowStatus};

use super::defect::StoreDefect;
use super::invariant::{Broken, Invariant};
use super::mirror::{Cause, Mirror};
use super::sim::World;
use super::store::{Row, Store};

impl World {
    /// Lets something happen to a workflow. Whether it was accepted; refused, nothing changed.
    pub(super) fn step(&mut self, id: WorkflowId, input: &Input) -> Result<bool, Broken> {
        let Some(run) = self.store.runs.get(&id) else {
            return Ok(false);
        };
        let part = Store::part(run, input);
        self.step_on(part, input)
    }

    /// The same, on what was loaded.
    pub(super) fn step_on(&mut self, mut part: Run, input: &Input) -> Result<bool, Broken> {
        let id = part.head.id;
        match part.apply(input.clone(), self.now) {
            Ok(changes) => {
                self.trace.note(|| format!("    {}: {input:?}", short(id)));
                let input = Some(input);
                let now = self.now;
                self.write(part, &changes, Cause { input, now })?;
                Ok(true)
            }
            Err(refusal @ (Refusal::NoSuchTask { .. } | Refusal::Illegal(_))) => {
                let message = format!("{input:?} in {id}: {refusal}");
                Err(Invariant::History.broken(message))
            }
            Err(refusal) => {
                self.tally.refusals += 1;
                self.trace.mix(1);
                self.trace
                    .note(|| format!("    {}: {input:?} refused: {refusal}", short(id)));
                Ok(false)
            }
        }
    }

    /// Creates a workflow.
    pub(super) fn give_birth(
        &mut self,
        definition: &Definition,
        parent: Option<TaskId>,
        start_after: Option<std::time::Duration>,
        deadline: Option<std::time::Duration>,
    ) -> Result<Option<WorkflowId>, Broken> {
        let number = u128::from(self.store.draw());
        let id = WorkflowId::rooted(drover_domain::id::Uuid::from_u128(number << 12 | 7 << 76));
        let new = NewRun {
            id,
            definition,
            parent,
            family: self.family_of(parent),
            start_after,
            deadline,
        };
        let (run, mut changes) = match Run::create(&new, self.now) {
            Ok(born) => born,
            Err(refusal) if refusal.is_defect() => {
                return Err(Invariant::History.broken(refusal.to_string()));
            }
            Err(refusal) => {
                self.tally.refusals += 1;
                self.trace.mix(2);
                self.trace
                    .note(|| format!("    no child of {parent:?}: {refusal}"));
                return Ok(None);
            }
        };
        self.check_family(parent)?;
        changes.tasks.extend(run.tasks.keys());
        self.tally.workflows += 1;
        self.trace
            .note(|| format!("    {}: born of {parent:?}", short(id)));
        self.mirrors.insert(id, Mirror::new(definition, deadline));
        let empty = Run {
            tasks: std::collections::BTreeMap::new(),
            ..run.clone()
        };
        self.store.runs.insert(id, empty);
        let (input, now) = (None, self.now);
        self.write(run, &changes, Cause { input, now })?;
        Ok(Some(id))
    }

    fn write(&mut self, part: Run, changes: &Changes, cause: Cause<'_>) -> Result<(), Broken> {
        let id = part.head.id;
        self.tally.commits += 1;
        self.tally.hostile_commits += u64::from(self.is_hostile);
        self.move_tasks(&part, changes);
        let mut wakes: Vec<(Timestamp, WorkflowId, WakeKind)> = changes
            .wakes
            .iter()
            .map(|wake| (wake.at, id, wake.kind))
            .collect();
        if let Some((status, parent)) = changes.tell_parent.zip(part.head.parent)
            && let Some(no) = parent.no()
            && !self.is_broken(StoreDefect::ForgetsParent, 2)
        {
            let kind = WakeKind::ChildEnded { no, status };
            wakes.push((self.now, parent.workflow(), kind));
        }
        for (at, workflow, kind) in wakes {
            let position = self.store.draw();
            self.store.wakes.insert((at, position), (workflow, kind));
        }
        self.keep_signals(id, changes);
        if let Some(run) = self.store.runs.get_mut(&id) {
            run.head = part.head;
            run.tasks.extend(part.tasks);
        }
        self.tell(id, changes, cause)?;
        self.check_step(id, changes, cause)
    }

    fn move_tasks(&mut self, part: &Run, changes: &Changes) {
        let id = part.head.id;
        for step in &changes.queue {
            match *step {
                QueueMove::Enter { no, holds_keys } => {
                    let row = Row {
                        position: self.store.draw(),
                        lease: None,
                        claimed_at: self.now,
                        shall_stop: false,
                        holds_keys,
                        is_parked: part.head.status == WorkflowStatus::Paused,
                    };
                    self.store.queue.insert(id.task(no), row);
                }
                // The claim writes the lease.
                QueueMove::Take { .. } => {}
                QueueMove::Leave { no } => {
                    self.store.queue.remove(&id.task(no));
                }
                QueueMove::Stop { no } => {
                    if let Some(row) = self.store.queue.get_mut(&id.task(no)) {
                        row.shall_stop = true;
                    }
                }
            }
        }
        if let Some(parked) = changes.parked
            && self.defect != Some(StoreDefect::ServesPaused)
        {
            let rows = self.store.queue.iter_mut();
            for (_, row) in rows.filter(|(task, _)| task.workflow() == id) {
                row.is_parked = parked;
            }
        }
    }

    fn keep_signals(&mut self, id: WorkflowId, changes: &Changes) {
        let forgets = self.defect == Some(StoreDefect::ForgetsSignal);
        let position = i64::try_from(self.store.draw()).unwrap_or(i64::MAX);
        let Some(run) = self.store.runs.get_mut(&id) else {
            return;
        };
        let taken = &changes.taken_signals;
        run.signals
            .retain(|signal| !taken.contains(&signal.position));
        if let Some((name, payload)) = changes.kept_signal.clone()
            && !forgets
        {
            run.signals.push(StoredSignal {
                position,
                name,
                payload,
            });
        }
    }

    fn tell(&mut self, id: WorkflowId, changes: &Changes, cause: Cause<'_>) -> Result<(), Broken> {
        if self.is_broken(StoreDefect::EventsApart, 20) {
            return Ok(());
        }
        for event in &changes.events {
            self.tally.event(event);
            self.trace.mix(event.kind as u64);
            let no = event.task.map_or(u64::MAX, |no| u64::from(no.get()));
            self.trace.mix(no << 32 | u64::from(event.attempt));
            self.trace
                .mix_text(event.detail.as_deref().unwrap_or_default());
            self.trace.note(|| {
                let task = event.task.map(|no| format!(" {no}/{}", event.attempt));
                let (kind, task) = (event.kind.as_str(), task.unwrap_or_default());
                format!(
                    "      {kind}{task} {}",
                    event.detail.as_deref().unwrap_or_default()
                )
            });
            self.store.events.push((id, event.clone()));
            if let Some(mirror) = self.mirrors.get_mut(&id) {
                mirror.learn(event, cause)?;
            }
        }
        Ok(())
    }
}

/// The part of an identifier that differs.
pub(super) fn short(id: WorkflowId) -> String {
    format!("w{}", id.as_uuid().as_u128() >> 12 & 0xffff)
}
