//! Which executor prepares which applications.

use std::collections::BTreeMap;

use crate::fleet::{ApplicationKey, check_host_name};
use crate::haproxy::{BackendKey, HaproxyInstanceKey};
use crate::rollout::composite::{check_short_names, short_server_name};
use crate::rollout::ordering::{OrderItem, order_for_halves};
use crate::rollout::snapshot::{FleetSnapshot, Target, TargetServer};

use super::{
    HaproxyExecutor, OrchestratorContext, OrchestratorExecutor, PrepareError, PreparedPlaybook,
    SimpleExecutor,
};

/// The executor for these applications: with HAProxy if any of them is actively mapped to one of
/// its servers, the simple one otherwise.
#[must_use]
pub fn select_executor<'a>(
    context: OrchestratorContext,
    snapshot: &'a FleetSnapshot,
) -> Box<dyn OrchestratorExecutor + 'a> {
    let is_mapped = |application: &ApplicationKey| {
        snapshot
            .targets
            .get(application)
            .is_some_and(|target| !target.haproxy_servers.is_empty())
    };
    if context.applications().iter().any(is_mapped) {
        Box::new(HaproxyExecutor::new(context, snapshot))
    } else {
        Box::new(SimpleExecutor::new(context, snapshot))
    }
}

/// Prepares an update: one run for each backend its applications stand in, and one for those that
/// stand in none; in the order in which the applications name them.
///
/// # Errors
///
/// [`PrepareError`] when any part cannot be prepared; then nothing is.
pub fn prepare_all(
    context: &OrchestratorContext,
    snapshot: &FleetSnapshot,
) -> Result<Vec<PreparedPlaybook>, PrepareError> {
    let mut order: Vec<Option<(HaproxyInstanceKey, BackendKey)>> = Vec::new();
    let mut parts: BTreeMap<Option<(HaproxyInstanceKey, BackendKey)>, Vec<ApplicationKey>> =
        BTreeMap::new();
    let mut servers = Vec::new();
    for application in context.applications() {
        let (target, server) = target(*application, snapshot)?;
        check_server(server)?;
        servers.push(server.name.as_str());
        let backend = backend_of(target)?;
        let part = parts.entry(backend).or_default();
        if part.is_empty() {
            order.push(backend);
        }
        part.push(*application);
    }
    check_short_names(servers)?;
    if !context.may_be_undrained() {
        check_drained(context.applications(), snapshot)?;
    }
    let prepared = order
        .iter()
        .filter_map(|backend| parts.remove(backend))
        .map(|applications| select_executor(context.narrowed(applications), snapshot).prepare())
        .collect::<Result<Vec<_>, _>>()?;
    check_composites(&prepared)?;
    Ok(prepared)
}

/// Checks that no application is updated without a drain although it, its group or its catalog entry stands behind
/// HAProxy, or although it is unknown what stands behind an HAProxy.
///
/// # Errors
///
/// [`PrepareError::Undrained`] or [`PrepareError::UnreadHaproxy`], naming the applications.
pub fn check_drained(
    applications: &[ApplicationKey],
    snapshot: &FleetSnapshot,
) -> Result<(), PrepareError> {
    let unmapped = || snapshot.unmapped(applications);
    let applications = labels(unmapped().filter(|target| target.expects_haproxy));
    if !applications.is_empty() {
        return Err(PrepareError::Undrained { applications });
    }
    let applications = labels(unmapped());
    if snapshot.unread_haproxy.is_empty() || applications.is_empty() {
        return Ok(());
    }
    Err(PrepareError::UnreadHaproxy {
        nodes: snapshot.unread_haproxy.clone(),
        applications,
    })
}

fn labels<'a>(targets: impl Iterator<Item = &'a Target>) -> Vec<String> {
    const SHOWN_MAX: usize = 20;
    let mut labels: Vec<String> = targets.map(Target::label).collect();
    let more = labels.len().saturating_sub(SHOWN_MAX);
    labels.truncate(SHOWN_MAX);
    if more > 0 {
        labels.push(format!("{more} more"));
    }
    labels
}

// What was stored before these rules, or at the same moment by another node.
fn check_server(server: &TargetServer) -> Result<(), PrepareError> {
    check_host_name(&server.name).map_err(|reason| PrepareError::ServerName {
        server: crate::text::visible(&server.name, 64),
        reason,
    })?;
    match &server.namesake {
        Some(other) => Err(PrepareError::Namesake {
            first: server.name.clone(),
            second: other.clone(),
            short: short_server_name(&server.name).to_owned(),
        }),
        None => Ok(()),
    }
}

/// The applications with their servers, in the order for the playbook.
pub(super) fn ordered_targets<'a>(
    applications: &[ApplicationKey],
    snapshot: &'a FleetSnapshot,
) -> Result<Vec<(&'a Target, &'a TargetServer)>, PrepareError> {
    let targets = applications
        .iter()
        .map(|application| target(*application, snapshot))
        .collect::<Result<Vec<_>, _>>()?;
    let items: Vec<OrderItem> = targets
        .iter()
        .map(|(target, server)| OrderItem {
            instance: target.name.clone(),
            server: server.name.clone(),
        })
        .collect();
    Ok(order_for_halves(&items)
        .into_iter()
        .filter_map(|index| targets.get(index).copied())
        .collect())
}

fn target(
    application: ApplicationKey,
    snapshot: &FleetSnapshot,
) -> Result<(&Target, &TargetServer), PrepareError> {
    let target = snapshot
        .targets
        .get(&application)
        .ok_or(PrepareError::UnknownApplication { application })?;
    let server = target
        .server
        .as_ref()
        .ok_or_else(|| PrepareError::NoServer {
            application,
            name: target.name.clone(),
        })?;
    Ok((target, server))
}

fn backend_of(target: &Target) -> Result<Option<(HaproxyInstanceKey, BackendKey)>, PrepareError> {
    match target.haproxy_servers.as_slice() {
        [] => Ok(None),
        [only] => Ok(Some((only.instance, only.backend))),
        several => Err(PrepareError::SeveralBackends {
            application: target.application,
            name: target.name.clone(),
            servers: several
                .iter()
                .map(|mapped| {
                    format!(
                        "{}/{}/{}",
                        mapped.instance_name, mapped.backend_name, mapped.name
                    )
                })
                .collect(),
        }),
    }
}

fn check_composites(prepared: &[PreparedPlaybook]) -> Result<(), PrepareError> {
    let mut seen: BTreeMap<&str, ApplicationKey> = BTreeMap::new();
    for member in prepared.iter().flat_map(PreparedPlaybook::members) {
        if let Some(first) = seen.insert(&member.composite, member.application) {
            let composite = member.composite.clone();
            return Err(PrepareError::SameComposite {
                first,
                second: member.application,
                composite,
            });
        }
    }
    Ok(())
}
