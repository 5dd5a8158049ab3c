//! An update as a workflow: one task, whose play is never started twice.

use crate::workflow::{
    Action, Definition, DefinitionError, ExecutionMode, Guarantee, Json, Kind, QueueName, Takeover,
    TaskId, TaskKey, TaskNo, TaskPolicy, TaskSpec, Work, WorkflowId,
};

/// The name of the kind, and of every workflow that is an update.
pub const KIND: &str = "rollout.update";
/// The name of the queue.
pub const QUEUE: &str = "rollouts";
/// The key of the only task.
const TASK: &str = "update";

/// The kind of the task.
#[must_use]
pub fn kind() -> Kind {
    Kind::of_ours(KIND)
}

/// The queue in which updates wait for a worker.
#[must_use]
pub fn queue() -> QueueName {
    QueueName::of_ours(QUEUE)
}

/// The only task of an update.
#[must_use]
pub const fn task(workflow: WorkflowId) -> TaskId {
    workflow.task(TaskNo::FIRST)
}

/// How the task is executed. A play cannot be repeated, so there is no second try; but it outlives its
/// worker, so the next worker follows the play that runs already.
#[must_use]
pub fn policy() -> TaskPolicy {
    TaskPolicy {
        timeout: TaskPolicy::TIMEOUT_MAX,
        takeover: Takeover::Requeue,
        ..TaskPolicy::once(Guarantee::G4)
    }
}

/// What an update consists of that has `concurrency_keys` to itself while it runs.
///
/// # Errors
///
/// [`DefinitionError::ConcurrencyKeys`] when these are too many.
pub fn definition(concurrency_keys: Vec<String>) -> Result<Definition, DefinitionError> {
    let work = Work {
        kind: kind(),
        action: Action::Run,
        queue: queue(),
        priority: 0,
        payload: Json::null(),
        policy: policy(),
    };
    let task = TaskSpec {
        key: TaskKey::of_ours(TASK),
        work,
        depends_on: Vec::new(),
        concurrency_keys,
        compensation: None,
    };
    Definition::new(ExecutionMode::Sequential, vec![task])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workflow::CONCURRENCY_KEYS_MAX;

    #[test]
    fn our_names_are_names() {
        assert_eq!(Kind::parse(KIND), Ok(kind()));
        assert_eq!(QueueName::parse(QUEUE), Ok(queue()));
        assert_eq!(TaskKey::parse(TASK), Ok(TaskKey::of_ours(TASK)));
    }

    #[test]
    fn an_update_is_one_task_that_is_taken_up_again_but_never_repeated() {
        let definition = definition(vec!["group:1".to_owned()]).unwrap();
        let [task] = definition.tasks() else {
            panic!("{definition:?}")
        };
        assert_eq!(task.concurrency_keys, ["group:1"]);
        let policy = task.work.policy.clone().checked().unwrap();
        assert_eq!(
            (policy.guarantee, policy.takeover),
            (Guarantee::G4, Takeover::Requeue)
        );
        assert_eq!(policy.next_wait(0, "update_failed", 0.0), None);
    }

    #[test]
    fn too_many_keys_are_refused() {
        let keys = vec![String::new(); CONCURRENCY_KEYS_MAX + 1];
        assert!(matches!(
            definition(keys),
            Err(DefinitionError::ConcurrencyKeys { given: 65, .. })
        ));
    }
}
