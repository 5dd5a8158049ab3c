//! What the port [`PlaybookRunner`] promises, and a fake that keeps it.
//!
//! The cases are functions over a [`RunnerWorld`]: a runner, and a way to say what its plays do.

#[macro_use]
mod contract;
mod scripted;

pub use contract::*;
pub use scripted::{Script, ScriptedRunner};

use async_trait::async_trait;
use drover_domain::rollout::job::JobId;
use drover_ports::{ArtifactProbe, PlaybookRunner};

/// What a play does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Play {
    /// One task on `localhost` prints the value of the variable `text`.
    TellsText,
    /// One task on `localhost` fails and says `no luck`.
    Fails,
    /// One task on `localhost` waits for [`RunnerWorld::release`].
    Waits,
    /// It asks Drover to drain `web1::a_1` within 30 s, 2 servers staying, and prints the state and the detail of the answer.
    AsksToDrain,
    /// It is for a host that does not exist.
    MatchesNobody,
}

/// A runner and the other side of it.
#[async_trait]
pub trait RunnerWorld: Send + Sync {
    /// The runner; its playbook folder is empty at first.
    fn runner(&self) -> &dyn PlaybookRunner;

    /// The same control host, as artifacts are looked for.
    fn artifacts(&self) -> &dyn ArtifactProbe;

    /// An address that answers with this status, with 4 bytes if it is 200; without a status, one that does not answer.
    async fn serve(&self, status: Option<u16>) -> String;

    /// Puts a playbook into the folder.
    async fn arrange(&self, playbook: &str, play: Play);

    /// Lets every [`Play::Waits`] go on, now and later.
    async fn release(&self);

    /// How often a [`Play::Waits`] has begun to wait.
    async fn waits_begun(&self) -> u32;

    /// Kills all processes of a running job at once.
    async fn lose(&self, job: JobId);
}
