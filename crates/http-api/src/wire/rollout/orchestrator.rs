//! Orchestrator playbooks.

use drover_domain::rollout::job::Variable;
use drover_domain::rollout::orchestrator::{self, OrchestratorPlaybook};
use drover_usecases::Scan;
use serde::Serialize;
use utoipa::ToSchema;

use crate::wire::schema::Instant;

/// A playbook that updates applications in batches behind HAProxy.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Orchestrator {
    /// Its id.
    #[schema(minimum = 1)]
    id: i64,
    /// Its file in the playbook folder; unique.
    file_path: String,
    /// Its name.
    name: String,
    /// What it does.
    description: Option<String>,
    /// Its version.
    version: Option<String>,
    /// Parameters that must have a value.
    required_params: Vec<PlaybookParameter>,
    /// Parameters that may have one.
    optional_params: Vec<PlaybookParameter>,
    /// Whether it may be used.
    is_active: bool,
    /// When its header was last read.
    last_scanned: Instant,
}

impl From<OrchestratorPlaybook> for Orchestrator {
    fn from(playbook: OrchestratorPlaybook) -> Self {
        let OrchestratorPlaybook {
            key,
            metadata,
            is_active,
            last_scanned,
        } = playbook;
        Self {
            id: key.get(),
            file_path: metadata.file_path,
            name: metadata.name,
            description: metadata.description,
            version: metadata.version,
            required_params: metadata.required.into_iter().map(Into::into).collect(),
            optional_params: metadata.optional.into_iter().map(Into::into).collect(),
            is_active,
            last_scanned: last_scanned.into(),
        }
    }
}

/// A parameter of a playbook, as its header describes it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PlaybookParameter {
    /// Its name.
    name: String,
    /// What it is for.
    description: Option<String>,
    /// The default value.
    default: Option<DefaultValue>,
}

impl From<orchestrator::Parameter> for PlaybookParameter {
    fn from(parameter: orchestrator::Parameter) -> Self {
        Self {
            name: parameter.name,
            description: parameter.description,
            default: parameter.default.map(Into::into),
        }
    }
}

/// A text, a whole number or a truth value.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum DefaultValue {
    Text(String),
    Integer(i64),
    Boolean(bool),
}

impl From<Variable> for DefaultValue {
    fn from(value: Variable) -> Self {
        match value {
            Variable::Text(text) => Self::Text(text),
            Variable::Integer(number) => Self::Integer(number),
            Variable::Boolean(truth) => Self::Boolean(truth),
        }
    }
}

/// What a scan of the playbook folder found.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ScanReport {
    /// Orchestrator playbooks in the folder.
    scanned: u32,
    /// Seen for the first time.
    new: u32,
    /// Known before, with another header now.
    updated: u32,
    /// Files that could not be read.
    pub(crate) errors: Vec<ScanFailure>,
}

/// A file that could not be read.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ScanFailure {
    /// The file.
    file: String,
    /// Why.
    error: String,
}

impl From<Scan> for ScanReport {
    fn from(scan: Scan) -> Self {
        let errors = scan
            .errors
            .into_iter()
            .map(|(file, error)| ScanFailure { file, error })
            .collect();
        Self {
            scanned: scan.scanned,
            new: scan.new,
            updated: scan.updated,
            errors,
        }
    }
}
