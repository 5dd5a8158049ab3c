//! Who may do what: the one table of all routes and the role each needs.

use axum::http::Method;
use drover_domain::access::Role;

/// A route, without the prefix it is nested under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) method: &'static str,
    pub(crate) path: &'static str,
    pub(crate) role: Role,
}

const fn rule(method: &'static str, path: &'static str, role: Role) -> Rule {
    Rule { method, path, role }
}

/// Every route of the API with its role. A route that is missing here is refused.
pub(crate) const RULES: &[Rule] = &[
    rule("GET", "/servers", Role::Viewer),
    rule("POST", "/servers", Role::Admin),
    rule("GET", "/servers/{id}", Role::Viewer),
    rule("PUT", "/servers/{id}", Role::Admin),
    rule("PATCH", "/servers/{id}", Role::Admin),
    rule("DELETE", "/servers/{id}", Role::Admin),
    rule("POST", "/servers/{id}/refresh", Role::Operator),
    rule("PUT", "/servers/{id}/haproxy", Role::Admin),
    rule("GET", "/applications", Role::Viewer),
    rule("GET", "/applications/{id}", Role::Viewer),
    rule("GET", "/applications/{id}/settings", Role::Viewer),
    rule("PUT", "/applications/{id}/settings", Role::Admin),
    rule("GET", "/applications/{id}/versions", Role::Viewer),
    rule("GET", "/applications/{id}/events", Role::Viewer),
    rule("POST", "/applications/batch_update", Role::Operator),
    rule("GET", "/application-groups", Role::Viewer),
    rule("POST", "/application-groups", Role::Admin),
    rule("GET", "/application-groups/{id}", Role::Viewer),
    rule("PUT", "/application-groups/{id}", Role::Admin),
    rule("DELETE", "/application-groups/{id}", Role::Admin),
    rule("GET", "/application-catalog", Role::Viewer),
    rule("POST", "/application-catalog", Role::Admin),
    rule("GET", "/application-catalog/{id}", Role::Viewer),
    rule("PUT", "/application-catalog/{id}", Role::Admin),
    rule("DELETE", "/application-catalog/{id}", Role::Admin),
    rule("GET", "/events", Role::Viewer),
    rule("GET", "/haproxy/instances", Role::Viewer),
    rule("GET", "/haproxy/instances/{id}/backends", Role::Viewer),
    rule("POST", "/haproxy/instances/{id}/sync", Role::Operator),
    rule("GET", "/haproxy/backends/{id}/servers", Role::Viewer),
    rule("POST", "/haproxy/servers/{id}/action", Role::Operator),
    rule("GET", "/haproxy/servers/{id}/history", Role::Viewer),
    rule("GET", "/haproxy/servers/unmapped", Role::Viewer),
    rule("POST", "/haproxy/servers/{id}/map", Role::Operator),
    rule("POST", "/haproxy/servers/{id}/unmap", Role::Operator),
    rule("GET", "/haproxy/servers/{id}/mapping", Role::Viewer),
    rule("GET", "/haproxy/servers/{id}/mapping/history", Role::Viewer),
    rule("POST", "/haproxy/mapping/remap", Role::Operator),
    rule("GET", "/haproxy/summary", Role::Viewer),
    rule("POST", "/haproxy/batch/action", Role::Operator),
    rule("GET", "/haproxy/actions", Role::Viewer),
    rule("GET", "/haproxy/actions/{id}", Role::Viewer),
    rule("GET", "/access/keys", Role::Admin),
    rule("POST", "/access/keys", Role::Admin),
    rule("DELETE", "/access/keys/{id}", Role::Admin),
    rule("GET", "/webhooks", Role::Operator),
    rule("POST", "/webhooks", Role::Admin),
    rule("GET", "/webhooks/{id}", Role::Operator),
    rule("PUT", "/webhooks/{id}", Role::Admin),
    rule("DELETE", "/webhooks/{id}", Role::Admin),
    rule("POST", "/webhooks/{id}/rotate-secret", Role::Admin),
    rule("POST", "/webhooks/{id}/test", Role::Operator),
    rule("GET", "/webhook-deliveries", Role::Operator),
    rule("GET", "/webhook-deliveries/{id}", Role::Operator),
    rule("POST", "/webhook-deliveries/{id}/redeliver", Role::Operator),
    rule("GET", "/rollouts", Role::Viewer),
    rule("POST", "/rollouts", Role::Operator),
    rule("POST", "/rollouts:plan", Role::Operator),
    rule("GET", "/rollouts/{id}", Role::Viewer),
    rule("GET", "/rollouts/{id}/events", Role::Viewer),
    rule("POST", "/rollouts/{id}/cancel", Role::Operator),
    rule("GET", "/tasks", Role::Viewer),
    rule("GET", "/tasks/{id}", Role::Viewer),
    rule("GET", "/tasks/{id}/events", Role::Viewer),
    rule("POST", "/tasks/{id}/cancel", Role::Operator),
    rule("GET", "/orchestrators", Role::Viewer),
    rule("POST", "/orchestrators/scan", Role::Operator),
    rule("GET", "/workflows", Role::Viewer),
    rule("POST", "/workflows", Role::Operator),
    rule("GET", "/workflows/{id}", Role::Viewer),
    rule("POST", "/workflows/{id}/start", Role::Operator),
    rule("POST", "/workflows/{id}/pause", Role::Operator),
    rule("POST", "/workflows/{id}/resume", Role::Operator),
    rule("POST", "/workflows/{id}/cancel", Role::Operator),
    rule("GET", "/workflows/{id}/history", Role::Viewer),
    rule("POST", "/workflows/{id}/signals/{name}", Role::Operator),
    rule("GET", "/workflows/{id}/tasks", Role::Viewer),
    rule("GET", "/workflows/{id}/tasks/{task_id}", Role::Viewer),
    rule(
        "POST",
        "/workflows/{id}/tasks/{task_id}/retry",
        Role::Operator,
    ),
    rule(
        "POST",
        "/workflows/{id}/tasks/{task_id}/skip",
        Role::Operator,
    ),
    rule(
        "POST",
        "/workflows/{id}/tasks/{task_id}/resolve",
        Role::Operator,
    ),
    rule("GET", "/workflow-definitions", Role::Viewer),
    rule("POST", "/workflow-definitions", Role::Operator),
    rule("GET", "/workflow-definitions/{name}", Role::Viewer),
    rule("GET", "/schedules", Role::Viewer),
    rule("GET", "/schedules/{name}", Role::Viewer),
    rule("PUT", "/schedules/{name}", Role::Operator),
    rule("DELETE", "/schedules/{name}", Role::Operator),
    rule("POST", "/schedules/{name}/pause", Role::Operator),
    rule("POST", "/schedules/{name}/resume", Role::Operator),
    rule("GET", "/queues", Role::Viewer),
    rule("PUT", "/queues/{name}", Role::Admin),
    rule("POST", "/queues/{name}/pause", Role::Operator),
    rule("POST", "/queues/{name}/resume", Role::Operator),
    rule("GET", "/dead-letters", Role::Viewer),
    rule("POST", "/dead-letters/redrive", Role::Operator),
    rule("POST", "/workers/claim", Role::Operator),
    rule("POST", "/workers/heartbeat", Role::Operator),
    rule("POST", "/workers/complete", Role::Operator),
    rule("POST", "/workers/fail", Role::Operator),
    rule("GET", "/events/stream", Role::Viewer),
    rule("GET", "/ws/workflows/{id}", Role::Viewer),
    rule("GET", "/ws/tasks/stream", Role::Viewer),
];

/// Whether a request stops, resumes or ends something that goes on, or reports for a worker: it has a place even while
/// everything else is taken.
pub(crate) fn steers(method: &Method, path: &str) -> bool {
    const VERBS: [&str; 11] = [
        "action",
        "cancel",
        "complete",
        "fail",
        "heartbeat",
        "pause",
        "resolve",
        "resume",
        "retry",
        "skip",
        "start",
    ];
    let verb = path.rsplit('/').next().unwrap_or_default();
    method == Method::POST && VERBS.contains(&verb)
}

/// Where the API is nested; the first is canonical, the second is the seeds' own.
pub(crate) const PREFIXES: [&str; 2] = ["/api/v1", "/api"];

/// `path` without the prefix of the API; `None` outside of it.
pub(crate) fn without_prefix(path: &str) -> Option<&str> {
    PREFIXES.iter().find_map(|prefix| {
        path.strip_prefix(prefix)
            .filter(|rest| rest.starts_with('/'))
    })
}

/// The role that a route, prefix included, needs; `None` for a route that is not in the table.
pub(crate) fn needed(method: &Method, path: &str) -> Option<Role> {
    // The seed has its WebSockets at the root.
    let path = without_prefix(path).or_else(|| path.starts_with("/ws/").then_some(path))?;
    // axum answers HEAD with the handler of GET.
    let method = if method == Method::HEAD {
        "GET"
    } else {
        method.as_str()
    };
    RULES
        .iter()
        .find(|rule| rule.method == method && rule.path == path)
        .map(|rule| rule.role)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_prefixes_need_the_same_role() {
        for prefix in PREFIXES {
            assert_eq!(
                needed(&Method::POST, &format!("{prefix}/servers")),
                Some(Role::Admin)
            );
            assert_eq!(
                needed(&Method::HEAD, &format!("{prefix}/servers")),
                Some(Role::Viewer)
            );
            assert_eq!(needed(&Method::DELETE, &format!("{prefix}/servers")), None);
        }
        assert_eq!(needed(&Method::GET, "/ws/tasks/stream"), Some(Role::Viewer));
        assert_eq!(needed(&Method::GET, "/servers"), None);
        assert_eq!(needed(&Method::GET, "/apiservers"), None);
    }
}
