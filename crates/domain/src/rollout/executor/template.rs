//! The template: the same steps for every executor.

use std::collections::BTreeMap;

use crate::fleet::{ApplicationKey, HostNameError};
use crate::rollout::composite::CompositeNameError;
use crate::rollout::job::Variable;
use crate::rollout::parameter::is_reserved;
use crate::rollout::playbook_path::{PlaybookPath, PlaybookPathError};

use super::{
    Batch, BatchLabel, BatchMember, OrchestratorContext, PreparedBackend, PreparedPlaybook,
};

/// Why an update cannot be prepared; the message goes to the user unchanged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PrepareError {
    /// An application is not in the fleet.
    #[error("there is no application with id {application}")]
    UnknownApplication {
        /// Its key.
        application: ApplicationKey,
    },
    /// An application has no server.
    #[error("the application `{name}` (id {application}) has no server; it cannot be updated")]
    NoServer {
        /// Its key.
        application: ApplicationKey,
        /// Its instance name.
        name: String,
    },
    /// An application stands behind more than one server of HAProxy.
    #[error(
        "the application `{name}` (id {application}) serves as {}; one orchestrator run drains one backend, so its other requests would be dropped",
        servers.join(" and ")
    )]
    SeveralBackends {
        /// Its key.
        application: ApplicationKey,
        /// Its instance name.
        name: String,
        /// Where it serves: `instance/backend/server`.
        servers: Vec<String>,
    },
    /// Two applications would have one composite name.
    #[error(
        "the applications with ids {first} and {second} are both called `{composite}`; update them in separate requests"
    )]
    SameComposite {
        /// One.
        first: ApplicationKey,
        /// The other.
        second: ApplicationKey,
        /// The name.
        composite: String,
    },
    /// Applications that should stand behind HAProxy would be updated without a drain.
    #[error(
        "no HAProxy server is mapped to {}, although it, or others of the same group or catalog entry, have stood behind \
         HAProxy, or HAProxy has a server at its address or with its name: the update would not drain anything for it. \
         `GET /api/haproxy/servers/unmapped` (`drover haproxy unmapped`) says why servers are not mapped; map them, or allow \
         an update without a drain with `allow_undrained` (`--allow-undrained`)",
        applications.join(", ")
    )]
    Undrained {
        /// The applications with their servers.
        applications: Vec<String>,
    },
    /// No HAProxy server is mapped to applications, and what stands behind an HAProxy is unknown.
    #[error(
        "no HAProxy server is mapped to {}, and it is unknown what stands behind HAProxy on {}, which was never read whole: \
         the update would not drain anything. `drover haproxy list` says why it was not read; sync it, mark the server as no \
         HAProxy node, or allow an update without a drain with `allow_undrained` (`--allow-undrained`)",
        applications.join(", "),
        nodes.join(", ")
    )]
    UnreadHaproxy {
        /// The names of the servers that are HAProxy nodes.
        nodes: Vec<String>,
        /// The applications with their servers.
        applications: Vec<String>,
    },
    /// The name of a server means something else in a play.
    #[error("{reason}; rename the server `{server}` before its applications are updated")]
    ServerName {
        /// The server.
        server: String,
        /// Why.
        reason: HostNameError,
    },
    /// Another server of the fleet has the same short name.
    #[error(
        "the servers `{first}` and `{second}` have the same short name `{short}`, by which plays know them; rename one of \
         them before applications on them are updated"
    )]
    Namesake {
        /// The server of an application.
        first: String,
        /// The other.
        second: String,
        /// The short name of both.
        short: String,
    },
    /// A composite name cannot be made.
    #[error(transparent)]
    Composite(#[from] CompositeNameError),
    /// The update playbook's path cannot be read.
    #[error(transparent)]
    Path(#[from] PlaybookPathError),
    /// The orchestrator playbook's header has a parameter that cannot be given.
    #[error(
        "the orchestrator playbook `{playbook}` has the parameter `{parameter}`, a name that Ansible keeps for itself; give it another name in the playbook"
    )]
    ReservedParameter {
        /// The parameter.
        parameter: String,
        /// The playbook.
        playbook: String,
    },
    /// The orchestrator playbook needs a parameter that has no value.
    #[error(
        "the orchestrator playbook `{playbook}` needs the parameter `{parameter}`, and it has no value; {}",
        advice(parameter)
    )]
    MissingParameter {
        /// The parameter.
        parameter: String,
        /// The playbook.
        playbook: String,
    },
}

impl PrepareError {
    /// Whether the applications are the reason, not the playbooks.
    #[must_use]
    pub const fn is_about_applications(&self) -> bool {
        match self {
            Self::UnknownApplication { .. }
            | Self::NoServer { .. }
            | Self::SeveralBackends { .. }
            | Self::SameComposite { .. }
            | Self::Undrained { .. }
            | Self::UnreadHaproxy { .. }
            | Self::ServerName { .. }
            | Self::Namesake { .. }
            | Self::Composite(_)
            | Self::Path(_) => true,
            Self::MissingParameter { .. } | Self::ReservedParameter { .. } => false,
        }
    }
}

/// The parameters that the mapping of an application to HAProxy gives.
const FROM_HAPROXY: [&str; 2] = ["haproxy_backend", "haproxy_api_url"];

/// The name of the variable that lists the update playbook's own parameters, so that the
/// orchestrator playbook can hand them on.
pub const UPDATE_PARAMETERS: &str = "update_parameters";

/// Prepares one run of an orchestrator playbook.
///
/// The template [`OrchestratorExecutor::prepare`] is the same for all; an executor gives the
/// composite names and may add parameters of its own.
pub trait OrchestratorExecutor {
    /// What the update is about.
    fn context(&self) -> &OrchestratorContext;

    /// The instances in the order the playbook takes them, each with its composite name.
    ///
    /// # Errors
    ///
    /// [`PrepareError`] when an instance cannot be named.
    fn composite_names(&self) -> Result<Vec<BatchMember>, PrepareError>;

    /// The backend the run works on; none by default.
    fn backend(&self) -> Option<PreparedBackend> {
        None
    }

    /// Parameters of this executor alone, stronger than all others; nothing by default.
    fn specific_parameters(&self) -> Vec<(&'static str, Variable)> {
        Vec::new()
    }

    /// The template: composite names, the update playbook's own parameters, base values, merge,
    /// specific parameters, and the emission of what the orchestrator declares.
    ///
    /// # Errors
    ///
    /// [`PrepareError`]; a required parameter without a value is one of them.
    fn prepare(&self) -> Result<PreparedPlaybook, PrepareError> {
        let context = self.context();
        let members = self.composite_names()?;
        let update = PlaybookPath::parse(context.original_playbook_path())?;
        let custom = update.explicit();
        let mut values = base_values(context, &members, update.file_name());
        for (name, value) in &custom {
            values.insert((*name).to_owned(), Variable::Text((*value).to_owned()));
        }
        for (name, value) in self.specific_parameters() {
            values.insert(name.to_owned(), value);
        }
        let (playbook_path, mut extra_params) = emit(context, &custom, &values)?;
        forward(&custom, &values, &mut extra_params);
        Ok(PreparedPlaybook {
            playbook: context.orchestrator().file_path.clone(),
            playbook_path,
            extra_params,
            batches: batches(members),
            backend: self.backend(),
        })
    }
}

fn base_values(
    context: &OrchestratorContext,
    members: &[BatchMember],
    update: &str,
) -> BTreeMap<String, Variable> {
    let composites: Vec<&str> = members
        .iter()
        .map(|member| member.composite.as_str())
        .collect();
    let artifact = Variable::Text(context.artifact().as_str().to_owned());
    BTreeMap::from([
        (
            "app_instances".to_owned(),
            Variable::Text(composites.join(",")),
        ),
        (
            "drain_delay".to_owned(),
            Variable::Integer(i64::from(context.drain_wait().seconds())),
        ),
        (
            "update_playbook".to_owned(),
            Variable::Text(update.to_owned()),
        ),
        ("distr_url".to_owned(), artifact.clone()),
        ("image_url".to_owned(), artifact),
        (
            "mode".to_owned(),
            Variable::Text(context.mode().as_str().to_owned()),
        ),
    ])
}

// What only HAProxy gives is not for people to write into a path.
fn advice(parameter: &str) -> String {
    if FROM_HAPROXY.contains(&parameter) {
        "it comes from HAProxy, and not all of the applications are mapped to a server of it: map them (`drover haproxy \
         unmapped`, `drover haproxy map`), or choose an orchestrator playbook that works without"
            .to_owned()
    } else {
        format!("give it in the update playbook's path as {{{parameter}=value}}")
    }
}

// Of the declared parameters, required ones first, each once: those with a value. A value that
// is a truth value or was given in the path is shown, others are only named.
fn emit(
    context: &OrchestratorContext,
    custom: &BTreeMap<&str, &str>,
    values: &BTreeMap<String, Variable>,
) -> Result<(String, BTreeMap<String, Variable>), PrepareError> {
    let orchestrator = context.orchestrator();
    let mut shown = vec![orchestrator.file_path.clone()];
    let mut extra_params = BTreeMap::new();
    let is_optional = |name: &str| {
        orchestrator
            .optional
            .iter()
            .any(|parameter| parameter.name == name)
    };
    for parameter in orchestrator.required.iter().chain(&orchestrator.optional) {
        let name = &parameter.name;
        if extra_params.contains_key(name) {
            continue;
        }
        if is_reserved(name) {
            return Err(PrepareError::ReservedParameter {
                parameter: name.clone(),
                playbook: orchestrator.file_path.clone(),
            });
        }
        match values.get(name) {
            Some(value) => {
                let is_shown =
                    matches!(value, Variable::Boolean(_)) || custom.contains_key(name.as_str());
                shown.push(if is_shown {
                    format!("{{{name}={value}}}")
                } else {
                    format!("{{{name}}}")
                });
                extra_params.insert(name.clone(), value.clone());
            }
            None if is_optional(name) => {}
            None => match &parameter.default {
                Some(default) => {
                    shown.push(format!("{{{name}={default}}}"));
                    extra_params.insert(name.clone(), default.clone());
                }
                None => {
                    return Err(PrepareError::MissingParameter {
                        parameter: name.clone(),
                        playbook: orchestrator.file_path.clone(),
                    });
                }
            },
        }
    }
    Ok((shown.join(" "), extra_params))
}

// The update playbook's own parameters reach it although the orchestrator never heard of them;
// the predecessor dropped them.
fn forward(
    custom: &BTreeMap<&str, &str>,
    values: &BTreeMap<String, Variable>,
    extra_params: &mut BTreeMap<String, Variable>,
) {
    let mut names = Vec::new();
    for name in custom.keys() {
        if !extra_params.contains_key(*name)
            && let Some(value) = values.get(*name)
        {
            extra_params.insert((*name).to_owned(), value.clone());
            names.push(*name);
        }
    }
    if !names.is_empty() {
        extra_params.insert(
            UPDATE_PARAMETERS.to_owned(),
            Variable::Text(names.join(",")),
        );
    }
}

fn batches(members: Vec<BatchMember>) -> Vec<Batch> {
    let (mut even, mut odd) = (Vec::new(), Vec::new());
    for (place, member) in members.into_iter().enumerate() {
        if place % 2 == 0 {
            even.push(member);
        } else {
            odd.push(member);
        }
    }
    [(BatchLabel::Even, even), (BatchLabel::Odd, odd)]
        .into_iter()
        .filter(|(_, members)| !members.is_empty())
        .map(|(label, members)| Batch { label, members })
        .collect()
}
