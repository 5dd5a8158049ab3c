//! The JSON documents inside rows: prepared playbooks, parameters, counts, reports.
//!
//! They are ours alone and may only grow: an older row must stay readable.

use std::collections::BTreeMap;

use drover_domain::Key;
use drover_domain::rollout::executor::{
    Batch, BatchLabel, BatchMember, PreparedBackend, PreparedPlaybook,
};
use drover_domain::rollout::job::{HostStats, TargetReport, Variable};
use drover_domain::rollout::orchestrator::Parameter;
use drover_domain::rollout::record::TargetOutcome;
use drover_ports::StoreError;
use serde::{Deserialize, Serialize};

use super::Stored;

/// The value of a playbook variable.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum VariableShape {
    Text(String),
    Integer(i64),
    Boolean(bool),
}

impl VariableShape {
    fn write(variable: &Variable) -> Self {
        match variable {
            Variable::Text(text) => Self::Text(text.clone()),
            Variable::Integer(number) => Self::Integer(*number),
            Variable::Boolean(truth) => Self::Boolean(*truth),
        }
    }

    fn read(self) -> Variable {
        match self {
            Self::Text(text) => Variable::Text(text),
            Self::Integer(number) => Variable::Integer(number),
            Self::Boolean(truth) => Variable::Boolean(truth),
        }
    }
}

/// A prepared playbook.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PreparedShape {
    playbook: String,
    playbook_path: String,
    extra_params: BTreeMap<String, VariableShape>,
    batches: Vec<BatchShape>,
    backend: Option<BackendShape>,
}

#[derive(Debug, Serialize, Deserialize)]
struct BatchShape {
    label: String,
    members: Vec<MemberShape>,
}

#[derive(Debug, Serialize, Deserialize)]
struct MemberShape {
    application: i64,
    composite: String,
    haproxy_server: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct BackendShape {
    instance: i64,
    instance_name: String,
    backend: i64,
    backend_name: String,
    api_url: String,
}

impl PreparedShape {
    /// The shape of a prepared playbook.
    pub(crate) fn write(prepared: &PreparedPlaybook) -> Self {
        let parameters = prepared.extra_params.iter();
        Self {
            playbook: prepared.playbook.clone(),
            playbook_path: prepared.playbook_path.clone(),
            extra_params: parameters
                .map(|(name, value)| (name.clone(), VariableShape::write(value)))
                .collect(),
            batches: prepared.batches.iter().map(BatchShape::write).collect(),
            backend: prepared.backend.as_ref().map(|backend| BackendShape {
                instance: backend.instance.get(),
                instance_name: backend.instance_name.clone(),
                backend: backend.backend.get(),
                backend_name: backend.backend_name.clone(),
                api_url: backend.api_url.clone(),
            }),
        }
    }

    /// The prepared playbook.
    pub(crate) fn read(self, stored: &Stored) -> Result<PreparedPlaybook, StoreError> {
        Ok(PreparedPlaybook {
            playbook: self.playbook,
            playbook_path: self.playbook_path,
            extra_params: self
                .extra_params
                .into_iter()
                .map(|(name, value)| (name, value.read()))
                .collect(),
            batches: self
                .batches
                .into_iter()
                .map(|batch| batch.read(stored))
                .collect::<Result<_, _>>()?,
            backend: self.backend.map(|backend| PreparedBackend {
                instance: Key::new(backend.instance),
                instance_name: backend.instance_name,
                backend: Key::new(backend.backend),
                backend_name: backend.backend_name,
                api_url: backend.api_url,
            }),
        })
    }
}

impl BatchShape {
    fn write(batch: &Batch) -> Self {
        let members = batch.members.iter().map(|member| MemberShape {
            application: member.application.get(),
            composite: member.composite.clone(),
            haproxy_server: member.haproxy_server.clone(),
        });
        Self {
            label: batch.label.as_str().to_owned(),
            members: members.collect(),
        }
    }

    fn read(self, stored: &Stored) -> Result<Batch, StoreError> {
        let members = self.members.into_iter().map(|member| BatchMember {
            application: Key::new(member.application),
            composite: member.composite,
            haproxy_server: member.haproxy_server,
        });
        Ok(Batch {
            label: stored.word("batch", &self.label, BatchLabel::parse)?,
            members: members.collect(),
        })
    }
}

/// The closing counts of a host.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct HostShape {
    host: String,
    ok: u32,
    changed: u32,
    unreachable: u32,
    failed: u32,
    skipped: u32,
    rescued: u32,
    ignored: u32,
}

impl HostShape {
    /// The shapes of counts.
    pub(crate) fn write(hosts: &[HostStats]) -> Vec<Self> {
        let shape = |host: &HostStats| Self {
            host: host.host.clone(),
            ok: host.ok,
            changed: host.changed,
            unreachable: host.unreachable,
            failed: host.failed,
            skipped: host.skipped,
            rescued: host.rescued,
            ignored: host.ignored,
        };
        hosts.iter().map(shape).collect()
    }

    /// The counts.
    pub(crate) fn read(self) -> HostStats {
        HostStats {
            host: self.host,
            ok: self.ok,
            changed: self.changed,
            unreachable: self.unreachable,
            failed: self.failed,
            skipped: self.skipped,
            rescued: self.rescued,
            ignored: self.ignored,
        }
    }
}

/// The report of a playbook about a target.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ReportShape {
    composite: String,
    outcome: String,
    detail: Option<String>,
}

impl ReportShape {
    /// The shape of a report.
    pub(crate) fn write(report: &TargetReport) -> Self {
        Self {
            composite: report.composite.clone(),
            outcome: report.outcome.as_str().to_owned(),
            detail: report.detail.clone(),
        }
    }

    /// The report.
    pub(crate) fn read(self, stored: &Stored) -> Result<TargetReport, StoreError> {
        Ok(TargetReport {
            composite: self.composite,
            outcome: stored.word("outcome", &self.outcome, TargetOutcome::parse)?,
            detail: self.detail,
        })
    }
}

/// A declared parameter of a playbook.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ParameterShape {
    name: String,
    description: Option<String>,
    default: Option<VariableShape>,
}

impl ParameterShape {
    /// The shapes of parameters.
    pub(crate) fn write(parameters: &[Parameter]) -> Vec<Self> {
        let shape = |parameter: &Parameter| Self {
            name: parameter.name.clone(),
            description: parameter.description.clone(),
            default: parameter.default.as_ref().map(VariableShape::write),
        };
        parameters.iter().map(shape).collect()
    }

    /// The parameter.
    pub(crate) fn read(self) -> Parameter {
        Parameter {
            name: self.name,
            description: self.description,
            default: self.default.map(VariableShape::read),
        }
    }
}
