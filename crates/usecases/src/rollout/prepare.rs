//! Preparing an update: the same steps when it is asked for and when it is run.

use drover_domain::rollout::executor::{
    ContextError, OrchestratorContext, PrepareError, PreparedPlaybook, prepare_all,
};
use drover_domain::rollout::orchestrator::OrchestratorMetadata;
use drover_domain::rollout::playbook_path::{PlaybookPath, PlaybookPathError};
use drover_domain::rollout::record::{RolloutId, RolloutRequest};
use drover_domain::rollout::snapshot::FleetSnapshot;
use drover_ports::{Fault, PlaybookRunner, RunnerError};

/// What a playbook is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PlaybookUse {
    /// It runs the update: the request names it, or the service's setting.
    Orchestrator,
    /// It updates one application: the settings of the application name it.
    Update,
}

impl std::fmt::Display for PlaybookUse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Orchestrator => "orchestrator",
            Self::Update => "update",
        })
    }
}

/// Why an update cannot be prepared; the message goes to the user unchanged.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unprepared {
    /// The request is not complete.
    #[error(transparent)]
    Context(#[from] ContextError),
    /// The fleet or the playbook does not fit the request.
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    /// The update playbook's path cannot be read.
    #[error(transparent)]
    Path(#[from] PlaybookPathError),
    /// A playbook is not where it should be.
    #[error(
        "there is no file `{name}` for the {playbook} playbook in the playbook folder of the control host; put it there or choose \
         another (a folder is no playbook, and a link must lead to a file in the folder)"
    )]
    NoSuchPlaybook {
        /// What it is for.
        playbook: PlaybookUse,
        /// Its file name.
        name: String,
    },
    /// A playbook's file cannot be run.
    #[error("the {playbook} playbook `{name}` cannot be run: {reason}")]
    Unusable {
        /// What it is for.
        playbook: PlaybookUse,
        /// Its file name.
        name: String,
        /// Why not.
        reason: String,
    },
    /// The control host did not do its part.
    #[error(transparent)]
    Runner(RunnerError),
}

impl Unprepared {
    pub(crate) const fn fault(&self) -> Fault {
        match self {
            Self::Context(_)
            | Self::Prepare(_)
            | Self::Path(_)
            | Self::NoSuchPlaybook { .. }
            | Self::Unusable { .. } => Fault::Permanent,
            Self::Runner(source) => source.fault(),
        }
    }
}

/// Runs the executor template; one prepared playbook per backend.
pub(crate) fn prepare(
    rollout: RolloutId,
    request: &RolloutRequest,
    playbook_path: &str,
    orchestrator: &OrchestratorMetadata,
    snapshot: &FleetSnapshot,
) -> Result<Vec<PreparedPlaybook>, Unprepared> {
    let context = OrchestratorContext::new(
        rollout,
        request.applications.clone(),
        request.artifact.clone(),
        request.mode,
        orchestrator.clone(),
        playbook_path.to_owned(),
        request.drain_wait,
    )?
    .allowing_undrained(request.allow_undrained);
    Ok(prepare_all(&context, snapshot)?)
}

/// A playbook file that an update needs: its name and the digest of its text, if it is known.
pub(crate) type UsedPlaybook = (String, Option<String>);

/// Checks that the orchestrator and the update playbooks are where the control host finds them, and returns them in this
/// order: a play must not learn that after it has drained something. `folder` is the playbook folder of the control host.
pub(crate) async fn check_playbooks<'a>(
    runner: &dyn PlaybookRunner,
    folder: &str,
    orchestrator: &str,
    update_paths: impl IntoIterator<Item = &'a str>,
) -> Result<Vec<UsedPlaybook>, Unprepared> {
    let mut wanted = vec![(PlaybookUse::Orchestrator, orchestrator.to_owned())];
    for path in update_paths {
        let name = PlaybookPath::parse(path)?.file_in(folder)?.to_owned();
        wanted.push((PlaybookUse::Update, name));
    }
    let files = runner.playbooks().await.map_err(Unprepared::Runner)?;
    let mut used = Vec::with_capacity(wanted.len());
    for (playbook, name) in wanted {
        let Some(file) = files.iter().find(|file| file.name == name) else {
            return Err(Unprepared::NoSuchPlaybook { playbook, name });
        };
        if let Some(reason) = file.why_unusable() {
            let reason = reason.to_owned();
            return Err(Unprepared::Unusable {
                playbook,
                name,
                reason,
            });
        }
        used.push((name, file.digest.clone()));
    }
    Ok(used)
}
