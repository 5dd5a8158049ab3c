//! Webhooks: receivers, their types of events, and notices.
//!
//! After Standard Webhooks 1.0.0: a message has an identifier that repetitions keep, a type and a time; it is small and
//! names things rather than showing them whole.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use crate::fleet::{ApplicationKey, ApplicationStatus, ServerKey, ServerStatus};
use crate::haproxy::{HaproxyServerKey, ServerWord};
use crate::workflow::{
    Action, Definition, DefinitionError, ExecutionMode, Guarantee, Json, Kind, QueueName,
    RetryPolicy, RetryPolicyError, RetryStrategy, TaskId, TaskKey, TaskNo, TaskPolicy, TaskSpec,
    TaskStatus, Work, WorkflowId,
};
use crate::{Key, Timestamp};

/// The name of the kind, and of every workflow that is a delivery.
pub const DELIVERY_KIND: &str = "webhook.deliver";
/// The name of the queue.
pub const DELIVERY_QUEUE: &str = "webhooks";
/// The key of the only task.
const DELIVERY_TASK: &str = "deliver";

/// The most webhooks there are.
pub const WEBHOOKS_MAX: usize = 100;
/// The most characters of a URL.
pub const URL_MAX: usize = 2048;
/// How long a secret that was replaced signs along.
pub const ROTATION: Duration = Duration::from_hours(24);
/// The longest a receiver may take. Standard Webhooks says 15 to 30 s.
pub const DELIVERY_TIMEOUT: Duration = Duration::from_secs(15);
/// The most attempts of one delivery that are kept.
pub const ATTEMPTS_MAX: u32 = 20;

/// Marks the keys of webhooks.
#[derive(Debug)]
pub enum WebhookKind {}
/// The key of a webhook.
pub type WebhookKey = Key<WebhookKind>;

/// What a message is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventType {
    /// The agent of a server answers again, or no longer answers.
    ServerStatus,
    /// The status of an application on a server changed.
    InstanceStatus,
    /// The version of an application on a server changed.
    InstanceVersion,
    /// What HAProxy shows of a server changed.
    HaproxyStatus,
    /// An action on a server in HAProxy ended.
    ActionFinished,
    /// Somebody tries a webhook out.
    Test,
}

impl EventType {
    /// Those one can ask for.
    pub const ALL: [Self; 5] = [
        Self::ServerStatus,
        Self::InstanceStatus,
        Self::InstanceVersion,
        Self::HaproxyStatus,
        Self::ActionFinished,
    ];

    /// The word used in storage and messages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ServerStatus => "server.status_changed",
            Self::InstanceStatus => "instance.status_changed",
            Self::InstanceVersion => "instance.version_changed",
            Self::HaproxyStatus => "haproxy.server.status_changed",
            Self::ActionFinished => "haproxy.action.finished",
            Self::Test => "webhook.test",
        }
    }

    /// The type with this word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        let all = Self::ALL.into_iter().chain([Self::Test]);
        all.into_iter().find(|event| event.as_str() == word)
    }
}

/// What messages are signed with: `whsec_` and 24 to 64 bytes in base64. Never shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookSecret(String);

impl WebhookSecret {
    /// What it begins with.
    pub const PREFIX: &str = "whsec_";

    /// A secret as it is written.
    #[must_use]
    pub const fn new(text: String) -> Self {
        Self(text)
    }

    /// It as it is written.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookSecret(…)")
    }
}

/// The secrets of a webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookSecrets {
    /// The one that signs.
    pub current: WebhookSecret,
    /// The one that signs along, and until when.
    pub former: Option<(WebhookSecret, Timestamp)>,
}

impl WebhookSecrets {
    /// Those that sign now.
    pub fn valid(&self, now: Timestamp) -> impl Iterator<Item = &WebhookSecret> {
        let former = self.former.as_ref().filter(move |(_, until)| now < *until);
        [&self.current]
            .into_iter()
            .chain(former.map(|(secret, _)| secret))
    }
}

/// The settings of a webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookWish {
    /// Where messages go: `https` or `http`, without user and password.
    pub url: String,
    /// What it is for, in their words.
    pub description: Option<String>,
    /// The types of events to deliver; empty for all.
    pub events: BTreeSet<EventType>,
    /// Whether deliveries are enabled.
    pub is_active: bool,
}

/// A receiver of events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// Its key.
    pub key: WebhookKey,
    /// Its settings.
    pub wish: WebhookWish,
    /// Why Drover switched it off; it is not active then.
    pub disabled: Option<String>,
    /// When it was created; earlier events are not delivered.
    pub created_at: Timestamp,
    /// By whom.
    pub created_by: String,
}

impl Webhook {
    /// Whether it receives this event.
    #[must_use]
    pub fn wants(&self, notice: &Notice) -> bool {
        let events = &self.wish.events;
        self.wish.is_active
            && self.created_at <= notice.at
            && (events.is_empty() || events.contains(&notice.event()))
    }
}

/// An application on a server, as messages name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedInstance {
    /// Its key.
    pub key: ApplicationKey,
    /// Its name.
    pub name: String,
    /// Its server's name; `None` when that is gone.
    pub server: Option<String>,
}

/// A server in HAProxy, as messages name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedHaproxyServer {
    /// Its key.
    pub key: HaproxyServerKey,
    /// Its name in HAProxy.
    pub name: String,
    /// Its backend's name.
    pub backend: String,
    /// The name of its HAProxy at the agent.
    pub instance: String,
    /// The name of the server whose agent manages that.
    pub node: String,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Noticed {
    /// The agent of a server answers again, or no longer answers.
    ServerStatus {
        /// The server.
        server: ServerKey,
        /// Its name.
        name: String,
        /// What it is now; it was the other one before.
        new: ServerStatus,
    },
    /// The status of an application changed.
    InstanceStatus {
        /// The application.
        instance: NamedInstance,
        /// Before.
        old: ApplicationStatus,
        /// After.
        new: ApplicationStatus,
    },
    /// The version of an application changed.
    InstanceVersion {
        /// The application.
        instance: NamedInstance,
        /// Before: a version, or the tag of an image.
        old: Option<String>,
        /// After.
        new: Option<String>,
        /// The update that did it.
        rollout: Option<crate::rollout::record::RolloutId>,
    },
    /// What HAProxy shows changed.
    HaproxyStatus {
        /// The server.
        server: NamedHaproxyServer,
        /// Before.
        old: ServerWord,
        /// After.
        new: ServerWord,
        /// The action that did it, and who asked for it.
        action: Option<(TaskId, Option<String>)>,
    },
    /// An action on a server in HAProxy ended.
    ActionFinished {
        /// The action.
        action: TaskId,
        /// The server.
        server: NamedHaproxyServer,
        /// The state that was wanted.
        wanted: String,
        /// Who asked.
        actor: String,
        /// Why it failed: a word for programs and a sentence.
        failure: Option<(String, String)>,
    },
    /// Somebody tries a webhook out.
    Test {
        /// Who.
        actor: String,
    },
}

/// What happened, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// When.
    pub at: Timestamp,
    /// What.
    pub what: Noticed,
}

impl Notice {
    /// What it is about.
    #[must_use]
    pub const fn event(&self) -> EventType {
        match self.what {
            Noticed::ServerStatus { .. } => EventType::ServerStatus,
            Noticed::InstanceStatus { .. } => EventType::InstanceStatus,
            Noticed::InstanceVersion { .. } => EventType::InstanceVersion,
            Noticed::HaproxyStatus { .. } => EventType::HaproxyStatus,
            Noticed::ActionFinished { .. } => EventType::ActionFinished,
            Noticed::Test { .. } => EventType::Test,
        }
    }
}

/// Where a delivery stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeliveryStatus {
    /// It is to be sent, for the first time or again.
    Pending,
    /// The receiver took it.
    Delivered,
    /// No further attempt is made.
    Failed,
}

impl DeliveryStatus {
    /// Every status.
    pub const ALL: [Self; 3] = [Self::Pending, Self::Delivered, Self::Failed];

    /// What the status of its task means.
    #[must_use]
    pub const fn of(task: TaskStatus) -> Self {
        match task {
            TaskStatus::Pending
            | TaskStatus::Queued
            | TaskStatus::Running
            | TaskStatus::Retrying
            | TaskStatus::Waiting => Self::Pending,
            TaskStatus::Succeeded => Self::Delivered,
            TaskStatus::Failed
            | TaskStatus::TimedOut
            | TaskStatus::Cancelled
            | TaskStatus::Skipped
            | TaskStatus::Unknown => Self::Failed,
        }
    }

    /// The word used in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
        }
    }
}

/// One try to deliver a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryAttempt {
    /// Which, from 1.
    pub number: u32,
    /// When it began.
    pub at: Timestamp,
    /// How long it took.
    pub took: Duration,
    /// What the receiver answered with.
    pub status: Option<u16>,
    /// Why it did not arrive, a sentence.
    pub failure: Option<String>,
}

/// A message on its way to one webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The task that sends it.
    pub id: TaskId,
    /// The receiver.
    pub webhook: WebhookKey,
    /// The identifier of the message; sending it again by hand keeps it.
    pub message: String,
    /// What it is about.
    pub event: EventType,
    /// The body, JSON.
    pub payload: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// Where it stands.
    pub status: DeliveryStatus,
    /// The tries so far, oldest first, at most [`ATTEMPTS_MAX`].
    pub attempts: Vec<DeliveryAttempt>,
}

/// The kind of the task.
#[must_use]
pub fn delivery_kind() -> Kind {
    Kind::of_ours(DELIVERY_KIND)
}

/// The queue in which deliveries wait for a worker.
#[must_use]
pub fn delivery_queue() -> QueueName {
    QueueName::of_ours(DELIVERY_QUEUE)
}

/// The only task of a delivery.
#[must_use]
pub const fn delivery_task(workflow: WorkflowId) -> TaskId {
    workflow.task(TaskNo::FIRST)
}

/// The waits after a delivery that failed: 5 s, 20 s, 80 s and so on, four times as long each, at most ten hours; less
/// up to a tenth by chance. Thirteen of them are three days, as Standard Webhooks has it.
fn retries() -> Result<RetryPolicy, RetryPolicyError> {
    RetryPolicy::new(RetryStrategy::Exponential, Duration::from_secs(5), 13)?
        .with_max_interval(Duration::from_hours(10))?
        .with_base(4.0)?
        .with_jitter(0.1)
}

/// What a delivery to a webhook consists of. Of one webhook one is under way at a time: a receiver that hangs keeps no
/// other one waiting.
///
/// # Errors
///
/// [`DefinitionError`]: never, as long as our names are names.
pub fn delivery_definition(webhook: WebhookKey) -> Result<Definition, DefinitionError> {
    let work = Work {
        kind: delivery_kind(),
        action: Action::Run,
        queue: delivery_queue(),
        priority: 0,
        payload: Json::null(),
        policy: TaskPolicy {
            timeout: DELIVERY_TIMEOUT * 2,
            retry: retries().unwrap_or(RetryPolicy::NEVER),
            ..TaskPolicy::once(Guarantee::G3)
        },
    };
    let task = TaskSpec {
        key: TaskKey::of_ours(DELIVERY_TASK),
        work,
        depends_on: Vec::new(),
        concurrency_keys: vec![format!("webhook:{webhook}")],
        compensation: None,
    };
    Definition::new(ExecutionMode::Sequential, vec![task])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_names_are_names_and_words_read_back() {
        assert_eq!(Kind::parse(DELIVERY_KIND), Ok(delivery_kind()));
        assert_eq!(QueueName::parse(DELIVERY_QUEUE), Ok(delivery_queue()));
        assert!(delivery_definition(Key::new(1)).is_ok());
        for event in EventType::ALL.into_iter().chain([EventType::Test]) {
            assert_eq!(EventType::parse(event.as_str()), Some(event));
        }
        assert_eq!(EventType::parse("server"), None);
    }

    #[test]
    fn it_is_tried_for_about_three_days() {
        let policy = retries().unwrap();
        let waits: Vec<Duration> = (0..)
            .map_while(|failures| policy.delay(failures, 0.0))
            .collect();
        assert_eq!(waits.len(), 13);
        let total: Duration = waits.iter().sum();
        assert!(
            total > Duration::from_hours(60) && total < Duration::from_hours(80),
            "{total:?}"
        );
    }

    #[test]
    fn what_was_before_is_not_told() {
        let webhook = Webhook {
            key: Key::new(1),
            wish: WebhookWish {
                url: "https://a".to_owned(),
                description: None,
                events: BTreeSet::from([EventType::Test]),
                is_active: true,
            },
            disabled: None,
            created_at: Timestamp::from_micros(5),
            created_by: "ann".to_owned(),
        };
        let notice = |at| Notice {
            at: Timestamp::from_micros(at),
            what: Noticed::Test {
                actor: "ann".to_owned(),
            },
        };
        assert!(webhook.wants(&notice(5)) && !webhook.wants(&notice(4)));
        let mut other = webhook.clone();
        other.wish.events = BTreeSet::from([EventType::ServerStatus]);
        assert!(!other.wants(&notice(9)));
        other.wish.events.clear();
        assert!(other.wants(&notice(9)));
        other.wish.is_active = false;
        assert!(!other.wants(&notice(9)));
    }

    #[test]
    fn a_former_secret_signs_along_for_a_while() {
        let secret = |text: &str| WebhookSecret::new(text.to_owned());
        let secrets = WebhookSecrets {
            current: secret("new"),
            former: Some((secret("old"), Timestamp::from_micros(9))),
        };
        let valid = |at| secrets.valid(Timestamp::from_micros(at)).count();
        assert_eq!((valid(8), valid(9)), (2, 1));
        assert_eq!(format!("{:?}", secrets.current), "WebhookSecret(…)");
    }
}
