//! What belongs to Drover itself: its queues, and workflows that have verbs of their own.

use drover_domain::haproxy::action::{ACTION_KIND, ACTION_QUEUE, action_kind};
use drover_domain::rollout::definition;
use drover_domain::webhook::{DELIVERY_KIND, DELIVERY_QUEUE, delivery_kind};
use drover_domain::workflow::run::{Control, Decision};
use drover_domain::workflow::{Definition, Kind, QueueName};

/// The queues whose tasks only Drover makes: a task of a user in them would hold back what releases and drains.
const QUEUES: [&str; 3] = [ACTION_QUEUE, definition::QUEUE, DELIVERY_QUEUE];

/// Whether tasks that users ask for may not stand in this queue.
pub(crate) fn is_reserved(queue: &QueueName) -> bool {
    QUEUES.contains(&queue.as_str())
}

/// The first reserved queue that a definition names.
pub(crate) fn reserved_queue(definition: &Definition) -> Option<&QueueName> {
    let works = definition
        .tasks()
        .iter()
        .flat_map(|spec| [Some(&spec.work), spec.compensation.as_ref()]);
    works
        .flatten()
        .map(|work| &work.queue)
        .find(|queue| is_reserved(queue))
}

/// A kind of workflow that only Drover starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Own {
    Update,
    Action,
    Delivery,
}

impl Own {
    /// The kinds of their tasks.
    pub(super) fn kinds() -> Vec<Kind> {
        vec![definition::kind(), action_kind(), delivery_kind()]
    }

    /// The workflow that consists of a task of this kind.
    pub(super) fn of(kind: &Kind) -> Option<Self> {
        match kind.as_str() {
            definition::KIND => Some(Self::Update),
            ACTION_KIND => Some(Self::Action),
            DELIVERY_KIND => Some(Self::Delivery),
            _ => None,
        }
    }

    /// The workflow whose tasks wait in this queue.
    pub(super) fn in_queue(queue: &QueueName) -> Option<Self> {
        match queue.as_str() {
            definition::QUEUE => Some(Self::Update),
            ACTION_QUEUE => Some(Self::Action),
            DELIVERY_QUEUE => Some(Self::Delivery),
            _ => None,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Update => "an update",
            Self::Action => "an action on a server in HAProxy",
            Self::Delivery => "a delivery to a webhook",
        }
    }

    const fn again(self) -> &'static str {
        match self {
            Self::Update => {
                "start a new one for the applications that are not done: `drover rollout start --app …`, or \
                 `POST /api/v1/rollouts`"
            }
            Self::Action => {
                "request it again: `drover haproxy drain|maint|ready …`, or \
                 `POST /api/v1/haproxy/servers/{id}/action`"
            }
            Self::Delivery => {
                "send it again: `drover webhooks redeliver …`, or \
                 `POST /api/v1/webhook-deliveries/{id}/redeliver`"
            }
        }
    }

    const fn queue(self) -> &'static str {
        match self {
            Self::Update => definition::QUEUE,
            Self::Action => ACTION_QUEUE,
            Self::Delivery => DELIVERY_QUEUE,
        }
    }

    /// Why it is not done again by a verb for workflows, and how it is.
    pub(super) fn no_retry(self) -> String {
        format!(
            "{} is not repeated as a workflow; {}",
            self.name(),
            self.again()
        )
    }

    /// Why it takes no signals.
    pub(super) fn no_signal(self) -> String {
        format!("{} waits for no signal", self.name())
    }

    /// Why a person may not steer it so; nothing where they may.
    pub(super) fn no_control(self, control: &Control) -> Option<String> {
        match control {
            Control::Cancel { .. } => None,
            Control::Start | Control::Pause | Control::Resume => Some(format!(
                "{} cannot be held back by itself; pause the queue `{queue}` so that no other one starts \
                 (`drover queues pause {queue}`), or cancel it",
                self.name(),
                queue = self.queue(),
            )),
        }
    }

    /// Why a person may not decide so; nothing where they may.
    pub(super) fn no_decision(self, decision: &Decision, is_admin: bool) -> Option<String> {
        match decision {
            Decision::Retry => Some(self.no_retry()),
            Decision::Skip | Decision::Succeeded { .. } => Some(format!(
                "{} that is unknown can only be resolved as failed, with the reason as the error; then {}",
                self.name(),
                self.again()
            )),
            Decision::Failed { .. } if is_admin => None,
            Decision::Failed { .. } => Some(format!(
                "only an admin resolves {} that is unknown",
                self.name()
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_ours_has_its_queue_and_its_verbs() {
        for kind in Own::kinds() {
            let own = Own::of(&kind).unwrap();
            let queue = QueueName::parse(own.queue()).unwrap();
            assert!(is_reserved(&queue));
            assert_eq!(Own::in_queue(&queue), Some(own));
            assert!(own.no_retry().contains("drover "), "{}", own.no_retry());
            assert_eq!(
                own.no_control(&Control::Cancel {
                    reason: String::new()
                }),
                None
            );
            assert!(
                own.no_control(&Control::Pause)
                    .unwrap()
                    .contains("pause the queue")
            );
        }
        assert_eq!(Own::of(&Kind::parse("http.request").unwrap()), None);
    }
}
