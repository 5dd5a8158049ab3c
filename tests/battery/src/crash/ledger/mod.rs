//! What really happened outside: lines in a file that is only ever appended to.
//!
//! The ledger is the world that tasks act upon, and the only witness of what they did: a process of its own
//! that is never killed. Its answers are on the disk before they are sent.

mod book;
mod client;
mod server;

use std::fmt;
use std::io;

use async_trait::async_trait;
use drover_domain::workflow::{Guarantee, TaskId};

pub(crate) use book::Book;
pub(crate) use client::Client;
pub(crate) use server::serve;

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deed {
    /// An attempt began; for what cannot be repeated that is the start.
    Begin,
    /// It had its effect.
    Effect,
    /// It asked for an effect that its key had had before.
    Repeat,
    /// It had none and said so.
    Refusal,
}

impl Deed {
    const ALL: [Self; 4] = [Self::Begin, Self::Effect, Self::Repeat, Self::Refusal];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Begin => "begin",
            Self::Effect => "effect",
            Self::Repeat => "repeat",
            Self::Refusal => "refusal",
        }
    }
}

/// A line of the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) deed: Deed,
    /// What the task promises.
    pub(crate) class: Guarantee,
    pub(crate) task: TaskId,
    pub(crate) attempt: u32,
    /// The task's idempotency key, as the handler was given it.
    pub(crate) key: String,
    /// The concurrency key it has to itself from its beginning to its effect.
    pub(crate) lock: Option<String>,
}

const NOTHING: &str = "-";

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (deed, class) = (self.deed.as_str(), self.class.as_str());
        let lock = self.lock.as_deref().unwrap_or(NOTHING);
        let (task, attempt, key) = (self.task, self.attempt, &self.key);
        write!(f, "{deed}\t{class}\t{task}\t{attempt}\t{key}\t{lock}")
    }
}

impl Entry {
    /// A line that was written; `None` if it never was one.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let mut words = line.split('\t');
        let deed = words.next()?;
        let entry = Self {
            deed: Deed::ALL.into_iter().find(|one| one.as_str() == deed)?,
            class: Guarantee::parse(words.next()?)?,
            task: words.next()?.parse().ok()?,
            attempt: words.next()?.parse().ok()?,
            key: words.next()?.to_owned(),
            lock: Some(words.next()?.to_owned()).filter(|lock| lock != NOTHING),
        };
        words.next().is_none().then_some(entry)
    }
}

/// The world as handlers see it.
#[async_trait]
pub(crate) trait Witness: Send + Sync {
    /// Carries it out and records it; an effect of the class G1 happens once for its key, for all callers.
    async fn tell(&self, entry: Entry) -> io::Result<()>;

    /// Whether an effect with this key has happened.
    async fn has(&self, key: &str) -> io::Result<bool>;
}
